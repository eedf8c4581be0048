/* simd: marks functions whose loops the compiler vectorizes for several instruction sets, and has the mathematical functions
 * that such loops may call. */
#ifndef KMASK_KERNEL_SIMD_H
#define KMASK_KERNEL_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* A function with KM_SIMD is compiled for AVX-512, for AVX2 and for any x86-64, and the loader chooses by the CPU when the
 * program starts. Clang before 18 hides such functions from other files (llvm-project pull request 71706), and with
 * ThreadSanitizer the function that chooses calls the sanitizer before the loader has made that possible. There, and on
 * other machines, loops are compiled for the instruction set that the compiler's options name. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_THREAD__) &&                              \
    ((defined(__clang__) && __clang_major__ >= 18) || (!defined(__clang__) && __GNUC__ >= 12))
#define KM_CLONES 1
#define KM_SIMD __attribute__((__target_clones__("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KM_CLONES 0
#define KM_SIMD
#endif
#define KM_INLINE static inline __attribute__((__always_inline__))

KM_INLINE float km_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

KM_INLINE uint32_t km_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* exp(x) to about 1 ulp. x = n ln 2 + r, and exp(x) = 2 exp(r) * 2^(n-1), so that n = 128 still fits the exponent; 2 exp(r)
 * is a minimax polynomial (by Lawson's reweighted least squares) with a relative error of 3e-9 on |r| <= ln 2 / 2. For x <
 * -60 the result is 0 instead of less than 9e-27: what a softmax computes from such numbers would be subnormal, and products
 * with subnormal numbers are up to forty times slower. NaN stays NaN. */
#define KM_EXP_LEAST (-60.0f)
KM_INLINE float km_exp(float x) {
    float shifted = x * 1.44269504f + 12582912.0f; /* the low bits are x / ln 2, rounded to an integer */
    float n = shifted - 12582912.0f;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 2.762920432e-03f;
    p = p * r + 1.673743073e-02f;
    p = p * r + 8.333677578e-02f;
    p = p * r + 3.333304128e-01f;
    p = p * r + 9.999998690e-01f;
    p = p * r + 2.0f;
    p = p * r + 2.0f;
    float y = p * km_from_bits((km_to_bits(shifted) << 23) + (126u << 23));
    y = x < KM_EXP_LEAST ? 0.0f : y;
    return x > 88.8f ? INFINITY : y;
}

/* cdf: the standard normal distribution function, 0.5 * (1 + erf(x / sqrt 2)), with an absolute error below 1.5e-7. bell:
 * exp(-x*x/2). The first is computed from the second: P(X > a) = exp(-a*a/2) * p(a), where p is a minimax polynomial on [0,
 * 5.4] (by Lawson's reweighted least squares, with p(0) = 1/2). */
typedef struct km_normal_pair {
    float cdf, bell;
} km_normal_pair;
KM_INLINE km_normal_pair km_normal(float x) {
    const float a = x < 0 ? -x : x, bell = km_exp(-0.5f * x * x);
    float p = -3.238448855e-07f;
    p = p * a + 7.879547892e-06f;
    p = p * a - 8.626963440e-05f;
    p = p * a + 5.710049601e-04f;
    p = p * a - 2.612290055e-03f;
    p = p * a + 9.046661037e-03f;
    p = p * a - 2.552480647e-02f;
    p = p * a + 6.196513704e-02f;
    p = p * a - 1.328249170e-01f;
    p = p * a + 2.499773847e-01f;
    p = p * a - 3.989411436e-01f;
    p = p * a + 0.5f;
    const float tail = a > 5.4f ? 0.0f : bell * p;
    return (km_normal_pair){x < 0 ? tail : 1.0f - tail, bell};
}

/* s = 1 / (1 + exp(-x)) and rest = 1 - s, both without cancellation. */
typedef struct km_sigmoid_pair {
    float s, rest;
} km_sigmoid_pair;
KM_INLINE km_sigmoid_pair km_sigmoid(float x) {
    float e = km_exp(x < 0 ? x : -x);
    float larger = 1.0f / (1.0f + e), smaller = e * larger;
    return x < 0 ? (km_sigmoid_pair){smaller, larger} : (km_sigmoid_pair){larger, smaller};
}

/* Maps floats to integers in the same order, and back. Compilers vectorize the maximum of integers everywhere, that of floats
 * not. */
KM_INLINE int32_t km_to_order(float x) {
    const uint32_t bits = km_to_bits(x);
    return (int32_t)((bits >> 31) != 0 ? bits ^ 0x7FFFFFFFu : bits);
}

KM_INLINE float km_from_order(int32_t order) {
    return km_from_bits(order < 0 ? (uint32_t)order ^ 0x7FFFFFFFu : (uint32_t)order);
}

/* The largest of x (count > 0). If one of them is NaN, the result is NaN or the largest of the others. */
KM_INLINE float km_largest(const float *x, int count) {
    int32_t top = INT32_MIN;
    for (int i = 0; i < count; i++) {
        const int32_t order = km_to_order(x[i]);
        top = order > top ? order : top;
    }
    return km_from_order(top);
}

#endif
