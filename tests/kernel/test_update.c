/* The exact sum in fixed point, and AdamW. */
#include "kernel/twins.h"

static const double unit = 68719476736.0; /* 2^36 */

/* Gradients with magnitudes from far below the unit of the fixed point up to the limit. */
static float *gradients(size_t count, uint32_t stream) {
    float *g = draw(count, 1, stream);
    km_rng rng = km_rng_make(5, KM_RNG_TEST, stream, 1);
    for (size_t i = 0; i < count; i++) {
        g[i] = ldexpf(g[i], -(int)km_rng_below(&rng, 45));
        g[i] = ldexpf(g[i], (int)km_rng_below(&rng, 11));
    }
    return g;
}

/* sum += round(g * 2^36), halves to even. */
static void fixed_add_rounds_to_nearest(void **state) {
    (void)state;
    for (size_t count = 0; count < 70; count++) {
        float *g = gradients(count, (uint32_t)count);
        int64_t *sum = take(count, sizeof *sum);
        for (size_t i = 0; i < count; i++) {
            sum[i] = (int64_t)i * 1000003 - 70;
        }
        assert_true(km_fixed_add(sum, g, count));
        for (size_t i = 0; i < count; i++) {
            assert_true(sum[i] == (int64_t)i * 1000003 - 70 + llrint((double)g[i] * unit));
        }
        drop();
    }
    const double halves[] = {0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999, -0.50001, 7, 0, -0.0};
    const int64_t want[] = {0, 2, 2, 0, -2, -2, 0, -1, 7, 0, 0};
    enum { COUNT = KM_COUNT(halves) };
    float g[COUNT];
    int64_t sum[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) {
        g[i] = (float)(halves[i] / unit);
    }
    assert_true(km_fixed_add(sum, g, COUNT));
    assert_memory_equal(sum, want, sizeof want);
}

/* The sum has the same bits in whatever order its parts are added. */
static void sums_do_not_depend_on_their_order(void **state) {
    (void)state;
    enum { PARTS = 24, COUNT = 1003 };
    float *parts[PARTS];
    int64_t first[COUNT];
    km_rng rng = km_rng_make(8, KM_RNG_TEST, 0, 0);
    for (uint32_t p = 0; p < PARTS; p++) {
        parts[p] = gradients(COUNT, 100 + p);
    }
    for (int trial = 0; trial < 50; trial++) {
        int64_t sum[COUNT] = {0};
        for (uint32_t p = 0; p < PARTS; p++) {
            const uint32_t other = p + km_rng_below(&rng, PARTS - p); /* a random one of those left */
            float *swap = parts[p];
            parts[p] = parts[other];
            parts[other] = swap;
            assert_true(km_fixed_add(sum, parts[p], COUNT));
        }
        if (trial == 0) {
            memcpy(first, sum, sizeof sum);
        }
        assert_memory_equal(sum, first, sizeof sum);
    }
}

/* A value that is not finite or not below the limit is noticed at every place, in the vectorized loop and behind it. */
static void out_of_range_is_seen_everywhere(void **state) {
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY, KM_FIXED_LIMIT, -KM_FIXED_LIMIT, 3e38f, -3e38f};
    const float most = nextafterf(KM_FIXED_LIMIT, 0);
    for (size_t count = 1; count <= 70; count++) {
        float *g = draw(count, 1, 1);
        int64_t *sum = take(count, sizeof *sum);
        for (size_t at = 0; at < count; at++) {
            const float was = g[at];
            for (size_t b = 0; b < KM_COUNT(bad); b++) {
                memset(sum, 0, count * sizeof *sum);
                g[at] = bad[b];
                assert_false(km_fixed_add(sum, g, count));
            }
            for (int sign = -1; sign <= 1; sign += 2) {
                memset(sum, 0, count * sizeof *sum);
                g[at] = (float)sign * most;
                assert_true(km_fixed_add(sum, g, count));
                assert_true(sum[at] == (int64_t)((double)sign * (double)most * unit));
            }
            g[at] = was;
        }
        drop();
    }
}

/* km_fixed_set gives what adding to 0 gives, whatever was there before, and writes nothing beside it; with whole cache lines
 * and without. */
static void fixed_set_is_an_addition_to_nothing(void **state) {
    (void)state;
    enum { MOST = 80, ROOM = 16 };
    _Alignas(64) int64_t sum[MOST + ROOM];
    for (int count = 0; count <= MOST; count++) {
        float *g = gradients(MOST, 300 + (uint32_t)count);
        for (int at = 0; at < ROOM / 2; at++) {
            int64_t want[MOST + ROOM];
            memset(sum, 0x55, sizeof sum);
            memcpy(want, sum, sizeof want);
            memset(want + at, 0, (size_t)count * sizeof *want);
            assert_true(km_fixed_add(want + at, g, (size_t)count));
            assert_true(km_fixed_set(sum + at, g, (size_t)count));
            assert_memory_equal(sum, want, sizeof sum);
        }
        for (int at = 0; at < count; at++) {
            const float was = g[at];
            g[at] = at % 2 == 0 ? NAN : -KM_FIXED_LIMIT;
            assert_false(km_fixed_set(sum, g, (size_t)count));
            g[at] = nextafterf(KM_FIXED_LIMIT, 0);
            assert_true(km_fixed_set(sum, g, (size_t)count));
            g[at] = was;
        }
        drop();
    }
}

/* The sum of 8,192 of the largest values does not overflow. */
static void the_largest_sums_fit(void **state) {
    (void)state;
    enum { COUNT = 19, PARTS = 8192 };
    const float most = nextafterf(KM_FIXED_LIMIT, 0);
    for (int sign = -1; sign <= 1; sign += 2) {
        float *g = filled(COUNT, (float)sign * most);
        int64_t sum[COUNT] = {0};
        for (int p = 0; p < PARTS; p++) {
            assert_true(km_fixed_add(sum, g, COUNT));
        }
        for (int i = 0; i < COUNT; i++) {
            assert_true((double)sum[i] == (double)sign * PARTS * (double)most * unit);
        }
    }
}

static int64_t *some_sums(size_t count) {
    float *g = gradients(count, 77);
    int64_t *sum = take(count, sizeof *sum);
    for (size_t i = 0; i < count; i++) {
        sum[i] = llrint((double)g[i] * unit);
    }
    return sum;
}

static void squares_equal_their_twin(void **state) {
    (void)state;
    const size_t counts[] = {0, 1, 3, 8, 15, 16, 17, 33, 1000, 4096};
    for (size_t i = 0; i < KM_COUNT(counts); i++) {
        int64_t *sum = some_sums(counts[i]);
        const double scale = 0.37 / unit;
        double want = 0;
        for (size_t k = 0; k < counts[i]; k++) {
            want += (double)sum[k] * scale * ((double)sum[k] * scale);
        }
        assert_true(fabs(km_fixed_squares(sum, scale, counts[i]) - want) <= 1e-13 * want);
        drop();
    }
}

static void check_adamw(size_t count, float decay) {
    float *w = draw(count, 0.02, 1), *m = filled(count, 0), *v = filled(count, 0);
    double *wd = widen(w, count), *md = doubles(count), *vd = doubles(count), *g = doubles(count);
    const double scale = 1 / unit / 160;
    for (int step = 1; step <= 5; step++) {
        km_adamw o = {.lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-6f, .weight_decay = decay};
        o.correction1 = (float)(1 - pow((double)o.beta1, step));
        o.correction2 = (float)(1 - pow((double)o.beta2, step));
        int64_t *sum = take(count, sizeof *sum);
        float *parts = draw(count, 1, 10 + (uint32_t)step);
        for (size_t i = 0; i < count; i++) {
            sum[i] = i % 7 == 3 ? 0 : llrint((double)parts[i] * unit); /* also weights without any gradient */
            g[i] = (double)sum[i] * scale;
        }
        km_adamw_update(w, m, v, sum, scale, &o, count);
        twin_adamw(wd, md, vd, g, &o, count);
        for (size_t i = 0; i < count; i++) {
            assert_true(fabs((double)m[i] - md[i]) <= 1e-6 * (fabs(md[i]) + 1e-3));
            assert_true(fabs((double)v[i] - vd[i]) <= 1e-6 * vd[i]);
            assert_true(fabs((double)w[i] - wd[i]) <= 2e-8 + 1e-5 * (double)o.lr);
        }
    }
    drop();
}

/* Five steps of AdamW, with and without decay. A weight with neither gradient nor decay does not change. */
static void adamw_equals_its_twin(void **state) {
    (void)state;
    const size_t counts[] = {0, 1, 3, 7, 16, 33, 64, 129, 1000};
    for (size_t i = 0; i < KM_COUNT(counts); i++) {
        check_adamw(counts[i], 0);
        check_adamw(counts[i], 0.01f);
    }
    float w = 0.75f, m = 0, v = 0;
    const int64_t sum = 0;
    const km_adamw o = {
        .lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-6f, .correction1 = 0.1f, .correction2 = 0.001f};
    km_adamw_update(&w, &m, &v, &sum, 1 / unit, &o, 1);
    assert_true(w == 0.75f && m == 0 && v == 0);
}

/* If the gradient is 0 from the second step on, moments fall to 0 and are never subnormal numbers, which are slow. */
static void moments_are_never_subnormal(void **state) {
    (void)state;
    enum { COUNT = 37, STEPS = 1200 };
    float *w = filled(COUNT, 0.5f), *m = filled(COUNT, 0), *v = filled(COUNT, 0);
    int64_t sum[COUNT];
    for (int i = 0; i < COUNT; i++) {
        sum[i] = (int64_t)(i - 18) * 12345;
    }
    const km_adamw o = {
        .lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.9f, .eps = 1e-6f, .correction1 = 0.5f, .correction2 = 0.5f};
    for (int step = 0; step < STEPS; step++) {
        km_adamw_update(w, m, v, sum, 1e-9, &o, COUNT);
        memset(sum, 0, sizeof sum);
        for (int i = 0; i < COUNT; i++) {
            assert_true(fpclassify(m[i]) != FP_SUBNORMAL && fpclassify(v[i]) != FP_SUBNORMAL);
            assert_true(step > 0 || i == 18 || (m[i] != 0 && v[i] != 0));
            assert_true(step + 1 < STEPS || (m[i] == 0 && v[i] == 0));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(fixed_add_rounds_to_nearest),
                                       TEST(fixed_set_is_an_addition_to_nothing),
                                       TEST(sums_do_not_depend_on_their_order),
                                       TEST(out_of_range_is_seen_everywhere),
                                       TEST(the_largest_sums_fit),
                                       TEST(squares_equal_their_twin),
                                       TEST(adamw_equals_its_twin),
                                       TEST(moments_are_never_subnormal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
