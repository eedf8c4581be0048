/* Any bytes as a model file or checkpoint whose checksums are right: a bundle opens, or there is a sentence. Where it opens, each
 * piece of its tokenizer has a row of embeddings. */
#include "kmask/modelfile.h"
#include "reseal.h"

#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[FUZZ_PATH];
static char *path;

static void leave(void) {
    unlink(path);
    rmdir(folder);
}

static void enter(void) {
    fuzz_folder(folder, "bundle");
    path = km_format("%s/m.h5", folder);
    atexit(leave);
    km_log_mute(true); /* warnings of weights that are not finite */
}

static void check(km_status status, km_bundle *bundle) {
    if (status != KM_OK) {
        if (km_message()[0] == '\0') {
            abort();
        }
        return;
    }
    if (km_model_shape(bundle->model)->vocab_size < km_tokenizer_size(bundle->tokenizer)) {
        abort();
    }
    km_bundle_close(bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    km_bundle *bundle = NULL;
    if (path == NULL) {
        enter();
    }
    fuzz_reseal(path, data, size);
    km_status status = km_bundle_open_any(&bundle, path);
    check(status, bundle);
    status = km_bundle_open_classifier(&bundle, path, 2, 1);
    check(status, bundle);
    return 0;
}
