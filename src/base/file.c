/* file: reading, writing, syncing and atomically replacing files, and making folders. */
#include "kmask/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether a system call that failed is to be made again: yes after EINTR, but not for ever, since something is wrong where signals
 * interrupt every attempt. */
static bool try_again(int *interruptions) {
    enum { MOST = 1000 };
    return errno == EINTR && ++*interruptions < MOST;
}

km_status km_pread_all(int fd, void *bytes, size_t count, uint64_t offset, const char *path) {
    char *to = bytes;
    int interruptions = 0;
    while (count > 0) {
        ssize_t got = pread(fd, to, count, (off_t)offset);
        if (got < 0 && try_again(&interruptions)) {
            continue;
        }
        if (got < 0) {
            return km_fail_errno(errno, "%s: cannot read", path);
        }
        if (got == 0) {
            return km_fail_kind(KM_ERROR_DAMAGED,
                                "%s: the file ends at byte %llu, %zu bytes early; it was cut short", path,
                                (unsigned long long)offset, count);
        }
        to += got;
        count -= (size_t)got;
        offset += (uint64_t)got;
    }
    return KM_OK;
}

km_status km_pwrite_all(int fd, const void *bytes, size_t count, uint64_t offset, const char *path) {
    const char *from = bytes;
    int interruptions = 0;
    while (count > 0) {
        ssize_t put = pwrite(fd, from, count, (off_t)offset);
        if (put < 0 && try_again(&interruptions)) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? km_fail_errno(errno, "%s: cannot write", path)
                           : km_fail_kind(KM_ERROR_IO, "%s: cannot write: no progress", path);
        }
        from += put;
        count -= (size_t)put;
        offset += (uint64_t)put;
    }
    return KM_OK;
}

const char *km_file_kind(unsigned mode) {
    return S_ISREG(mode)    ? "a file"
           : S_ISDIR(mode)  ? "a folder"
           : S_ISLNK(mode)  ? "a symbolic link"
           : S_ISFIFO(mode) ? "a named pipe"
           : S_ISSOCK(mode) ? "a socket"
                            : "a device";
}

km_status km_file_check_regular(const char *path) {
    struct stat info;
    return stat(path, &info) != 0 || S_ISREG(info.st_mode)
               ? KM_OK
               : km_fail(KM_FAILED, "%s: found %s, expected a file", path, km_file_kind(info.st_mode));
}

/* The next bytes of a file or pipe; *got is 0 at the end. */
static km_status read_some(int fd, char *to, size_t room, size_t *got, const char *path) {
    int interruptions = 0;
    for (;;) {
        const ssize_t count = read(fd, to, room);
        if (count >= 0) {
            *got = (size_t)count;
            return KM_OK;
        }
        if (!try_again(&interruptions)) {
            return km_fail_errno(errno, "%s: cannot read", path);
        }
    }
}

/* Reads to the end, or, where the file had `most` bytes when it was opened, so many: a file may be written to for ever. */
static km_status read_to_end(km_buffer *out, int fd, uint64_t most, const char *path, size_t limit) {
    char piece[1 << 16];
    for (size_t got = 1; got > 0 && out->size < most;) {
        KM_TRY(read_some(fd, piece, (size_t)KM_MIN((uint64_t)sizeof piece, most - out->size), &got, path));
        km_buffer_add(out, piece, got);
        if (out->size > limit) {
            return km_fail(KM_FAILED, "%s: larger than the %zu bytes that such a file may have", path, limit);
        }
    }
    return KM_OK;
}

static km_status read_open(char **out, size_t *size, int fd, const char *path, size_t limit) {
    struct stat info = {0};
    if (fstat(fd, &info) != 0 || !(S_ISREG(info.st_mode) || S_ISFIFO(info.st_mode))) {
        return km_fail(KM_FAILED, "%s: found %s, expected a file", path, km_file_kind(info.st_mode));
    }
    /* Files of /proc have no size. */
    const uint64_t most = S_ISREG(info.st_mode) && info.st_size > 0 ? (uint64_t)info.st_size : UINT64_MAX;
    km_buffer buffer = {0};
    km_status status = read_to_end(&buffer, fd, most, path, limit);
    if (status == KM_OK && buffer.size == 0 && S_ISFIFO(info.st_mode)) {
        status = km_fail(KM_FAILED, "%s: found a named pipe to which nobody writes, expected a file", path);
    }
    if (status == KM_OK && S_ISREG(info.st_mode) && buffer.size < (uint64_t)info.st_size) {
        status = km_fail_kind(KM_ERROR_DAMAGED, "%s: became shorter while it was read: %zu of %llu bytes", path,
                              buffer.size, (unsigned long long)info.st_size);
    }
    if (status != KM_OK) {
        km_buffer_free(&buffer);
        return status;
    }
    *out = buffer.data != NULL ? buffer.data : km_strdup("");
    if (size != NULL) {
        *size = buffer.size;
    }
    return KM_OK;
}

int km_file_open(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFL, 0);
    }
    return fd;
}

FILE *km_file_stream(const char *path) {
    const int fd = km_file_open(path);
    return fd >= 0 ? fdopen(fd, "r") : NULL;
}

bool km_file_is_same(const char *a, const char *b) {
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

km_status km_file_read(char **out, size_t *size, const char *path, size_t limit) {
    *out = NULL;
    int fd = km_file_open(path);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot open", path[0] != '\0' ? path : "\"\"");
    }
    km_status status = read_open(out, size, fd, path, limit);
    close(fd);
    return status;
}

/* The folder of a path, "." where it names none; the caller frees. */
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return km_strdup(".");
    }
    return slash == path ? km_strdup("/") : km_format("%.*s", (int)(slash - path), path);
}

km_status km_file_sync(int fd, const char *path) {
    int failed = 0, interruptions = 0;
    do {
        failed = fsync(fd) != 0 ? errno : 0;
    } while (failed != 0 && try_again(&interruptions));
    return failed == 0 || failed == EINVAL || failed == EROFS
               ? KM_OK
               : km_fail_errno(failed, "%s: cannot sync to disk", path);
}

static km_status sync_path(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot open", path);
    }
    km_status status = km_file_sync(fd, path);
    close(fd);
    return status;
}

static km_status copy_bytes(int from, int to, const char *path, const char *copy) {
    enum { PIECE = 1 << 20 };
    char *piece = km_new(PIECE, 1);
    uint64_t at = 0;
    km_status status = KM_OK;
    ssize_t count = 0;
    do {
        count = pread(from, piece, PIECE, (off_t)at);
        if (count < 0) {
            status = km_fail_errno(errno, "%s: cannot read", path);
        } else if (count > 0) {
            status = km_pwrite_all(to, piece, (size_t)count, at, copy);
            at += (uint64_t)count;
        }
    } while (status == KM_OK && count > 0);
    free(piece);
    return status;
}

km_status km_file_copy(const char *path, const char *copy) {
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int to = from >= 0 ? open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    km_status status =
        to >= 0 ? copy_bytes(from, to, path, copy) : km_fail_errno(errno, "%s: cannot copy to %s", path, copy);
    if (to >= 0 && close(to) != 0 && status == KM_OK) {
        status = km_fail_errno(errno, "%s: cannot write", copy);
    }
    if (from >= 0) {
        close(from);
    }
    return status;
}

km_status km_file_sync_folder(const char *path) {
    char *folder = folder_of(path);
    km_status status = sync_path(folder, O_RDONLY | O_DIRECTORY);
    free(folder);
    return status;
}

km_status km_file_commit(const char *temporary, const char *path) {
    KM_TRY(sync_path(temporary, O_RDWR));
    if (rename(temporary, path) != 0) {
        return km_fail_errno(errno, "%s: cannot rename to %s", temporary, path);
    }
    return km_file_sync_folder(path);
}

static km_status write_new(const char *path, const void *bytes, size_t count) {
    (void)unlink(path); /* of an earlier process that was killed; a link that somebody put there is not followed */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot create", path);
    }
    km_status status = km_pwrite_all(fd, bytes, count, 0, path);
    if (close(fd) != 0 && status == KM_OK) {
        status = km_fail_errno(errno, "%s: cannot write", path);
    }
    return status;
}

km_status km_file_replace(const char *path, const void *bytes, size_t count) {
    char *temporary = km_format("%s.tmp", path);
    km_status status = write_new(temporary, bytes, count);
    if (status == KM_OK) {
        status = km_file_commit(temporary, path);
    }
    if (status != KM_OK) {
        unlink(temporary);
    }
    free(temporary);
    return status;
}

/* Makes one folder and syncs the folder above it. Otherwise a power cut could remove the new folder with files in it that were
 * synced. */
static km_status make_one_folder(const char *path) {
    struct stat info;
    if (mkdir(path, 0777) != 0) {
        int failed = errno;
        if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
            return KM_OK;
        }
        return failed == EEXIST
                   ? km_fail(KM_FAILED, "%s: cannot make this folder: a file of that name is there", path)
                   : km_fail_errno(failed, "%s: cannot make this folder", path);
    }
    char *above = folder_of(path);
    /* A folder may be writable and not readable: then it cannot be opened and synced. */
    bool readable = access(above, R_OK) == 0;
    km_status status = readable ? sync_path(above, O_RDONLY | O_DIRECTORY) : KM_OK;
    free(above);
    return status;
}

km_status km_make_folder(const char *path) {
    char *copy = km_strdup(path);
    km_status status = KM_OK;
    for (char *end = copy + 1; status == KM_OK && *copy != '\0'; end++) {
        if (*end != '/' && *end != '\0') {
            continue;
        }
        char kept = *end;
        *end = '\0';
        status = make_one_folder(copy);
        *end = kept;
        if (kept == '\0') {
            break;
        }
    }
    free(copy);
    return status;
}

bool km_file_exists(const char *path) {
    return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}
