/* torn itself: what is synced survives a loss of power, what is not does not, or as the seed says; calls fail, are cut and
 * kill when asked, and only then. Run as `torn_check torn.so`; it runs itself with torn preloaded for each scenario. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *library;
static char folder[] = "/tmp/kmask-torn-XXXXXX";
static char inside[64], freed[64]; /* the folder that torn looks at, and a file beside it */

/* ---- What the child does, one scenario a function; it ends with the power gone, or returns its status ---- */

static int new_file(const char *name) {
    return open(name, O_RDWR | O_CREAT, 0666);
}

static void put(int fd, const char *text, off_t at) {
    if (pwrite(fd, text, strlen(text), at) != (ssize_t)strlen(text)) {
        _exit(90);
    }
}

static void sync_folder(void) {
    int fd = open(".", O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fsync(fd) != 0 || close(fd) != 0) {
        _exit(91);
    }
}

static void lose_power(void) {
    (void)raise(SIGUSR2);
    (void)unlink("there-is-no-such-file");
    _exit(92);
}

static int child_data(void) { /* "old" was there before */
    int old = open("old", O_RDWR), kept = new_file("kept"), lost = new_file("lost");
    put(old, "XX", 1);
    put(kept, "synced", 0);
    if (fsync(kept) != 0) {
        return 93;
    }
    put(kept, "unsynced", 6);
    sync_folder();
    put(lost, "unsynced", 0);
    lose_power();
    return 0;
}

static int child_names(void) {
    int fd = new_file("a.tmp");
    put(fd, "new", 0);
    if (fsync(fd) != 0 || rename("a.tmp", "old") != 0) {
        return 93;
    }
    if (mkdir("sub", 0777) != 0) {
        return 94;
    }
    fd = new_file("sub/file");
    put(fd, "x", 0);
    if (fsync(fd) != 0) {
        return 95;
    }
    int sub = open("sub", O_RDONLY);
    if (sub < 0 || fsync(sub) != 0) {
        return 96;
    }
    lose_power();
    return 0;
}

static int child_committed(void) {
    int fd = new_file("a.tmp");
    put(fd, "new", 0);
    if (fsync(fd) != 0 || rename("a.tmp", "old") != 0) {
        return 93;
    }
    sync_folder();
    if (unlink("other") != 0) {
        return 94;
    }
    lose_power();
    return 0;
}

static int child_sizes(void) {
    int fd = open("old", O_WRONLY | O_TRUNC);
    put(fd, "n", 0);
    int longer = open("other", O_WRONLY);
    if (posix_fallocate(longer, 0, 100) != 0 || ftruncate(longer, 50) != 0 || fdatasync(longer) != 0) {
        return 93;
    }
    lose_power();
    return 0;
}

static int child_many(void) {
    int fd = new_file("many");
    sync_folder();
    for (int i = 0; i < 8; i++) {
        char bytes[1024];
        memset(bytes, 'a' + i, sizeof bytes);
        if (pwrite(fd, bytes, sizeof bytes, i * (off_t)sizeof bytes) < 0) {
            return 93;
        }
    }
    lose_power();
    return 0;
}

/* Eight writes of eight bytes to "old" after one another, what each returned into "said" outside the folder's rules. */
static int child_writes(void) {
    int fd = open("old", O_WRONLY | O_TRUNC), failed = 0;
    char said[64] = "";
    for (int i = 0; i < 6; i++) {
        ssize_t done = write(fd, "12345678", 8);
        failed = done < 0 ? errno : 0;
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s",
                 done == 8          ? "8"
                 : done == 4        ? "4"
                 : failed == ENOSPC ? "S"
                 : failed == EDQUOT ? "Q"
                 : failed == EINTR  ? "I"
                 : failed == EIO    ? "E"
                                    : "?");
        if (i == 3) {
            (void)!system("touch ../freed"); /* one more process, which is not meant */
        }
    }
    printf("%s\n", said);
    return 0;
}

static int child_calls(void) {
    char said[64] = "";
    int fd = open("new", O_WRONLY | O_CREAT, 0666);
    strcat(said, fd >= 0 ? "o" : errno == EIO ? "O" : "?");
    fd = fd >= 0 ? fd : open("old", O_WRONLY);
    strcat(said, fsync(fd) == 0 ? "f" : errno == EIO ? "F" : "?");
    strcat(said, ftruncate(fd, 1) == 0 ? "t" : errno == EIO ? "T" : "?");
    strcat(said, rename("old", "older") == 0 ? "r" : errno == EIO ? "R" : "?");
    strcat(said, mkdir("sub", 0777) == 0 ? "m" : errno == EIO ? "M" : "?");
    strcat(said, unlink("other") == 0 ? "u" : errno == EIO ? "U" : "?");
    strcat(said, close(fd) == 0 ? "c" : errno == EIO ? "C" : "?");
    int outside = open("/dev/null", O_WRONLY);
    strcat(said, outside >= 0 && write(outside, "x", 1) == 1 ? "." : "!");
    printf("%s\n", said);
    return 0;
}

static const struct scenario {
    const char *name;
    int (*run)(void);
} SCENARIOS[] = {{"data", child_data},   {"names", child_names}, {"committed", child_committed},
                 {"sizes", child_sizes}, {"many", child_many},   {"writes", child_writes},
                 {"calls", child_calls}};

/* ---- What the parent sees ---- */

static void spill(const char *name, const char *text) {
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* The file's text; "-" where there is none. */
static const char *text_of(const char *name) {
    static char text[1 << 14];
    FILE *file = fopen(name, "r");
    if (file == NULL) {
        return "-";
    }
    size_t got = fread(text, 1, sizeof text - 1, file);
    text[got] = '\0';
    assert_int_equal(fclose(file), 0);
    return text;
}

static long size_of(const char *name) {
    struct stat info;
    return stat(name, &info) == 0 ? (long)info.st_size : -1;
}

static void clean(void) {
    (void)!system("rm -rf old other kept lost a.tmp sub many new older ../freed said");
    spill("old", "12345678");
    spill("other", "other");
}

/* Runs a scenario; its wait status. */
static int run(const char *scenario, const char *spec, const char *seed) {
    clean();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setenv("LD_PRELOAD", library, 1);
        setenv("KMASK_TORN_FOLDER", inside, 1);
        setenv("KMASK_TORN", spec, 1);
        setenv("KMASK_TORN_SEED", seed, 1);
        setenv("KMASK_TORN_SIGNAL", "1", 1);
        setenv("KMASK_TORN_UNTIL", freed, 1);
        if (freopen("said", "w", stdout) == NULL) {
            _exit(99);
        }
        execl("/proc/self/exe", "torn_check", library, scenario, (char *)NULL);
        _exit(98);
    }
    int status = 0;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

static void loses_power(const char *scenario, const char *seed) {
    int status = run(scenario, "", seed);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        fail_msg("%s with seed %s: status %d instead of a death", scenario, seed, WEXITSTATUS(status));
    }
}

static void test_what_was_not_synced_is_lost(void **state) {
    (void)state;
    loses_power("data", "0");
    assert_string_equal(text_of("old"), "12345678");
    assert_string_equal(text_of("kept"), "synced");
    assert_string_equal(text_of("lost"), "");
    loses_power("data", "2");
    assert_string_equal(text_of("old"), "1XX45678");
    assert_string_equal(text_of("kept"), "syncedunsynced");
    assert_string_equal(text_of("lost"), "unsynced");
    loses_power("sizes", "0");
    assert_string_equal(text_of("old"), "12345678");
    assert_int_equal(size_of("other"), 50);
    loses_power("sizes", "2");
    assert_string_equal(text_of("old"), "n");
}

static void test_names_are_durable_by_their_folder(void **state) {
    (void)state;
    loses_power("names", "0");
    assert_string_equal(text_of("old"), "12345678");
    assert_string_equal(text_of("a.tmp"), "-");
    assert_int_equal(size_of("sub"), -1); /* with all that was synced in it */
    loses_power("names", "1");
    assert_string_equal(text_of("old"), "new");
    assert_string_equal(text_of("a.tmp"), "-");
    assert_string_equal(text_of("sub/file"), "x");
    loses_power("committed", "0");
    assert_string_equal(text_of("old"), "new");
    assert_string_equal(text_of("a.tmp"), "-");
    assert_string_equal(text_of("other"), "other");
    loses_power("committed", "1");
    assert_string_equal(text_of("other"), "-");
}

static void test_seeds_choose_among_outcomes(void **state) {
    (void)state;
    loses_power("many", "3");
    const char *text = text_of("many");
    assert_int_equal(size_of("many"), 7 * 1024); /* the last write is one that is lost */
    assert_true(text[0] == 'a' && text[1024] == '\0' && text[2048] == 'c');
    int cut = 0, whole = 0, none = 0;
    for (int seed = 4; seed < 24; seed++) {
        char digits[16], first[1 << 14];
        snprintf(digits, sizeof digits, "%d", seed);
        loses_power("many", digits);
        memcpy(first, text_of("many"), sizeof first);
        long size = size_of("many");
        loses_power("many", digits);
        assert_true(size == size_of("many") && memcmp(first, text_of("many"), (size_t)size) == 0);
        for (long i = 0; i < size; i += 1024) {
            bool half = first[i] != '\0', rest = first[i + 512] != '\0';
            whole += half && rest;
            none += !half && !rest;
            cut += half && !rest;
        }
    }
    assert_true(cut > 0 && whole > 0 && none > 0);
}

static void said(const char *scenario, const char *spec, const char *expected) {
    int status = run(scenario, spec, "0");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 ||
        strncmp(text_of("said"), expected, strlen(expected)) != 0) {
        fail_msg("%s: status %d, '%s' instead of '%s'", spec, status, text_of("said"), expected);
    }
}

static void test_calls_fail_when_asked(void **state) {
    (void)state;
    said("writes", "", "888888");
    said("writes", "write:2:ENOSPC", "8S8888");
    assert_int_equal(size_of("old"), 40);
    said("writes", "write:2:EDQUOT", "8Q8888");
    said("writes", "write:4:EINTR", "888I88");
    said("writes", "write:3:short", "884888");
    assert_int_equal(size_of("old"), 44);
    said("writes", "write:3:flip", "888888");
    assert_int_equal(size_of("old"), 48);
    said("writes", "write:2+:EIO", "8EEE88"); /* until the disk is freed */
    said("writes", "space:1+:ENOSPC", "SSSS88");
    said("writes", "call:3:EIO", "8E8888"); /* the first is open */
    said("writes", "write:2-3:EDQUOT", "8QQ888");
    said("calls", "", "oftrmuc.");
    said("calls", "open:1:EIO", "Oftrmuc.");
    said("calls", "fsync:1:EIO", "oFtrmuc.");
    said("calls", "resize:1:EIO", "ofTrmuc.");
    said("calls", "rename:1:EIO", "oftRmuc.");
    said("calls", "mkdir:1:EIO", "oftrMuc.");
    said("calls", "unlink:1:EIO", "oftrmUc.");
    said("calls", "close:1:EIO", "oftrmuC.");
    said("calls", "call:4+:EIO", "oftRMUC.");
}

static void test_death_in_a_call(void **state) {
    (void)state;
    int status = run("writes", "write:3:tear", "0");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(size_of("old"), 20);
    status = run("writes", "write:3:kill", "0");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(size_of("old"), 16);
    status = run("writes", "write:3:power", "0");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_string_equal(text_of("old"), "12345678");
    status = run("writes", "writes:3:power", "0");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 120); /* no such kind: said, not passed over */
}

static int enter_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    snprintf(inside, sizeof inside, "%s/run", folder);
    snprintf(freed, sizeof freed, "%s/freed", folder);
    return mkdir(inside, 0777) != 0 || chdir(inside) != 0;
}

static int leave_folder(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("/") != 0 || system(command) != 0;
}

int main(int argc, char **argv) {
    if (argc == 3) {
        for (size_t i = 0; i < sizeof SCENARIOS / sizeof *SCENARIOS; i++) {
            if (strcmp(argv[2], SCENARIOS[i].name) == 0) {
                unsetenv("LD_PRELOAD");
                return SCENARIOS[i].run();
            }
        }
    }
    if (argc != 2) {
        fprintf(stderr, "usage: torn_check torn.so\n");
        return 2;
    }
    library = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_not_synced_is_lost),
        cmocka_unit_test(test_names_are_durable_by_their_folder),
        cmocka_unit_test(test_seeds_choose_among_outcomes),
        cmocka_unit_test(test_calls_fail_when_asked),
        cmocka_unit_test(test_death_in_a_call),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
