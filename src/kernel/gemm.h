/* gemm: the matrix products behind the linear layers. Each library has one file: gemm_openblas.c is always there,
 * gemm_onednn.c has its functions where the build has found oneDNN. gemm.c chooses one of them for floats; products of bf16
 * are always oneDNN's. */
#ifndef KMASK_KERNEL_GEMM_H
#define KMASK_KERNEL_GEMM_H

#include "kmask/kernel.h"

/* An operand: row-major, with ld elements from one row to the next. With `transposed`, its transpose is multiplied. */
typedef struct km_matrix {
    const float *at;
    int ld;
    bool transposed;
} km_matrix;

/* out (rows,columns) = a (rows,inner) b (inner,columns), or out += with `add`; ldo elements from one row of out to the next.
 * With an inner dimension of 0 nothing is written. */
void km_gemm(const km_matrix *a, const km_matrix *b, float *out, int ldo, int rows, int columns, int inner,
             bool add);

/* The same by one library. rows, columns and inner are above 0. */
typedef void km_gemm_of(const km_matrix *a, const km_matrix *b, float *out, int ldo, int rows, int columns,
                        int inner, bool add);
km_gemm_of km_gemm_openblas;
km_gemm_of km_gemm_onednn;   /* only if km_onednn_usable() */
bool km_onednn_usable(void); /* this build has oneDNN, and it can be kept to one thread */

/* The three products of a linear layer, which are all that kmask needs: X W^T, dY W and dY^T X. */
typedef enum km_bf16_product { KM_BF16_FORWARD, KM_BF16_BACKWARD_INPUT, KM_BF16_BACKWARD_WEIGHT } km_bf16_product;

/* Where a product goes: to floats, where it may be added to what is there, or to bf16. */
typedef struct km_bf16_result {
    float *floats;    /* NULL for a bf16 result */
    km_bf16 *rounded; /* NULL for floats */
    int ld;
    bool add;
} km_bf16_result;

/* out (rows,columns) = op(a) (rows,inner) op(b) (inner,columns) + bias (columns), where `product` says which operand is
 * transposed. bias may be NULL, and must be with `add` and in backward products. lda and ldb are the elements from one row of
 * a and b to the next as they lie in memory. Nothing is done if rows or columns are 0; inner is above 0. */
void km_gemm_bf16(km_bf16_gemm *gemm, km_bf16_product product, const km_bf16 *a, int lda, const km_bf16 *b, int ldb,
                  const float *bias, const km_bf16_result *out, int rows, int columns, int inner);

#endif
