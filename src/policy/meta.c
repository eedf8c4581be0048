/* meta: an outer step, pass after pass. */
#include "meta.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What each thread has. */
typedef struct room {
    km_work *work; /* the model's */
    km_policy_work *policy;
    int32_t *starts, *ids, *decoder_starts, *decoder, *at, *labels; /* of a micro-batch */
    uint64_t *keys, *rows;
    float *mix, *dlogits;
} room;

/* What a pass does with a micro-batch. */
typedef enum pass_kind {
    DECIDE,   /* the policy's decisions */
    PRETRAIN, /* gradient of L_pre in theta */
    FINETUNE, /* gradient of L_ft in theta */
    SLOPE,    /* gradient of L_pre in the decisions: `sign` times it is added */
    POLICY    /* gradient in phi */
} pass_kind;

struct km_meta {
    km_comm *comm;
    km_pool *pool;
    const km_model *model;
    const km_tokenizer *tokenizer;
    const km_policy_net *net;
    km_parameters *theta, *phi;
    km_meta_options options;
    int length, count;
    room *rooms;
    int64_t *units;                              /* (workers) loss */
    float *theta1, *point, *g0, *g1, *v, *other; /* (theta's table) */
    float *decisions, *soft;                     /* (count * length) d, and what the softmax gave */
    double *slope;                               /* (count * length) */
    const km_meta_input *input;
    /* Of the pass that is under way: */
    pass_kind pass;
    const float *weights;
    double sign, scale;
};

static int workers_of(const km_meta *m) {
    return km_pool_workers(m->pool);
}

/* ---- Room ---- */

static km_status make_room(room *r, const km_meta *m) {
    const int views = m->options.micro_batch;
    const size_t tokens = (size_t)views * (size_t)m->length, starts = (size_t)views + 1;
    const km_work_options options = {.limits = {.views = views,
                                                .tokens = (int)tokens,
                                                .longest = m->length,
                                                .decoder_tokens = (int)tokens,
                                                .decoder_longest = m->length,
                                                .labelled = (int)tokens},
                                     .backward = true};
    r->starts = km_new(starts, sizeof *r->starts);
    r->decoder_starts = km_new(starts, sizeof *r->decoder_starts);
    r->ids = km_new(tokens, sizeof *r->ids);
    r->decoder = km_new(tokens, sizeof *r->decoder);
    r->at = km_new(tokens, sizeof *r->at);
    r->labels = km_new(tokens, sizeof *r->labels);
    r->keys = km_new(tokens, sizeof *r->keys);
    r->rows = km_new((size_t)views, sizeof *r->rows);
    r->mix = km_new(tokens, sizeof *r->mix);
    r->dlogits = km_new(2 * tokens, sizeof *r->dlogits);
    KM_TRY(km_work_create(&r->work, m->model, &options));
    return km_policy_work_create(&r->policy, m->net, (int)tokens, views);
}

static void free_room(room *r) {
    km_work_destroy(r->work);
    km_policy_work_destroy(r->policy);
    free(r->starts);
    free(r->decoder_starts);
    free(r->ids);
    free(r->decoder);
    free(r->at);
    free(r->labels);
    free(r->keys);
    free(r->rows);
    free(r->mix);
    free(r->dlogits);
}

static km_status allocate(km_meta *m) {
    float **const vectors[] = {&m->theta1, &m->point, &m->g0, &m->g1, &m->v, &m->other};
    const size_t tokens = (size_t)m->count * (size_t)m->length;
    for (size_t i = 0; i < KM_COUNT(vectors); i++) {
        KM_TRY(km_allocate((void **)vectors[i], m->theta->table->size * sizeof(float), "the inner steps' weights"));
    }
    m->decisions = km_new(tokens, sizeof *m->decisions);
    m->soft = km_new(tokens, sizeof *m->soft);
    m->slope = km_new(tokens, sizeof *m->slope);
    m->units = km_new((size_t)workers_of(m), sizeof *m->units);
    m->rooms = km_new((size_t)workers_of(m), sizeof *m->rooms);
    for (int i = 0; i < workers_of(m); i++) {
        KM_TRY(make_room(&m->rooms[i], m));
    }
    return KM_OK;
}

km_status km_meta_create(km_meta **out, km_comm *comm, km_pool *pool, const km_model *model,
                         const km_tokenizer *tokenizer, const km_policy_net *net, km_parameters *theta,
                         km_parameters *phi, const km_meta_options *options, int length, int count) {
    km_meta *m = *out = km_new(1, sizeof *m);
    *m = (km_meta){.comm = comm,
                   .pool = pool,
                   .model = model,
                   .tokenizer = tokenizer,
                   .net = net,
                   .theta = theta,
                   .phi = phi,
                   .options = *options,
                   .length = length,
                   .count = count};
    km_status status = km_comm_agree(comm, allocate(m));
    if (status != KM_OK) {
        km_meta_destroy(m);
        *out = NULL;
    }
    return status;
}

void km_meta_destroy(km_meta *m) {
    if (m == NULL) {
        return;
    }
    for (int i = 0; m->rooms != NULL && i < workers_of(m); i++) {
        free_room(&m->rooms[i]);
    }
    free(m->rooms);
    free(m->units);
    free(m->theta1);
    free(m->point);
    free(m->g0);
    free(m->g1);
    free(m->v);
    free(m->other);
    free(m->decisions);
    free(m->soft);
    free(m->slope);
    free(m);
}

const float *km_meta_theta1(const km_meta *m) {
    return m->theta1;
}

const float *km_meta_decisions(const km_meta *m) {
    return m->decisions;
}

/* ---- Batches ---- */

/* The examples of a micro-batch: from..to-1. */
static void range_of(const km_meta *m, uint64_t number, int *from, int *to) {
    *from = (int)number * m->options.micro_batch;
    *to = KM_MIN(*from + m->options.micro_batch, m->input->count);
}

static void add_text(int32_t *starts, int32_t *ids, int view, const km_ids_view *text) {
    memcpy(ids + starts[view], text->ids, (size_t)text->length * sizeof *ids);
    starts[view + 1] = starts[view] + text->length;
}

/* The decoder reads the target shifted right, and every token of the target is predicted. */
static void add_target(const km_meta *m, room *r, int view, const km_ids_view *target) {
    const int at = r->decoder_starts[view];
    add_text(r->decoder_starts, r->labels, view, target);
    for (int t = 0; t < target->length; t++) {
        r->decoder[at + t] = t > 0 ? target->ids[t - 1] : (int32_t)km_model_decoder_start(km_model_shape(m->model));
        r->at[at + t] = at + t;
    }
}

static void add_mixture(const km_meta *m, room *r, int view, int example) {
    const size_t length = (size_t)m->input->triples[example].context.length;
    memcpy(r->mix + r->starts[view], m->decisions + m->input->first[example], length * sizeof *r->mix);
}

static km_stream stream_of(const room *r, const int32_t *starts, const int32_t *ids, int views) {
    km_stream stream = {.tokens = starts[views], .starts = starts, .ids = ids, .keys = r->keys};
    for (int v = 0; v < views; v++) {
        stream.longest = KM_MAX(stream.longest, starts[v + 1] - starts[v]);
    }
    return stream;
}

/* source -> target, or with `pretrain` the context under the decisions -> the context. */
static km_batch batch_of(const km_meta *m, room *r, int from, int to, bool pretrain) {
    const int views = to - from;
    for (int v = 0; v < views; v++) {
        const km_triple *triple = &m->input->triples[from + v];
        add_text(r->starts, r->ids, v, pretrain ? &triple->context : &triple->source);
        add_target(m, r, v, pretrain ? &triple->context : &triple->target);
        if (pretrain) {
            add_mixture(m, r, v, from + v);
        }
    }
    km_batch batch = {.views = views, .at = r->at, .labels = r->labels, .rows = r->rows};
    batch.input = stream_of(r, r->starts, r->ids, views);
    batch.decoder = stream_of(r, r->decoder_starts, r->decoder, views);
    batch.input.mix = pretrain ? r->mix : NULL;
    batch.input.mix_id = km_tokenizer_specials(m->tokenizer).mask;
    batch.labelled = batch.decoder.tokens;
    return batch;
}

/* ---- The policy ---- */

static bool is_maskable(const km_meta *m, int32_t id) {
    const km_specials s = km_tokenizer_specials(m->tokenizer);
    return id != s.cls && id != s.sep && id != s.pad && id != s.mask && id != s.unk;
}

/* The contexts' stream, of which only ids and starts are read. */
static km_stream contexts_of(const km_meta *m, room *r, int from, int to) {
    for (int v = 0; v < to - from; v++) {
        add_text(r->starts, r->ids, v, &m->input->triples[from + v].context);
    }
    return stream_of(r, r->starts, r->ids, to - from);
}

/* d = softmax((logits + noise) / temperature)[1], or 0 or 1 by the larger of both. */
static void decide(km_meta *m, room *r, int from, int to) {
    const km_stream stream = contexts_of(m, r, from, to);
    const float *logits = km_policy_forward(m->net, m->phi->weights, &stream, to - from, r->policy);
    for (int v = 0; v < to - from; v++) {
        const int first = m->input->first[from + v];
        for (int n = stream.starts[v]; n < stream.starts[v + 1]; n++) {
            const int at = first + n - stream.starts[v];
            const double leave = (double)logits[2 * n] + (double)m->input->gumbel[2 * at];
            const double mask = (double)logits[2 * n + 1] + (double)m->input->gumbel[2 * at + 1];
            const bool maskable = is_maskable(m, stream.ids[n]);
            m->soft[at] = maskable ? (float)(1 / (1 + exp((leave - mask) / m->options.temperature))) : 0.0f;
            m->decisions[at] = !m->options.hard ? m->soft[at] : maskable && mask > leave ? 1.0f : 0.0f;
        }
    }
}

/* From the gradient of the decisions, m->slope, to that of the parameters. */
static void report_policy(km_meta *m, room *r, int from, int to, const km_sink *sink) {
    const km_stream stream = contexts_of(m, r, from, to);
    (void)km_policy_forward(m->net, m->phi->weights, &stream, to - from, r->policy);
    for (int v = 0; v < to - from; v++) {
        const int first = m->input->first[from + v];
        for (int n = stream.starts[v]; n < stream.starts[v + 1]; n++) {
            const int at = first + n - stream.starts[v];
            const double y = (double)m->soft[at];
            const double d = m->slope[at] * y * (1 - y) / m->options.temperature * m->scale;
            r->dlogits[2 * n] = (float)-d;
            r->dlogits[2 * n + 1] = (float)d;
        }
    }
    km_policy_backward(m->net, m->phi->weights, &stream, to - from, r->dlogits, m->options.embeddings, r->policy,
                       sink);
}

/* ---- Passes ---- */

static void ignore_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    (void)payload, (void)offset, (void)gradient, (void)count;
}

static void ignore_end(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

static void run_model(km_meta *m, room *r, int worker, int from, int to, const km_sink *sink) {
    static const km_sink nowhere = {.ready = ignore_slice, .done = ignore_end};
    const km_batch batch = batch_of(m, r, from, to, m->pass != FINETUNE);
    km_loss_sum loss = {0};
    km_model_gradient(m->model, m->weights, &batch, 0, false, r->work, sink != NULL ? sink : &nowhere, &loss);
    m->units[worker] += km_loss_units(loss.loss);
    const float *mixture = km_work_mixture(r->work);
    for (int v = 0; m->pass == SLOPE && v < to - from; v++) {
        for (int n = r->starts[v]; n < r->starts[v + 1]; n++) {
            m->slope[m->input->first[from + v] + n - r->starts[v]] += m->sign * (double)mixture[n];
        }
    }
}

static void compute(void *payload, uint64_t number, int worker, const km_sink *sink) {
    km_meta *m = payload;
    room *r = &m->rooms[worker];
    int from = 0, to = 0;
    range_of(m, number, &from, &to);
    if (m->pass == DECIDE) {
        decide(m, r, from, to);
    } else if (m->pass == POLICY) {
        report_policy(m, r, from, to, sink);
    } else {
        run_model(m, r, worker, from, to, sink);
    }
}

static void share_batches(const km_meta *m, uint64_t *first, uint64_t *count) {
    const int size = m->options.micro_batch;
    km_share(first, count, (uint64_t)((m->input->count + size - 1) / size), km_comm_rank(m->comm),
             km_comm_size(m->comm));
}

static km_batch_work batches_of(km_meta *m, pass_kind pass, const float *weights) {
    km_batch_work batches = {.comm = m->comm, .pool = m->pool, .job = compute, .payload = m};
    m->pass = pass;
    m->weights = weights;
    memset(m->units, 0, (size_t)workers_of(m) * sizeof *m->units);
    share_batches(m, &batches.first, &batches.count);
    return batches;
}

static double loss_of_pass(const km_meta *m) {
    int64_t units = 0;
    for (int i = 0; i < workers_of(m); i++) {
        units += m->units[i];
    }
    km_comm_sum(m->comm, &units, 1);
    return km_loss_of_units(units);
}

/* out = sums / divisor, on all ranks. */
static void spread(const km_parameters *p, float *out, const int64_t *sums, double divisor) {
    const double scale = ldexp(1, -KM_FIXED_BITS) / divisor;
    for (int b = 0; b < km_exchange_buckets(p->exchange); b++) {
        size_t first = 0, count = 0, local = 0;
        km_exchange_part(p->exchange, b, km_comm_rank(p->comm), &first, &count, &local);
        for (size_t i = 0; i < count; i++) {
            out[first + i] = (float)((double)sums[local + i] * scale);
        }
    }
    km_exchange_gather(p->exchange, out);
}

/* The gradient of the mean loss at these weights. */
static km_status gradient_at(km_meta *m, float *out, double *loss, pass_kind pass, const float *weights,
                             double tokens) {
    const km_batch_work batches = batches_of(m, pass, weights);
    const int64_t *sums = NULL;
    KM_TRY(km_sum_batches(&sums, m->theta, &batches));
    *loss = loss_of_pass(m) / tokens;
    spread(m->theta, out, sums, tokens);
    return KM_OK;
}

/* ---- Vectors of theta's size ---- */

static void step_from(float *out, const float *x, double factor, const float *v, size_t count) {
    for (size_t i = 0; i < count; i++) {
        out[i] = (float)((double)x[i] + factor * (double)v[i]);
    }
}

/* The length of a step along v. */
static double step_of(const float *v, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)v[i] * (double)v[i];
    }
    return sum > 0 ? KM_META_STEP / sqrt(sum) : 0;
}

/* v becomes v - alpha1 H_ft(theta1) v. */
static km_status subtract_curvature(km_meta *m, double tokens) {
    const size_t size = m->theta->table->size;
    const double h = step_of(m->v, size);
    double loss = 0;
    if (!(h > 0)) {
        return KM_OK;
    }
    step_from(m->point, m->theta1, h, m->v, size);
    KM_TRY(gradient_at(m, m->other, &loss, FINETUNE, m->point, tokens));
    step_from(m->point, m->theta1, -h, m->v, size);
    KM_TRY(gradient_at(m, m->g0, &loss, FINETUNE, m->point, tokens));
    for (size_t i = 0; i < size; i++) {
        const double curvature = ((double)m->other[i] - (double)m->g0[i]) / (2 * h);
        m->v[i] = (float)((double)m->v[i] - m->options.alpha1 * curvature);
    }
    return KM_OK;
}

/* slope = -alpha0 d/dd (grad L_pre(theta0; d) . v). */
static void find_slopes(km_meta *m, size_t tokens_in, double tokens) {
    const size_t size = m->theta->table->size;
    const double h = step_of(m->v, size);
    memset(m->slope, 0, tokens_in * sizeof *m->slope);
    for (int side = 0; side < 2 && h > 0; side++) {
        m->sign = side == 0 ? 1 : -1;
        step_from(m->point, m->theta->weights, m->sign * h, m->v, size);
        const km_batch_work batches = batches_of(m, SLOPE, m->point);
        km_run_batches(&batches);
    }
    for (size_t i = 0; i < tokens_in && h > 0; i++) {
        m->slope[i] *= -m->options.alpha0 / (2 * h * tokens);
    }
}

/* ---- The budget (Eq. 7) ---- */

/* This rank's examples: from..to-1. */
static void own_range(const km_meta *m, int *from, int *to) {
    const int size = m->options.micro_batch;
    uint64_t first = 0, count = 0;
    share_batches(m, &first, &count);
    *from = (int)first * size;
    *to = KM_MIN((int)(first + count) * size, m->input->count);
}

void km_meta_count(const km_meta *m, km_masked *masked) {
    int from = 0, to = 0;
    own_range(m, &from, &to);
    for (int i = from; i < to; i++) {
        const km_ids_view *context = &m->input->triples[i].context;
        for (int t = 0; t < context->length; t++) {
            if (is_maskable(m, context->ids[t])) {
                km_masked_add(masked, context->ids[t], (double)m->decisions[m->input->first[i] + t]);
            }
        }
    }
}

/* Adds up over this rank's contexts, and beta times the gradient of the term to the slopes. */
static void add_budget(km_meta *m, km_meta_result *out) {
    int64_t sums[4] = {0}; /* term, masked, maskable, within */
    int from = 0, to = 0;
    own_range(m, &from, &to);
    for (int i = from; i < to; i++) {
        const km_ids_view *context = &m->input->triples[i].context;
        double masked = 0;
        int length = 0;
        for (int t = 0; t < context->length; t++) {
            masked += (double)m->decisions[m->input->first[i] + t];
            length += is_maskable(m, context->ids[t]);
        }
        const double over = m->options.gamma * length - masked;
        const bool within = fabs(over) <= m->options.epsilon * length;
        for (int t = 0; !within && t < context->length; t++) {
            m->slope[m->input->first[i] + t] -=
                is_maskable(m, context->ids[t]) ? m->options.beta * 2 * over / m->input->count : 0;
        }
        sums[0] += within ? 0 : km_loss_units(over * over);
        sums[1] += km_loss_units(masked);
        sums[2] += length;
        sums[3] += within;
    }
    km_comm_sum(m->comm, sums, 4);
    out->regularizer = km_loss_of_units(sums[0]) / m->input->count;
    out->masked = km_loss_of_units(sums[1]) / (double)KM_MAX(sums[2], 1);
    out->within = (double)sums[3] / m->input->count;
}

/* ---- The step ---- */

/* A power of two that brings the largest gradient of a logit to about 1, so that fixed point keeps its digits. */
static double scale_of(km_meta *m, size_t tokens) {
    double most = 0;
    for (size_t i = 0; i < tokens; i++) {
        const double y = (double)m->soft[i];
        most = KM_MAX(most, fabs(m->slope[i]) * y * (1 - y) / m->options.temperature);
    }
    km_comm_max(m->comm, &most, 1);
    return most > 0 && isfinite(most) ? ldexp(1, -ilogb(most)) : 1;
}

static km_status report(km_meta *m, size_t tokens, km_meta_result *out) {
    m->scale = scale_of(m, tokens);
    const km_batch_work batches = batches_of(m, POLICY, NULL);
    out->divisor = m->scale;
    return km_sum_batches(&out->gradient, m->phi, &batches);
}

static void count_tokens(const km_meta_input *input, size_t *contexts, double *targets) {
    *contexts = 0;
    *targets = 0;
    for (int i = 0; i < input->count; i++) {
        *contexts += (size_t)input->triples[i].context.length;
        *targets += input->triples[i].target.length;
    }
}

km_status km_meta_step(km_meta *m, const km_meta_input *input, km_meta_result *out) {
    const size_t size = m->theta->table->size;
    const km_meta_options *o = &m->options;
    size_t contexts = 0;
    double targets = 0;
    *out = (km_meta_result){0};
    m->input = input;
    count_tokens(input, &contexts, &targets);
    memset(m->decisions, 0, contexts * sizeof *m->decisions);
    memset(m->soft, 0, contexts * sizeof *m->soft);
    const km_batch_work deciding = batches_of(m, DECIDE, NULL);
    km_run_batches(&deciding);
    KM_TRY(gradient_at(m, m->g0, &out->loss_pretrain, PRETRAIN, m->theta->weights, (double)contexts));
    step_from(m->theta1, m->theta->weights, -o->alpha0, m->g0, size);
    KM_TRY(gradient_at(m, m->g1, &out->loss_before, FINETUNE, m->theta1, targets));
    step_from(m->point, m->theta1, -o->alpha1, m->g1, size);
    KM_TRY(gradient_at(m, m->v, &out->loss_after, FINETUNE, m->point, targets));
    KM_TRY(subtract_curvature(m, targets));
    if (!o->loss_alone) {
        step_from(m->v, m->v, -1, m->g1, size);
    }
    find_slopes(m, contexts, (double)contexts);
    add_budget(m, out);
    out->meta_loss = out->loss_after - (o->loss_alone ? 0 : out->loss_before);
    return report(m, contexts, out);
}
