/* panel: products of matrices that are small enough to stay in cache. A general library packs both operands again in every
 * call, which would take a large part of the time. Here the right operand is packed into panels once and used in many
 * products, and the left operand is read where it is, along rows or down columns.
 *
 * A matrix B (K, n) in panels: n is rounded up to n' = km_panel_width(n) with zeros. Columns 64 i to 64 i + 63 are panel i, K
 * rows of 64 floats; the panels follow one another, and the last one may be only 32 wide. B has K * n' floats, aligned to 64
 * bytes. */
#ifndef KMASK_KERNEL_PANEL_H
#define KMASK_KERNEL_PANEL_H

#include "kmask/kernel.h"
#include "simd.h"

enum { KM_PANEL = 64 };

KM_INLINE size_t km_panel_width(int columns) {
    const size_t n = (size_t)columns, rest = n % KM_PANEL;
    return n - rest + (rest == 0 ? 0 : rest <= KM_PANEL / 2 ? KM_PANEL / 2 : KM_PANEL);
}

/* B = x (rows,columns); ld elements from one row of x to the next. */
void km_panel_copy(float *b, const float *x, size_t ld, int rows, int columns);
/* B = x (rows,columns)^T; ld likewise. */
void km_panel_transpose(float *b, const float *x, size_t ld, int rows, int columns);
/* out (rows, n') = A B, or out += with `add`. Element (i,k) of A (rows, inner) is a[i * row + k * step], where row or step is
 * 1. Rows of out are aligned to 64 bytes, with ldo elements from one to the next. B was packed with `depth` rows, of which the first
 * `inner` take part. */
void km_panel_product(float *out, size_t ldo, const float *a, size_t row, size_t step, const float *b, int depth,
                      int rows, int inner, int columns, bool add);

#endif
