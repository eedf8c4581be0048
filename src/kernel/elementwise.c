/* Embedding, GELU, gathering and scattering of rows, addition, and rounding to bf16. */
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

/* GELU's tanh form (Hendrycks and Gimpel 2016), 0.5 x (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3), is x sigmoid(2u). */
#define TANH_SCALE 1.595769122f /* 2 sqrt(2/pi) */
#define TANH_CUBE 0.044715f
#define FAR 1e3f /* x is limited to it: the derivative is 0 or 1 long before, and x * x does not overflow */
#define NORMAL_DENSITY 0.398942280f /* 1/sqrt(2 pi) */

KM_INLINE float gelu_erf(float x) {
    return x * km_normal(x).cdf;
}

KM_INLINE float gelu_tanh(float x) {
    return x * km_sigmoid(TANH_SCALE * (x + TANH_CUBE * x * x * x)).s;
}

KM_INLINE float gelu_erf_slope(float x) {
    const km_normal_pair at = km_normal(x);
    return at.cdf + x * NORMAL_DENSITY * at.bell;
}

KM_INLINE float gelu_tanh_slope(float x) {
    const float v = x > FAR ? FAR : x < -FAR ? -FAR : x;
    const km_sigmoid_pair at = km_sigmoid(TANH_SCALE * (v + TANH_CUBE * v * v * v));
    return at.s + v * at.s * at.rest * TANH_SCALE * (1.0f + 3.0f * TANH_CUBE * v * v);
}

KM_SIMD static void gelu_erf_forward(float *y, float *x, const float *b, int N, int C) {
    for (int n = 0; n < N; n++) {
        float *in = x + (size_t)n * (size_t)C, *out = y + (size_t)n * (size_t)C;
        if (b != NULL) {
            for (int c = 0; c < C; c++) {
                in[c] += b[c];
            }
        }
        for (int c = 0; c < C; c++) {
            out[c] = gelu_erf(in[c]);
        }
    }
}

KM_SIMD static void gelu_tanh_forward(float *y, float *x, const float *b, int N, int C) {
    for (int n = 0; n < N; n++) {
        float *in = x + (size_t)n * (size_t)C, *out = y + (size_t)n * (size_t)C;
        if (b != NULL) {
            for (int c = 0; c < C; c++) {
                in[c] += b[c];
            }
        }
        for (int c = 0; c < C; c++) {
            out[c] = gelu_tanh(in[c]);
        }
    }
}

void km_gelu_forward(float *y, float *x, const float *b, km_gelu kind, int N, int C) {
    (kind == KM_GELU_ERF ? gelu_erf_forward : gelu_tanh_forward)(y, x, b, N, C);
}

KM_SIMD static void gelu_erf_backward(float *dx, const float *dy, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        dx[i] = dy[i] * gelu_erf_slope(x[i]);
    }
}

KM_SIMD static void gelu_tanh_backward(float *dx, const float *dy, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        dx[i] = dy[i] * gelu_tanh_slope(x[i]);
    }
}

void km_gelu_backward(float *dx, const float *dy, const float *x, km_gelu kind, int N, int C) {
    (kind == KM_GELU_ERF ? gelu_erf_backward : gelu_tanh_backward)(dx, dy, x, (size_t)N * (size_t)C);
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

KM_SIMD static void gelu_erf_forward_bf16(km_bf16 *y, const km_bf16 *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const float v = km_float_of(x[i]);
        y[i] = km_bf16_of(gelu_erf(v));
    }
}

KM_SIMD static void gelu_tanh_forward_bf16(km_bf16 *y, const km_bf16 *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const float v = km_float_of(x[i]);
        y[i] = km_bf16_of(gelu_tanh(v));
    }
}

void km_gelu_forward_bf16(km_bf16 *y, const km_bf16 *x, km_gelu kind, int N, int C) {
    (kind == KM_GELU_ERF ? gelu_erf_forward_bf16 : gelu_tanh_forward_bf16)(y, x, (size_t)N * (size_t)C);
}

KM_SIMD static void gelu_erf_backward_bf16(km_bf16 *dx, const km_bf16 *dy, const km_bf16 *x, size_t count) {
#pragma omp simd /* dx may be dy */
    for (size_t i = 0; i < count; i++) {
        dx[i] = km_bf16_of(km_float_of(dy[i]) * gelu_erf_slope(km_float_of(x[i])));
    }
}

/* The slopes have a loop of their own because clang does not vectorize one loop that does both. */
KM_SIMD static void gelu_tanh_backward_bf16(km_bf16 *dx, const km_bf16 *dy, const km_bf16 *x, size_t count) {
    enum { STRETCH = 256 };
    float slopes[STRETCH];
    for (size_t at = 0; at < count; at += STRETCH) {
        const size_t end = count - at < STRETCH ? count - at : STRETCH;
        for (size_t i = 0; i < end; i++) {
            slopes[i] = gelu_tanh_slope(km_float_of(x[at + i]));
        }
#pragma omp simd /* dx may be dy */
        for (size_t i = 0; i < end; i++) {
            dx[at + i] = km_bf16_of(km_float_of(dy[at + i]) * slopes[i]);
        }
    }
}

void km_gelu_backward_bf16(km_bf16 *dx, const km_bf16 *dy, const km_bf16 *x, km_gelu kind, int N, int C) {
    (kind == KM_GELU_ERF ? gelu_erf_backward_bf16 : gelu_tanh_backward_bf16)(dx, dy, x, (size_t)N * (size_t)C);
}

void km_gather_rows_bf16(km_bf16 *out, const km_bf16 *in, const int32_t *at, int M, int C) {
    gather(out, in, at, M, (size_t)C * sizeof *out);
}
