/* save_room: whether a disk takes a run's checkpoints is found out by writing as many bytes, since neither statvfs nor
 * posix_fallocate knows of quotas everywhere. */
#include "checkpoint_files.h"
#include "save_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { STRIP = 4 << 20 };

/* ---- Writing ---- */

/* Fills a strip with bytes that neither compress nor repeat, so that a file system needs their whole length. */
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
        off_t end = lseek(fd, 0, SEEK_END); /* a strip that did not fit may have been written in part */
        *written = end > 0 ? (uint64_t)end : 0;
        KM_TRY(status);
    }
    return km_file_sync(fd, path);
}

/* Writes so many bytes to `path` and removes the file again. *written: how many fitted. */
static km_status write_and_remove(const char *path, uint64_t bytes, uint64_t *written) {
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

/* ---- Room for checkpoints ---- */

int64_t km_run_checkpoints_most(const km_config *config) {
    return config->checkpoint.keep + config->checkpoint.best + 1;
}

km_status km_run_checkpoints_due(int64_t *count, const km_config *config) {
    km_checkpoint_files list;
    KM_TRY(km_checkpoint_files_list(&list, config->run.dir));
    *count = KM_MAX(km_run_checkpoints_most(config) - list.count, 1);
    km_checkpoint_files_free(&list);
    return KM_OK;
}

km_status km_prove_room(const km_config *config, uint64_t bytes, double *seconds) {
    const char *dir = config->run.dir;
    const double start = km_seconds(), worth_telling = 3;
    int64_t files = 0;
    uint64_t written = 0;
    char size[32], took[32], reached[32];
    KM_TRY(km_run_checkpoints_due(&files, config));
    char *path = km_format("%s/checkpoints/room.tmp", dir);
    km_status status = write_and_remove(path, bytes * (uint64_t)files, &written);
    free(path);
    if (status != KM_OK) {
        return km_rephrase(
            status,
            "%s/checkpoints: no room for %lld checkpoint(s) of %sB, which checkpoint.keep = %lld and the one "
            "being written need at once: after %sB, %s. Make room, lower checkpoint.keep, or use another "
            "run.dir.",
            dir, (long long)files, km_quantity(size, (double)bytes), (long long)config->checkpoint.keep,
            km_quantity(reached, (double)written), km_message());
    }
    const double all = km_seconds() - start;
    *seconds = all / (double)files;
    if (all > worth_telling) {
        km_log("room for %lld checkpoint(s) of %sB was proven by writing it, in %s", (long long)files,
               km_quantity(size, (double)bytes), km_duration(took, all));
    }
    return KM_OK;
}
