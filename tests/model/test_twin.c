/* Loss with dropout against the twin in double, and every part's gradient against the twin's central differences
 * along random directions: dropout is a function of its keys, so it is differentiated as it stands. */
#include "model/twin.h"

static const int lengths[] = {7, 1, 13, 4, 0};

static void avoid_pad(own_batch *own, const km_model_config *config) { /* its row learns nothing from being read */
    for (int i = 0; i < own->batch.input.tokens; i++) {
        own->ids[i] += own->ids[i] == config->pad_token_id ? 1 : 0;
    }
}

/* (loss(w + h d) - loss(w - h d)) / 2h. In double h = 1e-5 leaves about 1e-9 of truncation and of rounding. */
static double slope(twin *t, double *weights, const km_param *param, const double *direction,
                    const km_batch *batch) {
    const double h = 1e-5;
    double loss[2];
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < param->count; i++) {
            weights[param->offset + i] += (side == 0 ? h : -2 * h) * direction[i];
        }
        loss[side] = twin_loss(t, batch, NULL);
    }
    for (size_t i = 0; i < param->count; i++) {
        weights[param->offset + i] += h * direction[i];
    }
    return (loss[0] - loss[1]) / (2 * h);
}

/* Rows of embeddings that are read and learn nothing by it: the pad token's, as the field has it. */
static bool in_pad_row(const twin *t, const km_param *param, size_t i) {
    bool word = strstr(param->name, "word_embeddings") != NULL;
    bool position = strstr(param->name, "position_embeddings") != NULL && strcmp(t->config->type, "roberta") == 0;
    return (word || position) && i / (size_t)t->config->hidden_size == (size_t)t->config->pad_token_id;
}

/* Along a random direction of unit variance the slope is about |g|; single precision's rounding, which is
 * independent from element to element, is some 1e-6 of the values that go into it: 2e-5 |g|, and 1e-5 where the
 * gradient is zero by mathematics (key biases), is 20 times that and far below any wrong term. */
static void check_part(twin *t, double *weights, const km_param *param, const double *gradient,
                       const km_batch *batch) {
    double *direction = km_new(param->count, sizeof *direction);
    for (uint64_t trial = 0; trial < 2; trial++) {
        km_rng rng = km_rng_make(trial, KM_RNG_TEST, 3, param->offset);
        double expected = 0, norm = 0;
        for (size_t i = 0; i < param->count; i++) {
            direction[i] = batch->input.seen != NULL && in_pad_row(t, param, i) ? 0 : km_rng_normal(&rng);
            expected += gradient[param->offset + i] * direction[i];
            norm += gradient[param->offset + i] * gradient[param->offset + i];
        }
        double got = slope(t, weights, param, direction, batch);
        if (!(fabs(got - expected) <= 2e-5 * sqrt(norm) + 1e-5)) {
            fail_msg("%s: slope %.9g, gradient %.9g, |gradient| %g", param->name, got, expected, sqrt(norm));
        }
    }
    free(direction);
}

/* The pad token at a view's ends and inside, some of it seen; other tokens that nobody sees, some of them labelled. */
static void add_padding(own_batch *own, const km_model_config *config) {
    for (int i = 0; i < own->batch.input.tokens; i++) {
        own->seen[i] = i % 4 != 3;
    }
    for (int view = 0; view < own->batch.views; view++) {
        own->seen[own->starts[view + 1] - 1] = 1; /* one at least */
    }
    for (int i = 2; i < own->batch.input.tokens; i += 5) {
        own->ids[i] = (int32_t)config->pad_token_id;
    }
    own->batch.input.seen = own->seen;
}

/* Norms of the labels' gradients, which weights leave as they are. */
static void check_norms(const km_model *model, const float *weights, const km_batch *batch,
                        const double *expected) {
    km_work_options options = options_of(batch, false);
    km_work *work = NULL;
    km_loss_sum sum;
    options.norms = true;
    keeper keep = keeper_make(km_model_table(model));
    assert_int_equal(km_work_create(&work, model, &options), KM_OK);
    add_gradient(&keep, &sum, model, weights, batch, true, work);
    for (int m = 0; m < batch->labelled; m++) {
        const double norm = (double)km_work_norms(work)[m];
        if (!(fabs(norm - expected[m]) <= 1e-5 * expected[m])) {
            fail_msg("label %d: norm %.9g, expected %.9g", m, norm, expected[m]);
        }
    }
    km_work_destroy(work);
    keeper_free(&keep);
}

enum { WEIGHTS = 1, PADDING = 2 };

static void check_model(km_model_config config, bool types, bool dropout, int with) {
    km_model *model = NULL;
    static own_batch own;
    km_loss_sum sum;
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_OK);
    const km_table *table = km_model_table(model);
    float *single = random_weights(model, 5);
    double *weights = km_new(table->size, sizeof *weights);
    for (size_t i = 0; i < table->size; i++) {
        weights[i] = (double)single[i];
    }
    own_draw(&own, &config, lengths, 0.35, types, 21);
    (with & PADDING ? add_padding : avoid_pad)(&own, &config);
    if (with & WEIGHTS) {
        own_weigh(&own, 22);
    }
    assert_true(own.batch.labelled > 3 && own.batch.labelled < own.batch.input.tokens);
    keeper keep = gradient_of(&sum, model, single, &own.batch, dropout, false);
    twin t = {&config, table, weights, SEED, dropout};
    double norms[MOST_TOKENS_HERE], loss = twin_loss(&t, &own.batch, norms);
    assert_true(fabs(sum.loss - loss) <= 2e-6 * fabs(loss));
    for (int p = 0; p < table->count; p++) {
        check_part(&t, weights, &table->params[p], keep.sum, &own.batch);
    }
    if (dropout) {
        check_norms(model, single, &own.batch, norms);
    }
    keeper_free(&keep);
    free(single);
    free(weights);
    km_model_destroy(model);
}

static void test_weights(void **state) {
    (void)state;
    check_model(small_config("bert"), true, true, WEIGHTS);
    check_model(small_config("roberta"), false, true, WEIGHTS | PADDING);
}

static void test_bert_with_dropout(void **state) {
    (void)state;
    check_model(small_config("bert"), true, true, 0);
}

static void test_roberta_with_dropout(void **state) {
    (void)state;
    check_model(small_config("roberta"), false, true, 0);
}

static void test_one_tanh_layer(void **state) {
    (void)state;
    km_model_config config = small_config("bert");
    config.num_hidden_layers = 1;
    snprintf(config.hidden_act, sizeof config.hidden_act, "gelu_new");
    check_model(config, true, true, 0);
}

static void test_without_dropout(void **state) {
    (void)state;
    check_model(small_config("bert"), false, false, 0);
}

static void test_only_attention_dropout(void **state) {
    (void)state;
    km_model_config config = small_config("bert");
    config.hidden_dropout_prob = 0;
    check_model(config, true, true, 0);
}

static void test_padding(void **state) {
    (void)state;
    check_model(small_config("bert"), true, false, PADDING);
    check_model(small_config("roberta"), true, false, PADDING);
    check_model(small_config("roberta"), false, true, PADDING);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bert_with_dropout),
                                       cmocka_unit_test(test_roberta_with_dropout),
                                       cmocka_unit_test(test_one_tanh_layer),
                                       cmocka_unit_test(test_without_dropout),
                                       cmocka_unit_test(test_only_attention_dropout),
                                       cmocka_unit_test(test_padding),
                                       cmocka_unit_test(test_weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
