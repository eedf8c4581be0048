/* attention_rows: softmax and dropout of a block of attention scores, between the matrix products. Rows have ld elements from
 * one to the next and are aligned to 64 bytes. They are written up to the next multiple of 16 elements; places beyond the T
 * keys, or beyond those that a row sees, become 0. */
#ifndef KMASK_KERNEL_ATTENTION_ROWS_H
#define KMASK_KERNEL_ATTENTION_ROWS_H

#include "kmask/kernel.h"

typedef struct km_score_rows {
    int rows, T;
    size_t ld;
    float scale;            /* scores are multiplied by it: 1/sqrt(D) */
    const uint8_t *seen;    /* (T) km_attention.seen of the view, or NULL */
    const int32_t *visible; /* (rows) how many of the T keys a row sees, or NULL: all */
    const uint16_t *kept;   /* km_attention.kept from the first row on; NULL without dropout */
    size_t kept_row;        /* words from one row of `kept` to the next */
    float kept_scale;       /* what dropout multiplies kept probabilities by */
    size_t lse_row;         /* elements from one row of lse to the next */
} km_score_rows;

/* Overwrites each score with exp(score - largest of the row), or 0 where dropout does not keep it. The product of a row with
 * the values has then to be multiplied by factor (rows). lse becomes the logarithm of the softmax's denominator, dropout
 * aside. */
void km_attention_rows_forward(float *scores, float *factor, float *lse, const km_score_rows *shape);
/* Overwrites the scores with the probabilities after dropout, and dp, the gradient of those, with the gradient of score *
 * scale. */
void km_attention_rows_backward(float *scores, float *dp, const float *lse, const km_score_rows *shape);

#endif
