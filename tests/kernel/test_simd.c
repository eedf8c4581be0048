/* The mathematical functions of src/kernel/simd.h, compared with libm in double. */
#include "kernel/twins.h"

#include "dropout.h"
#include "simd.h"

enum { COUNT = 1 << 16 };

KM_SIMD static void all_exp(float *y, const float *x, int count) {
    for (int i = 0; i < count; i++) {
        y[i] = km_exp(x[i]);
    }
}

KM_SIMD static void all_normal_cdf(float *y, const float *x, int count) {
    for (int i = 0; i < count; i++) {
        y[i] = km_normal(x[i]).cdf;
    }
}

KM_SIMD static void all_sigmoid(float *y, float *rest, const float *x, int count) {
    for (int i = 0; i < count; i++) {
        km_sigmoid_pair pair = km_sigmoid(x[i]);
        y[i] = pair.s;
        rest[i] = pair.rest;
    }
}

static float *sweep(double from, double to) {
    float *x = filled(COUNT, 0);
    for (int i = 0; i < COUNT; i++) {
        x[i] = (float)(from + (to - from) * i / (COUNT - 1));
    }
    return x;
}

/* The relative error of exp is below 2^-23 (about one unit in the last place) over its whole range. */
static void exp_to_the_last_place(void **state) {
    (void)state;
    const double ranges[][2] = {{-60, 88.7}, {-2, 2}, {-1e-3, 1e-3}, {-20, 0}};
    float *y = filled(COUNT, NAN);
    for (size_t r = 0; r < KM_COUNT(ranges); r++) {
        float *x = sweep(ranges[r][0], ranges[r][1]);
        all_exp(y, x, COUNT);
        for (int i = 0; i < COUNT; i++) {
            const double want = exp((double)x[i]);
            if (!(fabs((double)y[i] - want) <= 1.25e-7 * want)) {
                fail_msg("exp(%.9g) is %.9g, not %.9g", (double)x[i], (double)y[i], want);
            }
        }
    }
}

/* exp is 0 below KM_EXP_LEAST and infinite above its range; exp(0) is 1; exp(NaN) is NaN. */
static void exp_at_its_ends(void **state) {
    (void)state;
    float *x = sweep(-110, -59), *y = filled(COUNT, NAN);
    all_exp(y, x, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_true((y[i] == 0) == (x[i] < KM_EXP_LEAST));
        assert_true(i == 0 || y[i] >= y[i - 1]);
    }
    const float odd[] = {-INFINITY, -1e30f, -200, INFINITY, 1e30f, 200, 0, -0.0f, NAN, -NAN};
    float got[KM_COUNT(odd)];
    all_exp(got, odd, KM_COUNT(odd));
    for (int i = 0; i < 3; i++) {
        assert_true(got[i] == 0);
        assert_true(got[3 + i] == INFINITY);
    }
    assert_true(got[6] == 1 && got[7] == 1 && isnan(got[8]) && isnan(got[9]));
}

/* The absolute error of the normal distribution function is below 1.5e-7. It is 0 and 1 far out, 1/2 at 0, and NaN for NaN. */
static void normal_cdf_within_its_bound(void **state) {
    (void)state;
    const double ranges[][2] = {{-8, 8}, {-1.5, 1.5}, {-40, 40}, {-1e-3, 1e-3}};
    float *y = filled(COUNT, NAN);
    for (size_t r = 0; r < KM_COUNT(ranges); r++) {
        float *x = sweep(ranges[r][0], ranges[r][1]);
        all_normal_cdf(y, x, COUNT);
        for (int i = 0; i < COUNT; i++) {
            assert_true(fabs((double)y[i] - twin_normal_cdf((double)x[i])) < 1.5e-7);
            assert_true(y[i] >= 0 && y[i] <= 1);
        }
    }
    const float odd[] = {-INFINITY, -3e38f, -1e20f, INFINITY, 3e38f, 1e20f, 0, -0.0f, NAN};
    float got[KM_COUNT(odd)];
    all_normal_cdf(got, odd, KM_COUNT(odd));
    for (int i = 0; i < 3; i++) {
        assert_true(got[i] == 0);
        assert_true(got[3 + i] == 1);
    }
    assert_true(got[6] == 0.5f && got[7] == 0.5f && isnan(got[8]));
}

/* sigmoid and 1 - sigmoid have a relative error below 4e-7 on both sides. They are 0 and 1 far out, and NaN for NaN. */
static void sigmoid_within_its_bound(void **state) {
    (void)state;
    const double ranges[][2] = {{-59, 59}, {-3, 3}, {-1e-4, 1e-4}};
    float *y = filled(COUNT, NAN), *rest = filled(COUNT, NAN);
    for (size_t r = 0; r < KM_COUNT(ranges); r++) {
        float *x = sweep(ranges[r][0], ranges[r][1]);
        all_sigmoid(y, rest, x, COUNT);
        for (int i = 0; i < COUNT; i++) {
            const double want = 1 / (1 + exp(-(double)x[i])), missing = 1 / (1 + exp((double)x[i]));
            assert_true(fabs((double)y[i] - want) <= 4e-7 * want);
            assert_true(fabs((double)rest[i] - missing) <= 4e-7 * missing);
        }
    }
    const float odd[] = {INFINITY, 3e38f, -INFINITY, -3e38f, 0, NAN};
    float got[KM_COUNT(odd)], lacks[KM_COUNT(odd)];
    all_sigmoid(got, lacks, odd, KM_COUNT(odd));
    for (int i = 0; i < 2; i++) {
        assert_true(got[i] == 1 && lacks[i] == 0);
        assert_true(got[2 + i] == 0 && lacks[2 + i] == 1);
    }
    assert_true(got[4] == 0.5f && lacks[4] == 0.5f && isnan(got[5]) && isnan(lacks[5]));
}

/* km_largest finds the largest element wherever it is, for every length around the width of a vector. */
static void largest_wherever_it_is(void **state) {
    (void)state;
    for (int count = 1; count <= 70; count++) {
        float *x = draw((size_t)count, 1, (uint32_t)count);
        for (int at = 0; at < count; at++) {
            const float was = x[at];
            x[at] = 100;
            assert_true(km_largest(x, count) == 100);
            x[at] = INFINITY;
            assert_true(km_largest(x, count) == INFINITY);
            x[at] = NAN; /* the result is then NaN or the largest of the others */
            const float top = km_largest(x, count);
            assert_true(isnan(top) || count == 1 || (top > -100 && top < 100));
            x[at] = was;
        }
    }
}

/* Dropout's numbers, by AVX-512 and in portable C, are those of base's Philox in the order that kernel.h defines. */
static void dropout_numbers_are_philox(void **state) {
    (void)state;
    km_rng rng = km_rng_make(3, KM_RNG_TEST, 1, 0);
    for (int trial = 0; trial < 300; trial++) {
        const km_dropout d = {{km_rng_u32(&rng), km_rng_u32(&rng)}, km_rng_u32(&rng), 0.1f};
        const uint64_t key = km_rng_u64(&rng);
        const uint32_t first = trial == 0 ? 0xFFFFFF80u : km_rng_u32(&rng) / 1024 * 8;
        uint16_t got[KM_DROPOUT_STRETCH], plain[KM_DROPOUT_STRETCH];
        km_dropout_numbers(got, &d, key, first);
        km_dropout_numbers_plain(plain, &d, key, first);
        for (uint32_t e = 0; e < KM_DROPOUT_STRETCH; e++) {
            const uint32_t counter[4] = {(first + e) / 8, d.site, (uint32_t)key, (uint32_t)(key >> 32)};
            uint32_t words[4];
            km_philox(words, counter, d.key);
            const uint32_t number = e % 8 < 4 ? words[e % 4] & 0xFFFFu : words[e % 4] >> 16;
            assert_int_equal(got[e], number);
            assert_int_equal(plain[e], number);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(exp_to_the_last_place),       TEST(exp_at_its_ends),
                                       TEST(normal_cdf_within_its_bound), TEST(sigmoid_within_its_bound),
                                       TEST(largest_wherever_it_is),      TEST(dropout_numbers_are_philox)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
