/* sum: the exact sum of a gradient over micro-batches, and losses in fixed point. */
#include "train.h"

#include <math.h>

void km_run_batches(const km_batch_work *work) {
    km_bad_value bad;
    km_batches_run(work, NULL, &bad);
}

km_status km_sum_batches(const int64_t **sums, km_parameters *parameters, const km_batch_work *work) {
    km_bad_value bad;
    *sums = NULL;
    km_gradient_sum *sum = km_gradient_sum_begin(parameters, (int)work->count, km_pool_workers(work->pool) > 1);
    km_batches_run(work, sum, &bad);
    const int64_t *found = km_gradient_sum_end(sum);
    int64_t wrong = bad.found;
    km_comm_sum(work->comm, &wrong, 1);
    if (wrong > 0) {
        return km_fail(KM_FAILED, "the gradient is not finite or out of range. Lower the rates (policy.lr, "
                                  "policy.alpha0, policy.alpha1, policy.alpha2).");
    }
    *sums = found;
    return KM_OK;
}

int64_t km_loss_units(double loss) {
    return isfinite(loss) && fabs(loss) < 0x1p36 ? llrint(ldexp(loss, KM_POLICY_LOSS_BITS)) : INT64_C(1) << 61;
}

double km_loss_of_units(int64_t units) {
    return ldexp((double)units, -KM_POLICY_LOSS_BITS);
}
