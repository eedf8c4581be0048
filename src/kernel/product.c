/* Plain matrix products by the chosen library. `kmask bench` compares the speed of a training step with theirs. */
#include "gemm.h"

void km_product(float *c, const float *a, const float *b, bool transpose_a, bool transpose_b, int M, int N, int K,
                int lda, int ldb, int ldc) {
    km_gemm(&(km_matrix){a, lda, transpose_a}, &(km_matrix){b, ldb, transpose_b}, c, ldc, M, N, K, false);
}

void km_product_bf16(km_bf16_gemm *gemm, float *c, const km_bf16 *a, const km_bf16 *b, bool transpose_a,
                     bool transpose_b, int M, int N, int K, int lda, int ldb, int ldc) {
    const km_bf16_result out = {c, NULL, ldc, false};
    const km_bf16_product product = transpose_a   ? KM_BF16_BACKWARD_WEIGHT
                                    : transpose_b ? KM_BF16_FORWARD
                                                  : KM_BF16_BACKWARD_INPUT;
    km_gemm_bf16(gemm, product, a, lda, b, ldb, NULL, &out, M, N, K);
}
