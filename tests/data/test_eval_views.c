/* Frozen evaluation masks: every unit once, in even parts, the same always. */
#include "data/fake_rows.h"

#include <math.h>

static km_eval_views *create(const km_rows *rows, double ratio, km_unit unit, uint64_t seed) {
    const km_eval_views_options options = {.ratio = ratio, .unit = unit, .seed = seed};
    km_eval_views *views = NULL;
    assert_int_equal(km_eval_views_create(&views, rows, NULL, &options), KM_OK);
    return views;
}

/* Checks that each maskable token is a label once; returns the number of labels of the views in `sizes`. */
static void check_row(const km_batch *batch, const km_row *row, int *sizes) {
    int covered[FAKE_LENGTH] = {0}, label = 0;
    for (int v = 0; v < batch->views; v++) {
        assert_int_equal(batch->input.starts[v + 1] - batch->input.starts[v], row->length);
        assert_int_equal(batch->rows[v], row->number);
        sizes[v] = 0;
        for (int p = 0; p < row->length; p++) {
            int token = batch->input.starts[v] + p;
            assert_true(batch->input.keys[token] == (uint64_t)v * 65536 + (uint64_t)p);
            bool hidden = label < batch->labelled && batch->at[label] == token;
            assert_int_equal(batch->input.ids[token], hidden ? FAKE_MASK : row->ids[p]);
            if (hidden) {
                assert_int_equal(batch->labels[label], row->ids[p]);
                covered[p]++;
                sizes[v]++;
                label++;
            }
        }
    }
    assert_int_equal(label, batch->labelled);
    for (int p = 0; p < row->length; p++) {
        assert_int_equal(covered[p], row->maskable[p]);
    }
    assert_int_equal(batch->input.tokens, batch->views * row->length);
    assert_int_equal(batch->input.longest, row->length);
    assert_null(batch->input.types);
}

static void every_unit_is_masked_once(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(9, true);
    km_row *row = km_row_create(FAKE_LENGTH);
    const double ratios[] = {0.15, 0.5, 1, 0.125, 0.1, 0.03, 1e-9};
    const int parts[] = {7, 2, 1, 8, 10, 34, 38};
    for (int unit = KM_UNIT_SUBWORD; unit <= KM_UNIT_SPAN; unit++) {
        for (size_t r = 0; r < KM_COUNT(ratios); r++) {
            km_eval_views *views = create(&rows, ratios[r], (km_unit)unit, 1);
            int sizes[FAKE_LENGTH] = {0};
            const km_batch_limits most = km_eval_views_limits(views);
            assert_int_equal(most.views, parts[r]);
            for (uint64_t number = 0; number < rows.count; number++) {
                const km_batch *batch = NULL;
                assert_int_equal(km_eval_views_make(views, number, &batch), KM_OK);
                assert_int_equal(km_rows_read(&rows, number, row), KM_OK);
                check_row(batch, row, sizes);
                assert_true(batch->views <= most.views && batch->input.tokens <= most.tokens);
                assert_true(batch->labelled <= most.labelled && batch->input.longest <= most.longest);
                if (unit == KM_UNIT_SUBWORD) {
                    int units = batch->labelled;
                    assert_int_equal(batch->views, KM_MIN(units, parts[r]));
                    for (int v = 0; v < batch->views; v++) {
                        assert_int_equal(sizes[v], units / parts[r] + (v < units % parts[r]));
                    }
                }
                for (int v = 0; v < batch->views; v++) {
                    assert_true(sizes[v] > 0);
                }
            }
            km_eval_views_destroy(views);
        }
    }
    km_row_destroy(row);
}

static void masks_are_frozen_and_the_seed_s(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(5, false);
    km_eval_views *a = create(&rows, 0.15, KM_UNIT_SUBWORD, 1), *b = create(&rows, 0.15, KM_UNIT_SUBWORD, 1);
    km_eval_views *other = create(&rows, 0.15, KM_UNIT_SUBWORD, 2);
    const km_batch *x = NULL, *y = NULL, *z = NULL;
    assert_int_equal(km_eval_views_make(a, 4, &x), KM_OK);
    assert_int_equal(km_eval_views_make(a, 3, &x), KM_OK);
    assert_int_equal(km_eval_views_make(b, 3, &y), KM_OK);
    assert_int_equal(km_eval_views_make(other, 3, &z), KM_OK);
    size_t bytes = (size_t)x->labelled * sizeof *x->at;
    assert_int_equal(x->labelled, y->labelled);
    assert_memory_equal(x->at, y->at, bytes);
    assert_memory_equal(x->input.ids, y->input.ids, (size_t)x->input.tokens * sizeof *x->input.ids);
    assert_int_equal(x->labelled, z->labelled);
    assert_memory_not_equal(x->at, z->at, bytes);
    km_eval_views_destroy(a);
    km_eval_views_destroy(b);
    km_eval_views_destroy(other);
}

/* Every token falls into the first part alike. */
static void parts_are_uniform(void **state) {
    (void)state;
    enum { SEEDS = 4000 };
    struct km_rows rows = fake_rows(1, false);
    double counts[FAKE_LENGTH] = {0};
    const double share = 6.0 / 38; /* 38 units in 7 parts: the first three have 6 */
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        km_eval_views *views = create(&rows, 0.15, KM_UNIT_SUBWORD, seed);
        const km_batch *batch = NULL;
        assert_int_equal(km_eval_views_make(views, 0, &batch), KM_OK);
        for (int i = 0; i < 6; i++) {
            assert_true(batch->at[i] < batch->input.starts[1]);
            counts[batch->at[i]]++;
        }
        km_eval_views_destroy(views);
    }
    for (int p = 1; p <= 38; p++) {
        assert_true(fabs(counts[p] - SEEDS * share) < 5 * sqrt(SEEDS * share * (1 - share)));
    }
}

static void bad_input_is_a_sentence(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(5, false);
    km_eval_views *views = NULL;
    const double bad[] = {0, -1, 1.1, (double)NAN};
    for (size_t i = 0; i < KM_COUNT(bad); i++) {
        const km_eval_views_options options = {.ratio = bad[i], .unit = KM_UNIT_WORD, .seed = 1};
        assert_int_equal(km_eval_views_create(&views, &rows, NULL, &options), KM_USAGE);
        assert_non_null(strstr(km_message(), "eval.ratio"));
        assert_null(views);
    }
    views = create(&rows, 0.5, KM_UNIT_WORD, 1);
    rows.too_high = 2;
    rows.broken = 3;
    const km_batch *batch = NULL;
    assert_int_equal(km_eval_views_make(views, 2, &batch), KM_FAILED);
    assert_non_null(strstr(km_message(), "fake.h5: row 2 holds token id 60"));
    assert_int_equal(km_eval_views_make(views, 3, &batch), KM_FAILED);
    assert_null(batch);
    assert_int_equal(km_eval_views_make(views, 4, &batch), KM_OK);
    km_eval_views_destroy(views);
    km_eval_views_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_unit_is_masked_once),
        cmocka_unit_test(masks_are_frozen_and_the_seed_s),
        cmocka_unit_test(parts_are_uniform),
        cmocka_unit_test(bad_input_is_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
