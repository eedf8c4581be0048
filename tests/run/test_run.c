/* The run folder: its log, and its checkpoints. */
#include "checkpoint_files.h"
#include "metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/kmask-run-XXXXXX";

static int make(void **state) {
    (void)state;
    strcpy(folder, "/tmp/kmask-run-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int clean(void **state) {
    (void)state;
    char *command = km_format("rm -r %s", folder);
    int failed = system(command);
    free(command);
    return failed;
}

static void put(const char *name, const char *text) {
    char *path = km_format("%s/%s", folder, name);
    assert_int_equal(km_file_replace(path, text, strlen(text)), KM_OK);
    free(path);
}

static void holds(const char *expected) {
    char *path = km_format("%s/metrics.jsonl", folder), *text = NULL;
    assert_int_equal(km_file_read(&text, NULL, path, 10000), KM_OK);
    assert_string_equal(text, expected);
    free(text);
    free(path);
}

static void add(km_metrics *metrics, int step) {
    km_json *line = km_json_object();
    km_json_set_number(line, "step", step);
    km_metrics_add(metrics, line);
}

static void the_log_has_every_step_once(void **state) {
    (void)state;
    static const char whole[] = "{\"step\":0,\"eval_loss\":7.5}\n{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n";
    for (size_t length = 0; length < sizeof whole; length++) { /* torn anywhere */
        char torn[sizeof whole] = "";
        memcpy(torn, whole, length);
        put("metrics.jsonl", torn);
        km_metrics *metrics = NULL;
        assert_int_equal(km_metrics_open(&metrics, folder, 2), KM_OK);
        assert_true(length < 29 || km_metrics_first_eval(metrics) == 7.5);
        add(metrics, 100);
        km_metrics_close(metrics);
        char *path = km_format("%s/metrics.jsonl", folder), *text = NULL;
        assert_int_equal(km_file_read(&text, NULL, path, 10000), KM_OK);
        assert_null(strstr(text, "\"step\":3"));
        char *last = strstr(text, "{\"step\":100}\n");
        assert_non_null(last);
        assert_memory_equal(text, whole, (size_t)(last - text)); /* whole lines only */
        assert_true(last == text || last[-1] == '\n');
        free(text);
        free(path);
    }
    km_metrics *metrics = NULL;
    put("metrics.jsonl", "{\"step\":1}\n{\"st\n{\"step\":2}\nx\n{\"step\":3}\n");
    assert_int_equal(km_metrics_open(&metrics, folder, 2), KM_OK);
    km_metrics_close(metrics);
    holds("{\"step\":1}\n{\"st\n{\"step\":2}\n"); /* damage in the middle loses nothing after it */
    put("metrics.jsonl", whole);
    assert_int_equal(km_metrics_open(&metrics, folder, -1), KM_OK);
    km_metrics_close(metrics);
    holds("");
}

static void a_late_evaluation_joins_its_line(void **state) {
    (void)state;
    km_metrics *metrics = NULL;
    assert_true(km_metrics_lacks_eval(folder, 0)); /* no log at all */
    assert_false(km_metrics_lacks_eval(folder, 3));
    put("metrics.jsonl",
        "{\"step\":0,\"eval_loss\":7}\n{\"step\":2}\n{\"step\":3,\"loss\":0.1}\n{\"step\":4}\n{\"st");
    assert_false(km_metrics_lacks_eval(folder, 0));
    assert_true(km_metrics_lacks_eval(folder, 3));
    assert_int_equal(km_metrics_open(&metrics, folder, 3), KM_OK);
    assert_int_equal(
        km_metrics_add_eval(metrics, 3, &(km_eval_result){.loss = 5.5, .accuracy = 0.25, .unigram_entropy = 6}),
        KM_OK);
    assert_false(km_metrics_lacks_eval(folder, 3));
    add(metrics, 4); /* goes to the file that is there now */
    km_metrics_close(metrics);
    holds(
        "{\"step\":0,\"eval_loss\":7}\n{\"step\":2}\n"
        "{\"step\":3,\"loss\":0.1,\"eval_loss\":5.5,\"eval_accuracy\":0.25,\"unigram_entropy\":6}\n{\"step\":4}\n");
    assert_int_equal(km_metrics_open(&metrics, folder, -1), KM_OK);
    assert_int_equal(
        km_metrics_add_eval(metrics, 0, &(km_eval_result){.loss = 5.5, .accuracy = 0.25, .unigram_entropy = 6}),
        KM_OK);
    km_metrics_close(metrics);
    holds("{\"step\":0,\"eval_loss\":5.5,\"eval_accuracy\":0.25,\"unigram_entropy\":6}\n");
}

static void checkpoints_are_listed_newest_first(void **state) {
    (void)state;
    km_checkpoint_files list;
    assert_int_equal(km_checkpoint_files_list(&list, folder), KM_OK);
    assert_int_equal(list.count, 0);
    char *path = km_format("%s/checkpoints", folder);
    assert_int_equal(km_make_folder(path), KM_OK);
    free(path);
    static const char *const names[] = {"step-00000002.h5", "step-00000010.h5", "step-100000000.h5",
                                        "step-3.h5.tmp",    "other.h5",         "step-5.h5.damaged",
                                        "step--1.h5"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        char *name = km_format("checkpoints/%s", names[i]);
        put(name, "x");
        free(name);
    }
    assert_int_equal(km_checkpoint_files_list(&list, folder), KM_OK);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.items[0].step, 100000000);
    assert_int_equal(list.items[1].step, 10);
    assert_int_equal(list.items[2].step, 2);
    km_checkpoint_files_free(&list);
    char *found = NULL;
    int64_t step = 0;
    assert_int_equal(km_checkpoint_find_newest(&found, &step, folder), KM_NO_CHECKPOINT);
    assert_null(found);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_log_has_every_step_once, make, clean),
        cmocka_unit_test_setup_teardown(a_late_evaluation_joins_its_line, make, clean),
        cmocka_unit_test_setup_teardown(checkpoints_are_listed_newest_first, make, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
