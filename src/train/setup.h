/* setup: everything that pre-training needs, opened and checked before the first step. */
#ifndef KMASK_TRAIN_SETUP_H
#define KMASK_TRAIN_SETUP_H

#include "kmask/train.h"
#include "lock.h"
#include "run.h"
#include "save.h"
#include "trainer.h"

typedef struct km_run {
    km_comm *comm;
    km_config config; /* resolved: vocabulary and shape filled in from corpus, checkpoint or model.init */
    km_lock *lock;    /* rank 0; NULL: none */
    km_store *source; /* rank 0, during setup: the checkpoint to go on from, else model.init, else NULL */
    km_bundle
        *folder;  /* rank 0, during setup: model.init where it is a safetensors folder and nothing is resumed */
    char *resume; /* rank 0: the checkpoint's path; NULL on others and for a fresh start */
    int64_t resume_step;             /* -1: fresh */
    int64_t newest_step;             /* rank 0: of the newest checkpoint seen, damaged ones too; -1: none */
    km_corpus *corpus, *eval_corpus; /* eval_corpus NULL without data.eval */
    km_rows *rows;
    km_loader *loader;
    km_model *model;
    km_trainer *trainer;
    km_saver *saver;
    km_metrics *metrics; /* rank 0 */
    double started;
} km_run;

/* What fails is one sentence on all ranks; nothing of the run folder is touched before it is known that it may be.
 * A run that is finished already has resume_step >= train.steps. Collective. */
km_status km_run_setup(km_run *run, km_comm *comm, const km_config *config) KM_NODISCARD;
void km_run_teardown(km_run *run);

#endif
