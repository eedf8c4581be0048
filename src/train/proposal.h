/* Private to train/: the network of the policy `proposal`, which is trained beside the model. It learns from each micro-batch of a step,
 * is updated after the model, and scores the rows of the next step before their masks are drawn. */
#ifndef KMASK_TRAIN_PROPOSAL_H
#define KMASK_TRAIN_PROPOSAL_H

#include "kmask/train.h"

/* What the ranks add up of a step, in units of 2^-KM_PROPOSAL_BITS: squared errors, and sums over masked tokens of the scores s, of the
 * true logarithms y, and of their products. */
enum { KM_PROPOSAL_BITS = 24 };
enum { KM_SCORE_ERROR, KM_SCORE_S, KM_SCORE_Y, KM_SCORE_SS, KM_SCORE_YY, KM_SCORE_SY, KM_SCORE_SUMS };

typedef struct km_proposal_trainer km_proposal_trainer;

/* Initial weights are functions of the seed. limits: of a micro-batch. Collective. */
km_status km_proposal_create(km_proposal_trainer **out, km_comm *comm, const km_trainer_options *options,
                             int workers, const km_batch_limits *limits) KM_NODISCARD;
void km_proposal_destroy(km_proposal_trainer *proposal); /* NULL is fine. Collective. */
km_parameters *km_proposal_parameters(km_proposal_trainer *proposal);
/* Bytes of the activations of one worker. */
size_t km_proposal_work_bytes(const km_policy_net *net, const km_batch_limits *limits);

/* Begins the gradient of a step, to which this rank adds `contributions` micro-batches. Local. */
void km_proposal_begin(km_proposal_trainer *proposal, int contributions, bool shared);
/* Adds the gradient of the squared errors of one micro-batch; norms (labelled): those of its labels' gradients. False where a value is not
 * finite or out of range. Any thread. */
bool km_proposal_learn(km_proposal_trainer *proposal, int worker, const km_batch *batch, const float *norms);
/* The sum over all ranks; sums (KM_SCORE_SUMS): those of this rank. Collective. */
void km_proposal_end(km_proposal_trainer *proposal, int64_t *sums);
/* The update of step `step`, with the gradient divided by the number of masked tokens. Collective. */
void km_proposal_update(km_proposal_trainer *proposal, km_pool *pool, int64_t step, int64_t masked);
/* Fills in the report from the sums of all ranks. */
void km_proposal_report(km_step_report *report, const int64_t *sums, int64_t masked);
/* For the reader. One row at a time, so that a row's scores depend on the row and the weights alone. */
km_scorer km_proposal_scorer(km_proposal_trainer *proposal);

#endif
