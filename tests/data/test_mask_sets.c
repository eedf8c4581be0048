/* The masks as random sets of units: sizes, Eq. 10 and Lemma 2 of Zheng et al. 2020, exchangeability,
 * independence. */
#include "data/mask_statistics.h"

static const char *const names[] = {"fully_explored", "random"};

static void tau_is_rounded_and_capped(void **state) {
    (void)state;
    const struct {
        int splits;
        double ratio;
        int units, tau;
    } known[] = {
        {1, 0.15, 100, 15}, {1, 0.15, 10, 2},    {1, 0.15, 126, 19}, {1, 0.15, 510, 77}, {1, 0.15, 3, 1},
        {1, 0.15, 1, 1},    {8, 0.125, 8, 1},    {8, 0.125, 20, 2},  {8, 0.125, 15, 1},  {8, 0.125, 12, 1},
        {4, 0.15, 4, 1},    {4, 0.25, 510, 127}, {4, 0.25, 6, 1},    {2, 0.5, 7, 3},     {10, 0.1, 25, 2},
        {4, 0, 10, 2},      {4, 0, 4, 1},        {4, 0, 511, 127},   {1, 0, 9, 9},       {8, 0.15, 100, 15},
        {8, 0.15, 8, 1},    {3, 1, 9, 9},        {6, 0.15, 10, 1},   {7, 0.15, 10, 2},
    };
    for (size_t i = 0; i < KM_COUNT(known); i++) {
        km_mask_spec spec = {.unit = KM_UNIT_SUBWORD, .splits = known[i].splits, .ratio = known[i].ratio};
        assert_int_equal(km_mask_tau(&spec, known[i].units), known[i].tau);
    }
}

static void masks_have_their_size_and_miss_specials(void **state) {
    (void)state;
    test_row row;
    test_draw draw;
    make_row(&row, 7, "[ccwcwwwccwww[wwwwcwwwcwwww[cwwcccw[");
    const km_mask_spec specs[] = {{.unit = KM_UNIT_SUBWORD, .splits = 4, .ratio = 0.15},
                                  {.unit = KM_UNIT_SUBWORD, .splits = 4, .ratio = 0},
                                  {.unit = KM_UNIT_WORD, .splits = 4, .ratio = 0.15},
                                  {.unit = KM_UNIT_WORD, .splits = 3, .ratio = 0},
                                  {.unit = KM_UNIT_WORD, .splits = 1, .ratio = 0.5},
                                  {.unit = KM_UNIT_SUBWORD, .splits = 5, .ratio = 0.2}};
    for (size_t c = 0; c < KM_COUNT(specs) * 2; c++) {
        const km_mask_spec *spec = &specs[c / 2];
        int units = spec->unit == KM_UNIT_WORD ? 23 : 32;
        for (uint64_t visit = 0; visit < 50; visit++) {
            draw_masks(&draw, names[c % 2], spec, &row, 3, visit);
            assert_int_equal(draw.masks.units, units);
            assert_int_equal(draw.masks.tau, km_mask_tau(spec, units));
            assert_int_equal(draw.masks.splits, spec->splits);
            for (int k = 0; k < spec->splits; k++) {
                const uint8_t *mask = mask_of(&draw, k);
                int hidden = 0;
                for (int p = 0; p < LONGEST_ROW; p++) {
                    assert_true(mask[p] <= (p < row.row.length && row.maskable[p]));
                    bool continues = p > 0 && row.maskable[p - 1] && !row.starts_word[p];
                    if (spec->unit == KM_UNIT_WORD && continues) {
                        assert_int_equal(mask[p], mask[p - 1]);
                    } else {
                        hidden += mask[p];
                    }
                }
                assert_int_equal(hidden, draw.masks.tau);
            }
        }
    }
}

static int hamming(const uint8_t *a, const uint8_t *b, int length) {
    int distance = 0;
    for (int p = 0; p < length; p++) {
        distance += a[p] != b[p];
    }
    return distance;
}

static void fully_explored_masks_are_2_tau_apart(void **state) {
    (void)state;
    test_row row;
    test_draw draw;
    make_plain_row(&row, 1, 126);
    const km_mask_spec specs[] = {{.unit = KM_UNIT_SUBWORD, .splits = 4, .ratio = 0.15},
                                  {.unit = KM_UNIT_SUBWORD, .splits = 8, .ratio = 0.125},
                                  {.unit = KM_UNIT_SUBWORD, .splits = 6, .ratio = 0}};
    for (size_t s = 0; s < KM_COUNT(specs); s++) {
        for (uint64_t visit = 0; visit < 20; visit++) {
            draw_masks(&draw, "fully_explored", &specs[s], &row, 5, visit);
            for (int i = 0; i < specs[s].splits; i++) {
                for (int j = 0; j < i; j++) {
                    int distance = hamming(mask_of(&draw, i), mask_of(&draw, j), LONGEST_ROW);
                    assert_int_equal(distance, 2 * draw.masks.tau);
                }
            }
        }
    }
}

/* Which of 1..n, as bits, mask k hides. */
static unsigned set_of(const test_draw *draw, int k, int n) {
    unsigned set = 0;
    for (int i = 0; i < n; i++) {
        set |= (unsigned)mask_of(draw, k)[i + 1] << i;
    }
    return set;
}

/* All outcomes of K masks of a small row occur equally often: a set's number is in base 2^n. */
static void check_all_outcomes(const char *policy, km_mask_spec spec, int n, int outcomes) {
    enum { EACH = 400 };
    test_row row;
    test_draw draw;
    make_plain_row(&row, 11, n);
    size_t cells = (size_t)1 << (n * spec.splits);
    double *counts = km_new(cells, sizeof *counts), *seen = km_new((size_t)outcomes, sizeof *seen);
    for (int i = 0; i < EACH * outcomes; i++) {
        draw_masks(&draw, policy, &spec, &row, 2, (uint64_t)i);
        size_t cell = 0;
        for (int k = 0; k < spec.splits; k++) {
            cell = cell << n | set_of(&draw, k, n);
        }
        counts[cell]++;
    }
    int found = 0;
    for (size_t i = 0; i < cells; i++) {
        if (counts[i] > 0) {
            assert_true(found < outcomes);
            seen[found++] = counts[i];
        }
    }
    assert_int_equal(found, outcomes);
    assert_true(chi_uniform(seen, outcomes) < chi_limit(outcomes - 1));
    free(counts);
    free(seen);
}

static void every_outcome_is_equally_likely(void **state) {
    (void)state;
    check_all_outcomes("fully_explored", (km_mask_spec){.unit = KM_UNIT_SUBWORD, .splits = 3, .ratio = 1.0 / 3}, 6,
                       90);
    check_all_outcomes("fully_explored", (km_mask_spec){.unit = KM_UNIT_SUBWORD, .splits = 2, .ratio = 0.4}, 5, 30);
    check_all_outcomes("fully_explored", (km_mask_spec){.unit = KM_UNIT_WORD, .splits = 2, .ratio = 0}, 5, 30);
    check_all_outcomes("random", (km_mask_spec){.unit = KM_UNIT_SUBWORD, .splits = 2, .ratio = 0.4}, 5, 100);
    check_all_outcomes("random", (km_mask_spec){.unit = KM_UNIT_WORD, .splits = 2, .ratio = 1.0 / 3}, 6, 225);
    check_all_outcomes("random", (km_mask_spec){.unit = KM_UNIT_SUBWORD, .splits = 1, .ratio = 0.5}, 6, 20);
}

/* Lemma 2 for each mask: inclusion tau/n, pairs tau(tau-1)/(n(n-1)). Inclusion counts of N sets of fixed size,
 * summed as (c - N p)^2 / (N p (1-p) n/(n-1)), are chi-square with n-1 degrees. */
static void each_mask_is_uniform(void **state) {
    (void)state;
    enum { N = 40, DRAWS = 8000, K = 4 };
    test_row row;
    test_draw draw;
    make_plain_row(&row, 3, N);
    km_mask_spec spec = {.unit = KM_UNIT_SUBWORD, .splits = K, .ratio = 0.15};
    const double tau = 6, share = tau / N, pair_share = tau * (tau - 1) / (N * (N - 1));
    for (size_t policy = 0; policy < KM_COUNT(names); policy++) {
        static double single[K][N], pair[K][N][N];
        memset(single, 0, sizeof single);
        memset(pair, 0, sizeof pair);
        for (int d = 0; d < DRAWS; d++) {
            draw_masks(&draw, names[policy], &spec, &row, 9, (uint64_t)d);
            for (int k = 0; k < K; k++) {
                const uint8_t *mask = mask_of(&draw, k) + 1;
                for (int i = 0; i < N; i++) {
                    single[k][i] += mask[i];
                    for (int j = 0; j < i; j++) {
                        pair[k][i][j] += mask[i] && mask[j];
                    }
                }
            }
        }
        for (int k = 0; k < K; k++) {
            double chi = 0, furthest = 0;
            for (int i = 0; i < N; i++) {
                chi += pow(single[k][i] - DRAWS * share, 2) / (DRAWS * share * (1 - share) * N / (N - 1));
                for (int j = 0; j < i; j++) {
                    double z = (pair[k][i][j] - DRAWS * pair_share) / sqrt(DRAWS * pair_share * (1 - pair_share));
                    furthest = fmax(furthest, fabs(z));
                }
            }
            assert_true(chi < chi_limit(N - 1));
            assert_true(furthest < 6); /* 780 pairs */
        }
    }
}

/* Where unit i is hidden by mask a and unit j by mask b: the counts for (a, b) and (b, a) come from one law. */
static void masks_are_exchangeable(void **state) {
    (void)state;
    enum { N = 12, DRAWS = 20000, K = 3 };
    test_row row;
    test_draw draw;
    make_plain_row(&row, 4, N);
    km_mask_spec spec = {.unit = KM_UNIT_SUBWORD, .splits = K, .ratio = 0.25};
    for (size_t policy = 0; policy < KM_COUNT(names); policy++) {
        static double joint[K][K][N][N];
        memset(joint, 0, sizeof joint);
        for (int d = 0; d < DRAWS; d++) {
            draw_masks(&draw, names[policy], &spec, &row, 21, (uint64_t)d);
            for (int cell = 0; cell < K * K * N * N; cell++) {
                int a = cell / (K * N * N), b = cell / (N * N) % K, i = cell / N % N, j = cell % N;
                joint[a][b][i][j] += mask_of(&draw, a)[i + 1] && mask_of(&draw, b)[j + 1];
            }
        }
        /* i and j both hidden, by different masks: (3/12)(3/11) when disjoint, (3/12)^2 when independent, where i
         * may be j, too. */
        double expected[2] = {DRAWS * 3.0 / 12 * 3 / 11, DRAWS / 16.0};
        for (int cell = 0; cell < K * K * N * N; cell++) {
            int a = cell / (K * N * N), b = cell / (N * N) % K, i = cell / N % N, j = cell % N;
            if (a == b) {
                continue;
            }
            double mean = i == j && policy == 0 ? 0 : expected[policy];
            double z = fabs(joint[a][b][i][j] - mean) / sqrt(mean + 1e-9);
            assert_true(z < 6);
        }
    }
}

/* Overlap of two sets of tau out of n: hypergeometric when they are independent. */
static void check_overlaps(const double *counts, int draws, int n, int tau) {
    double chi = 0;
    for (int overlap = 0; overlap <= tau; overlap++) {
        double expected = draws * choose(tau, overlap) * choose(n - tau, tau - overlap) / choose(n, tau);
        chi += (counts[overlap] - expected) * (counts[overlap] - expected) / expected;
    }
    assert_true(chi < chi_limit(tau));
}

static void visits_rows_and_seeds_are_independent(void **state) {
    (void)state;
    enum { N = 12, TAU = 4, DRAWS = 10000 };
    test_row row, other;
    test_draw a, b;
    km_mask_spec spec = {.unit = KM_UNIT_SUBWORD, .splits = 3, .ratio = 1.0 / 3};
    for (int what = 0; what < 5; what++) {
        double counts[TAU + 1] = {0};
        for (int d = 0; d < DRAWS; d++) {
            uint64_t number = (uint64_t)d, visit = what == 4 ? UINT64_C(3) << 32 : 6;
            make_plain_row(&row, number, N);
            make_plain_row(&other, what == 0 ? number + DRAWS : number, N);
            const uint64_t others[] = {visit, 7, visit + (UINT64_C(1) << 32), visit, UINT64_C(4) << 32};
            draw_masks(&a, "fully_explored", &spec, &row, 1, visit);
            draw_masks(&b, "fully_explored", &spec, &other, what == 3 ? 2 : 1, others[what]);
            int overlap = 0;
            for (int p = 0; p < N + 2; p++) {
                overlap += mask_of(&a, 0)[p] && mask_of(&b, 0)[p];
            }
            counts[overlap]++;
        }
        check_overlaps(counts, DRAWS, N, TAU);
    }
}

static void random_masks_of_a_visit_are_independent(void **state) {
    (void)state;
    enum { N = 12, TAU = 4, DRAWS = 10000 };
    test_row row;
    test_draw draw;
    make_plain_row(&row, 5, N);
    km_mask_spec spec = {.unit = KM_UNIT_SUBWORD, .splits = 3, .ratio = 1.0 / 3};
    double counts[TAU + 1] = {0};
    for (int d = 0; d < DRAWS; d++) {
        draw_masks(&draw, "random", &spec, &row, 1, (uint64_t)d);
        counts[TAU - hamming(mask_of(&draw, 0), mask_of(&draw, 2), N + 2) / 2]++;
    }
    check_overlaps(counts, DRAWS, N, TAU);
}

static void partition_leaves_over_new_units_each_visit(void **state) {
    (void)state;
    enum { N = 11, K = 4, DRAWS = 12000 };
    test_row row;
    test_draw draw;
    make_plain_row(&row, 6, N);
    km_mask_spec spec = {.unit = KM_UNIT_SUBWORD, .splits = K, .ratio = 0};
    double triples[165] = {0};
    for (int d = 0; d < DRAWS; d++) {
        draw_masks(&draw, "fully_explored", &spec, &row, 1, (uint64_t)d);
        unsigned covered = 0;
        for (int k = 0; k < K; k++) {
            unsigned set = set_of(&draw, k, N);
            assert_int_equal(covered & set, 0);
            covered |= set;
        }
        int cell = 0, found = 0;
        for (int i = 0; i < N; i++) { /* the combination's number in the combinatorial system */
            if (!(covered >> i & 1)) {
                cell += (int)(choose(i, ++found) + 0.5);
            }
        }
        assert_int_equal(found, 3);
        triples[cell]++;
    }
    assert_true(chi_uniform(triples, 165) < chi_limit(164));
}

static void bad_input_is_a_sentence(void **state) {
    (void)state;
    test_row row;
    test_draw draw;
    make_plain_row(&row, 1234, 3);
    for (size_t policy = 0; policy < KM_COUNT(names); policy++) {
        km_mask_spec spec = {.unit = KM_UNIT_SUBWORD, .splits = 4, .ratio = 0.15};
        assert_int_equal(try_draw(&draw, names[policy], &spec, &row, 1, 0), KM_FAILED);
        assert_non_null(strstr(km_message(), "1234"));
        spec.unit = KM_UNIT_SPAN;
        assert_int_equal(try_draw(&draw, names[policy], &spec, &row, 1, 0), KM_FAILED);
        spec = (km_mask_spec){.unit = KM_UNIT_SUBWORD, .splits = 0, .ratio = 0.15};
        assert_int_equal(try_draw(&draw, names[policy], &spec, &row, 1, 0), KM_USAGE);
        spec = (km_mask_spec){.unit = KM_UNIT_SUBWORD, .splits = 1, .ratio = 1.5};
        assert_int_equal(try_draw(&draw, names[policy], &spec, &row, 1, 0), KM_USAGE);
        spec.ratio = (double)NAN;
        assert_int_equal(try_draw(&draw, names[policy], &spec, &row, 1, 0), KM_USAGE);
    }
    km_mask_spec spec = {.unit = KM_UNIT_SUBWORD, .splits = 3, .ratio = 0.35};
    assert_int_equal(try_draw(&draw, "fully_explored", &spec, &row, 1, 0), KM_USAGE);
    assert_non_null(strstr(km_message(), "mask.splits"));
    assert_int_equal(try_draw(&draw, "random", &spec, &row, 1, 0), KM_OK);
    assert_null(km_mask_policy_named("fully-explored"));
}

static void names_are_known(void **state) {
    (void)state;
    km_unit unit = KM_UNIT_SUBWORD;
    km_packing packing = KM_PACK_FULL_SENTENCES;
    assert_true(km_unit_named(&unit, "span") && unit == KM_UNIT_SPAN);
    assert_true(km_unit_named(&unit, "word") && unit == KM_UNIT_WORD);
    assert_true(km_unit_named(&unit, "subword") && unit == KM_UNIT_SUBWORD);
    assert_false(km_unit_named(&unit, "Word"));
    assert_true(km_packing_named(&packing, "stream") && packing == KM_PACK_STREAM);
    assert_true(km_packing_named(&packing, "documents") && packing == KM_PACK_DOCUMENTS);
    assert_true(km_packing_named(&packing, "full_sentences") && packing == KM_PACK_FULL_SENTENCES);
    assert_false(km_packing_named(&packing, ""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tau_is_rounded_and_capped),
        cmocka_unit_test(masks_have_their_size_and_miss_specials),
        cmocka_unit_test(fully_explored_masks_are_2_tau_apart),
        cmocka_unit_test(every_outcome_is_equally_likely),
        cmocka_unit_test(each_mask_is_uniform),
        cmocka_unit_test(masks_are_exchangeable),
        cmocka_unit_test(visits_rows_and_seeds_are_independent),
        cmocka_unit_test(random_masks_of_a_visit_are_independent),
        cmocka_unit_test(partition_leaves_over_new_units_each_visit),
        cmocka_unit_test(bad_input_is_a_sentence),
        cmocka_unit_test(names_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
