/* Linear layers in terms of the matrix products of gemm.h. */
#include "gemm.h"

#include "bf16.h"

KM_SIMD static void sum_columns(float *db, const float *dy, size_t ldy, int N, int C) {
    memset(db, 0, (size_t)C * sizeof *db);
    for (int n = 0; n < N; n++) {
        const float *row = dy + (size_t)n * ldy;
        for (int c = 0; c < C; c++) {
            db[c] += row[c];
        }
    }
}

void km_bias_backward(float *db, const float *dy, int N, int C) {
    sum_columns(db, dy, (size_t)C, N, C);
}

void km_linear_forward(float *y, const float *x, const float *w, const float *b, int N, int I, int O) {
    /* OpenBLAS sets the result to zero and adds to it. Written in place of the zeros, the bias costs no time. */
    for (int n = 0; b != NULL && n < N; n++) {
        memcpy(y + (size_t)n * (size_t)O, b, (size_t)O * sizeof *y);
    }
    km_gemm(&(km_matrix){x, I, false}, &(km_matrix){w, I, true}, y, O, N, O, I, b != NULL);
}

void km_linear_backward_input(float *dx, const float *dy, const float *w, int N, int I, int O, bool add) {
    km_gemm(&(km_matrix){dy, O, false}, &(km_matrix){w, I, false}, dx, I, N, I, O, add);
}

void km_linear_backward_columns(float *dw, float *db, const float *dy, int ldy, const float *x, int N, int I,
                                int O) {
    if (N > 0) {
        km_gemm(&(km_matrix){dy, ldy, true}, &(km_matrix){x, I, false}, dw, I, O, I, N, false);
    } else {
        memset(dw, 0, (size_t)O * (size_t)I * sizeof *dw);
    }
    if (db != NULL) {
        sum_columns(db, dy, (size_t)ldy, N, O);
    }
}

void km_linear_backward_weight(float *dw, float *db, const float *dy, const float *x, int N, int I, int O) {
    km_linear_backward_columns(dw, db, dy, O, x, N, I, O);
}

/* ---- bf16 ---------------------------------------------------------------------------------------------------- */

void km_linear_forward_bf16(km_bf16_gemm *gemm, float *y, km_bf16 *y_bf16, const km_bf16 *x, const km_bf16 *w,
                            const float *b, int N, int I, int O) {
    const km_bf16_result out = {y, y_bf16, O, false};
    km_gemm_bf16(gemm, KM_BF16_FORWARD, x, I, w, I, b, &out, N, O, I);
}

void km_linear_backward_input_bf16(km_bf16_gemm *gemm, float *dx, km_bf16 *dx_bf16, const km_bf16 *dy, int ldy,
                                   const km_bf16 *w, int N, int I, int O, bool add) {
    const km_bf16_result out = {dx, dx_bf16, I, add};
    km_gemm_bf16(gemm, KM_BF16_BACKWARD_INPUT, dy, ldy, w, I, NULL, &out, N, I, O);
}

KM_SIMD static void sum_columns_bf16(float *db, const km_bf16 *dy, size_t ldy, int N, int C) {
    memset(db, 0, (size_t)C * sizeof *db);
    for (int n = 0; n < N; n++) {
        const km_bf16 *row = dy + (size_t)n * ldy;
        for (int c = 0; c < C; c++) {
            db[c] += km_float_of(row[c]);
        }
    }
}

void km_linear_backward_weight_bf16(km_bf16_gemm *gemm, float *dw, float *db, const km_bf16 *dy, int ldy,
                                    const km_bf16 *x, int N, int I, int O) {
    const km_bf16_result out = {dw, NULL, I, false};
    if (N > 0) {
        km_gemm_bf16(gemm, KM_BF16_BACKWARD_WEIGHT, dy, ldy, x, I, NULL, &out, O, I, N);
    } else {
        memset(dw, 0, (size_t)O * (size_t)I * sizeof *dw);
    }
    sum_columns_bf16(db, dy, (size_t)ldy, N, O);
}
