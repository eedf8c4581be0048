/* Embedding, gathering and scattering of rows, addition, and rounding to bf16. */
#include "bf16.h"

KM_SIMD void km_embed_forward(float *out, const int32_t *ids, const int32_t *positions, const int32_t *types,
                              const float *word, const float *position, const float *type, int N, int C) {
    for (int n = 0; n < N; n++) {
        const float *w = word + (size_t)ids[n] * (size_t)C;
        const float *p = position + (size_t)positions[n] * (size_t)C;
        const float *t = type + (types == NULL ? 0 : (size_t)types[n] * (size_t)C);
        float *row = out + (size_t)n * (size_t)C;
        for (int c = 0; c < C; c++) {
            row[c] = w[c] + t[c] + p[c];
        }
    }
}

KM_SIMD void km_embed_scaled_forward(float *out, const int32_t *ids, const int32_t *positions, const float *word,
                                     float scale, const float *position, int N, int C) {
    for (int n = 0; n < N; n++) {
        const float *w = word + (size_t)ids[n] * (size_t)C, *p = position + (size_t)positions[n] * (size_t)C;
        float *row = out + (size_t)n * (size_t)C;
        for (int c = 0; c < C; c++) {
            row[c] = scale * w[c] + p[c];
        }
    }
}

KM_SIMD void km_multiply(float *y, const float *x, float factor, size_t count) {
    for (size_t i = 0; i < count; i++) {
        y[i] = factor * x[i];
    }
}

KM_SIMD void km_add(float *y, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        y[i] += x[i];
    }
}

static void gather(void *out, const void *in, const int32_t *at, int M, size_t bytes) {
    for (int m = 0; m < M; m++) {
        memcpy((char *)out + (size_t)m * bytes, (const char *)in + (size_t)at[m] * bytes, bytes);
    }
}

void km_gather_rows(float *out, const float *in, const int32_t *at, int M, int C) {
    gather(out, in, at, M, (size_t)C * sizeof *out);
}

KM_SIMD void km_scatter_add_rows(float *out, const float *in, const int32_t *at, int M, int C) {
    for (int m = 0; m < M; m++) {
        float *to = out + (size_t)at[m] * (size_t)C;
        const float *from = in + (size_t)m * (size_t)C;
        for (int c = 0; c < C; c++) {
            to[c] += from[c];
        }
    }
}

/* ---- bf16 ---------------------------------------------------------------------------------------------------- */

KM_SIMD void km_bf16_round(km_bf16 *out, const float *in, size_t count) {
    km_bf16_row(out, in, count);
}

void km_gather_rows_bf16(km_bf16 *out, const km_bf16 *in, const int32_t *at, int M, int C) {
    gather(out, in, at, M, (size_t)C * sizeof *out);
}
