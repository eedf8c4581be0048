/* OpenBLAS's product as it is: what bench compares a step with, whatever the kernels around it do instead. */
#include "kmask/kernel.h"

#include <cblas.h>

void km_product(float *c, const float *a, const float *b, bool transpose_a, bool transpose_b, int M, int N, int K,
                int lda, int ldb, int ldc) {
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, M,
                N, K, 1.0f, a, lda, b, ldb, 0.0f, c, ldc);
}
