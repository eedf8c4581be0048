/* A stack: an embedding and layers in a row, forward and back, and the memory and the work that they take. The last layer of the
 * stack that the head reads makes its output at the head's tokens alone. */
#include "architecture.h"

static km_stack_pass stack_pass(const km_pass *pass, int stack) {
    return (km_stack_pass){.pass = pass,
                           .stack = &pass->model->stacks[stack],
                           .stream = &pass->batch->input,
                           .work = &pass->work->stacks[stack],
                           .last = stack == pass->model->stack_count - 1};
}

static km_queries queries_of_layer(const km_stack_pass *in, int l) {
    const km_stream *stream = in->stream;
    return in->last && l == in->stack->L - 1 ? in->pass->outputs
                                             : (km_queries){stream->tokens, stream->starts, stream->keys, NULL};
}

uint32_t km_stack_site(const km_stack *stack, int layer) {
    return stack->first_site + 1 + KM_SITES_PER_LAYER * (uint32_t)layer;
}

/* ---- Forward and backward ------------------------------------------------------------------------------------- */

static void run_layer(const km_stack_pass *in, int l) {
    km_queries queries = queries_of_layer(in, l);
    km_layer_forward(in, &in->stack->layers[l], &in->work->acts[l], in->work->hidden[l], &queries,
                     km_stack_site(in->stack, l));
}

void km_stack_forward(const km_pass *pass, int stack) {
    const km_stack_pass in = stack_pass(pass, stack);
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
                          km_stack_site(in.stack, l), queries.at != NULL ? pass->work->d_at : in.work->d,
                          in.work->d);
        km_report_done(pass, in.stack->layers[l].attention.qkv.w);
    }
    km_embedding_backward(&in);
}

/* ---- Memory --------------------------------------------------------------------------------------------------- */

/* What place_layer and its like need to know of a stack. */
typedef struct placing {
    km_work *work;
    km_arena *arena;
    const km_stack *stack;
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

/* `rows`: queries of the layer. */
static km_attention_acts place_attention(const placing *p, int rows) {
    const size_t n = (size_t)rows, C = (size_t)p->stack->C;
    km_attention_acts acts;
    acts.qkv = km_work_operand(p->arena, p->work, (n + 2 * (size_t)p->tokens) * C + KM_QKV_GAP);
    acts.context = km_work_operand(p->arena, p->work, n * C);
    acts.lse = km_work_floats(p->arena, rows, p->stack->H);
    acts.kept = km_arena_take(p->arena, n * (size_t)p->stack->H * (size_t)p->work->kept_words, sizeof *acts.kept);
    float *y = shares_attention_y(p->work) ? p->acts->attention_y : km_work_floats(p->arena, rows, p->stack->C);
    acts.end = place_end(p, rows, km_work_beside(p->arena, p->work, y, n * C));
    return acts;
}

/* `rows`: queries of the layer; `y` is the next layer's input. */
static km_layer_acts place_layer(const placing *p, int rows, km_tensor y) {
    const size_t n = (size_t)rows, C = (size_t)p->stack->C, I = (size_t)p->stack->I;
    const size_t d_qkv = p->work->options.backward ? (n + 2 * (size_t)p->tokens) * C + KM_QKV_GAP : 0;
    km_layer_acts acts = {.attention = place_attention(p, rows)};
    acts.u = km_work_operand(p->arena, p->work, KM_MAX(n * I, d_qkv));
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
    km_stack_work *to = p->acts;
    to->attention_y = shares_attention_y(p->work) ? km_work_floats(p->arena, p->tokens, C) : NULL;
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
    const int N = work->options.limits.tokens;
    km_stack_work *to = &work->stacks[stack];
    const placing p = {.work = work,
                       .arena = arena,
                       .stack = &work->model->stacks[stack],
                       .acts = to,
                       .tokens = N,
                       .last = last ? work->most_outputs : N};
    to->positions = km_arena_take(arena, (size_t)N, sizeof *to->positions);
    to->embedding_sum = km_work_floats(arena, N, p.stack->C);
    to->embedding_mean = km_work_floats(arena, N, 1);
    to->embedding_rstd = km_work_floats(arena, N, 1);
    place_hidden(&p);
    place_layers(&p);
    to->d = work->options.backward ? km_work_floats(arena, N, p.stack->C) : NULL;
}

/* A matrix and its bias, or rows of a table. */
size_t km_stack_largest_slice(const km_model *model, int stack, int longest) {
    const km_stack *s = &model->stacks[stack];
    const size_t C = (size_t)s->C, I = (size_t)s->I;
    size_t most = KM_MAX(3 * C * (C + 1), KM_MAX(I * (C + 1), C * (I + 1)));
    return KM_MAX(most, C * (size_t)KM_MAX(longest, s->types));
}

/* ---- Work ------------------------------------------------------------------------------------------------------ */

/* Pairs of a query and a key, over all views: with all tokens as queries, and with the outputs alone. */
static void count_pairs(double *all, double *outputs, const km_stream *stream, int views, const int32_t *at,
                        int count) {
    int m = 0;
    *all = *outputs = 0;
    for (int view = 0; view < views; view++) {
        double length = stream->starts[view + 1] - stream->starts[view];
        *all += length * length;
        for (; m < count && at[m] < stream->starts[view + 1]; m++) {
            *outputs += length;
        }
    }
}

double km_stack_products(const km_model *model, int stack, const km_batch *batch) {
    const km_stack *s = &model->stacks[stack];
    int count = 0;
    const int32_t *at = model->head->kind->outputs(batch, &count);
    double N = batch->input.tokens, M = count, C = s->C, I = s->I, pairs = 0, output_pairs = 0;
    count_pairs(&pairs, &output_pairs, &batch->input, batch->views, at, count);
    double layer = N * (4 * C * C + 2 * C * I) + 2 * pairs * C;
    double last = 2 * N * C * C + M * (2 * C * C + 2 * C * I) + 2 * output_pairs * C;
    return (s->L - 1) * layer + last;
}
