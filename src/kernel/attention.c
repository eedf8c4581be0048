/* Attention by blocks of queries: scores of KM_ATTENTION_ROWS queries and all keys of a view exist at a time, in cache.
 * Forward keeps the logarithm of each softmax's denominator and dropout's bits; backward computes the block again from
 * them (Dao et al. 2022). What belongs to one head of one view is packed once for all its products (panel.h). */
#include "attention_rows.h"
#include "dropout.h"
#include "panel.h"
#include "vector.h"

#include "kmask/base.h"

#include <math.h>

/* One head of one view, and its buffers. T' and D': rounded up to whole panels. */
typedef struct head {
    const km_attention *shape;
    int first_query, queries, first_key, keys; /* rows in all of q, of k and v */
    int number;
    float scale;
    size_t width, ld; /* D'; from row to row of scores */
    /* panels */
    float *k_transposed, *v_transposed; /* (D,T') */
    float *k, *v;                       /* (T,D') */
    float *q, *dout;                    /* (R,D') of a block */
    /* rows */
    float *dk, *dv; /* (T,D') */
    float *result;  /* (R,D') */
    float *scores, *dp;
    float *factor; /* (R) */
} head;

static size_t scores_ld(int T) {
    return km_panel_width(T) + KM_LANES; /* not a power of two: rows would share cache sets */
}

static float *floats(km_arena *arena, size_t rows, size_t columns) {
    return km_arena_take(arena, rows * columns, sizeof(float));
}

/* Forward has no use for what comes after `factor`. */
static void place(head *h, km_arena *arena, int keys, int D) {
    const size_t T = (size_t)keys, R = KM_ATTENTION_ROWS;
    h->width = km_panel_width(D);
    h->ld = scores_ld(keys);
    h->k_transposed = floats(arena, (size_t)D, km_panel_width(keys));
    h->v = floats(arena, T, h->width);
    h->scores = floats(arena, R, h->ld);
    h->result = floats(arena, R, h->width);
    h->factor = floats(arena, R, 1);
    h->v_transposed = floats(arena, (size_t)D, km_panel_width(keys));
    h->k = floats(arena, T, h->width);
    h->dk = h->v; /* backward has no use for v itself */
    h->dv = floats(arena, T, h->width);
    h->dp = floats(arena, R, h->ld);
    h->q = floats(arena, R, h->width);
    h->dout = floats(arena, R, h->width);
}

size_t km_attention_scratch(int longest, int D) {
    head h;
    km_arena measure = {0};
    place(&h, &measure, longest, D);
    return measure.used / sizeof(float);
}

int km_attention_kept_words(int longest) {
    return (longest + KM_DROPOUT_STRETCH - 1) / KM_DROPOUT_STRETCH * (KM_DROPOUT_STRETCH / 16);
}

/* Of a query of the head in what there is for every query and head. */
static size_t row_of(const head *h, int at) {
    return (size_t)(h->first_query + at) * (size_t)h->shape->H + (size_t)h->number;
}

/* Rows at..at+rows-1 of the head's queries as the rows of scores have to know them. */
static km_score_rows rows_of(const head *h, int at, int rows) {
    const km_attention *s = h->shape;
    const size_t row = row_of(h, at);
    const bool drops = s->dropout.p > 0;
    return (km_score_rows){.rows = rows,
                           .T = h->keys,
                           .ld = h->ld,
                           .scale = h->scale,
                           .seen = s->seen == NULL ? NULL : s->seen + h->first_key,
                           .kept = drops ? s->kept + row * (size_t)s->kept_words : NULL,
                           .kept_row = (size_t)s->H * (size_t)s->kept_words,
                           .kept_scale = drops ? km_dropout_rule_of(s->dropout.p).scale : 1.0f,
                           .lse_row = (size_t)s->H};
}

static void draw_kept(const head *h, int at, int rows) {
    const km_attention *s = h->shape;
    for (int r = at; r < at + rows && s->dropout.p > 0; r++) {
        uint16_t *kept = s->kept + row_of(h, r) * (size_t)s->kept_words;
        for (int t = 0; t < h->keys; t += KM_DROPOUT_STRETCH) {
            km_dropout_bits(kept + t / 16, &s->dropout, s->keys[h->first_query + r],
                            (uint32_t)h->number * 65536u + (uint32_t)t);
        }
    }
}

/* to (rows,D), rows ld apart, = from (rows,D') * factor, or the factors of each row. */
KM_SIMD static void scale_rows(float *to, size_t ld, const float *from, size_t width, const float *factors,
                               float factor, int rows, int D) {
    for (int r = 0; r < rows; r++) {
        const float f = factors == NULL ? factor : factors[r];
        for (int d = 0; d < D; d++) {
            to[(size_t)r * ld + (size_t)d] = from[(size_t)r * width + (size_t)d] * f;
        }
    }
}

static size_t at_query(const head *h, int at, int ld) {
    return (size_t)(h->first_query + at) * (size_t)ld + (size_t)h->number * (size_t)h->shape->D;
}

static size_t at_key(const head *h) {
    return (size_t)h->first_key * (size_t)h->shape->ldk + (size_t)h->number * (size_t)h->shape->D;
}

static void forward_head(float *out, float *lse, const float *q, const float *k, const float *v, const head *h) {
    const km_attention *s = h->shape;
    const int D = s->D, T = h->keys;
    const size_t ldq = (size_t)s->ldq, ldk = (size_t)s->ldk, ldo = (size_t)s->ldo;
    km_panel_transpose(h->k_transposed, k + at_key(h), ldk, T, D);
    km_panel_copy(h->v, v + at_key(h), ldk, T, D);
    for (int at = 0; at < h->queries; at += KM_ATTENTION_ROWS) {
        const int rows = h->queries - at < KM_ATTENTION_ROWS ? h->queries - at : KM_ATTENTION_ROWS;
        const km_score_rows shape = rows_of(h, at, rows);
        draw_kept(h, at, rows);
        km_panel_product(h->scores, h->ld, q + at_query(h, at, s->ldq), ldq, 1, h->k_transposed, rows, D, T, false);
        km_attention_rows_forward(h->scores, h->factor, lse + row_of(h, at), &shape);
        km_panel_product(h->result, h->width, h->scores, h->ld, 1, h->v, rows, T, D, false);
        scale_rows(out + at_query(h, at, s->ldo), ldo, h->result, h->width, h->factor, 0, rows, D);
    }
}

static void backward_block(float *dq, const float *dout, const float *lse, const float *q, const head *h, int at) {
    const km_attention *s = h->shape;
    const int D = s->D, T = h->keys;
    const int rows = h->queries - at < KM_ATTENTION_ROWS ? h->queries - at : KM_ATTENTION_ROWS;
    const size_t ldq = (size_t)s->ldq, ldo = (size_t)s->ldo;
    const km_score_rows shape = rows_of(h, at, rows);
    q += at_query(h, at, s->ldq);
    dout += at_query(h, at, s->ldo);
    km_panel_product(h->scores, h->ld, q, ldq, 1, h->k_transposed, rows, D, T, false);
    km_panel_product(h->dp, h->ld, dout, ldo, 1, h->v_transposed, rows, D, T, false);
    km_attention_rows_backward(h->scores, h->dp, lse + row_of(h, at), &shape);
    km_panel_copy(h->q, q, ldq, rows, D);
    km_panel_copy(h->dout, dout, ldo, rows, D);
    km_panel_product(h->dv, h->width, h->scores, 1, h->ld, h->dout, T, rows, D, at > 0);
    km_panel_product(h->dk, h->width, h->dp, 1, h->ld, h->q, T, rows, D, at > 0);
    km_panel_product(h->result, h->width, h->dp, h->ld, 1, h->k, rows, T, D, false);
    scale_rows(dq + at_query(h, at, s->ldq), ldq, h->result, h->width, NULL, h->scale, rows, D);
}

static void backward_head(float *dq, float *dk, float *dv, const float *dout, const float *lse, const float *q,
                          const float *k, const float *v, const head *h) {
    const km_attention *s = h->shape;
    const size_t ldk = (size_t)s->ldk;
    km_panel_transpose(h->k_transposed, k + at_key(h), ldk, h->keys, s->D);
    km_panel_transpose(h->v_transposed, v + at_key(h), ldk, h->keys, s->D);
    km_panel_copy(h->k, k + at_key(h), ldk, h->keys, s->D);
    for (int at = 0; at < h->queries; at += KM_ATTENTION_ROWS) {
        backward_block(dq, dout, lse, q, h, at);
    }
    if (h->queries == 0) {
        memset(h->dk, 0, (size_t)h->keys * h->width * sizeof *h->dk);
        memset(h->dv, 0, (size_t)h->keys * h->width * sizeof *h->dv);
    }
    scale_rows(dk + at_key(h), ldk, h->dk, h->width, NULL, h->scale, h->keys, s->D);
    scale_rows(dv + at_key(h), ldk, h->dv, h->width, NULL, 1.0f, h->keys, s->D);
}

static head head_of_view(const km_attention *shape, int view, float *scratch) {
    km_arena arena = {.base = (char *)scratch, .capacity = SIZE_MAX};
    head h = {.shape = shape,
              .first_query = shape->q_starts[view],
              .queries = shape->q_starts[view + 1] - shape->q_starts[view],
              .first_key = shape->k_starts[view],
              .keys = shape->k_starts[view + 1] - shape->k_starts[view],
              .scale = 1.0f / sqrtf((float)shape->D)};
    place(&h, &arena, h.keys, shape->D);
    return h;
}

void km_attention_forward(float *out, float *lse, const float *q, const float *k, const float *v,
                          const km_attention *shape, float *scratch) {
    for (int view = 0; view < shape->views; view++) {
        head h = head_of_view(shape, view, scratch);
        for (h.number = 0; h.queries > 0 && h.number < shape->H; h.number++) {
            forward_head(out, lse, q, k, v, &h);
        }
    }
}

void km_attention_backward(float *dq, float *dk, float *dv, const float *dout, const float *lse, const float *q,
                           const float *k, const float *v, const km_attention *shape, float *scratch) {
    for (int view = 0; view < shape->views; view++) {
        head h = head_of_view(shape, view, scratch);
        for (h.number = 0; h.number < shape->H; h.number++) {
            backward_head(dq, dk, dv, dout, lse, q, k, v, &h);
        }
    }
}
