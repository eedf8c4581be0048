/* Batches are a function of options, corpus, step and number: however they are cut, asked for, or interrupted. */
#include "data/fake_rows.h"

#include <math.h>
#include <time.h>

enum { MOST_VIEWS = 64 };

/* One view, taken out of its batch. Labels are -1 where nothing is hidden. */
typedef struct test_view {
    uint64_t row, number;
    int length;
    int32_t ids[FAKE_LENGTH], labels[FAKE_LENGTH];
} test_view;

typedef struct test_options {
    km_masking masking;
    uint64_t seed;
    int sequences, micro_batch;
} test_options;

static test_options options_of(const char *policy, int splits, double ratio) {
    return (test_options){.sequences = 5,
                          .micro_batch = 3,
                          .seed = 5,
                          .masking = {.spec = {.unit = KM_UNIT_SUBWORD, .splits = splits, .ratio = ratio},
                                      .policy = km_mask_policy_named(policy),
                                      .view = {.replace_mask = 1}}};
}

static km_status try_create(km_reader **out, const km_rows *rows, const test_options *options) {
    *out = NULL;
    km_source *source = NULL;
    KM_TRY(km_source_rows_create(&source, rows, NULL, &options->masking, options->seed));
    const int64_t each = options->masking.over_epochs ? 1 : options->masking.spec.splits;
    return km_reader_create(out, source, options->sequences * each, options->micro_batch);
}

static km_reader *create(const km_rows *rows, const test_options *options) {
    km_reader *reader = NULL;
    assert_int_equal(try_create(&reader, rows, options), KM_OK);
    return reader;
}

/* Takes a batch each, checking what any batch must obey. Returns its number of views. */
static int unpack(const km_reader *reader, const km_batch *batch, test_view *out) {
    int label = 0, seen = 0;
    memset(out, 0, (size_t)batch->views * sizeof *out); /* views are compared as bytes */
    const km_batch_limits most = km_reader_limits(reader);
    assert_true(batch->views <= most.views && batch->input.tokens <= most.tokens);
    assert_true(batch->labelled <= most.labelled && batch->input.longest <= most.longest);
    assert_int_equal(batch->input.starts[0], 0);
    assert_int_equal(batch->input.starts[batch->views], batch->input.tokens);
    for (int v = 0; v < batch->views; v++) {
        test_view *view = &out[v];
        view->row = batch->rows[v];
        view->number = batch->input.keys[batch->input.starts[v]] / 65536;
        view->length = batch->input.starts[v + 1] - batch->input.starts[v];
        seen = KM_MAX(seen, view->length);
        for (int p = 0; p < view->length; p++) {
            int token = batch->input.starts[v] + p;
            bool hidden = label < batch->labelled && batch->at[label] == token;
            assert_true(batch->input.keys[token] == view->number * 65536 + (uint64_t)p);
            view->ids[p] = batch->input.ids[token];
            view->labels[p] = hidden ? batch->labels[label++] : -1;
        }
    }
    assert_int_equal(seen, batch->input.longest);
    assert_int_equal(label, batch->labelled);
    return batch->views;
}

/* All views of a step, asked for in requests of `run` micro-batches, two open where possible. */
static int collect(km_reader *reader, uint64_t step, int run, test_view *out) {
    int total = km_reader_micro_batches(reader), asked = 0, open = 0, views = 0;
    memset(out, 0, MOST_VIEWS * sizeof *out);
    while (asked < total || open > 0) {
        while (asked < total && open < 2) {
            int count = KM_MIN(run, total - asked);
            km_reader_request(reader, step, asked, count);
            asked += count;
            open++;
        }
        const km_batch *batches = NULL;
        int count = 0;
        assert_int_equal(km_reader_take(reader, &batches, &count), KM_OK);
        open--;
        for (int i = 0; i < count; i++) {
            assert_true(views + batches[i].views <= MOST_VIEWS);
            views += unpack(reader, &batches[i], out + views);
        }
    }
    return views;
}

/* The definition of a step, word by word: order, visit, masks. */
static void expect_view(const km_rows *rows, const test_options *options, uint64_t step, int j,
                        const test_view *view) {
    uint8_t bytes[16 * FAKE_LENGTH];
    uint64_t splits = (uint64_t)options->masking.spec.splits, n = rows->count;
    uint64_t place =
        step * (uint64_t)options->sequences + (options->masking.over_epochs ? (uint64_t)j : (uint64_t)j / splits);
    uint64_t epoch = place / n, number = km_order(place % n, n, options->seed, epoch);
    uint64_t visit = options->masking.over_epochs ? epoch / splits : epoch;
    uint64_t index = options->masking.over_epochs ? epoch % splits : (uint64_t)j % splits;
    km_row *row = km_row_create(FAKE_LENGTH);
    assert_int_equal(km_rows_read(rows, number, row), KM_OK);
    km_masks masks = {.stride = FAKE_LENGTH, .masks = bytes};
    const km_mask_visit drawn = {.seed = options->seed, .purpose = KM_RNG_MASK, .number = visit};
    km_masker *masker = NULL;
    assert_int_equal(km_masker_create(&masker, options->masking.policy, &options->masking.spec, NULL, FAKE_LENGTH),
                     KM_OK);
    assert_int_equal(km_masker_draw(masker, row, &drawn, &masks), KM_OK);
    km_masker_destroy(masker);
    assert_true(view->row == number);
    uint64_t per_step = (uint64_t)options->sequences * (options->masking.over_epochs ? 1 : splits);
    assert_true(view->number == step * per_step + (uint64_t)j);
    assert_int_equal(view->length, row->length);
    for (int p = 0; p < row->length; p++) {
        bool hidden = bytes[index * FAKE_LENGTH + (uint64_t)p];
        assert_int_equal(view->labels[p], hidden ? row->ids[p] : -1);
        if (!hidden || options->masking.view.replace_mask >= 1) {
            assert_int_equal(view->ids[p], hidden ? FAKE_MASK : row->ids[p]);
        }
    }
    km_row_destroy(row);
}

static void views_are_as_defined(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(7, true);
    static test_view views[MOST_VIEWS];
    for (int c = 0; c < 12; c++) {
        test_options options = options_of(c % 2 ? "random" : "fully_explored", 4, c % 3 ? 0.15 : 0);
        options.masking.spec.unit = (km_unit)(c % 3);
        options.masking.over_epochs = c >= 6;
        km_reader *reader = create(&rows, &options);
        int expected = options.masking.over_epochs ? 5 : 20;
        assert_int_equal(km_reader_views(reader), expected);
        assert_int_equal(km_reader_micro_batches(reader), (expected + 2) / 3);
        for (uint64_t step = 0; step < 12; step++) {
            assert_int_equal(collect(reader, step, 2, views), expected);
            for (int j = 0; j < expected; j++) {
                expect_view(&rows, &options, step, j, &views[j]);
            }
        }
        km_reader_destroy(reader);
    }
}

static void cuts_and_requests_change_nothing(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(7, true);
    static test_view whole[MOST_VIEWS], views[MOST_VIEWS];
    for (int over_epochs = 0; over_epochs < 2; over_epochs++) {
        test_options options = options_of("fully_explored", 4, 0.15);
        options.masking.over_epochs = over_epochs;
        options.masking.view.replace_mask = 0.5;
        options.masking.view.replace_random = 0.3;
        const uint64_t step = 1000003;
        options.micro_batch = 100;
        km_reader *reader = create(&rows, &options);
        assert_int_equal(km_reader_micro_batches(reader), 1);
        int count = collect(reader, step, 1, whole);
        km_reader_destroy(reader);
        for (int micro_batch = 1; micro_batch < 22; micro_batch += 2) {
            options.micro_batch = micro_batch;
            reader = create(&rows, &options);
            for (int run = 1; run <= 8; run += 3) {
                assert_int_equal(collect(reader, step, run, views), count);
                assert_memory_equal(views, whole, sizeof views);
                collect(reader, step + 1, 2, views); /* what it did before does not matter either */
            }
            km_reader_destroy(reader);
        }
    }
}

static void rows_are_read_once_for_their_views(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(70, false);
    static test_view views[MOST_VIEWS];
    test_options options = options_of("fully_explored", 4, 0.15);
    km_reader *reader = create(&rows, &options);
    collect(reader, 0, 3, views);
    assert_int_equal(atomic_load(&rows.reads), options.sequences);
    km_reader_destroy(reader);
}

static void every_epoch_visits_each_row_once(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(13, true);
    static test_view views[MOST_VIEWS];
    for (int over_epochs = 0; over_epochs < 2; over_epochs++) {
        test_options options = options_of("fully_explored", 3, 0.15);
        options.masking.over_epochs = over_epochs;
        options.sequences = 6;
        km_reader *reader = create(&rows, &options);
        int visits[13] = {0}, each = over_epochs ? 1 : 3;
        for (int place = 0, step = 0; step < 26; step++) { /* 12 epochs */
            assert_int_equal(collect(reader, (uint64_t)step, 3, views), 6 * each);
            for (int i = 0; i < 6; i++, place++) {
                visits[views[i * each].row]++;
                for (int k = 1; k < each; k++) {
                    assert_true(views[i * each + k].row == views[i * each].row);
                }
                for (int r = 0; r < 13 && place % 13 == 12; r++) {
                    assert_int_equal(visits[r], place / 13 + 1);
                }
            }
        }
        km_reader_destroy(reader);
    }
}

/* Over epochs, K successive visits of a row hide every unit once under partition, but the n mod K left over. */
static void masks_over_epochs_cover_the_row(void **state) {
    (void)state;
    enum { ROWS = 5, K = 4 };
    struct km_rows rows = fake_rows(ROWS, true);
    static test_view views[MOST_VIEWS];
    test_options options = options_of("fully_explored", K, 0);
    options.masking.over_epochs = true;
    options.sequences = ROWS;
    km_reader *reader = create(&rows, &options);
    km_row *row = km_row_create(FAKE_LENGTH);
    int32_t before[ROWS][FAKE_LENGTH] = {{0}};
    for (int visit = 0; visit < 3; visit++) {
        int hidden[ROWS][FAKE_LENGTH] = {{0}};
        int32_t first[ROWS][FAKE_LENGTH] = {{0}};
        for (int k = 0; k < K; k++) {
            assert_int_equal(collect(reader, (uint64_t)(visit * K + k), 2, views), ROWS);
            for (int v = 0; v < ROWS; v++) {
                for (int p = 0; p < views[v].length; p++) {
                    hidden[views[v].row][p] += views[v].labels[p] >= 0;
                    first[views[v].row][p] = k == 0 ? views[v].labels[p] : first[views[v].row][p];
                }
            }
        }
        for (int r = 0; r < ROWS; r++) {
            assert_int_equal(km_rows_read(&rows, (uint64_t)r, row), KM_OK);
            int units = 0, covered = 0;
            for (int p = 0; p < row->length; p++) {
                assert_true(hidden[r][p] <= row->maskable[p]);
                units += row->maskable[p];
                covered += hidden[r][p];
            }
            assert_int_equal(covered, units - units % K);
        }
        assert_memory_not_equal(first, before, sizeof first); /* the next K visits draw anew */
        memcpy(before, first, sizeof first);
    }
    km_row_destroy(row);
    km_reader_destroy(reader);
}

static void replacements_have_their_shares(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(50, false);
    static test_view views[MOST_VIEWS];
    test_options options = options_of("fully_explored", 4, 0);
    options.masking.view.replace_mask = 0.8;
    options.masking.view.replace_random = 0.1;
    km_reader *reader = create(&rows, &options);
    double total = 0, masked = 0, same = 0, drawn[FAKE_VOCABULARY] = {0};
    for (uint64_t step = 0; step < 200; step++) {
        int count = collect(reader, step, 7, views);
        for (int v = 0; v < count; v++) {
            for (int p = 0; p < views[v].length; p++) {
                if (views[v].labels[p] >= 0) {
                    total++;
                    masked += views[v].ids[p] == FAKE_MASK;
                    same += views[v].ids[p] == views[v].labels[p];
                    drawn[views[v].ids[p]]++;
                }
            }
        }
    }
    const int ordinary = FAKE_VOCABULARY - 5;
    double unchanged = 0.1 + 0.1 / ordinary; /* a random token may be the token itself */
    assert_true(total > 30000);
    assert_true(fabs(masked - 0.8 * total) < 5 * sqrt(total * 0.8 * 0.2));
    assert_true(fabs(same - unchanged * total) < 5 * sqrt(total * unchanged * (1 - unchanged)));
    for (int id = 0; id < FAKE_VOCABULARY; id++) {
        assert_true(!fake_special(id) || id == FAKE_MASK || drawn[id] == 0);
    }
    assert_true(drawn[4] > 0 && drawn[5] > 0 && drawn[6] > 0 && drawn[FAKE_VOCABULARY - 1] > 0);
    /* Ids 4, 5, 6 are in no row: they come from random tokens alone. */
    double rare = drawn[4] + drawn[5] + drawn[6], mean = total * 0.1 * 3 / ordinary;
    assert_true(fabs(rare - mean) < 5 * sqrt(mean));
    km_reader_destroy(reader);
}

/* The K views of a row draw replacements of their own, and so do a row's visits. */
static void replacements_differ_by_view(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(1, false);
    static test_view views[MOST_VIEWS];
    test_options options = options_of("random", 1, 1); /* hides all 38 tokens every time */
    options.masking.view.replace_mask = 0.5;
    for (int splits = 1; splits <= 2; splits++) {
        options.masking.spec.splits = splits;
        options.sequences = 8 / splits;
        km_reader *reader = create(&rows, &options);
        assert_int_equal(collect(reader, 0, 2, views), 8);
        for (int a = 0; a < 8; a++) {
            for (int b = 0; b < a; b++) {
                int equal = 0;
                for (int p = 1; p <= 38; p++) {
                    equal += views[a].ids[p] == views[b].ids[p];
                }
                assert_true(equal > 4 && equal < 34); /* 19 expected, deviation 3.1 */
            }
        }
        km_reader_destroy(reader);
    }
}

/* Waits, ten seconds at most, until the reader's thread has read this many rows in all. */
static void wait_for_reads(const struct km_rows *rows, int reads) {
    const struct timespec moment = {.tv_nsec = 100000};
    for (int i = 0; i < 100000 && atomic_load(&rows->reads) < reads; i++) {
        nanosleep(&moment, NULL);
    }
    assert_int_equal(atomic_load(&rows->reads), reads);
}

static void batches_live_until_the_take_after_the_next(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(70, true);
    static test_view before[2][MOST_VIEWS], after[MOST_VIEWS];
    test_options options = options_of("fully_explored", 4, 0.15);
    options.micro_batch = 20;
    km_reader *reader = create(&rows, &options);
    const km_batch *taken[2] = {NULL, NULL};
    int count = 0;
    memset(before, 0, sizeof before);
    memset(after, 0, sizeof after);
    km_reader_request(reader, 0, 0, 1);
    km_reader_request(reader, 1, 0, 1);
    for (int step = 2; step < 12; step++) { /* steps of one epoch: each reads its own five rows */
        int now = step % 2;
        assert_int_equal(km_reader_take(reader, &taken[now], &count), KM_OK);
        unpack(reader, taken[now], before[now]);
        km_reader_request(reader, (uint64_t)step, 0, 1);
        wait_for_reads(&rows, 5 * (step + 1));
        for (int held = 0; held < 2 && step > 2; held++) {
            unpack(reader, taken[held], after);
            assert_memory_equal(before[held], after, sizeof after);
        }
    }
    km_reader_destroy(reader); /* with two requests open */
}

static void errors_reach_the_taker(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(5, false);
    static test_view views[MOST_VIEWS];
    test_options options = options_of("fully_explored", 4, 0.15);
    options.sequences = 1;
    options.micro_batch = 4;
    rows.broken = 3;
    rows.too_high = 2;
    km_reader *reader = create(&rows, &options);
    int failed = 0;
    for (uint64_t step = 0; step < 5; step++) {
        uint64_t row = km_order(step, 5, options.seed, 0);
        km_reader_request(reader, step, 0, 1);
        const km_batch *batches = NULL;
        int count = 0;
        km_fail(KM_FAILED, "an older message");
        km_status status = km_reader_take(reader, &batches, &count);
        assert_int_equal(status, row == 3 || row == 2 ? KM_FAILED : KM_OK);
        if (status == KM_OK) {
            assert_int_equal(unpack(reader, batches, views), 4);
        } else {
            failed++;
            assert_null(batches);
            assert_int_equal(count, 0);
            assert_non_null(strstr(km_message(), row == 3 ? "fake.h5: row 3" : "fake.h5: row 2 holds token id 60"));
            assert_int_equal(km_message_kind(), row == 3 ? KM_ERROR_OTHER : KM_ERROR_DAMAGED);
        }
    }
    assert_int_equal(failed, 2);
    km_reader_destroy(reader);

    rows = fake_rows(5, false);
    options.masking.spec.splits = 39; /* of 38 tokens */
    options.masking.spec.ratio = 0;
    reader = create(&rows, &options);
    const km_batch *batches = NULL;
    int count = 0;
    km_reader_request(reader, 0, 0, 1);
    assert_int_equal(km_reader_take(reader, &batches, &count), KM_FAILED);
    assert_non_null(strstr(km_message(), "fake.h5: row"));
    km_reader_destroy(reader);
}

static void wrong_options_are_refused(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(5, false);
    for (int what = 0; what < 9; what++) {
        test_options options = options_of("random", 4, 0.15);
        options.sequences = what == 0 ? 0 : what == 1 ? 2000000000 : what == 3 ? 500000000 : 4;
        options.micro_batch = what == 2 ? 0 : what == 3 ? 2000000000 : 4;
        options.masking.spec.splits = what == 4 ? 0 : 4;
        options.masking.spec.ratio = what == 5 ? -0.1 : 0.15;
        options.masking.view.replace_mask = what == 6 ? 0.95 : what == 7 ? (double)NAN : 0.8;
        options.masking.view.replace_random = what == 8 ? -0.1 : 0.1;
        km_reader *reader = NULL;
        assert_int_equal(try_create(&reader, &rows, &options), KM_USAGE);
        assert_null(reader);
    }
    km_reader_destroy(NULL);
}

static void destroying_is_safe_at_any_time(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(500, true);
    test_options options = options_of("fully_explored", 4, 0.15);
    options.sequences = 400;
    for (int i = 0; i < 60; i++) {
        km_reader *reader = create(&rows, &options);
        for (int r = 0; r < i % 3; r++) {
            km_reader_request(reader, (uint64_t)r, 0, km_reader_micro_batches(reader));
        }
        const km_batch *batches = NULL;
        int count = 0;
        if (i % 5 == 4 && i % 3 > 0) {
            assert_int_equal(km_reader_take(reader, &batches, &count), KM_OK);
        }
        km_reader_destroy(reader);
    }
}

/* With one token a word, a mask of a full row of subwords meets the limit exactly. */
static void limits_are_tight_for_subwords(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(3, false);
    test_options options = options_of("fully_explored", 4, 0.15);
    km_reader *reader = create(&rows, &options);
    const km_batch_limits most = km_reader_limits(reader);
    assert_int_equal(most.views, 3);
    assert_int_equal(most.tokens, 3 * FAKE_LENGTH);
    assert_int_equal(most.labelled, 3 * 6); /* 0.15 * 38 = 5.7 */
    assert_int_equal(most.longest, FAKE_LENGTH);
    km_reader_destroy(reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_are_as_defined),
        cmocka_unit_test(cuts_and_requests_change_nothing),
        cmocka_unit_test(rows_are_read_once_for_their_views),
        cmocka_unit_test(every_epoch_visits_each_row_once),
        cmocka_unit_test(masks_over_epochs_cover_the_row),
        cmocka_unit_test(replacements_have_their_shares),
        cmocka_unit_test(replacements_differ_by_view),
        cmocka_unit_test(batches_live_until_the_take_after_the_next),
        cmocka_unit_test(errors_reach_the_taker),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(destroying_is_safe_at_any_time),
        cmocka_unit_test(limits_are_tight_for_subwords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
