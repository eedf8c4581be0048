/* optimizer: from integer sums to new weights, each rank on the parts that it owns. */
#ifndef KMASK_TRAIN_OPTIMIZER_H
#define KMASK_TRAIN_OPTIMIZER_H

#include "trainer.h"

/* The gradient's global norm. `sums`: the owned sums, compact; `divisor`: what the summed loss is divided by. The
 * squares of blocks are added in the table's order, so all ranks and all rank counts get the same bits. Collective. */
double km_gradient_norm(km_trainer *trainer, const int64_t *sums, double divisor);
/* AdamW on the owned parts (clipped by optimizer.clip), then everyone gets all weights. Collective. */
void km_optimizer_update(km_trainer *trainer, const int64_t *sums, double divisor, double norm, double lr);

/* Walks the parameters that a stretch of the table touches: `visit` gets each overlap. Local. */
typedef km_status km_overlap(void *payload, const km_param *param, size_t first, size_t count);
km_status km_table_walk(const km_table *table, size_t first, size_t count, km_overlap *visit, void *payload);

#endif
