/* What a row under a mask becomes: the tokens that are shown, and what is to be predicted of them, under each target. */
#include "../../src/data/mask.h"
#include "data/fake_rows.h"

#include <math.h>

enum { START = 5, CLS = 2, SEP = 3, LONG = 24 };

/* A row of words 10, 11, 12, ... between [CLS] and [SEP], with one mask. */
typedef struct shown {
    km_row row;
    int32_t ids[LONG], order[2 * LONG];
    uint8_t starts_word[LONG], maskable[LONG], mask[LONG];
    int count;
    km_masks masks;
    km_view_maker *maker;
    const km_batch *batch;
} shown;

/* One digit a token: what the mask says of it. */
static void begin(shown *s, const char *mask, const km_view_options *options) {
    memset(s, 0, sizeof *s);
    s->row = (km_row){.number = 4,
                      .length = (int)strlen(mask),
                      .ids = s->ids,
                      .starts_word = s->starts_word,
                      .maskable = s->maskable};
    for (int p = 0; p < s->row.length; p++) {
        s->ids[p] = p == 0 ? CLS : p == s->row.length - 1 ? SEP : 9 + p;
        s->mask[p] = (uint8_t)(mask[p] - '0');
    }
    s->masks = (km_masks){.splits = 1, .stride = LONG, .masks = s->mask, .order_stride = 2 * LONG};
    assert_int_equal(km_view_maker_create(&s->maker, NULL, LONG, 2 * LONG, options), KM_OK);
}

static void make(shown *s, uint64_t visit) {
    assert_int_equal(km_view_maker_make(s->maker, &s->row, &s->masks, 0, 3, visit, 0, &s->batch), KM_OK);
    const km_batch_limits most = km_view_maker_limits(s->maker);
    assert_true(s->batch->input.tokens <= most.tokens && s->batch->decoder.tokens <= most.decoder_tokens);
    assert_true(s->batch->labelled <= most.labelled);
}

static void set_order(shown *s, const int32_t *order, int count) {
    memcpy(s->order, order, (size_t)count * sizeof *order);
    s->count = count;
    s->masks.orders = s->order;
    s->masks.counts = &s->count;
}

static void end(shown *s) {
    km_view_maker_destroy(s->maker);
}

static void expect(const int32_t *found, int found_count, const int32_t *wanted, int count) {
    assert_int_equal(found_count, count);
    assert_memory_equal(found, wanted, (size_t)count * sizeof *wanted);
}
#define SHOWS(s, ...)                                                                                              \
    do {                                                                                                           \
        const int32_t wanted_[] = {__VA_ARGS__};                                                                   \
        expect((s)->batch->input.ids, (s)->batch->input.tokens, wanted_, KM_COUNT(wanted_));                       \
    } while (0)
#define READS(s, ...)                                                                                              \
    do {                                                                                                           \
        const int32_t wanted_[] = {__VA_ARGS__};                                                                   \
        expect((s)->batch->decoder.ids, (s)->batch->decoder.tokens, wanted_, KM_COUNT(wanted_));                   \
    } while (0)
#define PREDICTS(s, ...)                                                                                           \
    do {                                                                                                           \
        const int32_t wanted_[] = {__VA_ARGS__};                                                                   \
        expect((s)->batch->labels, (s)->batch->labelled, wanted_, KM_COUNT(wanted_));                              \
    } while (0)

static void tokens_keep_their_places(void **state) {
    (void)state;
    const km_view_options options = {.target = KM_TARGET_TOKENS, .replace_mask = 1};
    shown s;
    begin(&s, "0110020", &options); /* what begins a piece does not matter here */
    make(&s, 0);
    SHOWS(&s, CLS, 7, 7, 12, 13, 7, SEP);
    PREDICTS(&s, 10, 11, 14);
    assert_int_equal(s.batch->decoder.tokens, 0);
    assert_int_equal(s.batch->at[2], 5);
    end(&s);
}

static void the_full_row_is_written(void **state) {
    (void)state;
    const km_view_options options = {
        .target = KM_TARGET_FULL, .merge = true, .decoder_start = START, .replace_mask = 1};
    shown s;
    begin(&s, "0110020", &options);
    make(&s, 0);
    SHOWS(&s, CLS, 7, 12, 13, 7, SEP);
    READS(&s, START, CLS, 10, 11, 12, 13, 14);
    PREDICTS(&s, CLS, 10, 11, 12, 13, 14, SEP);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(s.batch->at[i], i);
    }
    assert_true(s.batch->decoder.keys[3] == s.batch->input.keys[3]);
    end(&s);
}

static void masked_pieces_are_written(void **state) {
    (void)state;
    const km_view_options options = {
        .target = KM_TARGET_MASKED, .merge = true, .decoder_start = START, .replace_mask = 1};
    shown s;
    begin(&s, "0112010", &options); /* the third hidden token begins a piece of its own */
    make(&s, 0);
    SHOWS(&s, CLS, 7, 7, 13, 7, SEP);
    READS(&s, START, CLS, 10, 11, 12, 14);
    PREDICTS(&s, CLS, 10, 11, 12, 14, SEP);
    end(&s);
    const km_view_options apart = {.target = KM_TARGET_MASKED, .decoder_start = START, .replace_mask = 1};
    begin(&s, "0112010", &apart);
    make(&s, 0);
    SHOWS(&s, CLS, 7, 7, 7, 13, 7, SEP);
    end(&s);
    begin(&s, "0000000", &options); /* nothing is hidden: only the frame is predicted */
    make(&s, 0);
    READS(&s, START, CLS);
    PREDICTS(&s, CLS, SEP);
    end(&s);
}

/* Sources are shown in the order that a policy says, with what it inserts; pieces do not run over either. */
static void orders_are_followed(void **state) {
    (void)state;
    const int32_t order[] = {0, 4, 5, KM_INSERTED, 1, 2, 3, 6};
    km_view_options options = {.target = KM_TARGET_FULL, .merge = true, .decoder_start = START, .replace_mask = 1};
    shown s;
    begin(&s, "0110010", &options);
    set_order(&s, order, KM_COUNT(order));
    make(&s, 0);
    SHOWS(&s, CLS, 13, 7, 7, 7, 12, SEP);
    PREDICTS(&s, CLS, 10, 11, 12, 13, 14, SEP);
    end(&s);
    options.target = KM_TARGET_MASKED;
    begin(&s, "0110010", &options);
    set_order(&s, order, KM_COUNT(order));
    make(&s, 0);
    PREDICTS(&s, CLS, 14, 10, 11, SEP); /* as the source shows them */
    end(&s);
}

/* A piece is replaced as a whole: by <mask>, by a random token, or it stays with all of its tokens. */
static void pieces_are_replaced_as_a_whole(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    const km_view_options options = {.target = KM_TARGET_FULL,
                                     .merge = true,
                                     .decoder_start = START,
                                     .replace_mask = 0.5,
                                     .replace_random = 0.3};
    int masks = 0, stays = 0, randoms = 0;
    shown s;
    begin(&s, "0111000", &options);
    for (uint64_t visit = 0; visit < DRAWS; visit++) {
        make(&s, visit);
        const km_stream *input = &s.batch->input;
        if (input->tokens == 7) {
            SHOWS(&s, CLS, 10, 11, 12, 13, 14, SEP);
            stays++;
        } else {
            assert_int_equal(input->tokens, 5);
            assert_int_equal(input->ids[2], 13);
            masks += input->ids[1] == FAKE_MASK;
            randoms += input->ids[1] != FAKE_MASK && !fake_special(input->ids[1]);
        }
    }
    assert_int_equal(masks + stays + randoms, DRAWS);
    assert_true(fabs(masks - 0.5 * DRAWS) < 5 * sqrt(DRAWS * 0.25));
    assert_true(fabs(stays - 0.2 * DRAWS) < 5 * sqrt(DRAWS * 0.16));
    end(&s);
}

/* What is inserted hides nothing: it is random or a <mask>, in proportion to the shares. */
static void inserted_masks_never_stay(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    const int32_t order[] = {0, 1, KM_INSERTED, 2, 3};
    const km_view_options options = {.target = KM_TARGET_FULL,
                                     .merge = true,
                                     .decoder_start = START,
                                     .replace_mask = 0.3,
                                     .replace_random = 0.1};
    int masks = 0;
    shown s;
    begin(&s, "0000", &options);
    set_order(&s, order, KM_COUNT(order));
    for (uint64_t visit = 0; visit < DRAWS; visit++) {
        make(&s, visit);
        assert_int_equal(s.batch->input.tokens, 5);
        assert_true(s.batch->input.ids[2] == FAKE_MASK || !fake_special(s.batch->input.ids[2]));
        masks += s.batch->input.ids[2] == FAKE_MASK;
    }
    assert_true(fabs(masks - 0.75 * DRAWS) < 5 * sqrt(DRAWS * 0.1875));
    end(&s);
}

/* Of what a decoder writes, an evaluation labels the hidden tokens alone. */
static void evaluation_labels_hidden_tokens(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(6, true);
    km_row *row = km_row_create(FAKE_LENGTH);
    for (int target = KM_TARGET_FULL; target <= KM_TARGET_MASKED; target++) {
        const km_eval_views_options options = {
            .ratio = 0.15, .unit = KM_UNIT_WORD, .seed = 1, .target = (km_target)target, .decoder_start = START};
        km_eval_views *views = NULL;
        assert_int_equal(km_eval_views_create(&views, &rows, NULL, &options), KM_OK);
        const km_batch_limits most = km_eval_views_limits(views);
        for (uint64_t number = 0; number < rows.count; number++) {
            const km_batch *batch = NULL;
            int labels = 0, covered[FAKE_VOCABULARY] = {0};
            assert_int_equal(km_rows_read(&rows, number, row), KM_OK);
            assert_int_equal(km_eval_views_make(views, number, &batch), KM_OK);
            assert_true(batch->decoder.tokens <= most.decoder_tokens && batch->labelled <= most.labelled);
            assert_true(batch->decoder.longest <= most.decoder_longest && batch->input.tokens <= most.tokens);
            for (int i = 0; i < batch->labelled; i++) {
                covered[batch->labels[i]]++;
            }
            for (int p = 0; p < row->length; p++) {
                labels += row->maskable[p];
                covered[row->ids[p]] -= row->maskable[p];
            }
            assert_int_equal(batch->labelled, labels);
            for (int id = 0; id < FAKE_VOCABULARY; id++) {
                assert_int_equal(covered[id], 0);
            }
            for (int v = 0; v < batch->views; v++) {
                const int begins = batch->decoder.starts[v], length = batch->decoder.starts[v + 1] - begins;
                assert_int_equal(batch->decoder.ids[begins], START);
                assert_int_equal(batch->decoder.ids[begins + 1], 2);
                assert_true(target == KM_TARGET_FULL ? length == row->length : length < row->length);
            }
        }
        km_eval_views_destroy(views);
    }
    km_row_destroy(row);
}

/* Every policy through the source: limits hold, and the batch is the same however it is cut. */
static void sources_make_targets(void **state) {
    (void)state;
    struct km_rows rows = fake_rows(7, true);
    for (int c = 0; c < 8; c++) {
        const km_masking masking = {.policy = km_mask_policy_named(c < 4 ? "random" : "denoise"),
                                    .spec = {.unit = c % 2 ? KM_UNIT_WORD : KM_UNIT_SUBWORD,
                                             .splits = 3,
                                             .ratio = 0.3,
                                             .poisson_lambda = 3,
                                             .permute_sentences = 1,
                                             .insert = c == 7 ? 0.2 : 0},
                                    .over_epochs = c % 3 == 0,
                                    .view = {.target = c % 4 < 2 ? KM_TARGET_FULL : KM_TARGET_MASKED,
                                             .merge = true,
                                             .decoder_start = START,
                                             .replace_mask = 0.9,
                                             .replace_random = 0.1}};
        km_source *source = NULL;
        km_reader *reader = NULL;
        assert_int_equal(km_source_rows_create(&source, &rows, NULL, &masking, 3), KM_OK);
        assert_int_equal(km_reader_create(&reader, source, 12, 5), KM_OK);
        const km_batch_limits most = km_reader_limits(reader);
        for (uint64_t step = 0; step < 20; step++) {
            const km_batch *batches = NULL;
            int count = 0;
            km_reader_request(reader, step, 0, 3);
            assert_int_equal(km_reader_take(reader, &batches, &count), KM_OK);
            for (int i = 0; i < count; i++) {
                const km_batch *b = &batches[i];
                assert_true(b->input.tokens <= most.tokens && b->input.longest <= most.longest);
                assert_true(b->decoder.tokens <= most.decoder_tokens && b->decoder.longest <= most.decoder_longest);
                assert_int_equal(b->labelled, b->decoder.tokens);
                assert_true(b->labelled <= most.labelled);
            }
        }
        km_reader_destroy(reader);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_keep_their_places),        cmocka_unit_test(the_full_row_is_written),
        cmocka_unit_test(masked_pieces_are_written),       cmocka_unit_test(orders_are_followed),
        cmocka_unit_test(pieces_are_replaced_as_a_whole),  cmocka_unit_test(inserted_masks_never_stay),
        cmocka_unit_test(evaluation_labels_hidden_tokens), cmocka_unit_test(sources_make_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
