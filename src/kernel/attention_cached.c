/* Attention of single queries over a cache of keys and values, as a decoder needs it that makes one token at a time: each query has
 * a list of the cache's rows. Keys and values of all heads of a row lie side by side, so each row is read once for all heads. */
#include "attention_rows.h"
#include "simd.h"

#include "kmask/base.h"

#include <math.h>

/* Elements from one head's scores to the next: whole vectors, as km_attention_rows_forward writes them. */
static size_t scores_ld(int most) {
    return ((size_t)most + 15) / 16 * 16;
}

/* The scores (H,ld), and a factor and a denominator of each head. */
size_t km_attention_cached_scratch(int most, int H) {
    const size_t heads = ((size_t)H + 15) / 16 * 16;
    return heads * scores_ld(most) + 2 * heads;
}

/* scores[h * ld] = q . k of head h. */
KM_SIMD static void score_key(float *scores, size_t ld, const float *q, const float *k, int H, int D) {
    for (int h = 0; h < H; h++) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int d = 0; d < D; d++) {
            sum += q[h * D + d] * k[h * D + d];
        }
        scores[(size_t)h * ld] = sum;
    }
}

/* out += p[h * ld] * v for each head h. */
KM_SIMD static void add_value(float *out, const float *p, size_t ld, const float *v, int H, int D) {
    for (int h = 0; h < H; h++) {
        const float factor = p[(size_t)h * ld];
        for (int d = 0; d < D; d++) {
            out[h * D + d] += factor * v[h * D + d];
        }
    }
}

KM_SIMD static void scale_heads(float *out, const float *factor, int H, int D) {
    for (int h = 0; h < H; h++) {
        for (int d = 0; d < D; d++) {
            out[h * D + d] *= factor[h];
        }
    }
}

static void attend(float *out, const float *q, const float *k, const float *v, const int32_t *at,
                   const km_attention_cached *s, float *scratch) {
    const int H = s->H, D = s->D, T = s->keys;
    const size_t ld = scores_ld(T), ldk = (size_t)s->ldk;
    float *factor = scratch + (size_t)H * ld, *lse = factor + H;
    const km_score_rows rows = {
        .rows = H, .T = T, .ld = ld, .scale = 1.0f / sqrtf((float)D), .kept_scale = 1.0f, .lse_row = 1};
    for (int t = 0; t < T; t++) {
        score_key(scratch + t, ld, q, k + (size_t)at[t] * ldk, H, D);
    }
    km_attention_rows_forward(scratch, factor, lse, &rows);
    memset(out, 0, (size_t)H * (size_t)D * sizeof *out);
    for (int t = 0; t < T; t++) {
        add_value(out, scratch + t, ld, v + (size_t)at[t] * ldk, H, D);
    }
    scale_heads(out, factor, H, D);
}

void km_attention_cached_forward(float *out, const float *q, const float *k, const float *v,
                                 const km_attention_cached *shape, float *scratch) {
    const size_t C = (size_t)shape->H * (size_t)shape->D;
    for (int r = 0; r < shape->rows; r++) {
        attend(out + (size_t)r * C, q + (size_t)r * C, k, v, shape->at + (size_t)r * (size_t)shape->ldat, shape,
               scratch);
    }
}
