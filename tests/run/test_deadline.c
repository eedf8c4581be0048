/* When to stop: by faked clocks, environments and a faked squeue. */
#include "deadline.h"
#include "kmask/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

static int outside_slurm(void **state) {
    (void)state;
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_JOB_END_TIME");
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

static void no_limit_is_never_reached(void **state) {
    (void)state;
    km_deadline d;
    km_deadline_start(&d, 0, 5);
    km_deadline_add_step(&d, 1e6);
    assert_false(km_deadline_reached(&d, 1e12, true));
}

/* The last step begins when after it there is no time for another one and a save. */
static void max_hours_leaves_time_for_step_and_save(void **state) {
    (void)state;
    km_deadline d;
    km_deadline_start(&d, 1, 1000);
    km_deadline_add_step(&d, 10);
    km_deadline_add_save(&d, 100);
    assert_string_equal(d.what, "run.max_hours");
    assert_false(km_deadline_reached(&d, 1000 + 3600 - 171, false));
    assert_true(km_deadline_reached(&d, 1000 + 3600 - 170, false));
    km_deadline_add_evaluation(&d, 50);
    assert_false(km_deadline_reached(&d, 1000 + 3600 - 171, false));
    assert_true(km_deadline_reached(&d, 1000 + 3600 - 220, true));
}

static void the_largest_of_recent_times_counts(void **state) {
    (void)state;
    km_deadline d;
    km_deadline_start(&d, 1, 0);
    km_deadline_add_step(&d, 30);
    for (int i = 0; i < KM_DEADLINE_RECENT - 1; i++) {
        km_deadline_add_step(&d, 1);
    }
    assert_true(km_deadline_reached(&d, 3600 - 60, false));
    km_deadline_add_step(&d, 1); /* the long one is long ago */
    assert_false(km_deadline_reached(&d, 3600 - 60, false));
}

static void before_the_first_save_it_is_estimated(void **state) {
    (void)state;
    km_deadline d;
    km_deadline_start(&d, 1, 0);
    km_deadline_expect_save(&d, 1e9, 1e8); /* 10 s, and half of it more */
    assert_true(km_deadline_reached(&d, 3600 - 15, false));
    assert_false(km_deadline_reached(&d, 3600 - 16, false));
    km_deadline_expect_save(&d, 1e9, 0);
    assert_true(km_deadline_reached(&d, 3600 - 30, false));
    km_deadline_add_save(&d, 2);
    assert_false(km_deadline_reached(&d, 3600 - 4, false));
}

static void slurm_says_the_end_in_the_environment(void **state) {
    (void)state;
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)time(NULL) + 1000);
    setenv("SLURM_JOB_ID", "77", 1);
    setenv("SLURM_JOB_END_TIME", text, 1);
    km_deadline d;
    double now = km_seconds();
    km_deadline_start(&d, 0, now);
    assert_string_equal(d.what, "the end of SLURM job 77");
    assert_true(fabs(d.end - now - 1000) < 60);
    assert_true(d.margin > 10 && d.margin <= 15);
    km_deadline_start(&d, 0.1, now); /* the earlier one counts */
    assert_string_equal(d.what, "run.max_hours");
    km_deadline_start(&d, 10, now);
    assert_string_equal(d.what, "the end of SLURM job 77");
}

static void fake_squeue(const char *script) {
    char path[96];
    snprintf(path, sizeof path, "%s/squeue", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
}

static void squeue_is_asked_else(void **state) {
    (void)state;
    char *old = km_strdup(getenv("PATH")), *path = km_format("%s:%s", folder, old), script[160];
    setenv("PATH", path, 1);
    setenv("SLURM_JOB_ID", "78", 1);
    time_t end = time(NULL) + 500;
    struct tm parts;
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&end, &parts));
    snprintf(script, sizeof script, "[ \"$*\" = '-h -j 78 -o %%e' ] && echo %s", text);
    fake_squeue(script);
    km_deadline d;
    double now = km_seconds();
    km_deadline_start(&d, 0, now);
    assert_true(fabs(d.end - now - 500) < 60);
    static const char *const useless[] = {"echo NONE", "echo N/A",   "exit 1",
                                          ":",         "kill -9 $$", "echo 2026-13-45T99:00:00"};
    for (size_t i = 0; i < KM_COUNT(useless); i++) {
        fake_squeue(useless[i]);
        km_deadline_start(&d, 0, now);
        assert_true(isinf(d.end));
    }
    char squeue[96];
    snprintf(squeue, sizeof squeue, "%s/squeue", folder);
    unlink(squeue);
    setenv("PATH", folder, 1); /* none at all */
    km_deadline_start(&d, 0, now);
    assert_true(isinf(d.end));
    setenv("PATH", old, 1);
    free(old);
    free(path);
}

static void ends_are_parsed(void **state) {
    (void)state;
    int64_t end = 0;
    assert_true(km_deadline_parse(&end, "1970-01-02T00:00:01\n"));
    assert_int_equal(end, 86401);
    static const char *const bad[] = {"", "\n", "NONE", "N/A", "Unknown", "1970-01-02", "1970-01-02T00:00:01 x"};
    for (size_t i = 0; i < KM_COUNT(bad); i++) {
        assert_false(km_deadline_parse(&end, bad[i]));
    }
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/kmask-deadline-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_limit_is_never_reached, outside_slurm),
        cmocka_unit_test_setup(max_hours_leaves_time_for_step_and_save, outside_slurm),
        cmocka_unit_test_setup(the_largest_of_recent_times_counts, outside_slurm),
        cmocka_unit_test_setup(before_the_first_save_it_is_estimated, outside_slurm),
        cmocka_unit_test_setup(slurm_says_the_end_in_the_environment, outside_slurm),
        cmocka_unit_test_setup(squeue_is_asked_else, outside_slurm),
        cmocka_unit_test_setup(ends_are_parsed, outside_slurm),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return rmdir(folder) == 0 ? failed : 1;
}
