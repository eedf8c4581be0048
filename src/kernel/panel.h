/* panel: products of matrices small enough to stay in cache, where packing both operands anew for every call, as a
 * general library does, would cost as much as a good part of the product. The right operand lies in panels, packed once
 * and used often; the left one is read where it is, along rows or down columns.
 *
 * A matrix B (K, n) in panels: n is rounded up with zeros to n' = km_panel_width(n); columns 64 i .. 64 i + 63 are
 * K rows of 64 floats, one panel after the other; the last panel may be 32 wide. K * n' floats, 64-byte aligned. */
#ifndef KMASK_KERNEL_PANEL_H
#define KMASK_KERNEL_PANEL_H

#include "kmask/kernel.h"
#include "simd.h"

enum { KM_PANEL = 64 };

KM_INLINE size_t km_panel_width(int columns) {
    const size_t n = (size_t)columns, rest = n % KM_PANEL;
    return n - rest + (rest == 0 ? 0 : rest <= KM_PANEL / 2 ? KM_PANEL / 2 : KM_PANEL);
}

/* B = x (rows,columns), whose rows are ld apart. */
void km_panel_copy(float *b, const float *x, size_t ld, int rows, int columns);
/* B = x (rows,columns)^T. */
void km_panel_transpose(float *b, const float *x, size_t ld, int rows, int columns);
/* out (rows, n') = A B, or += with `add`: A (rows, inner) has element (i,k) at a[i * row + k * step], one of row and step
 * being 1. Rows of out are ldo apart and 64-byte aligned. */
void km_panel_product(float *out, size_t ldo, const float *a, size_t row, size_t step, const float *b, int rows,
                      int inner, int columns, bool add);

#endif
