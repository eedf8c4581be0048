/* dropout: the factors 0 or 1/(1-p) of a stretch of elements, for loops that fuse dropout with other work. */
#ifndef KMASK_KERNEL_DROPOUT_H
#define KMASK_KERNEL_DROPOUT_H

#include "kmask/kernel.h"
#include "simd.h"

enum { KM_DROPOUT_LANES = 16, KM_DROPOUT_STRETCH = 8 * KM_DROPOUT_LANES };

KM_INLINE uint32_t km_dropout_threshold(float p) {
    return (uint32_t)(p * 65536.0f + 0.5f);
}

KM_INLINE float km_dropout_scale(uint32_t threshold) {
    return 65536.0f / (float)(65536u - threshold);
}

/* factors (KM_DROPOUT_STRETCH) of elements first..first+127 of a row; first is a multiple of 8. */
KM_INLINE void km_dropout_factors(float *factors, const km_dropout *d, uint64_t key, uint32_t first) {
    uint32_t words[4][KM_DROPOUT_LANES];
    const uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32), site = d->site;
    const uint32_t k0 = d->key[0], k1 = d->key[1], block = first / 8;
    for (uint32_t i = 0; i < KM_DROPOUT_LANES; i++) {
        uint32_t out[4];
        km_philox_lane(out, block + i, site, low, high, k0, k1);
        words[0][i] = out[0];
        words[1][i] = out[1];
        words[2][i] = out[2];
        words[3][i] = out[3];
    }
    const uint32_t threshold = km_dropout_threshold(d->p);
    const float scale = km_dropout_scale(threshold);
    for (int i = 0; i < KM_DROPOUT_LANES; i++) {
        for (int j = 0; j < 4; j++) {
            factors[8 * i + j] = (words[j][i] & 0xFFFFu) >= threshold ? scale : 0.0f;
            factors[8 * i + 4 + j] = (words[j][i] >> 16) >= threshold ? scale : 0.0f;
        }
    }
}

/* y (count) = x * the factors of elements first.. of a row. */
KM_INLINE void km_dropout_row(float *y, const float *x, const km_dropout *d, uint64_t key, uint32_t first,
                              int count) {
    float factors[KM_DROPOUT_STRETCH];
    for (int at = 0; at < count; at += KM_DROPOUT_STRETCH) {
        km_dropout_factors(factors, d, key, first + (uint32_t)at);
        int end = count - at < KM_DROPOUT_STRETCH ? count - at : KM_DROPOUT_STRETCH;
        for (int i = 0; i < end; i++) {
            y[at + i] = x[at + i] * factors[i];
        }
    }
}

#endif
