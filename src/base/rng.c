/* rng: random numbers by Philox 4x32-10 (J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011). The tests compare it with the known answers that its authors publish. */
#include "kmask/base.h"

#include <math.h>
#include <string.h>

void km_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t km_mix64(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

void km_rng_key(uint32_t key[2], uint64_t seed, km_purpose purpose) {
    uint64_t mixed = km_mix64(km_mix64(seed + UINT64_C(0x9E3779B97F4A7C15)) + (uint64_t)purpose);
    key[0] = (uint32_t)mixed;
    key[1] = (uint32_t)(mixed >> 32);
}

km_rng km_rng_make(uint64_t seed, km_purpose purpose, uint32_t a, uint64_t b) {
    km_rng rng = {.counter = {0, a, (uint32_t)b, (uint32_t)(b >> 32)}};
    km_rng_key(rng.key, seed, purpose);
    return rng;
}

uint32_t km_rng_u32(km_rng *rng) {
    if (rng->left == 0) {
        km_philox(rng->block, rng->counter, rng->key);
        rng->counter[0]++;
        rng->left = 4;
    }
    return rng->block[4 - rng->left--];
}

uint64_t km_rng_u64(km_rng *rng) {
    uint64_t low = km_rng_u32(rng);
    return low | (uint64_t)km_rng_u32(rng) << 32;
}

/* The method of D. Lemire, "Fast random integer generation in an interval", 2019. */
uint32_t km_rng_below(km_rng *rng, uint32_t n) {
    uint64_t product = (uint64_t)km_rng_u32(rng) * n;
    if ((uint32_t)product < n) {
        uint32_t reject = (uint32_t)(-n) % n;
        while ((uint32_t)product < reject) {
            product = (uint64_t)km_rng_u32(rng) * n;
        }
    }
    return (uint32_t)(product >> 32);
}

double km_rng_unit(km_rng *rng) {
    return (double)(km_rng_u64(rng) >> 11) * 0x1p-53;
}

double km_rng_normal(km_rng *rng) {
    const double two_pi = 6.283185307179586;
    double radius = sqrt(-2.0 * log(1.0 - km_rng_unit(rng)));
    return radius * cos(two_pi * km_rng_unit(rng));
}
