/* Chooses the library that computes products of floats. */
#include "gemm.h"

#include <string.h>

static km_gemm_of *chosen = km_gemm_openblas;

bool km_kernel_use(const char *gemm) {
    const bool onednn = strcmp(gemm, "onednn") == 0;
    if (onednn && !km_onednn_usable()) {
        return false;
    }
    chosen = onednn ? km_gemm_onednn : km_gemm_openblas;
    return true;
}

void km_gemm(const km_matrix *a, const km_matrix *b, float *out, int ldo, int rows, int columns, int inner,
             bool add) {
    if (rows > 0 && columns > 0 && inner > 0) {
        chosen(a, b, out, ldo, rows, columns, inner, add);
    }
}
