/* Loss, probabilities and every gradient against HuggingFace transformers in float64 (tools/golden_model.py, which
 * describes the files). */
#include "model/support.h"

typedef struct reader {
    const char *bytes;
    size_t size, at;
} reader;

static const void *take(reader *in, size_t count, size_t size) {
    const char *from = in->bytes + in->at;
    in->at += count * size;
    assert_true(in->at <= in->size);
    return from;
}

static int32_t take_int(reader *in) {
    int32_t value;
    memcpy(&value, take(in, 1, 4), 4);
    return value;
}

static double take_double(reader *in) {
    double value;
    memcpy(&value, take(in, 1, 8), 8);
    return value;
}

static km_model_config take_config(reader *in) {
    km_model_config config = small_config(take_int(in) ? "roberta" : "bert");
    config.vocab_size = take_int(in);
    config.hidden_size = take_int(in);
    config.num_hidden_layers = take_int(in);
    config.num_attention_heads = take_int(in);
    config.intermediate_size = take_int(in);
    config.max_position_embeddings = take_int(in);
    config.type_vocab_size = take_int(in);
    config.pad_token_id = take_int(in);
    snprintf(config.hidden_act, sizeof config.hidden_act, "%s", take_int(in) ? "gelu_new" : "gelu");
    config.layer_norm_eps = take_double(in);
    return config;
}

static void take_batch(reader *in, own_batch *own) {
    km_batch *batch = &own->batch;
    memset(own, 0, sizeof *own);
    batch->views = take_int(in);
    batch->tokens = take_int(in);
    batch->labelled = take_int(in);
    bool types = take_int(in) != 0;
    assert_true(batch->views <= MOST_VIEWS_HERE && batch->tokens <= MOST_TOKENS_HERE);
    size_t N = (size_t)batch->tokens, M = (size_t)batch->labelled, B = (size_t)batch->views;
    memcpy(own->starts, take(in, B + 1, 4), (B + 1) * 4);
    memcpy(own->ids, take(in, N, 4), N * 4);
    if (types) {
        memcpy(own->types, take(in, N, 4), N * 4);
    }
    memcpy(own->at, take(in, M, 4), M * 4);
    memcpy(own->labels, take(in, M, 4), M * 4);
    for (size_t v = 0; v < B; v++) {
        batch->longest = KM_MAX(batch->longest, own->starts[v + 1] - own->starts[v]);
    }
    own_link(own, types);
}

/* Weights and reference gradients by name; every part of the table must be there. */
static void take_parameters(reader *in, const km_table *table, float *weights, float *gradient) {
    int count = take_int(in);
    assert_int_equal(count, table->count);
    for (int i = 0; i < count; i++) {
        char name[113] = {0};
        memcpy(name, take(in, 112, 1), 112);
        const km_param *param = km_table_find(table, name);
        if (param == NULL) {
            fail_msg("the table has no %s", name);
        }
        assert_int_equal(take_int(in), param->count);
        memcpy(weights + param->offset, take(in, param->count, 4), param->count * 4);
        memcpy(gradient + param->offset, take(in, param->count, 4), param->count * 4);
    }
    assert_int_equal(in->at, in->size);
}

/* Single precision's rounding over a few layers: 1e-4 of the tensor's largest value. Key biases have no gradient at
 * all (softmax ignores a shift): what is left is the rounding of terms of about 1 that cancel. */
static double tolerance(const km_param *param, double most) {
    return strstr(param->name, ".key.bias") != NULL ? 2e-5 : 1e-4 * most;
}

static void compare_gradient(const km_table *table, const double *got, const float *expected) {
    for (int p = 0; p < table->count; p++) {
        const km_param *param = &table->params[p];
        double most = 0, worst = 0;
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            most = fmax(most, fabs((double)expected[i]));
            worst = fmax(worst, fabs(got[i] - (double)expected[i]));
        }
        if (!(worst <= tolerance(param, most))) {
            fail_msg("%s: off by %g, largest %g", param->name, worst, most);
        }
    }
}

static void compare_forward(const km_model *model, const float *weights, const km_batch *batch, double loss,
                            const float *probabilities) {
    km_work_options options = options_of(batch, false);
    options.backward = false;
    km_work *work = NULL;
    km_loss_sum sum;
    const float *got = NULL;
    assert_int_equal(km_work_create(&work, model, &options), KM_OK);
    km_model_forward(model, weights, batch, work, &sum, &got);
    assert_true(fabs(sum.loss - loss) <= 1e-5 * fabs(loss));
    assert_int_equal(sum.masked, batch->labelled);
    size_t V = (size_t)km_model_shape(model)->vocab_size;
    for (size_t i = 0; i < (size_t)batch->labelled * V; i++) {
        assert_true(fabsf(got[i] - probabilities[i]) <= 2e-5f);
    }
    km_work_destroy(work);
}

static void run_golden(const char *file) {
    char path[KM_PATH];
    char *bytes = NULL;
    reader in = {0};
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, file);
    assert_int_equal(km_file_read(&bytes, &in.size, path, 1 << 20), KM_OK);
    in.bytes = bytes;
    assert_memory_equal(take(&in, 4, 1), "KMG1", 4);
    km_model_config config = take_config(&in);
    static own_batch own;
    take_batch(&in, &own);
    double loss = take_double(&in);
    size_t count = (size_t)own.batch.labelled * (size_t)config.vocab_size;
    float *probabilities = km_new(count, sizeof *probabilities);
    memcpy(probabilities, take(&in, count, 4), count * 4);

    km_model *model = NULL;
    assert_int_equal(km_model_create(&model, &config), KM_OK);
    const km_table *table = km_model_table(model);
    float *weights = km_new(table->size, sizeof *weights), *gradient = km_new(table->size, sizeof *gradient);
    take_parameters(&in, table, weights, gradient);
    compare_forward(model, weights, &own.batch, loss, probabilities);
    km_loss_sum sum;
    keeper keep = gradient_of(&sum, model, weights, &own.batch, false, false);
    assert_true(fabs(sum.loss - loss) <= 1e-5 * fabs(loss));
    compare_gradient(table, keep.sum, gradient);

    keeper_free(&keep);
    free(weights);
    free(gradient);
    free(probabilities);
    free(bytes);
    km_model_destroy(model);
}

static void test_bert_two_types(void **state) {
    (void)state;
    run_golden("bert_two_types.bin");
}

static void test_bert_tanh_gelu(void **state) {
    (void)state;
    run_golden("bert_new.bin");
}

static void test_roberta(void **state) {
    (void)state;
    run_golden("roberta.bin");
}

static void test_roberta_tanh_gelu(void **state) {
    (void)state;
    run_golden("roberta_new.bin");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bert_two_types), cmocka_unit_test(test_bert_tanh_gelu),
                                       cmocka_unit_test(test_roberta), cmocka_unit_test(test_roberta_tanh_gelu)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
