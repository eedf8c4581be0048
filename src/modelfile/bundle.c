/* bundle: a model file or checkpoint, opened for use. */
#include "holes.h"
#include "import.h"
#include "kmask/modelfile.h"
#include "shape.h"

#include <stdlib.h>
#include <string.h>

/* ---- What a file says of itself ---- */

/* Each piece has a row of embeddings: what reads rows by a piece's id relies on it. */
static km_status check_pieces(const km_bundle *bundle, const char *path) {
    const int32_t pieces = km_tokenizer_size(bundle->tokenizer);
    return bundle->shape.vocab_size >= pieces
               ? KM_OK
               : km_fail(KM_FAILED,
                         "%s: model.vocab_size in its config is %lld, but its tokenizer has %d pieces: expected a "
                         "row of embeddings for each.",
                         path, (long long)bundle->shape.vocab_size, pieces);
}

static km_status read_texts(km_bundle *bundle, const km_store *store, const char *path) {
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
    KM_TRY(check_pieces(bundle, path));
    const km_specials specials = km_tokenizer_specials(bundle->tokenizer);
    km_model_take_tokens(&bundle->shape, specials.pad, specials.sep);
    (void)km_store_number(store, "step", &bundle->step);
    const char *source = km_store_text(store, "source"), *classifier = km_store_text(store, "classifier");
    bundle->source = source != NULL ? km_strdup(source) : NULL;
    bundle->classifier = classifier != NULL ? km_strdup(classifier) : NULL;
    return KM_OK;
}

static km_status make_model(km_bundle *bundle, km_head_kind head) {
    KM_TRY(km_model_create(&bundle->model, &bundle->shape, head));
    const size_t size = km_model_table(bundle->model)->size * sizeof(float);
    return km_allocate((void **)&bundle->weights, size, "the weights");
}

/* ---- With the head that the file has ---- */

static km_status read_classifier(km_bundle *bundle, const char *path) {
    km_json *json = NULL;
    KM_TRY(km_json_parse(&json, bundle->classifier, strlen(bundle->classifier), path));
    const km_json *dropout = km_json_get(json, "classifier_dropout");
    const double said = km_json_number_or(json, "num_labels", 0);
    bundle->shape.has_classifier_dropout = km_json_number(&bundle->shape.classifier_dropout, dropout);
    const size_t names = km_json_size(km_json_get(json, "labels"));
    bundle->shape.num_labels = (int64_t)names;
    km_json_destroy(json);
    if (names == 0 || (double)names != said) {
        return km_fail(KM_FAILED, "%s: the attribute `classifier` has %zu labels, expected %g", path, names, said);
    }
    const double rate = bundle->shape.classifier_dropout;
    return !bundle->shape.has_classifier_dropout || (rate >= 0 && rate < 1)
               ? KM_OK
               : km_fail(KM_FAILED, "%s: the attribute `classifier` has a classifier_dropout of %g, expected 0..<1",
                         path, rate);
}

static km_status fill_in(km_bundle *bundle, const km_store *store, const char *path, bool any) {
    KM_TRY(read_texts(bundle, store, path));
    if (bundle->classifier != NULL && !any) {
        return km_fail(KM_FAILED,
                       "%s: a classifier, expected a model that predicts tokens. `kmask predict` uses it.", path);
    }
    KM_TRY(bundle->classifier != NULL ? read_classifier(bundle, path) : KM_OK);
    KM_TRY(make_model(bundle, bundle->classifier != NULL ? KM_HEAD_CLASSES : KM_HEAD_TOKENS));
    KM_TRY(km_weights_read(store, km_model_table(bundle->model), bundle->weights));
    km_warn_of_holes_in(path, km_model_table(bundle->model), bundle->weights);
    return KM_OK;
}

/* ---- As a classifier with a head for other labels ---- */

/* Finds the file's array for a parameter of the classifier: a tensor of the model, or one that an import kept beside it; NULL
 * where there is none. */
static const km_array *find_param(const km_store *store, const km_param *param) {
    static const char *const groups[] = {"/" KM_MODEL_NETWORK "/", KM_EXTRA_GROUP};
    for (size_t i = 0; i < KM_COUNT(groups); i++) {
        char *name = km_format("%s%s", groups[i], param->name);
        const km_array *array = km_store_find(store, name);
        free(name);
        if (array != NULL && km_array_fits(array, param)) {
            return array;
        }
    }
    return NULL;
}

static km_status fill_in_classifier(km_bundle *bundle, const km_store *store, const char *path, int64_t num_labels,
                                    uint64_t seed) {
    KM_TRY(read_texts(bundle, store, path));
    free(bundle->classifier);
    bundle->classifier = NULL;
    bundle->shape.num_labels = num_labels;
    KM_TRY(make_model(bundle, KM_HEAD_CLASSES));
    km_model_init_weights(bundle->model, bundle->weights, seed);
    const km_table *table = km_model_table(bundle->model);
    const km_interchange *files = km_architecture_files(km_model_architecture(bundle->model));
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        const km_array *array = find_param(store, param);
        if (array != NULL) {
            KM_TRY(km_store_read(store, array, 0, param->count, bundle->weights + param->offset));
        } else if (km_interchange_is_backbone(files, param->name)) {
            return km_fail(KM_FAILED, "%s: tensor /model/%s is missing, or of another shape than its config says",
                           path, param->name);
        }
    }
    km_warn_of_holes_in(path, table, bundle->weights);
    return KM_OK;
}

/* ---- Opening ---- */

km_status km_model_path_check(const char *path) {
    return km_file_exists(path)
               ? KM_OK
               : km_fail(
                     KM_FAILED,
                     "%s: no such file or folder. Expected a checkpoint, a model file, or the folder of a "
                     "published "
                     "model (config.json, model.safetensors, tokenizer); kmask downloads nothing, so a model of "
                     "a hub has to be fetched into a folder first.",
                     path);
}

typedef struct opening {
    bool any;
    int64_t num_labels; /* 0: with the file's own head */
    uint64_t seed;
} opening;

static km_status open_file(km_bundle *bundle, const char *path, const opening *how) {
    km_store *store = NULL;
    KM_TRY(km_store_open(&store, path));
    km_status status = how->num_labels > 0 ? fill_in_classifier(bundle, store, path, how->num_labels, how->seed)
                                           : fill_in(bundle, store, path, how->any);
    km_store_close(store);
    if (status == KM_OK) {
        bundle->weights_hash = km_table_hash(km_model_table(bundle->model), bundle->weights);
    }
    return status;
}

static km_status open_path(km_bundle **out, const char *path, const opening *how) {
    KM_TRY(km_model_path_check(path));
    if (km_import_is_folder(path)) {
        return km_import_open_head(out, path, how->any, how->num_labels, how->seed);
    }
    km_bundle *bundle = km_new(1, sizeof *bundle);
    km_status status = open_file(bundle, path, how);
    if (status != KM_OK) {
        km_bundle_close(bundle);
        return status;
    }
    *out = bundle;
    return KM_OK;
}

static km_status open_any(km_bundle **out, const char *path, const opening *how) {
    *out = NULL;
    char *file = km_bundle_file_of(path);
    km_status status = open_path(out, file, how);
    free(file);
    return status;
}

km_status km_bundle_open(km_bundle **out, const char *path) {
    const opening how = {.seed = KM_FRESH_SEED};
    return open_any(out, path, &how);
}

km_status km_bundle_open_any(km_bundle **out, const char *path) {
    const opening how = {.any = true, .seed = KM_FRESH_SEED};
    return open_any(out, path, &how);
}

km_status km_bundle_open_classifier(km_bundle **out, const char *path, int64_t num_labels, uint64_t seed) {
    const opening how = {.num_labels = num_labels, .seed = seed};
    return open_any(out, path, &how);
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
    free(bundle->classifier);
    free(bundle->weights);
    free(bundle);
}
