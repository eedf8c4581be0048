/* out: files that a command line names with --out. Such a path may lie in a folder that others can write to, and a file of theirs may
 * be there already; so what is replaced and how the temporary file is made follow stricter rules than those for a run's own folder
 * (file.c). */
#include "kmask/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nothing but a regular file, or nothing, is replaced. */
static km_status check_replaced(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? KM_OK : km_fail_errno(errno, "%s: cannot be looked at", path);
    }
    return S_ISREG(info.st_mode) ? KM_OK
                                 : km_fail(KM_FAILED, "%s: is there and no file but %s; choose another --out", path,
                                           km_file_kind(info.st_mode));
}

static km_status check_folder_of(const char *path) {
    struct stat info;
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? km_strdup(".") : km_format("%.*s", (int)KM_MAX(slash - path, 1), path);
    km_status status = KM_OK;
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode)) {
        status = km_fail(KM_FAILED, "%s: there is no folder %s; make it first", path, folder);
    } else if (access(folder, W_OK | X_OK) != 0) {
        status = km_fail_errno(errno, "%s: cannot write to folder %s", path, folder);
    }
    free(folder);
    return status;
}

km_status km_out_check(const char *path) {
    if (*path == '\0') {
        return km_fail(KM_USAGE, "--out is empty; name the file to write");
    }
    KM_TRY(check_replaced(path));
    return check_folder_of(path);
}

char *km_out_temporary(const char *path) {
    uint64_t random = 0;
    km_random_bytes(&random, sizeof random);
    return km_format("%s.%016llx.tmp", path, (unsigned long long)random);
}

km_status km_out_create(int *fd, const char *temporary, const char *path) {
    struct stat old;
    KM_TRY(km_out_check(path));
    *fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (*fd < 0) {
        return km_fail_errno(errno, "%s: cannot create", temporary);
    }
    if (lstat(path, &old) == 0 && S_ISREG(old.st_mode)) {
        (void)fchmod(*fd, old.st_mode & 07777); /* a replaced file keeps its mode */
    }
    return KM_OK;
}

km_status km_out_commit(const char *temporary, const char *path) {
    KM_TRY(check_replaced(path));
    return km_file_commit(temporary, path);
}

km_status km_out_replace(const char *path, const void *bytes, size_t count) {
    char *temporary = km_out_temporary(path);
    int fd = -1;
    km_status status = km_out_create(&fd, temporary, path);
    const bool made = fd >= 0;
    if (status == KM_OK) {
        status = km_pwrite_all(fd, bytes, count, 0, temporary);
    }
    if (made && close(fd) != 0 && status == KM_OK) {
        status = km_fail_errno(errno, "%s: cannot write", temporary);
    }
    if (status == KM_OK) {
        status = km_out_commit(temporary, path);
    }
    if (status != KM_OK && made) {
        unlink(temporary);
    }
    free(temporary);
    return status;
}
