/* watch: notices that a file is written to while it is read. An open file stays what it is when another takes its name, but not when
 * a program opens it by its name and writes. The inode's time is compared, which no program can set back. */
#include "store_private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

void km_watch_begin(km_store *store) {
    struct stat info;
    if (fstat(store->fd, &info) == 0) {
        store->watch = km_new(1, sizeof *store->watch);
        pthread_mutex_init(&store->watch->mutex, NULL);
        store->watch->changed = info.st_ctim;
    }
}

void km_watch_end(km_store *store) {
    if (store->watch != NULL) {
        pthread_mutex_destroy(&store->watch->mutex);
        free(store->watch);
    }
}

static bool same_time(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Compares the content with the checksum once more: a file may be touched without being changed. */
static km_status verify_again(const km_store *store, const struct stat *info) {
    km_hash hash = {0};
    km_status status = (uint64_t)info->st_size == store->size
                           ? km_user_block_hash(&hash, store->fd, store->size, store->path)
                           : KM_FAILED;
    if (status != KM_OK || !km_hash_equal(hash, store->hash)) {
        return km_fail_kind(KM_ERROR_DAMAGED,
                            "%s: another program has written to it while it was in use. Make the new file under "
                            "another name, or let it take this name by a rename.",
                            store->path);
    }
    store->watch->changed = info->st_ctim;
    return KM_OK;
}

km_status km_watch_check(const km_store *store, bool *again) {
    struct stat info;
    km_status status = KM_OK;
    *again = false;
    if (store->watch == NULL) {
        return KM_OK;
    }
    if (fstat(store->fd, &info) != 0) {
        return km_fail_errno(errno, "%s: cannot read", store->path);
    }
    pthread_mutex_lock(&store->watch->mutex);
    if (!same_time(info.st_ctim, store->watch->changed) || (uint64_t)info.st_size != store->size) {
        *again = true;
        status = verify_again(store, &info);
    }
    pthread_mutex_unlock(&store->watch->mutex);
    return status;
}
