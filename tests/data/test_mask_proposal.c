/* Masks that a network proposes. All ordered draws of a short row are enumerated: their probabilities add up to 1, and with the weights of
 * the draws the mean over them is the mean over uniform masks: exactly of any function of a mask, by token of any sum over its tokens. What
 * is drawn is compared with what is enumerated. */
#include "data/mask_statistics.h"

enum { UNITS = 6, MOST_DRAWS = 6, SETS = 1 << UNITS };
static const double sharpnesses[] = {0.3, 1, 3};
static const float unit_scores[UNITS] = {0.2f, -1.1f, 0.9f, 0, 1.4f, -0.4f};

/* A function of a set of hidden units that is no sum over them, and one that is. */
static double wild(int set) {
    return sin(1.7 * set) + set % 5;
}

static double additive(int set) {
    double sum = 0;
    for (int u = 0; u < UNITS; u++) {
        sum += set >> u & 1 ? cos(2.3 * u) + 0.1 * u * u : 0;
    }
    return sum;
}

static double uniform_mean(double (*f)(int set), int tau) {
    double sum = 0;
    for (int set = 0; set < SETS; set++) {
        sum += __builtin_popcount((unsigned)set) == tau ? f(set) : 0;
    }
    return sum / choose(UNITS, tau);
}

/* ---- Enumeration ---- */

typedef struct enumeration {
    double odds[UNITS], uniform;
    int tau, draws;
    km_weighting weighting;
    /* Of the ordered draws so far: */
    uint8_t taken[UNITS];
    int units[MOST_DRAWS];
    double ratios[MOST_DRAWS];
    /* Sums over all of them: of probability; and for each mask of probability times weight, and that times a function. */
    double all, weights[MOST_DRAWS], wilds[MOST_DRAWS], additives[MOST_DRAWS], least, most;
} enumeration;

/* The probability of the next draw, by the definition. */
static double chance_of(const enumeration *e, int unit, int drawn) {
    double left = 0;
    for (int u = 0; u < UNITS; u++) {
        left += e->taken[u] ? 0 : e->odds[u];
    }
    return (1 - e->uniform) * e->odds[unit] / left + e->uniform / (UNITS - drawn);
}

/* Adds one sequence. A mask's numbers are sums over its units, each times the weight of its draw: with weights of masks all are equal. */
static void add_sequence(enumeration *e, double probability) {
    double weights[MOST_DRAWS];
    km_proposal_weigh(weights, e->ratios, e->weighting, UNITS, e->tau, e->draws);
    e->all += probability;
    for (int k = 0; k * e->tau < e->draws; k++) {
        int set = 0;
        double additives = 0;
        for (int l = k * e->tau; l < (k + 1) * e->tau; l++) {
            set |= 1 << e->units[l];
            additives += weights[l] * additive(1 << e->units[l]);
            e->least = fmin(e->least, weights[l]);
            e->most = fmax(e->most, weights[l]);
        }
        e->weights[k] += probability * weights[k * e->tau];
        e->wilds[k] += probability * weights[k * e->tau] * wild(set);
        e->additives[k] += probability * additives;
    }
}

static void extend(enumeration *e, int drawn, double probability) {
    if (drawn == e->draws) {
        add_sequence(e, probability);
        return;
    }
    for (int u = 0; u < UNITS; u++) {
        if (e->taken[u]) {
            continue;
        }
        const double chance = chance_of(e, u, drawn);
        assert_true(fabs(km_proposal_chance(e->odds, e->taken, UNITS, u, e->uniform) - chance) < 1e-14);
        e->units[drawn] = u;
        e->ratios[drawn] = 1 / ((UNITS - drawn) * chance);
        e->taken[u] = 1;
        extend(e, drawn + 1, probability * chance);
        e->taken[u] = 0;
    }
}

static enumeration enumerate(double sharpness, km_weighting weighting, int tau, int draws) {
    enumeration e = {.uniform = 0.1, .tau = tau, .draws = draws, .weighting = weighting, .least = INFINITY};
    for (int u = 0; u < UNITS; u++) {
        e.odds[u] = exp(sharpness * (double)unit_scores[u]);
    }
    extend(&e, 0, 1);
    assert_true(fabs(e.all - 1) < 1e-12);
    return e;
}

static void exact_weights_make_each_mask_unbiased(void **state) {
    (void)state;
    for (size_t s = 0; s < KM_COUNT(sharpnesses); s++) {
        for (int tau = 1; tau <= 3; tau++) {
            for (int draws = tau; draws <= UNITS; draws += tau) { /* more than tau: disjoint masks */
                const enumeration e = enumerate(sharpnesses[s], KM_WEIGHTS_EXACT, tau, draws);
                for (int k = 0; k < draws / tau; k++) {
                    assert_true(fabs(e.weights[k] - 1) < 1e-12);
                    assert_true(fabs(e.wilds[k] - uniform_mean(wild, tau)) < 1e-12);
                }
                assert_true(e.most < pow(10, draws)); /* each ratio is at most 1 / uniform */
            }
        }
    }
}

static void token_weights_make_sums_over_tokens_unbiased(void **state) {
    (void)state;
    for (size_t s = 0; s < KM_COUNT(sharpnesses); s++) {
        for (int tau = 1; tau <= 3; tau++) {
            for (int draws = tau; draws <= UNITS; draws += tau) {
                const enumeration e = enumerate(sharpnesses[s], KM_WEIGHTS_TOKEN, tau, draws);
                double sum = 0;
                for (int k = 0; k < draws / tau; k++) {
                    sum += e.additives[k];
                }
                assert_true(fabs(sum - draws / tau * uniform_mean(additive, tau)) < 1e-12);
                assert_true(e.least > 0 && e.most <= 10);
                assert_true(draws < UNITS || (e.least >= 1 && e.most <= 1)); /* every unit is masked once */
            }
        }
    }
    /* What is no sum over tokens stays biased, and everything does without weights. */
    const enumeration token = enumerate(3, KM_WEIGHTS_TOKEN, 2, 2), none = enumerate(3, KM_WEIGHTS_NONE, 2, 2);
    assert_true(fabs(token.wilds[0] - uniform_mean(wild, 2)) > 1e-2);
    assert_true(fabs(none.additives[0] - uniform_mean(additive, 2)) > 1e-2);
    assert_true(none.least >= 1 && none.most <= 1);
}

/* ---- Draws ---- */

static km_mask_spec spec_of(km_weighting weighting, bool disjoint) {
    return (km_mask_spec){.unit = KM_UNIT_SUBWORD,
                          .splits = 2,
                          .ratio = 0.34,
                          .weighting = weighting,
                          .sharpness = 1,
                          .uniform = 0.1,
                          .disjoint = disjoint};
}

typedef struct drawing {
    km_masker *masker;
    km_masks masks;
    km_mask_visit visit;
    float scores[LONGEST_ROW];
} drawing;

static drawing *begin(const km_mask_spec *spec) {
    drawing *d = km_new(1, sizeof *d);
    assert_int_equal(km_masker_create(&d->masker, km_mask_policy_named("proposal"), spec, NULL, LONGEST_ROW),
                     KM_OK);
    km_masks_create(&d->masks, d->masker);
    d->visit = (km_mask_visit){.seed = 5, .purpose = KM_RNG_MASK, .scores = d->scores};
    for (int u = 0; u < UNITS; u++) {
        d->scores[u + 1] = unit_scores[u];
    }
    return d;
}

static void end(drawing *d) {
    km_masks_free(&d->masks);
    km_masker_destroy(d->masker);
    free(d);
}

static int set_of(const drawing *d, int k) {
    int set = 0;
    for (int u = 0; u < UNITS; u++) {
        set |= d->masks.masks[k * d->masks.stride + u + 1] != KM_SEEN ? 1 << u : 0;
    }
    return set;
}

/* The shares of ordered draws of two units that make each set. */
static void shares_of_sets(double *shares, double *exact_weights) {
    for (int first = 0; first < UNITS; first++) {
        for (int second = 0; second < UNITS; second++) {
            enumeration e = {.uniform = 0.1};
            for (int u = 0; u < UNITS; u++) {
                e.odds[u] = exp((double)unit_scores[u]);
            }
            const double one = chance_of(&e, first, 0);
            e.taken[first] = 1;
            const double both = first == second ? 0 : one * chance_of(&e, second, 1);
            shares[1 << first | 1 << second] += both;
            exact_weights[1 << first | 1 << second] += first == second ? 0 : 1.0 / (UNITS * (UNITS - 1));
        }
    }
}

/* Draws follow the enumeration, and their weights make up for it: the mean of weight times "this set" is the set's uniform share. */
static void draws_are_those_that_are_enumerated(void **state) {
    (void)state;
    enum { VISITS = 30000 };
    double shares[SETS] = {0}, uniform[SETS] = {0};
    shares_of_sets(shares, uniform);
    for (int disjoint = 0; disjoint < 2; disjoint++) {
        const km_mask_spec spec = spec_of(KM_WEIGHTS_EXACT, disjoint != 0);
        double counts[SETS] = {0}, sums[2][SETS] = {{0}}, squares[2][SETS] = {{0}};
        test_row row;
        make_plain_row(&row, 3, UNITS);
        drawing *d = begin(&spec);
        for (uint64_t v = 0; v < VISITS; v++) {
            d->visit.number = v;
            assert_int_equal(km_masker_draw(d->masker, &row.row, &d->visit, &d->masks), KM_OK);
            assert_int_equal(d->masks.tau, 2);
            const int sets[2] = {set_of(d, 0), set_of(d, 1)};
            counts[sets[0]]++;
            assert_true(!disjoint || (sets[0] & sets[1]) == 0);
            for (int k = 0; k < 2; k++) {
                assert_int_equal(__builtin_popcount((unsigned)sets[k]), 2);
                const float *weights = d->masks.weights + k * d->masks.stride + 1;
                const double weight = (double)weights[__builtin_ctz((unsigned)sets[k])];
                sums[k][sets[k]] += weight;
                squares[k][sets[k]] += weight * weight;
            }
        }
        for (int set = 0; set < SETS; set++) {
            const double share = counts[set] / VISITS, p = shares[set];
            assert_true(fabs(share - p) <= 5 * sqrt(p * (1 - p) / VISITS));
            for (int k = 0; k < 2; k++) {
                const double mean = sums[k][set] / VISITS, error = sqrt(squares[k][set]) / VISITS;
                assert_true(fabs(mean - uniform[set]) <= 5 * error);
            }
        }
        end(d);
    }
}

/* Equal scores: all weights of subwords are 1; words and spans of more tokens have larger scores. */
static void equal_scores_are_uniform_masks_of_subwords(void **state) {
    (void)state;
    test_row row;
    make_row(&row, 9, "[wccwwcwwwwccwcwwwcw[");
    for (int unit = KM_UNIT_SUBWORD; unit <= KM_UNIT_SPAN; unit++) {
        for (int way = 0; way < 4; way++) {
            km_mask_spec spec = spec_of(way & 1 ? KM_WEIGHTS_EXACT : KM_WEIGHTS_TOKEN, (way & 2) != 0);
            spec.unit = (km_unit)unit;
            spec.sharpness = 0;
            drawing *d = begin(&spec);
            memset(d->scores, 0, sizeof d->scores);
            assert_int_equal(km_masker_draw(d->masker, &row.row, &d->visit, &d->masks), KM_OK);
            int hidden = 0;
            for (int i = 0; i < 2 * row.row.length; i++) {
                const size_t at = (size_t)(i / row.row.length * d->masks.stride + i % row.row.length);
                hidden += d->masks.masks[at] != KM_SEEN;
                const float weight = d->masks.weights[at];
                assert_true(d->masks.masks[at] == KM_SEEN ||
                            (unit == KM_UNIT_SUBWORD ? fabsf(weight - 1) < 1e-6f : weight > 0));
                assert_true(d->masks.masks[at] == KM_SEEN || row.maskable[i % row.row.length]);
            }
            assert_true(hidden >= 2 * d->masks.tau);
            end(d);
        }
    }
}

/* A word whose tokens have the scores a and b has the score of one token with half the logarithm of exp(2a) + exp(2b). */
static void words_add_up_their_tokens(void **state) {
    (void)state;
    enum { VISITS = 3000 };
    test_row words, tokens;
    make_row(&words, 4, "[wcwww[");
    make_row(&tokens, 4, "[wwww[");
    km_mask_spec spec = spec_of(KM_WEIGHTS_EXACT, false);
    drawing *other = begin(&spec);
    spec.unit = KM_UNIT_WORD;
    drawing *d = begin(&spec);
    const float a = 0.3f, b = 1.1f, rest[] = {0.5f, -0.2f, 0.8f};
    d->scores[1] = a;
    d->scores[2] = b;
    other->scores[1] = 0.5f * logf(expf(2 * a) + expf(2 * b));
    for (int i = 0; i < 3; i++) {
        d->scores[3 + i] = other->scores[2 + i] = rest[i];
    }
    for (uint64_t v = 0; v < VISITS; v++) { /* the same numbers are drawn: the same units are hidden */
        d->visit.number = other->visit.number = v;
        assert_int_equal(km_masker_draw(d->masker, &words.row, &d->visit, &d->masks), KM_OK);
        assert_int_equal(km_masker_draw(other->masker, &tokens.row, &other->visit, &other->masks), KM_OK);
        assert_int_equal(d->masks.masks[1], d->masks.masks[2]);
        for (int i = 1; i < 5; i++) {
            assert_int_equal(d->masks.masks[i + 1], other->masks.masks[i]);
            assert_true(d->masks.masks[i + 1] == KM_SEEN ||
                        fabsf(d->masks.weights[i + 1] - other->masks.weights[i]) < 1e-4f);
        }
    }
    end(d);
    end(other);
}

static void extreme_scores_are_drawn_from(void **state) {
    (void)state;
    test_row row;
    make_plain_row(&row, 3, UNITS);
    const km_mask_spec spec = spec_of(KM_WEIGHTS_EXACT, true);
    drawing *d = begin(&spec);
    d->scores[1] = 1e30f;
    d->scores[2] = -1e30f;
    for (uint64_t v = 0; v < 200; v++) {
        d->visit.number = v;
        assert_int_equal(km_masker_draw(d->masker, &row.row, &d->visit, &d->masks), KM_OK);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(__builtin_popcount((unsigned)set_of(d, k)), 2);
        }
    }
    end(d);
}

static void scores_that_are_missing_or_not_finite_are_refused(void **state) {
    (void)state;
    test_row row;
    make_plain_row(&row, 3, UNITS);
    const km_mask_spec spec = spec_of(KM_WEIGHTS_EXACT, false);
    drawing *d = begin(&spec);
    d->scores[3] = NAN;
    assert_int_equal(km_masker_draw(d->masker, &row.row, &d->visit, &d->masks), KM_FAILED);
    assert_non_null(strstr(km_message(), "score of token 3 in row 3 is not finite"));
    d->visit.scores = NULL;
    assert_int_equal(km_masker_draw(d->masker, &row.row, &d->visit, &d->masks), KM_USAGE);
    assert_non_null(strstr(km_message(), "trained together with a model"));
    end(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_weights_make_each_mask_unbiased),
        cmocka_unit_test(token_weights_make_sums_over_tokens_unbiased),
        cmocka_unit_test(draws_are_those_that_are_enumerated),
        cmocka_unit_test(equal_scores_are_uniform_masks_of_subwords),
        cmocka_unit_test(words_add_up_their_tokens),
        cmocka_unit_test(extreme_scores_are_drawn_from),
        cmocka_unit_test(scores_that_are_missing_or_not_finite_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
