/* BART: loss, logits, hidden states and every gradient against HuggingFace transformers in float64 (tools/golden_bart.py), with
 * padding and without; and what may not change a result. */
#include "model/bart_support.h"
#include "model/golden_bart.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_transformers_with_padding),
                                       cmocka_unit_test(equals_transformers_without_padding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
