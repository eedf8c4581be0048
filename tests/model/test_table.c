/* The table, initial weights, refused configs, sizes of work areas. */
#include "model/support.h"

static km_model *make(km_model_config config) {
    km_model *model = NULL;
    if (km_model_create(&model, &config, KM_HEAD_TOKENS) != KM_OK) {
        fail_msg("%s", km_message());
    }
    return model;
}

/* ---- The table ---- */

static void check_table(const char *type, int64_t hidden, int64_t heads) {
    km_model_config config = small_config(type);
    config.hidden_size = hidden;
    config.num_attention_heads = heads;
    km_model *model = make(config);
    const km_table *table = km_model_table(model);
    size_t end = 0, elements = 0;
    assert_int_equal(table->size % 4096, 0);
    assert_int_equal(table->count, 5 + 3 * 16 + 5);
    for (int p = 0; p < table->count; p++) {
        const km_param *param = &table->params[p];
        bool joined = strstr(param->name, ".key.") != NULL || strstr(param->name, ".value.") != NULL;
        assert_true(param->offset >= end);
        assert_int_equal(joined ? param->offset - end : param->offset % 16, 0);
        assert_int_equal(param->count, param->dims[0] * (param->rank == 2 ? param->dims[1] : 1));
        assert_int_equal(param->decay, param->rank == 2);
        assert_ptr_equal(km_table_find(table, param->name), param);
        end = param->offset + param->count;
        elements += param->count;
    }
    assert_true(end <= table->size && table->size - end < 4096);
    assert_int_equal(elements, table->elements);
    assert_null(km_table_find(table, "bert.pooler.dense.weight"));
    assert_string_equal(km_model_shape(model)->type, type);
    km_model_destroy(model);
}

static void test_parts_follow_each_other(void **state) {
    (void)state;
    check_table("bert", 20, 4);
    check_table("roberta", 15, 5);
    check_table("bert", 64, 8);
}

static void test_published_models_have_the_published_size(void **state) {
    (void)state;
    km_model_config config = {.type = "bert",
                              .hidden_act = "gelu",
                              .vocab_size = 30522,
                              .hidden_size = 768,
                              .num_hidden_layers = 12,
                              .num_attention_heads = 12,
                              .intermediate_size = 3072,
                              .max_position_embeddings = 512,
                              .type_vocab_size = 2,
                              .layer_norm_eps = 1e-12};
    km_model *bert = make(config);
    assert_int_equal(km_model_table(bert)->elements,
                     109514298); /* transformers' BertForMaskedLM.num_parameters() */
    const km_param *word = km_table_find(km_model_table(bert), "bert.embeddings.word_embeddings.weight");
    assert_int_equal(word->offset, 0);
    assert_int_equal(word->dims[0], 30522);
    assert_int_equal(word->dims[1], 768);
    km_model_destroy(bert);
    snprintf(config.type, sizeof config.type, "roberta");
    config.vocab_size = 50265;
    config.max_position_embeddings = 514;
    config.type_vocab_size = 1;
    config.pad_token_id = 1;
    km_model *roberta = make(config);
    assert_int_equal(km_model_table(roberta)->elements, 124697433); /* RobertaForMaskedLM */
    km_model_destroy(roberta);
}

/* Over sorted names, whatever the order in the table; gaps do not count, every value does. */
static void test_hash_is_of_names_and_values(void **state) {
    (void)state;
    km_param params[] = {{.name = "b", .offset = 0, .count = 3}, {.name = "a", .offset = 16, .count = 2}};
    km_param other[] = {{.name = "a", .offset = 0, .count = 2}, {.name = "b", .offset = 2, .count = 3}};
    km_table one = {params, 2, 32, 5}, two = {other, 2, 32, 5};
    float x[32] = {1, 2, 3, [3] = 77, [16] = 4, [17] = 5}, y[32] = {4, 5, 1, 2, 3};
    km_hash hash = km_table_hash(&one, x);
    char bytes[64];
    size_t size = 0;
    memcpy(bytes + size, "a", 2), size += 2;
    memcpy(bytes + size, y, 8), size += 8;
    memcpy(bytes + size, "b", 2), size += 2;
    memcpy(bytes + size, x, 12), size += 12;
    assert_true(km_hash_equal(hash, km_hash_bytes(bytes, size)));
    assert_true(km_hash_equal(hash, km_table_hash(&two, y)));
    y[4] += 1;
    assert_false(km_hash_equal(hash, km_table_hash(&two, y)));
}

/* ---- Initial weights ---- */

static float *initial(const km_model *model, uint64_t seed) {
    float *weights = km_new(km_model_table(model)->size, sizeof *weights);
    km_model_init_weights(model, weights, seed);
    return weights;
}

static void check_moments(const float *x, const km_param *param, double deviation) {
    double mean = 0, square = 0, n = (double)param->count;
    for (size_t i = 0; i < param->count; i++) {
        mean += (double)x[i] / n;
        square += (double)x[i] * (double)x[i] / n;
    }
    assert_true(fabs(mean) <= 5 * deviation / sqrt(n)); /* five standard errors */
    assert_true(fabs(square - deviation * deviation) <= 5 * deviation * deviation * sqrt(2 / n));
}

static void test_initial_weights_have_the_right_moments(void **state) {
    (void)state;
    km_model_config config = small_config("bert");
    config.hidden_size = 96;
    config.intermediate_size = 200;
    config.pad_token_id = -1; /* no row of zeros */
    km_model *model = make(config);
    const km_table *table = km_model_table(model);
    float *weights = initial(model, 3);
    for (int p = 0; p < table->count; p++) {
        const km_param *param = &table->params[p];
        const float *x = weights + param->offset;
        if (param->rank == 2) {
            check_moments(x, param, 0.3);
            assert_true(param->count < 4097 || x[0] != x[4096]); /* blocks of the generator differ */
            continue;
        }
        bool one = strstr(param->name, "LayerNorm.weight") != NULL;
        for (size_t i = 0; i < param->count; i++) {
            assert_true(x[i] == (one ? 1.0f : 0.0f));
        }
    }
    free(weights);
    km_model_destroy(model);
}

static bool same_part(const km_model *a, const float *x, const km_model *b, const float *y, const char *name) {
    const km_param *p = km_table_find(km_model_table(a), name), *q = km_table_find(km_model_table(b), name);
    assert_true(p != NULL && q != NULL && p->count == q->count);
    return memcmp(x + p->offset, y + q->offset, p->count * sizeof *x) == 0;
}

static void test_initial_weights_are_keyed_by_name(void **state) {
    (void)state;
    km_model_config config = small_config("bert");
    km_model *shallow = make(config);
    config.num_hidden_layers = 5;
    config.type_vocab_size = 3;
    km_model *deep = make(config);
    float *x = initial(shallow, 3), *y = initial(deep, 3), *z = initial(shallow, 4);
    const char *kept[] = {"bert.embeddings.word_embeddings.weight",
                          "bert.encoder.layer.2.attention.self.value.weight",
                          "cls.predictions.transform.dense.weight"};
    for (size_t i = 0; i < KM_COUNT(kept); i++) {
        assert_true(same_part(shallow, x, deep, y, kept[i]));
        assert_false(same_part(shallow, x, shallow, z, kept[i]));
    }
    const km_param *a = km_table_find(km_model_table(shallow), "bert.encoder.layer.0.attention.self.query.weight");
    const km_param *b = km_table_find(km_model_table(shallow), "bert.encoder.layer.1.attention.self.query.weight");
    assert_memory_not_equal(x + a->offset, x + b->offset, a->count * sizeof *x);
    free(x);
    free(y);
    free(z);
    km_model_destroy(shallow);
    km_model_destroy(deep);
}

static bool row_is_zero(const km_model *model, const float *weights, const char *name, int row) {
    const km_param *param = km_table_find(km_model_table(model), name);
    for (size_t c = 0; c < 20; c++) {
        if (weights[param->offset + (size_t)row * 20 + c] != 0.0f) {
            return false;
        }
    }
    return true;
}

static void test_pad_rows_start_at_zero(void **state) {
    (void)state;
    km_model *bert = make(small_config("bert")), *roberta = make(small_config("roberta"));
    float *x = initial(bert, 3), *y = initial(roberta, 3);
    assert_true(row_is_zero(bert, x, "bert.embeddings.word_embeddings.weight", 1));
    assert_false(row_is_zero(bert, x, "bert.embeddings.word_embeddings.weight", 2));
    assert_false(row_is_zero(bert, x, "bert.embeddings.position_embeddings.weight", 1));
    assert_true(row_is_zero(roberta, y, "roberta.embeddings.word_embeddings.weight", 1));
    assert_true(row_is_zero(roberta, y, "roberta.embeddings.position_embeddings.weight", 1));
    assert_false(row_is_zero(roberta, y, "roberta.embeddings.position_embeddings.weight", 0));
    free(x);
    free(y);
    km_model_destroy(bert);
    km_model_destroy(roberta);
}

/* ---- Refusals ---- */

static void refuse(km_model_config config, const char *word) {
    km_model *model = NULL;
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_USAGE);
    assert_null(model);
    if (strstr(km_message(), word) == NULL) {
        fail_msg("\"%s\" does not name %s", km_message(), word);
    }
}

static void test_wrong_sizes_are_refused_by_name(void **state) {
    (void)state;
    static const int64_t wrong[] = {0, -1, INT64_MIN, INT64_MAX, (int64_t)1 << 32};
    km_model_config c;
    for (size_t i = 0; i < KM_COUNT(wrong); i++) {
        c = small_config("bert"), c.vocab_size = wrong[i], refuse(c, "vocab_size");
        c = small_config("bert"), c.hidden_size = wrong[i], refuse(c, "hidden_size");
        c = small_config("bert"), c.num_hidden_layers = wrong[i], refuse(c, "num_hidden_layers");
        c = small_config("bert"), c.num_attention_heads = wrong[i], refuse(c, "num_attention_heads");
        c = small_config("bert"), c.intermediate_size = wrong[i], refuse(c, "intermediate_size");
        c = small_config("bert"), c.max_position_embeddings = wrong[i], refuse(c, "max_position_embeddings");
        c = small_config("bert"), c.type_vocab_size = wrong[i], refuse(c, "type_vocab_size");
    }
    c = small_config("bert"), c.num_attention_heads = 3, refuse(c, "num_attention_heads");
    c = small_config("bert"), c.pad_token_id = 41, refuse(c, "pad_token_id");
    c = small_config("bert"), c.pad_token_id = -2, refuse(c, "pad_token_id");
    c = small_config("roberta"), c.pad_token_id = -1, refuse(c, "pad_token_id");
    c = small_config("roberta"), c.max_position_embeddings = 2, refuse(c, "max_position_embeddings");
}

static void test_wrong_words_and_numbers_are_refused_by_name(void **state) {
    (void)state;
    static const double wrong[] = {-0.1, 1.0, 0.999999, NAN, INFINITY};
    km_model_config c = small_config("gpt");
    refuse(c, "gpt");
    refuse(small_config(""), "type");
    c = small_config("bert"), snprintf(c.hidden_act, sizeof c.hidden_act, "relu"), refuse(c, "relu");
    memset(c.type, 'x', sizeof c.type); /* not even ended */
    refuse(c, "type");
    for (size_t i = 0; i < KM_COUNT(wrong); i++) {
        c = small_config("bert"), c.hidden_dropout_prob = wrong[i], refuse(c, "hidden_dropout_prob");
        c = small_config("bert"), c.attention_probs_dropout_prob = wrong[i];
        refuse(c, "attention_probs_dropout_prob");
    }
    c = small_config("bert"), c.layer_norm_eps = 0, refuse(c, "layer_norm_eps");
    c = small_config("bert"), c.layer_norm_eps = NAN, refuse(c, "layer_norm_eps");
    c = small_config("bert"), c.initializer_range = -1, refuse(c, "initializer_range");
}

static void test_work_areas_fit_or_are_refused(void **state) {
    (void)state;
    km_model *bert = make(small_config("bert")), *roberta = make(small_config("roberta"));
    km_work_options kept = {.limits.views = 4,
                            .limits.tokens = 96,
                            .limits.labelled = 20,
                            .limits.longest = 24,
                            .backward = true},
                    recomputed = kept, forward = kept, wrong;
    km_work *work = NULL;
    recomputed.recompute = true;
    forward.backward = false;
    assert_true(km_work_bytes(bert, &forward) < km_work_bytes(bert, &recomputed));
    assert_true(km_work_bytes(bert, &recomputed) < km_work_bytes(bert, &kept));
    assert_int_equal(km_work_create(&work, roberta, &kept), KM_USAGE); /* 24 positions less 2 */
    assert_null(work);
    wrong = kept, wrong.limits.longest = 25;
    assert_int_equal(km_work_create(&work, bert, &wrong), KM_USAGE);
    wrong = kept, wrong.limits.tokens = INT32_MAX;
    assert_int_equal(km_work_create(&work, bert, &wrong), KM_USAGE);
    wrong = kept, wrong.limits.labelled = -1;
    assert_int_equal(km_work_create(&work, bert, &wrong), KM_USAGE);
    wrong = kept, wrong.limits.views = 0;
    assert_int_equal(km_work_create(&work, bert, &wrong), KM_USAGE);
    km_model_destroy(bert);
    km_model_destroy(roberta);
    km_model_destroy(NULL);
    km_work_destroy(NULL);
}

/* One layer, one view: counted by hand. */
static void test_flops_are_those_of_the_products(void **state) {
    (void)state;
    km_model_config config = small_config("bert");
    const int lengths[] = {10, 0};
    static own_batch own;
    own_draw(&own, &config, lengths, 0.5, false, 4);
    double M = own.batch.labelled, key_value = 10 * 20 * 40, queries = M * 20 * 20, scores = 2 * M * 10 * 20;
    double rest = M * (20 * 20 + 2 * 20 * 27), head = M * (20 * 20 + 20 * 41);
    config.num_hidden_layers = 1;
    km_model *model = make(config);
    assert_true(fabs(km_model_flops(model, &own.batch) - 6 * (key_value + queries + scores + rest + head)) < 1);
    km_model_destroy(model);
    config.num_hidden_layers = 2;
    double layer = 10 * (4 * 20 * 20 + 2 * 20 * 27) + 2 * 10 * 10 * 20;
    model = make(config);
    assert_true(fabs(km_model_flops(model, &own.batch) - 6 * (layer + key_value + queries + scores + rest + head)) <
                1);
    km_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts_follow_each_other),
                                       cmocka_unit_test(test_published_models_have_the_published_size),
                                       cmocka_unit_test(test_hash_is_of_names_and_values),
                                       cmocka_unit_test(test_initial_weights_have_the_right_moments),
                                       cmocka_unit_test(test_initial_weights_are_keyed_by_name),
                                       cmocka_unit_test(test_pad_rows_start_at_zero),
                                       cmocka_unit_test(test_wrong_sizes_are_refused_by_name),
                                       cmocka_unit_test(test_wrong_words_and_numbers_are_refused_by_name),
                                       cmocka_unit_test(test_work_areas_fit_or_are_refused),
                                       cmocka_unit_test(test_flops_are_those_of_the_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
