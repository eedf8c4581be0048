/* The fixed-point numbers of the exact sum, and AdamW. */
#include "kmask/kernel.h"
#include "simd.h"
#include "vector.h"

#include <math.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* 1.5 * 2^52. Added to a double below 2^51 in magnitude, it leaves the rounded integer in the low bits. */
#define SHIFT 6755399441055744.0
#define UNIT 68719476736.0 /* 2^36 */
_Static_assert(KM_FIXED_BITS == 36, "UNIT is 2^KM_FIXED_BITS");

KM_INLINE int64_t to_fixed(float g) {
    const double shifted = (double)g * UNIT + SHIFT, zero = SHIFT;
    int64_t bits, base;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&base, &zero, sizeof base);
    return bits - base;
}

KM_SIMD bool km_fixed_add(int64_t *sum, const float *g, size_t count) {
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < count; i++) {
        float size = g[i] < 0 ? -g[i] : g[i];
        bad |= size < KM_FIXED_LIMIT ? 0u : 1u; /* true for NaN too */
        sum[i] = (int64_t)((uint64_t)sum[i] + (uint64_t)to_fixed(g[i]));
    }
    return bad == 0;
}

KM_SIMD static bool set_plain(int64_t *sum, const float *g, size_t count) {
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < count; i++) {
        float size = g[i] < 0 ? -g[i] : g[i];
        bad |= size < KM_FIXED_LIMIT ? 0u : 1u;
        sum[i] = to_fixed(g[i]);
    }
    return bad == 0;
}

#if defined(__x86_64__)
/* Writes whole cache lines that are not read first. `sum` is aligned to 64 bytes and count is a multiple of 8. */
KM_AVX512 static bool set_past_caches(int64_t *sum, const float *g, size_t count) {
    const __m512d unit = _mm512_set1_pd(UNIT), shift = _mm512_set1_pd(SHIFT);
    const __m256 limit = _mm256_set1_ps(KM_FIXED_LIMIT),
                 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    __mmask8 good = 0xFF;
    for (size_t i = 0; i < count; i += 8) {
        const __m256 x = _mm256_loadu_ps(g + i);
        const __m512d shifted = _mm512_fmadd_pd(_mm512_cvtps_pd(x), unit, shift);
        good &= _mm256_cmp_ps_mask(_mm256_and_ps(x, no_sign), limit, _CMP_LT_OQ);
        _mm512_stream_si512((void *)(sum + i),
                            _mm512_sub_epi64(_mm512_castpd_si512(shifted), _mm512_castpd_si512(shift)));
    }
    _mm_sfence();
    return good == 0xFF;
}
#endif

bool km_fixed_set(int64_t *sum, const float *g, size_t count) {
#if defined(__x86_64__)
    if (km_has_avx512() && count % 8 == 0 && (uintptr_t)sum % 64 == 0) {
        return set_past_caches(sum, g, count);
    }
#endif
    return set_plain(sum, g, count);
}

KM_SIMD double km_fixed_squares(const int64_t *sum, double scale, size_t count) {
    double total = 0;
#pragma omp simd reduction(+ : total)
    for (size_t i = 0; i < count; i++) {
        double g = (double)sum[i] * scale;
        total += g * g;
    }
    return total;
}

/* Replaces subnormal numbers by 0. Where the gradient stays 0, a moment would decay to a few units of the smallest subnormal
 * number and stay there (0.9 * 4 rounds to 4), and CPUs compute ten times slower with such numbers. */
KM_INLINE float without_subnormal(float x) {
    const uint32_t bits = km_to_bits(x), normal = (bits & 0x7F800000u) != 0;
    return km_from_bits(bits & (0u - normal)); /* no branch, or the loop would not be vectorized */
}

KM_SIMD void km_adamw_update(float *w, float *m, float *v, const int64_t *sum, double scale,
                             const km_adamw *options, size_t count) {
    const float b1 = options->beta1, b2 = options->beta2, eps = options->eps, lr = options->lr;
    const float decay = options->weight_decay, c1 = 1.0f / options->correction1, c2 = 1.0f / options->correction2;
    for (size_t i = 0; i < count; i++) {
        const float g = (float)((double)sum[i] * scale);
        const float first = without_subnormal(b1 * m[i] + (1.0f - b1) * g);
        const float second = without_subnormal(b2 * v[i] + (1.0f - b2) * g * g);
        m[i] = first;
        v[i] = second;
        w[i] -= lr * (first * c1 / (sqrtf(second * c2) + eps) + decay * w[i]);
    }
}
