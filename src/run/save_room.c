/* Whether a disk takes so many bytes: neither statvfs nor posix_fallocate knows quotas everywhere, writing does. */
#include "save_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STRIP = 4 << 20 };

/* Bytes that neither compress nor repeat. */
static void fill(uint64_t *words, uint64_t at) {
    for (size_t i = 0; i < STRIP / sizeof *words; i++) {
        words[i] = km_mix64(at + i * sizeof *words);
    }
}

static km_status write_bytes(int fd, uint64_t bytes, uint64_t *words, uint64_t *written, const char *path) {
    while (*written < bytes) {
        size_t count = (size_t)KM_MIN((uint64_t)STRIP, bytes - *written);
        fill(words, *written);
        km_status status = km_pwrite_all(fd, words, count, *written, path);
        off_t end = lseek(fd, 0, SEEK_END); /* also of a strip that did not fit whole */
        *written = end > 0 ? (uint64_t)end : 0;
        KM_TRY(status);
    }
    return km_file_sync(fd, path);
}

km_status km_prove_room(const char *path, uint64_t bytes, uint64_t *written) {
    *written = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot create", path);
    }
    void *words = NULL;
    km_status status = km_allocate(&words, STRIP, "writing a file");
    if (status == KM_OK) {
        status = write_bytes(fd, bytes, words, written, path);
    }
    free(words);
    if (close(fd) != 0 && status == KM_OK) {
        status = km_fail_errno(errno, "%s: cannot write", path);
    }
    if (unlink(path) != 0 && status == KM_OK) {
        status = km_fail_errno(errno, "%s: cannot remove", path);
    }
    return status;
}
