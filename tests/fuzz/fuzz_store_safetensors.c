/* Any bytes as a safetensors file. If the first byte is 'h', the next two are the number of bytes behind the header, and the
 * rest is the JSON of the header, which gets its right length; if it is 'i', the rest is the index of a folder. All tensors
 * of a file that opens can be read. */
#include "folder.h"
#include "kmask/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[FUZZ_PATH];
static char *single, *shard, *index_path;

static void leave(void) {
    unlink(single);
    unlink(shard);
    unlink(index_path);
    rmdir(folder);
}

static void spill(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        abort();
    }
}

static void enter(void) {
    static const char one[] =
        "\x38\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}  \0\0\0";
    if (single != NULL) {
        return;
    }
    fuzz_folder(folder, "store");
    single = km_format("%s/one.safetensors", folder);
    shard = km_format("%s/shard.safetensors", folder);
    index_path = km_format("%s/model.safetensors.index.json", folder);
    spill(shard, one, sizeof one);
    atexit(leave);
}

static void read_all(const km_store *store) {
    for (int i = 0; i < km_store_arrays(store); i++) {
        const km_array *array = km_store_array(store, i);
        if (array->count * km_dtype_size(array->type) > km_store_file_size(store) ||
            km_store_find(store, array->name) != array) {
            abort(); /* opening has checked it */
        }
        char *bytes = km_new(array->count, 8);
        km_status status = km_store_read(store, array, 0, array->count, bytes);
        if (status == KM_OK && km_dtype_is_float(array->type)) {
            status = km_store_read_floats(store, array, 0, array->count, (float *)(void *)bytes);
        }
        free(bytes);
        if (status != KM_OK) {
            abort();
        }
    }
}

static void try(const char *path) {
    km_store *store = NULL;
    if (km_store_open(&store, path) == KM_OK) {
        read_all(store);
        km_store_close(store);
    } else if (km_message()[0] == '\0') {
        abort(); /* an error without a message */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enter();
    if (size > 3 && data[0] == 'h') {
        uint64_t length = size - 3;
        size_t tail = (size_t)data[1] << 8 | data[2], whole = sizeof length + length + tail;
        char *file = km_new(whole, 1);
        memcpy(file, &length, sizeof length);
        memcpy(file + sizeof length, data + 3, length);
        spill(single, file, whole);
        free(file);
        try(single);
    } else if (size > 1 && data[0] == 'i') {
        spill(index_path, data + 1, size - 1);
        try(folder);
        unlink(index_path);
    } else {
        spill(single, data, size);
        try(single);
    }
    return 0;
}
