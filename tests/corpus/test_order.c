/* The order of rows: a permutation for every n, another one for every epoch and seed, and close to uniform. */
#include "kmask/corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void order_is_a_permutation_for_every_n(void **state) {
    (void)state;
    enum { LARGEST = 300 };
    for (uint64_t n = 1; n <= LARGEST; n++) {
        for (uint64_t epoch = 0; epoch < 4; epoch++) {
            uint8_t seen[LARGEST] = {0};
            for (uint64_t i = 0; i < n; i++) {
                uint64_t row = km_order(i, n, 7, epoch);
                assert_true(row < n);
                assert_int_equal(seen[row]++, 0);
            }
        }
    }
}

static void order_is_a_permutation_of_many(void **state) {
    (void)state;
    const uint64_t n = 100003;
    uint8_t *seen = km_new(n, 1);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t row = km_order(i, n, 1, 3);
        assert_true(row < n);
        assert_int_equal(seen[row]++, 0);
    }
    free(seen);
    /* Beyond 32 bits, and at the end of 64: no loop without end, no overflow. */
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(km_order(i, UINT64_C(1) << 33, 1, 0) < UINT64_C(1) << 33);
        assert_true(km_order(UINT64_MAX - 1 - i, UINT64_MAX, 1, 0) < UINT64_MAX);
    }
}

static int same_places(uint64_t n, uint64_t seed, uint64_t epoch) {
    int same = 0;
    for (uint64_t i = 0; i < n; i++) {
        same += km_order(i, n, 1, 0) == km_order(i, n, seed, epoch);
    }
    return same;
}

static void epochs_and_seeds_differ(void **state) {
    (void)state;
    /* Two random permutations agree in one place on average. */
    assert_int_equal(same_places(1000, 1, 0), 1000);
    assert_true(same_places(1000, 1, 1) < 10);
    assert_true(same_places(1000, 2, 0) < 10);
    assert_true(same_places(1000, 1, UINT64_C(1) << 32) < 10);
}

/* Over many epochs every row stands equally often at every place (chi-square). */
static void places_are_uniform(void **state) {
    (void)state;
    enum { EPOCHS = 6000, MOST = 17 };
    const int sizes[] = {2, 3, 5, 8, 16, 17};
    for (size_t s = 0; s < KM_COUNT(sizes); s++) {
        int n = sizes[s];
        double count[MOST][MOST] = {{0}}, chi = 0, expected = (double)EPOCHS / n;
        for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
            for (int i = 0; i < n; i++) {
                count[i][km_order((uint64_t)i, (uint64_t)n, 11, epoch)] += 1;
            }
        }
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                chi += (count[i][j] - expected) * (count[i][j] - expected) / expected;
            }
        }
        assert_true(chi < n * (n - 1.0) + 8.5 * n); /* mean n (n - 1), deviation sqrt(2) n */
    }
}

/* Neighbours in one epoch are not neighbours in the next: all 6 orders of three rows come equally often. */
static void orders_are_uniform(void **state) {
    (void)state;
    enum { EPOCHS = 6000 };
    double count[27] = {0}, chi = 0;
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        count[km_order(0, 3, 5, epoch) * 9 + km_order(1, 3, 5, epoch) * 3 + km_order(2, 3, 5, epoch)] += 1;
    }
    for (int i = 0; i < 27; i++) {
        chi += count[i] > 0 ? (count[i] - EPOCHS / 6.0) * (count[i] - EPOCHS / 6.0) / (EPOCHS / 6.0) : 0;
    }
    assert_true(chi < 30); /* 5 degrees of freedom */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_a_permutation_for_every_n),
        cmocka_unit_test(order_is_a_permutation_of_many),
        cmocka_unit_test(epochs_and_seeds_differ),
        cmocka_unit_test(places_are_uniform),
        cmocka_unit_test(orders_are_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
