/* Attention, one head of one view after the other, in blocks of KM_ATTENTION_ROWS queries: the scores of a block with all
 * keys of the view stay in cache. Forward keeps the logarithm of each softmax's denominator and dropout's bits, and backward
 * recomputes the scores and probabilities of a block from them (Dao et al. 2022). Keys and values of a head are packed into
 * panels once and used by all its matrix products (panel.h). */
#include "attention_head.h"

#include "kmask/base.h"

/* A head of a view and its buffers in scratch. R is KM_ATTENTION_ROWS; T' and D' are T and D rounded up to whole panels. */
typedef struct head {
    km_attention_head of;
    size_t width, ld; /* D', and the elements from one row of scores to the next */
    /* right operands, in panels */
    float *k_transposed, *v_transposed; /* (D,T') */
    float *k, *v;                       /* (T,D') */
    float *q, *dout;                    /* (R,D') of a block of queries */
    /* plain rows */
    float *dk, *dv;     /* (T,D') */
    float *result;      /* (R,D') */
    float *scores, *dp; /* (R,T) scores, and the gradient of the probabilities */
    float *factor;      /* (R) 1 / the softmax's denominator, with dropout's scale */
} head;

static float *floats(km_arena *arena, size_t rows, size_t columns) {
    return km_arena_take(arena, rows * columns, sizeof(float));
}

/* Places the buffers. Forward uses only those up to `factor`. */
static void place(head *h, km_arena *arena, int keys, int D) {
    const size_t T = (size_t)keys, R = KM_ATTENTION_ROWS;
    h->width = km_panel_width(D);
    h->ld = km_attention_head_scores_ld(keys);
    h->k_transposed = floats(arena, (size_t)D, km_panel_width(keys));
    h->v = floats(arena, T, h->width);
    h->scores = floats(arena, R, h->ld);
    h->result = floats(arena, R, h->width);
    h->factor = floats(arena, R, 1);
    h->v_transposed = floats(arena, (size_t)D, km_panel_width(keys));
    h->k = floats(arena, T, h->width);
    h->dk = h->v; /* backward does not need v in this form, so dk takes its place */
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

/* to (rows,D) = from (rows,D') * factor; `to` has ld elements from one row to the next. With `factors` (rows) each row has
 * its own factor. */
KM_SIMD static void scale_rows(float *to, size_t ld, const float *from, size_t width, const float *factors,
                               float factor, int rows, int D) {
    for (int r = 0; r < rows; r++) {
        const float f = factors == NULL ? factor : factors[r];
        for (int d = 0; d < D; d++) {
            to[(size_t)r * ld + (size_t)d] = from[(size_t)r * width + (size_t)d] * f;
        }
    }
}

static void forward_block(float *out, float *lse, const float *q, const head *h, int at) {
    const km_attention *s = h->of.shape;
    const int D = s->D, rows = km_attention_head_block(&h->of, at), T = km_attention_head_keys(&h->of, at, rows);
    const size_t ldq = (size_t)s->ldq, ldo = (size_t)s->ldo;
    const km_score_rows shape = km_attention_head_score_rows(&h->of, at, rows, T);
    km_attention_head_draw_kept(&h->of, at, rows, T);
    km_panel_product(h->scores, h->ld, q + km_attention_head_at_query(&h->of, at, s->ldq), ldq, 1, h->k_transposed,
                     D, rows, D, T, false);
    km_attention_rows_forward(h->scores, h->factor, lse + km_attention_head_row(&h->of, at), &shape);
    km_panel_product(h->result, h->width, h->scores, h->ld, 1, h->v, h->of.keys, rows, T, D, false);
    scale_rows(out + km_attention_head_at_query(&h->of, at, s->ldo), ldo, h->result, h->width, h->factor, 0, rows,
               D);
}

static void forward_head(float *out, float *lse, const float *q, const float *k, const float *v, const head *h) {
    const size_t ldk = (size_t)h->of.shape->ldk;
    km_panel_transpose(h->k_transposed, k + km_attention_head_at_key(&h->of), ldk, h->of.keys, h->of.shape->D);
    km_panel_copy(h->v, v + km_attention_head_at_key(&h->of), ldk, h->of.keys, h->of.shape->D);
    for (int at = 0; at < h->of.queries; at += KM_ATTENTION_ROWS) {
        forward_block(out, lse, q, h, at);
    }
}

/* Writes one block of queries' rows of dq, and its share of dk and dv, which is added to that of others with `add`. */
static void backward_block(float *dq, const float *dout, const float *lse, const float *q, const head *h, int at,
                           bool add) {
    const km_attention *s = h->of.shape;
    const int D = s->D, rows = km_attention_head_block(&h->of, at), T = km_attention_head_keys(&h->of, at, rows);
    const size_t ldq = (size_t)s->ldq, ldo = (size_t)s->ldo;
    const km_score_rows shape = km_attention_head_score_rows(&h->of, at, rows, T);
    q += km_attention_head_at_query(&h->of, at, s->ldq);
    dout += km_attention_head_at_query(&h->of, at, s->ldo);
    km_panel_product(h->scores, h->ld, q, ldq, 1, h->k_transposed, D, rows, D, T, false);
    km_panel_product(h->dp, h->ld, dout, ldo, 1, h->v_transposed, D, rows, D, T, false);
    km_attention_rows_backward(h->scores, h->dp, lse + km_attention_head_row(&h->of, at), &shape);
    km_panel_copy(h->q, q, ldq, rows, D);
    km_panel_copy(h->dout, dout, ldo, rows, D);
    km_panel_product(h->dv, h->width, h->scores, 1, h->ld, h->dout, rows, T, rows, D, add);
    km_panel_product(h->dk, h->width, h->dp, 1, h->ld, h->q, rows, T, rows, D, add);
    km_panel_product(h->result, h->width, h->dp, h->ld, 1, h->k, h->of.keys, rows, T, D, false);
    scale_rows(dq + km_attention_head_at_query(&h->of, at, s->ldq), ldq, h->result, h->width, NULL, h->of.scale,
               rows, D);
}

static void backward_head(float *dq, float *dk, float *dv, const float *dout, const float *lse, const float *q,
                          const float *k, const float *v, const head *h) {
    const km_attention *s = h->of.shape;
    const size_t ldk = (size_t)s->ldk;
    const bool partial =
        h->of.queries == 0 || s->visible != NULL; /* the first block does not write all of dk and dv */
    km_panel_transpose(h->k_transposed, k + km_attention_head_at_key(&h->of), ldk, h->of.keys, s->D);
    km_panel_transpose(h->v_transposed, v + km_attention_head_at_key(&h->of), ldk, h->of.keys, s->D);
    km_panel_copy(h->k, k + km_attention_head_at_key(&h->of), ldk, h->of.keys, s->D);
    if (partial) {
        memset(h->dk, 0, (size_t)h->of.keys * h->width * sizeof *h->dk);
        memset(h->dv, 0, (size_t)h->of.keys * h->width * sizeof *h->dv);
    }
    for (int at = 0; at < h->of.queries; at += KM_ATTENTION_ROWS) {
        backward_block(dq, dout, lse, q, h, at, partial || at > 0);
    }
    scale_rows(dk + km_attention_head_at_key(&h->of), ldk, h->dk, h->width, NULL, h->of.scale, h->of.keys, s->D);
    scale_rows(dv + km_attention_head_at_key(&h->of), ldk, h->dv, h->width, NULL, 1.0f, h->of.keys, s->D);
}

static head head_of_view(const km_attention *shape, int view, float *scratch) {
    km_arena arena = {.base = (char *)scratch, .capacity = SIZE_MAX};
    head h = {.of = km_attention_head_of_view(shape, view)};
    place(&h, &arena, h.of.keys, shape->D);
    return h;
}

void km_attention_forward(float *out, float *lse, const float *q, const float *k, const float *v,
                          const km_attention *shape, float *scratch) {
    for (int view = 0; view < shape->views; view++) {
        head h = head_of_view(shape, view, scratch);
        for (h.of.number = 0; h.of.queries > 0 && h.of.number < shape->H; h.of.number++) {
            forward_head(out, lse, q, k, v, &h);
        }
    }
}

void km_attention_backward(float *dq, float *dk, float *dv, const float *dout, const float *lse, const float *q,
                           const float *k, const float *v, const km_attention *shape, float *scratch) {
    for (int view = 0; view < shape->views; view++) {
        head h = head_of_view(shape, view, scratch);
        for (h.of.number = 0; h.of.number < shape->H; h.of.number++) {
            backward_head(dq, dk, dv, dout, lse, q, k, v, &h);
        }
    }
}
