/* panel_bf16: the products of panel.h in bf16. What is multiplied are pairs: 32 bits with the numbers at places 2k (the lower half)
 * and 2k + 1 of the inner dimension; the last one of an odd dimension has 0 beside it. A matrix B (K, n) lies in the panels
 * of panel.h, with (K+1)/2 rows of pairs in place of K rows of floats; so do as many bytes: km_pairs(K) * n' * 4.
 *
 * Where the CPU has AVX512_BF16 a product is its instruction, which adds both products of a pair to a float and takes subnormal
 * numbers for 0; elsewhere it is made of floats, slowly. */
#ifndef KMASK_KERNEL_PANEL_BF16_H
#define KMASK_KERNEL_PANEL_BF16_H

#include "kmask/kernel.h"
#include "panel.h"

typedef uint32_t km_pair __attribute__((__may_alias__));

KM_INLINE size_t km_pairs(int count) {
    return ((size_t)count + 1) / 2;
}

/* Right operands. B = x (rows,columns), whose rows are ld apart. */
void km_pairs_copy(km_pair *b, const km_bf16 *x, size_t ld, int rows, int columns);
/* B = x (rows,columns)^T. */
void km_pairs_transpose(km_pair *b, const km_bf16 *x, size_t ld, int rows, int columns);

/* Left operands. A = x (rows,columns): pairs along rows, lda pairs from row to row. */
void km_pairs_along(km_pair *a, size_t lda, const km_bf16 *x, size_t ld, int rows, int columns);
/* The same of floats, rounded. */
void km_pairs_along_of(km_pair *a, size_t lda, const float *x, size_t ld, int rows, int columns);
/* A = x (rows,columns)^T: pairs down columns, those of rows 2k and 2k + 1 at lda k. */
void km_pairs_down_of(km_pair *a, size_t lda, const float *x, size_t ld, int rows, int columns);

/* out (rows, n') = A B, or += with `add`, `inner` pairs long: A has pair (i,k) at a[i * row + k * step]. Rows of out are ldo
 * apart and 64-byte aligned. */
void km_pairs_product(float *out, size_t ldo, const km_pair *a, size_t row, size_t step, const km_pair *b, int rows,
                      size_t inner, int columns, bool add);

#endif
