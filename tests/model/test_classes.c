/* The classification head: logits, loss and every gradient against HuggingFace transformers in float64
 * (tools/golden_classes.py describes the files), dropout by finite differences, and what does not fit. */
#include "model/golden.h"
#include "model/support.h"

typedef struct classifier {
    golden_reader in;
    km_model_config config;
    km_model *model;
    own_batch own;
    int32_t classes[MOST_VIEWS_HERE];
    float numbers[MOST_VIEWS_HERE];
    double loss;
    float logits[MOST_VIEWS_HERE * 16];
    float *weights, *gradient;
} classifier;

static void take_views(classifier *c) {
    km_batch *batch = &c->own.batch;
    c->config.num_labels = take_int(&c->in);
    batch->views = take_int(&c->in);
    batch->input.tokens = take_int(&c->in);
    bool types = take_int(&c->in) != 0;
    size_t N = (size_t)batch->input.tokens, B = (size_t)batch->views, K = (size_t)c->config.num_labels;
    memcpy(c->own.starts, take(&c->in, B + 1, 4), (B + 1) * 4);
    memcpy(c->own.ids, take(&c->in, N, 4), N * 4);
    if (types) {
        memcpy(c->own.types, take(&c->in, N, 4), N * 4);
    }
    memcpy(K == 1 ? (void *)c->numbers : (void *)c->classes, take(&c->in, B, 4), B * 4);
    for (size_t v = 0; v < B; v++) {
        batch->input.longest = KM_MAX(batch->input.longest, c->own.starts[v + 1] - c->own.starts[v]);
        for (int32_t i = c->own.starts[v]; i < c->own.starts[v + 1]; i++) {
            c->own.keys[i] = v * 65536 + (uint64_t)(i - c->own.starts[v]);
        }
    }
    own_link(&c->own, types);
    batch->classes = c->classes;
    batch->numbers = c->numbers;
    c->loss = take_double(&c->in);
    memcpy(c->logits, take(&c->in, B * K, 4), B * K * 4);
}

static classifier *open_classifier(const char *file) {
    char path[KM_PATH];
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, file);
    classifier *c = km_new(1, sizeof *c);
    c->in = open_golden(path, "KMG3");
    c->config = small_config("bert");
    take_config(&c->in, &c->config);
    take_views(c);
    assert_int_equal(km_model_create(&c->model, &c->config, KM_HEAD_CLASSES), KM_OK);
    const km_table *table = km_model_table(c->model);
    c->weights = km_new(table->size, sizeof *c->weights);
    c->gradient = km_new(table->size, sizeof *c->gradient);
    take_parameters(&c->in, table, c->weights, c->gradient);
    return c;
}

static void close_classifier(classifier *c) {
    km_model_destroy(c->model);
    free(c->weights);
    free(c->gradient);
    free(c->in.bytes);
    free(c);
}

static void compare_logits(const classifier *c) {
    km_work_options options = options_of(&c->own.batch, false);
    options.backward = false;
    km_work *work = NULL;
    assert_int_equal(km_work_create(&work, c->model, &options), KM_OK);
    const float *logits = km_model_logits(c->model, c->weights, &c->own.batch, work);
    float most = 0;
    size_t count = (size_t)c->own.batch.views * (size_t)c->config.num_labels;
    for (size_t i = 0; i < count; i++) {
        most = fmaxf(most, fabsf(c->logits[i]));
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(fabsf(logits[i] - c->logits[i]) <= 1e-5f * most);
    }
    km_work_destroy(work);
}

static void compare_gradient(const classifier *c, const keeper *keep) {
    const km_table *table = km_model_table(c->model);
    for (int p = 0; p < table->count; p++) {
        const km_param *param = &table->params[p];
        double most = 0, worst = 0;
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            most = fmax(most, fabs((double)c->gradient[i]));
            worst = fmax(worst, fabs(keep->sum[i] - (double)c->gradient[i]));
        }
        if (!(worst <= (strstr(param->name, ".key.bias") != NULL ? 2e-5 : 1e-4 * most))) {
            fail_msg("%s: off by %g, largest %g", param->name, worst, most);
        }
    }
}

static void classifiers_agree_with_the_reference(void **state) {
    (void)state;
    static const char *const files[] = {"classes_bert.bin",           "classes_bert_number.bin",
                                        "classes_bert_many.bin",      "classes_roberta.bin",
                                        "classes_roberta_number.bin", "classes_roberta_many.bin"};
    for (size_t i = 0; i < KM_COUNT(files); i++) {
        classifier *c = open_classifier(files[i]);
        compare_logits(c);
        for (int recompute = 0; recompute < 2; recompute++) {
            km_loss_sum sum;
            keeper keep = gradient_of(&sum, c->model, c->weights, &c->own.batch, false, recompute != 0);
            assert_true(fabs(sum.loss - c->loss) <= 1e-5 * fabs(c->loss));
            assert_int_equal(sum.masked, c->own.batch.views);
            compare_gradient(c, &keep);
            keeper_free(&keep);
        }
        close_classifier(c);
    }
}

/* With dropout the loss is a function of the seed, so its gradient can be compared with differences along a direction. */
static void dropout_has_its_gradient(void **state) {
    (void)state;
    static const char *const files[] = {"classes_bert.bin", "classes_roberta_number.bin"};
    for (size_t i = 0; i < KM_COUNT(files); i++) {
        classifier *c = open_classifier(files[i]);
        km_model_destroy(c->model);
        c->config.has_classifier_dropout = true;
        c->config.classifier_dropout = 0.3;
        assert_int_equal(km_model_create(&c->model, &c->config, KM_HEAD_CLASSES), KM_OK);
        const km_table *table = km_model_table(c->model);
        km_loss_sum sum, plain;
        keeper keep = gradient_of(&sum, c->model, c->weights, &c->own.batch, true, false);
        keeper without = gradient_of(&plain, c->model, c->weights, &c->own.batch, false, false);
        assert_true(fabs(sum.loss - plain.loss) > 1e-6);
        double length = 0, moved[2], slope = 0;
        for (size_t k = 0; k < table->size; k++) {
            length += keep.sum[k] * keep.sum[k];
        }
        slope = sqrt(length);
        for (int side = 0; side < 2; side++) {
            const double step = (side == 0 ? 1e-3 : -1e-3) / slope;
            float *there = km_new(table->size, sizeof *there);
            for (size_t k = 0; k < table->size; k++) {
                there[k] = (float)((double)c->weights[k] + step * keep.sum[k]);
            }
            keeper unused = gradient_of(&sum, c->model, there, &c->own.batch, true, false);
            moved[side] = sum.loss;
            keeper_free(&unused);
            free(there);
        }
        assert_true(fabs((moved[0] - moved[1]) / 2e-3 - slope) <= 5e-3 * slope);
        keeper_free(&keep);
        keeper_free(&without);
        close_classifier(c);
    }
}

static void what_does_not_fit_is_named(void **state) {
    (void)state;
    km_model *model = NULL;
    km_model_config config = small_config("bert");
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_CLASSES), KM_USAGE);
    assert_non_null(strstr(km_message(), "num_labels"));
    config.num_labels = 3;
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_CLASSES), KM_OK);
    static own_batch own;
    const int lengths[] = {3, 5, 0};
    int32_t classes[] = {0, 3};
    own_draw(&own, &config, lengths, 0, true, 1);
    own.batch.classes = classes;
    assert_int_equal(km_model_check(model, &own.batch), KM_USAGE);
    assert_non_null(strstr(km_message(), "class 3"));
    classes[1] = 2;
    assert_int_equal(km_model_check(model, &own.batch), KM_OK);
    km_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(classifiers_agree_with_the_reference),
                                       cmocka_unit_test(dropout_has_its_gradient),
                                       cmocka_unit_test(what_does_not_fit_is_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
