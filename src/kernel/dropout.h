/* dropout: the random numbers of a stretch of elements, and what follows from them, for loops that do dropout together with
 * other work. kmask/kernel.h defines the numbers. */
#ifndef KMASK_KERNEL_DROPOUT_H
#define KMASK_KERNEL_DROPOUT_H

#include "kmask/kernel.h"
#include "simd.h"

enum { KM_DROPOUT_STRETCH = 128 };

/* Draws the numbers (KM_DROPOUT_STRETCH) of elements first, first + 1, ... of the row with this key. `first` is a multiple of
 * 8. */
void km_dropout_numbers(uint16_t *numbers, const km_dropout *d, uint64_t key, uint32_t first);
/* The same in portable C; the tests compare both. */
void km_dropout_numbers_plain(uint16_t *numbers, const km_dropout *d, uint64_t key, uint32_t first);

/* Sets bit i % 16 of kept[i / 16] where element first + i is kept; `kept` has KM_DROPOUT_STRETCH / 16 words. */
void km_dropout_bits(uint16_t *kept, const km_dropout *d, uint64_t key, uint32_t first);
void km_dropout_bits_plain(uint16_t *kept, const km_dropout *d, uint64_t key, uint32_t first);

/* An element whose number is at least `threshold` is kept and multiplied by `scale`. */
typedef struct km_dropout_rule {
    uint32_t threshold;
    float scale;
} km_dropout_rule;

KM_INLINE km_dropout_rule km_dropout_rule_of(float p) {
    const uint32_t threshold = (uint32_t)(p * 65536.0f + 0.5f);
    return (km_dropout_rule){threshold, 65536.0f / (float)(65536u - threshold)};
}

/* The factor of an element with this number. */
KM_INLINE float km_dropout_factor(uint16_t number, km_dropout_rule rule) {
    return number >= rule.threshold ? rule.scale : 0.0f;
}

/* y (count) = x * the factors of elements first, first + 1, ... of a row. y may be x. */
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
