/* A stack: an embedding and layers in a row, forward and back, and the memory and the work that they take. The last layer of the
 * stack that the head reads makes its output at the head's tokens alone. */
#include "architecture.h"

const km_stream *km_stack_stream(const km_batch *batch, int stack) {
    return stack == KM_DECODER ? &batch->decoder : &batch->input;
}

static km_stack_pass stack_pass(const km_pass *pass, int stack) {
    km_stack_work *encoder = &pass->work->stacks[KM_ENCODER];
    return (km_stack_pass){.pass = pass,
                           .stack = &pass->model->stacks[stack],
                           .stream = km_stack_stream(pass->batch, stack),
                           .work = &pass->work->stacks[stack],
                           .last = stack == pass->model->stack_count - 1,
                           .memory = km_stack_stream(pass->batch, KM_ENCODER),
                           .encoded = encoder->hidden[pass->model->stacks[KM_ENCODER].L],
                           .dmemory = encoder->d};
}

static km_queries queries_of_layer(const km_stack_pass *in, int l) {
    const km_stream *stream = in->stream;
    return in->last && l == in->stack->L - 1 ? in->pass->outputs
                                             : (km_queries){stream->tokens, stream->starts, stream->keys, NULL,
                                                            in->stack->is_decoder ? in->work->visible : NULL};
}

uint32_t km_stack_site(const km_stack *stack, int layer) {
    return stack->first_site + 1 + stack->sites_per_layer * (uint32_t)layer;
}

/* ---- Forward and backward ------------------------------------------------------------------------------------- */

/* A decoder's token sees itself and what is before it. */
static void count_visible(const km_stack_pass *in) {
    for (int view = 0; view < in->pass->batch->views; view++) {
        const int32_t first = in->stream->starts[view];
        for (int32_t i = first; i < in->stream->starts[view + 1]; i++) {
            in->work->visible[i] = i - first + 1;
        }
    }
}

static void run_layer(const km_stack_pass *in, int l) {
    km_queries queries = queries_of_layer(in, l);
    km_layer_forward(in, &in->stack->layers[l], &in->work->acts[l], in->work->hidden[l], &queries,
                     km_stack_site(in->stack, l));
}

void km_stack_forward(const km_pass *pass, int stack) {
    const km_stack_pass in = stack_pass(pass, stack);
    if (in.stack->is_decoder) {
        count_visible(&in);
    }
    km_embedding_forward(&in);
    for (int l = 0; l < in.stack->L; l++) {
        run_layer(&in, l);
    }
}

void km_stack_backward(const km_pass *pass, int stack) {
    const km_stack_pass in = stack_pass(pass, stack);
    const int last = in.stack->L - 1;
    for (int l = last; l >= 0; l--) {
        km_queries queries = queries_of_layer(&in, l);
        if (pass->work->options.recompute && l != last) { /* the last layer's activations are still there */
            run_layer(&in, l);
        }
        km_layer_backward(&in, &in.stack->layers[l], &in.work->acts[l], in.work->hidden[l], &queries,
                          km_stack_site(in.stack, l), l == last, queries.at != NULL ? pass->work->d_at : in.work->d,
                          in.work->d);
        km_report_done(pass, in.stack->layers[l].attention.qkv.w);
    }
    km_embedding_backward(&in);
}

/* ---- Memory --------------------------------------------------------------------------------------------------- */

int km_work_tokens(const km_work *work, int stack) {
    const km_batch_limits *limits = &work->options.limits;
    return stack == KM_DECODER ? limits->decoder_tokens : limits->tokens;
}

int km_work_longest(const km_work *work, int stack) {
    const km_batch_limits *limits = &work->options.limits;
    return stack == KM_DECODER ? limits->decoder_longest : limits->longest;
}

/* What place_layer and its like need to know of a stack. */
typedef struct placing {
    km_work *work;
    km_arena *arena;
    const km_stack *stack;
    int number; /* of the stack */
    km_stack_work *acts;
    int tokens; /* of the stack's stream, at most */
    int last;   /* rows of hidden[L] */
} placing;

/* Whether layers share one set of activations. */
static bool shares_layers(const km_work *work) {
    return work->options.recompute || !work->options.backward;
}

/* Whether they share the floats of the attention's result alone: in bf16 backward has no use for them. */
static bool shares_attention_y(const km_work *work) {
    return work->options.bf16 && !shares_layers(work);
}

static km_residual_norm place_end(const placing *p, int rows, km_tensor y) {
    km_residual_norm end = {.y = y};
    end.sum = km_work_floats(p->arena, rows, p->stack->C);
    end.mean = km_work_floats(p->arena, rows, 1);
    end.rstd = km_work_floats(p->arena, rows, 1);
    return end;
}

/* Elements of q|k|v: queries of `rows` tokens, keys and values of all of the stack `memory`. */
static size_t qkv_size(const placing *p, int rows, int memory) {
    return ((size_t)rows + 2 * (size_t)km_work_tokens(p->work, memory)) * (size_t)p->stack->C + KM_QKV_GAP;
}

/* `rows`: queries of the layer; `y`: the floats of its result where layers share them. */
static km_attention_acts place_attention(const placing *p, int rows, int memory, float *y) {
    const size_t n = (size_t)rows, C = (size_t)p->stack->C;
    km_attention_acts acts;
    acts.qkv = km_work_operand(p->arena, p->work, qkv_size(p, rows, memory));
    acts.context = km_work_operand(p->arena, p->work, n * C);
    acts.lse = km_work_floats(p->arena, rows, p->stack->H);
    acts.kept_words = p->work->options.backward ? km_attention_kept_words(km_work_longest(p->work, memory)) : 0;
    acts.kept = km_arena_take(p->arena, n * (size_t)p->stack->H * (size_t)acts.kept_words, sizeof *acts.kept);
    y = shares_attention_y(p->work) ? y : km_work_floats(p->arena, rows, p->stack->C);
    acts.end = place_end(p, rows, km_work_beside(p->arena, p->work, y, n * C));
    return acts;
}

/* Elements of the largest gradient of q|k|v, which takes the place of u. */
static size_t d_qkv_size(const placing *p, int rows) {
    if (!p->work->options.backward) {
        return 0;
    }
    const size_t self = qkv_size(p, rows, p->number);
    return p->stack->is_decoder ? KM_MAX(self, qkv_size(p, rows, KM_ENCODER)) : self;
}

/* `rows`: queries of the layer; `y` is the next layer's input. */
static km_layer_acts place_layer(const placing *p, int rows, km_tensor y) {
    const size_t n = (size_t)rows, I = (size_t)p->stack->I;
    km_layer_acts acts = {.attention = place_attention(p, rows, p->number, p->acts->attention_y)};
    if (p->stack->is_decoder) {
        acts.cross = place_attention(p, rows, KM_ENCODER, p->acts->cross_y);
    }
    acts.u = km_work_operand(p->arena, p->work, KM_MAX(n * I, d_qkv_size(p, rows)));
    acts.g = km_work_operand(p->arena, p->work, n * I);
    acts.end = place_end(p, rows, y);
    return acts;
}

/* Every layer's input is kept for backward, of floats in bf16 only where the layer will be computed again; else two are
 * enough, in turns. */
static void place_hidden(const placing *p) {
    const km_work_options *options = &p->work->options;
    const int C = p->stack->C, L = p->stack->L;
    km_tensor *hidden = p->acts->hidden;
    const size_t count = (size_t)p->tokens * (size_t)C;
    for (int l = 0; l < L; l++) {
        const km_tensor *before = l < 2 ? NULL : &hidden[l - 2];
        bool new_floats = before == NULL || (options->backward && (!options->bf16 || options->recompute));
        float *f = new_floats ? km_work_floats(p->arena, p->tokens, C) : before->f;
        bool again = before != NULL && !options->backward;
        hidden[l] = again ? *before : km_work_beside(p->arena, p->work, f, count);
    }
    hidden[L] =
        km_work_beside(p->arena, p->work, km_work_floats(p->arena, p->last, C), (size_t)p->last * (size_t)C);
}

static void place_layers(const placing *p) {
    const int C = p->stack->C, L = p->stack->L;
    const bool shares_y = shares_attention_y(p->work);
    km_stack_work *to = p->acts;
    to->attention_y = shares_y ? km_work_floats(p->arena, p->tokens, C) : NULL;
    to->cross_y = shares_y && p->stack->is_decoder ? km_work_floats(p->arena, p->tokens, C) : NULL;
    for (int l = 0; l < L; l++) {
        int rows = l == L - 1 ? p->last : p->tokens;
        if (l == 0 || !shares_layers(p->work)) {
            to->acts[l] = place_layer(p, rows, to->hidden[l + 1]);
        } else {
            to->acts[l] = to->acts[0];
            to->acts[l].end.y = to->hidden[l + 1];
        }
    }
    to->input_at =
        km_work_beside(p->arena, p->work, km_work_floats(p->arena, p->last, C), (size_t)p->last * (size_t)C);
}

void km_stack_place_work(km_work *work, km_arena *arena, int stack) {
    const bool last = stack == work->model->stack_count - 1;
    const int N = km_work_tokens(work, stack);
    km_stack_work *to = &work->stacks[stack];
    const placing p = {.work = work,
                       .arena = arena,
                       .stack = &work->model->stacks[stack],
                       .number = stack,
                       .acts = to,
                       .tokens = N,
                       .last = last ? work->most_outputs : N};
    to->positions = km_arena_take(arena, (size_t)N, sizeof *to->positions);
    to->visible = p.stack->is_decoder ? km_arena_take(arena, (size_t)N, sizeof *to->visible) : NULL;
    to->embedding_sum = km_work_floats(arena, N, p.stack->C);
    to->dmix = work->options.backward ? km_work_floats(arena, N, 1) : NULL;
    to->embedding_mean = km_work_floats(arena, N, 1);
    to->embedding_rstd = km_work_floats(arena, N, 1);
    place_hidden(&p);
    place_layers(&p);
    to->d = work->options.backward ? km_work_floats(arena, N, p.stack->C) : NULL;
}

/* A matrix and its bias, or rows of a table. */
size_t km_stack_largest_slice(const km_work *work, int stack) {
    const km_stack *s = &work->model->stacks[stack];
    const size_t C = (size_t)s->C, I = (size_t)s->I;
    size_t most = KM_MAX(3 * C * (C + 1), KM_MAX(I * (C + 1), C * (I + 1)));
    return KM_MAX(most, C * (size_t)KM_MAX(km_work_longest(work, stack), s->types));
}

size_t km_stack_attention_scratch(const km_work *work, int stack) {
    const km_stack *s = &work->model->stacks[stack];
    const int own = km_work_longest(work, stack), encoder = km_work_longest(work, KM_ENCODER), D = s->C / s->H;
    const int longest = s->is_decoder ? KM_MAX(own, encoder) : own;
    return work->options.bf16 ? km_attention_scratch_bf16(longest, D) : km_attention_scratch(longest, D);
}

/* ---- Work ------------------------------------------------------------------------------------------------------ */

/* Queries of a layer, and pairs of a query and a key, over all views: in self-attention, and to the encoder's tokens. */
typedef struct counts {
    double queries, self, cross;
} counts;

/* A token that sees `tokens` of its stream and `memory` of the encoder's. */
static void count_query(counts *c, double tokens, double memory) {
    c->queries++;
    c->self += tokens;
    c->cross += memory;
}

/* With all tokens as queries, and with the outputs alone. */
static void count_pairs(counts *all, counts *outputs, const km_stack *s, const km_batch *batch,
                        const km_stream *stream, const int32_t *at, int count) {
    int m = 0;
    *all = *outputs = (counts){0};
    for (int view = 0; view < batch->views; view++) {
        const int32_t first = stream->starts[view], end = stream->starts[view + 1];
        const double memory = batch->input.starts[view + 1] - batch->input.starts[view];
        for (int32_t i = first; i < end; i++) {
            count_query(all, s->is_decoder ? i - first + 1 : end - first, memory);
        }
        for (; m < count && at[m] < end; m++) {
            count_query(outputs, s->is_decoder ? at[m] - first + 1 : end - first, memory);
        }
    }
}

/* Of a layer over N tokens; a decoder's also projects the encoder's. */
static double layer_products(const km_stack *s, double N, double memory, const counts *c) {
    const double C = s->C, I = s->I;
    double sum = 2 * N * C * C + c->queries * (2 * C * C + 2 * C * I) + 2 * c->self * C;
    if (s->is_decoder) {
        sum += 2 * memory * C * C + c->queries * 2 * C * C + 2 * c->cross * C;
    }
    return sum;
}

double km_stack_products(const km_model *model, int stack, const km_batch *batch) {
    const km_stack *s = &model->stacks[stack];
    const km_stream *stream = km_stack_stream(batch, stack);
    const bool last = stack == model->stack_count - 1;
    counts all, outputs;
    int count = 0;
    const int32_t *at = last ? model->head->kind->outputs(batch, &count) : NULL;
    count_pairs(&all, &outputs, s, batch, stream, at, count);
    const double N = stream->tokens, memory = batch->input.tokens, whole = layer_products(s, N, memory, &all);
    return (s->L - 1) * whole + (last ? layer_products(s, N, memory, &outputs) : whole);
}
