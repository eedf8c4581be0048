/* gradient: threads take micro-batches, and add the gradient and the loss of each to the gradient sum and the report. */
#include "gradient.h"
#include "proposal.h"

#include "kmask/kernel.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What the threads of a rank share during a step. */
typedef struct shared_work {
    km_trainer *trainer;
    km_gradient_sum *sum;
    const km_batch *batches;
    int count;
    atomic_int next; /* the micro-batch to take */
    pthread_mutex_t report_lock;
    km_gradient_report *report;
} shared_work;

/* One thread at work on one micro-batch; the payload of the model's sink. */
typedef struct contribution {
    shared_work *work;
    int worker, batch;
    int bucket; /* see km_gradient_sum_passed */
} contribution;

/* ---- Values that are not finite or out of range ---- */

static void mark_bad(contribution *c, size_t offset) {
    pthread_mutex_lock(&c->work->report_lock);
    km_gradient_report *report = c->work->report;
    if (report->bad_batch < 0 || c->batch < report->bad_batch) {
        report->bad_batch = c->batch;
        report->bad_offset = offset;
    }
    pthread_mutex_unlock(&c->work->report_lock);
}

static size_t first_bad(const float *gradient, size_t count) {
    size_t i = 0;
    while (i + 1 < count && fabsf(gradient[i]) < KM_FIXED_LIMIT) {
        i++;
    }
    return i;
}

/* ---- The model's sink ---- */

/* Lets sums over ranks and the trainer's poll hook advance. For the main thread only, which makes all MPI calls. */
static bool poll(shared_work *work) {
    const km_trainer *t = work->trainer;
    const bool begun = km_gradient_sum_poll(work->sum);
    if (t->poll != NULL) {
        t->poll(t->poll_payload);
    }
    return begun;
}

static void take_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    contribution *c = payload;
    if (!km_gradient_sum_add(c->work->sum, offset, gradient, count)) {
        mark_bad(c, offset + first_bad(gradient, count));
    }
    km_heartbeat_progress(c->work->trainer->comm);
    if (c->worker == 0) {
        (void)poll(c->work);
    }
}

static void finish_from(void *payload, size_t offset) {
    contribution *c = payload;
    km_gradient_sum_passed(c->work->sum, &c->bucket, offset);
    if (c->worker == 0) {
        (void)poll(c->work);
    }
}

/* ---- The threads ---- */

static void add_loss(contribution *c, const km_batch *batch, const km_loss_sum *loss) {
    double units = loss->loss * (double)(1 << KM_LOSS_BITS);
    bool good = isfinite(units) && fabs(units) < 0x1p52;
    if (!good) {
        mark_bad(c, KM_BAD_LOSS);
    }
    pthread_mutex_lock(&c->work->report_lock);
    km_gradient_report *report = c->work->report;
    report->loss_units += good ? llrint(units) : 0;
    report->masked += loss->masked;
    report->correct += loss->correct;
    report->tokens += batch->input.tokens;
    report->flops += km_model_flops(c->work->trainer->model, batch);
    pthread_mutex_unlock(&c->work->report_lock);
}

static void compute(contribution *c) {
    const km_trainer *t = c->work->trainer;
    const km_batch *batch = &c->work->batches[c->batch];
    const km_sink sink = {.payload = c, .ready = take_slice, .done = finish_from};
    km_loss_sum loss = {0};
    km_model_gradient(t->model, t->parameters->weights, batch, t->options.seed, true, t->works[c->worker], &sink,
                      &loss);
    add_loss(c, batch, &loss);
    if (t->proposal != NULL &&
        !km_proposal_learn(t->proposal, c->worker, batch, km_work_norms(t->works[c->worker]))) {
        mark_bad(c, KM_BAD_PROPOSAL);
    }
}

static void take_batches(void *payload, int worker) {
    shared_work *work = payload;
    for (;;) {
        contribution c = {.work = work, .worker = worker, .batch = atomic_fetch_add(&work->next, 1)};
        if (c.batch >= work->count) {
            break;
        }
        const double start = km_seconds();
        compute(&c);
        if (worker == 0) {
            km_heartbeat_pace(work->trainer->comm, km_seconds() - start);
        }
    }
}

void km_gradient(km_trainer *t, km_gradient_sum *sum, const km_batch *batches, int count,
                 km_gradient_report *report) {
    *report = (km_gradient_report){.bad_batch = -1};
    shared_work work = {.trainer = t, .sum = sum, .batches = batches, .count = count, .report = report};
    pthread_mutex_init(&work.report_lock, NULL);
    km_parameters_round(t->parameters, t->pool);
    km_pool_begin(t->pool, take_batches, &work);
    take_batches(&work, 0);
    km_op_begin(KM_OP_IDLE);
    while (!poll(&work)) { /* until the other threads' last micro-batches are done */
        sched_yield();
    }
    km_op_end();
    km_pool_end(t->pool);
    pthread_mutex_destroy(&work.report_lock);
}
