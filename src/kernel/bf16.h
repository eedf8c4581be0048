/* bf16: conversion between float and bf16, for use inside loops. */
#ifndef KMASK_KERNEL_BF16_H
#define KMASK_KERNEL_BF16_H

#include "kmask/kernel.h"
#include "simd.h"

/* Rounds to nearest, ties to even. It works on integers, so that every CPU gives the same bits, also for subnormal numbers. */
KM_INLINE km_bf16 km_bf16_of(float x) {
    const uint32_t bits = km_to_bits(x), rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
    const uint32_t nan = bits | 0x400000u; /* NaN stays a (quiet) NaN */
    return (km_bf16)(((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded) >> 16);
}

KM_INLINE float km_float_of(km_bf16 x) {
    return km_from_bits((uint32_t)x << 16);
}

KM_INLINE void km_bf16_row(km_bf16 *y, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        y[i] = km_bf16_of(x[i]);
    }
}

#endif
