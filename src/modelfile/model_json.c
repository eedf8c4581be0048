/* model_json: reading and writing a model's config.json and generation_config.json. */
#include "model_json.h"
#include "shape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The names that HuggingFace transformers has for the activation functions, each with kmask's name. */
static const char *const ACTIVATIONS[][2] = {
    {"gelu", "gelu"},
    {"gelu_python", "gelu"},
    {"gelu_new", "gelu_new"},
    {"gelu_pytorch_tanh", "gelu_new"},
    {"gelu_python_tanh", "gelu_new"},
    {"gelu_fast", "gelu_new"},
    {"gelu_accurate", "gelu_new"},
    {"relu", "relu"},
};

static bool absent(const km_json *json) {
    return json == NULL || km_json_is_null(json);
}

/* ---- What kmask does not compute ---- */

static km_status refuse(const char *path, const char *key, const km_json *value, const char *expected) {
    char *found = km_json_print(value, false);
    km_status status = km_fail(KM_FAILED, "%s: %s is %.100s, expected %s.", path, key, found, expected);
    free(found);
    return status;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Refuses a key that the file has twice, since readers of JSON differ on which of the values counts. */
static km_status check_keys(const km_json *json, const char *path) {
    size_t count = 0;
    const char **keys = km_new(km_json_size(json) + 1, sizeof *keys);
    for (const km_json *member = km_json_first(json); member != NULL; member = km_json_next(member)) {
        keys[count++] = km_json_key(member);
    }
    qsort(keys, count, sizeof *keys, by_text);
    km_status status = KM_OK;
    for (size_t i = 1; i < count && status == KM_OK; i++) {
        if (strcmp(keys[i - 1], keys[i]) == 0) {
            status = km_fail(KM_FAILED, "%s: the key %.100s stands twice, expected each key once.", path, keys[i]);
        }
    }
    free(keys);
    return status;
}

static km_status check_texts(const km_json *json, const char *path) {
    const km_json *positions = km_json_get(json, "position_embedding_type");
    const char *kind = km_json_string(positions);
    if (!absent(positions) && (kind == NULL || strcmp(kind, "absolute") != 0)) {
        return refuse(path, "position_embedding_type", positions, "\"absolute\", the only one that kmask computes");
    }
    const km_json *quantized = km_json_get(json, "quantization_config");
    if (!absent(quantized)) {
        return refuse(path, "quantization_config", quantized, "weights in F32, F16 or BF16");
    }
    const km_json *pruned = km_json_get(json, "pruned_heads");
    if (!absent(pruned) && km_json_size(pruned) > 0) {
        return refuse(path, "pruned_heads", pruned, "all heads to be there");
    }
    return KM_OK;
}

static km_status check_switches(const km_json *json, const km_interchange *files, const char *path) {
    for (const km_interchange_switch *s = files->switches; s->key != NULL; s++) {
        const km_json *value = km_json_get(json, s->key);
        bool found = s->value;
        if (!absent(value) && (!km_json_boolean(&found, value) || found != s->value)) {
            return refuse(path, s->key, value, s->expected);
        }
    }
    return KM_OK;
}

static km_status check_embedding_size(const km_json *json, const char *width, double hidden, const char *path) {
    const km_json *value = km_json_get(json, "embedding_size");
    double size = hidden;
    if (!absent(value) && (!km_json_number(&size, value) || fabs(size - hidden) > 0)) {
        char expected[64];
        snprintf(expected, sizeof expected, "the same as %s", width);
        return refuse(path, "embedding_size", value, expected);
    }
    return KM_OK;
}

/* ---- Reading ---- */

/* The architecture that the first class in the key "architectures" belongs to; NULL where there is none. */
static const km_architecture *of_class(const km_json *json) {
    const char *first = km_json_string(km_json_first(km_json_get(json, "architectures")));
    const km_architecture *found = NULL;
    for (int i = 0; first != NULL && found == NULL && km_architecture_at(i) != NULL; i++) {
        const char *prefix = km_architecture_files(km_architecture_at(i))->class_prefix;
        found = strncmp(first, prefix, strlen(prefix)) == 0 ? km_architecture_at(i) : NULL;
    }
    return found;
}

/* Reads which architecture the model has. Files of 2018 and 2019 have no "model_type"; there it follows from "architectures". */
static km_status read_type(const km_architecture **out, const km_json *json, const char *path) {
    const km_json *value = km_json_get(json, "model_type");
    const char *type = km_json_string(value);
    *out = absent(value) ? of_class(json) : type != NULL ? km_architecture_named(type) : NULL;
    if (*out != NULL) {
        return KM_OK;
    }
    char *expected = km_architecture_list("\"");
    km_status status = absent(value) ? km_fail(KM_FAILED, "%s: has no model_type, expected %s.", path, expected)
                                     : refuse(path, "model_type", value, expected);
    free(expected);
    return status;
}

/* The model section's name of an activation that the option `key` may be; NULL: none. */
static const char *own_activation(const char *key, const char *name) {
    const char *choices = km_option_choices(km_section_option(&km_model_section, key));
    for (size_t i = 0; name != NULL && i < KM_COUNT(ACTIVATIONS); i++) {
        if (strcmp(name, ACTIVATIONS[i][0]) == 0 && strstr(choices, ACTIVATIONS[i][1]) != NULL) {
            return ACTIVATIONS[i][1];
        }
    }
    return NULL;
}

static km_status read_activation(km_json *model, const km_json *json, const km_interchange *files,
                                 const char *path) {
    const km_json *value = km_json_get(json, files->activation);
    const char *own = absent(value) ? "gelu" : own_activation(files->activation, km_json_string(value));
    if (own == NULL) {
        const bool relu = own_activation(files->activation, "relu") != NULL;
        return refuse(path, files->activation, value,
                      relu ? "gelu (exact), gelu_new (by tanh), relu or another name of these"
                           : "gelu (exact), gelu_new (by tanh) or another name of these two");
    }
    km_json_set_string(model, files->activation, own);
    return KM_OK;
}

/* Whether null stands for -1, no token, rather than for what is taken where the key is absent. */
static bool may_be_none(const km_option *option) {
    return option->range != NULL && option->range[0] == '-';
}

static bool push_id(km_json *ids, const km_json *value) {
    double id = 0;
    const bool good = km_json_number(&id, value);
    km_json_push_number(ids, id);
    return good;
}

/* An id or a list of ids becomes a list. */
static km_status read_ids(km_json *model, const km_interchange_number *n, const km_json *value, const char *path) {
    km_json *ids = km_json_array();
    bool good = true;
    if (absent(value)) {
        km_json_push_number(ids, n->standard);
    } else if (km_json_is_array(value)) {
        for (const km_json *item = km_json_first(value); item != NULL; item = km_json_next(item)) {
            good = push_id(ids, item) && good;
        }
    } else {
        good = push_id(ids, value);
    }
    good = good && km_json_size(ids) > 0;
    km_json_set(model, n->key, ids);
    return good ? KM_OK : refuse(path, n->key, value, "an id or a list of ids");
}

static bool is_of_generation(const km_interchange *files, const km_interchange_number *n) {
    const char *const *key = files->generation;
    while (key != NULL && *key != NULL && strcmp(*key, n->key) != 0) {
        key++;
    }
    return key != NULL && *key != NULL;
}

/* Which of the two files says what a number is: of how text is generated, generation_config.json, where the folder has one. A token
 * that it does not name is not forced, whatever config.json says. */
static const km_json *source_of(const km_interchange_number *n, const km_option *option, const km_model_files *in,
                                const km_interchange *files, const char **path) {
    const bool generation = in->generation != NULL && is_of_generation(files, n) &&
                            (may_be_none(option) || !absent(km_json_get(in->generation, n->key)));
    *path = generation ? in->generation_path : in->config_path;
    return generation ? in->generation : in->config;
}

static km_status read_number(km_json *model, const km_model_files *in, const km_interchange *files,
                             const km_interchange_number *n) {
    const km_option *option = km_section_option(&km_model_section, n->key);
    const char *path = NULL;
    const km_json *json = source_of(n, option, in, files, &path), *value = km_json_get(json, n->key);
    const bool none = value != NULL || json == in->generation; /* rather than what config.json's absent keys are */
    if (option->kind == KM_NUMBER_LIST) {
        return read_ids(model, n, value, path);
    }
    double number = none && may_be_none(option) ? -1 : n->standard;
    bool on = number > 0;
    if (option->kind == KM_FLAG) {
        if (!absent(value) && !km_json_boolean(&on, value)) {
            return refuse(path, n->key, value, "true or false");
        }
        km_json_set_boolean(model, n->key, on);
        return KM_OK;
    }
    if (!absent(value) && !km_json_number(&number, value)) {
        return refuse(path, n->key, value, "a number");
    }
    km_json_set_number(model, n->key, number);
    return KM_OK;
}

/* Training shifts targets by config.json's id; generation begins with the same. */
static void warn_of_start(const km_json *model, const km_model_files *in) {
    static const char key[] = "decoder_start_token_id";
    double own = 0, other = 0;
    if (km_json_number(&own, km_json_get(model, key)) && km_json_number(&other, km_json_get(in->generation, key)) &&
        fabs(own - other) > 0) {
        km_warn("%s: %s is %.0f, and %.0f in config.json, which counts", in->generation_path, key, other, own);
    }
}

static km_status read_numbers(km_json *model, const km_model_files *in, const km_interchange *files) {
    for (const km_interchange_number *n = files->numbers; n->key != NULL; n++) {
        KM_TRY(read_number(model, in, files, n));
    }
    warn_of_start(model, in);
    return KM_OK;
}

/* The default length of a row, for evaluation: 128 tokens, or the number of positions where the model has fewer. */
static int64_t length_of(const km_json *model) {
    double positions = 0, pad = 0;
    const char *why = NULL;
    (void)km_json_number(&positions, km_json_get(model, "max_position_embeddings"));
    (void)km_json_number(&pad, km_json_get(model, "pad_token_id"));
    const double most = 0x1p53;
    km_model_config config = {.max_position_embeddings = (int64_t)KM_MAX(-most, KM_MIN(positions, most)),
                              .pad_token_id = (int64_t)KM_MAX(-most, KM_MIN(pad, most))};
    snprintf(config.type, sizeof config.type, "%s", km_json_string(km_json_get(model, "type")));
    const int64_t room = KM_MIN(km_model_longest(&config), km_model_usual_longest(&config, &why));
    return KM_MAX(3, KM_MIN(128, room));
}

static km_status check_generation(const km_model_files *in) {
    if (in->generation == NULL) {
        return KM_OK;
    }
    return km_json_is_object(in->generation)
               ? check_keys(in->generation, in->generation_path)
               : km_fail(KM_FAILED, "%s: not a JSON object, expected how a model generates.", in->generation_path);
}

static km_status read_model(km_json *model, const km_model_files *in) {
    const km_json *json = in->config;
    const char *path = in->config_path;
    const km_architecture *architecture = NULL;
    double hidden = 0;
    KM_TRY(check_keys(json, path));
    KM_TRY(check_generation(in));
    KM_TRY(read_type(&architecture, json, path));
    const km_interchange *files = km_architecture_files(architecture);
    KM_TRY(check_texts(json, path));
    KM_TRY(check_switches(json, files, path));
    km_json_set_string(model, "type", files->type);
    KM_TRY(read_numbers(model, in, files));
    (void)km_json_number(&hidden, km_json_get(model, files->width));
    KM_TRY(check_embedding_size(json, files->width, hidden, path));
    return read_activation(model, json, files, path);
}

km_status km_model_json_read(km_model_config *out, int64_t *length, const km_model_files *files) {
    if (!km_json_is_object(files->config)) {
        return km_fail(KM_FAILED, "%s: not a JSON object, expected a model's config.json.", files->config_path);
    }
    km_json *model = km_json_object(), *config = km_json_object();
    km_status status = read_model(model, files);
    km_json_set(config, "model", model);
    if (status == KM_OK) {
        *length = length_of(model);
        char *text = km_json_print(config, false);
        status = km_shape_parse(out, text, *length, files->config_path) == KM_OK
                     ? KM_OK
                     : KM_FAILED; /* ranges, sizes that fit */
        free(text);
    }
    km_json_destroy(config);
    return status;
}

/* ---- Classifiers ---- */

/* The name of a label; "LABEL_0" and so on where config.json does not name it, as in HuggingFace transformers. */
static void push_labels(km_json *names, const km_json *by_number, int count) {
    for (int i = 0; i < count; i++) {
        char key[16], standard[32];
        snprintf(key, sizeof key, "%d", i);
        snprintf(standard, sizeof standard, "LABEL_%d", i);
        const char *name = km_json_string(km_json_get(by_number, key));
        km_json_push_string(names, name != NULL ? name : standard);
    }
}

/* Reads the number of labels; 2 where config.json does not say it, as in HuggingFace transformers. */
static int count_labels(const km_json *json) {
    const km_json *by_number = km_json_get(json, "id2label");
    const double given = km_json_number_or(json, "num_labels", 2);
    return by_number != NULL ? (int)km_json_size(by_number) : (int)KM_MAX(0, KM_MIN(given, 1 << 20));
}

km_status km_model_json_classifier(char **classifier, km_head_kind *head, km_model_config *shape,
                                   const km_json *json, const char *path) {
    const km_architecture *architecture = km_architecture_named(shape->type);
    const char *own = km_architecture_class(architecture, KM_HEAD_CLASSES);
    const char *named = km_json_string(km_json_first(km_json_get(json, "architectures")));
    if (own == NULL || named == NULL || strcmp(own, named) != 0) {
        return KM_OK;
    }
    const km_json *type = km_json_get(json, "problem_type"), *dropout = km_json_get(json, "classifier_dropout");
    const int count = count_labels(json);
    if (!absent(type) && strcmp(km_json_text(json, "problem_type"), "multi_label_classification") == 0) {
        return refuse(path, "problem_type", type, "one label, or one number, for each text");
    }
    *head = KM_HEAD_CLASSES;
    shape->num_labels = count;
    shape->has_classifier_dropout = km_json_number(&shape->classifier_dropout, dropout);
    km_json *out = km_json_object(), *names = km_json_array();
    push_labels(names, km_json_get(json, "id2label"), count);
    km_json_set_number(out, "num_labels", count);
    km_json_set(out, "labels", names);
    km_json_set_string(out, "problem_type", count == 1 ? "regression" : "single_label_classification");
    if (shape->has_classifier_dropout) {
        km_json_set_number(out, "classifier_dropout", shape->classifier_dropout);
    }
    *classifier = km_json_print(out, false);
    km_json_destroy(out);
    return KM_OK;
}

/* ---- Writing ---- */

/* One id as a number, several as a list. */
static void write_ids(km_json *json, const char *key, const km_numbers *ids) {
    if (ids->count == 1) {
        km_json_set_number(json, key, (double)ids->list[0]);
        return;
    }
    km_json *list = km_json_array();
    for (int i = 0; i < ids->count; i++) {
        km_json_push_number(list, (double)ids->list[i]);
    }
    km_json_set(json, key, list);
}

static void write_number(km_json *json, const km_model_config *model, const km_interchange_number *n) {
    const km_option *option = km_section_option(&km_model_section, n->key);
    double value = NAN;
    (void)km_model_number(&value, model, n->key);
    if (option->kind == KM_NUMBER_LIST) {
        write_ids(json, n->key, km_model_numbers(model, n->key));
    } else if (option->kind == KM_FLAG) {
        km_json_set_boolean(json, n->key, value > 0);
    } else if (value < 0 && may_be_none(option)) {
        km_json_set_number(json, n->key, NAN); /* null */
    } else if (option->kind == KM_DOUBLE) {
        km_json_set_decimal(json, n->key, value);
    } else {
        km_json_set_number(json, n->key, value);
    }
}

/* What an imported config.json says of generation stays: generation_config.json says what counts. */
static void write_numbers(km_json *json, const km_model_config *model, const km_interchange *files) {
    for (const km_interchange_number *n = files->numbers; n->key != NULL; n++) {
        if (!is_of_generation(files, n) || km_json_get(json, n->key) == NULL) {
            write_number(json, model, n);
        }
    }
}

static void set_default(km_json *json, const char *key, int64_t value) {
    if (km_json_get(json, key) == NULL && value >= 0) {
        km_json_set_number(json, key, (double)value);
    }
}

/* Writes id2label and label2id, as HuggingFace transformers does. */
static void write_labels(km_json *json, const char *classifier) {
    km_json *own = NULL, *names = km_json_object(), *numbers = km_json_object();
    if (km_json_parse(&own, classifier, strlen(classifier), "classifier") != KM_OK) {
        own = km_json_object(); /* a bundle's text is always JSON */
    }
    int number = 0;
    const km_json *labels = km_json_get(own, "labels");
    for (const km_json *label = km_json_first(labels); label != NULL; label = km_json_next(label)) {
        char key[16];
        snprintf(key, sizeof key, "%d", number);
        km_json_set_string(names, key, km_json_string(label));
        km_json_set_number(numbers, km_json_string(label), number++);
    }
    km_json_set(json, "id2label", names);
    km_json_set(json, "label2id", numbers);
    km_json_set_string(json, "problem_type", km_json_text(own, "problem_type"));
    km_json_destroy(own);
}

void km_model_json_write(km_json *json, const km_model_config *model, km_specials specials, const char *dtype,
                         const char *classifier) {
    const km_architecture *architecture = km_architecture_named(model->type);
    const km_interchange *files = km_architecture_files(architecture);
    const char *activation =
        own_activation(files->activation, km_json_string(km_json_get(json, files->activation)));
    const char *own = km_model_text(model, files->activation);
    km_json *architectures = km_json_array();
    const km_head_kind head = classifier != NULL ? KM_HEAD_CLASSES : KM_HEAD_TOKENS;
    km_json_push_string(architectures, km_architecture_class(architecture, head));
    km_json_set(json, "architectures", architectures);
    km_json_set_string(json, "model_type", model->type);
    write_numbers(json, model, files);
    if (activation == NULL || strcmp(activation, own) != 0) { /* another name for the same function is kept */
        km_json_set_string(json, files->activation, own);
    }
    if (files->is_encoder_decoder) {
        km_json_set_boolean(json, "is_encoder_decoder", true);
    }
    if (files->sequence_ids) {
        set_default(json, "bos_token_id", specials.cls);
        set_default(json, "eos_token_id", specials.sep);
    }
    if (classifier != NULL) {
        write_labels(json, classifier);
    }
    km_json_set_boolean(json, "tie_word_embeddings", true);
    km_json_set_string(json, km_json_get(json, "torch_dtype") != NULL ? "torch_dtype" : "dtype", dtype);
}

void km_generation_json_write(km_json *json, const km_model_config *model, km_specials specials) {
    const km_interchange *files = km_architecture_files(km_architecture_named(model->type));
    for (const km_interchange_number *n = files->numbers; n->key != NULL; n++) {
        if (is_of_generation(files, n)) {
            write_number(json, model, n);
        }
    }
    km_json_set_number(json, "decoder_start_token_id", (double)km_model_decoder_start(model));
    set_default(json, "bos_token_id", specials.cls);
    set_default(json, "pad_token_id", model->pad_token_id);
}
