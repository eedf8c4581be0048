/* kmask probe against HuggingFace transformers in float64, with padding (tools/golden_model.py describes the files), and
 * inputs that are refused. */
#include "model/golden.h"

#include "kmask/kernel.h"
#include "kmask/modelfile.h"
#include "kmask/store.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/kmask-probe-XXXXXX";

static int enter(void **state) {
    (void)state;
    km_kernel_start();
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int leave(void **state) {
    (void)state;
    static const char *const made[] = {"ids.json", "out.h5", "again.h5"};
    for (size_t i = 0; i < KM_COUNT(made); i++) {
        unlink(made[i]);
    }
    return chdir("/") != 0 || rmdir(folder) != 0;
}

/* ---- The golden file ---- */

typedef struct golden {
    golden_reader in;
    km_bundle bundle;
    int B, T;
    const int32_t *fields[4]; /* (B,T) ids, attention mask, types, labels */
    double loss;
    const float *states; /* logits, hidden states */
    float *gradient;     /* (table->size) */
} golden;

static golden load_golden(const char *file) {
    golden g = {0};
    char *path =
        km_format("%.*smodel/golden/%s", (int)(strlen(TEST_DATA) - strlen("modelfile/golden")), TEST_DATA, file);
    g.in = open_golden(path, "KMG2");
    free(path);
    km_model_config *c = &g.bundle.shape;
    take_config(&g.in, c);
    c->hidden_dropout_prob = c->attention_probs_dropout_prob = 0.3; /* off in a probe */
    assert_int_equal(km_model_create(&g.bundle.model, c, KM_HEAD_TOKENS), KM_OK);
    g.B = take_int(&g.in);
    g.T = take_int(&g.in);
    size_t N = (size_t)g.B * (size_t)g.T;
    for (int i = 0; i < 4; i++) {
        g.fields[i] = take(&g.in, N, 4);
    }
    g.loss = take_double(&g.in);
    g.states = take(&g.in, N * (size_t)(c->vocab_size + (c->num_hidden_layers + 1) * c->hidden_size), 4);
    const km_table *table = km_model_table(g.bundle.model);
    g.bundle.weights = km_new(table->size, sizeof(float));
    g.gradient = km_new(table->size, sizeof(float));
    take_parameters(&g.in, table, g.bundle.weights, g.gradient);
    return g;
}

static void close_golden(golden *g) {
    km_model_destroy(g->bundle.model);
    free(g->bundle.weights);
    free(g->gradient);
    free(g->in.bytes);
}

/* The input as JSON, with the first `fields` of ids, mask, types and labels. */
static void write_input(const golden *g, int fields) {
    static const char *const keys[] = {"input_ids", "attention_mask", "token_type_ids", "labels"};
    km_json *json = km_json_object();
    for (int i = 0; i < fields; i++) {
        km_json *rows = km_json_array();
        for (int b = 0; b < g->B; b++) {
            km_json *row = km_json_array();
            for (int t = 0; t < g->T; t++) {
                int32_t value;
                memcpy(&value, &g->fields[i][b * g->T + t], sizeof value);
                km_json_push_number(row, value);
            }
            km_json_push(rows, row);
        }
        km_json_set(json, keys[i], rows);
    }
    char *text = km_json_print(json, false);
    assert_int_equal(km_file_replace("ids.json", text, strlen(text)), KM_OK);
    free(text);
    km_json_destroy(json);
}

/* ---- Comparing ---- */

static float *read_array(const km_store *store, const char *name, size_t count) {
    const km_array *array = km_store_find(store, name);
    if (array == NULL || array->count != count) {
        fail_msg("%s: not there, or not of %zu elements", name, count);
    }
    float *values = km_new(count, sizeof *values);
    assert_int_equal(km_store_read(store, array, 0, count, values), KM_OK);
    return values;
}

static double largest(const float *x, size_t count) {
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)x[i]));
    }
    return most;
}

static void expect_array(const km_store *store, const char *name, const float *expected, size_t count,
                         double scale) {
    float *got = read_array(store, name, count);
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        worst = fmax(worst, isfinite(got[i]) ? fabs((double)got[i] - (double)expected[i]) : INFINITY);
    }
    if (!(worst <= 1e-4 * scale)) {
        fail_msg("%s: off by %g, scale %g", name, worst, scale);
    }
    free(got);
}

static void expect_states(const km_store *store, const golden *g) {
    const km_model_config *c = &g->bundle.shape;
    const size_t N = (size_t)g->B * (size_t)g->T, logits = N * (size_t)c->vocab_size;
    const size_t width = N * (size_t)c->hidden_size;
    expect_array(store, "/logits", g->states, logits, largest(g->states, logits));
    for (int64_t l = 0; l <= c->num_hidden_layers; l++) {
        const float *expected = g->states + logits + (size_t)l * width;
        char name[48];
        snprintf(name, sizeof name, "/hidden_states/%lld", (long long)l);
        expect_array(store, name, expected, width, largest(expected, width));
    }
}

/* A key's bias has no gradient but for rounding: there, of the largest gradient's scale. */
static void expect_gradients(const km_store *store, const golden *g) {
    const km_table *table = km_model_table(g->bundle.model);
    const double steepest = largest(g->gradient, table->size);
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        const float *expected = g->gradient + param->offset;
        bool zero = strstr(param->name, "key.bias") != NULL;
        char *name = km_format("/grad/%s", param->name);
        expect_array(store, name, expected, param->count, zero ? steepest : largest(expected, param->count));
        assert_int_equal(km_store_find(store, name)->rank, param->rank);
        free(name);
    }
}

static void compare(const char *file) {
    golden g = load_golden(file);
    km_probe_result result;
    km_store *store = NULL;
    write_input(&g, 4);
    if (km_probe(&g.bundle, "ids.json", "out.h5", false, &result) != KM_OK) {
        fail_msg("%s", km_message());
    }
    assert_int_equal(result.rows, g.B);
    assert_int_equal(result.length, g.T);
    assert_true(fabs(result.loss - g.loss) <= 1e-5 * g.loss);
    assert_int_equal(km_store_open(&store, "out.h5"), KM_OK);
    float *loss = read_array(store, "/loss", 1);
    assert_true(fabs((double)*loss - g.loss) <= 1e-5 * g.loss);
    assert_int_equal(km_store_find(store, "/loss")->rank, 0);
    expect_states(store, &g);
    expect_gradients(store, &g);
    free(loss);
    km_store_close(store);

    write_input(&g, 3); /* without labels: the same states, nothing else */
    assert_int_equal(km_probe(&g.bundle, "ids.json", "again.h5", false, &result), KM_OK);
    assert_int_equal(result.labelled, 0);
    assert_int_equal(km_store_open(&store, "again.h5"), KM_OK);
    assert_int_equal(km_store_arrays(store), 1 + g.bundle.shape.num_hidden_layers + 1);
    expect_states(store, &g);
    km_store_close(store);
    close_golden(&g);
}

static void bert_equals_transformers(void **state) {
    (void)state;
    compare("padded_bert.bin");
    compare("padded_bert_new.bin");
}

static void roberta_equals_transformers(void **state) {
    (void)state;
    compare("padded_roberta.bin");
    compare("padded_roberta_narrow.bin");
}

/* ---- Inputs ---- */

static km_status run(const golden *g, const char *json, km_probe_result *result) {
    assert_int_equal(km_file_replace("ids.json", json, strlen(json)), KM_OK);
    unlink("out.h5");
    return km_probe(&g->bundle, "ids.json", "out.h5", false, result);
}

/* Shorter rows are rows that end with pads of mask 0, type 0 and no label; missing keys are the standard; many rows are
 * taken some at a time. */
static void shorter_rows_are_padded(void **state) {
    (void)state;
    golden g = load_golden("padded_roberta.bin");
    km_probe_result result;
    char *files[2];
    size_t sizes[2];
    static const char *const same[] = {
        "{\"input_ids\": [[5, 9, 8], [7], [4, 1]], \"labels\": [[-100, 3, -100], [2], [-100, -100]]}",
        "{\"input_ids\": [[5, 9, 8], [7, 1, 1], [4, 1, 1]], \"attention_mask\": [[1, 1, 1], [1, 0, 0], [1, 1, 0]],"
        "\"token_type_ids\": [[0, 0, 0], [0, 0, 0], [0, 0, 0]],"
        "\"labels\": [[-100, 3, -100], [2, -100, -100], [-100, -100, -100]]}",
    };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run(&g, same[i], &result), KM_OK);
        assert_int_equal(result.labelled, 2);
        assert_int_equal(km_file_read(&files[i], &sizes[i], "out.h5", 1 << 20), KM_OK);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(files[0], files[1], sizes[0]);
    free(files[0]);
    free(files[1]);
    close_golden(&g);
}

/* 400 rows of 7 are several runs of rows: mean loss and gradient are those of the rows, whichever run they are in. */
static void many_rows_are_taken_in_runs(void **state) {
    (void)state;
    enum { ROWS = 400 };
    golden g = load_golden("padded_roberta.bin");
    km_probe_result one, many;
    km_store *store = NULL;
    const char *row = "[4, 5, 6, 7, 8, 9, 10]", *labels = "[-100, 3, -100, 2, -100, -100, 11]";
    char *single = km_format("{\"input_ids\": [%s], \"labels\": [%s]}", row, labels);
    assert_int_equal(run(&g, single, &one), KM_OK);
    assert_int_equal(km_store_open(&store, "out.h5"), KM_OK);
    const char *name = "/grad/roberta.embeddings.word_embeddings.weight";
    float *expected = read_array(store, name, 29 * 26), *logits = read_array(store, "/logits", 7 * 29);
    km_store_close(store);
    km_buffer text = {0};
    for (int part = 0; part < 2; part++) {
        km_buffer_print(&text, part == 0 ? "{\"input_ids\": [" : "], \"labels\": [");
        for (int i = 0; i < ROWS; i++) {
            km_buffer_print(&text, "%s%s", i == 0 ? "" : ", ", part == 0 ? row : labels);
        }
    }
    km_buffer_print(&text, "]}");
    assert_int_equal(run(&g, text.data, &many), KM_OK);
    assert_int_equal(many.labelled, ROWS * one.labelled);
    assert_true(fabs(many.loss - one.loss) <= 1e-6 * one.loss);
    assert_int_equal(km_store_open(&store, "out.h5"), KM_OK);
    expect_array(store, name, expected, 29 * 26, largest(expected, 29 * 26));
    float *last = km_new(7 * 29, sizeof *last);
    assert_int_equal(km_store_read(store, km_store_find(store, "/logits"), (ROWS - 1) * 7 * 29, 7 * 29, last),
                     KM_OK);
    for (int i = 0; i < 7 * 29; i++) {
        assert_true(fabsf(last[i] - logits[i]) <= 1e-5f * (float)largest(logits, 7 * 29));
    }
    km_store_close(store);
    km_buffer_free(&text);
    free(single);
    free(expected);
    free(logits);
    free(last);
    close_golden(&g);
}

static void bad_inputs_are_sentences(void **state) {
    (void)state;
    static const struct {
        const char *json, *words;
    } bad[] = {
        {"", "empty"},
        {"{\"input_ids\": [[1, 2]", "not valid JSON"},
        {"[[1, 2]]", "expected an object"},
        {"{}", "input_ids: missing"},
        {"{\"input_ids\": null}", "input_ids: not a list"},
        {"{\"input_ids\": []}", "0 rows"},
        {"{\"input_ids\": [1, 2]}", "row 0 is not a list"},
        {"{\"input_ids\": [[1, 2], []]}", "row 1 has 0 tokens"},
        {"{\"input_ids\": [[1, 29]]}", "row 0, position 1: found 29, expected an id from 0 to 28"},
        {"{\"input_ids\": [[1], [-1]]}", "row 1, position 0: found -1"},
        {"{\"input_ids\": [[1.5]]}", "found 1.5"},
        {"{\"input_ids\": [[1e300]]}", "found 1e+300"},
        {"{\"input_ids\": [[\"a\"]]}", "found no number"},
        {"{\"input_ids\": [[1]], \"inputs\": [[1]]}", "inputs: unknown key"},
        {"{\"input_ids\": [[1]], \"label\": [[1]]}", "Did you mean labels"},
        {"{\"input_ids\": [[1]], \"labels\": [[1], [2]]}", "labels: 2 rows where input_ids has 1"},
        {"{\"input_ids\": [[1, 2]], \"labels\": [[1]]}", "labels: row 0 has 1 numbers where input_ids has 2"},
        {"{\"input_ids\": [[1]], \"labels\": [[-1]]}", "found -1, expected an id from 0 to 28, or -100"},
        {"{\"input_ids\": [[1]], \"labels\": 7}", "labels: not a list"},
        {"{\"input_ids\": [[1]], \"token_type_ids\": [[1]]}", "expected a type from 0 to 0"},
        {"{\"input_ids\": [[1]], \"attention_mask\": [[2]]}", "found 2"},
        {"{\"input_ids\": [[1], [2]], \"attention_mask\": [[1], [0]]}", "row 1 is all 0"},
    };
    golden g = load_golden("padded_roberta.bin");
    km_probe_result result;
    for (size_t i = 0; i < KM_COUNT(bad); i++) {
        if (run(&g, bad[i].json, &result) != KM_FAILED || strstr(km_message(), bad[i].words) == NULL) {
            fail_msg("%s: %s", bad[i].json, km_message());
        }
        assert_non_null(strstr(km_message(), "ids.json"));
        assert_false(km_file_exists("out.h5") || km_file_exists("out.h5.tmp"));
    }
    km_buffer text = {0};
    for (int length = 128; length <= 129; length++) { /* 130 positions, of which RoBERTa's tokens have 128 */
        km_buffer_free(&text);
        text = (km_buffer){0};
        km_buffer_print(&text, "{\"input_ids\": [[3");
        for (int i = 1; i < length; i++) {
            km_buffer_print(&text, ",3");
        }
        km_buffer_print(&text, "]]}");
        assert_int_equal(run(&g, text.data, &result), length == 128 ? KM_OK : KM_FAILED);
    }
    assert_non_null(strstr(km_message(), "129 tokens, expected 1 to the model's 128"));
    km_buffer_free(&text);
    close_golden(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bert_equals_transformers), cmocka_unit_test(roberta_equals_transformers),
        cmocka_unit_test(shorter_rows_are_padded), cmocka_unit_test(many_rows_are_taken_in_runs),
        cmocka_unit_test(bad_inputs_are_sentences)};
    return cmocka_run_group_tests(tests, enter, leave);
}
