/* trainer: the state of a run on one rank, and one step of it (DESIGN section 3). Every rank has all weights and an
 * integer sum for all gradients; moments and updates of a parameter live on the one rank that owns it. */
#ifndef KMASK_TRAIN_TRAINER_H
#define KMASK_TRAIN_TRAINER_H

#include "kmask/comm.h"
#include "kmask/data.h"
#include "kmask/model.h"
#include "pool.h"
#include "timed.h"

typedef struct km_trainer {
    km_comm *comm;
    const km_config *config;
    const km_model *model;
    const km_table *table;
    km_loader *loader;
    uint64_t first_batch, batches; /* this rank's micro-batches of every step */
    km_pool *pool;
    km_work **works; /* one a worker */
    km_exchange *exchange;
    float *weights;         /* (table->size) */
    km_bf16 *rounded;       /* (table->size) the weights that products read; NULL in fp32 */
    int64_t *sum;           /* (table->size) fixed point */
    float *m, *v;           /* owned parts, compact */
    double *blocks;         /* (table->size / KM_BLOCK) squares of the gradient */
    int64_t step;           /* finished updates */
    struct km_saver *saver; /* NULL: nothing is saved */
} km_trainer;

/* What a step says of itself; the same on all ranks but for the seconds. */
typedef struct km_step_report {
    double loss; /* mean over masked tokens */
    double grad_norm;
    double lr;
    int64_t masked, correct, tokens;
    double flops;
    double seconds, comm_seconds;
    int64_t stop; /* how many ranks want to stop */
    int64_t save; /* rank 0 wants a save that failed to be tried again */
} km_step_report;

/* Everything but the weights' values. The model, loader and config stay the caller's. Collective. */
km_status km_trainer_create(km_trainer **out, km_comm *comm, const km_config *config, const km_model *model,
                            km_loader *loader) KM_NODISCARD;
void km_trainer_destroy(km_trainer *trainer);
/* What a rank takes, in bytes: as it is planned, which is what is allocated: all that grows with the model or the step. */
typedef struct km_memory {
    size_t parameters;            /* elements of the table */
    size_t weights, sum, moments; /* 4 and in bf16 2 more, and 8, a parameter; 8 an owned one */
    size_t exchange;              /* the sums of owned parameters, and those on their way in; 0 with one rank */
    size_t saved;                 /* the copy that is written while training goes on: 12 an owned parameter */
    size_t activations, tokens;   /* of one micro-batch, and how many tokens that is */
    int threads;                  /* each has such activations */
    size_t total;
} km_memory;
void km_trainer_memory(km_memory *out, const km_trainer *trainer);
/* The same for a rank of a run that is not there. */
void km_memory_plan(km_memory *out, const km_config *config, const km_model *model, const km_loader *loader,
                    int rank, int ranks);
/* "1.9 GB: 24.0 bytes a parameter (...), 1.0 MB a token ..."; the caller frees. */
char *km_memory_print(const km_memory *memory);
/* Elements of a bucket of the sum: long enough for the network, short enough that several are on their way during backward. */
enum { KM_BUCKET = 1 << 22 };
/* Begins to read the first step's rows: once, before the first km_trainer_step. */
void km_trainer_prepare(km_trainer *trainer);
/* One update. `stop`: this rank was asked to stop; all learn of it inside the step's own reduction. A gradient or loss
 * that is not finite is KM_FAILED with step, rows and parameter named, before any weight has changed. Collective. */
km_status km_trainer_step(km_trainer *trainer, bool stop, km_step_report *report) KM_NODISCARD;

#endif
