/* Attention in bf16: as attention.c, with the matrix products of panel_bf16.h. Probabilities and gradients of scores are
 * rounded to bf16 before a product reads them; queries, keys and values come as bf16; scores, softmax and sums are floats. */
#include "attention_head.h"
#include "bf16.h"
#include "panel_bf16.h"

#include "kmask/base.h"

/* A head of a view and its buffers in scratch. R is KM_ATTENTION_ROWS; T' and D' are T and D rounded up to whole panels; T/2
 * and D/2 are numbers of pairs, rounded up. */
typedef struct head {
    km_attention_head of;
    size_t width, ld;                /* D', and the elements from one row of scores to the next */
    size_t along_T, along_D, down_T; /* pairs from one row of a left operand to the next */
    /* right operands, in panels */
    km_bf16_pair *k_transposed, *v_transposed; /* (D/2,T') */
    km_bf16_pair *k, *v;                       /* (T/2,D') */
    km_bf16_pair *q, *dout;                    /* (R/2,D') of a block of queries */
    /* left operands */
    km_bf16_pair *query;            /* (R,D/2) queries, or the gradients of the outputs */
    km_bf16_pair *p;                /* (R,T/2) probabilities, or the gradients of the scores */
    km_bf16_pair *p_down, *ds_down; /* (R/2,T) both, as pairs of rows */
    /* floats */
    float *dk, *dv;     /* (T,D') */
    float *result;      /* (R,D') */
    float *scores, *dp; /* (R,T) scores, and the gradient of the probabilities */
    float *factor;      /* (R) 1 / the softmax's denominator, with dropout's scale */
} head;

static km_bf16_pair *pairs(km_arena *arena, size_t rows, size_t columns) {
    return km_arena_take(arena, rows * columns, sizeof(km_bf16_pair));
}

static float *floats(km_arena *arena, size_t rows, size_t columns) {
    return km_arena_take(arena, rows * columns, sizeof(float));
}

/* Elements from one row of a left operand to the next: whole cache lines, and one more than needed, so that rows do not fall
 * into the same cache sets. */
static size_t left_ld(size_t pairs_of_row) {
    return (pairs_of_row + KM_LANES - 1) / KM_LANES * KM_LANES + KM_LANES;
}

/* Places the buffers. Forward uses only those up to `factor`. */
static void place(head *h, km_arena *arena, int keys, int D) {
    const size_t T = (size_t)keys, R = KM_ATTENTION_ROWS;
    h->width = km_panel_width(D);
    h->ld = km_attention_head_scores_ld(keys);
    h->along_T = left_ld(km_pairs(keys));
    h->along_D = left_ld(km_pairs(D));
    h->down_T = left_ld(T);
    h->k_transposed = pairs(arena, km_pairs(D), km_panel_width(keys));
    h->v = pairs(arena, km_pairs(keys), h->width);
    h->query = pairs(arena, R, h->along_D);
    h->p = pairs(arena, R, h->along_T);
    h->scores = floats(arena, R, h->ld);
    h->result = floats(arena, R, h->width);
    h->factor = floats(arena, R, 1);
    h->v_transposed = pairs(arena, km_pairs(D), km_panel_width(keys));
    h->k = pairs(arena, km_pairs(keys), h->width);
    h->q = pairs(arena, R / 2, h->width);
    h->dout = pairs(arena, R / 2, h->width);
    h->p_down = pairs(arena, R / 2, h->down_T);
    h->ds_down = pairs(arena, R / 2, h->down_T);
    h->dk = floats(arena, T, h->width);
    h->dv = floats(arena, T, h->width);
    h->dp = floats(arena, R, h->ld);
}

size_t km_attention_scratch_bf16(int longest, int D) {
    head h;
    km_arena measure = {0};
    place(&h, &measure, longest, D);
    return measure.used / sizeof(float);
}

/* to (rows,D) = from (rows,D') * factor; `to` has ld elements from one row to the next. With `factors` (rows) each row has
 * its own factor. */
KM_SIMD static void scale_rows(km_bf16 *to, size_t ld, const float *from, size_t width, const float *factors,
                               float factor, int rows, int D) {
    for (int r = 0; r < rows; r++) {
        const float f = factors == NULL ? factor : factors[r];
        for (int d = 0; d < D; d++) {
            to[(size_t)r * ld + (size_t)d] = km_bf16_of(from[(size_t)r * width + (size_t)d] * f);
        }
    }
}

static void forward_block(km_bf16 *out, float *lse, const km_bf16 *q, const head *h, int at) {
    const km_attention_head *of = &h->of;
    const km_attention *s = of->shape;
    const int D = s->D, rows = km_attention_head_block(of, at), T = km_attention_head_keys(of, at, rows);
    const km_score_rows shape = km_attention_head_score_rows(of, at, rows, T);
    km_attention_head_draw_kept(of, at, rows, T);
    km_pairs_along(h->query, h->along_D, q + km_attention_head_at_query(of, at, s->ldq), (size_t)s->ldq, rows, D);
    km_pairs_product(h->scores, h->ld, h->query, h->along_D, 1, h->k_transposed, km_pairs(D), rows, km_pairs(D), T,
                     false);
    km_attention_rows_forward(h->scores, h->factor, lse + km_attention_head_row(of, at), &shape);
    km_pairs_along_floats(h->p, h->along_T, h->scores, h->ld, rows, T);
    km_pairs_product(h->result, h->width, h->p, h->along_T, 1, h->v, km_pairs(of->keys), rows, km_pairs(T), D,
                     false);
    scale_rows(out + km_attention_head_at_query(of, at, s->ldo), (size_t)s->ldo, h->result, h->width, h->factor, 0,
               rows, D);
}

static void forward_head(km_bf16 *out, float *lse, const km_bf16 *q, const km_bf16 *k, const km_bf16 *v,
                         const head *h) {
    const km_attention_head *of = &h->of;
    const size_t ldk = (size_t)of->shape->ldk;
    km_pairs_transpose(h->k_transposed, k + km_attention_head_at_key(of), ldk, of->keys, of->shape->D);
    km_pairs_copy(h->v, v + km_attention_head_at_key(of), ldk, of->keys, of->shape->D);
    for (int at = 0; at < of->queries; at += KM_ATTENTION_ROWS) {
        forward_block(out, lse, q, h, at);
    }
}

/* Scores and the gradient of the probabilities, to probabilities and the gradient of the scores. */
static void go_back_to_scores(const km_bf16 *dout, const float *lse, const km_bf16 *q, const head *h, int at,
                              int rows, int T) {
    const km_attention_head *of = &h->of;
    const km_attention *s = of->shape;
    const km_score_rows shape = km_attention_head_score_rows(of, at, rows, T);
    const size_t depth = km_pairs(s->D);
    km_pairs_along(h->query, h->along_D, q, (size_t)s->ldq, rows, s->D);
    km_pairs_product(h->scores, h->ld, h->query, h->along_D, 1, h->k_transposed, depth, rows, depth, T, false);
    km_pairs_along(h->query, h->along_D, dout, (size_t)s->ldo, rows, s->D);
    km_pairs_product(h->dp, h->ld, h->query, h->along_D, 1, h->v_transposed, depth, rows, depth, T, false);
    km_attention_rows_backward(h->scores, h->dp, lse + km_attention_head_row(of, at), &shape);
}

/* Writes one block of queries' rows of dq, and its share of dk and dv, which is added to that of others with `add`. */
static void backward_block(km_bf16 *dq, const km_bf16 *dout, const float *lse, const km_bf16 *q, const head *h,
                           int at, bool add) {
    const km_attention_head *of = &h->of;
    const km_attention *s = of->shape;
    const int D = s->D, rows = km_attention_head_block(of, at), T = km_attention_head_keys(of, at, rows);
    const size_t depth = km_pairs(rows);
    q += km_attention_head_at_query(of, at, s->ldq);
    dout += km_attention_head_at_query(of, at, s->ldo);
    go_back_to_scores(dout, lse, q, h, at, rows, T);
    km_pairs_copy(h->q, q, (size_t)s->ldq, rows, D);
    km_pairs_copy(h->dout, dout, (size_t)s->ldo, rows, D);
    km_pairs_down_floats(h->p_down, h->down_T, h->scores, h->ld, rows, T);
    km_pairs_down_floats(h->ds_down, h->down_T, h->dp, h->ld, rows, T);
    km_pairs_along_floats(h->p, h->along_T, h->dp, h->ld, rows, T);
    km_pairs_product(h->dv, h->width, h->p_down, 1, h->down_T, h->dout, depth, T, depth, D, add);
    km_pairs_product(h->dk, h->width, h->ds_down, 1, h->down_T, h->q, depth, T, depth, D, add);
    km_pairs_product(h->result, h->width, h->p, h->along_T, 1, h->k, km_pairs(of->keys), rows, km_pairs(T), D,
                     false);
    scale_rows(dq + km_attention_head_at_query(of, at, s->ldq), (size_t)s->ldq, h->result, h->width, NULL,
               of->scale, rows, D);
}

static void backward_head(km_bf16 *dq, km_bf16 *dk, km_bf16 *dv, const km_bf16 *dout, const float *lse,
                          const km_bf16 *q, const km_bf16 *k, const km_bf16 *v, const head *h) {
    const km_attention_head *of = &h->of;
    const int D = of->shape->D;
    const size_t ldk = (size_t)of->shape->ldk;
    const bool partial =
        of->queries == 0 || of->shape->visible != NULL; /* the first block does not write all of dk and dv */
    km_pairs_transpose(h->k_transposed, k + km_attention_head_at_key(of), ldk, of->keys, D);
    km_pairs_transpose(h->v_transposed, v + km_attention_head_at_key(of), ldk, of->keys, D);
    km_pairs_copy(h->k, k + km_attention_head_at_key(of), ldk, of->keys, D);
    if (partial) {
        memset(h->dk, 0, (size_t)of->keys * h->width * sizeof *h->dk);
        memset(h->dv, 0, (size_t)of->keys * h->width * sizeof *h->dv);
    }
    for (int at = 0; at < of->queries; at += KM_ATTENTION_ROWS) {
        backward_block(dq, dout, lse, q, h, at, partial || at > 0);
    }
    scale_rows(dk + km_attention_head_at_key(of), ldk, h->dk, h->width, NULL, of->scale, of->keys, D);
    scale_rows(dv + km_attention_head_at_key(of), ldk, h->dv, h->width, NULL, 1.0f, of->keys, D);
}

static head head_of_view(const km_attention *shape, int view, float *scratch) {
    km_arena arena = {.base = (char *)scratch, .capacity = SIZE_MAX};
    head h = {.of = km_attention_head_of_view(shape, view)};
    place(&h, &arena, h.of.keys, shape->D);
    return h;
}

void km_attention_forward_bf16(km_bf16 *out, float *lse, const km_bf16 *q, const km_bf16 *k, const km_bf16 *v,
                               const km_attention *shape, float *scratch) {
    for (int view = 0; view < shape->views; view++) {
        head h = head_of_view(shape, view, scratch);
        for (h.of.number = 0; h.of.queries > 0 && h.of.number < shape->H; h.of.number++) {
            forward_head(out, lse, q, k, v, &h);
        }
    }
}

void km_attention_backward_bf16(km_bf16 *dq, km_bf16 *dk, km_bf16 *dv, const km_bf16 *dout, const float *lse,
                                const km_bf16 *q, const km_bf16 *k, const km_bf16 *v, const km_attention *shape,
                                float *scratch) {
    for (int view = 0; view < shape->views; view++) {
        head h = head_of_view(shape, view, scratch);
        for (h.of.number = 0; h.of.number < shape->H; h.of.number++) {
            backward_head(dq, dk, dv, dout, lse, q, k, v, &h);
        }
    }
}
