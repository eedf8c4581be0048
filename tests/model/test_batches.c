/* What may not change a result: neighbours, the work area's past, recomputing, how many tokens are labelled. */
#include "model/support.h"

static const int lengths[] = {9, 1, 24, 3, 12, 0};

typedef struct fixture {
    km_model *model;
    float *weights;
    own_batch own;
} fixture;

static fixture *begin(const char *type, double share) {
    fixture *f = km_new(1, sizeof *f);
    km_model_config config = small_config(type);
    config.max_position_embeddings += strcmp(type, "roberta") == 0 ? 2 : 0;
    assert_int_equal(km_model_create(&f->model, &config, KM_HEAD_TOKENS), KM_OK);
    f->weights = random_weights(f->model, 6);
    own_draw(&f->own, &config, lengths, share, true, 33);
    return f;
}

static void end(fixture *f) {
    km_model_destroy(f->model);
    free(f->weights);
    free(f);
}

static void same_bits(const keeper *a, const keeper *b) {
    assert_memory_equal(a->sum, b->sum, a->table->size * sizeof *a->sum);
    assert_memory_equal(a->touched, b->touched, a->table->size);
}

static void same_to_rounding(const keeper *a, const keeper *b) {
    for (int p = 0; p < a->table->count; p++) {
        const km_param *param = &a->table->params[p];
        double most = largest(a->sum + param->offset, param->count);
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            if (!(fabs(a->sum[i] - b->sum[i]) <= 2e-5 * most + 5e-6)) {
                fail_msg("%s[%zu]: %g and %g, largest %g", param->name, i - param->offset, a->sum[i], b->sum[i],
                         most);
            }
        }
    }
}

/* A ragged batch is the sum of its views alone, dropout and all. */
static void check_ragged(const char *type) {
    fixture *f = begin(type, 0.3);
    km_work_options options = options_of(&f->own.batch, false);
    km_work *work = NULL;
    km_loss_sum whole, part;
    keeper all = gradient_of(&whole, f->model, f->weights, &f->own.batch, true, false);
    keeper parts = keeper_make(km_model_table(f->model));
    double loss = 0;
    int64_t masked = 0, correct = 0;
    assert_int_equal(km_work_create(&work, f->model, &options), KM_OK);
    for (int view = 0; view < f->own.batch.views; view++) {
        static own_batch one;
        own_view(&one, &f->own.batch, view);
        add_gradient(&parts, &part, f->model, f->weights, &one.batch, true, work);
        loss += part.loss;
        masked += part.masked;
        correct += part.correct;
    }
    assert_true(fabs(loss - whole.loss) <= 2e-6 * whole.loss);
    assert_int_equal(masked, whole.masked);
    assert_int_equal(correct, whole.correct);
    same_to_rounding(&all, &parts);
    km_work_destroy(work);
    keeper_free(&all);
    keeper_free(&parts);
    end(f);
}

static void test_ragged_is_the_sum_of_its_views(void **state) {
    (void)state;
    check_ragged("bert");
    check_ragged("roberta");
}

static void test_recompute_and_repeat_change_no_bit(void **state) {
    (void)state;
    fixture *f = begin("bert", 0.3);
    km_loss_sum first, again, recomputed;
    keeper a = gradient_of(&first, f->model, f->weights, &f->own.batch, true, false);
    keeper b = gradient_of(&again, f->model, f->weights, &f->own.batch, true, false);
    keeper c = gradient_of(&recomputed, f->model, f->weights, &f->own.batch, true, true);
    same_bits(&a, &b);
    same_bits(&a, &c);
    assert_memory_equal(&first, &again, sizeof first);
    assert_memory_equal(&first, &recomputed, sizeof first);
    keeper_free(&a);
    keeper_free(&b);
    keeper_free(&c);
    end(f);
}

/* Dropout does something, and another seed's is another. */
static void test_dropout_is_on_when_asked(void **state) {
    (void)state;
    fixture *f = begin("bert", 0.3);
    km_loss_sum off, on, other;
    keeper a = gradient_of(&off, f->model, f->weights, &f->own.batch, false, false);
    keeper b = gradient_of(&on, f->model, f->weights, &f->own.batch, true, false);
    for (int i = 0; i < f->own.batch.input.tokens; i++) {
        f->own.keys[i] += 1;
    }
    keeper c = gradient_of(&other, f->model, f->weights, &f->own.batch, true, false);
    assert_true(off.loss != on.loss && on.loss != other.loss);
    keeper_free(&a);
    keeper_free(&b);
    keeper_free(&c);
    end(f);
}

/* One work area, larger than needed, used for other batches and passes before: the bits are a fresh one's. */
static void check_no_trace(bool recompute) {
    fixture *f = begin("bert", 0.3);
    static own_batch full, small;
    const int large_lengths[] = {24, 24, 24, 24, 24, 0}, small_lengths[] = {5, 2, 0};
    km_work_options options = {.limits.views = 16,
                               .limits.tokens = MOST_TOKENS_HERE,
                               .limits.labelled = MOST_TOKENS_HERE,
                               .limits.longest = 24,
                               .backward = true,
                               .recompute = recompute};
    km_work *work = NULL;
    km_loss_sum sum, fresh;
    keeper ignored = keeper_make(km_model_table(f->model)), used = keeper_make(km_model_table(f->model));
    own_draw(&full, km_model_shape(f->model), large_lengths, 1.0, false, 1);
    own_draw(&small, km_model_shape(f->model), small_lengths, 0.6, true, 2);
    assert_int_equal(km_work_create(&work, f->model, &options), KM_OK);
    add_gradient(&ignored, &sum, f->model, f->weights, &full.batch, false, work);
    add_gradient(&ignored, &sum, f->model, f->weights, &small.batch, true, work);
    km_model_forward(f->model, f->weights, &full.batch, work, &sum, NULL);
    add_gradient(&used, &sum, f->model, f->weights, &f->own.batch, true, work);
    keeper one = gradient_of(&fresh, f->model, f->weights, &f->own.batch, true, false);
    assert_memory_equal(&sum, &fresh, sizeof sum);
    same_bits(&used, &one);
    km_work_destroy(work);
    keeper_free(&ignored);
    keeper_free(&used);
    keeper_free(&one);
    end(f);
}

static void test_work_area_leaves_no_trace(void **state) {
    (void)state;
    check_no_trace(false);
    check_no_trace(true);
}

/* The last layer computes labelled rows only: with all tokens labelled, the same rows come out. */
static void test_labelled_rows_do_not_depend_on_the_others(void **state) {
    (void)state;
    fixture *f = begin("roberta", 0.3);
    static own_batch full;
    full = f->own;
    own_link(&full, true);
    full.batch.labelled = full.batch.input.tokens;
    for (int i = 0; i < full.batch.input.tokens; i++) {
        full.at[i] = i;
        full.labels[i] = i % 41;
    }
    km_work_options options = options_of(&full.batch, false);
    km_work *some = NULL, *all = NULL;
    km_loss_sum sum;
    const float *some_p = NULL, *all_p = NULL;
    assert_int_equal(km_work_create(&some, f->model, &options), KM_OK);
    assert_int_equal(km_work_create(&all, f->model, &options), KM_OK);
    km_model_forward(f->model, f->weights, &f->own.batch, some, &sum, &some_p);
    km_model_forward(f->model, f->weights, &full.batch, all, &sum, &all_p);
    for (int m = 0; m < f->own.batch.labelled; m++) {
        double total = 0;
        for (int v = 0; v < 41; v++) {
            assert_true(fabsf(some_p[m * 41 + v] - all_p[f->own.at[m] * 41 + v]) <= 2e-6f);
            total += (double)some_p[m * 41 + v];
        }
        assert_true(fabs(total - 1) <= 1e-5);
    }
    const float *last = km_work_hidden(some, KM_ENCODER, 3), *last_all = km_work_hidden(all, KM_ENCODER, 3);
    for (int m = 0; m < f->own.batch.labelled; m++) {
        for (int c = 0; c < 20; c++) {
            assert_true(fabsf(last[m * 20 + c] - last_all[f->own.at[m] * 20 + c]) <= 1e-5f);
        }
    }
    assert_null(km_work_hidden(some, KM_ENCODER, 4));
    assert_null(km_work_hidden(some, KM_ENCODER, -1));
    km_work_destroy(some);
    km_work_destroy(all);
    end(f);
}

/* The loss is that of the logits, and both passes have the same one. */
static void test_logits_loss_and_gradient_agree(void **state) {
    (void)state;
    fixture *f = begin("bert", 0.3);
    km_work_options options = options_of(&f->own.batch, false);
    options.backward = false;
    km_work *work = NULL;
    km_loss_sum sum, gradient;
    double loss = 0;
    assert_int_equal(km_work_create(&work, f->model, &options), KM_OK);
    assert_null(km_work_hidden(work, KM_ENCODER, 0));
    const float *logits = km_model_logits(f->model, f->weights, &f->own.batch, work);
    for (int m = 0; m < f->own.batch.labelled; m++) {
        double total = 0;
        for (int v = 0; v < 41; v++) {
            total += exp((double)logits[m * 41 + v]);
        }
        loss += log(total) - (double)logits[m * 41 + f->own.labels[m]];
    }
    km_model_forward(f->model, f->weights, &f->own.batch, work, &sum, NULL);
    keeper keep = gradient_of(&gradient, f->model, f->weights, &f->own.batch, false, false);
    assert_true(fabs(sum.loss - loss) <= 1e-5 * loss);
    assert_true(fabs(sum.loss - gradient.loss) <= 2e-6 * loss);
    assert_int_equal(sum.correct, gradient.correct);
    assert_int_equal(sum.masked, gradient.masked);
    km_work_destroy(work);
    keeper_free(&keep);
    end(f);
}

/* Everything that can learn is reported, nothing but parts is, and done() falls: head, each layer, 0. */
static void test_slices_cover_the_table_and_no_more(void **state) {
    (void)state;
    fixture *f = begin("bert", 0.3);
    const km_table *table = km_model_table(f->model);
    km_loss_sum sum;
    keeper keep = gradient_of(&sum, f->model, f->weights, &f->own.batch, true, false);
    uint8_t *inside = km_new(table->size, 1);
    for (int p = 0; p < table->count; p++) {
        memset(inside + table->params[p].offset, 1, table->params[p].count);
    }
    for (size_t i = 0; i < table->size; i++) {
        assert_int_equal(keep.touched[i], inside[i]); /* the longest view uses every position */
    }
    assert_int_equal(keep.calls, 3 + 2);
    free(inside);
    keeper_free(&keep);
    end(f);
}

static void test_nothing_labelled_is_no_loss(void **state) {
    (void)state;
    fixture *f = begin("bert", 0.0);
    km_loss_sum sum;
    keeper keep = gradient_of(&sum, f->model, f->weights, &f->own.batch, true, false);
    assert_true(sum.loss == 0.0 && sum.masked == 0 && sum.correct == 0);
    assert_int_equal(keep.calls, 1);
    assert_true(largest(keep.sum, keep.table->size) == 0.0);
    km_work_options options = options_of(&f->own.batch, false);
    km_work *work = NULL;
    assert_int_equal(km_work_create(&work, f->model, &options), KM_OK);
    km_model_forward(f->model, f->weights, &f->own.batch, work, &sum, NULL);
    assert_true(sum.loss == 0.0 && sum.masked == 0);
    assert_true(km_model_flops(f->model, &f->own.batch) == 0.0);
    km_work_destroy(work);
    keeper_free(&keep);
    end(f);
}

/* The pad token's row learns from the head alone, as torch's padding_idx has it. */
static void test_pad_row_is_not_learned_from_reading(void **state) {
    (void)state;
    fixture *f = begin("bert", 0.3);
    km_loss_sum sum;
    const km_param *word = km_table_find(km_model_table(f->model), "bert.embeddings.word_embeddings.weight");
    size_t pad = word->offset + 1 * 20; /* pad_token_id 1, width 20 */
    f->own.ids[1] = 5;
    for (int i = 0; i < f->own.batch.input.tokens; i++) {
        f->own.ids[i] = f->own.ids[i] == 1 ? 2 : f->own.ids[i];
    }
    /* Make 5 and pad read the same, so that only the name of the row differs. */
    memcpy(f->weights + pad, f->weights + word->offset + 5 * 20, 20 * sizeof(float));
    keeper same = gradient_of(&sum, f->model, f->weights, &f->own.batch, false, false);
    f->own.ids[1] = 1;
    keeper with = gradient_of(&sum, f->model, f->weights, &f->own.batch, false, false);
    assert_memory_equal(with.sum + pad, same.sum + pad, 20 * sizeof(double));
    assert_memory_not_equal(with.sum + word->offset + 5 * 20, same.sum + word->offset + 5 * 20,
                            20 * sizeof(double));
    keeper_free(&same);
    keeper_free(&with);
    end(f);
}

static void test_wrong_batches_are_refused(void **state) {
    (void)state;
    fixture *f = begin("bert", 0.3);
    own_batch *own = &f->own;
    km_batch *batch = &own->batch;
    assert_int_equal(km_model_check(f->model, batch), KM_OK);
    int32_t *wrong[] = {&own->ids[3], &own->types[3], &own->labels[1], &own->at[1], &own->starts[2]};
    for (size_t i = 0; i < KM_COUNT(wrong); i++) {
        for (int high = 0; high < 2; high++) {
            int32_t kept = *wrong[i];
            *wrong[i] = high ? 100000 : -1;
            assert_int_equal(km_model_check(f->model, batch), KM_USAGE);
            assert_true(strlen(km_message()) > 10);
            *wrong[i] = kept;
        }
    }
    own->at[1] = own->at[0];
    assert_int_equal(km_model_check(f->model, batch), KM_USAGE);
    end(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ragged_is_the_sum_of_its_views),
                                       cmocka_unit_test(test_recompute_and_repeat_change_no_bit),
                                       cmocka_unit_test(test_dropout_is_on_when_asked),
                                       cmocka_unit_test(test_work_area_leaves_no_trace),
                                       cmocka_unit_test(test_labelled_rows_do_not_depend_on_the_others),
                                       cmocka_unit_test(test_logits_loss_and_gradient_agree),
                                       cmocka_unit_test(test_slices_cover_the_table_and_no_more),
                                       cmocka_unit_test(test_nothing_labelled_is_no_loss),
                                       cmocka_unit_test(test_pad_row_is_not_learned_from_reading),
                                       cmocka_unit_test(test_wrong_batches_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
