/* process: identifying processes by /proc, ending them, and reading their memory. */
#include "kmask/base.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reads the first bytes of a small file; "" when it cannot be read. */
static void read_text(char *out, size_t room, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, out, room - 1) : -1;
    out[got > 0 ? got : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

/* Returns the state letter of a process and sets its start time; 0 when there is no such process. */
static char read_stat(int64_t pid, uint64_t *started) {
    enum { STATE = 3, START = 22 }; /* numbers of fields, counted from 1, as in proc(5) */
    char path[64], text[1024], *rest = NULL;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    read_text(text, sizeof text, path);
    /* The second field is the program's name, which may hold spaces and parentheses. */
    char *field = strrchr(text, ')');
    if (field == NULL || strlen(field) < 3) {
        return 0;
    }
    field += 2;
    char state = *field;
    for (int i = STATE; i < START && field != NULL; i++) {
        field = strchr(field + 1, ' ');
    }
    *started = field != NULL ? strtoull(field, &rest, 10) : 0;
    return state;
}

static uint64_t this_machine(const char *host) {
    char text[256];
    struct stat info = {0};
    read_text(text, sizeof text, "/proc/sys/kernel/random/boot_id");
    (void)stat("/proc/self/ns/pid", &info);
    km_hasher *hasher = km_hasher_create();
    uint64_t space = (uint64_t)info.st_ino;
    km_hasher_add(hasher, text, strlen(text));
    km_hasher_add(hasher, host, strlen(host));
    km_hasher_add(hasher, &space, sizeof space);
    return km_hasher_end(hasher).low;
}

km_process km_process_self(void) {
    km_process self = {.pid = (int64_t)getpid()};
    if (gethostname(self.host, sizeof self.host - 1) != 0 || self.host[0] == '\0') {
        snprintf(self.host, sizeof self.host, "unknown-host");
    }
    self.machine = this_machine(self.host);
    (void)read_stat(self.pid, &self.started);
    return self;
}

km_process_state km_process_check(const km_process *process) {
    km_process self = km_process_self();
    if (process->machine != self.machine) {
        return KM_PROCESS_ELSEWHERE;
    }
    uint64_t started = 0;
    char state = read_stat(process->pid, &started);
    if (state == 0 || started != process->started || strchr("ZXx", state) != NULL) {
        return KM_PROCESS_GONE;
    }
    return strchr("Tt", state) != NULL ? KM_PROCESS_STOPPED : KM_PROCESS_ALIVE;
}

void km_process_kill(const km_process *process) {
    km_process_state state = km_process_check(process);
    if (state == KM_PROCESS_STOPPED || state == KM_PROCESS_ALIVE) {
        (void)kill((pid_t)process->pid, SIGKILL);
    }
}

bool km_process_read(int64_t pid, uint64_t address, void *out, size_t bytes) {
    char *to = out;
    while (bytes > 0) {
        const struct iovec here = {to, bytes}, there = {(void *)(uintptr_t)address, bytes};
        const ssize_t got = process_vm_readv((pid_t)pid, &here, 1, &there, 1, 0);
        if (got <= 0) {
            return false;
        }
        to += got;
        address += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return true;
}

bool km_process_readable(void) {
    const int64_t self = (int64_t)getpid();
    /* The child overwrites its own copy, so it can only find this one here. */
    volatile uint64_t word = km_mix64((uint64_t)self);
    const uint64_t expected = word;
    const pid_t child = fork();
    if (child == 0) {
        uint64_t seen = 0;
        word = 0;
        _exit(km_process_read(self, (uint64_t)(uintptr_t)&word, &seen, sizeof seen) && seen == expected ? 0 : 1);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
