/* Loss, probabilities and every gradient against HuggingFace transformers in float64 (tools/golden_model.py, which
 * describes the files). */
#include "model/golden.h"
#include "model/support.h"

static void take_batch(golden_reader *in, own_batch *own) {
    km_batch *batch = &own->batch;
    memset(own, 0, sizeof *own);
    batch->views = take_int(in);
    batch->input.tokens = take_int(in);
    batch->labelled = take_int(in);
    bool types = take_int(in) != 0;
    assert_true(batch->views <= MOST_VIEWS_HERE && batch->input.tokens <= MOST_TOKENS_HERE);
    size_t N = (size_t)batch->input.tokens, M = (size_t)batch->labelled, B = (size_t)batch->views;
    memcpy(own->starts, take(in, B + 1, 4), (B + 1) * 4);
    memcpy(own->ids, take(in, N, 4), N * 4);
    if (types) {
        memcpy(own->types, take(in, N, 4), N * 4);
    }
    memcpy(own->at, take(in, M, 4), M * 4);
    memcpy(own->labels, take(in, M, 4), M * 4);
    for (size_t v = 0; v < B; v++) {
        batch->input.longest = KM_MAX(batch->input.longest, own->starts[v + 1] - own->starts[v]);
    }
    own_link(own, types);
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
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, file);
    golden_reader in = open_golden(path, "KMG1");
    km_model_config config = small_config("bert");
    take_config(&in, &config);
    static own_batch own;
    take_batch(&in, &own);
    double loss = take_double(&in);
    size_t count = (size_t)own.batch.labelled * (size_t)config.vocab_size;
    float *probabilities = km_new(count, sizeof *probabilities);
    memcpy(probabilities, take(&in, count, 4), count * 4);

    km_model *model = NULL;
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_OK);
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
    free(in.bytes);
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
