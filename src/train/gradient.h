/* gradient: a step's gradient on one rank. Threads take micro-batches one at a time and add their gradients to a
 * km_gradient_sum. */
#ifndef KMASK_TRAIN_GRADIENT_H
#define KMASK_TRAIN_GRADIENT_H

#include "kmask/train.h"

typedef struct km_gradient_report {
    int64_t loss_units; /* this rank's summed loss in units of 2^-24, rounded for each micro-batch */
    int64_t masked, correct, tokens;
    double flops;
    int bad_batch; /* the first micro-batch with a value that is not finite or out of range, of this rank; -1: none */
    size_t bad_offset; /* offset of that value in the table; or one of those below */
} km_gradient_report;

#define KM_BAD_LOSS SIZE_MAX
#define KM_BAD_PROPOSAL (SIZE_MAX - 1) /* the gradient of the network that proposes masks */

enum { KM_LOSS_BITS = 24 };

/* Adds the gradients of `count` micro-batches, each of them a contribution, to `sum`, and begins the sums over ranks of all
 * buckets. Collective. */
void km_gradient(km_trainer *trainer, km_gradient_sum *sum, const km_batch *batches, int count,
                 km_gradient_report *report);

#endif
