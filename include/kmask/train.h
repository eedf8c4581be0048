/* train: one step of training, on any number of ranks and threads (section 3 of src/README.md). Every rank has all weights and an
 * integer sum for all gradients; the moments and updates of a parameter live on the one rank that owns it. */
#ifndef KMASK_TRAIN_H
#define KMASK_TRAIN_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/data.h"
#include "kmask/model.h"

/* ---- What this machine can compute --------------------------------------------------------------------------- */

/* KM_USAGE where `threads` are more than one and this machine's OpenBLAS is its serial build, which is not safe for them. */
km_status km_threads_check(int64_t threads) KM_NODISCARD;
/* Whether this CPU and this build can multiply in bf16; KM_USAGE says what is missing. With computes = false the products run on
 * another machine (for example, when planning on a login node), so a missing CPU feature is only a warning. */
km_status km_bf16_check(bool computes) KM_NODISCARD;
/* Selects the libraries that make the products the config asks for, and checks that they and this CPU can; `computes` as above. */
km_status km_products_check(const km_config *config, bool computes) KM_NODISCARD;
bool km_is_bf16(const km_config *config); /* train.precision */
/* The library and kernel that compute a step's products: "OpenBLAS 0.3.21" and "SkylakeX", or "oneDNN 2.6.3" and
 * "avx512_core_bf16". */
typedef struct km_gemm_name {
    const char *library, *kernel;
} km_gemm_name;
km_gemm_name km_gemm_named(const km_config *config);

/* ---- The trainer --------------------------------------------------------------------------------------------- */

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
    float *weights;   /* (table->size) */
    km_bf16 *rounded; /* (table->size) the weights that products read; NULL in fp32 */
    int64_t *sum;     /* (table->size) fixed point */
    float *m, *v;     /* owned parts, compact */
    double *blocks;   /* (table->size / KM_BLOCK) squares of the gradient */
    int64_t step;     /* finished updates */
    void (*poll)(
        void *payload); /* NULL, or called often from the main thread during a step; see km_trainer_set_poll */
    void *poll_payload;
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
    int64_t save; /* how many ranks asked for a save: rank 0, when one that failed is to be tried again */
} km_step_report;

/* Everything but the weights' values. The model, loader and config stay the caller's. Collective. */
km_status km_trainer_create(km_trainer **out, km_comm *comm, const km_config *config, const km_model *model,
                            km_loader *loader) KM_NODISCARD;
void km_trainer_destroy(km_trainer *trainer); /* Collective. */
/* `poll` is called from the main thread between slices of the gradient and between collectives, so that work beside the training
 * (such as a checkpoint on its way to the disk) can advance. NULL: nothing. Local. */
void km_trainer_set_poll(km_trainer *trainer, void (*poll)(void *payload), void *payload);
/* What a rank takes, in bytes: as it is planned, which is what is allocated: all that grows with the model or the step. */
typedef struct km_memory {
    size_t parameters;            /* elements of the table */
    size_t weights, sum, moments; /* 4 and in bf16 2 more, and 8, a parameter; 8 an owned one */
    size_t exchange;              /* the sums of owned parameters, and those on their way in; 0 with one rank */
    size_t saved; /* the copy that is written while training goes on: 12 an owned parameter; 0: nothing is saved */
    size_t activations, tokens; /* of one micro-batch, and how many tokens that is */
    int threads;                /* each has such activations */
    size_t total;
} km_memory;
void km_trainer_memory(km_memory *out, const km_trainer *trainer);
/* The same for a rank of a run that is not there. */
void km_memory_plan(km_memory *out, const km_config *config, const km_model *model, const km_loader *loader,
                    int rank, int ranks);
/* Adds what saving in the background takes on this rank. */
void km_memory_add_saved(km_memory *memory, size_t bytes);
/* Elements of the table that `rank` of `ranks` owns. */
size_t km_memory_owned(const km_model *model, int rank, int ranks);
/* "1.9 GB: 24.0 bytes a parameter (...), 1.0 MB a token ..."; the caller frees. */
char *km_memory_print(const km_memory *memory);
/* Elements of a bucket of the sum: long enough for the network, short enough that several are on their way during backward. */
enum { KM_BUCKET = 1 << 22 };
/* Begins to read the first step's rows: once, before the first km_trainer_step. */
void km_trainer_prepare(km_trainer *trainer);
/* What this rank asks of all others; they learn of it inside the step's own reduction. */
typedef struct km_step_wish {
    bool stop; /* this rank was asked to stop */
    bool save; /* a save that failed is to be tried again */
} km_step_wish;
/* One update. A gradient or loss
 * that is not finite is KM_FAILED with step, rows and parameter named, before any weight has changed. Collective. */
km_status km_trainer_step(km_trainer *trainer, km_step_wish wish, km_step_report *report) KM_NODISCARD;

#endif
