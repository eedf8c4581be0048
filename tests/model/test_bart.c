/* BART: loss, logits, hidden states and every gradient against HuggingFace transformers in float64 (tools/golden_bart.py), with
 * padding and without; with dropout against the twin in double; and what may not change a result. */
#include "model/bart_support.h"
#include "model/golden_bart.h"
#include "model/twin_bart.h"

static golden_bart open_file(const char *file) {
    char path[KM_PATH];
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, file);
    return open_golden_bart(path);
}

/* ---- Against transformers ------------------------------------------------------------------------------------- */

/* Row b of the file: with padding all of it, else up to its last token that is seen, and its last label. */
static void append_row(own_pair *own, const golden_bart *g, int b, bool padded) {
    int source = g->S, target = g->T, view = own->batch.views++;
    while (!padded && g->mask[b * g->S + source - 1] == 0) {
        source--;
    }
    while (!padded && g->labels[b * g->T + target - 1] == -100) {
        target--;
    }
    for (int i = 0; i < source; i++) {
        int n = own_append(&own->batch.input, &own->input, view, i, g->ids[b * g->S + i]);
        own->input.seen[n] = g->mask[b * g->S + i] != 0;
    }
    for (int i = 0; i < target; i++) {
        int n = own_append(&own->batch.decoder, &own->decoder, view, i, g->decoder[b * g->T + i]);
        if (g->labels[b * g->T + i] != -100) {
            own_label(own, n, g->labels[b * g->T + i]);
        }
    }
}

static void take_rows(own_pair *own, const golden_bart *g, bool padded) {
    memset(own, 0, sizeof *own);
    own_pair_link(own);
    for (int b = 0; b < g->B; b++) {
        append_row(own, g, b, padded);
    }
    own->batch.input.seen = own->input.seen;
}

/* Keys' biases have no gradient but for rounding. */
static void compare_gradient(const golden_bart *g, const keeper *keep, double limit) {
    double steepest = 0;
    for (size_t i = 0; i < keep->table->size; i++) {
        steepest = fmax(steepest, fabs((double)g->gradient[i]));
    }
    for (int p = 0; p < keep->table->count; p++) {
        const km_param *param = &keep->table->params[p];
        double most = 0, worst = 0;
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            most = fmax(most, fabs((double)g->gradient[i]));
            worst = fmax(worst, fabs(keep->sum[i] / g->labelled - (double)g->gradient[i]));
        }
        bool zero = strstr(param->name, "k_proj.bias") != NULL;
        if (!(worst <= limit * (zero ? steepest : most))) {
            fail_msg("%s: off by %g, largest %g", param->name, worst, most);
        }
        assert_int_equal(param->trained, strcmp(param->name, "final_logits_bias") != 0);
    }
}

static void expect_rows(const char *what, const float *got, const float *expected, size_t count, double limit) {
    double most = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)expected[i]));
        worst = fmax(worst, isfinite(got[i]) ? fabs((double)got[i] - (double)expected[i]) : INFINITY);
    }
    if (!(worst <= limit * most)) {
        fail_msg("%s: off by %g, largest %g", what, worst, most);
    }
}

/* Logits at the labelled places; with padding also all hidden states but the decoder's last, which is made there alone. */
static void compare_states(const golden_bart *g, const own_pair *own, bool padded) {
    const size_t V = (size_t)g->config.vocab_size, C = (size_t)g->config.d_model;
    km_work_options options = pair_options(&own->batch, true);
    km_work *work = NULL;
    assert_int_equal(km_work_create(&work, g->model, &options), KM_OK);
    const float *logits = km_model_logits(g->model, g->weights, &own->batch, work);
    int m = 0;
    for (int i = 0; i < g->B * g->T; i++) {
        if (g->labels[i] != -100) {
            expect_rows("logits", logits + (size_t)m++ * V, g->logits + (size_t)i * V, V, 1e-4);
        }
    }
    assert_int_equal(m, g->labelled);
    for (int l = 0; padded && l <= (int)g->config.encoder_layers; l++) {
        const size_t count = (size_t)(g->B * g->S) * C;
        expect_rows("encoder", km_work_hidden(work, KM_ENCODER, l), g->encoder + (size_t)l * count, count, 1e-4);
    }
    for (int l = 0; padded && l < (int)g->config.decoder_layers; l++) {
        const size_t count = (size_t)(g->B * g->T) * C;
        expect_rows("decoder", km_work_hidden(work, KM_DECODER, l), g->states + (size_t)l * count, count, 1e-4);
    }
    assert_null(km_work_hidden(work, KM_DECODER, (int)g->config.decoder_layers + 1));
    km_work_destroy(work);
}

static void check_golden(const char *file, bool padded) {
    golden_bart g = open_file(file);
    static own_pair own;
    take_rows(&own, &g, padded);
    km_work_options options = pair_options(&own.batch, false);
    km_loss_sum sum;
    keeper keep = pair_gradient(&sum, g.model, g.weights, &own.batch, false, &options);
    assert_int_equal(sum.masked, g.labelled);
    assert_true(fabs(sum.loss / g.labelled - g.loss) <= 1e-5 * g.loss);
    compare_gradient(&g, &keep, 1e-4);
    compare_states(&g, &own, padded);
    keeper_free(&keep);
    close_golden_bart(&g);
}

static void equals_transformers_with_padding(void **state) {
    (void)state;
    check_golden("bart.bin", true);
    check_golden("bart_scaled.bin", true);
    check_golden("bart_deep.bin", true);
}

static void equals_transformers_without_padding(void **state) {
    (void)state;
    check_golden("bart.bin", false);
    check_golden("bart_deep.bin", false);
}

/* ---- With dropout, against the twin --------------------------------------------------------------------------- */

static const int short_lengths[][2] = {{7, 4}, {1, 6}, {11, 1}, {3, 9}, {0, 0}};

/* The slope of the twin's loss along a direction; see test_twin.c. */
static double slope(const twin *t, double *weights, const km_param *param, const double *direction,
                    const km_batch *batch) {
    const double h = 1e-5;
    double loss[2];
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < param->count; i++) {
            weights[param->offset + i] += (side == 0 ? h : -2 * h) * direction[i];
        }
        loss[side] = bart_loss(t, batch);
    }
    for (size_t i = 0; i < param->count; i++) {
        weights[param->offset + i] += h * direction[i];
    }
    return (loss[0] - loss[1]) / (2 * h);
}

static void check_part(const twin *t, double *weights, const km_param *param, const double *gradient,
                       const km_batch *batch) {
    double *direction = km_new(param->count, sizeof *direction), expected = 0, norm = 0;
    km_rng rng = km_rng_make(1, KM_RNG_TEST, 3, param->offset);
    for (size_t i = 0; i < param->count; i++) {
        direction[i] = km_rng_normal(&rng);
        expected += gradient[param->offset + i] * direction[i];
        norm += gradient[param->offset + i] * gradient[param->offset + i];
    }
    double got = slope(t, weights, param, direction, batch);
    if (param->trained && !(fabs(got - expected) <= 2e-5 * sqrt(norm) + 1e-5)) {
        fail_msg("%s: slope %.9g, gradient %.9g, |gradient| %g", param->name, got, expected, sqrt(norm));
    }
    if (!param->trained) { /* it has a slope, and gets no gradient */
        assert_true(fabs(got) > 1e-3 && norm <= 0);
    }
    free(direction);
}

static void check_twin(km_model_config config, bool dropout, bool hides) {
    km_model *model = NULL;
    static own_pair own;
    km_loss_sum sum;
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_OK);
    const km_table *table = km_model_table(model);
    float *single = random_weights(model, 5);
    double *weights = km_new(table->size, sizeof *weights);
    for (size_t i = 0; i < table->size; i++) {
        weights[i] = (double)single[i];
    }
    own_pair_draw(&own, &config, short_lengths, 0.4, 21);
    for (int i = 0; i < MOST_TOKENS_HERE; i++) { /* the pad token's row learns nothing from being read */
        own.input.ids[i] += own.input.ids[i] == config.pad_token_id;
        own.decoder.ids[i] += own.decoder.ids[i] == config.pad_token_id;
        own.input.seen[i] = i % 3 != 2 || i == 7;
    }
    own.batch.input.seen = hides ? own.input.seen : NULL;
    assert_true(own.batch.labelled > 3 && own.batch.labelled < own.batch.decoder.tokens);
    km_work_options options = pair_options(&own.batch, false);
    keeper keep = pair_gradient(&sum, model, single, &own.batch, dropout, &options);
    const twin t = {&config, table, weights, SEED, dropout};
    double loss = bart_loss(&t, &own.batch);
    assert_true(fabs(sum.loss - loss) <= 3e-6 * fabs(loss));
    for (int p = 0; p < table->count; p++) {
        check_part(&t, weights, &table->params[p], keep.sum, &own.batch);
    }
    keeper_free(&keep);
    free(single);
    free(weights);
    km_model_destroy(model);
}

static void equals_its_twin_with_dropout(void **state) {
    (void)state;
    check_twin(small_bart(), true, false);
    km_model_config config = small_bart();
    config.scale_embedding = true;
    config.encoder_layers = config.decoder_layers = 1;
    snprintf(config.activation_function, sizeof config.activation_function, "relu");
    check_twin(config, true, true);
}

static void each_dropout_alone_equals_the_twin(void **state) {
    (void)state;
    for (int which = 0; which < 3; which++) {
        km_model_config config = small_bart();
        config.encoder_layers = config.decoder_layers = 1;
        config.dropout = which == 0 ? 0.3 : 0;
        config.attention_dropout = which == 1 ? 0.3 : 0;
        config.activation_dropout = which == 2 ? 0.3 : 0;
        check_twin(config, true, false);
    }
}

/* ---- What may not change a result ------------------------------------------------------------------------------ */

static const int lengths[][2] = {{9, 20}, {1, 1}, {80, 7}, {3, 70}, {12, 5}, {0, 0}};

typedef struct fixture {
    km_model *model;
    float *weights;
    own_pair own;
} fixture;

static fixture *begin(double share) {
    fixture *f = km_new(1, sizeof *f);
    const km_model_config config = small_bart();
    assert_int_equal(km_model_create(&f->model, &config, KM_HEAD_TOKENS), KM_OK);
    f->weights = random_weights(f->model, 6);
    own_pair_draw(&f->own, &config, lengths, share, 33);
    return f;
}

static void end(fixture *f) {
    km_model_destroy(f->model);
    free(f->weights);
    free(f);
}

static keeper run(km_loss_sum *loss, const fixture *f, bool recompute, bool bf16) {
    km_work_options options = pair_options(&f->own.batch, recompute);
    options.bf16 = bf16;
    return pair_gradient(loss, f->model, f->weights, &f->own.batch, true, &options);
}

static bool has_bf16(void) {
    const km_bf16_support support = km_bf16_supported();
    return support != KM_BF16_NOT_BUILT && support != KM_BF16_NO_CPU;
}

static void same_bits(const keeper *a, const keeper *b) {
    assert_memory_equal(a->sum, b->sum, a->table->size * sizeof *a->sum);
    assert_memory_equal(a->touched, b->touched, a->table->size);
}

static void recompute_and_repeat_change_no_bit(void **state) {
    (void)state;
    fixture *f = begin(0.3);
    for (int bf16 = 0; bf16 <= has_bf16(); bf16++) {
        km_loss_sum first, again, recomputed;
        keeper a = run(&first, f, false, bf16), b = run(&again, f, false, bf16),
               c = run(&recomputed, f, true, bf16);
        same_bits(&a, &b);
        same_bits(&a, &c);
        assert_memory_equal(&first, &recomputed, sizeof first);
        assert_memory_equal(&first, &again, sizeof first);
        keeper_free(&a);
        keeper_free(&b);
        keeper_free(&c);
    }
    end(f);
}

static double norm_of(const double *a, const double *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double x = a[i] - (b == NULL ? 0 : b[i]);
        sum += x * x;
    }
    return sqrt(sum);
}

static void bf16_is_close_to_fp32(void **state) {
    (void)state;
    if (!has_bf16()) {
        skip();
    }
    fixture *f = begin(0.3);
    for (size_t i = 0; i < km_model_table(f->model)->size; i++) {
        f->weights[i] *= 0.5f; /* less steep: rounding is not magnified from layer to layer */
    }
    km_loss_sum single, half;
    keeper a = run(&single, f, false, false), b = run(&half, f, false, true);
    const double whole = norm_of(a.sum, NULL, a.table->size);
    assert_true(fabs(half.loss - single.loss) < 0.03 * single.loss && half.loss != single.loss);
    for (int p = 0; p < a.table->count; p++) {
        const km_param *param = &a.table->params[p];
        double off = norm_of(a.sum + param->offset, b.sum + param->offset, param->count);
        double size = norm_of(a.sum + param->offset, NULL, param->count);
        if (!(off <= 0.05 * size + 1e-3 * whole)) {
            fail_msg("%s: off by %.3g of %.3g", param->name, off, size);
        }
    }
    keeper_free(&a);
    keeper_free(&b);
    end(f);
}

/* View number `view` of `all` alone, with its dropout keys. */
static void take_view(own_pair *own, const own_pair *all, int view) {
    const km_batch *batch = &all->batch;
    memset(own, 0, sizeof *own);
    own_pair_link(own);
    own->batch.views = 1;
    for (int i = batch->input.starts[view]; i < batch->input.starts[view + 1]; i++) {
        int n = own_append(&own->batch.input, &own->input, 0, own->batch.input.tokens, all->input.ids[i]);
        own->input.keys[n] = all->input.keys[i];
    }
    for (int i = batch->decoder.starts[view]; i < batch->decoder.starts[view + 1]; i++) {
        int n = own_append(&own->batch.decoder, &own->decoder, 0, own->batch.decoder.tokens, all->decoder.ids[i]);
        own->decoder.keys[n] = all->decoder.keys[i];
    }
    for (int m = 0; m < batch->labelled; m++) {
        if (batch->at[m] >= batch->decoder.starts[view] && batch->at[m] < batch->decoder.starts[view + 1]) {
            own_label(own, batch->at[m] - batch->decoder.starts[view], batch->labels[m]);
        }
    }
}

/* A ragged batch is the sum of its views, dropout and all; the work area has held other batches before. */
static void ragged_is_the_sum_of_its_views(void **state) {
    (void)state;
    fixture *f = begin(0.3);
    km_work_options options = pair_options(&f->own.batch, false);
    km_work *work = NULL;
    km_loss_sum whole, part;
    keeper all = pair_gradient(&whole, f->model, f->weights, &f->own.batch, true, &options);
    keeper parts = keeper_make(km_model_table(f->model));
    double loss = 0;
    assert_int_equal(km_work_create(&work, f->model, &options), KM_OK);
    for (int view = 0; view < f->own.batch.views; view++) {
        static own_pair one;
        take_view(&one, &f->own, view);
        add_gradient(&parts, &part, f->model, f->weights, &one.batch, true, work);
        loss += part.loss;
    }
    assert_true(fabs(loss - whole.loss) <= 2e-6 * whole.loss);
    for (int p = 0; p < all.table->count; p++) {
        const km_param *param = &all.table->params[p];
        double most = largest(all.sum + param->offset, param->count);
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            assert_true(fabs(all.sum[i] - parts.sum[i]) <= 2e-5 * most + 1e-5);
        }
    }
    keeper again = keeper_make(km_model_table(f->model));
    add_gradient(&again, &part, f->model, f->weights, &f->own.batch, true, work);
    same_bits(&all, &again);
    km_work_destroy(work);
    keeper_free(&all);
    keeper_free(&parts);
    keeper_free(&again);
    end(f);
}

/* The decoder's last layer is made at labelled tokens alone: with all tokens labelled the same logits come out. */
static void logits_do_not_depend_on_other_labels(void **state) {
    (void)state;
    fixture *f = begin(0.3);
    static own_pair full;
    full = f->own;
    own_pair_link(&full);
    full.batch.labelled = full.batch.decoder.tokens;
    for (int i = 0; i < full.batch.decoder.tokens; i++) {
        full.at[i] = i;
        full.labels[i] = i % 37;
    }
    km_work_options options = pair_options(&full.batch, false);
    options.backward = false;
    km_work *some = NULL, *all = NULL;
    assert_int_equal(km_work_create(&some, f->model, &options), KM_OK);
    assert_int_equal(km_work_create(&all, f->model, &options), KM_OK);
    const float *few = km_model_logits(f->model, f->weights, &f->own.batch, some);
    const float *whole = km_model_logits(f->model, f->weights, &full.batch, all);
    for (int m = 0; m < f->own.batch.labelled; m++) {
        expect_rows("logits", few + m * 37, whole + f->own.at[m] * 37, 37, 1e-5);
    }
    assert_true(km_model_flops(f->model, &f->own.batch) < km_model_flops(f->model, &full.batch));
    km_work_destroy(some);
    km_work_destroy(all);
    end(f);
}

/* Products of one view of S source and T target tokens, all of them labelled: counted by hand. */
static void flops_are_those_of_the_work_done(void **state) {
    (void)state;
    fixture *f = begin(1);
    static own_pair one;
    take_view(&one, &f->own, 0);
    const double S = 9, T = 20, C = 24, V = 37, pairs = T * (T + 1) / 2;
    const double encoder = 2 * (S * (4 * C * C + 2 * C * 31) + 2 * S * S * C);
    const double decoder = 3 * (T * (4 * C * C + 2 * C * C + 2 * C * 20) + S * 2 * C * C + 2 * (pairs + T * S) * C);
    const double expected = 6 * (encoder + decoder + T * C * V);
    assert_true(fabs(km_model_flops(f->model, &one.batch) - expected) < 1e-9 * expected);
    end(f);
}

/* ---- What is refused ------------------------------------------------------------------------------------------- */

static void expect_refused(const fixture *f, const char *word) {
    assert_int_equal(km_model_check(f->model, &f->own.batch), KM_USAGE);
    if (strstr(km_message(), word) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", word, km_message());
    }
}

static void wrong_batches_are_refused(void **state) {
    (void)state;
    fixture *f = begin(0.3);
    assert_int_equal(km_model_check(f->model, &f->own.batch), KM_OK);
    f->own.decoder.ids[4] = 37, expect_refused(f, "id 37 at place 4 of the decoder's input"),
    f->own.decoder.ids[4] = 0;
    f->own.input.ids[2] = -1, expect_refused(f, "id -1 at place 2 is"), f->own.input.ids[2] = 0;
    f->own.batch.decoder.longest = 10, expect_refused(f, "20 tokens of the decoder's input");
    f->own.batch.decoder = (km_stream){0}, expect_refused(f, "of the decoder's input");
    end(f);
}

static void refuse(km_model_config config, const char *word) {
    km_model *model = NULL;
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_USAGE);
    if (strstr(km_message(), word) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", word, km_message());
    }
}

static void wrong_configs_are_refused_by_name(void **state) {
    (void)state;
    km_model_config c;
    c = small_bart(), c.d_model = 0, refuse(c, "d_model");
    c = small_bart(), c.encoder_layers = 0, refuse(c, "encoder_layers");
    c = small_bart(), c.decoder_layers = 2000, refuse(c, "decoder_layers");
    c = small_bart(), c.encoder_attention_heads = 5, refuse(c, "encoder_attention_heads");
    c = small_bart(), c.decoder_attention_heads = 0, refuse(c, "decoder_attention_heads");
    c = small_bart(), c.encoder_ffn_dim = -1, refuse(c, "encoder_ffn_dim");
    c = small_bart(), c.decoder_ffn_dim = 0, refuse(c, "decoder_ffn_dim");
    c = small_bart(), c.max_position_embeddings = 0, refuse(c, "max_position_embeddings");
    c = small_bart(), c.dropout = 1, refuse(c, "dropout");
    c = small_bart(), c.attention_dropout = -0.1, refuse(c, "attention_dropout");
    c = small_bart(), c.activation_dropout = NAN, refuse(c, "activation_dropout");
    c = small_bart(), c.init_std = -1, refuse(c, "init_std");
    c = small_bart(), c.pad_token_id = 37, refuse(c, "pad_token_id");
    c = small_bart(), c.decoder_start_token_id = -1, refuse(c, "decoder_start_token_id");
    c = small_bart(), c.forced_bos_token_id = 37, refuse(c, "forced_bos_token_id");
    c = small_bart(), c.forced_eos_token_id = -2, refuse(c, "forced_eos_token_id");
    c = small_bart(), snprintf(c.activation_function, KM_WORD, "tanh"), refuse(c, "activation_function");
}

static void presets_have_the_published_sizes(void **state) {
    (void)state;
    static const struct {
        const char *preset;
        size_t parameters;
    } known[] = {{"bart-base", 139420416}, {"bart-large", 406291456}};
    for (size_t i = 0; i < KM_COUNT(known); i++) {
        km_model_config config = {.vocab_size = 50265};
        km_model *model = NULL;
        snprintf(config.preset, sizeof config.preset, "%s", known[i].preset);
        km_model_config_fill(&config);
        km_model_take_tokens(&config, 1, 2);
        assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_OK);
        assert_int_equal(km_model_table(model)->elements, known[i].parameters);
        km_model_destroy(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_transformers_with_padding),
                                       cmocka_unit_test(equals_transformers_without_padding),
                                       cmocka_unit_test(equals_its_twin_with_dropout),
                                       cmocka_unit_test(each_dropout_alone_equals_the_twin),
                                       cmocka_unit_test(recompute_and_repeat_change_no_bit),
                                       cmocka_unit_test(bf16_is_close_to_fp32),
                                       cmocka_unit_test(ragged_is_the_sum_of_its_views),
                                       cmocka_unit_test(logits_do_not_depend_on_other_labels),
                                       cmocka_unit_test(flops_are_those_of_the_work_done),
                                       cmocka_unit_test(wrong_batches_are_refused),
                                       cmocka_unit_test(wrong_configs_are_refused_by_name),
                                       cmocka_unit_test(presets_have_the_published_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
