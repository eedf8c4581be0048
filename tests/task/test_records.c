/* Labelled data as files have it: TSV without quoting, CSV with it, JSONL, byte order marks; truncation and the paired t-test. */
#include "kmask/task.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/kmask-records-XXXXXX";

/* Writes and reads a file; the caller frees the records. */
static km_status read_text(km_records *out, const char *name, const char *text, const km_columns *columns) {
    char *path = km_format("%s/%s", folder, name);
    *out = (km_records){0};
    assert_int_equal(km_file_replace(path, text, strlen(text)), KM_OK);
    km_status status = km_records_read(out, path, columns);
    unlink(path);
    free(path);
    return status;
}

static void a_quote_is_nothing_special_in_tsv(void **state) {
    (void)state;
    const km_columns columns = {.header = true, .text = {"a"}, .pair = "b", .label = "l"};
    km_records r;
    assert_int_equal(read_text(&r, "x.tsv",
                               "\xEF\xBB\xBF"
                               "a\tb\tl\r\n\" one\ttwo \"\"\tyes\r\n3\t\tno",
                               &columns),
                     KM_OK);
    assert_int_equal(r.count, 2);
    assert_string_equal(r.items[0].text, "\" one");
    assert_string_equal(r.items[0].pair, "two \"\"");
    assert_string_equal(r.items[0].label, "yes");
    assert_string_equal(r.items[1].pair, "");
    assert_string_equal(r.items[1].label, "no");
    assert_int_equal(r.items[1].line, 3);
    km_records_free(&r);
}

static void csv_fields_may_hold_anything_in_quotes(void **state) {
    (void)state;
    const km_columns columns = {.text = {"2", "3"}, .label = "1"};
    km_records r;
    assert_int_equal(
        read_text(&r, "x.csv", "\"3\",\"a \"\"b\"\", c\",\"two\nlines\"\r\n4,plain,\r\n\"5\",\"\",\"z\"", &columns),
        KM_OK);
    assert_int_equal(r.count, 3);
    assert_string_equal(r.items[0].text, "a \"b\", c two\nlines");
    assert_string_equal(r.items[1].text, "plain ");
    assert_string_equal(r.items[1].label, "4");
    assert_int_equal(r.items[1].line, 3);
    assert_string_equal(r.items[2].text, " z");
    km_records_free(&r);
}

static void jsonl_labels_may_be_numbers(void **state) {
    (void)state;
    const km_columns columns = {.text = {"t"}, .label = "l"};
    km_records r;
    assert_int_equal(
        read_text(&r, "x.jsonl", "{\"t\": \"a\", \"l\": 2}\n\n{\"l\": true, \"t\": \"b\\tc\"}\n", &columns), KM_OK);
    assert_int_equal(r.count, 2);
    assert_string_equal(r.items[0].label, "2");
    assert_string_equal(r.items[1].label, "true");
    assert_string_equal(r.items[1].text, "b\tc");
    km_records_free(&r);
}

/* No file of these bytes, cut at any length, does more than fail with a message. */
static void cut_files_are_refused_or_read(void **state) {
    (void)state;
    static const char text[] = "a,l\n\"x\"\"y\",1\r\n\"two\nlines\",2\n,3\n";
    const km_columns columns = {.header = true, .text = {"a"}, .label = "l"};
    for (size_t length = 0; length < sizeof text; length++) {
        char *part = km_format("%.*s", (int)length, text);
        km_records r;
        if (read_text(&r, "cut.csv", part, &columns) != KM_OK) {
            assert_non_null(strstr(km_message(), "cut.csv"));
        }
        km_records_free(&r);
        free(part);
    }
}

/* scipy.stats.ttest_rel([0.71, 0.74, 0.69, 0.77], [0.70, 0.70, 0.69, 0.72]) */
static void paired_t_test_is_scipys(void **state) {
    (void)state;
    const double a[] = {0.71, 0.74, 0.69, 0.77}, b[] = {0.70, 0.70, 0.69, 0.72};
    double t = 0;
    const double p = km_paired_t_test(&t, a, b, 4);
    assert_true(fabs(t - 2.100420126042015) < 1e-9 && fabs(p - 0.12651459308133606) < 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quote_is_nothing_special_in_tsv),
        cmocka_unit_test(csv_fields_may_hold_anything_in_quotes),
        cmocka_unit_test(jsonl_labels_may_be_numbers),
        cmocka_unit_test(cut_files_are_refused_or_read),
        cmocka_unit_test(paired_t_test_is_scipys),
    };
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
