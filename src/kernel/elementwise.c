/* Embedding, GELU, rows in and out, sums. */
#include "kmask/kernel.h"
#include "simd.h"

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

/* The tanh form (Hendrycks and Gimpel 2016), 0.5 x (1 + tanh(u)), is x sigmoid(2u): 2 sqrt(2/pi) and the cubic
 * coefficient. */
#define TANH_SCALE 1.595769122f
#define TANH_CUBE 0.044715f
#define FAR 1e3f                    /* the derivative is 0 or 1 long before, and v * v does not overflow */
#define NORMAL_DENSITY 0.398942280f /* 1/sqrt(2 pi) */

KM_SIMD static void gelu_erf_forward(float *y, float *x, const float *b, int N, int C) {
    for (int n = 0; n < N; n++) {
        float *in = x + (size_t)n * (size_t)C, *out = y + (size_t)n * (size_t)C;
        if (b != NULL) {
            for (int c = 0; c < C; c++) {
                in[c] += b[c];
            }
        }
        for (int c = 0; c < C; c++) {
            out[c] = in[c] * km_normal(in[c]).cdf;
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
            float v = in[c];
            out[c] = v * km_sigmoid(TANH_SCALE * (v + TANH_CUBE * v * v * v)).s;
        }
    }
}

void km_gelu_forward(float *y, float *x, const float *b, km_gelu kind, int N, int C) {
    (kind == KM_GELU_ERF ? gelu_erf_forward : gelu_tanh_forward)(y, x, b, N, C);
}

KM_SIMD static void gelu_erf_backward(float *dx, const float *dy, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float v = x[i];
        km_normal_pair at = km_normal(v);
        dx[i] = dy[i] * (at.cdf + v * NORMAL_DENSITY * at.bell);
    }
}

KM_SIMD static void gelu_tanh_backward(float *dx, const float *dy, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float v = x[i] > FAR ? FAR : x[i] < -FAR ? -FAR : x[i];
        km_sigmoid_pair at = km_sigmoid(TANH_SCALE * (v + TANH_CUBE * v * v * v));
        dx[i] = dy[i] * (at.s + v * at.s * at.rest * TANH_SCALE * (1.0f + 3.0f * TANH_CUBE * v * v));
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

void km_gather_rows(float *out, const float *in, const int32_t *at, int M, int C) {
    for (int m = 0; m < M; m++) {
        memcpy(out + (size_t)m * (size_t)C, in + (size_t)at[m] * (size_t)C, (size_t)C * sizeof *out);
    }
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
