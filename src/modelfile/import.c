/* import: the tensors of a safetensors folder become the parameters of a model. Each tensor is matched with a parameter of the
 * model's table by its name, or is reported with the reason why it is ignored. */
#include "import.h"

#include "holes.h"
#include "kmask/store.h"
#include "model_json.h"
#include "notes.h"
#include "shape.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CONFIG_BYTES = 1 << 20, NAME = 640, PIECE = 1 << 20, COPIES = 8 };

/* The import of one folder, which ends in a bundle. */
typedef struct import {
    const char *folder;
    km_json *config, *generation; /* config.json, and generation_config.json; NULL: the folder has none */
    km_store *store;
    km_naming naming;
    km_bundle *bundle;
    /* For each parameter of the table, the tensor that it is read from; NULL: initial weights. */
    const km_array **from;
    /* For each of km_interchange.copies, the tensor in the folder; NULL: there is none. */
    const km_array *copies[COPIES];
    km_json *used, *ignored, *fresh, *extras;
    bool any; /* the model gets the head that the folder has (km_bundle_open_any) */
    /* Above 0: the model becomes a classifier of so many labels, whatever head the folder has. */
    int64_t num_labels;
    km_head_kind head; /* the head of the model */
} import;

bool km_import_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* ---- config.json and tokenizer ---- */

/* Which head the model gets: the wanted one, or the one that config.json names. */
static km_status choose_head(import *in, const char *path) {
    km_model_config *shape = &in->bundle->shape;
    in->head = in->num_labels > 0 ? KM_HEAD_CLASSES : KM_HEAD_TOKENS;
    shape->num_labels = in->num_labels;
    return in->any ? km_model_json_classifier(&in->bundle->classifier, &in->head, shape, in->config, path) : KM_OK;
}

static km_status read_json(km_json **out, const char *path) {
    char *text = NULL;
    size_t size = 0;
    km_status status = km_file_read(&text, &size, path, CONFIG_BYTES);
    status = status == KM_OK ? km_json_parse_decimals(out, text, size, path) : status;
    free(text);
    return status;
}

/* Sets the model's shape, and makes the model. */
static km_status take_config(import *in, const char *path, const char *generation_path) {
    int64_t length = 0;
    if (!km_model_json_names_type(in->config)) {
        KM_TRY(km_store_open(&in->store, in->folder));
        km_model_json_infer_type(in->config, in->store, in->folder);
    }
    const km_model_files files = {in->config, path, in->generation, generation_path};
    KM_TRY(km_model_json_read(&in->bundle->shape, &length, &files));
    in->bundle->config = km_shape_print(&in->bundle->shape, length);
    KM_TRY(choose_head(in, path));
    return km_model_create(&in->bundle->model, &in->bundle->shape, in->head) == KM_OK
               ? KM_OK
               : km_context(KM_FAILED, "%s", path);
}

static km_status read_config(import *in) {
    char *path = km_format("%s/config.json", in->folder);
    char *generation_path = km_format("%s/generation_config.json", in->folder);
    km_status status = read_json(&in->config, path);
    if (status == KM_OK && km_file_exists(generation_path)) {
        status = read_json(&in->generation, generation_path);
    }
    status = status == KM_OK ? take_config(in, path, generation_path) : status;
    free(generation_path);
    free(path);
    return status;
}

static km_status read_tokenizer(import *in, const char *folder) {
    if (km_tokenizer_open(&in->bundle->tokenizer, folder == NULL ? in->folder : folder) != KM_OK) {
        return folder != NULL
                   ? KM_FAILED
                   : km_rephrase(KM_FAILED, "%s Or give another folder with --tokenizer DIR.", km_message());
    }
    const km_model_config *model = &in->bundle->shape;
    int32_t pieces = km_tokenizer_size(in->bundle->tokenizer);
    if (model->vocab_size < pieces) {
        return km_fail(
            KM_FAILED,
            "%s/config.json: vocab_size is %lld, but the tokenizer in %s has %d pieces: expected a row of "
            "embeddings for each.",
            in->folder, (long long)model->vocab_size, folder == NULL ? in->folder : folder, pieces);
    }
    return KM_OK;
}

/* ---- Names ---- */

static bool is_one(const char *word, const char *const *list) {
    for (; *list != NULL; list++) {
        if (strcmp(word, *list) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether the tensors' names begin with the root of another architecture whose word embeddings have the same name, such as
 * "roberta." in a BERT model's folder. */
static bool is_foreign(const import *in, const km_interchange *files, const char *words) {
    const km_naming *naming = &in->naming;
    const char *end = naming->prefix + naming->backbone;
    for (int i = 0; naming->head == naming->backbone && km_architecture_at(i) != NULL; i++) {
        const km_interchange *other = km_architecture_files(km_architecture_at(i));
        const size_t length = strlen(other->root);
        if (other != files && is_one(words, other->words) && naming->backbone >= length &&
            strcmp(end - length, other->root) == 0 &&
            (naming->backbone == length || end[-(ptrdiff_t)length - 1] == '.')) {
            return true;
        }
    }
    return false;
}

/* Looks for word embeddings of the name `words`; *found is the tensor's name, NULL: there are none. */
static km_status find_words(import *in, const km_interchange *files, const char *words, const char **found) {
    *found = NULL;
    for (int i = 0; i < km_store_arrays(in->store); i++) {
        const char *name = km_store_array(in->store, i)->name;
        km_naming naming;
        if (!km_naming_from(&naming, files, words, name)) {
            continue;
        }
        if (*found != NULL) {
            return km_fail(KM_FAILED, "%s: holds two encoders, %s and %s; expected one.", in->folder, *found, name);
        }
        *found = name;
        in->naming = naming;
    }
    return KM_OK;
}

static km_status find_naming(import *in) {
    const km_interchange *files = km_architecture_files(km_model_architecture(in->bundle->model));
    const char *found = NULL, *const *words = files->words;
    KM_TRY(find_words(in, files, *words, &found));
    while (found == NULL && words[1] != NULL) {
        KM_TRY(find_words(in, files, *++words, &found));
    }
    if (found == NULL) {
        return km_fail(KM_FAILED, "%s: no tensor is named [...]%s: not a model of type %s.", in->folder,
                       files->words[0], files->type);
    }
    return !is_foreign(in, files, *words)
               ? KM_OK
               : km_fail(KM_FAILED, "%s: its tensors are named %s..., but config.json says model_type %s.",
                         in->folder, in->naming.prefix, files->type);
}

static km_json *describe(const km_array *array, const char *own) {
    km_json *json = km_json_object(), *shape = km_json_array();
    for (int i = 0; i < array->rank; i++) {
        km_json_push_number(shape, (double)array->dims[i]);
    }
    km_json_set_string(json, "name", own);
    km_json_set_string(json, "from", array->name);
    km_json_set_string(json, "dtype", km_dtype_code(array->type));
    km_json_set(json, "shape", shape);
    return json;
}

static void ignore(import *in, const km_array *array, const char *own, const char *why) {
    km_json *json = describe(array, own);
    km_json_set_string(json, "why", why);
    km_json_push(in->ignored, json);
}

/* The name of an extra tensor's array in the model file: the tensor's own name where HDF5 allows it, else a number. The caller
 * frees. */
static char *extra_place(const char *own, size_t number) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    bool plain = strspn(own, letters) == strlen(own) && own[strspn(own, ".")] != '\0';
    return plain ? km_format(KM_EXTRA_GROUP "%s", own) : km_format(KM_EXTRA_GROUP "#%zu", number);
}

/* Notes a tensor that is to be kept beside the model in the file, so that an export can write it again. */
static void keep(import *in, const km_array *array, const char *own, bool buffer) {
    char *place = extra_place(own, km_json_size(in->extras));
    km_json *json = describe(array, own);
    km_json_set_string(json, "array", place);
    km_json_set_boolean(json, "buffer", buffer);
    km_json_push(in->extras, json);
    ignore(in, array, own, buffer ? "a buffer, which holds no weights" : "another head or pooler");
    free(place);
}

static void shape_text(char out[128], int rank, const uint64_t *dims) {
    size_t at = (size_t)snprintf(out, 128, "(");
    for (int i = 0; i < rank && at < 100; i++) {
        at += (size_t)snprintf(out + at, 128 - at, "%s%llu", i > 0 ? ", " : "", (unsigned long long)dims[i]);
    }
    snprintf(out + at, 128 - at, ")");
}

static km_status check_fit(const import *in, const km_array *array, const km_param *param) {
    bool same = array->rank == param->rank && array->count == param->count &&
                (param->rank == 0 || array->dims[0] == param->dims[0]);
    if (!same) {
        char found[128], expected[128];
        shape_text(found, array->rank, array->dims);
        shape_text(expected, param->rank, param->dims);
        return km_fail(KM_FAILED, "%s: tensor %s: its shape is %s, expected %s by config.json.", in->folder,
                       array->name, found, expected);
    }
    if (!km_dtype_is_float(array->type)) {
        return km_fail(KM_FAILED, "%s: tensor %s: its type is %s, expected F32, F16 or BF16.", in->folder,
                       array->name, km_dtype_code(array->type));
    }
    return KM_OK;
}

static const km_interchange *files_of(const import *in) {
    return in->naming.files;
}

static bool is_head(const import *in, const km_param *param) {
    return !km_interchange_is_backbone(files_of(in), param->name);
}

static km_status take(import *in, const km_array *array, const km_param *param) {
    const km_array **from = &in->from[param - km_model_table(in->bundle->model)->params];
    if (*from != NULL) {
        return km_fail(KM_FAILED, "%s: tensors %s and %s are both %s; expected one.", in->folder, (*from)->name,
                       array->name, param->name);
    }
    if (in->num_labels > 0 && is_head(in, param) && check_fit(in, array, param) != KM_OK) {
        return KM_OK; /* the folder's head has other labels than the one that is wanted */
    }
    KM_TRY(check_fit(in, array, param));
    *from = array;
    return KM_OK;
}

static int layers_of(const km_model *model) {
    km_stack_shape stack;
    int layers = 0;
    for (int i = 0; km_model_stack(&stack, model, (km_stack_name)i); i++) {
        layers += stack.layers;
    }
    return layers;
}

/* Handles a tensor that is not a parameter of the table. */
static km_status place_other(import *in, const km_array *array, const char *own) {
    const km_architecture *architecture = km_model_architecture(in->bundle->model);
    const km_interchange_copy *copy = NULL;
    switch (km_naming_kind(&copy, &in->naming, own)) {
    case KM_TENSOR_BUFFER:
        keep(in, array, own, true);
        return KM_OK;
    case KM_TENSOR_COPY: /* handled in `match`, once all other tensors have been seen */
        in->copies[copy - files_of(in)->copies] = array;
        return KM_OK;
    case KM_TENSOR_EXTRA:
        keep(in, array, own, false);
        return KM_OK;
    case KM_TENSOR_UNKNOWN:
        break;
    }
    if (in->head != KM_HEAD_TOKENS && !km_interchange_is_backbone(files_of(in), own)) { /* of the head for tokens */
        keep(in, array, own, false);
        return KM_OK;
    }
    return km_fail(KM_FAILED,
                   "%s: tensor %s has no place in the model of config.json: a %s of %d layers. Expected the names "
                   "of transformers' %s.",
                   in->folder, array->name, in->bundle->shape.type, layers_of(in->bundle->model),
                   km_architecture_class(architecture, in->head));
}

static km_status place_all(import *in) {
    const km_table *table = km_model_table(in->bundle->model);
    char own[NAME];
    for (int i = 0; i < km_store_arrays(in->store); i++) {
        const km_array *array = km_store_array(in->store, i);
        if (!km_naming_own(own, sizeof own, &in->naming, array->name)) {
            return km_fail(KM_FAILED, "%s: tensor %.100s...: its name is too long.", in->folder, array->name);
        }
        const km_param *param = km_table_find(table, own);
        KM_TRY(param != NULL ? take(in, array, param) : place_other(in, array, own));
    }
    return KM_OK;
}

/* ---- What is there and what is not ---- */

/* Checks that the folder has all tensors of the backbone, and either all tensors of the head or none. */
static km_status check_missing(const import *in) {
    const km_table *table = km_model_table(in->bundle->model);
    const char *missing = NULL, *there = NULL;
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        bool head = is_head(in, param);
        if (in->from[i] == NULL && !param->trained) { /* a buffer's zeros */
            continue;
        }
        if (in->from[i] == NULL && !head) {
            return km_fail(KM_FAILED, "%s: tensor %.*s%s is missing, expected by config.json.", in->folder,
                           (int)in->naming.backbone, in->naming.prefix, param->name + strlen(files_of(in)->root));
        }
        missing = head && in->from[i] == NULL && in->num_labels == 0 ? param->name : missing;
        there = head && in->from[i] != NULL ? param->name : there;
    }
    const km_interchange_copy *copies = files_of(in)->copies; /* some are a head's */
    for (int i = 0; copies[i].name != NULL && there == NULL; i++) {
        const bool head = strncmp(copies[i].name, files_of(in)->head, strlen(files_of(in)->head)) == 0;
        there = head && in->copies[i] != NULL ? in->copies[i]->name : NULL;
    }
    return missing == NULL || there == NULL
               ? KM_OK
               : km_fail(KM_FAILED, "%s: half a head: tensor %s is there, %s is missing.", in->folder, there,
                         missing);
}

/* Sets *same to whether two arrays hold the same numbers, even if in different types. */
static km_status compare(const import *in, const km_array *a, const km_array *b, bool *same) {
    float *pieces = NULL;
    *same = a->count == b->count && a->rank == b->rank && (a->rank == 0 || a->dims[0] == b->dims[0]) &&
            km_dtype_is_float(a->type);
    KM_TRY(km_allocate((void **)&pieces, 2 * (size_t)PIECE * sizeof *pieces, "comparing tensors"));
    km_status status = KM_OK;
    for (uint64_t at = 0; status == KM_OK && *same && at < a->count; at += PIECE) {
        uint64_t count = KM_MIN((uint64_t)PIECE, a->count - at);
        status = km_store_read_floats(in->store, a, at, count, pieces);
        if (status == KM_OK) {
            status = km_store_read_floats(in->store, b, at, count, pieces + PIECE);
        }
        *same = status == KM_OK && memcmp(pieces, pieces + PIECE, count * sizeof *pieces) == 0;
    }
    free(pieces);
    return status;
}

/* Refuses a copy of tied weights that differs from the original. HuggingFace transformers would not tie such weights; kmask
 * always ties them, and would compute another model. */
static km_status check_copy(import *in, const km_array *copy, const km_array *of) {
    if (copy == NULL || copy == of) {
        return KM_OK;
    }
    bool same = false;
    char own[NAME];
    KM_TRY(compare(in, copy, of, &same));
    if (!same) {
        return km_fail(KM_FAILED,
                       "%s: tensor %s differs from %s; expected a copy of it, since kmask's output weights are the "
                       "word embeddings.",
                       in->folder, copy->name, of->name);
    }
    (void)km_naming_own(own, sizeof own, &in->naming, copy->name);
    ignore(in, copy, own, "a copy of tied weights");
    return KM_OK;
}

/* Returns the entry of in->from for the parameter that a copy repeats; NULL where the table has no such parameter. */
static const km_array **original(const import *in, const km_interchange_copy *copy) {
    const km_table *table = km_model_table(in->bundle->model);
    const km_param *of = km_table_find(table, copy->of);
    return of != NULL ? &in->from[of - table->params] : NULL;
}

/* Matches tensors with parameters. Where an original is missing, its copy is read instead. */
static km_status match(import *in) {
    const km_table *table = km_model_table(in->bundle->model);
    const km_interchange_copy *copies = files_of(in)->copies;
    in->from = km_new((size_t)table->count, sizeof(km_array *));
    KM_TRY(place_all(in));
    for (int i = 0; copies[i].name != NULL; i++) {
        const km_array **of = original(in, &copies[i]);
        if (in->copies[i] != NULL && of != NULL && *of == NULL) {
            KM_TRY(take(in, in->copies[i], km_table_find(table, copies[i].of)));
        }
    }
    KM_TRY(check_missing(in));
    for (int i = 0; copies[i].name != NULL; i++) {
        const km_array **of = original(in, &copies[i]);
        KM_TRY(of != NULL ? check_copy(in, in->copies[i], *of) : KM_OK);
    }
    return KM_OK;
}

/* ---- Weights ---- */

static bool is_complete(const import *in) {
    int found = 0;
    for (int i = 0; i < km_model_table(in->bundle->model)->count; i++) {
        found += in->from[i] != NULL;
    }
    return found == km_model_table(in->bundle->model)->count;
}

static km_status read_weights(import *in, uint64_t seed) {
    km_bundle *bundle = in->bundle;
    const km_table *table = km_model_table(bundle->model);
    KM_TRY(km_allocate((void **)&bundle->weights, table->size * sizeof(float), "the weights"));
    if (!is_complete(in)) {
        km_model_init_weights(bundle->model, bundle->weights, seed);
    }
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        float *to = bundle->weights + param->offset;
        if (in->from[i] == NULL) {
            if (param->trained) {
                km_json_push_string(in->fresh, param->name);
            }
            continue;
        }
        KM_TRY(km_store_read_floats(in->store, in->from[i], 0, param->count, to));
        km_warn_of_holes(in->folder, in->from[i]->name, to, param->count);
        km_json_push(in->used, describe(in->from[i], param->name));
    }
    bundle->weights_hash = km_table_hash(table, bundle->weights);
    return KM_OK;
}

/* The bundle's `source`; extras: with the tensors that are kept beside the model. */
static char *print_source(const import *in, bool extras) {
    char *config = km_json_print(in->config, false), *others = km_json_print(in->extras, false);
    char *generation = in->generation == NULL ? NULL : km_json_print(in->generation, false);
    char *source =
        km_format("{\"config\":%s%s%s%s%s}", config, generation != NULL ? ",\"generation\":" : "",
                  generation != NULL ? generation : "", extras ? ",\"extras\":" : "", extras ? others : "");
    free(generation);
    free(others);
    free(config);
    return source;
}

/* What kind of model is wanted of a folder. */
typedef struct wanted {
    bool any;
    int64_t num_labels;
} wanted;

static km_status read_folder(import *in, const char *folder, wanted how, const char *tokenizer, uint64_t seed) {
    *in = (import){.folder = folder,
                   .any = how.any,
                   .num_labels = how.num_labels,
                   .bundle = km_new(1, sizeof(km_bundle)),
                   .used = km_json_array(),
                   .ignored = km_json_array(),
                   .fresh = km_json_array(),
                   .extras = km_json_array()};
    KM_TRY(read_config(in));
    KM_TRY(in->store == NULL ? km_store_open(&in->store, folder) : KM_OK);
    KM_TRY(find_naming(in));
    KM_TRY(match(in));
    KM_TRY(read_tokenizer(in, tokenizer));
    KM_TRY(read_weights(in, seed));
    in->bundle->source = print_source(in, true);
    return KM_OK;
}

static void release(import *in) {
    km_json_destroy(in->config);
    km_json_destroy(in->generation);
    km_json_destroy(in->used);
    km_json_destroy(in->ignored);
    km_json_destroy(in->fresh);
    km_json_destroy(in->extras);
    km_store_close(in->store);
    km_bundle_close(in->bundle);
    free(in->from);
}

km_status km_import_open(km_bundle **out, const char *folder, uint64_t seed) {
    return km_import_open_head(out, folder, false, 0, seed);
}

km_status km_import_open_head(km_bundle **out, const char *folder, bool any, int64_t num_labels, uint64_t seed) {
import in;
    *out = NULL;
    km_status status = read_folder(&in, folder, (wanted){any, num_labels}, NULL, seed);
    if (status == KM_OK) {
        *out = in.bundle;
        in.bundle = NULL;
        if (km_json_size(in.fresh) > 0 && in.head == KM_HEAD_TOKENS) {
            km_warn("%s: holds no MLM head: a fresh one is used", folder);
        }
        /* Ignored tensors are not kept: only km_import writes them to a file. */
        free((*out)->source);
        (*out)->source = print_source(&in, false);
    }
    release(&in);
    return status;
}

/* ---- Importing ---- */

static km_json *account_of(import *in) {
    km_json *account = km_json_object();
    char hash[33];
    km_hash_text(hash, in->bundle->weights_hash);
    km_json_set_string(account, "model_type", in->bundle->shape.type);
    km_json_set_string(account, "weights_hash", hash);
    km_json_set(account, "used", in->used);
    km_json_set(account, "ignored", in->ignored);
    km_json_set(account, "fresh", in->fresh);
    km_json_set(account, "config", in->config);
    in->used = in->ignored = in->fresh = in->config = NULL; /* the account owns them now */
    return account;
}

km_status km_import(const char *folder, const km_import_options *options, km_json **account) {
import in;
    *account = NULL;
    KM_TRY(km_model_path_check(folder));
    if (!km_import_is_folder(folder)) {
        return km_fail(KM_FAILED,
                       "%s: not a folder, expected one with model.safetensors, config.json and a tokenizer.",
                       folder);
    }
    KM_TRY(options->out != NULL ? km_out_check(options->out) : KM_OK);
    km_status status = read_folder(&in, folder, (wanted){.any = true}, options->tokenizer, options->seed);
    if (status == KM_OK && options->out != NULL) {
        status = km_bundle_save_with(in.bundle, in.extras, in.store, options->out);
    }
    if (status == KM_OK) {
        *account = account_of(&in);
    }
    release(&in);
    return status;
}
