/* Salient masks: some of a row's names, dates and numbers, K different ones, each as often as any other. */
#include "data/salient_row.h"

static km_status try_masks(km_masks *out, const km_mask_spec *spec, const test_row *row, uint64_t visit) {
    const km_mask_visit drawn = {.seed = 1, .purpose = KM_RNG_MASK, .number = visit};
    km_masker *masker = NULL;
    KM_TRY(km_masker_create(&masker, km_mask_policy_named("salient"), spec, with_spans, LONGEST_ROW));
    km_status status = km_masker_draw(masker, &row->row, &drawn, out);
    km_masker_destroy(masker);
    return status;
}

/* Bits of the spans that a mask hides, each whole; nothing else is hidden. */
static int spans_of(const km_masks *masks, int k, const test_row *row) {
    const uint8_t *mask = masks->masks + k * masks->stride;
    int hidden = 0, tokens = 0, found = 0;
    for (int p = 0; p < row->row.length; p++) {
        tokens += mask[p] != KM_SEEN;
    }
    for (int i = 0; i < row->row.span_count; i++) {
        const km_row_span *span = &row->row.spans[i];
        if (mask[span->start] != KM_SEEN) {
            assert_int_equal(mask[span->start], KM_PIECE);
            for (int p = span->start + 1; p < span->end; p++) {
                assert_int_equal(mask[p], KM_HIDDEN);
            }
            hidden += span->end - span->start;
            found |= 1 << i;
        }
    }
    assert_int_equal(tokens, hidden);
    return found;
}

static void masks_hide_different_spans_uniformly(void **state) {
    (void)state;
    enum { DRAWS = 12000 };
    static const struct {
        int splits, spans, tau, outcomes;
    } cases[] = {{1, 1, 1, 4}, {2, 1, 1, 12}, {4, 1, 1, 24}, {1, 2, 2, 6}, {2, 3, 2, 6}, {3, 9, 1, 24}};
    static uint8_t bytes[4 * LONGEST_ROW];
    test_row row;
    km_row_span spans[8];
    make_salient_row(&row, spans);
    for (size_t c = 0; c < KM_COUNT(cases); c++) {
        const km_mask_spec spec = {.splits = cases[c].splits, .ratio = 0.15, .spans = cases[c].spans};
        static double counts[1 << 16];
        double filled[24];
        int cells = 0;
        memset(counts, 0, sizeof counts);
        for (uint64_t visit = 0; visit < DRAWS; visit++) {
            km_masks masks = {.stride = LONGEST_ROW, .masks = bytes};
            assert_int_equal(try_masks(&masks, &spec, &row, visit), KM_OK);
            assert_int_equal(masks.units, 4);
            assert_int_equal(masks.tau, cases[c].tau);
            int code = 0, all = 0;
            for (int k = 0; k < spec.splits; k++) {
                const int found = spans_of(&masks, k, &row);
                assert_int_equal(__builtin_popcount((unsigned)found), cases[c].tau);
                assert_int_equal(all & found, 0);
                all |= found;
                code = code << 4 | found;
            }
            counts[code]++;
        }
        for (int i = 0; i < 1 << 16; i++) {
            if (counts[i] > 0) {
                assert_true(cells < 24);
                filled[cells++] = counts[i];
            }
        }
        assert_int_equal(cells, cases[c].outcomes);
        assert_true(chi_uniform(filled, cells) < chi_limit(cells - 1));
    }
}

static void rows_and_corpora_without_spans_are_refused(void **state) {
    (void)state;
    static uint8_t bytes[4 * LONGEST_ROW];
    test_row row;
    km_row_span spans[8];
    km_masks masks = {.stride = LONGEST_ROW, .masks = bytes};
    make_salient_row(&row, spans);
    row.row.span_count = 1;
    km_mask_spec spec = {.splits = 2, .ratio = 0.15, .spans = 1};
    assert_int_equal(try_masks(&masks, &spec, &row, 0), KM_FAILED);
    assert_non_null(strstr(km_message(), "row 3 has 1 maskable names, dates and numbers"));
    row.maskable[3] = row.maskable[4] = 0; /* its tokens are unknown ones */
    spec.splits = 1;
    assert_int_equal(try_masks(&masks, &spec, &row, 0), KM_FAILED);
    row.maskable[4] = 1; /* the rest of it can be hidden */
    assert_int_equal(try_masks(&masks, &spec, &row, 0), KM_OK);
    assert_true(bytes[3] == KM_SEEN && bytes[4] == KM_HIDDEN);
    km_masker *masker = NULL;
    assert_int_equal(km_masker_create(&masker, km_mask_policy_named("salient"), &spec, NULL, 8), KM_USAGE);
    assert_non_null(strstr(km_message(), "--spans find"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_hide_different_spans_uniformly),
        cmocka_unit_test(rows_and_corpora_without_spans_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
