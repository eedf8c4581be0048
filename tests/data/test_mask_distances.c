/* Pairs of masks at given Hamming distances: sizes, distances, and that each pair is uniform over the pairs that are so far
 * apart (Zheng et al. 2020, Assumption 1). */
#include "data/mask_statistics.h"

enum { N = 6, TAU = 2, SETS = 15 };

static int hamming(const test_draw *draw, int a, int b) {
    int apart = 0;
    for (int p = 0; p < LONGEST_ROW; p++) {
        apart += mask_of(draw, a)[p] != mask_of(draw, b)[p];
    }
    return apart;
}

static void draw_distances(test_draw *out, const km_mask_spec *spec, const test_row *row, uint64_t visit,
                           const double *shares, int count, int *distances) {
    memset(out->bytes, 0xee, sizeof out->bytes);
    const km_mask_visit drawn = {.seed = 5, .purpose = KM_RNG_VARIANCE, .number = visit};
    out->masks = (km_masks){.stride = LONGEST_ROW, .masks = out->bytes};
    assert_int_equal(km_mask_distances(spec, &row->row, &drawn, shares, count, distances, &out->masks), KM_OK);
}

static void masks_are_as_far_apart_as_asked(void **state) {
    (void)state;
    static const double shares[] = {0, 0.25, 0.5, 1};
    const struct {
        km_mask_spec spec;
        int units, expected[4];
    } known[] = {
        {{.unit = KM_UNIT_SUBWORD, .splits = 4, .ratio = 0.25}, 40, {0, 6, 10, 20}}, /* 2 * round(share * 10) */
        {{.unit = KM_UNIT_SUBWORD, .splits = 1, .ratio = 0.8},
         10,
         {0, 2, 2, 4}}, /* only two units are left to take */
        {{.unit = KM_UNIT_SUBWORD, .splits = 2, .ratio = 0}, 8, {0, 2, 4, 8}},
        {{.unit = KM_UNIT_SUBWORD, .splits = 1, .ratio = 1}, 5, {0, 0, 0, 0}}};
    test_row row;
    test_draw draw;
    for (size_t c = 0; c < KM_COUNT(known); c++) {
        make_plain_row(&row, 3, known[c].units);
        int tau = km_mask_tau(&known[c].spec, known[c].units), distances[4];
        assert_int_equal(km_mask_farthest(known[c].units, tau), known[c].expected[3]);
        for (uint64_t visit = 0; visit < 20; visit++) {
            draw_distances(&draw, &known[c].spec, &row, visit, shares, 4, distances);
            assert_int_equal(draw.masks.splits, 5);
            assert_int_equal(draw.masks.tau, tau);
            for (int i = 0; i < 4; i++) {
                int hidden = 0;
                for (int p = 0; p < LONGEST_ROW; p++) {
                    hidden += mask_of(&draw, 1 + i)[p];
                }
                assert_int_equal(hidden, tau);
                assert_int_equal(distances[i], known[c].expected[i]);
                assert_int_equal(hamming(&draw, 0, 1 + i), distances[i]);
            }
        }
    }
}

/* The number of a set of two of six units. */
static int number_of(const test_draw *draw, int mask) {
    int first = -1, second = -1;
    for (int u = 0; u < N; u++) {
        if (mask_of(draw, mask)[1 + u]) {
            first = first < 0 ? u : first;
            second = u;
        }
    }
    return first * (2 * N - first - 1) / 2 + second - first - 1;
}

static void pairs_are_uniform_at_their_distance(void **state) {
    (void)state;
    static const double shares[] = {0.5, 1};
    static const int partners[] = {8, 6}; /* sets that share one unit, and none */
    const km_mask_spec spec = {.unit = KM_UNIT_SUBWORD, .splits = 2, .ratio = 1.0 / 3};
    static double counts[2][SETS][SETS];
    memset(counts, 0, sizeof counts);
    test_row row;
    test_draw draw;
    make_plain_row(&row, 3, N);
    for (uint64_t visit = 0; visit < 60000; visit++) {
        int distances[2];
        draw_distances(&draw, &spec, &row, visit, shares, 2, distances);
        for (int i = 0; i < 2; i++) {
            counts[i][number_of(&draw, 0)][number_of(&draw, 1 + i)]++;
        }
    }
    for (int i = 0; i < 2; i++) {
        double seen[SETS * SETS] = {0};
        int cells = 0;
        for (int a = 0; a < SETS; a++) {
            for (int b = 0; b < SETS; b++) {
                if (counts[i][a][b] > 0) {
                    seen[cells++] = counts[i][a][b];
                }
            }
        }
        assert_int_equal(cells, SETS * partners[i]);
        assert_true(chi_uniform(seen, cells) < chi_limit(cells - 1));
    }
}

/* Spans are tiled once: masks of a pair are unions of the same spans. */
static void spans_share_a_tiling(void **state) {
    (void)state;
    static const double shares[] = {0, 1};
    const km_mask_spec spec = {.unit = KM_UNIT_SPAN, .splits = 2, .ratio = 0.4};
    test_row row;
    test_draw draw;
    int distances[2];
    make_row(&row, 7, "[ccwcwwwccwww[wwwwcwwwcwwww[cwwcccw[");
    for (uint64_t visit = 0; visit < 50; visit++) {
        draw_distances(&draw, &spec, &row, visit, shares, 2, distances);
        assert_int_equal(hamming(&draw, 0, 1), 0);
        assert_int_equal(distances[1], 2 * draw.masks.tau);
        for (int p = 0; p < LONGEST_ROW; p++) {
            assert_false(mask_of(&draw, 0)[p] && mask_of(&draw, 2)[p]);
        }
    }
}

static void given_units_are_hidden(void **state) {
    (void)state;
    test_row row;
    uint8_t mask[LONGEST_ROW];
    make_row(&row, 1, "[wcwccw[cw[");
    static const int units[] = {3, 1};
    static const uint8_t expected[] = {0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0};
    assert_int_equal(km_row_units(&row.row, KM_UNIT_WORD), 5);
    assert_int_equal(km_row_units(&row.row, KM_UNIT_SUBWORD), 8);
    km_row_hide(&row.row, KM_UNIT_WORD, units, 2, mask);
    assert_memory_equal(mask, expected, sizeof expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_are_as_far_apart_as_asked),
        cmocka_unit_test(pairs_are_uniform_at_their_distance),
        cmocka_unit_test(spans_share_a_tiling),
        cmocka_unit_test(given_units_are_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
