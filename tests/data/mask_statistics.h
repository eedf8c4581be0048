/* For the tests of masks: rows made by hand, draws, and the limits of chi-square statistics. Draws have fixed
 * seeds, so that a test gives the same answer always; limits lie five deviations out, so that a change of seed
 * would hardly fail. */
#ifndef KMASK_TESTS_MASK_STATISTICS_H
#define KMASK_TESTS_MASK_STATISTICS_H

#include "kmask/data.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONGEST_ROW = 256, MOST_SPLITS = 16 };

typedef struct test_row {
    km_row row;
    int32_t ids[LONGEST_ROW];
    uint8_t starts_word[LONGEST_ROW], maskable[LONGEST_ROW];
} test_row;

/* One letter a token: '[' a special, 'w' begins a word, 'c' continues one. */
static inline void make_row(test_row *out, uint64_t number, const char *pattern) {
    memset(out, 0, sizeof *out);
    int length = (int)strlen(pattern);
    assert_true(length <= LONGEST_ROW);
    for (int p = 0; p < length; p++) {
        out->ids[p] = pattern[p] == '[' ? 2 : 10 + p;
        out->starts_word[p] = pattern[p] != 'c';
        out->maskable[p] = pattern[p] != '[';
    }
    out->row = (km_row){.number = number,
                        .length = length,
                        .ids = out->ids,
                        .starts_word = out->starts_word,
                        .maskable = out->maskable};
}

/* [ n one-token words [ */
static inline void make_plain_row(test_row *out, uint64_t number, int n) {
    char pattern[LONGEST_ROW + 1];
    memset(pattern, 'w', sizeof pattern);
    pattern[0] = pattern[n + 1] = '[';
    pattern[n + 2] = '\0';
    make_row(out, number, pattern);
}

typedef struct test_draw {
    km_masks masks;
    uint8_t bytes[MOST_SPLITS * LONGEST_ROW];
} test_draw;

static inline const uint8_t *mask_of(const test_draw *draw, int k) {
    return draw->bytes + k * LONGEST_ROW;
}

static inline km_status try_draw(test_draw *out, const char *policy, const km_mask_spec *spec, const test_row *row,
                                 uint64_t seed, uint64_t visit) {
    memset(out->bytes, 0xee, sizeof out->bytes);
    out->masks = (km_masks){.stride = LONGEST_ROW, .masks = out->bytes};
    const km_mask_visit drawn = {.seed = seed, .purpose = KM_RNG_MASK, .number = visit};
    km_masker *masker = NULL;
    KM_TRY(km_masker_create(&masker, km_mask_policy_named(policy), spec, NULL, LONGEST_ROW));
    km_status status = km_masker_draw(masker, &row->row, &drawn, &out->masks);
    km_masker_destroy(masker);
    return status;
}

static inline void draw_masks(test_draw *out, const char *policy, const km_mask_spec *spec, const test_row *row,
                              uint64_t seed, uint64_t visit) {
    assert_int_equal(try_draw(out, policy, spec, row, seed, visit), KM_OK);
}

/* Wilson and Hilferty's approximation of the value that chi-square with `freedom` degrees exceeds with p = 3e-7. */
static inline double chi_limit(double freedom) {
    double part = 2 / (9 * freedom), root = 1 - part + 5 * sqrt(part);
    return freedom * root * root * root;
}

static inline double chi_uniform(const double *counts, int cells) {
    double total = 0, chi = 0;
    for (int i = 0; i < cells; i++) {
        total += counts[i];
    }
    double expected = total / cells;
    for (int i = 0; i < cells; i++) {
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    return chi;
}

static inline double choose(int n, int k) {
    double product = 1;
    for (int i = 0; i < k; i++) {
        product *= (double)(n - i) / (i + 1);
    }
    return k < 0 || k > n ? 0 : product;
}

#endif
