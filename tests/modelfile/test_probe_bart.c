/* kmask probe of encoder-decoders against HuggingFace transformers in float64 (tools/golden_bart.py describes the files), and
 * inputs that are refused. */
#include "model/golden_bart.h"

#include "kmask/modelfile.h"
#include "kmask/store.h"

#include <math.h>
#include <unistd.h>

static char folder[] = "/tmp/kmask-probe-XXXXXX";

static int enter(void **state) {
    (void)state;
    km_kernel_start();
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int leave(void **state) {
    (void)state;
    unlink("ids.json");
    unlink("out.h5");
    return chdir("/") != 0 || rmdir(folder) != 0;
}

static golden_bart open_file(const char *file) {
    char *path =
        km_format("%.*smodel/golden/%s", (int)(strlen(TEST_DATA) - strlen("modelfile/golden")), TEST_DATA, file);
    golden_bart g = open_golden_bart(path);
    free(path);
    return g;
}

/* ---- Input ---- */

/* Rows of `length` values of which each keeps its first ones, up to where `stop` values follow until its end. */
static km_json *rows_of(const int32_t *values, int rows, int length, int32_t stop) {
    km_json *list = km_json_array();
    for (int b = 0; b < rows; b++) {
        int end = length;
        while (end > 1 && values[b * length + end - 1] == stop) {
            end--;
        }
        km_json *row = km_json_array();
        for (int t = 0; t < end; t++) {
            km_json_push_number(row, values[b * length + t]);
        }
        km_json_push(list, row);
    }
    return list;
}

static void write_json(km_json *json) {
    char *text = km_json_print(json, false);
    assert_int_equal(km_file_replace("ids.json", text, strlen(text)), KM_OK);
    free(text);
    km_json_destroy(json);
}

enum { NEVER = -7 };

static void write_input(const golden_bart *g, bool labels, bool decoder) {
    km_json *json = km_json_object();
    km_json_set(json, "input_ids", rows_of(g->ids, g->B, g->S, NEVER));
    km_json_set(json, "attention_mask", rows_of(g->mask, g->B, g->S, NEVER));
    if (labels) {
        km_json_set(json, "labels",
                    rows_of(g->labels, g->B, g->T, decoder ? NEVER : -100)); /* shorter rows are padded */
    }
    if (decoder) {
        km_json_set(json, "decoder_input_ids", rows_of(g->decoder, g->B, g->T, NEVER));
    }
    write_json(json);
}

static km_status run(const golden_bart *g, km_probe_result *result) {
    const km_bundle bundle = {.shape = g->config, .model = g->model, .weights = g->weights};
    unlink("out.h5");
    return km_probe(&bundle, "ids.json", "out.h5", false, result);
}

/* ---- Comparing ---- */

static double largest(const float *x, size_t count) {
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)x[i]));
    }
    return most;
}

static void expect_array(const km_store *store, const char *name, const float *expected, size_t count,
                         double scale) {
    const km_array *array = km_store_find(store, name);
    if (array == NULL || array->count != count) {
        fail_msg("%s: not there, or not of %zu elements", name, count);
        return;
    }
    float *got = km_new(count, sizeof *got);
    double worst = 0;
    assert_int_equal(km_store_read(store, array, 0, count, got), KM_OK);
    for (size_t i = 0; i < count; i++) {
        worst = fmax(worst, isfinite(got[i]) ? fabs((double)got[i] - (double)expected[i]) : INFINITY);
    }
    if (!(worst <= 1e-4 * scale)) {
        fail_msg("%s: off by %g, scale %g", name, worst, scale);
    }
    free(got);
}

static void expect_states(const km_store *store, const char *group, const float *expected, int64_t layers,
                          size_t count) {
    for (int64_t l = 0; l <= layers; l++) {
        char *name = km_format("/%s/%lld", group, (long long)l);
        expect_array(store, name, expected + (size_t)l * count, count,
                     largest(expected + (size_t)l * count, count));
        free(name);
    }
}

static void expect_outputs(const km_store *store, const golden_bart *g) {
    const size_t source = (size_t)(g->B * g->S), target = (size_t)(g->B * g->T), C = (size_t)g->config.d_model;
    const size_t logits = target * (size_t)g->config.vocab_size;
    expect_array(store, "/logits", g->logits, logits, largest(g->logits, logits));
    expect_states(store, "encoder_hidden_states", g->encoder, g->config.encoder_layers, source * C);
    expect_states(store, "decoder_hidden_states", g->states, g->config.decoder_layers, target * C);
}

/* A key's bias has no gradient but for rounding: there, of the largest gradient's scale. The buffer has none at all. */
static void expect_gradients(const km_store *store, const golden_bart *g) {
    const km_table *table = km_model_table(g->model);
    const double steepest = largest(g->gradient, table->size);
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        const float *expected = g->gradient + param->offset;
        bool zero = strstr(param->name, "k_proj.bias") != NULL;
        char *name = km_format("/grad/%s", param->name);
        if (param->trained) {
            expect_array(store, name, expected, param->count, zero ? steepest : largest(expected, param->count));
        } else {
            assert_null(km_store_find(store, name));
        }
        free(name);
    }
}

static void compare(const char *file, bool decoder) {
    golden_bart g = open_file(file);
    km_probe_result result;
    km_store *store = NULL;
    write_input(&g, true, decoder);
    if (run(&g, &result) != KM_OK) {
        fail_msg("%s", km_message());
    }
    assert_int_equal(result.rows, g.B);
    assert_int_equal(result.labelled, g.labelled);
    assert_true(fabs(result.loss - g.loss) <= 1e-5 * g.loss);
    assert_int_equal(km_store_open(&store, "out.h5"), KM_OK);
    expect_outputs(store, &g);
    expect_gradients(store, &g);
    km_store_close(store);

    write_input(&g, false, true); /* without labels the same states and nothing else */
    assert_int_equal(run(&g, &result), KM_OK);
    assert_int_equal(result.labelled, 0);
    assert_int_equal(km_store_open(&store, "out.h5"), KM_OK);
    assert_int_equal(km_store_arrays(store), 1 + g.config.encoder_layers + 1 + g.config.decoder_layers + 1);
    expect_outputs(store, &g);
    km_store_close(store);
    close_golden_bart(&g);
}

static void bart_equals_transformers(void **state) {
    (void)state;
    compare("bart.bin", true);
    compare("bart.bin", false);
    compare("bart_scaled.bin", false);
    compare("bart_deep.bin", true);
}

/* ---- Other inputs ---- */

static void write_text(const char *json) {
    assert_int_equal(km_file_replace("ids.json", json, strlen(json)), KM_OK);
}

static void take_file(char **bytes, size_t *size) {
    assert_int_equal(km_file_read(bytes, size, "out.h5", 1 << 20), KM_OK);
}

/* Without labels and decoder_input_ids the source itself is shifted right, as transformers has it. */
static void a_source_alone_is_its_own_target(void **state) {
    (void)state;
    golden_bart g = open_file("bart.bin");
    km_probe_result result;
    char *files[2];
    size_t sizes[2];
    static const char *const same[] = {
        "{\"input_ids\": [[5, 9, 8], [7, 4]]}",
        "{\"input_ids\": [[5, 9, 8], [7, 4]], \"decoder_input_ids\": [[2, 5, 9], [2, 7, 4]], \"labels\": null}"};
    for (int i = 0; i < 2; i++) {
        write_text(same[i]);
        assert_int_equal(run(&g, &result), KM_OK);
        take_file(&files[i], &sizes[i]);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(files[0], files[1], sizes[0]);
    free(files[0]);
    free(files[1]);
    close_golden_bart(&g);
}

static void wrong_inputs_are_refused(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"{\"input_ids\": [[1]], \"token_type_ids\": [[0]]}", "token_type_ids: unknown key"},
        {"{\"input_ids\": [[1]], \"decoder_inputs_ids\": [[0]]}", "Did you mean decoder_input_ids"},
        {"{\"input_ids\": [[1]], \"labels\": [[0], [1]]}", "labels: 2 rows where input_ids has 1"},
        {"{\"input_ids\": [[1]], \"labels\": [[]]}", "labels: row 0 has 0 tokens, expected 1 to the model's 20"},
        {"{\"input_ids\": [[1]], \"labels\": [[43]]}", "labels: row 0, position 0: found 43, expected an id"},
        {"{\"input_ids\": [[1]], \"labels\": [[4, 5]], \"decoder_input_ids\": [[4]]}",
         "decoder_input_ids: row 0 has 1 numbers where labels has 2"},
        {"{\"input_ids\": [[1]], \"decoder_input_ids\": [[-100]]}",
         "decoder_input_ids: row 0, position 0: found -100"},
        {"{\"input_ids\": [[1]], \"decoder_input_ids\": 3}", "decoder_input_ids: not a list"},
    };
    golden_bart g = open_file("bart.bin");
    km_probe_result result;
    for (size_t i = 0; i < KM_COUNT(wrong); i++) {
        write_text(wrong[i][0]);
        assert_int_equal(run(&g, &result), KM_FAILED);
        if (strstr(km_message(), wrong[i][1]) == NULL) {
            fail_msg("\"%s\" is not in \"%s\"", wrong[i][1], km_message());
        }
        assert_int_not_equal(access("out.h5", F_OK), 0);
    }
    close_golden_bart(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bart_equals_transformers),
                                       cmocka_unit_test(a_source_alone_is_its_own_target),
                                       cmocka_unit_test(wrong_inputs_are_refused)};
    return cmocka_run_group_tests(tests, enter, leave);
}
