/* Dropout of whole matrices. */
#include "dropout.h"

#include "bf16.h"

KM_SIMD void km_dropout_apply(float *y, const float *x, const km_dropout *dropout, const uint64_t *keys, int N,
                              int C) {
    if (dropout->p <= 0) {
        if (y != x) {
            memmove(y, x, (size_t)N * (size_t)C * sizeof *y);
        }
        return;
    }
    for (int n = 0; n < N; n++) {
        const size_t at = (size_t)n * (size_t)C;
        km_dropout_row(y + at, x + at, dropout, keys[n], 0, C);
    }
}

/* km_dropout_row with the result rounded to bf16. */
KM_INLINE void drop_row(km_bf16 *y, const float *x, const km_dropout *d, uint64_t key, int C) {
    const km_dropout_rule rule = km_dropout_rule_of(d->p);
    uint16_t numbers[KM_DROPOUT_STRETCH];
    for (int at = 0; at < C; at += KM_DROPOUT_STRETCH) {
        const int end = C - at < KM_DROPOUT_STRETCH ? C - at : KM_DROPOUT_STRETCH;
        km_dropout_numbers(numbers, d, key, (uint32_t)at);
        for (int i = 0; i < end; i++) {
            y[at + i] = km_bf16_of(x[at + i] * km_dropout_factor(numbers[i], rule));
        }
    }
}

KM_SIMD void km_dropout_apply_bf16(km_bf16 *y, const float *x, const km_dropout *dropout, const uint64_t *keys,
                                   int N, int C) {
    for (int n = 0; n < N; n++) {
        const size_t at = (size_t)n * (size_t)C;
        if (dropout->p > 0) {
            drop_row(y + at, x + at, dropout, keys[n], C);
        } else {
            km_bf16_row(y + at, x + at, (size_t)C);
        }
    }
}
