/* Any bytes as an HDF5 file whose checksums are right. Where it opens, all arrays can be read and lie in the file. */
#include "kmask/store.h"
#include "reseal.h"

#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[FUZZ_PATH];
static char *path;

static void leave(void) {
    unlink(path);
    rmdir(folder);
}

static void read_all(const km_store *store) {
    uint64_t bytes = 0;
    for (int i = 0; i < km_store_arrays(store); i++) {
        const km_array *array = km_store_array(store, i);
        char *elements = km_new(array->count + 1, km_dtype_size(array->type));
        bytes += array->count * km_dtype_size(array->type);
        if (bytes > km_store_file_size(store) || km_store_find(store, array->name) != array ||
            km_store_read(store, array, 0, array->count, elements) != KM_OK) {
            abort(); /* opening has checked it */
        }
        free(elements);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    km_store *store = NULL;
    if (path == NULL) {
        fuzz_folder(folder, "hdf5");
        path = km_format("%s/f.h5", folder);
        atexit(leave);
    }
    fuzz_reseal(path, data, size);
    if (km_store_open(&store, path) == KM_OK) {
        read_all(store);
        km_store_close(store);
    } else if (km_message()[0] == '\0') {
        abort(); /* an error without a message */
    }
    return 0;
}
