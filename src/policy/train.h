/* train: what the two kinds of training share. A training is a list of steps over examples in the order of km_order; a kind makes one
 * step, and may evaluate. */
#ifndef KMASK_POLICY_TRAIN_H
#define KMASK_POLICY_TRAIN_H

#include "examples.h"
#include "file.h"

enum { KM_POLICY_LOSS_BITS = 24 }; /* losses are added up across ranks in units of 2^-24 */

typedef struct km_policy_training {
    km_comm *comm;
    const km_policy_input *input;
    const struct km_training_kind *kind;
    km_bundle *bundle;       /* the model of policy.init; NULL: it is a tokenizer alone */
    km_tokenizer *tokenizer; /* the bundle's, or of its own */
    km_hash examples_hash, init_hash;
    km_triples train, dev;
    km_policy_net *net;
    km_parameters *parameters; /* the policy's */
    float *best;               /* supervised: the weights of the best epoch */
    double best_loss;
    int64_t best_step;
    km_pool *pool;
    int64_t step, steps, epoch_steps;
    void *own; /* the kind's */
} km_policy_training;

/* What a step or an evaluation adds to its line of the log. */
typedef struct km_training_kind {
    km_status (*begin)(km_policy_training *t);
    /* Makes step t->step, which then counts. Collective. */
    km_status (*step)(km_policy_training *t, km_json *line);
    /* After the last step of an epoch. NULL: there is no evaluation. Collective. */
    km_status (*evaluate)(km_policy_training *t, km_json *line);
    void (*end)(km_policy_training *t);
    bool has_moments, has_best;
    /* A second network whose weights are part of the state; NULL: none. */
    km_parameters *(*model)(const km_policy_training *t);
} km_training_kind;
extern const km_training_kind km_training_supervised, km_training_meta;

/* The number of the example at a place of the training. */
size_t km_training_example(const km_policy_training *t, uint64_t place);

/* ---- Sums over micro-batches (sum.c) ---- */

/* The sums of the elements that this rank owns, as km_gradient_sum_end returns them. A value that is not finite or out of range is
 * KM_FAILED on all ranks, and *sums NULL. Collective. */
km_status km_sum_batches(const int64_t **sums, km_parameters *parameters, const km_batch_work *work) KM_NODISCARD;
/* Calls the job for all micro-batches without a sum; `sink` is NULL. Local. */
void km_run_batches(const km_batch_work *work);
/* The sum of a double of each micro-batch, in fixed point: the same bits on any number of ranks. */
int64_t km_loss_units(double loss);
double km_loss_of_units(int64_t units);

/* ---- What is masked (masked.c) ---- */

/* Counts for each piece of the vocabulary: how often it stands in contexts, and how much of that is masked. */
typedef struct km_masked {
    int pieces;
    int64_t *masked, *seen; /* (pieces) masked: in the units of km_loss_units */
} km_masked;
void km_masked_create(km_masked *out, int pieces);
void km_masked_free(km_masked *masked);
void km_masked_add(km_masked *masked, int32_t id, double decision); /* 0: seen, 1: masked */
void km_masked_join(km_masked *into, km_masked *from);              /* clears `from` */
/* Adds "most_masked" to a line of the log: [[piece, share of all masked tokens, masked share of its own tokens], ...], the ten that are masked
 * most, over all ranks. Clears the counts. Collective. */
void km_masked_report(km_masked *masked, km_comm *comm, const km_tokenizer *tokenizer, km_json *line);

/* ---- Checkpoints (state.c) ---- */

/* Goes on with the newest valid checkpoint of the run folder where there is one; t->step then is above 0. Collective. */
km_status km_training_resume(km_policy_training *t) KM_NODISCARD;
/* Collective. */
km_status km_training_save(km_policy_training *t, km_metrics *metrics) KM_NODISCARD;

#endif
