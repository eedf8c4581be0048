/* torn: preloaded (LD_PRELOAD) into kmask, it stands between the program and the files of one folder. Calls are counted
 * and may fail, be cut or kill; the changes that were not synced are known, and a loss of power drops them. What can be
 * asked for is told in torn_effect.h, what a loss of power does in torn_disk.h.
 *
 * The calls themselves are made as system calls. Each is one entry below; names with and without 64 are the same. */
#include "torn_disk.h"
#include "torn_effect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void torn_lock(void);
void torn_lock(void) {
    pthread_mutex_lock(&lock);
}

static int leave(int result) {
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}

/* The absolute path without dots, links and doubled slashes, if it lies under the folder; else NULL. */
static const char *resolve(char out[PATH_MAX], int at, const char *path) {
    const char *folder = torn_folder();
    if (folder == NULL || path == NULL || (at != AT_FDCWD && path[0] != '/')) {
        return NULL;
    }
    char whole[PATH_MAX], parent[PATH_MAX];
    int kept = errno;
    snprintf(whole, sizeof whole, "%s", path);
    for (size_t end = strlen(whole); end > 1 && whole[end - 1] == '/'; end--) {
        whole[end - 1] = '\0';
    }
    char *slash = strrchr(whole, '/');
    const char *last = slash != NULL ? slash + 1 : whole;
    bool dots = strcmp(last, ".") == 0 || strcmp(last, "..") == 0;
    if (!dots && slash != NULL && slash != whole) {
        *slash = '\0';
    }
    char *known = realpath(dots ? whole : slash == NULL ? "." : slash == whole ? "/" : whole, parent);
    errno = kept;
    if (known == NULL) {
        return NULL;
    }
    int length = snprintf(out, PATH_MAX, "%s%s%s", strcmp(parent, "/") == 0 && !dots ? "" : parent, dots ? "" : "/",
                          dots ? "" : last);
    size_t size = strlen(folder);
    bool under = length < PATH_MAX && strncmp(out, folder, size) == 0 && (out[size] == '/' || out[size] == '\0');
    return under ? out : NULL;
}

static bool is_there(const char *path) {
    struct stat info;
    int kept = errno;
    bool there = lstat(path, &info) == 0;
    errno = kept;
    return there;
}

/* ---- open, close ---- */

static int open_known(const char *path, int flags, mode_t mode) {
    bool there = is_there(path), writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0;
    if (writes) {
        disk_know(path);
        if (torn_next(TORN_OPEN, !there && (flags & O_CREAT) != 0, path) == TORN_FAILS) {
            return -1;
        }
    }
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    struct stat info;
    int kept = errno;
    if (fd >= 0 && fstat(fd, &info) == 0 && (writes || S_ISDIR(info.st_mode))) {
        disk_opened(fd, path, !there && writes, there && (flags & O_TRUNC) != 0 && writes, S_ISDIR(info.st_mode));
    } else if (fd >= 0) {
        disk_closed(fd); /* a number that is used again */
    }
    errno = kept;
    return fd;
}

static int open_any(int at, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (resolve(whole, at, path) == NULL) {
        return (int)syscall(SYS_openat, at, path, flags, mode);
    }
    torn_lock();
    return leave(open_known(whole, flags, mode));
}

static mode_t mode_of(int flags, va_list list) {
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? (mode_t)va_arg(list, int) : 0;
}

#define OPEN(name)                                                                                                 \
    int name(const char *path, int flags, ...) {                                                                   \
        va_list list;                                                                                              \
        va_start(list, flags);                                                                                     \
        mode_t mode = mode_of(flags, list);                                                                        \
        va_end(list);                                                                                              \
        return open_any(AT_FDCWD, path, flags, mode);                                                              \
    }
#define OPENAT(name)                                                                                               \
    int name(int at, const char *path, int flags, ...) {                                                           \
        va_list list;                                                                                              \
        va_start(list, flags);                                                                                     \
        mode_t mode = mode_of(flags, list);                                                                        \
        va_end(list);                                                                                              \
        return open_any(at, path, flags, mode);                                                                    \
    }
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int __open_2(const char *path, int flags) {
    return open_any(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags) {
    return open_any(AT_FDCWD, path, flags, 0);
}

int creat(const char *path, mode_t mode) {
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode) {
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd) {
    torn_lock();
    const char *path = disk_path(fd);
    torn_effect effect = path != NULL ? torn_next(TORN_CLOSE, false, path) : TORN_NOTHING;
    int kept = errno;
    disk_closed(fd);
    int result = (int)syscall(SYS_close, fd);
    if (effect == TORN_FAILS) { /* it is closed all the same, as Linux does */
        errno = kept;
        result = -1;
    }
    return leave(result);
}

/* ---- write ---- */

/* `offset` < 0: where the descriptor stands. */
static ssize_t write_at(int fd, const void *bytes, size_t count, off_t offset) {
    torn_lock();
    const char *path = disk_path(fd);
    torn_effect effect = path != NULL ? torn_next(TORN_WRITE, true, path) : TORN_NOTHING;
    if (effect == TORN_FAILS) {
        return leave(-1);
    }
    size_t part = effect == TORN_SHORT || effect == TORN_TEARS ? (count + 1) / 2 : count;
    char *flipped = effect == TORN_FLIPS ? malloc(count) : NULL;
    if (flipped != NULL) {
        memcpy(flipped, bytes, count);
        flipped[count / 2] ^= 1;
        bytes = flipped;
    }
    off_t at = offset;
    if (path != NULL && offset < 0) {
        bool appends = (fcntl(fd, F_GETFL) & O_APPEND) != 0;
        at = appends ? (off_t)lseek(fd, 0, SEEK_END) : (off_t)lseek(fd, 0, SEEK_CUR);
    }
    ssize_t put = offset < 0 ? syscall(SYS_write, fd, bytes, part) : syscall(SYS_pwrite64, fd, bytes, part, offset);
    if (effect == TORN_TEARS) {
        torn_die();
    }
    if (path != NULL && put > 0) {
        disk_wrote(fd, at, bytes, (size_t)put);
        int flags = fcntl(fd, F_GETFL);
        if ((flags & (O_SYNC | O_DSYNC)) != 0) {
            disk_synced(fd);
        }
    }
    int kept = errno;
    free(flipped);
    errno = kept;
    leave(0);
    return put;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (torn_folder() == NULL) {
        return syscall(SYS_write, fd, bytes, count);
    }
    return write_at(fd, bytes, count, -1);
}

static ssize_t pwrite_any(int fd, const void *bytes, size_t count, off_t offset) {
    if (torn_folder() == NULL || offset < 0) {
        return syscall(SYS_pwrite64, fd, bytes, count, offset);
    }
    return write_at(fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return pwrite_any(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) {
    return pwrite_any(fd, bytes, count, offset);
}

/* Piece by piece: a call that ends early is as good as any. */
static ssize_t writev_any(int fd, const struct iovec *pieces, int count, off_t offset) {
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t put = offset < 0 ? write(fd, pieces[i].iov_base, pieces[i].iov_len)
                                 : pwrite_any(fd, pieces[i].iov_base, pieces[i].iov_len, offset + all);
        if (put < 0) {
            return all > 0 ? all : put;
        }
        all += put;
        if ((size_t)put < pieces[i].iov_len) {
            break;
        }
    }
    return all;
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    if (torn_folder() == NULL || disk_path(fd) == NULL) {
        return syscall(SYS_writev, fd, pieces, count);
    }
    return writev_any(fd, pieces, count, -1);
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset) {
    return writev_any(fd, pieces, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t offset) {
    return writev_any(fd, pieces, count, offset);
}

/* ---- Sizes ---- */

static int resize_any(int fd, off_t size) {
    torn_lock();
    const char *path = disk_path(fd);
    if (path == NULL) {
        return leave((int)syscall(SYS_ftruncate, fd, size));
    }
    struct stat info;
    bool grows = fstat(fd, &info) == 0 && size > info.st_size;
    if (torn_next(TORN_RESIZE, grows, path) == TORN_FAILS) {
        return leave(-1);
    }
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (result == 0) {
        disk_resized(fd, size);
    }
    return leave(result);
}

int ftruncate(int fd, off_t size) {
    return resize_any(fd, size);
}

int ftruncate64(int fd, off_t size) {
    return resize_any(fd, size);
}

static int truncate_any(const char *path, off_t size) {
    char whole[PATH_MAX];
    if (resolve(whole, AT_FDCWD, path) == NULL) {
        return (int)syscall(SYS_truncate, path, size);
    }
    torn_lock();
    disk_know(whole);
    if (torn_next(TORN_RESIZE, false, whole) == TORN_FAILS) {
        return leave(-1);
    }
    int result = (int)syscall(SYS_truncate, whole, size);
    if (result == 0) {
        disk_resized_path(whole, size);
    }
    return leave(result);
}

int truncate(const char *path, off_t size) {
    return truncate_any(path, size);
}

int truncate64(const char *path, off_t size) {
    return truncate_any(path, size);
}

/* 0 or an error's number; what is reserved may not change the size (mode). */
static int allocate_any(int fd, int mode, off_t offset, off_t length) {
    torn_lock();
    const char *path = disk_path(fd);
    if (path != NULL && torn_next(TORN_RESIZE, true, path) == TORN_FAILS) {
        return leave(errno);
    }
    struct stat info = {0};
    int result = syscall(SYS_fallocate, fd, mode, offset, length) == 0 ? 0 : errno;
    if (path != NULL && result == 0 && mode == 0 && fstat(fd, &info) == 0) {
        disk_resized(fd, info.st_size);
    }
    return leave(result);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    return allocate_any(fd, 0, offset, length);
}

int posix_fallocate64(int fd, off_t offset, off_t length) {
    return allocate_any(fd, 0, offset, length);
}

static int fallocate_any(int fd, int mode, off_t offset, off_t length) {
    int failed = allocate_any(fd, mode, offset, length);
    errno = failed != 0 ? failed : errno;
    return failed != 0 ? -1 : 0;
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    return fallocate_any(fd, mode, offset, length);
}

int fallocate64(int fd, int mode, off_t offset, off_t length) {
    return fallocate_any(fd, mode, offset, length);
}

/* ---- fsync ---- */

static int sync_any(int fd, long call) {
    torn_lock();
    const char *path = disk_path(fd);
    if (path != NULL && torn_next(TORN_FSYNC, false, path) == TORN_FAILS) {
        return leave(-1);
    }
    int result = path != NULL ? 0 : (int)syscall(call, fd); /* our disk is in memory: the real one need not work */
    if (result == 0) {
        disk_synced(fd);
    }
    return leave(result);
}

int fsync(int fd) {
    return sync_any(fd, SYS_fsync);
}

int fdatasync(int fd) {
    return sync_any(fd, SYS_fdatasync);
}

int syncfs(int fd) {
    torn_lock();
    disk_synced_all();
    return leave((int)syscall(SYS_syncfs, fd));
}

void sync(void) {
    torn_lock();
    disk_synced_all();
    syscall(SYS_sync);
    leave(0);
}

/* ---- Names ---- */

static int rename_any(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char source[PATH_MAX], target[PATH_MAX];
    const char *a = resolve(source, from_at, from), *b = resolve(target, to_at, to);
    if (a == NULL || b == NULL) {
        return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    }
    torn_lock();
    disk_know(a);
    disk_know(b);
    if (torn_next(TORN_RENAME, false, b) == TORN_FAILS) {
        return leave(-1);
    }
    int result = (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, flags);
    if (result == 0) {
        disk_renamed(a, b);
    }
    return leave(result);
}

int rename(const char *from, const char *to) {
    return rename_any(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    return rename_any(from_at, from, to_at, to, 0);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    return rename_any(from_at, from, to_at, to, flags);
}

static int link_any(int from_at, const char *from, int to_at, const char *to, int flags) {
    char source[PATH_MAX], target[PATH_MAX];
    const char *a = resolve(source, from_at, from), *b = resolve(target, to_at, to);
    if (a == NULL || b == NULL) {
        return (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    }
    torn_lock();
    disk_know(a);
    if (torn_next(TORN_RENAME, false, b) == TORN_FAILS) {
        return leave(-1);
    }
    int result = (int)syscall(SYS_linkat, AT_FDCWD, a, AT_FDCWD, b, flags);
    if (result == 0) {
        disk_linked(a, b);
    }
    return leave(result);
}

int link(const char *from, const char *to) {
    return link_any(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    return link_any(from_at, from, to_at, to, flags);
}

static int unlink_any(int at, const char *path, int flags) {
    char whole[PATH_MAX];
    const char *known = resolve(whole, at, path);
    if (known == NULL || flags != 0) { /* folders that go away are not followed */
        return (int)syscall(SYS_unlinkat, at, path, flags);
    }
    torn_lock();
    disk_know(known);
    if (torn_next(TORN_UNLINK, false, known) == TORN_FAILS) {
        return leave(-1);
    }
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, known, 0);
    if (result == 0) {
        disk_unlinked(known);
    }
    return leave(result);
}

int unlink(const char *path) {
    return unlink_any(AT_FDCWD, path, 0);
}

int unlinkat(int at, const char *path, int flags) {
    return unlink_any(at, path, flags);
}

int remove(const char *path) {
    int result = unlink(path);
    return result != 0 && errno == EISDIR ? (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR) : result;
}

static int mkdir_any(int at, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    const char *known = resolve(whole, at, path);
    if (known == NULL || is_there(known)) {
        return (int)syscall(SYS_mkdirat, at, path, mode);
    }
    torn_lock();
    if (torn_next(TORN_MKDIR, true, known) == TORN_FAILS) {
        return leave(-1);
    }
    int result = (int)syscall(SYS_mkdirat, AT_FDCWD, known, mode);
    if (result == 0) {
        disk_made_folder(known);
    }
    return leave(result);
}

int mkdir(const char *path, mode_t mode) {
    return mkdir_any(AT_FDCWD, path, mode);
}

int mkdirat(int at, const char *path, mode_t mode) {
    return mkdir_any(at, path, mode);
}
