/* bundle: a model file or checkpoint, opened for use. */
#include "import.h"
#include "kmask/modelfile.h"
#include "shape.h"

#include <stdlib.h>
#include <string.h>

static km_status fill_in(km_bundle *bundle, const km_store *store, const char *path) {
    const char *kind = km_store_text(store, "kind"), *config = km_store_text(store, "config");
    const char *tokenizer = km_store_text(store, "tokenizer");
    if (kind == NULL || (strcmp(kind, "model") != 0 && strcmp(kind, "checkpoint") != 0)) {
        return km_fail(KM_FAILED, "%s: found a %s, expected a model or checkpoint", path,
                       kind == NULL ? "file without a kind" : kind);
    }
    if (config == NULL || tokenizer == NULL) {
        return km_fail(KM_FAILED, "%s: the attribute `%s` is missing", path,
                       config == NULL ? "config" : "tokenizer");
    }
    KM_TRY(km_shape_parse(&bundle->shape, config, 0, path));
    bundle->config = km_strdup(config);
    KM_TRY(km_tokenizer_parse(&bundle->tokenizer, tokenizer, strlen(tokenizer), path));
    if (!km_given(&km_model_section, &bundle->shape, "pad_token_id")) {
        bundle->shape.pad_token_id = km_tokenizer_specials(bundle->tokenizer).pad;
    }
    (void)km_store_number(store, "step", &bundle->step);
    const char *source = km_store_text(store, "source");
    bundle->source = source != NULL ? km_strdup(source) : NULL;
    KM_TRY(km_model_create(&bundle->model, &bundle->shape, KM_HEAD_TOKENS));
    const km_table *table = km_model_table(bundle->model);
    KM_TRY(km_allocate((void **)&bundle->weights, table->size * sizeof(float), "the weights"));
    KM_TRY(km_weights_read(store, table, bundle->weights));
    bundle->weights_hash = km_table_hash(table, bundle->weights);
    return KM_OK;
}

km_status km_bundle_open(km_bundle **out, const char *path) {
    *out = NULL;
    km_store *store = NULL;
    if (km_import_is_folder(path)) {
        return km_import_open(out, path, KM_FRESH_SEED);
    }
    KM_TRY(km_store_open(&store, path));
    km_bundle *bundle = km_new(1, sizeof *bundle);
    km_status status = fill_in(bundle, store, path);
    km_store_close(store);
    if (status != KM_OK) {
        km_bundle_close(bundle);
        return status;
    }
    *out = bundle;
    return KM_OK;
}

void km_bundle_close(km_bundle *bundle) {
    if (bundle == NULL) {
        return;
    }
    if (bundle->model != NULL) {
        km_model_destroy(bundle->model);
    }
    if (bundle->tokenizer != NULL) {
        km_tokenizer_destroy(bundle->tokenizer);
    }
    free(bundle->config);
    free(bundle->source);
    free(bundle->weights);
    free(bundle);
}
