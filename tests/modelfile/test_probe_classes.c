/* kmask probe of classifiers against HuggingFace transformers in float64 (tools/golden_classes.py describes the files): rows of
 * different lengths, which the probe pads, and a class or a number for each row. */
#include "model/golden.h"

#include "kmask/kernel.h"
#include "kmask/modelfile.h"
#include "kmask/store.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/kmask-probe-classes-XXXXXX";

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

/* ---- The golden file ---- */

typedef struct golden {
    golden_reader in;
    km_bundle bundle;
    int B, N, labels;
    bool types;
    const int32_t *starts, *ids, *kinds, *classes; /* classes: with one label float numbers */
    double loss;                                   /* summed */
    const float *logits;                           /* (B, labels) */
    float *gradient;
} golden;

static golden load_golden(const char *file) {
    golden g = {0};
    char *path =
        km_format("%.*smodel/golden/%s", (int)(strlen(TEST_DATA) - strlen("modelfile/golden")), TEST_DATA, file);
    g.in = open_golden(path, "KMG3");
    free(path);
    km_model_config *c = &g.bundle.shape;
    take_config(&g.in, c);
    c->hidden_dropout_prob = c->attention_probs_dropout_prob = 0.3; /* off in a probe */
    c->num_labels = g.labels = take_int(&g.in);
    g.B = take_int(&g.in);
    g.N = take_int(&g.in);
    g.types = take_int(&g.in) != 0;
    g.starts = take(&g.in, (size_t)g.B + 1, 4);
    g.ids = take(&g.in, (size_t)g.N, 4);
    g.kinds = g.types ? take(&g.in, (size_t)g.N, 4) : NULL;
    g.classes = take(&g.in, (size_t)g.B, 4);
    g.loss = take_double(&g.in);
    g.logits = take(&g.in, (size_t)(g.B * g.labels), 4);
    assert_int_equal(km_model_create(&g.bundle.model, c, KM_HEAD_CLASSES), KM_OK);
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

/* Values of the file are aligned by chance. */
static int32_t at(const int32_t *values, int i) {
    int32_t value;
    memcpy(&value, &values[i], sizeof value);
    return value;
}

static float number_at(const void *values, int i) {
    float value;
    memcpy(&value, (const char *)values + (size_t)i * sizeof value, sizeof value);
    return value;
}

static void add_rows(km_buffer *json, const golden *g, const char *key, const int32_t *values) {
    km_buffer_print(json, "\"%s\": [", key);
    for (int row = 0; row < g->B; row++) {
        km_buffer_print(json, row > 0 ? ", [" : "[");
        for (int i = at(g->starts, row); i < at(g->starts, row + 1); i++) {
            km_buffer_print(json, "%s%d", i > at(g->starts, row) ? ", " : "", at(values, i));
        }
        km_buffer_print(json, "]");
    }
    km_buffer_print(json, "]");
}

/* The rows, and labels if `labels`; those of rows behind `most` are -100. */
static km_status probe(const golden *g, bool labels, int most, km_probe_result *result) {
    km_buffer json = {0};
    km_buffer_print(&json, "{");
    add_rows(&json, g, "input_ids", g->ids);
    if (g->types) {
        km_buffer_print(&json, ", ");
        add_rows(&json, g, "token_type_ids", g->kinds);
    }
    for (int row = 0; row < g->B && labels; row++) {
        km_buffer_print(&json, row == 0 ? ", \"labels\": [" : ", ");
        if (g->labels == 1) {
            km_buffer_print(&json, "%.9g", (double)number_at(g->classes, row));
        } else {
            km_buffer_print(&json, "%d", row < most ? at(g->classes, row) : -100);
        }
    }
    km_buffer_print(&json, labels ? "]}" : "}");
    assert_int_equal(km_file_replace("ids.json", json.data, json.size), KM_OK);
    km_buffer_free(&json);
    return km_probe(&g->bundle, "ids.json", "out.h5", false, result);
}

/* ---- Comparing ---- */

static double largest(const void *x, size_t count) {
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)number_at(x, (int)i)));
    }
    return most;
}

static void expect_array(const km_store *store, const char *name, const void *expected, size_t count, double factor,
                         double limit) {
    const km_array *array = km_store_find(store, name);
    if (array == NULL || array->count != count) {
        fail_msg("%s: not there, or not of %zu elements", name, count);
    }
    float *got = km_new(count, sizeof *got);
    assert_int_equal(km_store_read(store, array, 0, count, got), KM_OK);
    for (size_t i = 0; i < count; i++) {
        const double off = fabs((double)got[i] - factor * (double)number_at(expected, (int)i));
        if (!(off <= limit)) {
            fail_msg("%s: element %zu is off by %g, at most %g", name, i, off, limit);
        }
    }
    free(got);
}

static void expect_gradients(const km_store *store, const golden *g) {
    const km_table *table = km_model_table(g->bundle.model);
    const double factor = 1.0 / g->B, steepest = largest(g->gradient, table->size);
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        const float *expected = g->gradient + param->offset;
        const bool zero = strstr(param->name, "key.bias") != NULL;
        char *name = km_format("/grad/%s", param->name);
        expect_array(store, name, expected, param->count, factor,
                     1e-4 * factor * (zero ? steepest : largest(expected, param->count)));
        free(name);
    }
}

static void compare(const char *file) {
    golden g = load_golden(file);
    km_probe_result result;
    km_store *store = NULL;
    const size_t count = (size_t)(g.B * g.labels);
    if (probe(&g, true, g.B, &result) != KM_OK) {
        fail_msg("%s: %s", file, km_message());
    }
    assert_int_equal(result.labelled, g.B);
    assert_true(fabs(result.loss - g.loss / g.B) <= 1e-5 * g.loss / g.B);
    assert_true(isnan(result.accuracy) == (g.labels == 1));
    assert_int_equal(km_store_open(&store, "out.h5"), KM_OK);
    assert_int_equal(km_store_find(store, "/logits")->rank, 2);
    expect_array(store, "/logits", g.logits, count, 1, 1e-5 * largest(g.logits, count));
    expect_gradients(store, &g);
    /* Hidden states are those of all tokens, of the last layer too. */
    char name[48];
    snprintf(name, sizeof name, "/hidden_states/%lld", (long long)g.bundle.shape.num_hidden_layers);
    assert_int_equal(km_store_find(store, name)->count,
                     (size_t)(g.B * result.length) * (size_t)g.bundle.shape.hidden_size);
    km_store_close(store);
    close_golden(&g);
}

static void classifiers_equal_transformers(void **state) {
    (void)state;
    static const char *const files[] = {"classes_bert.bin",           "classes_bert_number.bin",
                                        "classes_bert_many.bin",      "classes_roberta.bin",
                                        "classes_roberta_number.bin", "classes_roberta_many.bin"};
    for (size_t i = 0; i < KM_COUNT(files); i++) {
        compare(files[i]);
    }
}

/* The loss of some rows' labels, and of none. */
static void rows_without_a_label_do_not_count(void **state) {
    (void)state;
    golden g = load_golden("classes_bert.bin");
    km_probe_result all, some, none;
    assert_int_equal(probe(&g, true, g.B, &all), KM_OK);
    double loss = 0; /* of the first two rows, from the reference's logits */
    for (int row = 0; row < 2; row++) {
        double sum = 0;
        for (int i = 0; i < g.labels; i++) {
            sum += exp((double)number_at(g.logits, row * g.labels + i));
        }
        loss += log(sum) - (double)number_at(g.logits, row * g.labels + at(g.classes, row));
    }
    assert_int_equal(probe(&g, true, 2, &some), KM_OK);
    assert_int_equal(some.labelled, 2);
    assert_true(fabs(some.loss - loss / 2) <= 1e-5 * loss / 2);
    assert_int_equal(probe(&g, false, 0, &none), KM_OK);
    assert_int_equal(none.labelled, 0);
    close_golden(&g);
}

static void bad_labels_are_sentences(void **state) {
    (void)state;
    static const struct {
        const char *file, *labels, *words;
    } bad[] = {
        {"classes_bert.bin", "[0]", "labels: expected a list with one class for each of the 2 rows"},
        {"classes_bert.bin", "7", "labels: expected a list with one class"},
        {"classes_bert.bin", "[0, 3]", "labels: row 1, position 0: found 3, expected a class from 0 to 2, or -100"},
        {"classes_bert.bin", "[0, [1, 2]]", "row 1, position 0: found no number"},
        {"classes_bert.bin", "[0, \"a\"]", "found no number"},
        {"classes_bert_number.bin", "[0.5, null]", "labels: row 1: expected a number for each row"},
        {"classes_bert_number.bin", "[0.5, 1e300]", "labels: row 1: expected a number for each row"},
    };
    for (size_t i = 0; i < KM_COUNT(bad); i++) {
        golden g = load_golden(bad[i].file);
        km_probe_result result;
        char *json = km_format("{\"input_ids\": [[5, 6], [7]], \"labels\": %s}", bad[i].labels);
        assert_int_equal(km_file_replace("ids.json", json, strlen(json)), KM_OK);
        unlink("out.h5");
        if (km_probe(&g.bundle, "ids.json", "out.h5", false, &result) != KM_FAILED ||
            strstr(km_message(), bad[i].words) == NULL) {
            fail_msg("%s: %s", bad[i].labels, km_message());
        }
        assert_false(km_file_exists("out.h5"));
        free(json);
        close_golden(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(classifiers_equal_transformers),
                                       cmocka_unit_test(rows_without_a_label_do_not_count),
                                       cmocka_unit_test(bad_labels_are_sentences)};
    return cmocka_run_group_tests(tests, enter, leave);
}
