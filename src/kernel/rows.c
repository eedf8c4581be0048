/* Norms of rows, and rows times a factor each; their numbers are floats or bf16. */
#include "bf16.h"

#include <math.h>

KM_SIMD void km_row_norms(float *norms, const float *x, int M, int C) {
    for (int m = 0; m < M; m++) {
        const float *row = x + (size_t)m * (size_t)C;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < C; c++) {
            sum += row[c] * row[c];
        }
        norms[m] = sqrtf(sum);
    }
}

KM_SIMD void km_row_norms_bf16(float *norms, const km_bf16 *x, int ld, int M, int C) {
    for (int m = 0; m < M; m++) {
        const km_bf16 *row = x + (size_t)m * (size_t)ld;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < C; c++) {
            const float value = km_float_of(row[c]);
            sum += value * value;
        }
        norms[m] = sqrtf(sum);
    }
}

KM_SIMD void km_scale_rows(float *x, const float *factors, int M, int C) {
    for (int m = 0; m < M; m++) {
        float *row = x + (size_t)m * (size_t)C;
        for (int c = 0; c < C; c++) {
            row[c] *= factors[m];
        }
    }
}

KM_SIMD void km_scale_rows_bf16(km_bf16 *x, const float *factors, int ld, int M, int C) {
    for (int m = 0; m < M; m++) {
        km_bf16 *row = x + (size_t)m * (size_t)ld;
        for (int c = 0; c < C; c++) {
            row[c] = km_bf16_of(km_float_of(row[c]) * factors[m]);
        }
    }
}
