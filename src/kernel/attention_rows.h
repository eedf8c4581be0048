/* attention_rows: what happens to a block of scores between its products. Rows are ld apart, 64-byte aligned, and may be
 * written up to the next multiple of 16 elements; what stands there beyond the T keys becomes 0. */
#ifndef KMASK_KERNEL_ATTENTION_ROWS_H
#define KMASK_KERNEL_ATTENTION_ROWS_H

#include "kmask/kernel.h"

typedef struct km_score_rows {
    int rows, T;
    size_t ld;
    float scale;          /* of the scores: 1/sqrt(D) */
    const uint8_t *seen;  /* (T) or NULL */
    const uint16_t *kept; /* bits of the first row, or NULL: no dropout */
    size_t kept_row;      /* words from row to row */
    float kept_scale;     /* of what dropout keeps */
    size_t lse_row;       /* from row to row of lse */
} km_score_rows;

/* scores -> exp(score - largest) where kept, else 0; factor (rows): what the products with the values are to be
 * multiplied with; lse: log of the sum of all, kept or not. */
void km_attention_rows_forward(float *scores, float *factor, float *lse, const km_score_rows *shape);
/* scores -> what multiplied the values; dp, the gradient of that -> the gradient of scores * scale. */
void km_attention_rows_backward(float *scores, float *dp, const float *lse, const km_score_rows *shape);

#endif
