/* The learning rate as a function of the step. */
#ifndef KMASK_TRAIN_SCHEDULE_H
#define KMASK_TRAIN_SCHEDULE_H

#include "kmask/base.h"

/* The factor on optimizer.lr for update `step` (from 1). Warm-up is linear from 0: step / warmup. Then, with t the
 * share of the remaining way that lies behind (as HuggingFace has it: (step - warmup) / (steps - warmup)):
 * linear 1 - t, cosine (1 + cos(pi t)) / 2, constant 1, inverse_sqrt sqrt(max(warmup, 1) / step). The update's
 * number counts from 1, and the schedule is read at step - 1 after warm-up, so that the last update is not 0. */
double km_schedule_factor(const char *name, int64_t step, int64_t warmup, int64_t steps);

#endif
