/* schedule: the learning rate as a function of the step. */
#ifndef KMASK_TRAIN_SCHEDULE_H
#define KMASK_TRAIN_SCHEDULE_H

#include "kmask/base.h"

/* The factor that optimizer.lr is multiplied by for update `step`, counted from 1. During the warmup it is step / warmup. After it, with
 * t = (step - 1 - warmup) / (steps - warmup), the share of the remaining updates that are done, it is
 *
 *     linear         1 - t
 *     cosine         (1 + cos(pi t)) / 2
 *     constant       1
 *     inverse_sqrt   sqrt(max(warmup, 1) / step)
 *
 * Linear and cosine are those of HuggingFace transformers, where t is 0 for the first update after the warmup, so that the last update
 * still has a rate above 0. */
double km_schedule_factor(const char *name, int64_t step, int64_t warmup, int64_t steps);

#endif
