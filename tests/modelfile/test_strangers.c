/* Model files from strangers, which are whole and sealed but do not fit together: opening them is one sentence for every verb. */
#include "kmask/modelfile.h"
#include "shape.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/kmask-strangers-XXXXXX";
static km_bundle *whole; /* what transformers wrote, 16 pieces, 18 rows */

static void ok(km_status status) {
    if (status != KM_OK) {
        fail_msg("%s", km_message());
    }
}

static int enter_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        return 1;
    }
    ok(km_bundle_open(&whole, TEST_DATA "/import/bert"));
    return 0;
}

static int leave_folder(void **state) {
    (void)state;
    km_bundle_close(whole);
    unlink("m.h5");
    unlink("log");
    return chdir("/") != 0 || rmdir(folder) != 0;
}

/* Saves the model with another number of embedding rows, and with an attribute `classifier`. */
static void save(int64_t rows, const char *classifier, float first_weight) {
    km_bundle b = *whole;
    b.shape.vocab_size = rows;
    b.classifier = (char *)(uintptr_t)classifier;
    b.config = km_shape_print(&b.shape, 16);
    ok(km_model_create(&b.model, &b.shape, KM_HEAD_TOKENS));
    ok(km_allocate((void **)&b.weights, km_model_table(b.model)->size * sizeof(float), "weights"));
    b.weights[0] = first_weight;
    ok(km_bundle_save(&b, "m.h5"));
    free(b.weights);
    free(b.config);
    km_model_destroy(b.model);
}

static void is_refused(const char *words) {
    km_bundle *bundle = NULL;
    if (km_bundle_open_any(&bundle, "m.h5") == KM_OK) {
        fail_msg("opened, expected: %s", words);
    }
    if (strncmp(km_message(), "m.h5: ", 6) != 0 || strstr(km_message(), words) == NULL) {
        fail_msg("the sentence is: %s", km_message());
    }
    if (km_bundle_open_classifier(&bundle, "m.h5", 2, 1) == KM_OK) {
        km_bundle_close(bundle); /* takes the backbone alone; it must not crash */
    }
}

static void rows_are_as_many_as_pieces(void **state) {
    (void)state;
    km_bundle *bundle = NULL;
    save(5, NULL, 0);
    is_refused("vocab_size in its config is 5, but its tokenizer has 16 pieces");
    save(18, NULL, 0);
    ok(km_bundle_open(&bundle, "m.h5"));
    km_bundle_close(bundle);
    save(16, NULL, 0);
    ok(km_bundle_open(&bundle, "m.h5"));
    km_bundle_close(bundle);
    save(19, NULL, 0); /* more rows than pieces are what many published models have */
    ok(km_bundle_open(&bundle, "m.h5"));
    km_bundle_close(bundle);
}

static void labels_are_counted(void **state) {
    (void)state;
    save(18, "{\"num_labels\": 3, \"labels\": [\"a\"]}", 0);
    is_refused("has 1 labels, expected 3");
    save(18, "{\"num_labels\": 1e300, \"labels\": [\"a\"]}", 0);
    is_refused("has 1 labels, expected 1e+300");
    save(18, "{\"num_labels\": 0, \"labels\": []}", 0);
    is_refused("has 0 labels");
    save(18, "{\"num_labels\": 1, \"labels\": [\"a\"], \"classifier_dropout\": 7}", 0);
    is_refused("classifier_dropout of 7");
    save(18, "nothing", 0);
    is_refused("");
}

static void holes_are_named(void **state) {
    (void)state;
    km_bundle *bundle = NULL;
    char *log = NULL;
    save(18, NULL, NAN);
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    assert_non_null(freopen("log", "w", stderr));
    ok(km_bundle_open(&bundle, "m.h5"));
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    ok(km_file_read(&log, NULL, "log", 10000));
    if (strstr(log, km_model_table(bundle->model)->params[0].name) == NULL || strstr(log, "not finite") == NULL) {
        fail_msg("the warning is: %s", log);
    }
    free(log);
    km_bundle_close(bundle);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_as_many_as_pieces),
        cmocka_unit_test(labels_are_counted),
        cmocka_unit_test(holes_are_named),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
