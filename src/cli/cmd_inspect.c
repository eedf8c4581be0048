/* cmd_inspect: what a corpus, model or checkpoint holds. Opening verifies the file; the hash of each network's weights is
 * computed again from the tensors, in pieces, so that little memory is needed whatever the size of the file. */
#include "cli.h"
#include "kmask/modelfile.h"
#include "kmask/store.h"
#include "kmask/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE = 4 << 20, COLUMNS = 100, NETWORKS = 16 };

static const char help[] =
    "kmask inspect FILE|DIR [--json]\n"
    "\n"
    "What a corpus, model or checkpoint holds. The file's checksum is verified, and weights_hash is\n"
    "computed again from the tensors. Damage is exit status 1 and a sentence that names it. DIR: a\n"
    "safetensors folder; shown as `kmask import` would read it. FILE may also be one .safetensors file:\n"
    "its tensors are listed.\n"
    "\n"
    "  kmask inspect runs/first/checkpoints/step-00001000.h5\n"
    "  kmask inspect corpus.h5 --json\n";

/* The weights of one network. */
typedef struct found_network {
    char name[KM_WORD], weights_hash[33];
    uint64_t parameters;
} found_network;

/* All that is found out about a file. Texts belong to the store or to the JSON. */
typedef struct findings {
    const char *path, *kind;
    km_store *store;
    km_json *config; /* NULL where there is none */
    found_network networks[NETWORKS];
    int network_count;
    const found_network *model; /* one of them; NULL: the file has none */
    uint64_t optimizer_values;
    bool has_tokenizer;
    char tokenizer_type[KM_WORD], tokenizer_hash[33];
    int32_t tokenizer_size;
} findings;

/* ---- Finding out ---- */

/* The name of the model's tensor that the array is; NULL where it is none. All arrays of a single safetensors file are such
 * tensors. */
static const char *tensor_name(const km_array *array) {
    km_network_tensor of;
    if (array->name[0] != '/') {
        return array->name;
    }
    bool model =
        km_network_parse(&of, array->name) && of.group == KM_WEIGHTS && strcmp(of.network, KM_MODEL_NETWORK) == 0;
    return model ? of.tensor : NULL;
}

/* The hash of a network's weights that the file records; NULL where it records none. Some files have none for their model. */
static const char *hash_said(const findings *f, const char *network) {
    const km_network asked = {.name = network};
    char *name = km_network_hash_name(&asked);
    const char *said = km_store_text(f->store, name);
    free(name);
    return said;
}

static bool is_network(const findings *f, const km_network_tensor *of) {
    return of->group == KM_WEIGHTS &&
           (strcmp(of->network, KM_MODEL_NETWORK) == 0 || hash_said(f, of->network) != NULL);
}

static km_status hash_array(km_hasher *hasher, const km_store *store, const km_array *array, void *piece) {
    const uint64_t step = PIECE / km_dtype_size(array->type);
    for (uint64_t first = 0; first < array->count; first += step) {
        uint64_t count = KM_MIN(step, array->count - first);
        KM_TRY(km_store_read(store, array, first, count, piece));
        km_hasher_add(hasher, piece, count * km_dtype_size(array->type));
    }
    return KM_OK;
}

/* Computes the hash of one network's weights, whose arrays follow each other from `first` on. As in km_table_hash, tensors are
 * hashed in ascending order of names: each name with its NUL, then its values. *end: the first array of something else. */
static km_status hash_network(const findings *f, found_network *out, int first, int *end, void *piece) {
    km_hasher *hasher = km_hasher_create();
    km_status status = KM_OK;
    int i = first;
    for (; status == KM_OK && i < km_store_arrays(f->store); i++) {
        const km_array *array = km_store_array(f->store, i);
        km_network_tensor of;
        if (!km_network_parse(&of, array->name) || of.group != KM_WEIGHTS || strcmp(of.network, out->name) != 0) {
            break;
        }
        km_hasher_add(hasher, of.tensor, strlen(of.tensor) + 1);
        status = hash_array(hasher, f->store, array, piece);
        out->parameters += array->count;
    }
    *end = i;
    km_hash_text(out->weights_hash, km_hasher_end(hasher));
    return status;
}

static km_status find_networks(findings *f, void *piece) {
    for (int i = 0; i < km_store_arrays(f->store);) {
        const km_array *array = km_store_array(f->store, i);
        km_network_tensor of;
        const bool tensor = km_network_parse(&of, array->name);
        if (!tensor || !is_network(f, &of) || f->network_count == NETWORKS) {
            f->optimizer_values += tensor && of.group != KM_WEIGHTS ? array->count : 0;
            i++;
            continue;
        }
        found_network *found = &f->networks[f->network_count++];
        snprintf(found->name, sizeof found->name, "%s", of.network);
        KM_TRY(hash_network(f, found, i, &i, piece));
        f->model = strcmp(of.network, KM_MODEL_NETWORK) == 0 ? found : f->model;
    }
    return KM_OK;
}

static km_status check_weights(findings *f) {
    void *piece = NULL;
    KM_TRY(km_allocate(&piece, PIECE, "reading tensors"));
    km_status status = find_networks(f, piece);
    free(piece);
    KM_TRY(status);
    for (int i = 0; i < f->network_count; i++) {
        const found_network *found = &f->networks[i];
        const char *said = hash_said(f, found->name);
        if (said != NULL && strcmp(said, found->weights_hash) != 0) {
            return km_fail(
                KM_FAILED,
                "%s: the weights of the %s are not those that were saved: their hash is %s, and the file says %s.",
                f->path, found->name, found->weights_hash, said);
        }
    }
    return KM_OK;
}

/* Reads the type of the tokenizer, which only its JSON has. */
static km_status read_tokenizer_type(findings *f, const char *text) {
    km_json *json = NULL;
    KM_TRY(km_json_parse(&json, text, strlen(text), "attribute tokenizer"));
    const char *type = km_json_string(km_json_get(json, "type"));
    snprintf(f->tokenizer_type, sizeof f->tokenizer_type, "%s", type != NULL ? type : "unknown");
    km_json_destroy(json);
    return KM_OK;
}

static km_status check_tokenizer(findings *f) {
    const char *text = km_store_text(f->store, "tokenizer"), *said = km_store_text(f->store, "tokenizer_hash");
    if (text == NULL) {
        return KM_OK;
    }
    km_tokenizer *tokenizer = NULL;
    km_status status = read_tokenizer_type(f, text);
    if (status == KM_OK) {
        status = km_tokenizer_parse(&tokenizer, text, strlen(text), "attribute tokenizer");
    }
    if (status != KM_OK) {
        return km_context(status, "%s", f->path);
    }
    f->has_tokenizer = true;
    f->tokenizer_size = km_tokenizer_size(tokenizer);
    km_hash_text(f->tokenizer_hash, km_tokenizer_hash(tokenizer));
    km_tokenizer_destroy(tokenizer);
    if (said != NULL && strcmp(said, f->tokenizer_hash) != 0) {
        return km_fail(KM_FAILED, "%s: the tokenizer's hash is %s, and the file says %s.", f->path,
                       f->tokenizer_hash, said);
    }
    return KM_OK;
}

static km_status read_config(findings *f) {
    const char *text = km_store_text(f->store, "config");
    if (text == NULL) {
        return KM_OK;
    }
    km_status status = km_json_parse(&f->config, text, strlen(text), "attribute config");
    return status == KM_OK ? KM_OK : km_context(status, "%s", f->path);
}

static km_status find_out(findings *f) {
    KM_TRY(km_store_open(&f->store, f->path));
    f->kind = km_store_text(f->store, "kind");
    if (f->kind == NULL && km_store_arrays(f->store) > 0 && km_store_array(f->store, 0)->name[0] != '/') {
        f->kind = "safetensors";
        return KM_OK;
    }
    if (f->kind == NULL) {
        return km_fail(KM_FAILED, "%s: intact, but without the attribute `kind`: no corpus, model or checkpoint.",
                       f->path);
    }
    KM_TRY(check_weights(f));
    KM_TRY(check_tokenizer(f));
    return read_config(f);
}

/* How many elements an array of a corpus has; 0 where it is absent. */
static uint64_t count_of(const findings *f, const char *name) {
    const km_array *array = km_store_find(f->store, name);
    return array != NULL ? array->count : 0;
}

/* Whether this is a single safetensors file, which has no checksum. */
static bool is_bare(const findings *f) {
    return strcmp(f->kind, "safetensors") == 0;
}

/* ---- JSON ---- */

static km_json *describe_array(const km_array *array, const char *name) {
    km_json *json = km_json_object(), *shape = km_json_array();
    for (int i = 0; i < array->rank; i++) {
        km_json_push_number(shape, (double)array->dims[i]);
    }
    km_json_set_string(json, "name", name);
    km_json_set(json, "shape", shape);
    km_json_set_string(json, "type", km_dtype_name(array->type));
    return json;
}

static void add_arrays(km_json *json, const findings *f) {
    km_json *tensors = km_json_array(), *arrays = km_json_array();
    for (int i = 0; i < km_store_arrays(f->store); i++) {
        const km_array *array = km_store_array(f->store, i);
        const char *name = tensor_name(array);
        km_json_push(name != NULL ? tensors : arrays, describe_array(array, name != NULL ? name : array->name));
    }
    km_json_set(json, "tensors", tensors);
    km_json_set(json, "arrays", arrays); /* arrays that are not tensors of the model, under their full names */
}

static void add_text(km_json *json, const findings *f, const char *name) {
    const char *text = km_store_text(f->store, name);
    if (text != NULL) {
        km_json_set_string(json, name, text);
    }
}

static void add_number(km_json *json, const findings *f, const char *name) {
    int64_t number = 0;
    if (km_store_number(f->store, name, &number)) {
        km_json_set_number(json, name, (double)number);
    }
}

/* Adds the names of a corpus' tags, where it has some. */
static void add_tags(km_json *json, const findings *f) {
    const char *text = km_store_text(f->store, "tags");
    km_json *names = NULL;
    if (text != NULL && km_json_parse(&names, text, strlen(text), f->path) == KM_OK) {
        km_json_set(json, "tags", names);
    }
}

static void add_corpus(km_json *json, const findings *f) {
    add_tags(json, f);
    km_json_set_number(json, "tokens", (double)count_of(f, "/tokens"));
    km_json_set_number(json, "documents", (double)count_of(f, "/document_ends"));
    km_json_set_number(json, "sentences", (double)count_of(f, "/sentence_ends"));
}

static void add_tokenizer(km_json *json, const findings *f) {
    km_json *tokenizer = km_json_object();
    km_json_set_string(tokenizer, "type", f->tokenizer_type);
    km_json_set_number(tokenizer, "size", f->tokenizer_size);
    km_json_set_string(tokenizer, "hash", f->tokenizer_hash);
    km_json_set(json, "tokenizer", tokenizer);
}

/* Adds the networks that were trained beside the model. */
static void add_networks(km_json *json, const findings *f) {
    km_json *list = km_json_array();
    for (int i = 0; i < f->network_count; i++) {
        if (&f->networks[i] != f->model) {
            km_json *one = km_json_object();
            km_json_set_string(one, "name", f->networks[i].name);
            km_json_set_string(one, "weights_hash", f->networks[i].weights_hash);
            km_json_set_number(one, "parameters", (double)f->networks[i].parameters);
            km_json_push(list, one);
        }
    }
    if (km_json_size(list) > 0) {
        km_json_set(json, "further_networks", list);
    } else {
        km_json_destroy(list);
    }
}

static void print_json(findings *f) {
    km_json *json = km_json_object();
    char hash[33];
    km_hash_text(hash, km_store_hash(f->store));
    km_json_set_string(json, "kind", f->kind);
    add_number(json, f, "step");
    if (f->model != NULL) {
        km_json_set_string(json, "weights_hash", f->model->weights_hash);
        km_json_set_number(json, "parameters", (double)f->model->parameters);
    }
    add_networks(json, f);
    if (strcmp(f->kind, "corpus") == 0) {
        add_corpus(json, f);
    }
    add_number(json, f, "seed");
    add_text(json, f, "created_by");
    add_text(json, f, "blas");
    add_text(json, f, "built_with");
    add_text(json, f, "corpus_hash");
    km_json_set_number(json, "bytes", (double)km_store_file_size(f->store));
    if (!is_bare(f)) {
        km_json_set_string(json, "hash", hash);
        km_json_set_number(json, "format_version", km_store_format(f->store));
    }
    if (f->has_tokenizer) {
        add_tokenizer(json, f);
    }
    if (f->config != NULL) {
        km_json_set(json, "config", f->config);
        f->config = NULL; /* the document owns it now */
    }
    add_arrays(json, f);
    cli_print_json(json);
}

/* ---- For people ---- */

/* Prints 109514298 as "109,514,298". */
static const char *grouped(char out[32], uint64_t number) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number), at = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            out[at++] = ',';
        }
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static void line(const char *label, const char *text) {
    if (text != NULL) {
        printf("%-14s %s\n", label, text);
    }
}

static void line_number(const char *label, uint64_t number, const char *unit) {
    char text[32];
    printf("%-14s %s%s\n", label, grouped(text, number), unit);
}

static void line_attribute(const findings *f, const char *label, const char *name) {
    int64_t number = 0;
    if (km_store_number(f->store, name, &number)) {
        printf("%-14s %lld\n", label, (long long)number);
    }
}

static void print_summary(const findings *f) {
    char hash[33];
    km_hash_text(hash, km_store_hash(f->store));
    printf("%s: %s, %s\n\n", f->path, f->kind, is_bare(f) ? "a sound header" : "intact");
    line_attribute(f, "step", "step");
    line_attribute(f, "seed", "seed");
    if (strcmp(f->kind, "corpus") == 0) {
        line_number("tokens", count_of(f, "/tokens"), "");
        line_number("sentences", count_of(f, "/sentence_ends"), "");
        line_number("documents", count_of(f, "/document_ends"), "");
    }
    if (f->model != NULL) {
        line_number("parameters", f->model->parameters, "");
        line("weights_hash", f->model->weights_hash);
    }
    for (int i = 0; i < f->network_count; i++) {
        char number[32];
        if (&f->networks[i] != f->model) {
            printf("%-14s %s parameters, weights_hash %s\n", f->networks[i].name,
                   grouped(number, f->networks[i].parameters), f->networks[i].weights_hash);
        }
    }
    if (f->optimizer_values > 0) {
        line_number("optimizer", f->optimizer_values, " values: a run can be resumed from here");
    }
    if (f->has_tokenizer) {
        printf("%-14s %s, %d pieces, hash %s\n", "tokenizer", f->tokenizer_type, f->tokenizer_size,
               f->tokenizer_hash);
    }
    line("corpus", km_store_text(f->store, "corpus_hash"));
    line("computed with", km_store_text(f->store, "blas"));
    line("built with", km_store_text(f->store, "built_with"));
    line("created by", km_store_text(f->store, "created_by"));
    line_number("file", km_store_file_size(f->store), " bytes");
    if (!is_bare(f)) {
        line("file's hash", hash);
    }
}

/* Prints one section of the config as "mask   policy fully_explored, unit subword, ...", wrapped. */
static void print_section(const km_json *section) {
    int column = printf("  %-12s", km_json_key(section));
    for (const km_json *member = km_json_first(section); member != NULL; member = km_json_next(member)) {
        const char *string = km_json_string(member), *separator = km_json_next(member) != NULL ? "," : "";
        string = km_json_is_null(member) ? "none" : string;
        char *printed = string != NULL ? km_strdup(string) : km_json_print(member, false);
        char *text = km_format("%s %s%s", km_json_key(member), printed, separator);
        if (column + 1 + (int)strlen(text) > COLUMNS) {
            column = printf("\n  %-12s", "") - 1;
        }
        column += printf(" %s", text);
        free(text);
        free(printed);
    }
    putchar('\n');
}

static void print_config(const findings *f) {
    if (f->config != NULL) {
        printf("\nconfig\n");
    }
    for (const km_json *section = km_json_first(f->config); section != NULL; section = km_json_next(section)) {
        if (km_json_is_object(section)) { /* the member "version" is no section */
            print_section(section);
        }
    }
}

static void print_arrays(const findings *f) {
    bool tensors = f->model != NULL || is_bare(f);
    printf("\n%s\n", tensors ? "tensors" : "arrays");
    int width = 0;
    for (int pass = 0; pass < 2; pass++) { /* the first pass measures the names, the second prints */
        for (int i = 0; i < km_store_arrays(f->store); i++) {
            const km_array *array = km_store_array(f->store, i);
            const char *name = tensors ? tensor_name(array) : array->name;
            if (name == NULL) {
                continue;
            }
            if (pass == 0) {
                width = KM_MAX(width, (int)strlen(name));
                continue;
            }
            printf("  %-*s  %-7s  ", width, name, km_dtype_name(array->type));
            for (int d = 0; d < array->rank; d++) {
                printf("%s%llu", d > 0 ? " x " : "", (unsigned long long)array->dims[d]);
            }
            putchar('\n');
        }
    }
}

/* ---- Safetensors folders ---- */

/* Lists the names and shapes of tensors, as for a model file. */
static km_json *list_tensors(const km_json *used) {
    km_json *tensors = km_json_array();
    for (const km_json *item = km_json_first(used); item != NULL; item = km_json_next(item)) {
        const km_json *sizes = km_json_get(item, "shape");
        km_json *json = km_json_object(), *shape = km_json_array();
        for (const km_json *size = km_json_first(sizes); size != NULL; size = km_json_next(size)) {
            double number = 0;
            (void)km_json_number(&number, size);
            km_json_push_number(shape, number);
        }
        km_json_set_string(json, "name", km_json_string(km_json_get(item, "name")));
        km_json_set(json, "shape", shape);
        km_json_push(tensors, json);
    }
    return tensors;
}

static km_status inspect_folder(const char *path, bool as_json) {
    const km_import_options how = {.seed = KM_FRESH_SEED};
    km_json *json = NULL;
    KM_TRY(km_import(path, &how, &json));
    if (as_json) {
        km_json_set_string(json, "kind", "model");
        km_json_set_string(json, "format", "safetensors");
        km_json_set(json, "tensors", list_tensors(km_json_get(json, "used")));
        cli_print_json(json);
        return KM_OK;
    }
    cli_print_import(json);
    printf("\n%s: a %s model in safetensors, weights_hash %s\n", path,
           km_json_string(km_json_get(json, "model_type")), km_json_string(km_json_get(json, "weights_hash")));
    km_json_destroy(json);
    return KM_OK;
}

static km_status inspect_file(const char *path, bool json) {
    findings f = {.path = path};
    km_status status = find_out(&f);
    if (status == KM_OK && json) {
        print_json(&f);
    } else if (status == KM_OK) {
        print_summary(&f);
        print_config(&f);
        print_arrays(&f);
    }
    km_json_destroy(f.config);
    km_store_close(f.store);
    return status;
}

static km_status command(int argc, char **argv) {
    bool json = false;
    const cli_option options[] = {{.name = "json", .kind = CLI_FLAG, .out = &json}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 2) {
        return km_fail(KM_USAGE, "inspect needs one file, found %d (see kmask inspect --help)", argc - 1);
    }
    char *path = km_bundle_file_of(argv[1]); /* of a run folder its newest checkpoint */
    struct stat info;
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    km_status status = folder ? inspect_folder(path, json) : inspect_file(path, json);
    free(path);
    return status;
}

const cli_verb cmd_inspect = {.name = "inspect",
                              .arguments = "FILE [--json]",
                              .also = "info|show|ls|dump|cat",
                              .summary = "what a corpus, model or checkpoint holds; verifies it",
                              .help = help,
                              .run = command};
