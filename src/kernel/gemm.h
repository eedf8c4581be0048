/* gemm: the matrix products behind the linear layers, one file a library: gemm_openblas.c, which is always there, and
 * gemm_onednn.c, which is there where the build has found oneDNN. gemm.c chooses for floats; bf16 is oneDNN's alone. */
#ifndef KMASK_KERNEL_GEMM_H
#define KMASK_KERNEL_GEMM_H

#include "kmask/kernel.h"

/* An operand: row-major, ld elements from row to row; `transposed` says that its transpose is meant. */
typedef struct km_matrix {
    const float *at;
    int ld;
    bool transposed;
} km_matrix;

/* out (rows,columns), ldo elements from row to row, = a (rows,inner) b (inner,columns), or += with `add`. With an inner
 * dimension of 0 nothing is written. */
void km_gemm(const km_matrix *a, const km_matrix *b, float *out, int ldo, int rows, int columns, int inner,
             bool add);

/* The same by one library; all of rows, columns and inner are above 0. */
typedef void km_gemm_of(const km_matrix *a, const km_matrix *b, float *out, int ldo, int rows, int columns,
                        int inner, bool add);
km_gemm_of km_gemm_openblas;
km_gemm_of km_gemm_onednn;   /* only where km_onednn_usable() */
bool km_onednn_usable(void); /* it is in this build, and leaves threads alone */

/* The products of a linear layer, which are all that there are: X W^T, dY W and dY^T X. */
typedef enum km_bf16_product { KM_BF16_FORWARD, KM_BF16_BACKWARD_INPUT, KM_BF16_BACKWARD_WEIGHT } km_bf16_product;

/* A result of floats, maybe added to what is there, or of bf16. */
typedef struct km_bf16_result {
    float *floats; /* NULL: bf16 */
    km_bf16 *rounded;
    int ld;
    bool add;
} km_bf16_result;

/* out (rows,columns) = op(a) (rows,inner) op(b) (inner,columns), + bias (columns) where not NULL, which is for the forward
 * product without `add`. lda and ldb are of a and b as they lie in memory. Nothing is done where rows or columns are 0; inner is
 * above 0. */
void km_gemm_bf16(km_bf16_gemm *gemm, km_bf16_product product, const km_bf16 *a, int lda, const km_bf16 *b, int ldb,
                  const float *bias, const km_bf16_result *out, int rows, int columns, int inner);

#endif
