/* lock: the lock of a run folder, which has one owner at a time. */
#include "kmask/run.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

const km_lock_options km_lock_standard = {.wait = 60, .refresh = 3, .stale = 20};

enum { LONGEST = 1024 };

/* The owner of a folder, as the lock file names it. */
typedef struct owner {
    km_process process;
    char token[33];     /* a random number, new each time that a lock is taken, so that no two owners are equal */
    char job[64];       /* SLURM_JOB_ID; "": none */
    int64_t restarts;   /* SLURM_RESTART_COUNT */
    uint64_t refreshes; /* how often the file has been written anew; "beats" in its text */
} owner;

struct km_lock {
    km_lock_options options;
    char *dir, *path;
    int fd; /* the open lock file, which holds the lock of fcntl */
    bool made_folder;
    owner self;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool refreshing, quit;
    atomic_bool lost;
};

/* ---- The file's text ---- */

static const char *word_of_environment(const char *name) {
    const char *value = getenv(name);
    return value != NULL && strpbrk(value, " \n") == NULL && strlen(value) < 64 ? value : "";
}

static owner make_self(void) {
    owner self = {.process = km_process_self()};
    uint64_t bits[2] = {(uint64_t)time(NULL), (uint64_t)getpid()};
    (void)!getrandom(bits, sizeof bits, 0);
    snprintf(self.token, sizeof self.token, "%016llx%016llx", (unsigned long long)bits[0],
             (unsigned long long)bits[1]);
    snprintf(self.job, sizeof self.job, "%s", word_of_environment("SLURM_JOB_ID"));
    self.restarts = strtoll(word_of_environment("SLURM_RESTART_COUNT"), NULL, 10);
    return self;
}

/* Prints the owner as the text of the lock file. The length stays the same for one owner, so that writing the file anew replaces
 * bytes and needs no room on a full disk. */
static int print_owner(char text[LONGEST], const owner *o) {
    return snprintf(
        text, LONGEST,
        "host %s\npid %lld\nstarted %llu\nmachine %016llx\njob %s\nrestarts %lld\ntoken %s\nbeats %020llu\n",
        o->process.host, (long long)o->process.pid, (unsigned long long)o->process.started,
        (unsigned long long)o->process.machine, o->job[0] != '\0' ? o->job : "-", (long long)o->restarts, o->token,
        (unsigned long long)o->refreshes);
}

static bool parse_owner(owner *o, const char *text) {
    long long pid = 0, restarts = 0;
    unsigned long long started = 0, machine = 0, beats = 0;
    memset(o, 0, sizeof *o);
    int got =
        sscanf(text, "host %63s pid %lld started %llu machine %llx job %63s restarts %lld token %32s beats %llu",
               o->process.host, &pid, &started, &machine, o->job, &restarts, o->token, &beats);
    o->process.pid = pid;
    o->process.started = started;
    o->process.machine = machine;
    o->restarts = restarts;
    o->refreshes = beats;
    if (strcmp(o->job, "-") == 0) {
        o->job[0] = '\0';
    }
    return got == 8;
}

/* Reads the owner from the file at `path`; false where there is no file or it names no owner. The file is opened anew each time,
 * which makes a network file system ask its server. */
static bool read_owner(owner *o, const char *path) {
    char text[LONGEST];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[got > 0 ? got : 0] = '\0';
    return parse_owner(o, text);
}

static km_status write_owner(int fd, const owner *o, const char *path) {
    char text[LONGEST];
    int length = print_owner(text, o);
    KM_TRY(km_pwrite_all(fd, text, (size_t)length, 0, path));
    return ftruncate(fd, length) == 0 ? KM_OK : km_fail_errno(errno, "%s: cannot cut", path);
}

/* ---- fcntl ---- */

typedef enum grant { GRANTED, DENIED, UNAVAILABLE } grant;

/* Tries to take the lock of fcntl: one that belongs to the open file where the system has such locks, else one of the process. */
static grant try_fcntl(const km_lock *lock, int fd) {
    if (lock->options.no_fcntl || km_fault("lock.fcntl") != KM_OK) {
        return UNAVAILABLE;
    }
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int failed = fcntl(fd, F_OFD_SETLK, &whole);
    if (failed != 0 && errno == EINVAL) {
        failed = fcntl(fd, F_SETLK, &whole);
    }
    return failed == 0 ? GRANTED : errno == EAGAIN || errno == EACCES ? DENIED : UNAVAILABLE;
}

/* Whether the open file is still the one at the path: it may have been removed or replaced meanwhile. */
static bool is_at_path(int fd, const char *path) {
    struct stat open_file, named;
    return fstat(fd, &open_file) == 0 && stat(path, &named) == 0 && open_file.st_ino == named.st_ino &&
           open_file.st_dev == named.st_dev;
}

/* ---- Judging the owner that is there ---- */

typedef enum judgement { NOBODY, DEAD, ALIVE, UNSURE } judgement;

/* Judges the owner that the file names. UNSURE: it is on another machine, and only watching whether it still writes the file can
 * tell. */
static judgement judge_owner(const km_lock *lock, const owner *there) {
    const owner *self = &lock->self;
    bool requeued = self->job[0] != '\0' && strcmp(self->job, there->job) == 0 && self->restarts > there->restarts;
    switch (km_process_check(&there->process)) {
    case KM_PROCESS_GONE:
        return DEAD;
    case KM_PROCESS_STOPPED:
    case KM_PROCESS_ALIVE:
        return ALIVE;
    case KM_PROCESS_ELSEWHERE:
        break;
    }
    return requeued ? DEAD : UNSURE;
}

/* ---- Taking ---- */

/* Takes the lock by writing into the existing file, whose lock of fcntl this process holds. */
static km_status take_in_place(km_lock *lock, int fd) {
    KM_TRY(write_owner(fd, &lock->self, lock->path));
    lock->fd = fd;
    return KM_OK;
}

/* Takes the lock by renaming a new file over the old one, and then waits a moment. If two processes do so at the same time, the
 * last one owns the folder. */
static km_status take_by_rename(km_lock *lock, bool *taken) {
    const double moment = 0.3;
    char *temporary = km_format("%s.%s", lock->path, lock->self.token);
    int fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    km_status status =
        fd >= 0 ? write_owner(fd, &lock->self, temporary) : km_fail_errno(errno, "%s: cannot create", temporary);
    if (status == KM_OK) {
        (void)try_fcntl(lock, fd); /* keeps out processes that can use locks of fcntl here */
        if (rename(temporary, lock->path) != 0) {
            status = km_fail_errno(errno, "%s: cannot replace", lock->path);
        }
    }
    if (status == KM_OK) {
        km_sleep(moment);
        owner now;
        *taken = read_owner(&now, lock->path) && strcmp(now.token, lock->self.token) == 0;
    } else {
        (void)unlink(temporary);
    }
    if (status == KM_OK && *taken) {
        lock->fd = fd;
    } else if (fd >= 0) {
        close(fd);
    }
    free(temporary);
    return status;
}

/* What this process has seen so network_types of the owner that it waits for. */
typedef struct observation {
    owner owner;
    bool known;
    double since; /* when the owner or its count of refreshes changed last (km_seconds) */
} observation;

static void observe(observation *seen, const char *path, double now) {
    owner there;
    bool known = read_owner(&there, path);
    bool same =
        known == seen->known &&
        (!known || (strcmp(there.token, seen->owner.token) == 0 && there.refreshes == seen->owner.refreshes));
    if (!same || seen->since == 0) {
        *seen = (observation){.owner = there, .known = known, .since = now};
    }
}

/* Makes one attempt to take the lock; *taken says whether it succeeded. */
static km_status attempt(km_lock *lock, observation *seen, bool *taken) {
    *taken = false;
    int fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot open", lock->path);
    }
    grant got = try_fcntl(lock, fd);
    double now = km_seconds();
    observe(seen, lock->path, now);
    judgement there = seen->known ? judge_owner(lock, &seen->owner) : NOBODY;
    if (there == UNSURE && now - seen->since >= lock->options.stale) {
        there = DEAD;
    }
    km_status status = KM_OK;
    /* Where fcntl denies the lock although the file names no owner, or a dead process of this machine, another process is just
     * taking it. */
    bool near = seen->known && km_process_check(&seen->owner.process) != KM_PROCESS_ELSEWHERE;
    if (got == GRANTED && (there == NOBODY || there == DEAD) && is_at_path(fd, lock->path)) {
        status = take_in_place(lock, fd);
        *taken = status == KM_OK;
    } else if ((got == UNAVAILABLE && (there == NOBODY || there == DEAD)) ||
               (got == DENIED && there == DEAD && !near)) {
        status = take_by_rename(lock, taken);
    }
    if (lock->fd != fd) {
        close(fd);
    }
    return status;
}

static void describe(km_buffer *text, const observation *seen) {
    if (!seen->known) {
        km_buffer_print(text, "another process");
        return;
    }
    const owner *o = &seen->owner;
    km_buffer_print(text, "process %lld on %s", (long long)o->process.pid, o->process.host);
    if (o->job[0] != '\0') {
        km_buffer_print(text, ", SLURM job %s", o->job);
    }
}

static km_status refuse(const km_lock *lock, const char *who) {
    return km_fail(KM_FAILED,
                   "%s: another run (%s) is at work in this run folder. Wait for it, or use another run.dir.",
                   lock->path, who);
}

static km_status wait_for(km_lock *lock) {
    const double pause = 0.1;
    double start = km_seconds();
    bool taken = false, logged = false;
    observation seen = {.since = 0};
    for (;;) {
        KM_TRY(attempt(lock, &seen, &taken));
        if (taken) {
            return KM_OK;
        }
        km_buffer who = {0};
        describe(&who, &seen);
        double waited = km_seconds() - start;
        km_status status = KM_OK;
        if (waited >= lock->options.wait) {
            status = refuse(lock, who.data);
        } else if (!logged && waited > 1) { /* an owner that has just been killed is gone after a second */
            km_log("%s: taken by another run (%s); waiting up to %.0f s for it", lock->path, who.data,
                   lock->options.wait);
            logged = true;
        }
        km_buffer_free(&who);
        KM_TRY(status);
        if (lock->options.go_on != NULL && !lock->options.go_on(lock->options.payload)) {
            return km_fail(KM_FAILED, "%s: asked to stop while waiting for the run that is at work in it",
                           lock->path);
        }
        km_sleep(pause);
    }
}

/* ---- Refreshing ---- */

/* Whether the file is on a network file system. There, other machines see what was written only after an fsync. */
static bool is_on_network(int fd) {
    struct statfs info;
    if (fstatfs(fd, &info) != 0) {
        return false;
    }
    static const uint32_t network_types[] = {0x6969 /* NFS */, 0xff534d42 /* CIFS */, 0xfe534d42 /* SMB2 */,
                                             0x65735546 /* FUSE */};
    for (size_t i = 0; i < KM_COUNT(network_types); i++) {
        if ((uint32_t)info.f_type == network_types[i]) {
            return true;
        }
    }
    return false;
}

/* Makes the lock file again after somebody has removed it. */
static void make_again(km_lock *lock) {
    int old = lock->fd;
    bool taken = false;
    if (take_by_rename(lock, &taken) == KM_OK && taken) {
        close(old);
    }
}

/* Writes the lock file anew, with a higher count of writes. False when the file now names another owner. */
static bool refresh(km_lock *lock) {
    owner there;
    if (read_owner(&there, lock->path) && strcmp(there.token, lock->self.token) != 0) {
        return false;
    }
    lock->self.refreshes++;
    if (!is_at_path(lock->fd, lock->path)) {
        make_again(lock);
    } else if (write_owner(lock->fd, &lock->self, lock->path) == KM_OK && is_on_network(lock->fd)) {
        (void)fsync(lock->fd);
    }
    return true; /* a failure of the disk is not reported here: the training will notice and report it */
}

static void *refresh_until_released(void *argument) {
    km_lock *lock = argument;
    pthread_mutex_lock(&lock->mutex);
    while (!lock->quit && !atomic_load(&lock->lost)) {
        struct timespec until = km_clock_after(CLOCK_MONOTONIC, lock->options.refresh);
        (void)pthread_cond_timedwait(&lock->wake, &lock->mutex, &until);
        if (!lock->quit && !refresh(lock)) {
            atomic_store(&lock->lost, true);
            if (lock->options.lost != NULL) {
                lock->options.lost(lock->path);
            }
        }
    }
    pthread_mutex_unlock(&lock->mutex);
    return NULL;
}

static void start_refreshing(km_lock *lock) {
    lock->refreshing = km_thread_start(&lock->thread, refresh_until_released, lock) == 0;
    if (!lock->refreshing) {
        km_warn("%s: no thread that refreshes it: other machines may take this run for dead", lock->path);
    }
}

/* ---- Public ---- */

static void destroy(km_lock *lock) {
    if (lock->made_folder) {
        (void)rmdir(lock->dir); /* only if empty */
    }
    pthread_mutex_destroy(&lock->mutex);
    pthread_cond_destroy(&lock->wake);
    free(lock->path);
    free(lock->dir);
    free(lock);
}

km_status km_lock_take(km_lock **out, const char *dir, const km_lock_options *options) {
    *out = NULL;
    bool there = km_file_exists(dir);
    KM_TRY(km_make_folder(dir));
    km_lock *lock = km_new(1, sizeof *lock);
    *lock = (km_lock){.options = *options, .fd = -1, .made_folder = !there, .self = make_self()};
    lock->dir = km_strdup(dir);
    lock->path = km_format("%s/lock", dir);
    pthread_mutex_init(&lock->mutex, NULL);
    /* For a monotonic clock, so that writing goes on when the system's clock is set back. */
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&lock->wake, &steady);
    pthread_condattr_destroy(&steady);
    km_status status = wait_for(lock);
    if (status != KM_OK) {
        destroy(lock);
        return status;
    }
    start_refreshing(lock);
    *out = lock;
    return KM_OK;
}

/* Waits until the owner that the file names is known to be alive or dead. */
static km_status wait_until_known(const km_lock *lock) {
    const double pause = 0.1;
    observation seen = {.since = 0};
    double start = km_seconds(), first = 0;
    for (;;) {
        observe(&seen, lock->path, km_seconds());
        first = first == 0 ? seen.since : first;
        judgement there = seen.known ? judge_owner(lock, &seen.owner) : NOBODY;
        if (there == ALIVE || (there == UNSURE && seen.since != first)) {
            km_buffer who = {0};
            describe(&who, &seen);
            km_status status = refuse(lock, who.data);
            km_buffer_free(&who);
            return status;
        }
        if (there != UNSURE || km_seconds() - start >= lock->options.stale) {
            return KM_OK;
        }
        km_sleep(pause);
    }
}

km_status km_lock_check(const char *dir, const km_lock_options *options) {
    KM_TRY(km_folder_check(dir));
    if (!km_file_exists(dir)) {
        return KM_OK;
    }
    km_lock lock = {.options = *options, .self = make_self(), .path = km_format("%s/lock", dir)};
    bool there = km_file_exists(lock.path);
    km_status status = KM_OK;
    if (access(dir, W_OK | X_OK) != 0 || (there && access(lock.path, R_OK | W_OK) != 0)) {
        status = km_fail_errno(errno, "%s: cannot open", lock.path);
    } else if (there) {
        status = wait_until_known(&lock);
    }
    free(lock.path);
    return status;
}

void km_lock_release(km_lock *lock) {
    if (lock == NULL) {
        return;
    }
    pthread_mutex_lock(&lock->mutex);
    lock->quit = true;
    pthread_cond_signal(&lock->wake);
    pthread_mutex_unlock(&lock->mutex);
    if (lock->refreshing) {
        pthread_join(lock->thread, NULL);
    }
    owner there;
    if (read_owner(&there, lock->path) && strcmp(there.token, lock->self.token) == 0) {
        (void)unlink(lock->path);
    }
    close(lock->fd);
    destroy(lock);
}

bool km_lock_lost(const km_lock *lock) {
    return lock != NULL && atomic_load(&lock->lost);
}
