/* supervised: training on where answers stand in their contexts (Ye et al. 2021, section 4.2). A step is the gradient of the mean loss of
 * a batch, and an update by AdamW; after each epoch the loss on held-out examples decides which weights are the best. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BEST = 5 };

/* What each thread has. */
typedef struct room {
    km_policy_work *work;
    km_contexts contexts;
    float *dlogits;
    uint8_t *allowed;
    km_masked masked; /* by the best span of each context */
} room;

/* Sums over micro-batches; a thread adds to its own. */
typedef struct totals {
    int64_t loss, first, among; /* loss in units; answers that are the best span, and among the five best */
} totals;

typedef struct supervised {
    room *rooms; /* (workers) */
    totals *totals;
    /* Of the call that is under way: places from..to-1 of `examples`. */
    const km_triples *examples;
    bool in_order; /* example i is number i, else the training's order */
    uint64_t from, to;
} supervised;

static int workers_of(const km_policy_training *t) {
    return km_pool_workers(t->pool);
}

static km_status begin(km_policy_training *t) {
    const km_policy_config *c = &t->input->policy;
    const int views = (int)c->micro_batch, tokens = views * (int)c->length;
    supervised *own = t->own = km_new(1, sizeof *own);
    own->rooms = km_new((size_t)workers_of(t), sizeof *own->rooms);
    own->totals = km_new((size_t)workers_of(t), sizeof *own->totals);
    for (int i = 0; i < workers_of(t); i++) {
        room *r = &own->rooms[i];
        km_contexts_reserve(&r->contexts, tokens, views);
        r->dlogits = km_new((size_t)tokens * 2, sizeof *r->dlogits);
        r->allowed = km_new((size_t)c->length, 1);
        KM_TRY(km_policy_work_create(&r->work, t->net, tokens, views));
        km_masked_create(&r->masked, km_policy_net_shape(t->net)->V);
        km_policy_work_set_dropout(r->work, c->dropout, (uint64_t)t->input->run.seed);
    }
    return KM_OK;
}

static void end(km_policy_training *t) {
    supervised *own = t->own;
    for (int i = 0; own != NULL && i < workers_of(t); i++) {
        km_contexts_free(&own->rooms[i].contexts);
        km_policy_work_destroy(own->rooms[i].work);
        free(own->rooms[i].dlogits);
        free(own->rooms[i].allowed);
        km_masked_free(&own->rooms[i].masked);
    }
    if (own != NULL) {
        free(own->rooms);
        free(own->totals);
        free(own);
    }
}

/* ---- One micro-batch ---- */

/* Whether a span reads as the answer does, here or at another place of the context. */
static bool is_answer(const km_contexts *c, int view, const km_mark_span *span) {
    const int length = c->last[view] - c->first[view] + 1;
    const int32_t *ids = c->ids + c->starts[view] + span->begin;
    return span->end - span->begin == length &&
           memcmp(ids, c->ids + c->first[view], (size_t)length * sizeof *ids) == 0;
}

/* Counts whether the answer of a view is the best span, and whether it is among the best. */
static void rank_answer(const km_policy_training *t, room *r, int view, const float *logits, totals *sums) {
    km_mark_span best[BEST];
    const km_contexts *c = &r->contexts;
    const int begin = c->starts[view], length = c->starts[view + 1] - begin;
    memset(r->allowed, 1, (size_t)length);
    r->allowed[0] = r->allowed[length - 1] = 0;
    const km_policy_config *config = &t->input->policy;
    const km_span_rule rule = {.allowed = r->allowed,
                               .starts_word = config->whole_words ? c->starts_word + begin : NULL,
                               .longest = (int)config->longest};
    const int count = km_span_best(best, BEST, logits + 2 * begin, &rule, length);
    for (int n = 1; n < length - 1; n++) {
        km_masked_add(&r->masked, c->ids[begin + n], count > 0 && n >= best[0].begin && n < best[0].end);
    }
    bool among = false;
    for (int i = 0; i < count; i++) {
        const bool right = is_answer(c, view, &best[i]);
        sums->first += right && i == 0;
        among |= right;
    }
    sums->among += among;
}

static void compute(void *payload, uint64_t number, int worker, const km_sink *sink) {
    km_policy_training *t = payload;
    supervised *own = t->own;
    room *r = &own->rooms[worker];
    const uint64_t size = (uint64_t)t->input->policy.micro_batch;
    km_contexts_clear(&r->contexts);
    for (uint64_t i = own->from + number * size; i < own->from + (number + 1) * size && i < own->to; i++) {
        km_contexts_add(&r->contexts, &own->examples->items[own->in_order ? i : km_training_example(t, i)], i);
    }
    r->contexts.stream.keys = sink != NULL ? r->contexts.keys : NULL; /* no dropout in evaluation */
    const float *weights = t->parameters->weights, *logits = NULL;
    const km_contexts *c = &r->contexts;
    logits = km_policy_forward(t->net, weights, &c->stream, c->views, r->work);
    own->totals[worker].loss += km_loss_units(
        km_span_loss(logits, c->starts, c->views, c->first, c->last, sink != NULL ? r->dlogits : NULL));
    for (int view = 0; sink == NULL && view < c->views; view++) {
        rank_answer(t, r, view, logits, &own->totals[worker]);
    }
    if (sink != NULL) {
        const bool trained = strcmp(t->input->policy.embeddings, "trained") == 0;
        km_policy_backward(t->net, weights, &c->stream, c->views, r->dlogits, trained, r->work, sink);
    }
}

/* ---- Steps ---- */

static km_batch_work batches_of(km_policy_training *t, const km_triples *examples, uint64_t from, uint64_t to) {
    supervised *own = t->own;
    const uint64_t size = (uint64_t)t->input->policy.micro_batch;
    km_batch_work batches = {.comm = t->comm, .pool = t->pool, .job = compute, .payload = t};
    own->examples = examples;
    own->from = from;
    own->to = to;
    own->in_order = examples != &t->train;
    memset(own->totals, 0, (size_t)workers_of(t) * sizeof *own->totals);
    km_share(&batches.first, &batches.count, (to - from + size - 1) / size, km_comm_rank(t->comm),
             km_comm_size(t->comm));
    return batches;
}

static totals add_up(const km_policy_training *t) {
    const supervised *own = t->own;
    int64_t sums[3] = {0};
    for (int i = 0; i < workers_of(t); i++) {
        sums[0] += own->totals[i].loss;
        sums[1] += own->totals[i].first;
        sums[2] += own->totals[i].among;
    }
    km_comm_sum(t->comm, sums, 3);
    return (totals){sums[0], sums[1], sums[2]};
}

static km_status step(km_policy_training *t, km_json *line) {
    const km_policy_config *c = &t->input->policy;
    const uint64_t batch = (uint64_t)c->batch, from = (uint64_t)t->step * batch;
    const km_batch_work batches = batches_of(t, &t->train, from, from + batch);
    const int64_t *sums = NULL;
    KM_TRY(km_sum_batches(&sums, t->parameters, &batches));
    const km_optimizer_config optimizer = {
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = c->weight_decay, .clip = c->clip};
    km_update update = {
        .optimizer = &optimizer, .lr = c->lr, .step = t->step + 1, .sums = sums, .divisor = (double)batch};
    update.norm = km_gradient_norm(t->parameters, t->pool, sums, update.divisor);
    km_parameters_update(t->parameters, t->pool, &update);
    t->step++;
    km_json_set_number(line, "loss", km_loss_of_units(add_up(t).loss) / (double)batch);
    km_json_set_number(line, "lr", c->lr);
    km_json_set_number(line, "grad_norm", update.norm);
    return KM_OK;
}

static void report_masked(const km_policy_training *t, km_json *line) {
    supervised *own = t->own;
    for (int i = 1; i < workers_of(t); i++) {
        km_masked_join(&own->rooms[0].masked, &own->rooms[i].masked);
    }
    km_masked_report(&own->rooms[0].masked, t->comm, t->tokenizer, line);
}

static km_status evaluate(km_policy_training *t, km_json *line) {
    if (t->dev.count == 0) {
        return KM_OK;
    }
    const double count = (double)t->dev.count;
    const km_batch_work batches = batches_of(t, &t->dev, 0, t->dev.count);
    km_run_batches(&batches);
    const totals sums = add_up(t);
    report_masked(t, line);
    const double loss = km_loss_of_units(sums.loss) / count;
    km_json_set_number(line, "eval_loss", loss);
    km_json_set_number(line, "eval_accuracy", (double)sums.first / count);
    km_json_set_number(line, "eval_among_5", (double)sums.among / count);
    km_log("step %lld: dev loss %.4f; the answer is the best span for %.1f %%, among the best 5 for %.1f %%",
           (long long)t->step, loss, 100 * (double)sums.first / count, 100 * (double)sums.among / count);
    if (t->best_step == 0 || loss < t->best_loss) {
        memcpy(t->best, t->parameters->weights, t->parameters->table->size * sizeof *t->best);
        t->best_loss = loss;
        t->best_step = t->step;
    }
    return KM_OK;
}

const km_training_kind km_training_supervised = {
    .begin = begin, .step = step, .evaluate = evaluate, .end = end, .has_moments = true, .has_best = true};
