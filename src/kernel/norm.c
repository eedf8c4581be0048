/* Layer norm (Ba et al. 2016), alone and together with dropout and the residual connection at the end of a post-norm block. */
#include "bf16.h"
#include "dropout.h"

#include <math.h>

/* y = (x - mean) * rstd * w + b for one row. */
KM_INLINE void normalize(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b,
                         float eps, int C) {
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int c = 0; c < C; c++) {
        sum += x[c];
    }
    const float m = sum / (float)C;
#pragma omp simd reduction(+ : squares)
    for (int c = 0; c < C; c++) {
        squares += (x[c] - m) * (x[c] - m);
    }
    const float r = 1.0f / sqrtf(squares / (float)C + eps);
    for (int c = 0; c < C; c++) {
        y[c] = (x[c] - m) * r * w[c] + b[c];
    }
    *mean = m;
    *rstd = r;
}

KM_SIMD void km_norm_forward(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b,
                             float eps, int N, int C) {
    for (int n = 0; n < N; n++) {
        const size_t at = (size_t)n * (size_t)C;
        normalize(y + at, mean + n, rstd + n, x + at, w, b, eps, C);
    }
}

/* sum = residual + dropout(x + bias) for one row. */
KM_INLINE void add_residual(float *sum, const float *x, const float *bias, const float *residual,
                            const km_dropout *d, uint64_t key, int C) {
    if (bias != NULL) {
        for (int c = 0; c < C; c++) {
            sum[c] = x[c] + bias[c];
        }
        x = sum;
    }
    if (d->p > 0) {
        km_dropout_row(sum, x, d, key, 0, C);
        x = sum;
    }
    for (int c = 0; c < C; c++) {
        sum[c] = x[c] + residual[c];
    }
}

KM_SIMD void km_residual_norm_forward(float *y, float *sum, float *mean, float *rstd, const float *x,
                                      const float *bias, const float *residual, const km_dropout *dropout,
                                      const uint64_t *keys, const float *w, const float *b, float eps, int N,
                                      int C) {
    for (int n = 0; n < N; n++) {
        const size_t at = (size_t)n * (size_t)C;
        add_residual(sum + at, x + at, bias, residual + at, dropout, keys[n], C);
        normalize(y + at, mean + n, rstd + n, sum + at, w, b, eps, C);
    }
}

/* Each row is rounded while it is in the first-level cache. */
KM_SIMD void km_norm_forward_bf16(km_bf16 *y, float *mean, float *rstd, const float *x, const float *w,
                                  const float *b, float eps, float *row, int N, int C) {
    for (int n = 0; n < N; n++) {
        const size_t at = (size_t)n * (size_t)C;
        normalize(row, mean + n, rstd + n, x + at, w, b, eps, C);
        km_bf16_row(y + at, row, (size_t)C);
    }
}

KM_SIMD void km_residual_norm_forward_bf16(float *y, km_bf16 *rounded, float *sum, float *mean, float *rstd,
                                           const float *x, const float *bias, const float *residual,
                                           const km_dropout *dropout, const uint64_t *keys, const float *w,
                                           const float *b, float eps, int N, int C) {
    for (int n = 0; n < N; n++) {
        const size_t at = (size_t)n * (size_t)C;
        add_residual(sum + at, x + at, bias, residual + at, dropout, keys[n], C);
        normalize(y + at, mean + n, rstd + n, sum + at, w, b, eps, C);
        km_bf16_row(rounded + at, y + at, (size_t)C);
    }
}

KM_SIMD void km_norm_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *mean,
                              const float *rstd, const float *w, int N, int C) {
    memset(dw, 0, (size_t)C * sizeof *dw);
    memset(db, 0, (size_t)C * sizeof *db);
    for (int n = 0; n < N; n++) {
        const float *g = dy + (size_t)n * (size_t)C, *in = x + (size_t)n * (size_t)C;
        float *out = dx + (size_t)n * (size_t)C;
        const float m = mean[n], r = rstd[n];
        float sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
        for (int c = 0; c < C; c++) {
            float unit = (in[c] - m) * r;
            sum += g[c] * w[c];
            dot += g[c] * w[c] * unit;
        }
        sum /= (float)C;
        dot /= (float)C;
#pragma omp simd /* dx may be dy: each element is read before it is written */
        for (int c = 0; c < C; c++) {
            float unit = (in[c] - m) * r, gradient = g[c];
            dw[c] += gradient * unit;
            db[c] += gradient;
            out[c] = r * (gradient * w[c] - sum - unit * dot);
        }
    }
}
