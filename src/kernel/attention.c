/* Attention by blocks of queries: scores of KM_ATTENTION_ROWS queries and all keys of a view exist at a time.
 * Forward keeps the logarithm of each softmax's denominator; backward computes the block again from it (Dao et
 * al. 2022). */
#include "dropout.h"

#include <cblas.h>
#include <math.h>

/* One (view, head). */
typedef struct block {
    const km_attention *shape;
    int queries, first_query; /* of this block: rows in all of q */
    int keys, first_key;
    int head;
    float scale;
} block;

size_t km_attention_scratch(int longest, int D) {
    (void)D;
    return 2 * (size_t)KM_ATTENTION_ROWS * (size_t)longest;
}

/* out (R,C) (+)= a b with the transpositions given; a plain wrapper to keep the calls short. */
static void product(bool ta, bool tb, int rows, int columns, int inner, float alpha, const float *a, int lda,
                    const float *b, int ldb, float beta, float *out, int ldo) {
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, rows, columns, inner,
                alpha, a, lda, b, ldb, beta, out, ldo);
}

/* Keys that nobody sees get the probability 0. */
static void hide_keys(float *scores, const uint8_t *seen, int R, int T) {
    for (int r = 0; seen != NULL && r < R; r++) {
        float *x = scores + (size_t)r * (size_t)T;
        for (int t = 0; t < T; t++) {
            x[t] = seen[t] ? x[t] : -INFINITY;
        }
    }
}

static const uint8_t *seen_of(const block *b) {
    return b->shape->seen == NULL ? NULL : b->shape->seen + b->first_key;
}

/* scores (R,T) become probabilities after dropout; lse of each row is kept. */
KM_SIMD static void softmax_rows(float *scores, float *lse, int H, const km_dropout *d, const uint64_t *keys,
                                 int head, int R, int T) {
    for (int r = 0; r < R; r++) {
        float *x = scores + (size_t)r * (size_t)T;
        const float top = km_largest(x, T);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int t = 0; t < T; t++) {
            x[t] = km_exp(x[t] - top);
            sum += x[t];
        }
        const float factor = 1.0f / sum;
        for (int t = 0; t < T; t++) {
            x[t] *= factor;
        }
        lse[(size_t)r * (size_t)H] = top + logf(sum);
        if (d->p > 0) {
            km_dropout_row(x, x, d, keys[r], (uint32_t)head * 65536u, T);
        }
    }
}

static void forward_block(float *out, float *lse, const float *q, const float *k, const float *v, const block *b,
                          float *scores) {
    const km_attention *s = b->shape;
    const int D = s->D, T = b->keys, R = b->queries;
    const size_t column = (size_t)b->head * (size_t)D;
    const float *qb = q + (size_t)b->first_query * (size_t)s->ldq + column;
    const float *kb = k + (size_t)b->first_key * (size_t)s->ldk + column;
    const float *vb = v + (size_t)b->first_key * (size_t)s->ldk + column;
    product(false, true, R, T, D, b->scale, qb, s->ldq, kb, s->ldk, 0.0f, scores, T);
    hide_keys(scores, seen_of(b), R, T);
    softmax_rows(scores, lse + (size_t)b->first_query * (size_t)s->H + b->head, s->H, &s->dropout,
                 s->keys + b->first_query, b->head, R, T);
    product(false, false, R, D, T, 1.0f, scores, T, vb, s->ldk, 0.0f,
            out + (size_t)b->first_query * (size_t)s->ldo + column, s->ldo);
}

void km_attention_forward(float *out, float *lse, const float *q, const float *k, const float *v,
                          const km_attention *shape, float *scratch) {
    block b = {.shape = shape, .scale = 1.0f / sqrtf((float)shape->D)};
    for (int view = 0; view < shape->views; view++) {
        b.first_key = shape->k_starts[view];
        b.keys = shape->k_starts[view + 1] - b.first_key;
        for (b.head = 0; b.head < shape->H; b.head++) {
            for (int at = shape->q_starts[view]; at < shape->q_starts[view + 1]; at += KM_ATTENTION_ROWS) {
                b.first_query = at;
                b.queries = shape->q_starts[view + 1] - at < KM_ATTENTION_ROWS ? shape->q_starts[view + 1] - at
                                                                               : KM_ATTENTION_ROWS;
                forward_block(out, lse, q, k, v, &b, scratch);
            }
        }
    }
}

/* scores (R,T) -> p = exp(score - lse); dp (R,T) is the gradient of the dropped probabilities. On return scores
 * holds what multiplied the values (p after dropout), dp the gradient of the scores: p * (dp * factor - mean), the mean
 * of dp * factor under p. The mean equals out . dout, but has to be made of the same numbers that it is taken from: where
 * values are nearly alike it is nearly each of them, and what is left after the difference is small. */
KM_SIMD static void backward_rows(float *scores, float *dp, const float *lse, int H, const km_dropout *d,
                                  const uint64_t *keys, int head, int R, int T) {
    const km_dropout_rule rule = km_dropout_rule_of(d->p);
    uint16_t numbers[KM_DROPOUT_STRETCH];
    for (int r = 0; r < R; r++) {
        float *x = scores + (size_t)r * (size_t)T, *g = dp + (size_t)r * (size_t)T;
        const float denominator = lse[(size_t)r * (size_t)H];
        float sum = 0, total = 0;
#pragma omp simd reduction(+ : sum, total)
        for (int t = 0; t < T; t++) {
            x[t] = km_exp(x[t] - denominator);
            total += x[t];
        }
        if (d->p <= 0) {
#pragma omp simd reduction(+ : sum)
            for (int t = 0; t < T; t++) {
                sum += x[t] * g[t];
            }
            const float mean = sum / total;
            for (int t = 0; t < T; t++) {
                g[t] = x[t] * (g[t] - mean);
            }
            continue;
        }
        for (int at = 0; at < T; at += KM_DROPOUT_STRETCH) {
            const int end = T - at < KM_DROPOUT_STRETCH ? T - at : KM_DROPOUT_STRETCH;
            km_dropout_numbers(numbers, d, keys[r], (uint32_t)head * 65536u + (uint32_t)at);
#pragma omp simd reduction(+ : sum)
            for (int t = 0; t < end; t++) {
                const float factor = km_dropout_factor(numbers[t], rule);
                g[at + t] *= factor;
                sum += x[at + t] * g[at + t];
                x[at + t] = factor > 0 ? x[at + t] : -x[at + t]; /* the sign says what was dropped */
            }
        }
        const float mean = sum / total;
        for (int t = 0; t < T; t++) {
            g[t] = fabsf(x[t]) * (g[t] - mean);
            x[t] = x[t] < 0 ? 0 : x[t] * rule.scale;
        }
    }
}

static void backward_block(float *dq, float *dk, float *dv, const float *dout, const float *lse, const float *q,
                           const float *k, const float *v, const block *b, float beta, float *scratch) {
    const km_attention *s = b->shape;
    const int D = s->D, T = b->keys, R = b->queries;
    const size_t column = (size_t)b->head * (size_t)D;
    const size_t at_q = (size_t)b->first_query * (size_t)s->ldq + column;
    const size_t at_k = (size_t)b->first_key * (size_t)s->ldk + column;
    const size_t at_o = (size_t)b->first_query * (size_t)s->ldo + column;
    float *scores = scratch, *dp = scratch + (size_t)R * (size_t)T;
    product(false, true, R, T, D, b->scale, q + at_q, s->ldq, k + at_k, s->ldk, 0.0f, scores, T);
    hide_keys(scores, seen_of(b), R, T);
    product(false, true, R, T, D, 1.0f, dout + at_o, s->ldo, v + at_k, s->ldk, 0.0f, dp, T);
    backward_rows(scores, dp, lse + (size_t)b->first_query * (size_t)s->H + b->head, s->H, &s->dropout,
                  s->keys + b->first_query, b->head, R, T);
    product(true, false, T, D, R, 1.0f, scores, T, dout + at_o, s->ldo, beta, dv + at_k, s->ldk);
    product(false, false, R, D, T, b->scale, dp, T, k + at_k, s->ldk, 0.0f, dq + at_q, s->ldq);
    product(true, false, T, D, R, b->scale, dp, T, q + at_q, s->ldq, beta, dk + at_k, s->ldk);
}

static void clear_rows(float *x, int first, int rows, int ld, int width) {
    for (int r = first; r < first + rows; r++) {
        memset(x + (size_t)r * (size_t)ld, 0, (size_t)width * sizeof *x);
    }
}

void km_attention_backward(float *dq, float *dk, float *dv, const float *dout, const float *lse, const float *q,
                           const float *k, const float *v, const km_attention *shape, float *scratch) {
    block b = {.shape = shape, .scale = 1.0f / sqrtf((float)shape->D)};
    for (int view = 0; view < shape->views; view++) {
        const int first = shape->q_starts[view], end = shape->q_starts[view + 1];
        b.first_key = shape->k_starts[view];
        b.keys = shape->k_starts[view + 1] - b.first_key;
        if (first == end) {
            clear_rows(dk, b.first_key, b.keys, shape->ldk, shape->H * shape->D);
            clear_rows(dv, b.first_key, b.keys, shape->ldk, shape->H * shape->D);
        }
        for (b.head = 0; b.head < shape->H; b.head++) {
            for (int at = first; at < end; at += KM_ATTENTION_ROWS) {
                b.first_query = at;
                b.queries = end - at < KM_ATTENTION_ROWS ? end - at : KM_ATTENTION_ROWS;
                backward_block(dq, dk, dv, dout, lse, q, k, v, &b, at == first ? 0.0f : 1.0f, scratch);
            }
        }
    }
}
