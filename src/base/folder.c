/* folder: how fast a folder's disk is, what locks it has, and whether files can be made there, found by trying. */
#include "kmask/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The folder that holds `path`; the caller frees. */
static char *above(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? km_strdup(".") : km_format("%.*s", (int)KM_MAX(slash - path, 1), path);
}

km_status km_folder_check(const char *path) {
    if (is_folder(path)) {
        return KM_OK;
    }
    struct stat info;
    if (stat(path, &info) == 0) {
        return km_fail(KM_FAILED, "%s: cannot make this folder: a file of that name is there", path);
    }
    char *parent = above(path);
    km_status status = strcmp(parent, path) != 0 ? km_folder_check(parent) : KM_OK;
    if (status == KM_OK && is_folder(parent) && access(parent, W_OK | X_OK) != 0) {
        status = km_fail_errno(errno, "%s: cannot make this folder", path);
    }
    free(parent);
    return status;
}

/* Sets `out` to `path` where that is an existing folder, else to the nearest existing folder above it. */
static void find_folder(char out[KM_PATH], const char *path) {
    char *at = km_strdup(path[0] != '\0' ? path : ".");
    while (!is_folder(at)) {
        char *parent = above(at);
        bool end = strcmp(parent, at) == 0;
        free(at);
        at = parent;
        if (end) {
            break;
        }
    }
    snprintf(out, KM_PATH, "%s", at);
    free(at);
}

/* Writes random bytes, which no file system can compress, for about `seconds`, and syncs them to the disk. */
static km_status write_for(km_folder_report *out, int fd, double seconds, const char *path) {
    enum { STRIP = 4 << 20, MOST = 64 };
    uint64_t *words = km_new(STRIP, 1);
    double start = km_seconds();
    km_status status = KM_OK;
    uint64_t strips = 0;
    for (; status == KM_OK && strips < MOST && (strips == 0 || km_seconds() - start < seconds / 2); strips++) {
        for (uint64_t i = 0; i < STRIP / sizeof *words; i++) {
            words[i] = km_mix64(strips * STRIP + i);
        }
        status = km_pwrite_all(fd, words, STRIP, strips * STRIP, path);
    }
    double written = km_seconds();
    if (status == KM_OK) {
        status = km_file_sync(fd, path);
    }
    out->sync_seconds = km_seconds() - written;
    out->bytes_per_s = (double)(strips * STRIP) / KM_MAX(km_seconds() - start, 1e-6);
    free(words);
    return status;
}

static void try_locks(km_folder_report *out, int fd) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    out->flock = flock(fd, LOCK_EX | LOCK_NB) == 0;
    (void)flock(fd, LOCK_UN);
    out->fcntl = fcntl(fd, F_OFD_SETLK, &whole) == 0 || (errno == EINVAL && fcntl(fd, F_SETLK, &whole) == 0);
}

km_status km_folder_measure(km_folder_report *out, const char *path, double seconds) {
    *out = (km_folder_report){0};
    find_folder(out->path, path);
    struct statvfs info;
    if (statvfs(out->path, &info) == 0) {
        out->free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    }
    char *name = km_format("%s/.kmask-doctor-XXXXXX", out->path);
    int fd = mkostemp(name, O_CLOEXEC);
    km_status status = KM_OK;
    if (fd < 0) {
        status = km_fail_errno(errno, "%s: no file can be made in it", out->path);
    } else {
        try_locks(out, fd);
        status = write_for(out, fd, seconds, name);
        close(fd);
        unlink(name);
    }
    free(name);
    return status;
}
