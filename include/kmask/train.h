/* train: one step of training, on any number of ranks and threads (section 3 of src/README.md).
 *
 * A *set of parameters* is everything that training one network keeps: its weights, the exact sum of their gradient, the moments of
 * AdamW. The *trainer* makes the steps of a masked language model over such a set. A network that is trained beside the model has a
 * set of its own, for which the same gradient sum and the same update are called. */
#ifndef KMASK_TRAIN_H
#define KMASK_TRAIN_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/data.h"
#include "kmask/model.h"
#include "kmask/net.h"

/* ---- Options ------------------------------------------------------------------------------------------------- */

typedef struct km_train_config {
    uint64_t given;
    int64_t steps;
    int64_t sequences;   /* rows of a step */
    int64_t micro_batch; /* views of a micro-batch; 0: chosen from the length of a row */
    char loss_norm[KM_WORD], precision[KM_WORD];
    bool recompute;
} km_train_config;
typedef struct km_optimizer_config {
    uint64_t given;
    double lr, beta1, beta2, eps, weight_decay;
    double clip; /* the largest norm of the gradient; 0: no clipping */
    bool init;   /* moments and step count come from model.init */
} km_optimizer_config;
typedef struct km_schedule_config {
    uint64_t given;
    char name[KM_WORD];
    int64_t warmup; /* steps */
} km_schedule_config;
typedef struct km_parallel_config {
    uint64_t given;
    int64_t threads;    /* of a rank */
    double timeout;     /* of the heartbeat, in seconds (km_heartbeat_start) */
    char gemm[KM_WORD]; /* the library for products in fp32 */
} km_parallel_config;
/* The network of mask.policy "proposal": sizes, and the learning rate of its own Adam. */
typedef struct km_proposal_config {
    uint64_t given;
    int64_t width, kernel, hidden;
    double lr;
} km_proposal_config;
extern const km_section km_train_section, km_optimizer_section, km_schedule_section, km_parallel_section,
    km_proposal_section;
/* Creates the network that the section describes, for a vocabulary of V ids. */
km_status km_proposal_net_create(km_policy_net **out, const km_proposal_config *config, int V) KM_NODISCARD;

/* Fills in two options where they were not given: micro_batch, from the length of a row, and clip, which is 0 with loss_norm
 * "masks". */
void km_train_resolve(km_train_config *train, km_optimizer_config *optimizer, int64_t length);
/* KM_USAGE where the warmup is longer than the run. */
km_status km_schedule_check(const km_schedule_config *schedule, const km_train_config *train) KM_NODISCARD;

/* All that a trainer has to know of a config. */
typedef struct km_trainer_options {
    uint64_t seed;
    km_train_config train;
    km_optimizer_config optimizer;
    km_schedule_config schedule;
    km_parallel_config parallel;
    km_label_smoothing smoothing; /* not with train.precision bf16 */
    /* The network that is trained beside the model to propose masks, the caller's; NULL: there is none. A live reader needs one. */
    const km_policy_net *proposal;
    double proposal_lr;
} km_trainer_options;

/* ---- What this machine can compute --------------------------------------------------------------------------- */

/* KM_USAGE where `threads` is more than one and this machine has the serial build of OpenBLAS, which several threads may not
 * call. */
km_status km_threads_check(int64_t threads) KM_NODISCARD;
/* Whether this CPU and this build can multiply in bf16, which `key` of the config or of the command line asks for; KM_USAGE says
 * what is missing. With computes = false the products run on another machine (for example, when planning on a login node), so a
 * missing CPU feature is only a warning. */
km_status km_bf16_check(const char *key, bool computes) KM_NODISCARD;
/* Selects the library for the products that the config asks for, and checks that it and this CPU can make them; `key` (of the
 * precision) and `computes` as in km_bf16_check. */
km_status km_products_check(const char *key, const km_train_config *train, const km_parallel_config *parallel,
                            bool computes) KM_NODISCARD;
bool km_is_bf16(const km_train_config *train); /* whether train.precision is "bf16" */
/* The library and kernel that compute a step's products: "OpenBLAS 0.3.21" and "SkylakeX", or "oneDNN 2.6.3" and
 * "avx512_core_bf16". */
typedef struct km_gemm_name {
    const char *library, *kernel;
} km_gemm_name;
km_gemm_name km_gemm_named(const km_train_config *train, const km_parallel_config *parallel);

/* ---- A set of parameters -------------------------------------------------------------------------------------- */

/* Every rank has all weights, and an integer sum for the whole gradient. Each element is owned by one rank (km_exchange says by
 * which). The owner receives the element's sum over all ranks, keeps its moments and updates it. */
typedef struct km_parameters {
    km_comm *comm;
    const km_table *table;
    km_exchange *exchange;
    size_t owned;     /* elements that this rank owns */
    float *weights;   /* (table->size) */
    km_bf16 *rounded; /* (table->size) the weights for products in bf16; NULL in fp32 */
    int64_t *sum;     /* (table->size) this rank's sum of gradients, in fixed point (KM_FIXED_BITS) */
    float *m, *v;     /* (owned) first and second moments, in the order of the table */
    double *blocks;   /* (table->size / KM_BLOCK) sums of squares of the gradient, one a block */
} km_parameters;

/* Elements of a bucket of the sum: long enough for the network, short enough that several are on their way during backward. */
enum { KM_BUCKET = 1 << 22 };

/* Creates a set whose weights and moments are all 0. `table` stays the caller's. With bf16 = true the set has `rounded`.
 * Collective. */
km_status km_parameters_create(km_parameters **out, km_comm *comm, const km_table *table, bool bf16) KM_NODISCARD;
void km_parameters_destroy(km_parameters *parameters); /* NULL is fine. Collective. */
/* Elements of `table` that `rank` of `ranks` owns, as planned without a set. Local. */
size_t km_parameters_owned(const km_table *table, int rank, int ranks);
/* Rounds the weights to `rounded` with all workers of the pool; in fp32 it does nothing. Local. */
void km_parameters_round(km_parameters *parameters, km_pool *pool);

/* ---- The exact sum of a gradient -------------------------------------------------------------------------------- */

/* One step's gradient of one set, while it is added up. A *contribution* is the gradient of one micro-batch, which comes in slices
 * from the table's end to its start. Threads add the slices to parameters->sum as integers, so that their order does not matter.
 * As soon as this rank's contributions to a bucket are complete, the bucket's sum over all ranks begins, while backward goes on. */
typedef struct km_gradient_sum km_gradient_sum;

/* Begins a sum to which this rank adds `contributions` contributions. shared: several threads will add to it. Local. */
km_gradient_sum *km_gradient_sum_begin(km_parameters *parameters, int contributions, bool shared);
/* Adds a slice of a contribution. False where a value is not finite or out of range (KM_FIXED_LIMIT). Any thread. */
bool km_gradient_sum_add(km_gradient_sum *sum, size_t offset, const float *gradient, size_t count);
/* Says that a contribution will add nothing more at or beyond `offset`; offset 0 ends it. *bucket belongs to the contribution:
 * it counts the buckets that the contribution has finished, and is 0 at first. Any thread. */
void km_gradient_sum_passed(km_gradient_sum *sum, int *bucket, size_t offset);
/* Begins the sums over ranks of the buckets that are complete, and lets those on their way advance. True once all have begun.
 * To be called often, by the thread that opened the communicator. */
bool km_gradient_sum_poll(km_gradient_sum *sum);
/* Waits for the sums over ranks, all of which have begun, and returns them: (owned) elements in the order of the table, valid
 * until the set's next sum. Destroys `sum`. Collective. */
const int64_t *km_gradient_sum_end(km_gradient_sum *sum);

/* ---- Micro-batches, by the threads of a rank ------------------------------------------------------------------------ */

/* Computes micro-batch `number` in thread `worker`, and gives its gradient to the sink; NULL: no gradient is asked for. */
typedef void km_batch_job(void *payload, uint64_t number, int worker, const km_sink *sink);
typedef struct km_batch_work {
    km_comm *comm;
    km_pool *pool;
    uint64_t first, count; /* this rank's micro-batches: first, first + 1, ... */
    km_batch_job *job;
    void *payload;
    void (*poll)(void *payload); /* called from the main thread between slices of the gradient; may be NULL */
    void *poll_payload;
} km_batch_work;
/* The first value of a gradient that is not finite or out of range. */
typedef struct km_bad_value {
    bool found;
    uint64_t batch; /* its place among this rank's micro-batches */
    size_t offset;  /* in the table */
} km_bad_value;
/* The threads of the pool take micro-batches, each of which is a contribution to `sum`, and the sums over ranks of all buckets begin;
 * km_gradient_sum_end comes next. sum NULL: the job is called without a sink, and the call is local. Collective. */
void km_batches_run(const km_batch_work *work, km_gradient_sum *sum, km_bad_value *bad);

/* ---- The update --------------------------------------------------------------------------------------------------- */

/* The norm of the whole gradient, which is `sums` (from km_gradient_sum_end) / divisor. Squares are added in the order of the
 * table: the same bits on all ranks, whatever their number. Collective. */
double km_gradient_norm(km_parameters *parameters, km_pool *pool, const int64_t *sums, double divisor);

/* An update by AdamW (Loshchilov and Hutter 2019), after clipping: a gradient whose norm is above optimizer->clip is scaled down
 * to it. */
typedef struct km_update {
    const km_optimizer_config *optimizer; /* its lr is not read: */
    double lr;                            /* the learning rate of this update */
    int64_t step;                         /* the update's number, from 1, for the moments' bias correction */
    const int64_t *sums;                  /* from km_gradient_sum_end */
    double divisor;                       /* the gradient is sums / divisor */
    double norm;                          /* the gradient's, from km_gradient_norm */
} km_update;
/* Updates the elements that this rank owns, then gathers all weights on all ranks. Collective. */
void km_parameters_update(km_parameters *parameters, km_pool *pool, const km_update *update);

/* ---- The trainer -------------------------------------------------------------------------------------------------- */

struct km_proposal_trainer;
typedef struct km_trainer {
    km_comm *comm;
    km_trainer_options options;
    const km_model *model;
    km_reader *reader;
    uint64_t first_batch, batches; /* this rank's micro-batches of every step */
    km_pool *pool;
    km_work **works;                      /* activations, one for each worker of the pool */
    km_parameters *parameters;            /* the model's */
    struct km_proposal_trainer *proposal; /* NULL without options.proposal */
    int64_t step;                         /* finished updates */
    int64_t earlier_updates;     /* those that the moments had before step 0: bias corrections count them too */
    void (*poll)(void *payload); /* may be NULL; see km_trainer_set_poll */
    void *poll_payload;
} km_trainer;

/* Creates a trainer whose weights are all 0. The caller then sets them, to the same values on all ranks, and the step where it
 * is not 0. The model and the reader stay the caller's. Collective. */
km_status km_trainer_create(km_trainer **out, km_comm *comm, const km_trainer_options *options,
                            const km_model *model, km_reader *reader) KM_NODISCARD;
void km_trainer_destroy(km_trainer *trainer); /* NULL is fine. Collective. */
/* The parameters of the network that proposes masks, whose weights a new trainer has set already; NULL where there is none. Local. */
km_parameters *km_trainer_proposal(const km_trainer *trainer);
/* The scores of a row's tokens (row->length) by such a network, with a work area for one row of that length. Local. */
void km_score_row(const km_policy_net *net, const float *weights, const km_row *row, km_policy_work *work,
                  float *scores);
/* `poll` is called from the main thread between slices of the gradient and between collectives, so that work beside the training
 * (such as a checkpoint on its way to the disk) can advance. NULL: nothing. Local. */
void km_trainer_set_poll(km_trainer *trainer, void (*poll)(void *payload), void *payload);
/* Begins to read the rows of the step that comes first. To be called once, before the first km_trainer_step. Local. */
void km_trainer_prepare(km_trainer *trainer);

/* What this rank asks of the run. A step adds up the wishes of all ranks together with the loss, so that they need no message of
 * their own. */
typedef struct km_step_wish {
    bool stop; /* this rank was asked to stop */
    bool save; /* a save that failed should be tried again */
} km_step_wish;
/* What a step reports: the same on all ranks, apart from the seconds. */
typedef struct km_step_report {
    double loss;      /* mean over masked tokens, times their weights, with label smoothing where there is any */
    double grad_norm; /* before clipping */
    double lr;
    int64_t masked, correct, tokens; /* of all ranks: masked tokens, those predicted right, all tokens */
    double flops;                    /* of all ranks */
    double seconds, comm_seconds;    /* of this rank; comm_seconds: transfers, and waiting for other ranks */
    int64_t stop, save;              /* how many ranks wished to stop, and to save */
    /* Of a network that proposes masks: mean squared error of its scores at masked tokens, and their correlation with the true ones. */
    double proposal_loss, proposal_correlation;
    bool diverged; /* the step failed because a loss or gradient is not finite */
} km_step_report;
/* Makes one step. A gradient or loss that is not finite is KM_FAILED with step, rows and parameter named, before any weight has
 * changed. Collective. */
km_status km_trainer_step(km_trainer *trainer, km_step_wish wish, km_step_report *report) KM_NODISCARD;

/* ---- Memory --------------------------------------------------------------------------------------------------------- */

/* The bytes that a rank takes, as far as they grow with the model or the step. The code that allocates uses the same functions. */
typedef struct km_memory {
    size_t parameters;  /* a number of elements, not of bytes: those of all tables */
    size_t weights;     /* 4 a parameter, and in bf16 2 more */
    size_t sum;         /* 8 a parameter: the integer sum of the gradient */
    size_t moments;     /* 8 a parameter that the rank owns */
    size_t exchange;    /* sums of owned parameters, and those on their way in; 0 with one rank */
    size_t saved;       /* the copy that is written while training goes on: 12 an owned parameter, or 0 */
    size_t activations; /* of one micro-batch */
    size_t tokens;      /* a number of tokens, not of bytes: those of one micro-batch */
    int threads;        /* each has its own activations */
    size_t total;
} km_memory;
/* What the trainer takes on this rank. */
void km_trainer_memory(km_memory *out, const km_trainer *trainer);
/* What the trainer of a run would take on `rank` of `ranks`. Local. */
void km_memory_plan(km_memory *out, const km_trainer_options *options, const km_model *model,
                    const km_reader *reader, int rank, int ranks);
/* Adds what a set of parameters for `table` takes. */
void km_memory_add_parameters(km_memory *memory, const km_table *table, bool bf16, int rank, int ranks);
/* Adds what saving in the background takes. */
void km_memory_add_saved(km_memory *memory, size_t bytes);
/* Prints it as "1.9 GB: 24.0 bytes a parameter (...), 1.0 MB a token ..."; the caller frees. */
char *km_memory_print(const km_memory *memory);

#endif
