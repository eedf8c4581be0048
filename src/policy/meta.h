/* meta: one outer step of a meta-learned policy (Ye et al. 2021, Eq. 3-8 and Algorithm 1): two inner steps of the model, and the gradient
 * of what they come to in the policy's parameters.
 *
 *   theta1 = theta0 - alpha0 grad L_pre(theta0; d(phi))     theta2 = theta1 - alpha1 grad L_ft(theta1)
 *   L' = L_ft(theta2) - L_ft(theta1)                         v2 = grad L_ft(theta2)
 *   v1 = dL'/dtheta1 = v2 - alpha1 H_ft(theta1) v2 - grad L_ft(theta1)
 *   dL'/dphi = -alpha0 d/dphi (grad L_pre(theta0; d(phi)) . v1)
 *
 * Both directional derivatives are central differences of gradients, at steps of KM_META_STEP / |v|. Losses are means over the target
 * tokens of the batch, without dropout. A micro-batch is the unit of arithmetic and gradients are summed exactly, so that a step has the
 * same bits on any number of ranks. */
#ifndef KMASK_POLICY_META_H
#define KMASK_POLICY_META_H

#include "train.h"

#define KM_META_STEP 3e-3

typedef struct km_meta_options {
    double alpha0, alpha1, beta, gamma, epsilon, temperature;
    bool hard;       /* decisions are 0 or 1; their gradient is that of the soft ones (straight-through) */
    bool loss_alone; /* L_ft(theta2) takes the place of L' */
    bool embeddings; /* the policy's embeddings get a gradient */
    int micro_batch;
} km_meta_options;

/* The examples of a step; all ranks have all. */
typedef struct km_meta_input {
    int count;
    const km_triple *triples; /* (count) */
    const float *gumbel;      /* noise, two numbers a token of the contexts, one context after the other */
    const int *first;         /* (count) the first token of each context among these */
} km_meta_input;

typedef struct km_meta_result {
    double loss_pretrain, loss_before, loss_after, meta_loss,
        regularizer; /* L_pre(theta0), L_ft(theta1), L_ft(theta2), what is minimized */
    double masked;   /* share of the contexts' tokens that may be masked */
    double within;   /* share of the contexts within the budget */
    const int64_t *
        gradient; /* of meta_loss + beta regularizer in phi: this rank's sums, see divisor; the next step's overwrite them */
    double divisor;
} km_meta_result;

typedef struct km_meta km_meta;
/* theta, phi and the pool are the caller's. No text has more than `length` tokens, no step more than `count` examples. Collective. */
km_status km_meta_create(km_meta **out, km_comm *comm, km_pool *pool, const km_model *model,
                         const km_tokenizer *tokenizer, const km_policy_net *net, km_parameters *theta,
                         km_parameters *phi, const km_meta_options *options, int length, int count) KM_NODISCARD;
void km_meta_destroy(km_meta *meta); /* NULL is fine */
/* Computes a step at theta->weights and phi->weights, and changes neither. Collective. */
km_status km_meta_step(km_meta *meta, const km_meta_input *input, km_meta_result *out) KM_NODISCARD;
const float *km_meta_theta1(const km_meta *meta); /* the model behind the inner pre-training step */
/* Adds the decisions of the last step for this rank's contexts to the counts; its input must still be there. */
void km_meta_count(const km_meta *meta, km_masked *masked);
const float *km_meta_decisions(const km_meta *meta); /* d of each token of this rank's contexts, as in the input */

#endif
