#include "dropout.h"

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
