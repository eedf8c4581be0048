/* batches: threads take micro-batches one at a time, and add the gradient of each to a gradient sum. */
#include "kmask/train.h"

#include "kmask/kernel.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* What the threads of a rank share. */
typedef struct shared_work {
    const km_batch_work *work;
    km_gradient_sum *sum; /* NULL: no gradient is made */
    atomic_ullong next;   /* the micro-batch to take */
    pthread_mutex_t bad_lock;
    km_bad_value *bad;
} shared_work;

/* One thread at work on one micro-batch; the payload of its sink. */
typedef struct contribution {
    shared_work *shared;
    uint64_t number;
    int worker;
    int bucket; /* see km_gradient_sum_passed */
} contribution;

/* ---- Values that are not finite or out of range ---- */

static size_t first_bad(const float *gradient, size_t count) {
    size_t i = 0;
    while (i + 1 < count && fabsf(gradient[i]) < KM_FIXED_LIMIT) {
        i++;
    }
    return i;
}

static void mark_bad(contribution *c, size_t offset) {
    km_bad_value *bad = c->shared->bad;
    pthread_mutex_lock(&c->shared->bad_lock);
    if (!bad->found || c->number < bad->batch) {
        *bad = (km_bad_value){.found = true, .batch = c->number, .offset = offset};
    }
    pthread_mutex_unlock(&c->shared->bad_lock);
}

/* ---- The sink ---- */

/* Lets sums over ranks and the caller's poll hook advance. For the main thread only, which makes all MPI calls. */
static bool poll(shared_work *shared) {
    const km_batch_work *work = shared->work;
    const bool begun = shared->sum == NULL || km_gradient_sum_poll(shared->sum);
    if (work->poll != NULL) {
        work->poll(work->poll_payload);
    }
    return begun;
}

static void take_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    contribution *c = payload;
    if (!km_gradient_sum_add(c->shared->sum, offset, gradient, count)) {
        mark_bad(c, offset + first_bad(gradient, count));
    }
    km_heartbeat_progress(c->shared->work->comm);
    if (c->worker == 0) {
        (void)poll(c->shared);
    }
}

static void finish_from(void *payload, size_t offset) {
    contribution *c = payload;
    km_gradient_sum_passed(c->shared->sum, &c->bucket, offset);
    if (c->worker == 0) {
        (void)poll(c->shared);
    }
}

/* ---- The threads ---- */

static void take_batches(void *payload, int worker) {
    shared_work *shared = payload;
    const km_batch_work *work = shared->work;
    for (;;) {
        contribution c = {.shared = shared, .number = atomic_fetch_add(&shared->next, 1), .worker = worker};
        if (c.number >= work->count) {
            break;
        }
        const km_sink sink = {.payload = &c, .ready = take_slice, .done = finish_from};
        const double start = km_seconds();
        work->job(work->payload, work->first + c.number, worker, shared->sum != NULL ? &sink : NULL);
        km_heartbeat_progress(work->comm);
        if (worker == 0) {
            km_heartbeat_pace(work->comm, km_seconds() - start);
        }
    }
}

void km_batches_run(const km_batch_work *work, km_gradient_sum *sum, km_bad_value *bad) {
    shared_work shared = {.work = work, .sum = sum, .bad = bad};
    *bad = (km_bad_value){0};
    pthread_mutex_init(&shared.bad_lock, NULL);
    km_pool_begin(work->pool, take_batches, &shared);
    take_batches(&shared, 0);
    km_op_begin(KM_OP_IDLE);
    while (!poll(&shared)) { /* until the other threads' last micro-batches are done */
        sched_yield();
    }
    km_op_end();
    km_pool_end(work->pool);
    pthread_mutex_destroy(&shared.bad_lock);
}
