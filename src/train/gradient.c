/* gradient: the gradient and the loss of a step's micro-batches, added to the gradient sum and to the report. */
#include "gradient.h"
#include "proposal.h"

#include <math.h>
#include <pthread.h>

/* What the threads of a rank share during a step. */
typedef struct shared_work {
    km_trainer *trainer;
    const km_batch *batches;
    pthread_mutex_t report_lock;
    km_gradient_report *report;
} shared_work;

/* Of a micro-batch whose loss and gradient are both bad, the gradient is named: it says which parameter. */
static void mark_bad(km_gradient_report *report, int batch, size_t offset) {
    const bool before = report->bad_batch < 0 || batch < report->bad_batch;
    if (before || (batch == report->bad_batch && offset < KM_BAD_PROPOSAL)) {
        report->bad_batch = batch;
        report->bad_offset = offset;
    }
}

static void add_loss(shared_work *work, int number, const km_loss_sum *loss) {
    const km_batch *batch = &work->batches[number];
    km_gradient_report *report = work->report;
    double units = loss->loss * (double)(1 << KM_LOSS_BITS);
    bool good = isfinite(units) && fabs(units) < 0x1p52;
    pthread_mutex_lock(&work->report_lock);
    if (!good) {
        mark_bad(report, number, KM_BAD_LOSS);
    }
    report->loss_units += good ? llrint(units) : 0;
    report->masked += loss->masked;
    report->correct += loss->correct;
    report->tokens += batch->input.tokens;
    report->flops += km_model_flops(work->trainer->model, batch);
    pthread_mutex_unlock(&work->report_lock);
}

static void compute(void *payload, uint64_t number, int worker, const km_sink *sink) {
    shared_work *work = payload;
    const km_trainer *t = work->trainer;
    km_loss_sum loss = {0};
    km_model_gradient(t->model, t->parameters->weights, &work->batches[number], t->options.seed, true,
                      t->works[worker], sink, &loss);
    add_loss(work, (int)number, &loss);
    if (t->proposal != NULL &&
        !km_proposal_learn(t->proposal, worker, &work->batches[number], km_work_norms(t->works[worker]))) {
        pthread_mutex_lock(&work->report_lock);
        mark_bad(work->report, (int)number, KM_BAD_PROPOSAL);
        pthread_mutex_unlock(&work->report_lock);
    }
}

void km_gradient(km_trainer *t, km_gradient_sum *sum, const km_batch *batches, int count,
                 km_gradient_report *report) {
    *report = (km_gradient_report){.bad_batch = -1};
    shared_work shared = {.trainer = t, .batches = batches, .report = report};
    const km_batch_work work = {.comm = t->comm,
                                .pool = t->pool,
                                .count = (uint64_t)count,
                                .job = compute,
                                .payload = &shared,
                                .poll = t->poll,
                                .poll_payload = t->poll_payload};
    km_bad_value bad;
    pthread_mutex_init(&shared.report_lock, NULL);
    km_parameters_round(t->parameters, t->pool);
    km_batches_run(&work, sum, &bad);
    if (bad.found) {
        mark_bad(report, (int)bad.batch, bad.offset);
    }
    pthread_mutex_destroy(&shared.report_lock);
}
