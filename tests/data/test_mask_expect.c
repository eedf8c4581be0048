/* How likely a mask is to hide each token: closed forms against the share of many draws, for every policy that has one. */
#include "data/salient_row.h"

/* Draws often, and compares with what is expected: within five deviations of a share. */
static void compare(const km_mask_policy *policy, const km_mask_spec *spec, const test_row *row, bool closed) {
    enum { VISITS = 4000 };
    double expected[LONGEST_ROW], hidden[LONGEST_ROW] = {0};
    km_masker *masker = NULL;
    km_masks masks;
    assert_int_equal(km_masker_create(&masker, policy, spec, with_spans, LONGEST_ROW), KM_OK);
    km_masks_create(&masks, masker);
    assert_int_equal(km_masker_expect(masker, &row->row, expected), closed);
    for (uint64_t v = 0; v < VISITS && closed; v++) {
        const km_mask_visit visit = {.seed = 5, .purpose = KM_RNG_MASK, .number = v};
        assert_int_equal(km_masker_draw(masker, &row->row, &visit, &masks), KM_OK);
        for (int i = 0; i < spec->splits * row->row.length; i++) {
            const int k = i / row->row.length, p = i % row->row.length;
            hidden[p] += masks.masks[k * masks.stride + p] != KM_SEEN;
        }
    }
    for (int p = 0; p < row->row.length && closed; p++) {
        const double n = VISITS, share = hidden[p] / (n * spec->splits), e = expected[p];
        assert_true(row->maskable[p] || e == 0);
        assert_true(fabs(share - e) <= 5 * sqrt(e * (1 - e) / n));
    }
    km_masks_free(&masks);
    km_masker_destroy(masker);
}

static void closed_forms_are_what_is_drawn(void **state) {
    (void)state;
    test_row row;
    km_row_span spans[4];
    make_salient_row(&row, spans);
    row.maskable[13] = 0; /* one token of the last span cannot be hidden */
    const km_mask_policy *policy = NULL;
    int forms = 0;
    for (int i = 0; (policy = km_mask_policy_at(i)) != NULL; i++) {
        for (int unit = KM_UNIT_SUBWORD; unit <= KM_UNIT_SPAN && policy->expect != NULL; unit++) {
            for (int splits = 1; splits <= 3; splits++) {
                const km_mask_spec spec = {.unit = (km_unit)unit, .splits = splits, .ratio = 0.3, .spans = 2};
                const bool closed = unit != KM_UNIT_SPAN || policy->needs_spans;
                compare(policy, &spec, &row, closed);
                forms += closed;
            }
        }
    }
    assert_int_equal(forms, 21); /* random, fully_explored: 2 units; salient: all; 3 splits each */
}

static void noise_has_no_closed_form(void **state) {
    (void)state;
    test_row row;
    make_plain_row(&row, 1, 20);
    const km_mask_spec spec = {.unit = KM_UNIT_WORD, .splits = 1, .ratio = 0.3, .poisson_lambda = 3};
    compare(km_mask_policy_named("denoise"), &spec, &row, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_forms_are_what_is_drawn),
        cmocka_unit_test(noise_has_no_closed_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
