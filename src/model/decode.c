/* Decoding one token at a time. The encoder runs once for a batch of sources, and so does the projection of its output to the keys
 * and values of cross attention, which all hypotheses of a source read in place. Keys and values of self-attention are kept in slots,
 * one a step and row; a hypothesis is a list of slots, so that only lists of numbers are copied when beams are reordered. */
#include "decode.h"

#include "architecture.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct km_decoder {
    char *block;
    const km_model *model;
    const km_stack *stack;
    km_decoder_limits limits;
    km_work *work;
    const float *weights;
    const km_batch *batch;
    int step;                       /* steps made so far */
    float **self, **cross;          /* (L) keys and values: (steps rows, 2C) of slots, (tokens, 2C) of sources */
    int32_t *slots, *earlier_slots; /* (rows, steps) of each hypothesis, now and one step ago */
    float *q, *context;             /* (rows,C) */
    float *lse;                     /* (rows,H) */
    float *attention, *cached;      /* scratch of the two kernels */
    int32_t *positions;             /* (rows) */
    int32_t *starts;                /* (sources+1) rows of each source */
    uint64_t *keys;                 /* (rows) of dropout, which is off */
};

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static float *floats(km_arena *arena, size_t rows, size_t columns) {
    return km_arena_take(arena, rows * columns, sizeof(float));
}

/* Runs twice: to measure, and to place. */
static void place(km_decoder *d, km_arena *arena) {
    const km_decoder_limits *limits = &d->limits;
    const km_stack *stack = d->stack;
    const size_t rows = (size_t)limits->rows, steps = (size_t)limits->steps, C = (size_t)stack->C;
    for (int l = 0; l < stack->L; l++) {
        d->self[l] = floats(arena, rows * steps, 2 * C);
        d->cross[l] = floats(arena, (size_t)limits->tokens, 2 * C);
    }
    d->slots = km_arena_take(arena, rows * steps, sizeof *d->slots);
    d->earlier_slots = km_arena_take(arena, rows * steps, sizeof *d->earlier_slots);
    d->q = floats(arena, rows, C);
    d->context = floats(arena, rows, C);
    d->lse = floats(arena, rows, (size_t)stack->H);
    d->attention = floats(arena, km_attention_scratch(limits->longest, stack->C / stack->H), 1);
    d->cached = floats(arena, km_attention_cached_scratch(limits->steps, stack->H), 1);
    d->positions = km_arena_take(arena, rows, sizeof *d->positions);
    d->starts = km_arena_take(arena, (size_t)limits->sources + 1, sizeof *d->starts);
    d->keys = km_arena_take(arena, rows, sizeof *d->keys);
}

static km_status place_block(km_decoder *d) {
    km_arena measure = {0};
    place(d, &measure);
    KM_TRY(km_allocate((void **)&d->block, measure.used, "the keys and values of generation"));
    km_arena arena = {.base = d->block, .capacity = measure.used};
    place(d, &arena);
    return KM_OK;
}

km_status km_decoder_create(km_decoder **out, const km_model *model, const km_decoder_limits *limits) {
    km_decoder *d = km_new(1, sizeof *d);
    const km_work_options options = {.limits = {.views = limits->sources,
                                                .tokens = limits->tokens,
                                                .longest = limits->longest,
                                                .decoder_tokens = limits->rows,
                                                .decoder_longest = 1,
                                                .labelled = limits->rows}};
    d->model = model;
    d->stack = &model->stacks[KM_DECODER];
    d->limits = *limits;
    d->self = km_new((size_t)d->stack->L, sizeof *d->self);
    d->cross = km_new((size_t)d->stack->L, sizeof *d->cross);
    km_status status = km_work_create(&d->work, model, &options);
    status = status == KM_OK ? place_block(d) : status;
    if (status != KM_OK) {
        km_decoder_destroy(d);
        d = NULL;
    }
    *out = d;
    return status;
}

void km_decoder_destroy(km_decoder *decoder) {
    if (decoder != NULL) {
        km_work_destroy(decoder->work);
        free(decoder->self);
        free(decoder->cross);
        free(decoder->block);
        free(decoder);
    }
}

/* ---- Passes ------------------------------------------------------------------------------------------------------ */

static km_pass pass_of(const km_decoder *d, int rows, bool one_token) {
    return (km_pass){.model = d->model,
                     .one_token = one_token,
                     .weights = d->weights,
                     .batch = d->batch,
                     .work = d->work,
                     .outputs = {.count = rows, .keys = d->keys}};
}

/* The parts of the product q|k|v that make queries, and keys and values. */
static km_dense query_of(const km_dense *qkv) {
    return (km_dense){qkv->w, qkv->b, qkv->in, qkv->in};
}

static km_dense key_value_of(const km_dense *qkv) {
    const size_t C = (size_t)qkv->in;
    return (km_dense){qkv->w + C * C, qkv->b + C, qkv->in, 2 * qkv->in};
}

void km_decoder_begin(km_decoder *d, const float *weights, const km_batch *batch) {
    assert(batch->views <= d->limits.sources && batch->input.tokens <= d->limits.tokens);
    d->weights = weights;
    d->batch = batch;
    d->step = 0;
    const km_pass pass = pass_of(d, 0, false);
    km_stack_forward(&pass, KM_ENCODER);
    const km_tensor encoded = d->work->stacks[KM_ENCODER].hidden[d->model->stacks[KM_ENCODER].L];
    for (int l = 0; l < d->stack->L; l++) {
        const km_dense key_value = key_value_of(&d->stack->layers[l].cross.qkv);
        km_dense_forward(&pass, &key_value, (km_tensor){d->cross[l], NULL}, encoded, batch->input.tokens, true);
    }
}

/* ---- One step ---------------------------------------------------------------------------------------------------- */

static int32_t first_slot(const km_decoder *d) {
    return d->step * d->limits.rows;
}

/* Each row's slots are its parent's, and a new one. */
static void follow_parents(km_decoder *d, const km_decoder_rows *rows) {
    const size_t steps = (size_t)d->limits.steps;
    int32_t *earlier = d->slots;
    d->slots = d->earlier_slots;
    d->earlier_slots = earlier;
    for (int r = 0; r < rows->count; r++) {
        int32_t *own = d->slots + (size_t)r * steps;
        if (d->step > 0) {
            memcpy(own, earlier + (size_t)rows->parents[r] * steps, (size_t)d->step * sizeof *own);
        }
        own[d->step] = first_slot(d) + r;
    }
}

/* starts[v]..starts[v + 1] - 1 are the rows of source v; a source whose answer is complete has none. */
static void count_rows(km_decoder *d, const km_decoder_rows *rows) {
    int r = 0;
    for (int view = 0; view <= d->batch->views; view++) {
        while (r < rows->count && rows->sources[r] < view) {
            r++;
        }
        d->starts[view] = r;
    }
}

static void embed(const km_decoder *d, const km_decoder_rows *rows) {
    const km_stack *stack = d->stack;
    const km_embedding_parts *parts = &stack->embedding;
    const float *w = d->weights;
    km_stack_work *work = &d->work->stacks[KM_DECODER];
    for (int r = 0; r < rows->count; r++) {
        d->positions[r] = stack->first_position + d->step;
    }
    km_embed_scaled_forward(work->embedding_sum, rows->ids, d->positions, w + parts->word, stack->word_scale,
                            w + parts->position, rows->count, stack->C);
    km_norm_forward(work->hidden[0].f, work->embedding_mean, work->embedding_rstd, work->embedding_sum,
                    w + parts->norm.w, w + parts->norm.b, stack->eps, rows->count, stack->C);
}

static void attend_self(const km_decoder *d, const km_pass *pass, int l, km_tensor x) {
    const km_stack *stack = d->stack;
    const km_dense *qkv = &stack->layers[l].attention.qkv;
    const km_dense query = query_of(qkv), key_value = key_value_of(qkv);
    const int rows = pass->outputs.count, C = stack->C;
    float *kv = d->self[l];
    const km_attention_cached shape = {.rows = rows,
                                       .H = stack->H,
                                       .D = C / stack->H,
                                       .keys = d->step + 1,
                                       .at = d->slots,
                                       .ldat = d->limits.steps,
                                       .ldk = 2 * C};
    float *own = kv + (size_t)first_slot(d) * 2 * (size_t)C;
    km_dense_forward(pass, &query, (km_tensor){d->q, NULL}, x, rows, true);
    km_dense_forward(pass, &key_value, (km_tensor){own, NULL}, x, rows, true);
    KM_TIMED(KM_OP_FORWARD_ATTENTION, km_attention_cached_forward(d->context, d->q, kv, kv + C, &shape, d->cached));
}

static void attend_cross(const km_decoder *d, const km_pass *pass, int l, km_tensor x) {
    const km_stack *stack = d->stack;
    const km_dense query = query_of(&stack->layers[l].cross.qkv);
    const int C = stack->C;
    const float *kv = d->cross[l];
    const km_attention shape = {.views = d->batch->views,
                                .H = stack->H,
                                .D = C / stack->H,
                                .q_starts = d->starts,
                                .k_starts = d->batch->input.starts,
                                .ldq = C,
                                .ldk = 2 * C,
                                .ldo = C,
                                .keys = d->keys,
                                .seen = d->batch->input.seen};
    km_dense_forward(pass, &query, (km_tensor){d->q, NULL}, x, pass->outputs.count, true);
    KM_TIMED(KM_OP_FORWARD_ATTENTION,
             km_attention_forward(d->context, d->lse, d->q, kv, kv + C, &shape, d->attention));
}

static void run_layer(const km_decoder *d, const km_pass *pass, int l) {
    const km_layer_parts *parts = &d->stack->layers[l];
    const km_layer_acts *acts = &d->work->stacks[KM_DECODER].acts[l];
    const km_tensor x = d->work->stacks[KM_DECODER].hidden[l], context = {d->context, NULL};
    const km_tensor attended = acts->attention.end.y, crossed = acts->cross.end.y;
    const km_stack_pass in = {.pass = pass, .stack = d->stack, .work = &d->work->stacks[KM_DECODER]};
    const km_queries *rows = &pass->outputs;
    const km_dropout none = {.p = 0};
    attend_self(d, pass, l, x);
    km_block_end_forward(&in, &parts->attention.output, &parts->attention.norm, &acts->attention.end, context, x.f,
                         rows, 0);
    attend_cross(d, pass, l, attended);
    km_block_end_forward(&in, &parts->cross.output, &parts->cross.norm, &acts->cross.end, context, attended.f, rows,
                         0);
    km_dense_activation_forward(pass, &parts->wide, d->stack->act, &none, d->keys, acts->g, acts->u, crossed,
                                rows->count);
    km_block_end_forward(&in, &parts->narrow, &parts->norm, &acts->end, acts->g, crossed.f, rows, 0);
}

float *km_decoder_step(km_decoder *d, const km_decoder_rows *rows) {
    assert(rows->count <= d->limits.rows && d->step < d->limits.steps);
    const km_pass pass = pass_of(d, rows->count, true);
    follow_parents(d, rows);
    count_rows(d, rows);
    embed(d, rows);
    for (int l = 0; l < d->stack->L; l++) {
        run_layer(d, &pass, l);
    }
    d->model->head->kind->forward(&pass, d->work->stacks[KM_DECODER].hidden[d->stack->L]);
    KM_TIMED(KM_OP_LOSS, km_log_softmax(d->work->logits, rows->count, d->model->V));
    d->step++;
    return d->work->logits;
}
