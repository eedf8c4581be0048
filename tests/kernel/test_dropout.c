/* Dropout: which elements are kept is the function of (key, site, row key, element) that kernel.h defines, and kept elements
 * are scaled so that the expected value is exact. */
#include "kernel/twins.h"

static const int widths[] = {1, 5, 8, 16, 33, 64, 127, 128, 129, 300, 768};

static km_dropout site_of(float p, uint32_t site) {
    return (km_dropout){{0x12345678u, 0x9ABCDEF0u}, site, p};
}

/* y_nc = x_nc * factor(key_n, c) to the bit, where the scale has been rounded to float. */
static void every_bit_is_the_definitions(void **state) {
    (void)state;
    const float shares[] = {1.0f / 65536, 0.1f, 0.15f, 0.5f, 0.9f, 65535.0f / 65536};
    const uint64_t keys[] = {0, 1, 0xFFFFFFFFu, UINT64_C(1) << 32, UINT64_C(0xFEDCBA9876543210), UINT64_MAX};
    for (size_t s = 0; s < KM_COUNT(shares); s++) {
        for (size_t i = 0; i < KM_COUNT(widths); i++) {
            enum { N = KM_COUNT(keys) };
            const int C = widths[i];
            const size_t count = N * (size_t)C;
            const km_dropout d = site_of(shares[s], (uint32_t)(7 * i + s));
            float *x = draw(count, 1, (uint32_t)i), *y = filled(count, NAN), *want = filled(count, NAN);
            for (size_t e = 0; e < count; e++) {
                want[e] = x[e] * (float)twin_factor(&d, keys[e / (size_t)C], (uint32_t)(e % (size_t)C));
            }
            km_dropout_apply(y, x, &d, keys, N, C);
            expect_same_bits("dropout", y, want, count, sizeof *y);
            km_dropout_apply(x, x, &d, keys, N, C);
            expect_same_bits("dropout in place", x, want, count, sizeof *y);
            drop();
        }
    }
}

/* p = 0, and a p that rounds to 0/65536, change nothing; a p that rounds to 65536/65536 makes everything 0. */
static void the_ends_of_p(void **state) {
    (void)state;
    enum { N = 5, C = 133, COUNT = N * C };
    uint64_t *keys = draw_keys(N, 1);
    float *x = draw(COUNT, 1, 1), *y = filled(COUNT, NAN);
    const float off[] = {0, 1e-6f};
    for (int i = 0; i < 2; i++) {
        const km_dropout d = site_of(off[i], 3);
        km_dropout_apply(y, x, &d, keys, N, C);
        expect_same_bits("p = 0", y, x, COUNT, sizeof *y);
        km_dropout_apply(y, y, &d, keys, N, C);
        expect_same_bits("p = 0 in place", y, x, COUNT, sizeof *y);
    }
    const km_dropout all = site_of(1, 3);
    km_dropout_apply(y, x, &all, keys, N, C);
    for (int i = 0; i < COUNT; i++) {
        assert_true(y[i] == 0);
    }
}

/* The share of kept elements is 1 - p and the mean of dropout(1) is 1, each within five standard deviations. */
static void share_kept_and_mean(void **state) {
    (void)state;
    enum { N = 512, C = 768, COUNT = N * C };
    uint64_t *keys = draw_keys(N, 2);
    float *ones = filled(COUNT, 1), *y = filled(COUNT, NAN);
    const float shares[] = {0.1f, 0.3f, 0.5f, 0.9f};
    for (size_t s = 0; s < KM_COUNT(shares); s++) {
        const km_dropout d = site_of(shares[s], 1);
        const double p = (double)shares[s], deviation = sqrt(p * (1 - p) / COUNT);
        double kept = 0, mean = 0;
        km_dropout_apply(y, ones, &d, keys, N, C);
        for (int i = 0; i < COUNT; i++) {
            kept += y[i] != 0;
            mean += (double)y[i] / COUNT;
        }
        assert_true(fabs(kept / COUNT - (1 - p)) < 5 * deviation + 1.0 / 65536);
        assert_true(fabs(mean - 1) < 5 * deviation / (1 - p) + 1e-6);
    }
}

/* Neighbouring elements, rows and sites are kept independently of each other: the share of pairs of which both are kept is
 * (1-p)^2 within five standard deviations. */
static void masks_are_independent(void **state) {
    (void)state;
    enum { N = 256, C = 768, COUNT = N * C };
    float *ones = filled(COUNT, 1), *a = filled(COUNT, NAN), *b = filled(COUNT, NAN);
    uint64_t *keys = take(N, sizeof *keys);
    for (int n = 0; n < N; n++) {
        keys[n] = (uint64_t)n; /* neighbouring keys, which differ least */
    }
    const km_dropout first = site_of(0.5f, 0), second = site_of(0.5f, 1);
    km_dropout_apply(a, ones, &first, keys, N, C);
    km_dropout_apply(b, ones, &second, keys, N, C);
    const int distances[] = {1, 2, 4, 8, 128, C};
    for (size_t k = 0; k <= KM_COUNT(distances); k++) {
        const int distance = k < KM_COUNT(distances) ? distances[k] : 0; /* 0: the same element at another site */
        double both = 0;
        for (int i = distance; i < COUNT; i++) {
            both += a[i] != 0 && (distance > 0 ? a[i - distance] : b[i]) != 0;
        }
        assert_true(fabs(both / (COUNT - distance) - 0.25) < 5 * sqrt(0.25 * 0.75 / COUNT));
    }
}

/* Dropout is linear in x, so its gradient is dy times the same factors, and backward is the same function as forward. */
static void backward_has_forwards_mask(void **state) {
    (void)state;
    enum { N = 3, C = 129, COUNT = N * C };
    uint64_t *keys = draw_keys(N, 4);
    const km_dropout d = site_of(0.2f, 9);
    float *x = draw(COUNT, 1, 1), *dy = draw(COUNT, 1, 2), *y = filled(COUNT, 0), *dx = filled(COUNT, 0);
    km_dropout_apply(y, x, &d, keys, N, C);
    km_dropout_apply(dx, dy, &d, keys, N, C);
    for (int i = 0; i < COUNT; i++) {
        assert_true((y[i] == 0) == (dx[i] == 0));
        assert_true(fabs((double)y[i] / (double)x[i] * (double)dy[i] - (double)dx[i]) < 1e-5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_bit_is_the_definitions), TEST(the_ends_of_p),
                                       TEST(share_kept_and_mean), TEST(masks_are_independent),
                                       TEST(backward_has_forwards_mask)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
