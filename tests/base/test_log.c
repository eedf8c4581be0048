/* Log, progress in its plain and live forms, times and quantities. Standard error goes to a file meanwhile. */
#include "kmask/base.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "progress.h"

static int kept = -1;
static char path[] = "/tmp/kmask-log-XXXXXX";

static void listen(const char *mode) {
    strcpy(path, "/tmp/kmask-log-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    kept = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
    setenv("KMASK_PROGRESS", mode, 1);
}

/* What was written since; the caller frees. */
static char *heard(void) {
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    char *text = NULL;
    assert_int_equal(km_file_read(&text, NULL, path, 1 << 20), KM_OK);
    unlink(path);
    return text;
}

static int count(const char *text, const char *word) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) {
        n++;
    }
    return n;
}

static void lines_have_one_voice(void **state) {
    (void)state;
    listen("none");
    km_log("%d lines", 2);
    km_warn("of %s", "care");
    km_log_mute(true);
    km_log("nothing");
    km_warn("nothing");
    assert_true(km_log_muted());
    km_log_mute(false);
    char *text = heard();
    assert_string_equal(text, "2 lines\nkmask: warning: of care\n");
    free(text);
}

static void plain_progress_is_a_line_for_each_fiftieth(void **state) {
    (void)state;
    listen("plain");
    km_progress *progress = km_progress_create("pretrain", 0, 1000);
    km_progress_set_interval(progress, 0);
    for (uint64_t i = 1; i <= 1000; i++) {
        km_progress_update(progress, i, "step %d", (int)i);
    }
    km_progress_clear(progress);
    km_progress_destroy(progress);
    char *text = heard();
    assert_int_equal(strncmp(text, "pretrain: 0 %  step 1", 21), 0);
    assert_non_null(strstr(text, "\npretrain: 2 %  step 21"));
    assert_null(strstr(text, "step 20 "));
    assert_non_null(strstr(text, "\npretrain: 100 %  step 1000\n"));
    assert_int_equal(count(text, "\n"), 51);
    assert_null(strchr(text, '\r'));
    free(text);
}

static void plain_progress_of_a_quick_job_is_two_lines(void **state) {
    (void)state;
    listen("plain");
    km_progress *progress = km_progress_create("pretrain", 0, 1000);
    km_progress_set_interval(progress, 1000);
    for (uint64_t i = 1; i <= 1000; i++) {
        km_progress_update(progress, i, "step %d", (int)i);
    }
    km_progress_destroy(progress);
    char *text = heard();
    assert_int_equal(count(text, "\n"), 2);
    assert_int_equal(strncmp(text, "pretrain: 0 %  step 1", 21), 0);
    assert_non_null(strstr(text, "\npretrain: 100 %  step 1000\n"));
    free(text);
}

static void a_resumed_progress_begins_where_it_stood(void **state) {
    (void)state;
    listen("plain");
    km_progress *progress = km_progress_create("pretrain", 900, 1000);
    km_progress_set_interval(progress, 0);
    km_progress_update(progress, 901, "%s", "");
    km_progress_update(progress, 915, "%s", "");
    km_progress_update(progress, 921, "%s", "");
    km_progress_destroy(progress);
    char *text = heard();
    assert_int_equal(count(text, "\n"), 2);
    assert_int_equal(strncmp(text, "pretrain: 90 %", 14), 0);
    assert_non_null(strstr(text, "\npretrain: 92 %"));
    free(text);
}

static void odd_totals_do_no_harm(void **state) {
    (void)state;
    listen("plain");
    km_progress *progress = km_progress_create("nothing", 0, 0);
    km_progress_update(progress, 0, "%s", "");
    km_progress_update(progress, 5, "%s", "");
    km_progress_destroy(progress);
    km_progress_update(NULL, 1, "%s", "");
    km_progress_clear(NULL);
    km_progress_destroy(NULL);
    char *text = heard();
    assert_string_equal(text, "nothing: 100 %\n");
    free(text);
}

static void a_live_line_is_wiped_before_others(void **state) {
    (void)state;
    listen("live");
    km_progress *progress = km_progress_create("pretrain", 0, 10);
    km_progress_update(progress, 5, "loss %.1f %s", 2.5, "that is so long that it cannot stand on a line of 80");
    km_log("a line");
    km_log("another");
    km_progress_update(progress, 10, "%s", "\xc3\xa4");
    km_progress_clear(progress);
    km_progress_clear(progress);
    km_progress_destroy(progress);
    char *text = heard();
    static const char begin[] = "\rpretrain [#####.....]  50 %  ";
    assert_int_equal(strncmp(text, begin, sizeof begin - 1), 0);
    assert_int_equal(strcspn(text, "\x1b"), 80); /* carriage return and 79 columns */
    static const char rest[] = "\x1b[K\r\x1b[Ka line\nanother\n\rpretrain [##########] 100 %  "
                               "\xc3\xa4\x1b[K\r\x1b[K";
    assert_string_equal(text + 80, rest);
    free(text);
}

static void a_live_line_is_drawn_ten_times_a_second_at_most(void **state) {
    (void)state;
    listen("live");
    double start = km_seconds();
    km_progress *progress = km_progress_create("x", 0, 1000000);
    for (uint64_t i = 1; i <= 20000; i++) {
        km_progress_update(progress, i, "%d", 1);
    }
    double seconds = km_seconds() - start;
    km_progress_destroy(progress);
    char *text = heard();
    assert_true(count(text, "x [") <= 1 + (int)(seconds * 10));
    free(text);
}

static void muted_ranks_show_none(void **state) {
    (void)state;
    listen("live");
    km_log_mute(true);
    km_progress *progress = km_progress_create("x", 0, 2);
    km_progress_update(progress, 1, "%d", 1);
    km_progress_destroy(progress);
    km_log_mute(false);
    char *text = heard();
    assert_string_equal(text, "");
    free(text);
}

static void times_and_quantities_read_well(void **state) {
    (void)state;
    char out[32];
    assert_string_equal(km_duration(out, 0.4), "0s");
    assert_string_equal(km_duration(out, 12), "12s");
    assert_string_equal(km_duration(out, 59.6), "1m00s");
    assert_string_equal(km_duration(out, 200), "3m20s");
    assert_string_equal(km_duration(out, 3725), "1h02m");
    assert_string_equal(km_duration(out, 2.0 * 86400 + 3 * 3600), "2d03h");
    assert_string_equal(km_duration(out, -1), "?");
    assert_string_equal(km_duration(out, NAN), "?");
    assert_string_equal(km_duration(out, INFINITY), "?");
    assert_string_equal(km_quantity(out, 0), "0");
    assert_string_equal(km_quantity(out, 12), "12");
    assert_string_equal(km_quantity(out, 1234), "1.23 k");
    assert_string_equal(km_quantity(out, 12345), "12.3 k");
    assert_string_equal(km_quantity(out, 123456), "123 k");
    assert_string_equal(km_quantity(out, 999.9), "1.00 k");
    assert_string_equal(km_quantity(out, 999999), "1.00 M");
    assert_string_equal(km_quantity(out, 1.1e9), "1.10 G");
    assert_string_equal(km_quantity(out, 1e30), "1000000000000 E");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_one_voice),
        cmocka_unit_test(plain_progress_is_a_line_for_each_fiftieth),
        cmocka_unit_test(plain_progress_of_a_quick_job_is_two_lines),
        cmocka_unit_test(a_resumed_progress_begins_where_it_stood),
        cmocka_unit_test(odd_totals_do_no_harm),
        cmocka_unit_test(a_live_line_is_wiped_before_others),
        cmocka_unit_test(a_live_line_is_drawn_ten_times_a_second_at_most),
        cmocka_unit_test(muted_ranks_show_none),
        cmocka_unit_test(times_and_quantities_read_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
