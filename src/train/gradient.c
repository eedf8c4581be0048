#include "gradient.h"

#include "timed.h"

#include "kmask/kernel.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Threads add to the same sum: a lock guards each stretch of STRETCH elements, LOCKS of them in turn. */
enum { STRETCH = 1 << 15, LOCKS = 64 };

typedef struct shared {
    km_trainer *trainer;
    const km_batch *batches;
    int count;
    atomic_int next;         /* micro-batch to take */
    atomic_int *bucket_done; /* (buckets) micro-batches that will add nothing more to it */
    int begun;               /* buckets whose sum has started; main thread only */
    bool *written;           /* (stretches) this step; what is there before is the last step's */
    pthread_mutex_t locks[LOCKS];
    pthread_mutex_t report_lock;
    km_gradient_report *report;
} shared;

/* One thread's view, the sink's payload. */
typedef struct part {
    shared *all;
    int worker, batch;
    int next_bucket; /* the first bucket that this micro-batch has not finished */
    bool alone;      /* one worker: no locks */
} part;

static void mark_bad(part *p, size_t offset) {
    pthread_mutex_lock(&p->all->report_lock);
    km_gradient_report *report = p->all->report;
    if (report->bad_batch < 0 || p->batch < report->bad_batch) {
        report->bad_batch = p->batch;
        report->bad_offset = offset;
    }
    pthread_mutex_unlock(&p->all->report_lock);
}

static void clear_stretch(const shared *all, size_t stretch) {
    size_t first = stretch * STRETCH, size = all->trainer->table->size;
    memset(all->trainer->sum + first, 0, KM_MIN((size_t)STRETCH, size - first) * sizeof(int64_t));
    all->written[stretch] = true;
}

/* Within one stretch, whose lock is held. The first gradient of a whole stretch is written over the last step's sum:
 * clearing all of it, to read the zeros again, would take as long as a good part of the update. */
static bool add_piece(const shared *all, size_t offset, const float *gradient, size_t count) {
    const size_t stretch = offset / STRETCH;
    int64_t *sum = all->trainer->sum + offset;
    if (!all->written[stretch] && count == STRETCH) {
        all->written[stretch] = true;
        return km_fixed_set(sum, gradient, count);
    }
    if (!all->written[stretch]) {
        clear_stretch(all, stretch);
    }
    return km_fixed_add(sum, gradient, count);
}

/* Where no gradient came, such as positions beyond the longest view. */
static void clear_unwritten(shared *all, int bucket) {
    size_t first = 0, count = 0;
    km_exchange_bucket(all->trainer->exchange, bucket, &first, &count);
    for (size_t stretch = first / STRETCH; stretch * STRETCH < first + count; stretch++) {
        pthread_mutex_lock(&all->locks[stretch % LOCKS]);
        if (!all->written[stretch]) {
            clear_stretch(all, stretch);
        }
        pthread_mutex_unlock(&all->locks[stretch % LOCKS]);
    }
}

/* Main thread only. */
static void poll(const km_trainer *t) {
    km_exchange_poll(t->exchange);
    if (t->poll != NULL) {
        t->poll(t->poll_payload);
    }
}

static void begin_complete_buckets(shared *all) {
    km_trainer *t = all->trainer;
    while (all->begun < km_exchange_buckets(t->exchange) &&
           atomic_load_explicit(&all->bucket_done[all->begun], memory_order_acquire) == all->count) {
        clear_unwritten(all, all->begun);
        km_exchange_begin(t->exchange, all->begun, t->sum);
        all->begun++;
    }
    poll(t);
}

static void take_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    part *p = payload;
    bool good = true;
    while (count > 0) {
        size_t piece = KM_MIN(count, STRETCH - offset % STRETCH);
        pthread_mutex_t *lock = &p->all->locks[offset / STRETCH % LOCKS];
        if (!p->alone) {
            pthread_mutex_lock(lock);
        }
        bool fits = add_piece(p->all, offset, gradient, piece);
        if (!p->alone) {
            pthread_mutex_unlock(lock);
        }
        if (!fits && good) {
            good = false;
            mark_bad(p, offset);
        }
        offset += piece;
        gradient += piece;
        count -= piece;
    }
    km_pulse_tick(p->all->trainer->comm);
    if (p->worker == 0) {
        poll(p->all->trainer);
    }
}

static void finish_from(void *payload, size_t offset) {
    part *p = payload;
    km_exchange *exchange = p->all->trainer->exchange;
    while (p->next_bucket < km_exchange_buckets(exchange)) {
        size_t first = 0, count = 0;
        km_exchange_bucket(exchange, p->next_bucket, &first, &count);
        if (first < offset) {
            break;
        }
        atomic_fetch_add_explicit(&p->all->bucket_done[p->next_bucket], 1, memory_order_release);
        p->next_bucket++;
    }
    if (p->worker == 0) {
        begin_complete_buckets(p->all);
    }
}

static void add_loss(part *p, const km_batch *batch, const km_loss_sum *loss) {
    double units = loss->loss * (double)(1 << KM_LOSS_BITS);
    bool good = isfinite(units) && fabs(units) < 0x1p52;
    if (!good) {
        mark_bad(p, SIZE_MAX);
    }
    pthread_mutex_lock(&p->all->report_lock);
    km_gradient_report *report = p->all->report;
    report->loss_units += good ? llrint(units) : 0;
    report->masked += loss->masked;
    report->correct += loss->correct;
    report->tokens += batch->input.tokens;
    report->flops += km_model_flops(p->all->trainer->model, batch);
    pthread_mutex_unlock(&p->all->report_lock);
}

static void work(void *payload, int worker) {
    shared *all = payload;
    km_trainer *t = all->trainer;
    part p = {.all = all, .worker = worker, .alone = km_pool_workers(t->pool) == 1};
    const km_sink sink = {.payload = &p, .ready = take_slice, .done = finish_from};
    for (;;) {
        p.batch = atomic_fetch_add(&all->next, 1);
        if (p.batch >= all->count) {
            break;
        }
        p.next_bucket = 0;
        km_loss_sum loss = {0};
        const km_batch *batch = &all->batches[p.batch];
        double start = km_seconds();
        km_model_gradient(t->model, t->weights, batch, (uint64_t)t->config->run.seed, true, t->works[worker], &sink,
                          &loss);
        add_loss(&p, batch, &loss);
        if (worker == 0) {
            km_pulse_pace(t->comm, km_seconds() - start);
        }
    }
}

/* This worker's share of the weights, as the step's products read them. */
static void round_weights(void *payload, int worker) {
    const km_trainer *t = payload;
    const size_t blocks = t->table->size / KM_BLOCK, workers = (size_t)km_pool_workers(t->pool), w = (size_t)worker;
    const size_t first = blocks * w / workers * KM_BLOCK, end = blocks * (w + 1) / workers * KM_BLOCK;
    km_bf16_round(t->rounded + first, t->weights + first, end - first);
}

void km_gradient(km_trainer *t, const km_batch *batches, int count, km_gradient_report *report) {
    *report = (km_gradient_report){.bad_batch = -1};
    shared all = {.trainer = t, .batches = batches, .count = count, .report = report};
    int buckets = km_exchange_buckets(t->exchange);
    all.bucket_done = km_new((size_t)buckets, sizeof *all.bucket_done);
    all.written = km_new(t->table->size / STRETCH + 1, sizeof *all.written);
    pthread_mutex_init(&all.report_lock, NULL);
    for (int i = 0; i < LOCKS; i++) {
        pthread_mutex_init(&all.locks[i], NULL);
    }
    if (t->rounded != NULL) {
        km_pool_run(t->pool, round_weights, t);
    }
    km_pool_begin(t->pool, work, &all);
    work(&all, 0);
    km_op_begin(KM_OP_IDLE);
    while (all.begun < buckets) { /* the other threads' last micro-batches */
        begin_complete_buckets(&all);
        sched_yield();
    }
    km_op_end();
    km_pool_end(t->pool);
    for (int i = 0; i < LOCKS; i++) {
        pthread_mutex_destroy(&all.locks[i]);
    }
    pthread_mutex_destroy(&all.report_lock);
    free(all.bucket_done);
    free(all.written);
}
