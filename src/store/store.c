/* Stores: the lists of arrays and attributes in memory, reading and writing of elements, and replacing files atomically. */
#include "hdf5_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name, *code;
    size_t size;
} TYPES[KM_DTYPES] = {
    [KM_F32] = {"float32", "F32", 4},
    [KM_U8] = {"uint8", "U8", 1},
    [KM_U16] = {"uint16", "U16", 2},
    [KM_I32] = {"int32", "I32", 4},
    [KM_U32] = {"uint32", "U32", 4},
    [KM_U64] = {"uint64", "U64", 8},
    [KM_F16] = {"float16", "F16", 2},
    [KM_BF16] = {"bfloat16", "BF16", 2},
    [KM_F64] = {"float64", "F64", 8},
    [KM_I8] = {"int8", "I8", 1},
    [KM_I16] = {"int16", "I16", 2},
    [KM_I64] = {"int64", "I64", 8},
    [KM_BOOL] = {"bool", "BOOL", 1},
    [KM_F8_E4M3] = {"float8_e4m3", "F8_E4M3", 1},
    [KM_F8_E5M2] = {"float8_e5m2", "F8_E5M2", 1},
    [KM_C64] = {"complex64", "C64", 8},
};

size_t km_dtype_size(km_dtype type) {
    return TYPES[type].size;
}

const char *km_dtype_name(km_dtype type) {
    return TYPES[type].name;
}

const char *km_dtype_code(km_dtype type) {
    return TYPES[type].code;
}

bool km_dtype_from_code(km_dtype *out, const char *code) {
    for (km_dtype type = KM_F32; type < KM_DTYPES; type++) {
        if (strcmp(TYPES[type].code, code) == 0) {
            *out = type;
            return true;
        }
    }
    return false;
}

/* ---- The lists of arrays and attributes, in ascending order of names ---- */

bool km_array_measure(km_array *array) {
    uint64_t bytes = 0;
    array->count = 1;
    for (int i = 0; i < array->rank; i++) {
        if (__builtin_mul_overflow(array->count, array->dims[i], &array->count)) {
            return false;
        }
    }
    return !__builtin_mul_overflow(array->count, km_dtype_size(array->type), &bytes) && bytes <= INT64_MAX;
}

/* The index at which the array `name` is, or would have to be inserted. */
static int place_of_array(const km_store *store, const char *name) {
    int low = 0, high = store->array_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (strcmp(store->arrays[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

km_array *km_store_append_array(km_store *store) {
    if (store->array_count == store->array_capacity) {
        store->array_capacity = 2 * store->array_capacity + 16;
        store->arrays = km_grow(store->arrays, (size_t)store->array_capacity, sizeof *store->arrays);
    }
    km_array *array = &store->arrays[store->array_count++];
    *array = (km_array){0};
    return array;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const km_array *)a)->name, ((const km_array *)b)->name);
}

const char *km_store_sort_arrays(km_store *store) {
    if (store->array_count > 0) {
        qsort(store->arrays, (size_t)store->array_count, sizeof *store->arrays, by_name);
    }
    for (int i = 1; i < store->array_count; i++) {
        if (strcmp(store->arrays[i - 1].name, store->arrays[i].name) == 0) {
            return store->arrays[i].name;
        }
    }
    return NULL;
}

bool km_store_insert_array(km_store *store, const km_array *array, char *name) {
    int at = place_of_array(store, name);
    if (at < store->array_count && strcmp(store->arrays[at].name, name) == 0) {
        return false;
    }
    (void)km_store_append_array(store);
    store->array_count--;
    memmove(store->arrays + at + 1, store->arrays + at, (size_t)(store->array_count - at) * sizeof *store->arrays);
    store->arrays[at] = *array;
    store->arrays[at].name = name;
    store->array_count++;
    return true;
}

static int place_of_attribute(const km_store *store, const char *name) {
    int at = 0; /* there are about a dozen, so a binary search would not pay */
    while (at < store->attribute_count && strcmp(store->attributes[at].name, name) < 0) {
        at++;
    }
    return at;
}

static const km_attribute *find_attribute(const km_store *store, const char *name) {
    int at = place_of_attribute(store, name);
    bool there = at < store->attribute_count && strcmp(store->attributes[at].name, name) == 0;
    return there ? &store->attributes[at] : NULL;
}

bool km_store_insert_attribute(km_store *store, const km_attribute *attribute) {
    if (find_attribute(store, attribute->name) != NULL) {
        return false;
    }
    int at = place_of_attribute(store, attribute->name);
    if (store->attribute_count == store->attribute_capacity) {
        store->attribute_capacity = 2 * store->attribute_capacity + 16;
        store->attributes =
            km_grow(store->attributes, (size_t)store->attribute_capacity, sizeof *store->attributes);
    }
    memmove(store->attributes + at + 1, store->attributes + at,
            (size_t)(store->attribute_count - at) * sizeof *store->attributes);
    store->attributes[at] = *attribute;
    store->attribute_count++;
    return true;
}

int km_store_arrays(const km_store *store) {
    return store->array_count;
}

const km_array *km_store_array(const km_store *store, int index) {
    return index >= 0 && index < store->array_count ? &store->arrays[index] : NULL;
}

const km_array *km_store_find(const km_store *store, const char *name) {
    int at = place_of_array(store, name);
    return at < store->array_count && strcmp(store->arrays[at].name, name) == 0 ? &store->arrays[at] : NULL;
}

const char *km_store_text(const km_store *store, const char *name) {
    const km_attribute *attribute = find_attribute(store, name);
    return attribute != NULL ? attribute->text : NULL;
}

bool km_store_number(const km_store *store, const char *name, int64_t *out) {
    const km_attribute *attribute = find_attribute(store, name);
    if (attribute == NULL || attribute->text != NULL) {
        return false;
    }
    *out = attribute->number;
    return true;
}

const char *km_store_path(const km_store *store) {
    return store->temporary != NULL ? store->temporary : store->path;
}

int km_store_format(const km_store *store) {
    return store->format;
}

uint64_t km_store_file_size(const km_store *store) {
    return store->size;
}

km_hash km_store_hash(const km_store *store) {
    return store->hash;
}

static void destroy(km_store *store) {
    km_watch_end(store);
    for (int i = 0; i < store->array_count; i++) {
        free((char *)store->arrays[i].name);
    }
    for (int i = 0; i < store->attribute_count; i++) {
        free(store->attributes[i].name);
        free(store->attributes[i].text);
    }
    if (store->fd >= 0) {
        close(store->fd);
    }
    for (int i = 0; i < store->shard_count; i++) {
        close(store->shards[i].fd);
        free(store->shards[i].path);
    }
    free(store->shards);
    free(store->arrays);
    free(store->attributes);
    free(store->temporary);
    free(store->path);
    free(store);
}

/* ---- Writing ---- */

/* Creates the temporary file of a run's own folder. An older file is removed and not truncated, so that a process that still has
 * it open is not disturbed. */
static km_status create_own(const char *temporary) {
    int fd = unlink(temporary) == 0 || errno == ENOENT
                 ? open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)
                 : -1;
    if (fd < 0 || close(fd) != 0) {
        km_status status = km_fail_errno(errno, "%s: cannot create", temporary);
        if (fd >= 0) {
            unlink(temporary);
        }
        return status;
    }
    return KM_OK;
}

static km_status create_out(const char *temporary, const char *path) {
    int fd = -1;
    KM_TRY(km_out_create(&fd, temporary, path));
    if (close(fd) != 0) {
        km_status status = km_fail_errno(errno, "%s: cannot create", temporary);
        unlink(temporary);
        return status;
    }
    return KM_OK;
}

/* Takes ownership of `temporary`. */
static km_status create(km_store **out, const char *path, char *temporary, km_store kind) {
    *out = NULL;
    km_status status = kind.out ? create_out(temporary, path) : create_own(temporary);
    if (status != KM_OK) {
        free(temporary);
        return status;
    }
    km_store *store = km_new(1, sizeof *store);
    *store = kind;
    store->format = kind.safetensors ? 0 : KM_FORMAT_FIRST;
    store->path = km_strdup(path);
    store->temporary = temporary;
    store->fd = -1;
    *out = store;
    return KM_OK;
}

km_status km_store_create(km_store **out, const char *path) {
    return create(out, path, km_format("%s.tmp", path), (km_store){.out = false});
}

km_status km_store_create_out(km_store **out, const char *path, const char *temporary) {
    char *name = temporary != NULL ? km_strdup(temporary) : km_out_temporary(path);
    return create(out, path, name, (km_store){.out = true});
}

km_status km_store_create_safetensors(km_store **out, const char *path) {
    return create(out, path, km_format("%s.tmp", path), (km_store){.safetensors = true});
}

/* Whether HDF5 can have an array of this name: "/group/name", absolute, without empty parts and without ".", which means the
 * group itself. */
static bool good_name(const char *name) {
    if (name[0] != '/') {
        return false;
    }
    for (const char *part = name; *part == '/';) {
        size_t length = strcspn(part + 1, "/");
        if (length == 0 || (length == 1 && part[1] == '.')) {
            return false;
        }
        part += 1 + length;
    }
    return true;
}

/* An error if the layout has been made, after which nothing can be added. */
static km_status still_open(const km_store *store, const char *name) {
    return store->fd < 0 ? KM_OK
                         : km_fail(KM_FAILED, "%s: %s comes after the layout was closed", store->temporary, name);
}

km_status km_store_add(km_store *store, const char *name, km_dtype type, int rank, const uint64_t *dims) {
    KM_TRY(still_open(store, name));
    km_array array = {.type = type, .rank = rank};
    if (store->safetensors ? !km_is_safetensors_name(name) : !good_name(name)) {
        return km_fail(KM_FAILED, "%s: array name %s, expected a %s", store->path, name,
                       store->safetensors ? "tensor's name" : "path like /model/x");
    }
    int most = store->safetensors ? KM_MAX_DIMS : 4;
    if (rank < 0 || rank > most) {
        return km_fail(KM_FAILED, "%s: array %s has %d dimensions, expected 0 to %d", store->path, name, rank,
                       most);
    }
    if (!store->safetensors && type > KM_F64) {
        return km_fail(KM_FAILED, "%s: array %s is %s, which kmask's files do not hold", store->path, name,
                       km_dtype_name(type));
    }
    for (int i = 0; i < rank; i++) {
        array.dims[i] = dims[i];
    }
    if (!km_array_measure(&array)) {
        return km_fail(KM_FAILED, "%s: array %s is larger than a file can be", store->path, name);
    }
    char *copy = km_strdup(name);
    if (!km_store_insert_array(store, &array, copy)) {
        free(copy);
        return km_fail(KM_FAILED, "%s: two arrays are named %s", store->path, name);
    }
    return KM_OK;
}

static km_status set(km_store *store, const char *name, const char *text, int64_t number) {
    KM_TRY(still_open(store, name));
    km_attribute attribute = {.name = km_strdup(name), .text = text ? km_strdup(text) : NULL, .number = number};
    if (!km_store_insert_attribute(store, &attribute)) {
        free(attribute.name);
        free(attribute.text);
        return km_fail(KM_FAILED, "%s: attribute %s is set twice", store->path, name);
    }
    return KM_OK;
}

void km_store_set_format(km_store *store, int version) {
    store->format = version;
}

km_status km_store_set_text(km_store *store, const char *name, const char *text) {
    return set(store, name, text, 0);
}

km_status km_store_set_number(km_store *store, const char *name, int64_t value) {
    return set(store, name, NULL, value);
}

km_status km_store_layout(km_store *store) {
    KM_TRY(still_open(store, "a second layout"));
    KM_TRY(store->safetensors ? km_safetensors_write(store) : km_hdf5_write(store));
    store->fd = open(store->temporary, O_RDWR | O_CLOEXEC);
    off_t size = store->fd < 0 ? -1 : lseek(store->fd, 0, SEEK_END);
    if (size < 0) {
        return km_fail_errno(errno, "%s: cannot open", store->temporary);
    }
    store->size = (uint64_t)size;
    return KM_OK;
}

/* Checks that elements first..first+count-1 are inside the array. */
static km_status check_range(const km_store *store, const km_array *array, uint64_t first, uint64_t count) {
    if (first > array->count || count > array->count - first) {
        return km_fail(KM_FAILED, "%s: %s: elements %llu to %llu are outside its %llu", km_store_path(store),
                       array->name, (unsigned long long)first, (unsigned long long)(first + count - 1),
                       (unsigned long long)array->count);
    }
    return KM_OK;
}

km_status km_store_write(km_store *store, const km_array *array, uint64_t first, uint64_t count, const void *data) {
    if (store->fd < 0) {
        return km_fail(KM_FAILED, "%s: %s is written before the layout is closed", store->path, array->name);
    }
    KM_TRY(check_range(store, array, first, count));
    size_t size = km_dtype_size(array->type);
    return km_pwrite_all(store->fd, data, count * size, array->offset + first * size, store->temporary);
}

/* Writes the user block, after everything that its checksum covers is on disk. */
static km_status seal(km_store *store) {
    KM_TRY(km_fault("save.fsync"));
    KM_TRY(km_file_sync(store->fd, store->temporary));
    off_t size = lseek(store->fd, 0, SEEK_END);
    if (size < 0 || (uint64_t)size != store->size) {
        return km_fail(KM_FAILED, "%s: %lld bytes where %llu were laid out. Does another program write to it?",
                       store->temporary, (long long)size, (unsigned long long)store->size);
    }
    if (!store->safetensors) {
        KM_TRY(km_fault("save.checksum"));
        KM_TRY(km_user_block_hash(&store->hash, store->fd, store->size, store->temporary));
        KM_TRY(km_user_block_write(store));
    }
    KM_TRY(km_fault("save.fsync"));
    return km_file_sync(store->fd, store->temporary);
}

km_status km_store_seal(km_store *store, km_hash *hash) {
    if (store->fd < 0) {
        return km_fail(KM_FAILED, "%s: committed before its layout was closed", store->path);
    }
    KM_TRY(km_fault("save.flush"));
    KM_TRY(store->sealed ? KM_OK : seal(store));
    store->sealed = true;
    *hash = store->hash;
    return KM_OK;
}

static km_status finish(km_store *store) {
    km_hash hash;
    KM_TRY(km_store_seal(store, &hash));
    KM_TRY(km_fault("save.close"));
    int failed = close(store->fd) != 0 && errno != EINTR ? errno : 0; /* NFS reports a full disk only now */
    store->fd = -1;
    if (failed) {
        return km_fail_errno(failed, "%s: cannot write", store->temporary);
    }
    KM_TRY(km_fault("save.rename"));
    KM_TRY(store->out ? km_out_check(store->path) : KM_OK);
    if (rename(store->temporary, store->path) != 0) {
        return km_fail_errno(errno, "%s: cannot rename to %s", store->temporary, store->path);
    }
    KM_TRY(km_fault("save.dirsync"));
    return km_file_sync_folder(store->path);
}

km_status km_store_commit(km_store *store) {
    km_status status = finish(store);
    if (status != KM_OK) {
        km_store_abandon(store);
        return status;
    }
    destroy(store);
    return KM_OK;
}

void km_store_abandon(km_store *store) {
    if (store != NULL) {
        unlink(store->temporary);
        destroy(store);
    }
}

/* ---- Reading ---- */

km_status km_store_open(km_store **out, const char *path) {
    *out = NULL;
    km_store *store = km_new(1, sizeof *store);
    store->path = km_strdup(path);
    store->fd = -1;
    store->safetensors = km_is_safetensors_path(path);
    km_status status = store->safetensors ? km_safetensors_open(store) : km_user_block_open(store);
    if (status == KM_OK && !store->safetensors) {
        km_watch_begin(store);
        status = km_hdf5_read(store);
    }
    if (status != KM_OK) {
        destroy(store);
        return status;
    }
    *out = store;
    return KM_OK;
}

void km_store_close(km_store *store) {
    if (store != NULL) {
        destroy(store);
    }
}

static km_status read_once(const km_store *store, const km_array *array, uint64_t first, uint64_t count,
                           void *out) {
    const km_shard *shard = store->shard_count > 0 ? &store->shards[array->file] : NULL;
    size_t size = km_dtype_size(array->type);
    return km_pread_all(shard != NULL ? shard->fd : store->fd, out, count * size, array->offset + first * size,
                        shard != NULL ? shard->path : km_store_path(store));
}

km_status km_store_read(const km_store *store, const km_array *array, uint64_t first, uint64_t count, void *out) {
    bool again = false;
    KM_TRY(check_range(store, array, first, count));
    do {
        km_status status = read_once(store, array, first, count, out);
        KM_TRY(km_watch_check(store, &again)); /* its message says more than that of a read behind the end */
        KM_TRY(status);
    } while (again);
    return KM_OK;
}

km_status km_store_read_floats(const km_store *store, const km_array *array, uint64_t first, uint64_t count,
                               float *out) {
    if (!km_dtype_is_float(array->type)) {
        return km_fail(KM_FAILED, "%s: %s is %s, expected float32, float16 or bfloat16", km_store_path(store),
                       array->name, km_dtype_name(array->type));
    }
    /* 16-bit numbers are read into the end of `out`. Unpacking goes forward, so each is read before its place is overwritten. */
    char *packed = (char *)out + count * (sizeof *out - km_dtype_size(array->type));
    KM_TRY(km_store_read(store, array, first, count, packed));
    km_floats_unpack(out, array->type, packed, count);
    return KM_OK;
}
