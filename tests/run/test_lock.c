/* The lock of a run folder, with fcntl locks and without: owners that live, are killed, stopped, requeued or on another machine. */
#include "kmask/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], path[80];
static bool no_fcntl;

static km_lock_options hasty(void) {
    return (km_lock_options){.wait = 1.2, .refresh = 0.1, .stale = 0.5, .no_fcntl = no_fcntl};
}

static km_status take(km_lock **lock) {
    km_lock_options options = hasty();
    return km_lock_take(lock, folder, &options);
}

/* A child that holds the folder until it is killed. */
static pid_t hold(void) {
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        km_lock *lock = NULL;
        char byte = take(&lock) == KM_OK ? 'y' : 'n';
        (void)!write(ready[1], &byte, 1);
        for (;;) {
            pause();
        }
    }
    char byte = 'n';
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void end(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* A lock file of a process elsewhere, with what differs from the usual. */
static void write_elsewhere(const char *job, int restarts) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "host far-away\npid 12\nstarted 34\nmachine 00000000000000aa\njob %s\nrestarts %d\n"
            "token 00112233445566778899aabbccddeeff\nbeats 00000000000000000005\n",
            job, restarts);
    fclose(file);
}

static void assert_taken_from_now(km_lock *lock) {
    assert_non_null(lock);
    km_lock *second = NULL;
    assert_int_equal(take(&second), KM_FAILED);
    assert_null(second);
    assert_non_null(strstr(km_message(), "another run"));
    km_lock_release(lock);
    assert_false(km_file_exists(path));
}

static void a_second_is_refused_and_a_dead_one_is_followed(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        pid_t child = hold();
        km_lock *lock = NULL;
        double start = km_seconds();
        assert_int_equal(take(&lock), KM_FAILED);
        assert_true(km_seconds() - start >= 1.2);
        char pid[32];
        snprintf(pid, sizeof pid, "process %d on ", (int)child);
        assert_non_null(strstr(km_message(), pid));
        if (i == 1) { /* a stopped one is alive, however long it has not beaten */
            kill(child, SIGSTOP);
            assert_int_equal(take(&lock), KM_FAILED);
        }
        end(child);
        start = km_seconds();
        assert_int_equal(take(&lock), KM_OK);
        assert_true(km_seconds() - start < 5); /* at once, on a machine at work */
        assert_taken_from_now(lock);
    }
}

static void a_starter_waits_for_one_that_ends(void **state) {
    (void)state;
    pid_t child = hold(), killer = fork();
    if (killer == 0) {
        usleep(500000);
        kill(child, SIGKILL);
        _exit(0);
    }
    km_lock *lock = NULL;
    usleep(100000);
    /* The killed child stays a zombie until it is waited for: that is as good as gone. */
    assert_int_equal(take(&lock), KM_OK);
    waitpid(child, NULL, 0);
    waitpid(killer, NULL, 0);
    assert_taken_from_now(lock);
}

static void another_machine_is_judged_by_its_refreshes(void **state) {
    (void)state;
    km_lock *lock = NULL;
    write_elsewhere("-", 0);
    double start = km_seconds();
    assert_int_equal(take(&lock), KM_OK);
    assert_true(km_seconds() - start >= 0.5);
    assert_taken_from_now(lock);

    write_elsewhere("-", 0);
    pid_t beating = fork();
    if (beating == 0) {
        for (unsigned beats = 6;; beats++) {
            usleep(100000);
            FILE *file = fopen(path, "r+");
            fseek(file, -21, SEEK_END);
            fprintf(file, "%020u", beats);
            fclose(file);
        }
    }
    assert_int_equal(take(&lock), KM_FAILED);
    assert_non_null(strstr(km_message(), "process 12 on far-away"));
    end(beating);
    assert_int_equal(take(&lock), KM_OK);
    assert_taken_from_now(lock);
}

static void a_requeued_job_does_not_wait(void **state) {
    (void)state;
    km_lock *lock = NULL;
    setenv("SLURM_JOB_ID", "4711", 1);
    setenv("SLURM_RESTART_COUNT", "1", 1);
    write_elsewhere("4711", 0);
    double start = km_seconds();
    km_lock_options options = hasty();
    options.stale = options.wait = 100;
    assert_int_equal(km_lock_take(&lock, folder, &options), KM_OK);
    assert_true(km_seconds() - start < 10);
    km_lock_release(lock);
    write_elsewhere("4711", 1); /* another step of the same job, as alive as we are */
    options.wait = 0.3;
    assert_int_equal(km_lock_take(&lock, folder, &options), KM_FAILED);
    assert_non_null(strstr(km_message(), "SLURM job 4711"));
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_RESTART_COUNT");
    unlink(path);
}

static void whoever_was_followed_learns_of_it(void **state) {
    (void)state;
    km_lock *lock = NULL;
    assert_int_equal(take(&lock), KM_OK);
    unlink(path); /* somebody tidies up: the next refresh makes it again */
    for (int i = 0; i < 100 && !km_file_exists(path); i++) {
        usleep(50000);
    }
    assert_true(km_file_exists(path));
    assert_false(km_lock_lost(lock));
    char *other = km_format("%s.other", path);
    assert_int_equal(rename(path, other), 0);
    write_elsewhere("-", 0);
    for (int i = 0; i < 100 && !km_lock_lost(lock); i++) {
        usleep(50000);
    }
    assert_true(km_lock_lost(lock));
    km_lock_release(lock);
    assert_true(km_file_exists(path)); /* it is the other's */
    unlink(path);
    unlink(other);
    free(other);
}

static void any_bytes_may_stand_in_the_file(void **state) {
    (void)state;
    static const char *const texts[] = {"", "\n", "host", "process 12 on there\n", "host a pid x", "\xff\xfe\x01"};
    for (size_t i = 0; i < KM_COUNT(texts); i++) {
        FILE *file = fopen(path, "w");
        fputs(texts[i], file);
        fclose(file);
        km_lock *lock = NULL;
        assert_int_equal(take(&lock), KM_OK);
        km_lock_release(lock);
    }
}

static void nothing_is_left_behind(void **state) {
    (void)state;
    char deep[128];
    snprintf(deep, sizeof deep, "%s/run", folder);
    km_lock_options options = hasty();
    km_lock *lock = NULL;
    assert_int_equal(km_lock_take(&lock, deep, &options), KM_OK);
    km_lock_release(lock);
    assert_false(km_file_exists(deep));
}

static int with_fcntl(void **state) {
    (void)state;
    no_fcntl = false;
    return 0;
}

static int without_fcntl(void **state) {
    (void)state;
    no_fcntl = true;
    return 0;
}

#define BOTH(test)                                                                                                 \
    cmocka_unit_test_setup(test, with_fcntl), {                                                                    \
#test " without fcntl", test, without_fcntl, NULL, NULL                                                    \
    }

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/kmask-lock-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    snprintf(path, sizeof path, "%s/lock", folder);
    const struct CMUnitTest tests[] = {
        BOTH(a_second_is_refused_and_a_dead_one_is_followed),
        BOTH(a_starter_waits_for_one_that_ends),
        BOTH(another_machine_is_judged_by_its_refreshes),
        BOTH(a_requeued_job_does_not_wait),
        BOTH(whoever_was_followed_learns_of_it),
        BOTH(any_bytes_may_stand_in_the_file),
        BOTH(nothing_is_left_behind),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (rmdir(folder) != 0) {
        fprintf(stderr, "%s: something was left there\n", folder);
        return 1;
    }
    return failed;
}
