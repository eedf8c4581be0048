/* A batch that is filled view by view: both streams, types, labels, classes and numbers, and what is left when it is cleared. */
#include "../../src/data/builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static km_batch_builder *create(int views, int tokens, int decoder_tokens) {
    km_batch_builder *builder = km_new(1, sizeof *builder);
    const km_batch_limits most = {
        .views = views, .tokens = tokens, .decoder_tokens = decoder_tokens, .labelled = tokens + decoder_tokens};
    assert_int_equal(km_batch_builder_reserve(builder, &most), KM_OK);
    return builder;
}

static void destroy(km_batch_builder *builder) {
    km_batch_builder_free(builder);
    free(builder);
}

/* View 7 reads 11 12 13 and writes 21 22; view 9 reads 14 and writes 23. */
static void fill_two_streams(km_batch_builder *builder) {
    km_view_begin(builder, 7, 70);
    for (int32_t id = 11; id <= 13; id++) {
        km_view_add(builder, id, 0);
    }
    km_view_add_decoder(builder, 2);
    km_view_label(builder, 21);
    km_view_add_decoder(builder, 21);
    km_view_label(builder, 22);
    km_view_end(builder);
    km_view_begin(builder, 9, 90);
    km_view_add(builder, 14, 0);
    km_view_add_decoder(builder, 2);
    km_view_label(builder, 23);
    km_view_end(builder);
}

static void both_streams_are_filled(void **state) {
    (void)state;
    km_batch_builder *builder = create(2, 4, 3);
    for (int again = 0; again < 2; again++) {
        km_batch_builder_clear(builder);
        fill_two_streams(builder);
        const km_batch *batch = &builder->batch;
        const int32_t starts[] = {0, 3, 4}, ids[] = {11, 12, 13, 14}, targets[] = {0, 2, 3}, read[] = {2, 21, 2};
        const int32_t at[] = {0, 1, 2}, labels[] = {21, 22, 23};
        const uint64_t keys[] = {7 * 65536, 7 * 65536 + 1, 9 * 65536}, rows[] = {70, 90};
        assert_int_equal(batch->views, 2);
        assert_int_equal(batch->input.tokens, 4);
        assert_int_equal(batch->input.longest, 3);
        assert_int_equal(batch->decoder.tokens, 3);
        assert_int_equal(batch->decoder.longest, 2);
        assert_int_equal(batch->labelled, 3);
        assert_memory_equal(batch->input.starts, starts, sizeof starts);
        assert_memory_equal(batch->input.ids, ids, sizeof ids);
        assert_memory_equal(batch->decoder.starts, targets, sizeof targets);
        assert_memory_equal(batch->decoder.ids, read, sizeof read);
        assert_memory_equal(batch->decoder.keys, keys, sizeof keys);
        assert_memory_equal(batch->at, at, sizeof at);
        assert_memory_equal(batch->labels, labels, sizeof labels);
        assert_memory_equal(batch->rows, rows, sizeof rows);
        assert_true(batch->input.keys[2] == 7 * 65536 + 2 && batch->input.keys[3] == 9 * 65536);
        assert_null(batch->input.types);
        assert_null(batch->classes);
        assert_null(batch->numbers);
    }
    destroy(builder);
}

static void weights_are_there_where_one_is_not_1(void **state) {
    (void)state;
    km_batch_builder *builder = create(2, 4, 0);
    for (int given = 0; given < 3; given++) { /* none, of one label only, cleared */
        km_batch_builder_clear(builder);
        km_view_begin(builder, 1, 5);
        for (int32_t id = 11; id <= 13; id++) {
            km_view_add(builder, id, 0);
            km_view_label(builder, id);
            km_view_weight(builder, given == 1 && id == 12 ? 0.25f : 1.0f);
        }
        km_view_add(builder, 14, 0);
        km_view_label(builder, 14);
        km_view_end(builder);
        const float weights[] = {1, 0.25f, 1, 1};
        if (given == 1) {
            assert_memory_equal(builder->batch.weights, weights, sizeof weights);
        } else {
            assert_null(builder->batch.weights);
        }
    }
    destroy(builder);
}

static void types_classes_and_numbers_are_there_where_given(void **state) {
    (void)state;
    km_batch_builder *builder = create(2, 4, 0);
    for (int v = 0; v < 2; v++) {
        km_view_begin(builder, (uint64_t)v, 5);
        km_view_add(builder, 11, 0);
        km_view_add(builder, 12, v);
        km_view_class(builder, 3 + v);
        km_view_number(builder, 0.5F + (float)v);
        km_view_end(builder);
    }
    const km_batch *batch = &builder->batch;
    const int32_t types[] = {0, 0, 0, 1}, classes[] = {3, 4};
    assert_memory_equal(batch->input.types, types, sizeof types);
    assert_memory_equal(batch->classes, classes, sizeof classes);
    assert_true(batch->numbers[0] == 0.5F && batch->numbers[1] == 1.5F);
    assert_int_equal(batch->decoder.tokens, 0);
    assert_int_equal(batch->labelled, 0);
    km_batch_builder_clear(builder); /* what the next batch does not have is not left over */
    km_view_begin(builder, 0, 5);
    km_view_add(builder, 13, 0);
    km_view_end(builder);
    assert_null(batch->input.types);
    assert_null(batch->classes);
    assert_null(batch->numbers);
    assert_int_equal(batch->views, 1);
    destroy(builder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_streams_are_filled),
        cmocka_unit_test(weights_are_there_where_one_is_not_1),
        cmocka_unit_test(types_classes_and_numbers_are_there_where_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
