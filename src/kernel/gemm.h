/* gemm: the matrix product behind the linear layers, and what there is to know of the library that makes it. One file
 * a library: gemm_openblas.c. */
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

#endif
