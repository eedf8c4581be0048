/* Linear layers: what is multiplied with what. */
#include "gemm.h"

#include "simd.h"

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
    /* OpenBLAS writes zeros first and adds to them: with the bias written instead, adding it costs nothing. */
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
