/* variance_store: finished items on the disk. Each rank appends to a file of its own. A record has a checksum, so that one which a crash has
 * cut short is left out, and names its measurement and model, so that it is never taken for another. */
#include "variance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char MAGIC[8] = "KMVARI1";

typedef struct file_head {
    char magic[8];
    uint64_t low, high; /* the key of the plan */
} file_head;

/* A record is this head, `count` doubles, and the XXH3-128 of both. */
typedef struct record_head {
    uint64_t low, high; /* the hash of the model's weights */
    uint64_t item, count;
} record_head;

struct km_item_store {
    int fd; /* -1: nothing is kept */
    char *path;
    uint64_t size;
    pthread_mutex_t mutex;
    bool warned;
};

/* ---- Reading ---------------------------------------------------------------------------------------------------- */

typedef km_status record_reader(void *payload, const record_head *head, const double *values);

/* Calls `reader`, which may be NULL, for each whole record. *end: where the last one ends; 0 where the file belongs to another measurement. */
static km_status read_records(const char *path, km_hash key, record_reader *reader, void *payload, uint64_t *end) {
    char *bytes = NULL;
    size_t size = 0;
    *end = 0;
    KM_TRY(km_file_read(&bytes, &size, path, SIZE_MAX / 2));
    file_head head = {0};
    km_status status = KM_OK;
    size_t at = sizeof head;
    if (size >= at) {
        memcpy(&head, bytes, at);
    }
    bool ours = memcmp(head.magic, MAGIC, sizeof MAGIC) == 0 && head.low == key.low && head.high == key.high;
    while (ours && status == KM_OK) {
        record_head record;
        *end = at;
        if (size - at < sizeof record) {
            break;
        }
        memcpy(&record, bytes + at, sizeof record);
        size_t left = size - at - sizeof record;
        if (left < sizeof(km_hash) || record.count > (left - sizeof(km_hash)) / sizeof(double)) {
            break;
        }
        size_t length = sizeof record + (size_t)record.count * sizeof(double);
        km_hash hash = km_hash_bytes(bytes + at, length);
        if (memcmp(&hash, bytes + at + length, sizeof hash) != 0) {
            break;
        }
        double *values = km_new((size_t)record.count + 1, sizeof *values);
        memcpy(values, bytes + at + sizeof record, (size_t)record.count * sizeof *values);
        status = reader != NULL ? reader(payload, &record, values) : KM_OK;
        free(values);
        at += length + sizeof hash;
    }
    free(bytes);
    return status;
}

/* Calls `call` for each file items-<rank>.bin of the folder: an earlier start may have had another number of ranks. */
static km_status each_file(const char *folder, km_status (*call)(const char *path, void *payload), void *payload) {
    DIR *list = opendir(folder);
    if (list == NULL) {
        return km_fail_errno(errno, "%s: cannot open", folder);
    }
    km_status status = KM_OK;
    for (struct dirent *entry = readdir(list); entry != NULL && status == KM_OK; entry = readdir(list)) {
        size_t length = strlen(entry->d_name);
        if (strncmp(entry->d_name, "items-", 6) == 0 && length > 4 &&
            strcmp(entry->d_name + length - 4, ".bin") == 0) {
            char *path = km_format("%s/%s", folder, entry->d_name);
            status = call(path, payload);
            free(path);
        }
    }
    closedir(list);
    return status;
}

static km_status remove_foreign(const char *path, void *payload) {
    uint64_t end = 0;
    KM_TRY(read_records(path, *(const km_hash *)payload, NULL, NULL, &end));
    if (end == 0 && unlink(path) != 0) {
        return km_fail_errno(errno, "%s: cannot remove", path);
    }
    return KM_OK;
}

km_status km_item_store_clean(const char *folder, km_hash key) {
    return each_file(folder, remove_foreign, &key);
}

typedef struct loading {
    km_hash key, model;
    km_item_result *results;
    int items;
} loading;

static km_status take_record(void *payload, const record_head *head, const double *values) {
    loading *l = payload;
    bool ours = head->low == l->model.low && head->high == l->model.high && head->item < (uint64_t)l->items;
    km_item_result *result = ours ? &l->results[head->item] : NULL;
    if (result != NULL && result->values == NULL && head->count > 0) {
        for (uint64_t i = 0; i < head->count; i++) {
            km_item_result_add(result, values[i]);
        }
    }
    return KM_OK;
}

static km_status load_file(const char *path, void *payload) {
    loading *l = payload;
    uint64_t end = 0;
    return read_records(path, l->key, take_record, l, &end);
}

km_status km_item_store_load(const char *folder, km_hash key, km_hash model, km_item_result *results, int items) {
    loading l = {.key = key, .model = model, .results = results, .items = items};
    return each_file(folder, load_file, &l);
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

static km_status begin(km_item_store *store, km_hash key) {
    if (km_file_exists(store->path)) {
        KM_TRY(read_records(store->path, key, NULL, NULL, &store->size));
    }
    store->fd = open(store->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (store->fd < 0 || ftruncate(store->fd, (off_t)store->size) != 0) {
        return km_fail_errno(errno, "%s: cannot write", store->path);
    }
    if (store->size > 0) {
        return KM_OK;
    }
    file_head head = {.low = key.low, .high = key.high};
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    store->size = sizeof head;
    return km_pwrite_all(store->fd, &head, sizeof head, 0, store->path);
}

km_status km_item_store_open(km_item_store **out, const char *folder, int rank, km_hash key) {
    km_item_store *store = *out = km_new(1, sizeof *store);
    store->fd = -1;
    pthread_mutex_init(&store->mutex, NULL);
    if (folder == NULL) {
        return KM_OK;
    }
    store->path = km_format("%s/items-%d.bin", folder, rank);
    km_status status = begin(store, key);
    if (status != KM_OK) {
        km_item_store_close(store);
        *out = NULL;
    }
    return status;
}

void km_item_store_add(km_item_store *store, km_hash model, int item, const km_item_result *result) {
    if (store->fd < 0) {
        return;
    }
    record_head head = {.low = model.low, .high = model.high, .item = (uint64_t)item, .count = result->count};
    km_buffer bytes = {0};
    km_buffer_add(&bytes, &head, sizeof head);
    km_buffer_add(&bytes, result->values, result->count * sizeof *result->values);
    km_hash hash = km_hash_bytes(bytes.data, bytes.size);
    km_buffer_add(&bytes, &hash, sizeof hash);
    pthread_mutex_lock(&store->mutex);
    if (km_pwrite_all(store->fd, bytes.data, bytes.size, store->size, store->path) == KM_OK) {
        store->size += bytes.size;
    } else if (!store->warned) {
        km_warn("%s; the measurement goes on, but what is not written would be lost if it were killed",
                km_message());
        store->warned = true;
    }
    pthread_mutex_unlock(&store->mutex);
    km_buffer_free(&bytes);
}

void km_item_store_close(km_item_store *store) {
    if (store == NULL) {
        return;
    }
    if (store->fd >= 0) {
        close(store->fd);
    }
    pthread_mutex_destroy(&store->mutex);
    free(store->path);
    free(store);
}
