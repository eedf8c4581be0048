/* proposal: training the network that proposes masks. Its score of a token is to be the logarithm of the norm of the loss' gradient where
 * that token is masked, as the output layer has it (km_work_norms). It sees the rows before masking. */
#include "proposal.h"

#include "kmask/kernel.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

/* Norms below this count as this: a token that is predicted with certainty has none. */
static const float LEAST_NORM = 1e-4f;

/* What one worker needs. */
typedef struct desk {
    km_policy_work *work;
    int32_t *starts, *ids; /* (views + 1), (tokens): the rows of a micro-batch, unmasked */
    int *first;            /* (views) where the row of each view begins in ids */
    float *errors;         /* (tokens) gradient of the scores */
} desk;

struct km_proposal_trainer {
    const km_policy_net *net;
    km_parameters *parameters;
    km_optimizer_config optimizer;
    int workers;
    desk *desks;           /* (workers) */
    km_policy_work *alone; /* for one row, the reader's */
    km_gradient_sum *sum;
    const int64_t *sums;  /* of the parameters that this rank owns, behind km_proposal_end */
    pthread_mutex_t lock; /* guards what follows */
    int64_t scores[KM_SCORE_SUMS];
};

/* ---- Creating ---- */

static km_status set_desk(desk *d, const km_policy_net *net, const km_batch_limits *limits) {
    d->starts = km_new((size_t)limits->views + 1, sizeof *d->starts);
    d->ids = km_new((size_t)limits->tokens, sizeof *d->ids);
    d->first = km_new((size_t)limits->views, sizeof *d->first);
    d->errors = km_new((size_t)limits->tokens, sizeof *d->errors);
    return km_policy_work_create(&d->work, net, limits->tokens, limits->views);
}

static km_status make_desks(km_proposal_trainer *p, const km_batch_limits *limits) {
    p->desks = km_new((size_t)p->workers, sizeof *p->desks);
    for (int i = 0; i < p->workers; i++) {
        KM_TRY(set_desk(&p->desks[i], p->net, limits));
    }
    return km_policy_work_create(&p->alone, p->net, limits->longest, 1);
}

km_status km_proposal_create(km_proposal_trainer **out, km_comm *comm, const km_trainer_options *options,
                             int workers, const km_batch_limits *limits) {
    km_proposal_trainer *p = *out = km_new(1, sizeof *p);
    const km_table *table = km_policy_net_table(options->proposal);
    p->net = options->proposal;
    p->workers = workers;
    p->optimizer =
        (km_optimizer_config){.lr = options->proposal_lr, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8, .clip = 1};
    pthread_mutex_init(&p->lock, NULL);
    km_status status = km_parameters_create(&p->parameters, comm, table, false);
    if (status == KM_OK) {
        status = km_comm_agree(comm, make_desks(p, limits));
    }
    if (status != KM_OK) {
        km_proposal_destroy(p);
        *out = NULL;
        return status;
    }
    if (km_comm_rank(comm) == 0) {
        km_policy_net_init(p->net, p->parameters->weights, options->seed);
    }
    km_comm_broadcast(comm, p->parameters->weights, table->size * sizeof *p->parameters->weights);
    return KM_OK;
}

void km_proposal_destroy(km_proposal_trainer *p) {
    if (p == NULL) {
        return;
    }
    for (int i = 0; p->desks != NULL && i < p->workers; i++) {
        km_policy_work_destroy(p->desks[i].work);
        free(p->desks[i].starts);
        free(p->desks[i].ids);
        free(p->desks[i].first);
        free(p->desks[i].errors);
    }
    free(p->desks);
    km_policy_work_destroy(p->alone);
    km_parameters_destroy(p->parameters);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

km_parameters *km_proposal_parameters(km_proposal_trainer *p) {
    return p->parameters;
}

size_t km_proposal_work_bytes(const km_policy_net *net, const km_batch_limits *limits) {
    const size_t tokens = (size_t)limits->tokens, views = (size_t)limits->views;
    return km_policy_work_bytes(net, limits->tokens, limits->views) + tokens * (sizeof(int32_t) + sizeof(float)) +
           views * (sizeof(int32_t) + sizeof(int));
}

/* ---- A micro-batch ---- */

/* The payload of the network's sink. */
typedef struct contribution {
    km_gradient_sum *sum;
    int bucket;
    bool good;
} contribution;

static void take_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    contribution *c = payload;
    c->good = km_gradient_sum_add(c->sum, offset, gradient, count) && c->good;
}

static void finish_from(void *payload, size_t offset) {
    contribution *c = payload;
    km_gradient_sum_passed(c->sum, &c->bucket, offset);
}

/* The rows of a micro-batch as they are without masks, each once: views of a row follow each other. Returns their number. */
static int unmask(desk *d, const km_batch *batch, km_stream *out) {
    const km_stream *shown = &batch->input;
    int rows = 0;
    *out = (km_stream){.starts = d->starts, .ids = d->ids};
    d->starts[0] = 0;
    for (int v = 0; v < batch->views; v++) {
        if (v > 0 && batch->rows[v] == batch->rows[v - 1]) {
            d->first[v] = d->first[v - 1];
            continue;
        }
        d->first[v] = out->tokens;
        for (int i = shown->starts[v]; i < shown->starts[v + 1]; i++) {
            d->ids[out->tokens++] = shown->ids[i];
        }
        d->starts[++rows] = out->tokens;
        out->longest = KM_MAX(out->longest, out->tokens - d->first[v]);
    }
    return rows;
}

/* The place in the rows of label m; *view goes on to the view that it is in. */
static int place_of(const desk *d, const km_batch *batch, int m, int *view) {
    while (batch->at[m] >= batch->input.starts[*view + 1]) {
        ++*view;
    }
    return d->first[*view] + batch->at[m] - batch->input.starts[*view];
}

static void put_labels(desk *d, const km_batch *batch) {
    for (int m = 0, view = 0; m < batch->labelled; m++) {
        d->ids[place_of(d, batch, m, &view)] = batch->labels[m];
    }
}

static int64_t units_of(double value) {
    const double units = ldexp(value, KM_PROPOSAL_BITS);
    return isfinite(units) && fabs(units) < 0x1p52 ? llrint(units) : INT64_C(1) << 52;
}

static void add_scores(km_proposal_trainer *p, const double *sums) {
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < KM_SCORE_SUMS; i++) {
        p->scores[i] += units_of(sums[i]);
    }
    pthread_mutex_unlock(&p->lock);
}

/* errors = the gradient of the sum of (s - y)^2 over the labels. */
static void find_errors(km_proposal_trainer *p, desk *d, const km_batch *batch, const float *scores, int tokens,
                        const float *norms) {
    double sums[KM_SCORE_SUMS] = {0};
    for (int i = 0; i < tokens; i++) {
        d->errors[i] = 0;
    }
    for (int m = 0, view = 0; m < batch->labelled; m++) {
        const int at = place_of(d, batch, m, &view);
        const float s = scores[at], y = logf(fmaxf(norms[m], LEAST_NORM)), error = s - y;
        d->errors[at] += 2 * error;
        const double terms[KM_SCORE_SUMS] = {[KM_SCORE_ERROR] = (double)error * (double)error,
                                             [KM_SCORE_S] = (double)s,
                                             [KM_SCORE_Y] = (double)y,
                                             [KM_SCORE_SS] = (double)s * (double)s,
                                             [KM_SCORE_YY] = (double)y * (double)y,
                                             [KM_SCORE_SY] = (double)s * (double)y};
        for (int i = 0; i < KM_SCORE_SUMS; i++) {
            sums[i] += terms[i];
        }
    }
    add_scores(p, sums);
}

void km_proposal_begin(km_proposal_trainer *p, int contributions, bool shared) {
    p->sum = km_gradient_sum_begin(p->parameters, contributions, shared);
    for (int i = 0; i < KM_SCORE_SUMS; i++) {
        p->scores[i] = 0;
    }
}

bool km_proposal_learn(km_proposal_trainer *p, int worker, const km_batch *batch, const float *norms) {
    desk *d = &p->desks[worker];
    contribution c = {.sum = p->sum, .good = true};
    const km_sink sink = {.payload = &c, .ready = take_slice, .done = finish_from};
    if (batch->labelled == 0) {
        finish_from(&c, 0);
        return true;
    }
    km_stream rows;
    const int count = unmask(d, batch, &rows);
    put_labels(d, batch);
    const float *scores = km_policy_forward(p->net, p->parameters->weights, &rows, count, d->work);
    find_errors(p, d, batch, scores, rows.tokens, norms);
    km_policy_backward(p->net, p->parameters->weights, &rows, count, d->errors, true, d->work, &sink);
    return c.good;
}

/* ---- A step ---- */

void km_proposal_end(km_proposal_trainer *p, int64_t *sums) {
    while (!km_gradient_sum_poll(p->sum)) {
        sched_yield();
    }
    p->sums = km_gradient_sum_end(p->sum);
    for (int i = 0; i < KM_SCORE_SUMS; i++) {
        sums[i] = p->scores[i];
    }
}

void km_proposal_update(km_proposal_trainer *p, km_pool *pool, int64_t step, int64_t masked) {
    const double divisor = (double)KM_MAX(masked, 1);
    const km_update how = {.optimizer = &p->optimizer,
                           .lr = p->optimizer.lr,
                           .step = step,
                           .sums = p->sums,
                           .divisor = divisor,
                           .norm = km_gradient_norm(p->parameters, pool, p->sums, divisor)};
    km_parameters_update(p->parameters, pool, &how);
}

void km_proposal_report(km_step_report *report, const int64_t *sums, int64_t masked) {
    const double n = (double)KM_MAX(masked, 1);
    double means[KM_SCORE_SUMS];
    for (int i = 0; i < KM_SCORE_SUMS; i++) {
        means[i] = ldexp((double)sums[i], -KM_PROPOSAL_BITS) / n;
    }
    const double ss = means[KM_SCORE_SS] - means[KM_SCORE_S] * means[KM_SCORE_S];
    const double yy = means[KM_SCORE_YY] - means[KM_SCORE_Y] * means[KM_SCORE_Y];
    const double sy = means[KM_SCORE_SY] - means[KM_SCORE_S] * means[KM_SCORE_Y];
    const double least = 1e-6; /* below it equal scores differ by rounding alone */
    report->proposal_loss = means[KM_SCORE_ERROR];
    report->proposal_correlation = ss > least && yy > least ? sy / sqrt(ss * yy) : 0;
}

static void score_row(void *payload, const km_row *row, float *scores) {
    const km_proposal_trainer *p = payload;
    km_score_row(p->net, p->parameters->weights, row, p->alone, scores);
}

km_scorer km_proposal_scorer(km_proposal_trainer *p) {
    return (km_scorer){.score = score_row, .payload = p};
}

void km_score_row(const km_policy_net *net, const float *weights, const km_row *row, km_policy_work *work,
                  float *scores) {
    const int32_t starts[2] = {0, row->length};
    const km_stream alone = {.tokens = row->length, .longest = row->length, .starts = starts, .ids = row->ids};
    const float *found = km_policy_forward(net, weights, &alone, 1, work);
    for (int i = 0; i < row->length; i++) {
        scores[i] = found[i];
    }
}
