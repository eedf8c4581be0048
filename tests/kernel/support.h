/* Helpers for the tests of kernel: random arrays, which are allocated with exactly their size so that AddressSanitizer sees
 * every access beyond an end; comparison with slow twins in double; finite differences. */
#ifndef KMASK_TESTS_KERNEL_SUPPORT_H
#define KMASK_TESTS_KERNEL_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmask/base.h"
#include "kmask/kernel.h"

/* ---- Arrays, released together by `drop` ---- */

enum { MOST_ARRAYS = 4096 };
static void *arrays[MOST_ARRAYS];
static int array_count;

static inline void *take(size_t count, size_t size) {
    assert_true(array_count < MOST_ARRAYS);
    void *array = malloc(count * size);
    assert_true(array != NULL || count == 0);
    return arrays[array_count++] = array;
}

static inline void drop(void) {
    while (array_count > 0) {
        free(arrays[--array_count]);
    }
}

static inline int drop_after(void **state) {
    (void)state;
    drop();
    return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, drop_after)

/* Random numbers from a normal distribution with standard deviation `scale`; every stream has its own numbers. */
static inline float *draw(size_t count, double scale, uint32_t stream) {
    float *x = take(count, sizeof *x);
    km_rng rng = km_rng_make(11, KM_RNG_TEST, stream, 0);
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(scale * km_rng_normal(&rng));
    }
    return x;
}

static inline float *filled(size_t count, float value) {
    float *x = take(count, sizeof *x);
    for (size_t i = 0; i < count; i++) {
        x[i] = value;
    }
    return x;
}

static inline float *copy(const float *x, size_t count) {
    float *y = take(count, sizeof *y);
    if (count > 0) {
        memcpy(y, x, count * sizeof *y);
    }
    return y;
}

static inline double *widen(const float *x, size_t count) {
    double *y = take(count, sizeof *y);
    for (size_t i = 0; i < count; i++) {
        y[i] = (double)x[i];
    }
    return y;
}

static inline double *doubles(size_t count) {
    double *y = take(count, sizeof *y);
    for (size_t i = 0; i < count; i++) {
        y[i] = 0;
    }
    return y;
}

static inline uint64_t *draw_keys(size_t count, uint32_t stream) {
    uint64_t *keys = take(count, sizeof *keys);
    km_rng rng = km_rng_make(12, KM_RNG_TEST, stream, 0);
    for (size_t i = 0; i < count; i++) {
        keys[i] = km_rng_u64(&rng);
    }
    return keys;
}

static inline int32_t *draw_numbers(size_t count, int below, uint32_t stream) {
    int32_t *numbers = take(count, sizeof *numbers);
    km_rng rng = km_rng_make(13, KM_RNG_TEST, stream, 0);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = (int32_t)km_rng_below(&rng, (uint32_t)below);
    }
    return numbers;
}

/* ---- Comparison ---- */

/* Checks |got - want| <= tolerance * (1 + |want|) for each element. */
static inline void expect_near(const char *what, const float *got, const double *want, size_t count,
                               double tolerance) {
    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)got[i] - want[i]);
        if (!(error <= tolerance * (1 + fabs(want[i])))) {
            fail_msg("%s: element %zu of %zu is %.9g, the twin has %.9g", what, i, count, (double)got[i], want[i]);
        }
    }
}

static inline void expect_same_bits(const char *what, const void *got, const void *want, size_t count,
                                    size_t size) {
    for (size_t i = 0; i < count; i++) {
        if (memcmp((const char *)got + i * size, (const char *)want + i * size, size) != 0) {
            fail_msg("%s: element %zu of %zu has other bits", what, i, count);
        }
    }
}

/* ---- Finite differences ---- */

typedef double scalar_function(const void *context);

/* Compares the gradient `got` of f in x with finite differences (f(x + h) - f(x - h)) / 2h: for single elements (all of them
 * up to `most`, otherwise that many spread over the array), and along a random direction, which depends on every element. */
static inline void expect_gradient(const char *what, scalar_function *f, const void *context, double *x,
                                   const float *got, size_t count, size_t most, double tolerance) {
    const size_t tried = count < most ? count : most;
    for (size_t k = 0; k < tried; k++) {
        const size_t i = k * count / tried;
        const double was = x[i], h = 1e-5 * (1 + fabs(was));
        x[i] = was + h;
        double above = f(context);
        x[i] = was - h;
        double slope = (above - f(context)) / (2 * h);
        x[i] = was;
        if (!(fabs((double)got[i] - slope) <= tolerance * (1 + fabs(slope)))) {
            fail_msg("%s: gradient %zu of %zu is %.9g, finite differences give %.9g", what, i, count,
                     (double)got[i], slope);
        }
    }
    if (count == 0) {
        return;
    }
    double *was = take(count, sizeof *was), *direction = take(count, sizeof *direction);
    km_rng rng = km_rng_make(14, KM_RNG_TEST, (uint32_t)count, 0);
    const double h = 1e-5;
    double expected = 0, size = 0;
    memcpy(was, x, count * sizeof *was);
    for (size_t i = 0; i < count; i++) {
        direction[i] = km_rng_normal(&rng) / sqrt((double)count);
        expected += direction[i] * (double)got[i];
        size += fabs(direction[i] * (double)got[i]);
        x[i] = was[i] + h * direction[i];
    }
    double above = f(context);
    for (size_t i = 0; i < count; i++) {
        x[i] = was[i] - h * direction[i];
    }
    double slope = (above - f(context)) / (2 * h);
    memcpy(x, was, count * sizeof *was);
    if (!(fabs(expected - slope) <= tolerance * (1 + size))) {
        fail_msg("%s: slope along a direction is %.9g, finite differences give %.9g", what, expected, slope);
    }
}

static inline double dot(const double *a, const double *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

#endif
