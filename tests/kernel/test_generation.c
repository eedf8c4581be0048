/* The kernels of generation against the textbook formulas in double: attention over a cache, and the logarithm of a softmax. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kmask/base.h"
#include "kmask/kernel.h"

enum { MOST_ROWS = 3, MOST_KEYS = 40, SLOTS = 50, MOST_C = 60 };

static void draw(float *x, size_t count, double scale, uint64_t seed) {
    km_rng rng = km_rng_make(seed, KM_RNG_TEST, 31, 0);
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(scale * km_rng_normal(&rng));
    }
}

/* Element c of the output of one query q (H D), whose keys are the rows `at` of kv: k, and behind its C numbers v. */
static double twin(const float *q, const float *kv, const int32_t *at, const km_attention_cached *s, int c) {
    const int C = s->H * s->D, first = c / s->D * s->D;
    double sum = 0, out = 0;
    for (int t = 0; t < s->keys; t++) {
        const float *row = kv + (size_t)at[t] * 2 * (size_t)C;
        double score = 0;
        for (int d = first; d < first + s->D; d++) {
            score += (double)q[d] * (double)row[d];
        }
        const double p = exp(score / sqrt(s->D));
        sum += p;
        out += p * (double)row[C + c];
    }
    return out / sum;
}

static void compare(int H, int D, int keys) {
    const int C = H * D;
    static float q[MOST_ROWS * MOST_C], kv[SLOTS * 2 * MOST_C], out[MOST_ROWS * MOST_C];
    static int32_t at[MOST_ROWS * MOST_KEYS];
    void *scratch = NULL;
    draw(q, KM_COUNT(q), 1, 1);
    draw(kv, KM_COUNT(kv), 1, 2);
    km_rng rng = km_rng_make(3, KM_RNG_TEST, 32, (uint64_t)keys);
    for (size_t i = 0; i < KM_COUNT(at); i++) {
        at[i] = (int32_t)km_rng_below(&rng, SLOTS);
    }
    assert_int_equal(km_allocate(&scratch, km_attention_cached_scratch(keys, H) * sizeof(float), "scratch"), KM_OK);
    const km_attention_cached shape = {
        .rows = MOST_ROWS, .H = H, .D = D, .keys = keys, .at = at, .ldat = MOST_KEYS, .ldk = 2 * C};
    km_attention_cached_forward(out, q, kv, kv + C, &shape, scratch);
    for (int r = 0; r < MOST_ROWS; r++) {
        for (int c = 0; c < C; c++) {
            const double expected = twin(q + r * C, kv, at + r * MOST_KEYS, &shape, c);
            assert_true(fabs((double)out[r * C + c] - expected) <= 1e-5);
        }
    }
    free(scratch);
}

static void test_attention_cached(void **state) {
    (void)state;
    const int heads[][2] = {{1, 1}, {2, 7}, {3, 20}, {5, 12}, {1, 60}};
    const int keys[] = {1, 2, 15, 16, 17, 33, 40};
    for (size_t h = 0; h < KM_COUNT(heads); h++) {
        for (size_t k = 0; k < KM_COUNT(keys); k++) {
            compare(heads[h][0], heads[h][1], keys[k]);
        }
    }
}

static void test_log_softmax(void **state) {
    (void)state;
    enum { M = 3, V = 277 };
    static float x[M * V], y[M * V];
    draw(x, KM_COUNT(x), 5, 4);
    memcpy(y, x, sizeof y);
    km_log_softmax(y, M, V);
    for (int m = 0; m < M; m++) {
        double sum = 0;
        for (int v = 0; v < V; v++) {
            sum += exp((double)x[m * V + v]);
        }
        for (int v = 0; v < V; v++) {
            assert_true(fabs((double)y[m * V + v] - ((double)x[m * V + v] - log(sum))) <= 1e-5);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention_cached), cmocka_unit_test(test_log_softmax)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
