/* best: the lowest held-out loss of a run, and the checkpoint that has it, <dir>/checkpoints/best.h5. Local. */
#ifndef KMASK_RUN_BEST_H
#define KMASK_RUN_BEST_H

#include "kmask/run.h"

/* Counts the evaluation after `step`; true where its loss is the lowest so far. Evaluations on another text, or under other masks, than
 * those before begin anew. */
bool km_best_add(km_best *best, int64_t step, const km_eval_result *result);
/* Makes *best from the evaluations in the run's metrics.jsonl after steps up to `until`; empty where the config asks for neither
 * checkpoint.best nor eval.patience, so that no log is read for nothing. */
void km_best_read(km_best *best, const km_config *config, int64_t until);
/* Whether eval.patience has ended the run. */
bool km_best_ends(const km_best *best, const km_config *config);

char *km_best_path(const char *dir); /* the caller frees */
/* Makes the checkpoint of `step` best.h5: a second name of the same file, or a copy where the file system has no such names. It takes the
 * place of the one before in one move. A failure is only a warning. Any thread. */
void km_best_keep(const char *dir, int64_t step);
/* At a start, or where the checkpoint is older than its evaluation: makes best.h5 the checkpoint of best->step, if that is still there
 * and valid. */
void km_best_catch_up(const km_best *best, const char *dir);

#endif
