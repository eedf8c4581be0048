/* timed: the same for the kernels that train/ calls itself; see src/model/timed.h. Included by trainer.h. */
#ifndef KMASK_TRAIN_TIMED_H
#define KMASK_TRAIN_TIMED_H

#include "kmask/base.h"
#include "kmask/kernel.h"

static inline bool km_timed_bool(bool value) {
    km_op_end();
    return value;
}
static inline double km_timed_double(double value) {
    km_op_end();
    return value;
}

#define km_fixed_add(...) (km_op_begin(KM_OP_EXACT_SUM), km_timed_bool(km_fixed_add(__VA_ARGS__)))
#define km_fixed_set(...) (km_op_begin(KM_OP_EXACT_SUM), km_timed_bool(km_fixed_set(__VA_ARGS__)))
#define km_fixed_squares(...) (km_op_begin(KM_OP_OPTIMIZER), km_timed_double(km_fixed_squares(__VA_ARGS__)))
#define km_adamw_update(...) KM_TIMED(KM_OP_OPTIMIZER, km_adamw_update(__VA_ARGS__))
#define km_bf16_round(...) KM_TIMED(KM_OP_ROUNDING, km_bf16_round(__VA_ARGS__))

#endif
