/* panel_bf16: the products of panel.h for bf16 numbers. They are multiplied in pairs: 32 bits with the numbers at 2k (in the
 * lower half) and 2k + 1 of the inner dimension. If that dimension is odd, the last number is paired with 0. A matrix B (K,
 * n) lies in panels as in panel.h, with km_pairs(K) rows of pairs in place of K rows of floats: km_pairs(K) * n' pairs of 4
 * bytes.
 *
 * If the CPU has AVX512_BF16, its dot product instruction is used: it adds the products of both numbers of a pair to a float,
 * and takes subnormal numbers as 0. Otherwise products are computed with floats, slowly. */
#ifndef KMASK_KERNEL_PANEL_BF16_H
#define KMASK_KERNEL_PANEL_BF16_H

#include "kmask/kernel.h"
#include "panel.h"

typedef uint32_t km_bf16_pair __attribute__((__may_alias__));

/* How many pairs hold `count` numbers. */
KM_INLINE size_t km_pairs(int count) {
    return ((size_t)count + 1) / 2;
}

/* Right operands. B = x (rows,columns); ld elements from one row of x to the next, here and below. */
void km_pairs_copy(km_bf16_pair *b, const km_bf16 *x, size_t ld, int rows, int columns);
/* B = x (rows,columns)^T. */
void km_pairs_transpose(km_bf16_pair *b, const km_bf16 *x, size_t ld, int rows, int columns);

/* Left operands. A = x (rows,columns), with pairs of neighbours in a row; lda pairs from one row of A to the next. */
void km_pairs_along(km_bf16_pair *a, size_t lda, const km_bf16 *x, size_t ld, int rows, int columns);
/* The same for floats, which are rounded to bf16. */
void km_pairs_along_floats(km_bf16_pair *a, size_t lda, const float *x, size_t ld, int rows, int columns);
/* A = x (rows,columns)^T for floats, which are rounded: pairs of rows 2k and 2k + 1 of x, which begin at a + lda * k. */
void km_pairs_down_floats(km_bf16_pair *a, size_t lda, const float *x, size_t ld, int rows, int columns);

/* out (rows, n') = A B, or out += with `add`. The inner dimension has `inner` pairs; pair (i,k) of A is a[i * row + k *
 * step], where row or step is 1. Rows of out are aligned to 64 bytes, with ldo elements from one to the next. B was packed with
 * `depth` rows of pairs, of which the first `inner` take part. */
void km_pairs_product(float *out, size_t ldo, const km_bf16_pair *a, size_t row, size_t step, const km_bf16_pair *b,
                      size_t depth, int rows, size_t inner, int columns, bool add);

#endif
