#include "torn_effect.h"

#include "torn_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const KINDS[TORN_KINDS] = {"open",   "write", "resize", "rename",
                                              "unlink", "mkdir", "fsync",  "close"};
static const struct {
    const char *name;
    int number;
} ERRORS[] = {{"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EIO", EIO}, {"EINTR", EINTR}, {"EACCES", EACCES}};

static struct {
    char folder[4096];
    char kind[16], what[16];
    long first, last;   /* of the calls of the kind that are meant */
    long count, number; /* calls of the kind, of any */
    const char *until;
    unsigned long seed;
    int log;
} torn = {.log = -1};
static volatile sig_atomic_t signalled;
static bool tears_next;

static void note(int number) {
    (void)number;
    signalled = 1;
}

static void refuse(const char *spec) {
    fprintf(stderr, "torn: KMASK_TORN=%s is not kind:n[+|-m]:what\n", spec);
    _exit(120); /* a test that asks for nothing would pass */
}

static bool is_known(const char *word, bool is_kind) {
    static const char *const kinds[] = {"space", "call"}, *const whats[] = {"short", "flip", "tear", "kill",
                                                                            "power"};
    for (size_t i = 0; is_kind && i < TORN_KINDS; i++) {
        if (strcmp(word, KINDS[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; !is_kind && i < sizeof ERRORS / sizeof *ERRORS; i++) {
        if (strcmp(word, ERRORS[i].name) == 0) {
            return true;
        }
    }
    const char *const *more = is_kind ? kinds : whats;
    for (size_t i = 0; i < (is_kind ? 2 : 5); i++) {
        if (strcmp(word, more[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void parse(const char *spec) {
    char range[32], *rest = NULL;
    if (sscanf(spec, "%15[a-z]:%31[0-9+-]:%15[A-Za-z]", torn.kind, range, torn.what) != 3) {
        refuse(spec);
    }
    torn.first = torn.last = strtol(range, &rest, 10);
    if (*rest == '+') {
        torn.last = LONG_MAX;
    } else if (*rest == '-') {
        torn.last = strtol(rest + 1, NULL, 10);
    }
    if (torn.first < 1 || torn.last < torn.first || !is_known(torn.kind, true) || !is_known(torn.what, false)) {
        refuse(spec);
    }
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("KMASK_TORN_FOLDER"), *spec = getenv("KMASK_TORN"), *log = getenv("KMASK_TORN_LOG"),
               *rank = getenv("OMPI_COMM_WORLD_RANK"), *mine = getenv("KMASK_TORN_RANK"),
               *seed = getenv("KMASK_TORN_SEED");
    if (folder == NULL || (rank != NULL && strcmp(rank, mine != NULL ? mine : "0") != 0)) {
        return;
    }
    snprintf(torn.folder, sizeof torn.folder, "%s", folder);
    if (spec != NULL && spec[0] != '\0') {
        parse(spec);
    }
    torn.until = getenv("KMASK_TORN_UNTIL");
    torn.seed = seed != NULL ? strtoul(seed, NULL, 10) : 0;
    torn.log =
        log != NULL ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (getenv("KMASK_TORN_SIGNAL") != NULL) {
        signal(SIGUSR2, note);
    }
}

const char *torn_folder(void) {
    return torn.folder[0] != '\0' ? torn.folder : NULL;
}

/* ---- Death ---- */

static bool has_rank(const char *process) {
    char path[64], text[1 << 16];
    snprintf(path, sizeof path, "/proc/%s/environ", process);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    long got = fd >= 0 ? syscall(SYS_read, fd, text, sizeof text) : 0;
    syscall(SYS_close, fd);
    return got > 0 && memmem(text, (size_t)got, "OMPI_COMM_WORLD_RANK=", 21) != NULL;
}

static int parent_of(const char *process) {
    char path[64], text[1024] = "";
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%s/stat", process);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    long got = fd >= 0 ? syscall(SYS_read, fd, text, sizeof text - 1) : 0;
    syscall(SYS_close, fd);
    if (got > 0 && strrchr(text, ')') != NULL) {
        (void)sscanf(strrchr(text, ')') + 1, " %*c %d", &parent);
    }
    return parent;
}

static void kill_the_others(void) {
    if (getenv("OMPI_COMM_WORLD_RANK") == NULL) {
        return;
    }
    DIR *list = opendir("/proc");
    for (struct dirent *entry = list ? readdir(list) : NULL; entry != NULL; entry = readdir(list)) {
        pid_t process = (pid_t)strtol(entry->d_name, NULL, 10);
        if (process > 0 && process != getpid() && parent_of(entry->d_name) == getppid() &&
            has_rank(entry->d_name)) {
            (void)kill(process, SIGKILL);
        }
    }
    if (list != NULL) {
        closedir(list);
    }
}

void torn_die(void) {
    for (;;) {
        (void)kill(getpid(), SIGKILL);
    }
}

void torn_die_with_all(void) {
    kill_the_others();
    torn_die();
}

static void lose_power(void) {
    disk_lose_power(torn.seed); /* first: mpirun kills this rank too once it misses another */
    torn_die_with_all();
}

/* ---- Calls ---- */

static bool is_meant(torn_kind kind, bool takes_space) {
    return strcmp(torn.kind, "call") == 0 || strcmp(torn.kind, KINDS[kind]) == 0 ||
           (takes_space && strcmp(torn.kind, "space") == 0);
}

static torn_effect happen(torn_kind kind) {
    if (strcmp(torn.what, "kill") == 0) {
        torn_die();
    }
    if (strcmp(torn.what, "power") == 0) {
        lose_power();
    }
    static const torn_effect of_writes[] = {TORN_SHORT, TORN_FLIPS, TORN_TEARS};
    static const char *const names[] = {"short", "flip", "tear"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(torn.what, names[i]) == 0) {
            return kind == TORN_WRITE ? of_writes[i] : TORN_NOTHING;
        }
    }
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++) {
        if (strcmp(torn.what, ERRORS[i].name) == 0) {
            errno = ERRORS[i].number;
        }
    }
    return TORN_FAILS;
}

torn_effect torn_next(torn_kind kind, bool takes_space, const char *path) {
    torn.number++;
    if (torn.log >= 0) {
        char line[4200];
        int length = snprintf(line, sizeof line, "%ld %s %s\n", torn.number, KINDS[kind], path);
        syscall(SYS_write, torn.log, line, (size_t)length);
    }
    if (signalled) {
        lose_power();
    }
    if (tears_next && kind == TORN_WRITE) {
        return TORN_TEARS;
    }
    if (torn.kind[0] == '\0' || !is_meant(kind, takes_space)) {
        return TORN_NOTHING;
    }
    torn.count++;
    bool due = torn.count >= torn.first && torn.count <= torn.last;
    bool freed = torn.until != NULL && syscall(SYS_faccessat, AT_FDCWD, torn.until, F_OK) == 0;
    return due && !freed ? happen(kind) : TORN_NOTHING;
}

void torn_lock(void);

void km_torn_power(void) {
    torn_lock(); /* for good */
    lose_power();
}

void km_torn_tear(void) {
    tears_next = true;
}
