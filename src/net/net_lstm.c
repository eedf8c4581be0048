/* The network of supervised policies (Ye et al. 2021, section 4.2): layers of a bidirectional LSTM, and two vectors that make the
 * logits of an answer's start and end. */
#include "net.h"

#include <stdlib.h>
#include <string.h>

static km_status check(const km_policy_shape *shape) {
    return shape->L >= 1 && shape->L <= KM_MOST_LAYERS
               ? KM_OK
               : km_fail(KM_USAGE, "policy.layers is %d; a BiLSTM of 1 to %d layers can be made.", shape->L,
                         (int)KM_MOST_LAYERS);
}

/* Inputs of a layer. */
static int width_of(const km_policy_net *net, int layer) {
    return layer == 0 ? net->shape.C : 2 * net->shape.H;
}

static void place(km_policy_net *net, km_table *table) {
    static const char *const ends[KM_DIRECTIONS] = {"", "_reverse"};
    const int H = net->shape.H;
    for (int l = 0; l < net->shape.L; l++) {
        for (int d = 0; d < KM_DIRECTIONS; d++) {
            km_lstm_parts *p = &net->lstm[l][d];
            const char *end = ends[d];
            p->w_in = km_table_add(table, KM_START_NORMAL, 4 * H, width_of(net, l), "lstm.weight_ih_l%d%s", l, end);
            p->w_hidden = km_table_add(table, KM_START_NORMAL, 4 * H, H, "lstm.weight_hh_l%d%s", l, end);
            p->b_in = km_table_add(table, KM_START_ZERO, 4 * H, 0, "lstm.bias_ih_l%d%s", l, end);
            p->b_hidden = km_table_add(table, KM_START_ZERO, 4 * H, 0, "lstm.bias_hh_l%d%s", l, end);
        }
    }
    net->start.w = km_table_add(table, KM_START_NORMAL, 1, 2 * H, "start.weight");
    net->start.b = km_table_add(table, KM_START_ZERO, 1, 0, "start.bias");
    net->end.w = km_table_add(table, KM_START_NORMAL, 1, 2 * H, "end.weight");
    net->end.b = km_table_add(table, KM_START_ZERO, 1, 0, "end.bias");
}

static void place_work(km_policy_work *work, const km_policy_net *net, km_arena *arena, int tokens, int views) {
    const size_t N = (size_t)tokens, H = (size_t)net->shape.H, B = (size_t)views;
    const size_t widest = KM_MAX(2 * H, (size_t)net->shape.C);
    work->y[0] = work->x;
    for (int l = 0; l < net->shape.L; l++) {
        work->y[l + 1] = km_net_floats(arena, N, 2 * H);
        for (int d = 0; d < KM_DIRECTIONS; d++) {
            km_lstm_acts *acts = &work->lstm[l][d];
            acts->gates = km_net_floats(arena, N, 4 * H);
            acts->cells = km_net_floats(arena, N, H);
            acts->hidden = km_net_floats(arena, N, H);
        }
    }
    for (int d = 0; d < KM_DIRECTIONS; d++) {
        work->dy[d] = km_net_floats(arena, N, widest);
        work->order[d] = km_arena_take(arena, N, sizeof(int32_t));
    }
    work->gates = km_net_floats(arena, N, 4 * H);
    work->packed = km_net_floats(arena, N, 4 * H);
    work->hidden = km_net_floats(arena, N, H);
    work->cell = km_net_floats(arena, B, H);
    work->columns = km_net_floats(arena, N, 1);
    work->before = km_arena_take(arena, N, sizeof(int32_t));
    work->sorted = km_arena_take(arena, B, sizeof(int32_t));
    work->active = km_arena_take(arena, N, sizeof(int));
}

/* ---- Packed order ---- */

static int length_of(const km_stream *stream, int view) {
    return stream->starts[view + 1] - stream->starts[view];
}

/* The longest first, of equal ones the first: insertion, since batches are small. */
static void sort_views(km_policy_work *work, const km_stream *stream, int views) {
    for (int v = 0; v < views; v++) {
        int at = v;
        for (; at > 0 && length_of(stream, work->sorted[at - 1]) < length_of(stream, v); at--) {
            work->sorted[at] = work->sorted[at - 1];
        }
        work->sorted[at] = v;
    }
}

/* Forward, a view's token t is its own; backward, it is the one t before its last. */
static void pack(const km_net_pass *pass) {
    km_policy_work *work = pass->work;
    const km_stream *stream = pass->stream;
    int32_t at = 0, last = 0;
    sort_views(work, stream, pass->views);
    work->steps = pass->views > 0 ? length_of(stream, work->sorted[0]) : 0;
    for (int t = 0; t < work->steps; t++) {
        const int32_t begin = at;
        for (int r = 0; r < pass->views && length_of(stream, work->sorted[r]) > t; r++, at++) {
            const int v = work->sorted[r];
            work->order[0][at] = stream->starts[v] + t;
            work->order[1][at] = stream->starts[v + 1] - 1 - t;
            work->before[at] = t > 0 ? last + r : -1;
        }
        work->active[t] = at - begin;
        last = begin;
    }
}

static km_lstm shape_of(const km_net_pass *pass) {
    return (km_lstm){.steps = pass->work->steps,
                     .tokens = pass->stream->tokens,
                     .H = pass->net->shape.H,
                     .active = pass->work->active};
}

/* ---- Layers ---- */

static void direction_forward(const km_net_pass *pass, int layer, int d) {
    const km_lstm_parts *parts = &pass->net->lstm[layer][d];
    const km_lstm_acts *acts = &pass->work->lstm[layer][d];
    km_policy_work *work = pass->work;
    const km_lstm shape = shape_of(pass);
    const float *w = pass->weights, *hidden_bias = w + parts->b_hidden;
    const size_t N = (size_t)shape.tokens, H = (size_t)shape.H;
    km_linear_forward(work->gates, work->y[layer], w + parts->w_in, w + parts->b_in, shape.tokens,
                      width_of(pass->net, layer), 4 * shape.H);
    km_gather_rows(acts->gates, work->gates, work->order[d], shape.tokens, 4 * shape.H);
    for (size_t n = 0; n < N; n++) {
        km_add(acts->gates + n * 4 * H, hidden_bias, 4 * H);
    }
    km_lstm_forward(acts->hidden, acts->cells, acts->gates, w + parts->w_hidden, &shape);
    for (size_t n = 0; n < N; n++) {
        memcpy(work->y[layer + 1] + (size_t)work->order[d][n] * 2 * H + (size_t)d * H, acts->hidden + n * H,
               H * sizeof(float));
    }
}

/* The rows of the hidden states that the recurrent product read: those of the token before, 0 at the first. */
static void gather_before(const km_net_pass *pass, const float *hidden) {
    const size_t H = (size_t)pass->net->shape.H;
    float *out = pass->work->hidden;
    memset(out, 0, (size_t)pass->stream->tokens * H * sizeof *out);
    for (size_t n = 0; n < (size_t)pass->stream->tokens; n++) {
        if (pass->work->before[n] >= 0) {
            memcpy(out + n * H, hidden + (size_t)pass->work->before[n] * H, H * sizeof *out);
        }
    }
}

static void report(const km_net_pass *pass, size_t offset, size_t count) {
    pass->sink->ready(pass->sink->payload, offset, pass->work->gradient, count);
}

/* dy (N,2H) of the layer's output; adds to dx (N,in), or overwrites it. Parts are reported from the end of the table. */
static void direction_backward(const km_net_pass *pass, int layer, int d, const float *dy, float *dx, bool add) {
    const km_lstm_parts *parts = &pass->net->lstm[layer][d];
    const km_lstm_acts *acts = &pass->work->lstm[layer][d];
    km_policy_work *work = pass->work;
    const km_lstm shape = shape_of(pass);
    const int N = shape.tokens, gates = 4 * shape.H, in = width_of(pass->net, layer);
    const size_t H = (size_t)shape.H, wide = 4 * H;
    for (size_t n = 0; n < (size_t)N; n++) {
        memcpy(work->hidden + n * H, dy + (size_t)work->order[d][n] * 2 * H + (size_t)d * H, H * sizeof(float));
    }
    km_lstm_backward(work->packed, work->hidden, work->cell, acts->gates, acts->cells,
                     pass->weights + parts->w_hidden, &shape);
    for (size_t n = 0; n < (size_t)N; n++) {
        memcpy(work->gates + (size_t)work->order[d][n] * wide, work->packed + n * wide, wide * sizeof(float));
    }
    km_bias_backward(work->gradient, work->gates, N, gates);
    report(pass, parts->b_hidden, wide);
    report(pass, parts->b_in, wide);
    gather_before(pass, acts->hidden);
    km_linear_backward_weight(work->gradient, NULL, work->packed, work->hidden, N, shape.H, gates);
    report(pass, parts->w_hidden, wide * H);
    km_linear_backward_weight(work->gradient, NULL, work->gates, work->y[layer], N, in, gates);
    report(pass, parts->w_in, wide * (size_t)in);
    km_linear_backward_input(dx, work->gates, pass->weights + parts->w_in, N, in, gates, add);
}

/* ---- Start and end ---- */

static void head_forward(const km_net_pass *pass, const km_linear_parts *head, int which) {
    km_policy_work *work = pass->work;
    const int N = pass->stream->tokens, in = 2 * pass->net->shape.H;
    km_linear_forward(work->columns, work->y[pass->net->shape.L], pass->weights + head->w, pass->weights + head->b,
                      N, in, 1);
    for (int n = 0; n < N; n++) {
        work->logits[2 * n + which] = work->columns[n];
    }
}

static void head_backward(const km_net_pass *pass, const km_linear_parts *head, int which, float *dy, bool add) {
    km_policy_work *work = pass->work;
    const int N = pass->stream->tokens, in = 2 * pass->net->shape.H;
    for (int n = 0; n < N; n++) {
        work->columns[n] = work->dlogits[2 * n + which];
    }
    km_net_report_linear(pass, head, work->columns, work->y[pass->net->shape.L], in, 1);
    km_linear_backward_input(dy, work->columns, pass->weights + head->w, N, in, 1, add);
}

static void forward(const km_net_pass *pass) {
    pack(pass);
    km_net_dropout(pass, pass->work->y[0], 0, pass->net->shape.C);
    for (int l = 0; l < pass->net->shape.L; l++) {
        for (int d = 0; d < KM_DIRECTIONS; d++) {
            direction_forward(pass, l, d);
        }
        km_net_dropout(pass, pass->work->y[l + 1], l + 1, 2 * pass->net->shape.H);
    }
    head_forward(pass, &pass->net->start, 0);
    head_forward(pass, &pass->net->end, 1);
}

static void backward(const km_net_pass *pass) {
    km_policy_work *work = pass->work;
    head_backward(pass, &pass->net->end, 1, work->dy[0], false);
    head_backward(pass, &pass->net->start, 0, work->dy[0], true);
    for (int l = pass->net->shape.L - 1; l >= 0; l--) {
        float *dy = work->dy[(pass->net->shape.L - 1 - l) % 2];
        km_net_dropout(pass, dy, l + 1, 2 * pass->net->shape.H);
        float *dx = l == 0 ? work->dx : work->dy[(pass->net->shape.L - l) % 2];
        direction_backward(pass, l, 1, dy, dx, false);
        direction_backward(pass, l, 0, dy, dx, true);
    }
    km_net_dropout(pass, work->dx, 0, pass->net->shape.C);
}

const km_net_kind km_net_lstm = {"supervised", 2, false, check, place, place_work, forward, backward};
