/* sum: threads take micro-batches, and add the gradient of each to the exact sum. */
#include "train.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct shared_work {
    const km_batches *batches;
    km_gradient_sum *sum; /* NULL: there is none */
    atomic_ullong next;
    atomic_bool bad;
} shared_work;

/* One micro-batch: the payload of its sink. */
typedef struct contribution {
    shared_work *work;
    int bucket;
} contribution;

static void take_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    contribution *c = payload;
    if (!km_gradient_sum_add(c->work->sum, offset, gradient, count)) {
        atomic_store(&c->work->bad, true);
    }
}

static void finish_from(void *payload, size_t offset) {
    contribution *c = payload;
    km_gradient_sum_passed(c->work->sum, &c->bucket, offset);
}

static void take_batches(void *payload, int worker) {
    shared_work *work = payload;
    for (;;) {
        const uint64_t number = atomic_fetch_add(&work->next, 1);
        if (number >= work->batches->count) {
            break;
        }
        contribution c = {.work = work};
        const km_sink sink = {.payload = &c, .ready = take_slice, .done = finish_from};
        work->batches->job(work->batches->payload, work->batches->first + number, worker,
                           work->sum != NULL ? &sink : NULL);
        km_heartbeat_progress(work->batches->comm);
    }
}

void km_run_batches(const km_batches *batches) {
    shared_work work = {.batches = batches};
    km_pool_run(batches->pool, take_batches, &work);
}

km_status km_sum_batches(const int64_t **sums, km_parameters *parameters, const km_batches *batches) {
    shared_work work = {.batches = batches};
    *sums = NULL;
    work.sum = km_gradient_sum_begin(parameters, (int)batches->count, km_pool_workers(batches->pool) > 1);
    km_pool_run(batches->pool, take_batches, &work);
    while (!km_gradient_sum_poll(work.sum)) {
        sched_yield();
    }
    const int64_t *found = km_gradient_sum_end(work.sum);
    int64_t bad = atomic_load(&work.bad);
    km_comm_sum(batches->comm, &bad, 1);
    if (bad > 0) {
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
