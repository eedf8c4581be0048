/* dropout: the numbers of a stretch of elements and what they make of it, for loops that fuse dropout with other
 * work. */
#ifndef KMASK_KERNEL_DROPOUT_H
#define KMASK_KERNEL_DROPOUT_H

#include "kmask/kernel.h"
#include "simd.h"

enum { KM_DROPOUT_STRETCH = 128 };

/* numbers (KM_DROPOUT_STRETCH) of elements first, first + 1, ... of the row with this key; first is a multiple
 * of 8. */
void km_dropout_numbers(uint16_t *numbers, const km_dropout *d, uint64_t key, uint32_t first);
/* The same without instructions of a CPU's own. */
void km_dropout_numbers_plain(uint16_t *numbers, const km_dropout *d, uint64_t key, uint32_t first);

/* kept (KM_DROPOUT_STRETCH / 16): bit i % 16 of word i / 16 is set where element first + i is kept. */
void km_dropout_bits(uint16_t *kept, const km_dropout *d, uint64_t key, uint32_t first);
void km_dropout_bits_plain(uint16_t *kept, const km_dropout *d, uint64_t key, uint32_t first);

/* Numbers from `threshold` on are kept, and scaled. */
typedef struct km_dropout_rule {
    uint32_t threshold;
    float scale;
} km_dropout_rule;

KM_INLINE km_dropout_rule km_dropout_rule_of(float p) {
    const uint32_t threshold = (uint32_t)(p * 65536.0f + 0.5f);
    return (km_dropout_rule){threshold, 65536.0f / (float)(65536u - threshold)};
}

/* What an element with this number is multiplied with. */
KM_INLINE float km_dropout_factor(uint16_t number, km_dropout_rule rule) {
    return number >= rule.threshold ? rule.scale : 0.0f;
}

/* y (count) = x * the factors of elements first.. of a row. */
KM_INLINE void km_dropout_row(float *y, const float *x, const km_dropout *d, uint64_t key, uint32_t first,
                              int count) {
    const km_dropout_rule rule = km_dropout_rule_of(d->p);
    uint16_t numbers[KM_DROPOUT_STRETCH];
    for (int at = 0; at < count; at += KM_DROPOUT_STRETCH) {
        const int end = count - at < KM_DROPOUT_STRETCH ? count - at : KM_DROPOUT_STRETCH;
        km_dropout_numbers(numbers, d, key, first + (uint32_t)at);
        for (int i = 0; i < end; i++) {
            y[at + i] = x[at + i] * km_dropout_factor(numbers[i], rule);
        }
    }
}

#endif
