/* options: the section `model` of a config: presets, what follows from the type, and what must fit together. */
#include "architecture.h"

#include <string.h>

#define AT(member) offsetof(km_model_config, member)
static const km_option model_options[] = {
    {"type", KM_CHOICE, AT(type), NULL, NULL, KM_FIXED, .help = "the architecture",
     .choices = km_architecture_types, .also = "model_type|architecture|architectures|arch"},
    {"preset", KM_CHOICE, AT(preset), NULL, NULL, KM_ORIGIN,
     .help = "type and sizes by name; keys that are given win", .choices = km_architecture_presets,
     .also = "model_size|config_name|size"},
    {"init", KM_FILE, AT(init), NULL, NULL, KM_ORIGIN,
     .help = "weights and all model keys from a checkpoint, model or safetensors folder; only dropout may be given "
             "too",
     .also = "model_name_or_path|model_name|pretrained_model_name_or_path|pretrained|from_pretrained|init_"
             "checkpoint|checkpoint_path|restore_file"},
    {"vocab_size", KM_INT, AT(vocab_size), "1..2147483647", NULL, KM_FIXED,
     .help = "rows of the embedding (default: the tokenizer's pieces)", .also = "vocabulary|num_embeddings"},
    {"hidden_size", KM_INT, AT(hidden_size), "1..65536", NULL, KM_FIXED, .help = "width",
     .also = "n_embd|embed_dim|encoder_embed_dim|dim|width|hidden_dim"},
    {"num_hidden_layers", KM_INT, AT(num_hidden_layers), "1..1000", NULL, KM_FIXED, .help = "layers",
     .also = "num_layers|n_layer|n_layers|layers|depth"},
    {"num_attention_heads", KM_INT, AT(num_attention_heads), "1..1024", NULL, KM_FIXED,
     .help = "heads; they divide hidden_size", .also = "num_heads|n_head|n_heads|heads|attention_heads"},
    {"intermediate_size", KM_INT, AT(intermediate_size), "1..262144", NULL, KM_FIXED,
     .help = "width of the feed-forward part (default: 4 hidden_size)",
     .also = "ffn_dim|ffn_embed_dim|ffn_hidden_size|encoder_ffn_embed_dim|d_ff"},
    {"max_position_embeddings", KM_INT, AT(max_position_embeddings), "3..1048576", NULL, KM_FIXED,
     .help = "positions (default: 512, roberta 514, bart 1024)",
     .also = "max_positions|n_positions|max_source_positions"},
    {"type_vocab_size", KM_INT, AT(type_vocab_size), "1..1024", NULL, KM_FIXED,
     .help = "segment types (default: 2, roberta 1)"},
    {"layer_norm_eps", KM_DOUBLE, AT(layer_norm_eps), ">0..1", NULL, KM_FIXED,
     .help = "added to variances (default: 1e-12, roberta 1e-5)"},
    {"hidden_act", KM_CHOICE, AT(hidden_act), "gelu|gelu_new", NULL, KM_FIXED,
     .help = "gelu: exact (the default), gelu_new: by tanh", .also = "activation|activation_fn"},
    {"hidden_dropout_prob", KM_DOUBLE, AT(hidden_dropout_prob), "0..<1", "0.1", KM_FIXED,
     .help = "dropout of embeddings and of each part's output"},
    {"attention_probs_dropout_prob", KM_DOUBLE, AT(attention_probs_dropout_prob), "0..<1", "0.1", KM_FIXED,
     .help = "dropout of attention weights"},
    {"initializer_range", KM_DOUBLE, AT(initializer_range), "0..10", "0.02", KM_FIXED,
     .help = "standard deviation of initial weights", .also = "init_range|initializer_std"},
    {"pad_token_id", KM_INT, AT(pad_token_id), "0..2147483647", NULL, KM_FIXED,
     .help = "the row that stays zero; RoBERTa's positions start after it (default: the tokenizer's)"},

    {"d_model", KM_INT, AT(d_model), "1..65536", NULL, KM_FIXED, .help = "bart: width"},
    {"encoder_layers", KM_INT, AT(encoder_layers), "1..1000", NULL, KM_FIXED, .help = "bart: the encoder's layers"},
    {"decoder_layers", KM_INT, AT(decoder_layers), "1..1000", NULL, KM_FIXED,
     .help = "bart: the decoder's layers (default: as many as the encoder's)"},
    {"encoder_attention_heads", KM_INT, AT(encoder_attention_heads), "1..1024", NULL, KM_FIXED,
     .help = "bart: the encoder's heads; they divide d_model"},
    {"decoder_attention_heads", KM_INT, AT(decoder_attention_heads), "1..1024", NULL, KM_FIXED,
     .help = "bart: the decoder's heads (default: as many as the encoder's)"},
    {"encoder_ffn_dim", KM_INT, AT(encoder_ffn_dim), "1..262144", NULL, KM_FIXED,
     .help = "bart: width of the encoder's feed-forward parts (default: 4 d_model)"},
    {"decoder_ffn_dim", KM_INT, AT(decoder_ffn_dim), "1..262144", NULL, KM_FIXED,
     .help = "bart: width of the decoder's feed-forward parts (default: 4 d_model)"},
    {"activation_function", KM_CHOICE, AT(activation_function), "gelu|gelu_new|relu", NULL, KM_FIXED,
     .help = "bart: gelu: exact (the default), gelu_new: by tanh"},
    {"dropout", KM_DOUBLE, AT(dropout), "0..<1", "0.1", KM_FIXED,
     .help = "bart: dropout of embeddings and of each part's output"},
    {"attention_dropout", KM_DOUBLE, AT(attention_dropout), "0..<1", "0.1", KM_FIXED,
     .help = "bart: dropout of attention weights"},
    {"activation_dropout", KM_DOUBLE, AT(activation_dropout), "0..<1", "0.1", KM_FIXED,
     .help = "bart: dropout inside the feed-forward part"},
    {"init_std", KM_DOUBLE, AT(init_std), "0..10", "0.02", KM_FIXED,
     .help = "bart: standard deviation of initial weights"},
    {"scale_embedding", KM_FLAG, AT(scale_embedding), NULL, "false", KM_FIXED,
     .help = "bart: word embeddings are multiplied by the root of d_model"},
    {"decoder_start_token_id", KM_INT, AT(decoder_start_token_id), "0..2147483647", NULL, KM_FIXED,
     .help = "bart: what the decoder's input begins with (default: the tokenizer's </s>)"},
    {"forced_bos_token_id", KM_INT, AT(forced_bos_token_id), "-1..2147483647", NULL, KM_FIXED,
     .help = "bart: what generated text begins with, -1: anything (the default)"},
    {"forced_eos_token_id", KM_INT, AT(forced_eos_token_id), "-1..2147483647", NULL, KM_FIXED,
     .help =
         "bart: what generated text of the largest length ends with, -1: anything (default: the tokenizer's </s>)"},
    {"eos_token_id", KM_NUMBER_LIST, AT(eos_token_id), "0..2147483647", NULL, KM_FIXED,
     .help = "bart: what ends generated text, one id or up to 8 (default: the tokenizer's </s>)"},
};
#undef AT

static bool is(const char *word, const char *other) {
    return strcmp(word, other) == 0;
}

static bool is_one(const char *word, const char *const *list) {
    for (; *list != NULL; list++) {
        if (is(word, *list)) {
            return true;
        }
    }
    return false;
}

/* ---- Which options an architecture has ---- */

static bool has(const km_architecture *architecture, const char *name) {
    const char *const all[] = {"type", "preset", "init", architecture->files.activation, NULL};
    for (const km_interchange_number *n = architecture->files.numbers; n->key != NULL; n++) {
        if (is(name, n->key)) {
            return true;
        }
    }
    return is_one(name, all);
}

/* Before there is a type all options may matter. */
static bool concerns(const void *values, const km_option *option) {
    const km_architecture *architecture = km_architecture_named(((const km_model_config *)values)->type);
    return architecture == NULL || has(architecture, option->name);
}

_Static_assert(offsetof(km_model_config, given) == 0 && KM_COUNT(model_options) <= 64, "given has 64 bits");
const km_section km_model_section = {.name = "model",
                                     .options = model_options,
                                     .count = KM_COUNT(model_options),
                                     .size = sizeof(km_model_config),
                                     .concerns = concerns};

bool km_model_number(double *out, const km_model_config *config, const char *name) {
    const km_option *option = km_section_option(&km_model_section, name);
    const char *value = option == NULL ? NULL : (const char *)config + option->place;
    int64_t number = 0;
    switch (option == NULL ? KM_CHOICE : option->kind) {
    case KM_INT:
        memcpy(&number, value, sizeof number);
        *out = (double)number;
        return true;
    case KM_DOUBLE:
        memcpy(out, value, sizeof *out);
        return true;
    case KM_FLAG:
        *out = *(const bool *)value;
        return true;
    default:
        return false;
    }
}

const char *km_model_text(const km_model_config *config, const char *name) {
    const km_option *option = km_section_option(&km_model_section, name);
    return option == NULL || option->kind != KM_CHOICE ? NULL : (const char *)config + option->place;
}

const km_numbers *km_model_numbers(const km_model_config *config, const char *name) {
    const km_option *option = km_section_option(&km_model_section, name);
    return option == NULL || option->kind != KM_NUMBER_LIST
               ? NULL
               : (const km_numbers *)(const void *)((const char *)config + option->place);
}

/* ---- What follows ---- */

void km_model_resolve(km_model_config *model) {
    if (model->init[0] == '\0') {
        km_model_config_fill(model);
    }
}

static void take_token(km_model_config *model, const char *name, int64_t *field, int64_t id) {
    if (!km_given(&km_model_section, model, name)) {
        *field = id;
    }
}

void km_model_take_tokens(km_model_config *model, int32_t pad, int32_t last) {
    take_token(model, "pad_token_id", &model->pad_token_id, pad);
    take_token(model, "decoder_start_token_id", &model->decoder_start_token_id, last);
    take_token(model, "forced_bos_token_id", &model->forced_bos_token_id, -1);
    take_token(model, "forced_eos_token_id", &model->forced_eos_token_id, last);
    if (model->eos_token_id.count == 0) {
        model->eos_token_id = (km_numbers){.list = {last}, .count = 1};
    }
}

/* ---- What must be given ---- */

/* Whether it is a share of dropout of any architecture. */
static bool is_dropout(const char *name) {
    for (int i = 0; km_architecture_at(i) != NULL; i++) {
        if (is_one(name, km_architecture_at(i)->dropouts)) {
            return true;
        }
    }
    return false;
}

km_status km_model_take_dropout(km_model_config *config, const km_model_config *given) {
    for (int i = 0; i < km_model_section.count; i++) {
        const km_option *option = &model_options[i];
        if (!is_dropout(option->name) || !km_given(&km_model_section, given, option->name)) {
            continue;
        }
        if (!concerns(config, option)) {
            return km_fail(KM_USAGE, "model.%s: given, but the model in %s is of type %s, which has no such key.",
                           option->name, given->init, config->type);
        }
        memcpy((char *)config + option->place, (const char *)given + option->place, sizeof(double));
    }
    return KM_OK;
}

static km_status check_init(const km_model_config *model) {
    for (int i = 0; i < km_model_section.count; i++) {
        const char *name = km_model_section.options[i].name;
        if (!is(name, "init") && !is_dropout(name) && km_given(&km_model_section, model, name)) {
            return km_fail(KM_USAGE,
                           "model.%s: given together with model.init (%s), from which all model keys come; only "
                           "shares of dropout may be given too. Leave it out.",
                           name, model->init);
        }
    }
    return KM_OK;
}

km_status km_model_config_check_given(const km_model_config *model) {
    const km_architecture *architecture = km_architecture_named(model->type);
    if (model->init[0] != '\0') {
        return check_init(model);
    }
    if (model->preset[0] != '\0') {
        return KM_OK;
    }
    if (architecture == NULL) {
        return km_fail(KM_USAGE, "model: none of model.type, model.preset and model.init is given, expected one. "
                                 "Try `--set model.preset=tiny`.");
    }
    for (int i = 0; architecture->required[i] != NULL; i++) {
        if (!km_given(&km_model_section, model, architecture->required[i])) {
            return km_fail(KM_USAGE,
                           "model.%s: missing; without model.preset or model.init the sizes must be given",
                           architecture->required[i]);
        }
    }
    return KM_OK;
}

/* ---- What must fit together ---- */

/* Keys of another architecture. */
static km_status check_keys(const km_model_config *model) {
    for (int i = 0; i < km_model_section.count; i++) {
        const km_option *option = &model_options[i];
        if (km_given(&km_model_section, model, option->name) && !concerns(model, option)) {
            return km_fail(KM_USAGE, "model.%s: given, but model.type is %s, which has no such key. Leave it out.",
                           option->name, model->type);
        }
    }
    return KM_OK;
}

static km_status check_heads(const char *width_key, int64_t width, const char *heads_key, int64_t heads) {
    return width == 0 || heads == 0 || width % heads == 0
               ? KM_OK
               : km_fail(KM_USAGE, "model.%s: found %lld, expected a multiple of the %lld model.%s", width_key,
                         (long long)width, (long long)heads, heads_key);
}

km_status km_model_config_check(const km_model_config *model, int64_t length) {
    const char *why = "";
    KM_TRY(check_keys(model));
    KM_TRY(check_heads("hidden_size", model->hidden_size, "num_attention_heads", model->num_attention_heads));
    KM_TRY(check_heads("d_model", model->d_model, "encoder_attention_heads", model->encoder_attention_heads));
    KM_TRY(check_heads("d_model", model->d_model, "decoder_attention_heads", model->decoder_attention_heads));
    int64_t room = km_architecture_named(model->type) == NULL ? model->max_position_embeddings
                                                              : km_model_usual_longest(model, &why);
    if (model->max_position_embeddings > 0 && length > room) {
        return km_fail(KM_USAGE,
                       "data.length: found %lld, expected at most %lld: model.max_position_embeddings "
                       "is %lld%s",
                       (long long)length, (long long)room, (long long)model->max_position_embeddings, why);
    }
    return KM_OK;
}
