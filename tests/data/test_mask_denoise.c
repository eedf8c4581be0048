/* BART's noise against fairseq's rules, over 100,000 draws: exact budgets, lengths of spans, inserted masks, where spans lie, and the
 * order of sentences. tools/compare_denoise.py holds the same against an implementation of its own. */
#include "data/mask_statistics.h"

enum { DRAWS = 100000, LONGEST = 24 };

/* A row of words with a maker of its masks. 'S' in the pattern begins a sentence; '[' is a special token. */
typedef struct noisy {
    test_row row;
    km_row_sentence sentences[LONGEST_ROW];
    km_mask_spec spec;
    km_masker *masker;
    km_masks masks;
} noisy;

static const km_mask_spec STANDARD = {
    .unit = KM_UNIT_WORD, .splits = 1, .ratio = 0.3, .poisson_lambda = 3, .permute_sentences = 1};

static void set_row(noisy *n, uint64_t number, const char *pattern) {
    make_row(&n->row, number, pattern);
    km_row *row = &n->row.row;
    row->sentences = n->sentences;
    for (int p = 0; p < row->length; p++) {
        const bool special = pattern[p] == '[';
        const bool follows = !special && p > 0 && pattern[p - 1] != '[' && pattern[p] != 'S';
        if (!special && !follows) {
            n->sentences[row->sentence_count++] = (km_row_sentence){p, p};
        }
        if (!special) {
            n->sentences[row->sentence_count - 1].end = p + 1;
        }
    }
}

static void begin(noisy *n, const km_mask_spec *spec, const char *pattern) {
    memset(n, 0, sizeof *n);
    n->spec = *spec;
    assert_int_equal(km_masker_create(&n->masker, km_mask_policy_named("denoise"), spec, NULL, LONGEST_ROW), KM_OK);
    km_masks_create(&n->masks, n->masker);
    set_row(n, 7, pattern);
}

static void end(noisy *n) {
    km_masks_free(&n->masks);
    km_masker_destroy(n->masker);
}

static void draw(noisy *n, uint64_t visit) {
    const km_mask_visit drawn = {.seed = 3, .purpose = KM_RNG_MASK, .number = visit};
    assert_int_equal(km_masker_draw(n->masker, &n->row.row, &drawn, &n->masks), KM_OK);
}

static const int32_t *order_of(const noisy *n, int k) {
    return n->masks.orders + (size_t)k * (size_t)n->masks.order_stride;
}

/* What mask k says of the token that is shown at place i; -1: it is inserted. */
static int says_at(const noisy *n, int k, int i) {
    const int32_t p = order_of(n, k)[i];
    return p == KM_INSERTED ? -1 : n->masks.masks[(size_t)k * (size_t)n->masks.stride + (size_t)p];
}

static int inserted(const noisy *n, int k) {
    int count = 0;
    for (int i = 0; i < n->masks.counts[k]; i++) {
        count += says_at(n, k, i) < 0;
    }
    return count;
}

/* Lengths in words of the pieces of mask k, in the order in which they are shown. */
static int pieces(const noisy *n, int k, int *lengths) {
    int count = 0;
    bool before = false;
    for (int i = 0; i < n->masks.counts[k]; i++) {
        const int says = says_at(n, k, i);
        if (says == KM_PIECE || (says == KM_HIDDEN && !before)) {
            lengths[count++] = 0;
        }
        if (says > 0) {
            lengths[count - 1] += n->row.starts_word[order_of(n, k)[i]];
        }
        before = says > 0;
    }
    return count;
}

/* ---- What holds always ---- */

static void check_order(const noisy *n, int k) {
    int seen[LONGEST_ROW] = {0};
    const int32_t *order = order_of(n, k);
    const int length = n->row.row.length, count = n->masks.counts[k];
    assert_true(count <= n->masks.order_stride);
    for (int i = 0; i < count; i++) {
        assert_true(order[i] == KM_INSERTED || (order[i] >= 0 && order[i] < length));
        seen[order[i] < 0 ? 0 : order[i]] += order[i] >= 0;
    }
    for (int p = 0; p < length; p++) {
        assert_int_equal(seen[p], 1);
    }
    assert_int_equal(order[0], 0);
    assert_int_equal(order[count - 1], length - 1);
}

/* Words that are hidden, each whole, in the row's own order. */
static int hidden_words(const noisy *n, int k, int *of) {
    const uint8_t *mask = n->masks.masks + (size_t)k * (size_t)n->masks.stride;
    int words = 0;
    for (int p = 0; p < n->row.row.length; p++) {
        const bool hidden = mask[p] != KM_SEEN, begins = n->row.starts_word[p] != 0;
        assert_true(!hidden || n->row.maskable[p]);
        if (n->row.maskable[p] && !begins) {
            assert_true(hidden == (mask[p - 1] != KM_SEEN));
        }
        words += hidden && begins;
        of[p] += hidden;
    }
    return words;
}

static void budgets_are_exact_and_masks_disjoint(void **state) {
    (void)state;
    static const char pattern[] = "[SwccwwcSwwcwwwwSwwwcwSwww[Swcwwwwccwwww[";
    const int words = 30;
    const struct {
        int splits;
        double ratio;
        int expected;
    } cases[] = {{1, 0.3, 9},   {3, 0.3, 9}, {1, 0.31, 10}, {3, 1.0 / 3, 10},
                 {3, 0.31, 10}, {4, 0, 7},   {1, 1, 30},    {1, 1e-9, 1}};
    for (size_t c = 0; c < KM_COUNT(cases); c++) {
        km_mask_spec spec = STANDARD;
        spec.splits = cases[c].splits;
        spec.ratio = cases[c].ratio;
        noisy n;
        begin(&n, &spec, pattern);
        for (uint64_t visit = 0; visit < 2000; visit++) {
            int of[LONGEST_ROW] = {0};
            draw(&n, visit);
            assert_int_equal(n.masks.units, words);
            assert_int_equal(n.masks.tau, cases[c].expected);
            for (int k = 0; k < spec.splits; k++) {
                check_order(&n, k);
                assert_int_equal(hidden_words(&n, k, of), cases[c].expected);
            }
            for (int p = 0; p < LONGEST_ROW; p++) {
                assert_true(of[p] <= 1);
            }
        }
        end(&n);
    }
}

/* However many are inserted: spans of length 0 never make a view longer than the longest row. */
static void views_stay_within_their_limits(void **state) {
    (void)state;
    for (int c = 0; c < 4; c++) {
        km_mask_spec spec = STANDARD;
        spec.poisson_lambda = 0.1;
        spec.splits = c % 2 ? 3 : 1;
        spec.insert = c < 2 ? 0 : 0.37;
        spec.rotate = c < 2 ? 0 : 0.5;
        noisy n;
        int total = 0;
        begin(&n, &spec, "[S[");
        char pattern[LONGEST_ROW + 1];
        for (int length = 12; length <= LONGEST_ROW; length += 61) {
            memset(pattern, 'w', sizeof pattern);
            pattern[0] = pattern[length - 1] = '[';
            pattern[length] = '\0';
            set_row(&n, (uint64_t)length, pattern);
            for (uint64_t visit = 0; visit < 300; visit++) {
                draw(&n, visit);
                for (int k = 0; k < spec.splits; k++) {
                    check_order(&n, k);
                    int lengths[LONGEST_ROW], hidden = 0;
                    const int count = pieces(&n, k, lengths);
                    for (int i = 0; i < n.masks.counts[k]; i++) {
                        hidden += says_at(&n, k, i) > 0;
                    }
                    const int shown = n.masks.counts[k] - hidden + count;
                    assert_true(shown <= LONGEST_ROW + (int)ceil(spec.insert * LONGEST_ROW));
                    total += inserted(&n, k);
                }
            }
        }
        assert_true(total > 1200 * spec.splits); /* one each at least: there was something to be cut */
        end(&n);
    }
}

static void draws_depend_on_the_visit_alone(void **state) {
    (void)state;
    noisy a, b;
    begin(&a, &STANDARD, "[SwwwwwSwwwwwwSwwwwww[");
    begin(&b, &STANDARD, "[SwwwwwSwwwwwwSwwwwww[");
    const size_t bytes = (size_t)a.masks.stride, entries = (size_t)a.masks.order_stride;
    int same = 0;
    draw(&b, 999);
    for (uint64_t visit = 0; visit < 200; visit++) {
        draw(&a, visit);
        draw(&b, visit);
        assert_memory_equal(a.masks.masks, b.masks.masks, bytes);
        assert_int_equal(a.masks.counts[0], b.masks.counts[0]);
        assert_memory_equal(a.masks.orders, b.masks.orders, (size_t)a.masks.counts[0] * sizeof(int32_t));
        draw(&b, visit + 1);
        same += memcmp(a.masks.masks, b.masks.masks, bytes) == 0 &&
                memcmp(a.masks.orders, b.masks.orders, entries * sizeof(int32_t)) == 0;
    }
    assert_true(same < 3);
    end(&a);
    end(&b);
}

/* ---- Distributions ---- */

/* fairseq's rule, word by word: lengths of Poisson's law, each up to the budget that is left. */
static int poisson(km_rng *rng, double lambda) {
    int k = 0;
    for (double product = km_rng_unit(rng), limit = exp(-lambda); product >= limit; product *= km_rng_unit(rng)) {
        k++;
    }
    return k;
}

static void expect_lengths(double lambda, int budget, double *lengths, double *zeros) {
    for (uint32_t d = 0; d < DRAWS; d++) {
        km_rng rng = km_rng_make(11, KM_RNG_TEST, d, 0);
        int left = budget, none = 0;
        while (left > 0) {
            const int drawn = poisson(&rng, lambda), length = KM_MIN(drawn, left);
            lengths[KM_MIN(length, LONGEST - 1)] += length > 0;
            none += length == 0;
            left -= length;
        }
        zeros[KM_MIN(none, LONGEST - 1)]++;
    }
}

/* Two samples: chi-square over the cells that are filled well. */
static void assert_alike(const double *a, const double *b, int cells) {
    double chi = 0, freedom = -1, rest_a = 0, rest_b = 0, total_a = 0, total_b = 0;
    for (int i = 0; i < cells; i++) {
        total_a += a[i];
        total_b += b[i];
    }
    const double wa = sqrt(total_b / total_a), wb = 1 / wa;
    for (int i = 0; i <= cells; i++) {
        double x = i < cells ? a[i] : rest_a, y = i < cells ? b[i] : rest_b;
        if (i < cells && x + y < 30) {
            rest_a += x;
            rest_b += y;
        } else if (x + y > 0) {
            chi += (wa * x - wb * y) * (wa * x - wb * y) / (x + y);
            freedom++;
        }
    }
    assert_true(freedom >= 1);
    assert_true(chi < chi_limit(freedom));
}

static void lengths_and_inserts_are_fairseqs(void **state) {
    (void)state;
    const double lambdas[] = {3, 3.5, 1};
    for (size_t c = 0; c < KM_COUNT(lambdas); c++) {
        for (int splits = 1; splits <= 3; splits += 2) {
            double lengths[LONGEST] = {0}, zeros[LONGEST] = {0}, expected[LONGEST] = {0}, none[LONGEST] = {0};
            km_mask_spec spec = STANDARD;
            spec.poisson_lambda = lambdas[c];
            spec.splits = splits;
            noisy n;
            begin(&n, &spec, "[SwwwwwwwSwwwwwwwwwwSwwwwwwwwwwwwwwSwwwww["); /* 40 words, 12 hidden */
            for (uint64_t visit = 0; visit < DRAWS / (uint64_t)splits; visit++) {
                draw(&n, visit);
                for (int k = 0; k < splits; k++) {
                    int found[LONGEST_ROW], count = pieces(&n, k, found);
                    for (int i = 0; i < count; i++) {
                        lengths[KM_MIN(found[i], LONGEST - 1)]++;
                    }
                    zeros[KM_MIN(inserted(&n, k), LONGEST - 1)]++;
                }
            }
            expect_lengths(lambdas[c], 12, expected, none);
            assert_alike(lengths, expected, LONGEST);
            assert_alike(zeros, none, LONGEST);
            end(&n);
        }
    }
}

/* Seven words, three hidden: where they are a span of two and a span of one, these and the four others are in any of 30 orders. */
static void arrangements_are_uniform(void **state) {
    (void)state;
    km_mask_spec spec = STANDARD;
    spec.ratio = 0.4;
    spec.poisson_lambda = 1.5;
    double counts[30] = {0};
    int cells = 0;
    noisy n;
    begin(&n, &spec, "[wwwwwww[");
    for (uint64_t visit = 0; visit < DRAWS; visit++) {
        int lengths[LONGEST_ROW], starts[2] = {0}, found = 0, words = 0;
        draw(&n, visit);
        if (pieces(&n, 0, lengths) != 2) {
            continue;
        }
        for (int i = 0; i < n.masks.counts[0]; i++) {
            const int says = says_at(&n, 0, i);
            if (says == KM_PIECE) {
                starts[found++] = words;
            }
            words += says >= 0 && order_of(&n, 0)[i] != 0;
        }
        const bool first_is_longer = lengths[0] == 2;
        static int cell_of[2][8][8]; /* for each order of the two lengths and each pair of starts, from 1 */
        int *cell = &cell_of[first_is_longer][starts[0]][starts[1]];
        if (*cell == 0) {
            assert_true(cells < 30);
            *cell = ++cells;
        }
        counts[*cell - 1]++;
    }
    assert_int_equal(cells, 30);
    assert_true(chi_uniform(counts, 30) < chi_limit(29));
    end(&n);
}

/* Places of one inserted <mask> among the tokens shown, the first and the last left out. */
static void inserts_are_anywhere_inside(void **state) {
    (void)state;
    km_mask_spec spec = STANDARD;
    spec.ratio = 1e-9; /* one word */
    double places[64] = {0};
    int total = 0;
    noisy n;
    begin(&n, &spec, "[wwwwwwwwwwwwwwwwwwwwwwwwwwwwww["); /* 30 words */
    for (uint64_t visit = 0; visit < DRAWS; visit++) {
        draw(&n, visit);
        for (int i = 0; i < n.masks.counts[0] && inserted(&n, 0) == 1; i++) {
            if (says_at(&n, 0, i) < 0) {
                assert_true(i > 0 && i < n.masks.counts[0] - 1);
                places[i - 1]++;
                total++;
            }
        }
    }
    assert_true(total > 3000);
    assert_true(chi_uniform(places, 31) < chi_limit(30));
    end(&n);
}

/* Sentences of 1, 2, 3 and 4 words: their order names one of 24. */
static int order_of_sentences(const noisy *n, int *order) {
    int count = 0, code = 0;
    for (int i = 0; i < n->masks.counts[0]; i++) {
        const int32_t p = order_of(n, 0)[i];
        for (int s = 0; s < n->row.row.sentence_count; s++) {
            if (p == n->sentences[s].start) {
                order[count++] = s;
            }
        }
    }
    for (int i = 0; i < count; i++) {
        code = code * count + order[i];
    }
    return code;
}

static void sentences_are_permuted_uniformly(void **state) {
    (void)state;
    static double counts[256];
    double filled[24];
    int cells = 0, order[LONGEST_ROW];
    noisy n;
    memset(counts, 0, sizeof counts);
    begin(&n, &STANDARD, "[SSwSwwSwww[");
    for (uint64_t visit = 0; visit < DRAWS; visit++) {
        draw(&n, visit);
        counts[order_of_sentences(&n, order)]++;
    }
    for (int i = 0; i < 256; i++) {
        if (counts[i] > 0) {
            assert_true(cells < 24);
            filled[cells++] = counts[i];
        }
    }
    assert_int_equal(cells, 24);
    assert_true(chi_uniform(filled, 24) < chi_limit(23));
    end(&n);
}

/* Half of four: two are chosen, and change places with each other or stay. */
static void a_share_of_the_sentences_moves(void **state) {
    (void)state;
    km_mask_spec spec = STANDARD;
    spec.permute_sentences = 0.5;
    double moved[5] = {0};
    int order[LONGEST_ROW];
    noisy n;
    begin(&n, &spec, "[SSwSwwSwww[");
    for (uint64_t visit = 0; visit < DRAWS; visit++) {
        int away = 0;
        draw(&n, visit);
        order_of_sentences(&n, order);
        for (int s = 0; s < 4; s++) {
            away += order[s] != s;
        }
        moved[away]++;
    }
    assert_true(moved[1] == 0 && moved[3] == 0 && moved[4] == 0);
    assert_true(fabs(moved[2] - DRAWS / 2.0) < 5 * sqrt(DRAWS / 4.0));
    spec.permute_sentences = 0;
    end(&n);
    begin(&n, &spec, "[SSwSwwSwww[");
    draw(&n, 1);
    order_of_sentences(&n, order);
    for (int s = 0; s < 4; s++) {
        assert_int_equal(order[s], s);
    }
    end(&n);
}

static void documents_keep_their_sentences(void **state) {
    (void)state;
    int order[LONGEST_ROW], swapped = 0;
    noisy n;
    begin(&n, &STANDARD, "[SwSww[SwwwSwSw[");
    for (uint64_t visit = 0; visit < 500; visit++) {
        draw(&n, visit);
        order_of_sentences(&n, order);
        assert_true(order[0] <= 1 && order[1] <= 1);
        swapped += order[0] == 1;
        int at = 0;
        for (int i = 0; i < n.masks.counts[0]; i++) {
            at = order_of(&n, 0)[i] == 6 ? i : at; /* the [SEP] between them */
        }
        for (int i = 0; i < n.masks.counts[0]; i++) {
            const int32_t p = order_of(&n, 0)[i];
            assert_true(p == KM_INSERTED || (p < 6) == (i < at) || p == 6);
        }
    }
    assert_true(swapped > 150 && swapped < 350);
    end(&n);
}

static void rotation_begins_elsewhere(void **state) {
    (void)state;
    km_mask_spec spec = STANDARD;
    spec.rotate = 0.25;
    spec.ratio = 1e-9;
    int begun[LONGEST_ROW] = {0}, turned = 0, shown = 0;
    noisy n;
    begin(&n, &spec, "[wwwwwwwwww[");
    for (uint64_t visit = 0; visit < 20000; visit++) {
        draw(&n, visit);
        if (inserted(&n, 0) > 0) {
            continue;
        }
        shown++;
        const int first = order_of(&n, 0)[1];
        begun[first]++;
        turned += first != 1;
        for (int i = 2; i < n.masks.counts[0] - 1; i++) { /* the rest follows, from the row's first word again */
            assert_int_equal(order_of(&n, 0)[i], (first + i - 2) % 10 + 1);
        }
    }
    assert_true(fabs(turned - 0.25 * 0.9 * shown) < 5 * sqrt(0.25 * shown)); /* one of ten is where it was */
    for (int p = 2; p <= 10; p++) {
        assert_true(fabs(begun[p] - 0.025 * shown) < 5 * sqrt(0.025 * shown));
    }
    end(&n);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    km_masker *masker = NULL;
    const km_mask_policy *policy = km_mask_policy_named("denoise");
    for (int what = 0; what < 3; what++) {
        km_mask_spec spec = STANDARD;
        spec.splits = what == 0 ? 4 : 1; /* four times 0.3 */
        spec.unit = what == 1 ? KM_UNIT_SPAN : KM_UNIT_WORD;
        spec.poisson_lambda = what == 2 ? 0 : 3;
        assert_int_equal(km_masker_create(&masker, policy, &spec, NULL, LONGEST_ROW), KM_USAGE);
        assert_null(masker);
        assert_non_null(strstr(km_message(), what == 0   ? "mask.splits"
                                             : what == 1 ? "mask.unit"
                                                         : "poisson_lambda"));
    }
    km_mask_spec spec = STANDARD;
    spec.splits = 3;
    noisy n;
    begin(&n, &spec, "[ww[");
    const km_mask_visit visit = {.purpose = KM_RNG_MASK};
    assert_int_equal(km_masker_draw(n.masker, &n.row.row, &visit, &n.masks), KM_FAILED);
    assert_non_null(strstr(km_message(), "row 7 has 2 maskable words"));
    end(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budgets_are_exact_and_masks_disjoint),
        cmocka_unit_test(views_stay_within_their_limits),
        cmocka_unit_test(draws_depend_on_the_visit_alone),
        cmocka_unit_test(lengths_and_inserts_are_fairseqs),
        cmocka_unit_test(arrangements_are_uniform),
        cmocka_unit_test(inserts_are_anywhere_inside),
        cmocka_unit_test(sentences_are_permuted_uniformly),
        cmocka_unit_test(a_share_of_the_sentences_moves),
        cmocka_unit_test(documents_keep_their_sentences),
        cmocka_unit_test(rotation_begins_elsewhere),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
