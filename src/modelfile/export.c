/* export: a model of kmask is written as a safetensors folder, which HuggingFace transformers and other programs open. */
#include "kmask/modelfile.h"
#include "kmask/store.h"

#include "import.h"
#include "model_json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

static const char WEIGHTS[] = "model.safetensors", CONFIG[] = "config.json",
                  GENERATION[] = "generation_config.json";

/* The files that an export may write, and files that other programs would read in place of these if they were left in the
 * folder. */
static const char *const NAMES[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "model.safetensors",
    "model.safetensors.index.json",
};

typedef struct export {
    km_bundle *bundle;
    km_store *model; /* the model file, which holds the extra tensors; NULL: there are none */
    km_json *source; /* the bundle's `source` as JSON; NULL where nothing was imported */
    const km_export_options *options;
    km_dtype type;
    char *building; /* the temporary folder, which is renamed to the wanted one */
    km_json *left_out;
    int tensors;
}
export;

/* ---- Tensors ---- */

static const km_json *extras_of(const export *ex) {
    return ex->model == NULL ? NULL : km_json_get(ex->source, "extras");
}

static bool is_wanted(const export *ex, const km_json *extra) {
    bool buffer = false;
    (void)km_json_boolean(&buffer, km_json_get(extra, "buffer"));
    return buffer || ex->options->extras;
}

/* An extra tensor, which an import has kept beside the model: its type and shape before the import, and where its bits are. */
typedef struct extra {
    const char *name;
    km_dtype type;
    int rank;
    uint64_t dims[KM_MAX_DIMS];
    const km_array *array;
} extra;

static km_status read_extra(extra *out, const export *ex, const km_json *json) {
    const km_json *shape = km_json_get(json, "shape");
    const char *dtype = km_json_string(km_json_get(json, "dtype"));
    const char *place = km_json_string(km_json_get(json, "array"));
    *out = (extra){.name = km_json_string(km_json_get(json, "name"))};
    out->array = place == NULL ? NULL : km_store_find(ex->model, place);
    bool good = out->name != NULL && out->array != NULL && dtype != NULL && km_dtype_from_code(&out->type, dtype) &&
                km_json_size(shape) <= KM_MAX_DIMS;
    uint64_t count = 1;
    for (const km_json *item = km_json_first(shape); good && item != NULL; item = km_json_next(item)) {
        double size = -1;
        good = km_json_number(&size, item) && size >= 0 && size <= 0x1p53;
        out->dims[out->rank] = good ? (uint64_t)size : 0;
        good = good && !__builtin_mul_overflow(count, out->dims[out->rank++], &count);
    }
    good = good && count == out->array->count && km_dtype_size(out->type) == km_dtype_size(out->array->type);
    return good ? KM_OK
                : km_fail(KM_FAILED, "%s: its attribute source does not fit its tensor %s.",
                          km_store_path(ex->model), out->name != NULL ? out->name : "(without a name)");
}

/* The type that an extra tensor is written in: floating-point tensors in the type that was asked for, others in their own. */
static km_dtype type_of(const export *ex, const extra *e) {
    return km_dtype_is_float(e->type) ? ex->type : e->type;
}

static km_status add_tensors(export *ex, km_store *out) {
    const km_table *table = km_model_table(ex->bundle->model);
    ex->tensors = table->count;
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        KM_TRY(km_store_add(out, param->name, ex->type, param->rank, param->dims));
    }
    for (const km_json *item = km_json_first(extras_of(ex)); item != NULL; item = km_json_next(item)) {
        extra e;
        KM_TRY(read_extra(&e, ex, item));
        if (!is_wanted(ex, item)) {
            km_json_push_string(ex->left_out, e.name);
            continue;
        }
        KM_TRY(km_store_add(out, e.name, type_of(ex, &e), e.rank, e.dims));
        ex->tensors++;
    }
    return KM_OK;
}

/* Writes `count` values of `from` as elements at..at+count-1 of an array, in the array's type. */
static km_status write_floats(const export *ex, km_store *out, const km_array *to, uint64_t at, uint64_t count,
                              const float *from) {
    char *packed = NULL;
    KM_TRY(km_allocate((void **)&packed, PIECE * sizeof(float), "packing tensors"));
    km_status status = KM_OK;
    for (uint64_t done = 0; status == KM_OK && done < count; done += PIECE) {
        uint64_t now = KM_MIN((uint64_t)PIECE, count - done);
        km_floats_pack(packed, ex->type, from + done, now);
        status = km_store_write(out, to, at + done, now, packed);
    }
    free(packed);
    return status;
}

static km_status copy_extra(const export *ex, km_store *out, const extra *e) {
    const km_array *to = km_store_find(out, e->name);
    char *piece = NULL;
    float *floats = NULL;
    KM_TRY(km_allocate((void **)&piece, 8 * (size_t)PIECE, "copying tensors"));
    km_status status = km_allocate((void **)&floats, PIECE * sizeof *floats, "copying tensors");
    for (uint64_t at = 0; status == KM_OK && at < e->array->count; at += PIECE) {
        uint64_t count = KM_MIN((uint64_t)PIECE, e->array->count - at);
        status = km_store_read(ex->model, e->array, at, count, piece);
        if (status == KM_OK && km_dtype_is_float(e->type)) {
            km_floats_unpack(floats, e->type, piece, count);
            status = write_floats(ex, out, to, at, count, floats);
        } else if (status == KM_OK) {
            status = km_store_write(out, to, at, count, piece);
        }
    }
    free(floats);
    free(piece);
    return status;
}

static km_status fill_tensors(const export *ex, km_store *out) {
    const km_table *table = km_model_table(ex->bundle->model);
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        const float *values = ex->bundle->weights + param->offset;
        KM_TRY(write_floats(ex, out, km_store_find(out, param->name), 0, param->count, values));
    }
    for (const km_json *item = km_json_first(extras_of(ex)); item != NULL; item = km_json_next(item)) {
        extra e;
        KM_TRY(read_extra(&e, ex, item));
        KM_TRY(is_wanted(ex, item) ? copy_extra(ex, out, &e) : KM_OK);
    }
    return KM_OK;
}

static km_status write_weights(export *ex) {
    char *path = km_format("%s/%s", ex->building, WEIGHTS);
    km_store *out = NULL;
    km_status status = km_store_create_safetensors(&out, path);
    free(path);
    KM_TRY(status);
    status = add_tensors(ex, out);
    status = status == KM_OK ? km_store_layout(out) : status;
    status = status == KM_OK ? fill_tensors(ex, out) : status;
    if (status != KM_OK) {
        km_store_abandon(out);
        return status;
    }
    return km_store_commit(out);
}

/* ---- config.json and generation_config.json ---- */

static km_status copy_json(km_json **out, const km_json *json) {
    if (!km_json_is_object(json)) {
        *out = km_json_object();
        return KM_OK;
    }
    char *text = km_json_print(json, false);
    km_status status = km_json_parse_decimals(out, text, strlen(text), CONFIG);
    free(text);
    return status;
}

/* Writes a file of the folder; takes ownership of json. */
static km_status write_json(const export *ex, const char *name, km_json *json) {
    char *text = km_json_print(json, true), *path = km_format("%s/%s", ex->building, name);
    char *line = km_format("%s\n", text);
    km_status status = km_file_replace(path, line, strlen(line));
    free(line);
    free(path);
    free(text);
    km_json_destroy(json);
    return status;
}

static km_status write_config(const export *ex) {
    static const char *const names[KM_DTYPES] = {
        [KM_F32] = "float32", [KM_F16] = "float16", [KM_BF16] = "bfloat16"};
    const km_json *brought = km_json_get(ex->source, "config"), *classes = km_json_get(brought, "architectures");
    km_json *json = NULL, *architectures = NULL;
    KM_TRY(copy_json(&json, brought));
    km_model_json_write(json, km_model_shape(ex->bundle->model), km_tokenizer_specials(ex->bundle->tokenizer),
                        names[ex->type], ex->bundle->classifier);
    if (ex->options->extras && ex->model != NULL && km_json_is_array(classes)) {
        architectures = km_json_array();
        for (const km_json *item = km_json_first(classes); item != NULL; item = km_json_next(item)) {
            km_json_push_string(architectures, km_json_string(item) != NULL ? km_json_string(item) : "");
        }
        km_json_set(json, "architectures", architectures);
    }
    return write_json(ex, CONFIG, json);
}

static km_status write_generation(const export *ex) {
    const km_model_config *shape = km_model_shape(ex->bundle->model);
    km_json *json = NULL;
    if (!km_architecture_files(km_model_architecture(ex->bundle->model))->is_encoder_decoder) {
        return KM_OK;
    }
    KM_TRY(copy_json(&json, km_json_get(ex->source, "generation")));
    km_generation_json_write(json, shape, km_tokenizer_specials(ex->bundle->tokenizer));
    return write_json(ex, GENERATION, json);
}

/* ---- The folder ---- */

/* Returns the name of some file in `folder`; NULL where the folder is empty or missing. The caller frees. */
static char *first_entry(const char *folder) {
    DIR *dir = opendir(folder);
    char *found = NULL;
    for (struct dirent *entry; dir != NULL && found == NULL && (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            found = km_strdup(entry->d_name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return found;
}

/* Refuses a path that is a file, and, unless force is true, a folder that has files in it. */
static km_status check_folder(const char *folder, bool force) {
    struct stat info;
    if (*folder == '\0') {
        return km_fail(KM_USAGE, "--out is empty; name the folder to write");
    }
    if (stat(folder, &info) != 0) {
        return errno == ENOENT ? KM_OK : km_fail_errno(errno, "%s", folder);
    }
    if (!S_ISDIR(info.st_mode)) {
        return km_fail(KM_FAILED, "%s: a file of that name is there, expected a new or empty folder.", folder);
    }
    char *entry = force ? NULL : first_entry(folder);
    km_status status = entry == NULL
                           ? KM_OK
                           : km_fail(KM_FAILED,
                                     "%s: the folder holds %s, expected a new or empty one. With --force, "
                                     "files of the same names are replaced and others stay.",
                                     folder, entry);
    free(entry);
    return status;
}

/* Makes the folders above the new one. */
static km_status make_parents(const char *folder) {
    const char *slash = strrchr(folder, '/');
    if (slash == NULL || slash == folder) {
        return KM_OK;
    }
    char *parent = km_format("%.*s", (int)(slash - folder), folder);
    km_status status = km_make_folder(parent);
    free(parent);
    return status;
}

static void remove_building(const char *building) {
    static const char *const endings[] = {"", ".tmp", ".new", ".new.tmp"};
    for (size_t i = 0; i < KM_COUNT(NAMES); i++) {
        for (size_t j = 0; j < KM_COUNT(endings); j++) {
            char *path = km_format("%s/%s%s", building, NAMES[i], endings[j]);
            unlink(path);
            free(path);
        }
    }
    rmdir(building);
}

/* Nothing but files is replaced in the folder. */
static km_status check_files(const char *folder) {
    km_status status = KM_OK;
    for (size_t i = 0; status == KM_OK && i < KM_COUNT(NAMES); i++) {
        char *path = km_format("%s/%s", folder, NAMES[i]);
        status = km_out_check(path);
        free(path);
    }
    return status;
}

/* Moves the files into a folder that holds other files. Each one is replaced by a rename, the weights last. */
static km_status move_files(const char *building, const char *folder) {
    km_status status = check_files(folder);
    for (size_t i = 0; status == KM_OK && i < KM_COUNT(NAMES); i++) {
        char *from = km_format("%s/%s", building, NAMES[i]), *to = km_format("%s/%s", folder, NAMES[i]);
        if (km_file_exists(from)) {
            status = km_out_commit(from, to);
        } else if (unlink(to) == 0) {
            km_log("%s: removed, it belonged to what was there before", to);
        }
        free(to);
        free(from);
    }
    return status;
}

static km_status sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool failed = fd < 0 || (fsync(fd) != 0 && errno != EINVAL);
    int why = errno;
    if (fd >= 0) {
        close(fd);
    }
    return failed ? km_fail_errno(why, "%s: cannot sync to disk", path) : KM_OK;
}

static km_status rename_folder(const char *from, const char *to) {
    KM_TRY(sync_folder(from));
    if (rename(from, to) != 0) {
        return km_fail_errno(errno, "%s: cannot rename to %s", from, to);
    }
    const char *slash = strrchr(to, '/');
    char *parent = slash == NULL ? km_strdup(".") : km_format("%.*s", (int)KM_MAX(1, slash - to), to);
    km_status status = sync_folder(parent);
    free(parent);
    return status;
}

static km_status settle(const export *ex, const char *folder) {
    char *entry = first_entry(folder);
    km_status status = KM_OK;
    struct stat info;
    const bool link = lstat(folder, &info) == 0 && !S_ISDIR(info.st_mode);
    if (entry == NULL && !link) { /* the folder is missing or empty, so a rename can replace it */
        status = rename_folder(ex->building, folder);
    } else {
        status = move_files(ex->building, folder);
        rmdir(ex->building);
    }
    free(entry);
    return status;
}

static km_status write_all(export *ex, const char *folder) {
    if (mkdir(ex->building, 0777) != 0) { /* its name is new: no other folder is touched */
        return km_fail_errno(errno, "%s: cannot make this folder", ex->building);
    }
    km_status status = km_tokenizer_save(ex->bundle->tokenizer, ex->building);
    status = status == KM_OK ? write_config(ex) : status;
    status = status == KM_OK ? write_generation(ex) : status;
    status = status == KM_OK ? write_weights(ex) : status;
    status = status == KM_OK ? settle(ex, folder) : status;
    if (status != KM_OK) {
        remove_building(ex->building);
    }
    return status;
}

/* ---- All of it ---- */

static km_status open_model(export *ex, const char *path) {
    KM_TRY(km_bundle_open_any(&ex->bundle, path));
    if (ex->bundle->source != NULL) {
        KM_TRY(km_json_parse_decimals(&ex->source, ex->bundle->source, strlen(ex->bundle->source), path));
    }
    return ex->source == NULL || km_import_is_folder(path) ? KM_OK : km_store_open(&ex->model, path);
}

static km_json *account_of(export *ex) {
    km_json *account = km_json_object();
    char hash[33];
    km_hash_text(hash, ex->bundle->weights_hash);
    km_json_set_string(account, "weights_hash", hash);
    km_json_set_number(account, "tensors", ex->tensors);
    km_json_set(account, "left_out", ex->left_out);
    ex->left_out = NULL;
    return account;
}

static bool type_named(km_dtype *out, const char *name) {
    static const char *const names[KM_DTYPES] = {[KM_F32] = "f32", [KM_F16] = "f16", [KM_BF16] = "bf16"};
    for (km_dtype type = KM_F32; type < KM_DTYPES; type++) {
        if (names[type] != NULL && strcmp(names[type], name) == 0) {
            *out = type;
            return true;
        }
    }
    return false;
}

km_status km_export(const char *model, const char *folder, const km_export_options *options, km_json **account) {
    export ex = {.options = options, .left_out = km_json_array()};
    *account = NULL;
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') {
        length--;
    }
    char *plain = km_format("%.*s", (int)length, folder);
    /* The temporary folder of "." or ".." is made inside it, not beside it. */
    bool dots = length > 0 && plain[length - 1] == '.';
    char *inside = km_format("%s%s", plain, dots ? "/export" : "");
    ex.building = km_out_temporary(inside);
    free(inside);
    km_status status = KM_OK;
    if (!type_named(&ex.type, options->dtype)) {
        status = km_fail(KM_USAGE, "--dtype: found %s, expected f32, f16 or bf16", options->dtype);
    }
    status = status == KM_OK ? check_folder(plain, options->force) : status;
    status = status == KM_OK ? make_parents(plain) : status;
    status = status == KM_OK ? open_model(&ex, model) : status;
    status = status == KM_OK ? write_all(&ex, plain) : status;
    if (status == KM_OK) {
        *account = account_of(&ex);
    }
    km_json_destroy(ex.left_out);
    km_json_destroy(ex.source);
    km_store_close(ex.model);
    km_bundle_close(ex.bundle);
    free(ex.building);
    free(plain);
    return status;
}
