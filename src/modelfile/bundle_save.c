/* bundle_save: a model becomes a model file, with extra tensors of the folder that it was imported from. */
#include "import.h"
#include "notes.h"

#include <stdlib.h>

enum { PIECE = 1 << 20 /* elements copied at once */ };

/* The integer type in which the bits of an array are kept where HDF5 does not have the array's own type. */
static km_dtype carrier(km_dtype type) {
    static const km_dtype by_size[] = {[1] = KM_U8, [2] = KM_U16, [4] = KM_U32, [8] = KM_U64};
    return type <= KM_F64 ? type : by_size[km_dtype_size(type)];
}

static km_status add_extras(km_store *out, const km_json *extras, const km_store *from) {
    for (const km_json *item = km_json_first(extras); item != NULL; item = km_json_next(item)) {
        const km_array *array = km_store_find(from, km_json_string(km_json_get(item, "from")));
        bool flat = array->rank > 4;
        KM_TRY(km_store_add(out, km_json_string(km_json_get(item, "array")), carrier(array->type),
                            flat ? 1 : array->rank, flat ? &array->count : array->dims));
    }
    return KM_OK;
}

static km_network network_of(const km_bundle *bundle) {
    return (km_network){.name = KM_MODEL_NETWORK, .table = km_model_table(bundle->model), .groups = 1};
}

static km_status set_texts(km_store *out, const km_bundle *bundle) {
    char *pieces = km_tokenizer_print(bundle->tokenizer);
    char weights_hash[33], tokenizer_hash[33];
    km_hash_text(weights_hash, bundle->weights_hash);
    km_hash_text(tokenizer_hash, km_tokenizer_hash(bundle->tokenizer));
    const char *const texts[][2] = {
        {"kind", "model"},
        {"config", bundle->config},
        {"tokenizer", pieces},
        {"tokenizer_hash", tokenizer_hash},
        {"weights_hash", weights_hash},
        {"source", bundle->source},
        {"created_by", "kmask " KM_VERSION},
        {"classifier", bundle->classifier},
    };
    km_status status = KM_OK;
    for (size_t i = 0; status == KM_OK && i < KM_COUNT(texts); i++) {
        status = texts[i][1] != NULL ? km_store_set_text(out, texts[i][0], texts[i][1]) : KM_OK;
    }
    free(pieces);
    return status == KM_OK ? km_store_set_number(out, "step", bundle->step) : status;
}

static km_status copy_array(km_store *out, const km_array *to, const km_store *store, const km_array *from) {
    char *piece = NULL;
    KM_TRY(km_allocate((void **)&piece, 8 * (size_t)PIECE, "copying tensors"));
    km_status status = KM_OK;
    for (uint64_t at = 0; status == KM_OK && at < from->count; at += PIECE) {
        uint64_t count = KM_MIN((uint64_t)PIECE, from->count - at);
        status = km_store_read(store, from, at, count, piece);
        if (status == KM_OK) {
            status = km_store_write(out, to, at, count, piece);
        }
    }
    free(piece);
    return status;
}

static km_status fill_arrays(km_store *out, const km_bundle *bundle, const km_json *extras, const km_store *from) {
    const km_network model = network_of(bundle);
    KM_TRY(km_network_write(out, &model, KM_WEIGHTS, 0, model.table->size, bundle->weights));
    for (const km_json *item = km_json_first(extras); item != NULL; item = km_json_next(item)) {
        const km_array *array = km_store_find(from, km_json_string(km_json_get(item, "from")));
        const km_array *to = km_store_find(out, km_json_string(km_json_get(item, "array")));
        KM_TRY(copy_array(out, to, from, array));
    }
    return KM_OK;
}

km_status km_bundle_save_with(const km_bundle *bundle, const km_json *extras, const km_store *from,
                              const char *path) {
    const km_network model = network_of(bundle);
    km_store *out = NULL;
    KM_TRY(km_store_create_out(&out, path, NULL));
    km_status status = km_network_add(out, &model);
    status = status == KM_OK ? add_extras(out, extras, from) : status;
    status = status == KM_OK ? set_texts(out, bundle) : status;
    status = status == KM_OK ? km_store_layout(out) : status;
    status = status == KM_OK ? fill_arrays(out, bundle, extras, from) : status;
    if (status != KM_OK) {
        km_store_abandon(out);
        return status;
    }
    return km_store_commit(out);
}

km_status km_bundle_save(const km_bundle *bundle, const char *path) {
    km_bundle own = *bundle;
    own.source = km_notes_without(bundle, "extras");
    km_status status = km_bundle_save_with(&own, NULL, NULL, path);
    free(own.source);
    return status;
}
