#include "model_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What transformers' classes take where the file says nothing. */
static const struct {
    const char *key;
    double bert, roberta;
} NUMBERS[] = {
    {"vocab_size", 30522, 50265},      {"hidden_size", 768, 768},
    {"num_hidden_layers", 12, 12},     {"num_attention_heads", 12, 12},
    {"intermediate_size", 3072, 3072}, {"max_position_embeddings", 512, 512},
    {"type_vocab_size", 2, 2},         {"layer_norm_eps", 1e-12, 1e-12},
    {"hidden_dropout_prob", 0.1, 0.1}, {"attention_probs_dropout_prob", 0.1, 0.1},
    {"initializer_range", 0.02, 0.02}, {"pad_token_id", 0, 1},
};

/* transformers' names for the two functions. */
static const char *const ACTIVATIONS[][2] = {
    {"gelu", "gelu"},
    {"gelu_python", "gelu"},
    {"gelu_new", "gelu_new"},
    {"gelu_pytorch_tanh", "gelu_new"},
    {"gelu_python_tanh", "gelu_new"},
    {"gelu_fast", "gelu_new"},
    {"gelu_accurate", "gelu_new"},
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

/* Of a key that stands twice one reader takes the first value, another one the last. */
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

static km_status check_switches(const km_json *json, const char *path) {
    static const struct {
        const char *key;
        bool fine;
        const char *expected;
    } switches[] = {
        {"tie_word_embeddings", true, "true: kmask's output weights are the word embeddings"},
        {"is_decoder", false, "false: an encoder that sees both sides"},
        {"add_cross_attention", false, "false: an encoder alone"},
        {"is_encoder_decoder", false, "false: an encoder alone"},
    };
    for (size_t i = 0; i < KM_COUNT(switches); i++) {
        const km_json *value = km_json_get(json, switches[i].key);
        bool found = switches[i].fine;
        if (!absent(value) && (!km_json_boolean(&found, value) || found != switches[i].fine)) {
            return refuse(path, switches[i].key, value, switches[i].expected);
        }
    }
    return KM_OK;
}

static km_status check_embedding_size(const km_json *json, double hidden, const char *path) {
    const km_json *value = km_json_get(json, "embedding_size");
    double size = hidden;
    if (!absent(value) && (!km_json_number(&size, value) || fabs(size - hidden) > 0)) {
        return refuse(path, "embedding_size", value, "the same as hidden_size");
    }
    return KM_OK;
}

/* ---- Reading ---- */

static bool names_architecture(const km_json *json, const char *with) {
    const char *first = km_json_string(km_json_first(km_json_get(json, "architectures")));
    return first != NULL && strncmp(first, with, strlen(with)) == 0;
}

/* Files of 2018 and 2019 have no model_type: their architectures say it. */
static km_status read_type(const char **out, const km_json *json, const char *path) {
    const km_json *value = km_json_get(json, "model_type");
    const char *type = km_json_string(value);
    if (absent(value)) {
        type = names_architecture(json, "Bert") ? "bert" : names_architecture(json, "Roberta") ? "roberta" : NULL;
        if (type == NULL) {
            return km_fail(KM_FAILED, "%s: has no model_type, expected \"bert\" or \"roberta\".", path);
        }
    }
    if (type == NULL || (strcmp(type, "bert") != 0 && strcmp(type, "roberta") != 0)) {
        return refuse(path, "model_type", value, "\"bert\" or \"roberta\"");
    }
    *out = strcmp(type, "bert") == 0 ? "bert" : "roberta";
    return KM_OK;
}

static const char *own_activation(const char *name) {
    for (size_t i = 0; name != NULL && i < KM_COUNT(ACTIVATIONS); i++) {
        if (strcmp(name, ACTIVATIONS[i][0]) == 0) {
            return ACTIVATIONS[i][1];
        }
    }
    return NULL;
}

static km_status read_activation(km_json *model, const km_json *json, const char *path) {
    const km_json *value = km_json_get(json, "hidden_act");
    const char *own = absent(value) ? "gelu" : own_activation(km_json_string(value));
    if (own == NULL) {
        return refuse(path, "hidden_act", value, "gelu (exact), gelu_new (by tanh) or another name of these two");
    }
    km_json_set_string(model, "hidden_act", own);
    return KM_OK;
}

static km_status read_numbers(km_json *model, const km_json *json, bool roberta, const char *path) {
    for (size_t i = 0; i < KM_COUNT(NUMBERS); i++) {
        double number = roberta ? NUMBERS[i].roberta : NUMBERS[i].bert;
        const km_json *value = km_json_get(json, NUMBERS[i].key);
        if (!absent(value) && !km_json_number(&number, value)) {
            return refuse(path, NUMBERS[i].key, value, "a number");
        }
        km_json_set_number(model, NUMBERS[i].key, number);
    }
    return KM_OK;
}

/* Rows of 128 tokens are the default for evaluating, or as many as there are positions. */
static km_json *data_section(const km_json *model, bool roberta) {
    double positions = 0, pad = 0;
    (void)km_json_number(&positions, km_json_get(model, "max_position_embeddings"));
    (void)km_json_number(&pad, km_json_get(model, "pad_token_id"));
    double room = roberta ? positions - KM_MAX(2, pad + 1) : positions;
    km_json *data = km_json_object();
    km_json_set_number(data, "length", KM_MAX(3, KM_MIN(128, room)));
    return data;
}

static km_status read_model(km_json *model, const km_json *json, const char *path) {
    const char *type = NULL;
    double hidden = 0;
    KM_TRY(check_keys(json, path));
    KM_TRY(read_type(&type, json, path));
    KM_TRY(check_texts(json, path));
    KM_TRY(check_switches(json, path));
    km_json_set_string(model, "type", type);
    KM_TRY(read_numbers(model, json, strcmp(type, "roberta") == 0, path));
    (void)km_json_number(&hidden, km_json_get(model, "hidden_size"));
    KM_TRY(check_embedding_size(json, hidden, path));
    return read_activation(model, json, path);
}

km_status km_model_json_read(km_config *out, const km_json *json, const char *path) {
    if (!km_json_is_object(json)) {
        return km_fail(KM_FAILED, "%s: not a JSON object, expected a model's config.json.", path);
    }
    km_json *model = km_json_object(), *config = km_json_object();
    km_status status = read_model(model, json, path);
    bool roberta = status == KM_OK && strcmp(km_json_string(km_json_get(model, "type")), "roberta") == 0;
    if (status == KM_OK) {
        km_json_set(config, "data", data_section(model, roberta));
    }
    km_json_set(config, "model", model);
    if (status == KM_OK) {
        char *text = km_json_print(config, false);
        status = km_config_parse(out, text, path) == KM_OK ? KM_OK : KM_FAILED; /* ranges, sizes that fit */
        free(text);
    }
    km_json_destroy(config);
    return status;
}

/* ---- Writing ---- */

static void write_sizes(km_json *json, const km_model_config *m) {
    km_json_set_number(json, "vocab_size", (double)m->vocab_size);
    km_json_set_number(json, "hidden_size", (double)m->hidden_size);
    km_json_set_number(json, "num_hidden_layers", (double)m->num_hidden_layers);
    km_json_set_number(json, "num_attention_heads", (double)m->num_attention_heads);
    km_json_set_number(json, "intermediate_size", (double)m->intermediate_size);
    km_json_set_number(json, "max_position_embeddings", (double)m->max_position_embeddings);
    km_json_set_number(json, "type_vocab_size", (double)m->type_vocab_size);
    km_json_set_number(json, "layer_norm_eps", m->layer_norm_eps);
    km_json_set_number(json, "hidden_dropout_prob", m->hidden_dropout_prob);
    km_json_set_number(json, "attention_probs_dropout_prob", m->attention_probs_dropout_prob);
    km_json_set_number(json, "initializer_range", m->initializer_range);
    km_json_set_number(json, "pad_token_id", (double)m->pad_token_id);
}

static void set_default(km_json *json, const char *key, int64_t value) {
    if (km_json_get(json, key) == NULL && value >= 0) {
        km_json_set_number(json, key, (double)value);
    }
}

void km_model_json_write(km_json *json, const km_model_config *model, km_specials specials, const char *dtype) {
    bool roberta = strcmp(model->type, "roberta") == 0;
    const char *activation = own_activation(km_json_string(km_json_get(json, "hidden_act")));
    km_json *architectures = km_json_array();
    km_json_push_string(architectures, roberta ? "RobertaForMaskedLM" : "BertForMaskedLM");
    km_json_set(json, "architectures", architectures);
    km_json_set_string(json, "model_type", model->type);
    write_sizes(json, model);
    if (activation == NULL ||
        strcmp(activation, model->hidden_act) != 0) { /* else its own name for the same stays */
        km_json_set_string(json, "hidden_act", model->hidden_act);
    }
    if (roberta) { /* BERT's config has neither */
        set_default(json, "bos_token_id", specials.cls);
        set_default(json, "eos_token_id", specials.sep);
    }
    km_json_set_boolean(json, "tie_word_embeddings", true);
    km_json_set_string(json, km_json_get(json, "torch_dtype") != NULL ? "torch_dtype" : "dtype", dtype);
}
