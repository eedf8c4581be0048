/* Dropout's random numbers: Philox 4x32-10 (Salmon et al. 2011), sixteen blocks at a time, with AVX-512 and in portable C. All
 * arithmetic is on integers, so both give the same bits. */
#include "dropout.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { LANES = KM_DROPOUT_STRETCH / 8 };
#define MULTIPLY_0 0xD2511F53u
#define MULTIPLY_1 0xCD9E8D57u
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u

KM_SIMD void km_dropout_numbers_plain(uint16_t *numbers, const km_dropout *d, uint64_t key, uint32_t first) {
    uint32_t words[4][LANES];
    const uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32), site = d->site, block = first / 8;
    const uint32_t key0 = d->key[0], key1 = d->key[1];
#pragma omp simd simdlen(8) /* gcc uses the 32 x 32 bit multiplication for vectors of eight, but not of sixteen */
    for (uint32_t i = 0; i < LANES; i++) {
        uint32_t c0 = block + i, c1 = site, c2 = low, c3 = high, k0 = key0, k1 = key1;
        for (int round = 0; round < 10; round++) {
            const uint64_t p0 = (uint64_t)MULTIPLY_0 * c0, p1 = (uint64_t)MULTIPLY_1 * c2;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            c1 = (uint32_t)p1;
            c3 = (uint32_t)p0;
            k0 += WEYL_0;
            k1 += WEYL_1;
        }
        words[0][i] = c0;
        words[1][i] = c1;
        words[2][i] = c2;
        words[3][i] = c3;
    }
    for (int i = 0; i < LANES; i++) {
        for (int j = 0; j < 4; j++) {
            numbers[8 * i + j] = (uint16_t)words[j][i];
            numbers[8 * i + 4 + j] = (uint16_t)(words[j][i] >> 16);
        }
    }
}

KM_SIMD void km_dropout_bits_plain(uint16_t *kept, const km_dropout *d, uint64_t key, uint32_t first) {
    const uint32_t threshold = km_dropout_rule_of(d->p).threshold;
    uint16_t numbers[KM_DROPOUT_STRETCH];
    km_dropout_numbers_plain(numbers, d, key, first);
    for (int word = 0; word < KM_DROPOUT_STRETCH / 16; word++) {
        uint32_t bits = 0;
        for (int i = 0; i < 16; i++) {
            bits |= (numbers[16 * word + i] >= threshold ? 1u : 0u) << i;
        }
        kept[word] = (uint16_t)bits;
    }
}

#if defined(__x86_64__)
/* Eight blocks lie in the low halves of 64-bit lanes. The multiplication reads only the low halves, so the upper ones may
 * hold anything. Compilers do not generate this by themselves. */
#define AVX512 __attribute__((__target__("avx512f,avx512bw")))

typedef struct state {
    __m512i c0, c1, c2, c3;
} state;

AVX512 static inline state one_round(state s, __m512i k0, __m512i k1) {
    const __m512i p0 = _mm512_mul_epu32(s.c0, _mm512_set1_epi64(MULTIPLY_0));
    const __m512i p1 = _mm512_mul_epu32(s.c2, _mm512_set1_epi64(MULTIPLY_1));
    return (state){_mm512_xor_si512(_mm512_xor_si512(_mm512_srli_epi64(p1, 32), s.c1), k0), p1,
                   _mm512_xor_si512(_mm512_xor_si512(_mm512_srli_epi64(p0, 32), s.c3), k1), p0};
}

/* The numbers of eight blocks, block by block: the low halves of its four words, then the high halves. */
typedef struct sixty_four {
    __m512i first, second;
} sixty_four;

AVX512 static inline sixty_four in_order(state s) {
    const __m512i low01 = _mm512_mask_blend_epi16(0x22222222u, s.c0, _mm512_slli_epi64(s.c1, 16));
    const __m512i low23 =
        _mm512_mask_blend_epi16(0x88888888u, _mm512_slli_epi64(s.c2, 32), _mm512_slli_epi64(s.c3, 48));
    const __m512i high01 = _mm512_mask_blend_epi16(0x22222222u, _mm512_srli_epi64(s.c0, 16), s.c1);
    const __m512i high23 =
        _mm512_mask_blend_epi16(0x88888888u, _mm512_slli_epi64(s.c2, 16), _mm512_slli_epi64(s.c3, 32));
    const __m512i low = _mm512_mask_blend_epi16(0xCCCCCCCCu, low01, low23);
    const __m512i high = _mm512_mask_blend_epi16(0xCCCCCCCCu, high01, high23);
    const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const __m512i second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    return (sixty_four){_mm512_permutex2var_epi64(low, first, high), _mm512_permutex2var_epi64(low, second, high)};
}

/* Draws the numbers of sixteen blocks, eight of them into each of `out`. */
AVX512 static inline void draw(sixty_four out[2], const km_dropout *d, uint64_t key, uint32_t first) {
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    state a = {_mm512_add_epi64(lane, _mm512_set1_epi64(first / 8)), _mm512_set1_epi64(d->site),
               _mm512_set1_epi64((int64_t)(key & 0xFFFFFFFFu)), _mm512_set1_epi64((int64_t)(key >> 32))};
    state b = a;
    b.c0 = _mm512_add_epi64(a.c0, _mm512_set1_epi64(8));
    uint32_t k0 = d->key[0], k1 = d->key[1];
    for (int round = 0; round < 10; round++) {
        const __m512i key0 = _mm512_set1_epi64(k0), key1 = _mm512_set1_epi64(k1);
        a = one_round(a, key0, key1);
        b = one_round(b, key0, key1);
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = in_order(a);
    out[1] = in_order(b);
}

AVX512 static void numbers_avx512(uint16_t *numbers, const km_dropout *d, uint64_t key, uint32_t first) {
    sixty_four drawn[2];
    draw(drawn, d, key, first);
    for (int i = 0; i < 2; i++) {
        _mm512_storeu_si512(numbers + 64 * i, drawn[i].first);
        _mm512_storeu_si512(numbers + 64 * i + 32, drawn[i].second);
    }
}

AVX512 static void bits_avx512(uint16_t *kept, const km_dropout *d, uint64_t key, uint32_t first) {
    const __m512i threshold = _mm512_set1_epi16((short)km_dropout_rule_of(d->p).threshold);
    sixty_four drawn[2];
    draw(drawn, d, key, first);
    for (int i = 0; i < 2; i++) {
        const uint64_t low = _mm512_cmpge_epu16_mask(drawn[i].first, threshold);
        const uint64_t bits = low | (uint64_t)_mm512_cmpge_epu16_mask(drawn[i].second, threshold) << 32;
        memcpy(kept + 4 * i, &bits, sizeof bits);
    }
}
#endif

void km_dropout_numbers(uint16_t *numbers, const km_dropout *d, uint64_t key, uint32_t first) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
        numbers_avx512(numbers, d, key, first);
        return;
    }
#endif
    km_dropout_numbers_plain(numbers, d, key, first);
}

void km_dropout_bits(uint16_t *kept, const km_dropout *d, uint64_t key, uint32_t first) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
        bits_avx512(kept, d, key, first);
        return;
    }
#endif
    km_dropout_bits_plain(kept, d, key, first);
}
