/* Reads the header of a safetensors file. The file has 8 bytes with the length of the header, the header (JSON with the type,
 * shape and place of each tensor), then the bytes of all tensors without gaps. The file may come from anyone, so every number
 * is checked before it is used. */
#include "store_private.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_HEADER = 100000000, MOST_VALUES = 1 << 20, MOST_NAME = 512 };

bool km_is_safetensors_name(const char *name) {
    size_t length = 0;
    for (; name[length] != '\0' && length <= MOST_NAME; length++) {
        char c = name[length];
        if (c < ' ' || c > '~' || c == '"' || c == '\\') {
            return false;
        }
    }
    return length >= 1 && length <= MOST_NAME;
}

/* ---- JSON ---- */

km_status km_safetensors_json(km_json **out, const char *text, size_t count, const char *path) {
    *out = NULL;
    size_t values = km_json_values(text, count);
    if (values > MOST_VALUES) {
        return km_fail(KM_FAILED,
                       "%s: its header holds %zu values, expected at most %d: such a model is not known.", path,
                       values, MOST_VALUES);
    }
    if (memmem(text, count, "\\u0000", 6) != NULL) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: \\u0000 in its header, expected text without NUL.", path);
    }
    KM_TRY(km_json_parse(out, text, count, path));
    if (!km_json_is_object(*out)) {
        km_json_destroy(*out);
        *out = NULL;
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: the JSON is not an object, expected {\"name\": ...}.", path);
    }
    return KM_OK;
}

/* Reads a whole number from 0 to 2^53, above which JSON numbers are not exact; returns false for anything else. */
static bool whole(uint64_t *out, const km_json *json) {
    double value = -1;
    if (!km_json_number(&value, json) || !(value >= 0 && value <= 0x1p53) || value > (double)(uint64_t)value) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

/* ---- One tensor ---- */

static km_status read_type(km_array *out, const km_json *json, const char *path) {
    const char *code = km_json_string(json);
    if (code == NULL || !km_dtype_from_code(&out->type, code)) {
        return km_fail(KM_FAILED, "%s: tensor %s: dtype is %.40s, expected F32, F16, BF16 or another known one.",
                       path, out->name, code == NULL ? "not a text" : code);
    }
    return KM_OK;
}

static km_status read_shape(km_array *out, const km_json *json, const char *path) {
    size_t rank = km_json_size(json);
    if (!km_json_is_array(json) || rank > KM_MAX_DIMS) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: tensor %s: shape is %s, expected a list of at most %d numbers.",
                            path, out->name, km_json_is_array(json) ? "a longer list" : "no list", KM_MAX_DIMS);
    }
    out->rank = 0;
    for (const km_json *item = km_json_first(json); item != NULL; item = km_json_next(item)) {
        if (!whole(&out->dims[out->rank++], item)) {
            return km_fail_kind(KM_ERROR_DAMAGED,
                                "%s: tensor %s: its shape holds something else than whole numbers from 0.", path,
                                out->name);
        }
    }
    if (!km_array_measure(out)) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: tensor %s: its shape is larger than a file can be.", path,
                            out->name);
    }
    return KM_OK;
}

/* Reads where a tensor lies; `data` is the number of bytes behind the header. */
static km_status read_place(km_array *out, const km_json *json, uint64_t data, const char *path) {
    uint64_t begin = 0, end = 0;
    if (!km_json_is_array(json) || km_json_size(json) != 2 || !whole(&begin, km_json_first(json)) ||
        !whole(&end, km_json_at(json, 1))) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: tensor %s: data_offsets are not two whole numbers from 0.", path,
                            out->name);
    }
    if (begin > end || end > data) {
        return km_fail_kind(KM_ERROR_DAMAGED,
                            "%s: tensor %s: bytes %llu to %llu, expected a stretch of the file's %llu. %s", path,
                            out->name, (unsigned long long)begin, (unsigned long long)end, (unsigned long long)data,
                            end > data ? "The file is cut short." : "");
    }
    uint64_t bytes = out->count * km_dtype_size(out->type);
    if (end - begin != bytes) {
        return km_fail_kind(
            KM_ERROR_DAMAGED, "%s: tensor %s: has %llu bytes, expected %llu by its shape and type %s.", path,
            out->name, (unsigned long long)(end - begin), (unsigned long long)bytes, km_dtype_code(out->type));
    }
    out->offset = begin;
    return KM_OK;
}

/* Reads {"dtype": ..., "shape": ..., "data_offsets": ...}. These must be the only keys: with three members, a key that is
 * there twice means that another one is missing. */
static km_status read_tensor(km_array *out, const km_json *json, uint64_t data, const char *path) {
    const km_json *dtype = km_json_get(json, "dtype"), *shape = km_json_get(json, "shape");
    const km_json *place = km_json_get(json, "data_offsets");
    if (km_json_size(json) != 3 || dtype == NULL || shape == NULL || place == NULL) {
        return km_fail_kind(KM_ERROR_DAMAGED,
                            "%s: tensor %s: found %zu keys, expected dtype, shape and data_offsets.", path,
                            out->name, km_json_size(json));
    }
    KM_TRY(read_type(out, dtype, path));
    KM_TRY(read_shape(out, shape, path));
    return read_place(out, place, data, path);
}

static km_status check_metadata(const km_json *json, const char *path) {
    bool good = km_json_is_object(json);
    for (const km_json *item = km_json_first(json); good && item != NULL; item = km_json_next(item)) {
        good = km_json_string(item) != NULL;
    }
    return good ? KM_OK : km_fail_kind(KM_ERROR_DAMAGED, "%s: __metadata__ is not an object of texts.", path);
}

/* ---- All tensors ---- */

static int by_place(const void *a, const void *b) {
    const km_array *x = a, *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return (x->count > y->count) -
           (x->count < y->count); /* tensors without elements before the one that begins at the same place */
}

/* Checks that tensors follow one another from 0 to the end, so that every byte belongs to exactly one of them, as the format
 * demands. */
static km_status check_places(km_array *arrays, int count, uint64_t data, const char *path) {
    uint64_t at = 0;
    if (count > 0) {
        qsort(arrays, (size_t)count, sizeof *arrays, by_place);
    }
    for (int i = 0; i < count; i++) {
        if (arrays[i].offset != at) {
            return km_fail_kind(KM_ERROR_DAMAGED, "%s: tensor %s: begins at byte %llu, expected %llu: %s.", path,
                                arrays[i].name, (unsigned long long)arrays[i].offset, (unsigned long long)at,
                                arrays[i].offset < at ? "it overlaps another one" : "there is a hole before it");
        }
        at += arrays[i].count * km_dtype_size(arrays[i].type);
    }
    if (at != data) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: %llu bytes after the header, but its tensors take %llu.", path,
                            (unsigned long long)data, (unsigned long long)at);
    }
    return KM_OK;
}

static km_status take_tensors(km_store *store, int file, const km_json *json, uint64_t start, uint64_t data) {
    const char *path = store->shards[file].path;
    int first = store->array_count;
    for (const km_json *item = km_json_first(json); item != NULL; item = km_json_next(item)) {
        if (strcmp(km_json_key(item), "__metadata__") == 0) {
            KM_TRY(check_metadata(item, path));
            continue;
        }
        if (!km_is_safetensors_name(km_json_key(item))) {
            return km_fail_kind(KM_ERROR_DAMAGED,
                                "%s: a tensor's name is empty, longer than %d bytes or not printable ASCII without "
                                "quotes.",
                                path, MOST_NAME);
        }
        km_array *array = km_store_append_array(store);
        array->name = km_strdup(km_json_key(item));
        array->file = file;
        KM_TRY(read_tensor(array, item, data, path));
    }
    km_array *arrays = store->arrays == NULL ? NULL : store->arrays + first; /* NULL if the file has no tensors */
    KM_TRY(check_places(arrays, store->array_count - first, data, path));
    for (int i = first; i < store->array_count; i++) {
        store->arrays[i].offset += start;
    }
    return KM_OK;
}

static km_status read_header(char **out, size_t *count, const km_shard *shard, uint64_t size) {
    uint64_t length = 0;
    if (size < sizeof length) {
        return km_fail_kind(KM_ERROR_DAMAGED,
                            "%s: %llu bytes, not even the 8 of the header's length; not a safetensors file.",
                            shard->path, (unsigned long long)size);
    }
    KM_TRY(km_pread_all(shard->fd, &length, sizeof length, 0, shard->path));
    if (memcmp(&length, "version ", sizeof length) == 0) {
        return km_fail_kind(KM_ERROR_DAMAGED,
                            "%s: a Git LFS pointer in place of the weights. Fetch them with `git lfs pull`.",
                            shard->path);
    }
    if (length == 0 || length > MOST_HEADER || length > size - sizeof length) {
        return km_fail_kind(
            KM_ERROR_DAMAGED,
            "%s: a header of %llu bytes, expected 1 to %d within the file's %llu: cut short, or not a "
            "safetensors file.",
            shard->path, (unsigned long long)length, MOST_HEADER, (unsigned long long)size);
    }
    KM_TRY(km_allocate((void **)out, (size_t)length, "a file's header"));
    *count = (size_t)length;
    return km_pread_all(shard->fd, *out, *count, sizeof length, shard->path);
}

km_status km_safetensors_header(km_store *store, int file, uint64_t size) {
    const km_shard *shard = &store->shards[file];
    char *text = NULL;
    size_t count = 0;
    km_json *json = NULL;
    km_status status = read_header(&text, &count, shard, size);
    if (status == KM_OK) {
        status = km_safetensors_json(&json, text, count, shard->path);
    }
    free(text);
    if (status == KM_OK) {
        uint64_t start = sizeof(uint64_t) + count;
        status = take_tensors(store, file, json, start, size - start);
    }
    km_json_destroy(json);
    return status;
}
