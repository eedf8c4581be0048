/* optimizer: from integer sums to new weights, each rank on the parts that it owns. */
#ifndef KMASK_TRAIN_OPTIMIZER_H
#define KMASK_TRAIN_OPTIMIZER_H

#include "kmask/train.h"

/* The gradient's global norm. `sums`: the owned sums, compact; `divisor`: what the summed loss is divided by. The
 * squares of blocks are added in the table's order, so all ranks and all rank counts get the same bits. Collective. */
double km_gradient_norm(km_trainer *trainer, const int64_t *sums, double divisor);
/* AdamW on the owned parts (clipped by optimizer.clip), then everyone gets all weights. Collective. */
void km_optimizer_update(km_trainer *trainer, const int64_t *sums, double divisor, double norm, double lr);

#endif
