/* fault: failures that tests ask for. The environment variable KMASK_FAULT holds one or several faults of the form
 *
 *     place:n[+][:what][@rank]      separated by commas
 *
 * The fault happens at a process's n-th call of km_fault(place), with + also at all later ones; with @rank, on that rank only. The
 * process then
 *
 *     kill       dies of SIGKILL (the default)
 *     kill=R     kills rank R of its host and goes on
 *     killall    kills all ranks of its host, itself last
 *     fail       has this call of km_fault fail
 *     fail=N     has it fail as a system call does with the errno N
 *     stop       stops as with SIGSTOP
 *     sleep=MS   waits
 *     tear       dies in the middle of the next write to the run folder \ these two need tests/faults/torn.c
 *     power      loses what was not synced, and all ranks die           / to be preloaded (LD_PRELOAD)
 *
 * Calls are counted for each process and fault. With KMASK_FAULT_LOG=file every call adds a line "place rank" to that file. */
#ifdef KMASK_FAULTS
#include "kmask/base.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FAULTS = 8 };

typedef struct fault {
    char place[KM_WORD], what[KM_WORD];
    long at;
    bool onwards;
    int rank; /* -1: on every rank */
    atomic_long passages;
} fault;

static fault faults[MOST_FAULTS];
static int fault_count;
static int own_rank;
static int log_fd = -1;

/* ---- Ranks of this host ---- */

static const char *const RANK_NAMES[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};

static int rank_of_process(pid_t process) {
    char *path = km_format("/proc/%d/environ", (int)process), *text = NULL;
    size_t size = 0;
    int rank = -1;
    if (km_file_read(&text, &size, path, 1 << 22) == KM_OK) {
        for (size_t at = 0; rank < 0 && at < size; at += strlen(text + at) + 1) {
            size_t length = strlen(RANK_NAMES[0]);
            if (strncmp(text + at, RANK_NAMES[0], length) == 0 && text[at + length] == '=') {
                rank = (int)strtol(text + at + length + 1, NULL, 10);
            }
        }
    }
    free(text);
    free(path);
    return rank;
}

static pid_t parent_of(pid_t process) {
    char *path = km_format("/proc/%d/stat", (int)process), *text = NULL;
    int parent = 0;
    if (km_file_read(&text, NULL, path, 1 << 16) == KM_OK && strrchr(text, ')') != NULL) {
        (void)sscanf(strrchr(text, ')') + 1, " %*c %d", &parent);
    }
    free(text);
    free(path);
    return parent;
}

/* Kills the process of a rank that the same mpirun started on this host; rank -1: all of them but this one. */
static void kill_ranks(int rank) {
    if (getenv(RANK_NAMES[0]) == NULL) {
        return; /* started without mpirun: the other children of the parent process are not ranks */
    }
    DIR *list = opendir("/proc");
    for (struct dirent *entry = list ? readdir(list) : NULL; entry != NULL; entry = readdir(list)) {
        pid_t process = (pid_t)strtol(entry->d_name, NULL, 10);
        if (process > 0 && process != getpid() && parent_of(process) == getppid()) {
            int its_rank = rank_of_process(process);
            if (its_rank >= 0 && (rank < 0 || its_rank == rank)) {
                (void)kill(process, SIGKILL);
            }
        }
    }
    if (list != NULL) {
        closedir(list);
    }
}

/* ---- What is asked for ---- */

static bool parse_one(fault *f, char *text) {
    char *rank = strchr(text, '@'), *rest = NULL;
    f->rank = -1;
    if (rank != NULL) {
        *rank = '\0';
        f->rank = (int)strtol(rank + 1, NULL, 10);
    }
    char *at = strchr(text, ':');
    if (at == NULL) {
        return false;
    }
    *at = '\0';
    f->at = strtol(at + 1, &rest, 10);
    f->onwards = *rest == '+';
    rest += f->onwards;
    snprintf(f->place, sizeof f->place, "%s", text);
    snprintf(f->what, sizeof f->what, "%s", *rest == ':' ? rest + 1 : "kill");
    return f->at > 0 && (*rest == ':' || *rest == '\0');
}

static void parse(void) {
    for (size_t i = 0; i < KM_COUNT(RANK_NAMES); i++) {
        if (getenv(RANK_NAMES[i]) != NULL) {
            own_rank = (int)strtol(getenv(RANK_NAMES[i]), NULL, 10);
            break;
        }
    }
    const char *log = getenv("KMASK_FAULT_LOG"), *wanted = getenv("KMASK_FAULT");
    if (log != NULL) {
        log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    }
    char *copy = km_strdup(wanted != NULL ? wanted : ""), *left = NULL;
    for (char *one = strtok_r(copy, ",", &left); one != NULL; one = strtok_r(NULL, ",", &left)) {
        if (fault_count == MOST_FAULTS || !parse_one(&faults[fault_count], one)) {
            fprintf(stderr, "KMASK_FAULT=%s: expected up to %d of place:n[+][:what][@rank]\n", wanted, MOST_FAULTS);
            abort(); /* a test with a misspelled fault must not pass because nothing happened */
        }
        fault_count++;
    }
    free(copy);
}

/* ---- What happens ---- */

static void call_preloaded(const char *name) {
    void (*function)(void) = NULL;
    *(void **)&function = dlsym(RTLD_DEFAULT, name);
    if (function == NULL) {
        fprintf(stderr, "KMASK_FAULT: %s needs tests/faults/torn.c to be preloaded\n", name);
        abort();
    }
    function();
}

static km_status happen(const fault *f) {
    const char *what = f->what;
    if (strcmp(what, "fail") == 0) {
        return km_fail(KM_FAILED, "%s: failed as asked for by KMASK_FAULT", f->place);
    }
    if (strncmp(what, "fail=", strlen("fail=")) == 0) {
        int number = (int)strtol(what + strlen("fail="), NULL, 10);
        return km_fail_errno(number, "%s: failed as asked for by KMASK_FAULT", f->place);
    }
    if (strncmp(what, "sleep=", strlen("sleep=")) == 0) {
        km_sleep(1e-3 * (double)strtol(what + strlen("sleep="), NULL, 10));
    } else if (strncmp(what, "kill=", strlen("kill=")) == 0) {
        int rank = (int)strtol(what + strlen("kill="), NULL, 10);
        if (rank == own_rank) {
            (void)kill(getpid(), SIGKILL);
        }
        kill_ranks(rank);
    } else if (strcmp(what, "stop") == 0) {
        (void)raise(SIGSTOP);
    } else if (strcmp(what, "tear") == 0) {
        call_preloaded("km_torn_tear");
    } else if (strcmp(what, "power") == 0) {
        call_preloaded("km_torn_power");
    } else if (strcmp(what, "kill") == 0 || strcmp(what, "killall") == 0) {
        if (strcmp(what, "killall") == 0) {
            kill_ranks(-1);
        }
        (void)kill(getpid(), SIGKILL);
    } else {
        fprintf(stderr, "KMASK_FAULT: nothing is known of '%s'\n", what);
        abort();
    }
    return KM_OK;
}

km_status km_fault(const char *place) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, parse);
    if (log_fd >= 0) {
        (void)!dprintf(log_fd, "%s %d\n", place, own_rank);
    }
    for (int i = 0; i < fault_count; i++) {
        fault *f = &faults[i];
        if (strcmp(f->place, place) != 0 || (f->rank >= 0 && f->rank != own_rank)) {
            continue;
        }
        long passage = atomic_fetch_add(&f->passages, 1) + 1;
        if (passage == f->at || (f->onwards && passage > f->at)) {
            KM_TRY(happen(f));
        }
    }
    return KM_OK;
}
#else
typedef int km_no_faults; /* a translation unit is never empty */
#endif
