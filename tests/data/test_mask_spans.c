/* Spans: the tiling as a stationary renewal process with SpanBERT's lengths, and masks over it. */
#include "../../src/data/units.h"
#include "data/mask_statistics.h"

/* P(length) of a capped geometric law with p = 0.2; returns the mean. */
static double length_law(double *law, int longest) {
    double total = 0, mean = 0;
    for (int l = 1; l <= longest; l++) {
        law[l] = pow(0.8, l - 1);
        total += law[l];
    }
    for (int l = 1; l <= longest; l++) {
        law[l] /= total;
        mean += l * law[l];
    }
    return mean;
}

static void spans_tile_the_words(void **state) {
    (void)state;
    const char *const patterns[] = {"[wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww[",
                                    "[wcwccw[wwwwcwwwcwwww[cwwcccw[w[[", "[wwwww[", "[w[w[w[w[w["};
    km_units *words = km_units_create(LONGEST_ROW), *spans = km_units_create(LONGEST_ROW);
    km_rng rng = km_rng_make(1, KM_RNG_TEST, 0, 0);
    for (size_t i = 0; i < KM_COUNT(patterns); i++) {
        test_row row;
        make_row(&row, 0, patterns[i]);
        km_units_find(words, &row.row, KM_UNIT_WORD);
        for (int splits = 1; splits <= 5; splits++) {
            int longest = KM_MIN(10, words->count / splits);
            for (int draw = 0; draw < 200; draw++) {
                km_units_tile(spans, words, splits, &rng);
                assert_true(spans->count >= splits);
                int w = 0;
                for (int s = 0; s < spans->count; s++) {
                    int first = w;
                    assert_int_equal(spans->ranges[s].begin, words->ranges[w].begin);
                    while (words->ranges[w].end < spans->ranges[s].end) {
                        assert_int_equal(words->ranges[w].end, words->ranges[w + 1].begin); /* nothing between */
                        w++;
                    }
                    assert_int_equal(spans->ranges[s].end, words->ranges[w].end);
                    w++;
                    assert_true(w - first <= longest);
                }
                assert_int_equal(w, words->count);
            }
        }
    }
    km_units_destroy(words);
    km_units_destroy(spans);
}

/* In a row without cuts: spans begin at every word alike, with probability 1/mean; the first is what is left of a
 * span entered in its middle, P(r) = P(length >= r) / mean; the others have the law's lengths. */
static void check_renewal(int n, int splits, int longest) {
    enum { DRAWS = 20000 };
    test_row row;
    make_plain_row(&row, 0, n);
    km_units *words = km_units_create(LONGEST_ROW), *spans = km_units_create(LONGEST_ROW);
    km_units_find(words, &row.row, KM_UNIT_WORD);
    km_rng rng = km_rng_make(2, KM_RNG_TEST, (uint32_t)longest, 0);
    double begins[LONGEST_ROW] = {0}, first[12] = {0}, length[12] = {0}, law[12] = {0}, total = 0;
    double mean = length_law(law, longest);
    for (int draw = 0; draw < DRAWS; draw++) {
        km_units_tile(spans, words, splits, &rng);
        first[spans->ranges[0].end - spans->ranges[0].begin]++;
        for (int s = 1; s < spans->count; s++) {
            int begin = spans->ranges[s].begin - 1, count = spans->ranges[s].end - spans->ranges[s].begin;
            begins[begin]++;
            if (begin + longest <= n) {
                length[count]++;
                total++;
            }
        }
    }
    for (int w = 1; w < n; w++) {
        double z = (begins[w] - DRAWS / mean) / sqrt(DRAWS / mean * (1 - 1 / mean));
        assert_true(fabs(z) < 5);
    }
    double chi_first = 0, chi_length = 0, tail = 1;
    for (int l = 1; l <= longest; l++) {
        double expected = DRAWS * tail / mean;
        chi_first += (first[l] - expected) * (first[l] - expected) / expected;
        chi_length += (length[l] - total * law[l]) * (length[l] - total * law[l]) / (total * law[l]);
        tail -= law[l];
    }
    assert_true(chi_first < chi_limit(longest - 1));
    assert_true(chi_length < chi_limit(longest - 1));
    km_units_destroy(words);
    km_units_destroy(spans);
}

static void spans_are_a_stationary_renewal_process(void **state) {
    (void)state;
    double law[12];
    assert_true(fabs(length_law(law, 10) - 3.80) < 0.005); /* SpanBERT's mean */
    check_renewal(60, 1, 10);
    check_renewal(60, 4, 10);
    check_renewal(20, 4, 5);
}

static void span_masks_are_disjoint_and_whole(void **state) {
    (void)state;
    test_row row;
    test_draw draw;
    make_row(&row, 4, "[wwcwwwwcwwcwwwwwwwwwwwwcccwwwwwwwwwwwww[wwwwwwwwwwwcwwwwwww[");
    const km_mask_spec specs[] = {{.unit = KM_UNIT_SPAN, .splits = 4, .ratio = 0.15},
                                  {.unit = KM_UNIT_SPAN, .splits = 5, .ratio = 0}};
    for (int c = 0; c < 4; c++) {
        const km_mask_spec *spec = &specs[c / 2];
        for (uint64_t visit = 0; visit < 200; visit++) {
            draw_masks(&draw, c % 2 ? "random" : "fully_explored", spec, &row, 1, visit);
            assert_true(draw.masks.units >= spec->splits);
            assert_int_equal(draw.masks.tau, km_mask_tau(spec, draw.masks.units));
            int hidden_by[LONGEST_ROW] = {0};
            for (int k = 0; k < spec->splits; k++) {
                int runs = 0;
                for (int p = 1; p < row.row.length; p++) {
                    int hidden = mask_of(&draw, k)[p];
                    assert_true(hidden <= row.maskable[p]);
                    assert_true(row.starts_word[p] || hidden == mask_of(&draw, k)[p - 1]);
                    runs += hidden && !mask_of(&draw, k)[p - 1];
                    hidden_by[p] += hidden;
                }
                assert_true(runs >= 1);
                assert_true(runs <= draw.masks.tau || (c % 2 && k > 0)); /* tau of random masks may differ */
            }
            for (int p = 0; p < row.row.length && c % 2 == 0; p++) {
                assert_true(hidden_by[p] <= 1);
            }
        }
    }
}

static void every_word_is_hidden_alike(void **state) {
    (void)state;
    enum { N = 48, DRAWS = 20000 };
    test_row row;
    test_draw draw;
    make_plain_row(&row, 3, N);
    km_mask_spec spec = {.unit = KM_UNIT_SPAN, .splits = 4, .ratio = 0.15};
    for (int policy = 0; policy < 2; policy++) {
        double counts[4][N] = {{0}}, total = 0;
        for (int d = 0; d < DRAWS; d++) {
            draw_masks(&draw, policy ? "random" : "fully_explored", &spec, &row, 8, (uint64_t)d);
            for (int k = 0; k < 4; k++) {
                for (int i = 0; i < N; i++) {
                    counts[k][i] += mask_of(&draw, k)[i + 1];
                    total += mask_of(&draw, k)[i + 1];
                }
            }
        }
        double share = total / (4.0 * N * DRAWS);
        for (int k = 0; k < 4; k++) {
            for (int i = 0; i < N; i++) {
                assert_true(fabs(counts[k][i] - DRAWS * share) < 5 * sqrt(DRAWS * share * (1 - share)));
            }
        }
    }
}

/* Two samples of one law: sum (a-b)^2 / (a+b) is chi-square. Mask k of one policy against mask k of the other. */
static void a_single_mask_has_one_law_under_both_policies(void **state) {
    (void)state;
    enum { N = 8, CELLS = 1 << N, DRAWS = 40000, K = 2 };
    test_row row;
    test_draw draw;
    make_plain_row(&row, 3, N);
    const double ratios[] = {0.3, 0};
    for (int r = 0; r < 2; r++) {
        km_mask_spec spec = {.unit = KM_UNIT_SPAN, .splits = K, .ratio = ratios[r]};
        static double counts[2][K][CELLS];
        memset(counts, 0, sizeof counts);
        for (int d = 0; d < 2 * DRAWS; d++) {
            draw_masks(&draw, d % 2 ? "random" : "fully_explored", &spec, &row, 6, (uint64_t)d);
            for (int k = 0; k < K; k++) {
                int cell = 0;
                for (int i = 0; i < N; i++) {
                    cell |= mask_of(&draw, k)[i + 1] << i;
                }
                counts[d % 2][k][cell]++;
            }
        }
        for (int k = 0; k < K; k++) {
            double chi = 0, used = 0;
            for (int cell = 0; cell < CELLS; cell++) {
                double a = counts[0][k][cell], b = counts[1][k][cell];
                if (a + b >= 10) {
                    chi += (a - b) * (a - b) / (a + b);
                    used++;
                }
            }
            assert_true(used > 30);
            assert_true(chi < chi_limit(used - 1));
        }
    }
}

/* Each random mask has its own tiling: what mask 0 does to two neighbouring words says nothing of mask 1. */
static void random_masks_have_tilings_of_their_own(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    test_row row;
    test_draw draw;
    make_plain_row(&row, 3, 12);
    km_mask_spec spec = {.unit = KM_UNIT_SPAN, .splits = 2, .ratio = 0.5};
    double joint[4][4] = {{0}}, one[4] = {0}, two[4] = {0}, chi = 0;
    for (int d = 0; d < DRAWS; d++) {
        draw_masks(&draw, "random", &spec, &row, 4, (uint64_t)d);
        int a = mask_of(&draw, 0)[6] * 2 + mask_of(&draw, 0)[7],
            b = mask_of(&draw, 1)[6] * 2 + mask_of(&draw, 1)[7];
        joint[a][b]++;
        one[a]++;
        two[b]++;
    }
    for (int cell = 0; cell < 16; cell++) {
        double expected = one[cell / 4] * two[cell % 4] / DRAWS, off = joint[cell / 4][cell % 4] - expected;
        chi += off * off / expected;
    }
    assert_true(chi < chi_limit(9));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_tile_the_words),
        cmocka_unit_test(spans_are_a_stationary_renewal_process),
        cmocka_unit_test(span_masks_are_disjoint_and_whole),
        cmocka_unit_test(every_word_is_hidden_alike),
        cmocka_unit_test(a_single_mask_has_one_law_under_both_policies),
        cmocka_unit_test(random_masks_have_tilings_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
