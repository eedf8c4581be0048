/* options: the section `model` of a config: presets, what follows from the type, and what must fit together. */
#include "kmask/model.h"

#include <string.h>

#define AT(member) offsetof(km_model_config, member)
static const km_option model_options[] = {
    {"type", KM_CHOICE, AT(type), NULL, NULL, KM_FIXED, .help = "the architecture",
     .choices = km_architecture_types, .planned = "bart"},
    {"preset", KM_CHOICE, AT(preset), NULL, NULL, KM_ORIGIN,
     .help = "type and sizes by name; keys that are given win", .choices = km_architecture_presets},
    {"init", KM_FILE, AT(init), NULL, NULL, KM_ORIGIN,
     .help = "weights and all model keys from a checkpoint, model or safetensors folder; only dropout may be given "
             "too"},
    {"vocab_size", KM_INT, AT(vocab_size), "1..2147483647", NULL, KM_FIXED,
     .help = "rows of the embedding (default: the tokenizer's pieces)"},
    {"hidden_size", KM_INT, AT(hidden_size), "1..65536", NULL, KM_FIXED, .help = "width"},
    {"num_hidden_layers", KM_INT, AT(num_hidden_layers), "1..1000", NULL, KM_FIXED, .help = "layers"},
    {"num_attention_heads", KM_INT, AT(num_attention_heads), "1..1024", NULL, KM_FIXED,
     .help = "heads; they divide hidden_size"},
    {"intermediate_size", KM_INT, AT(intermediate_size), "1..262144", NULL, KM_FIXED,
     .help = "width of the feed-forward part (default: 4 hidden_size)"},
    {"max_position_embeddings", KM_INT, AT(max_position_embeddings), "3..1048576", NULL, KM_FIXED,
     .help = "positions (default: 512, roberta 514)"},
    {"type_vocab_size", KM_INT, AT(type_vocab_size), "1..1024", NULL, KM_FIXED,
     .help = "segment types (default: 2, roberta 1)"},
    {"layer_norm_eps", KM_DOUBLE, AT(layer_norm_eps), ">0..1", NULL, KM_FIXED,
     .help = "added to variances (default: 1e-12, roberta 1e-5)"},
    {"hidden_act", KM_CHOICE, AT(hidden_act), "gelu|gelu_new", NULL, KM_FIXED,
     .help = "gelu: exact (the default), gelu_new: by tanh"},
    {"hidden_dropout_prob", KM_DOUBLE, AT(hidden_dropout_prob), "0..<1", "0.1", KM_FIXED,
     .help = "dropout of embeddings and of each part's output"},
    {"attention_probs_dropout_prob", KM_DOUBLE, AT(attention_probs_dropout_prob), "0..<1", "0.1", KM_FIXED,
     .help = "dropout of attention weights"},
    {"initializer_range", KM_DOUBLE, AT(initializer_range), "0..10", "0.02", KM_FIXED,
     .help = "standard deviation of initial weights"},
    {"pad_token_id", KM_INT, AT(pad_token_id), "0..2147483647", NULL, KM_FIXED,
     .help = "the row that stays zero; RoBERTa's positions start after it (default: the tokenizer's)"},
};
#undef AT
KM_SECTION(km_model_section, "model", km_model_config, model_options);

static bool is(const char *word, const char *other) {
    return strcmp(word, other) == 0;
}

void km_model_resolve(km_model_config *model) {
    if (model->init[0] == '\0') {
        km_model_config_fill(model);
    }
}

/* ---- What must be given ---- */

static km_status check_init(const km_model_config *model) {
    static const char *const fine[] = {"init", "hidden_dropout_prob", "attention_probs_dropout_prob"};
    for (int i = 0; i < km_model_section.count; i++) {
        const char *name = km_model_section.options[i].name;
        bool allowed = false;
        for (size_t f = 0; f < KM_COUNT(fine); f++) {
            allowed = allowed || is(name, fine[f]);
        }
        if (!allowed && km_given(&km_model_section, model, name)) {
            return km_fail(KM_USAGE,
                           "model.%s: given together with model.init (%s), from which all model keys come; only "
                           "hidden_dropout_prob and attention_probs_dropout_prob may be given too. Leave it out.",
                           name, model->init);
        }
    }
    return KM_OK;
}

km_status km_model_config_check_given(const km_model_config *model) {
    static const char *const sizes[] = {"hidden_size", "num_hidden_layers", "num_attention_heads"};
    if (model->init[0] != '\0') {
        return check_init(model);
    }
    if (model->preset[0] != '\0') {
        return KM_OK;
    }
    if (model->type[0] == '\0') {
        return km_fail(KM_USAGE, "model: none of model.type, model.preset and model.init is given, expected one. "
                                 "Try `--set model.preset=tiny`.");
    }
    for (size_t i = 0; i < KM_COUNT(sizes); i++) {
        if (!km_given(&km_model_section, model, sizes[i])) {
            return km_fail(KM_USAGE,
                           "model.%s: missing; without model.preset or model.init the sizes must be given",
                           sizes[i]);
        }
    }
    return KM_OK;
}

/* ---- What must fit together ---- */

km_status km_model_config_check(const km_model_config *model, int64_t length) {
    if (model->hidden_size > 0 && model->num_attention_heads > 0 &&
        model->hidden_size % model->num_attention_heads != 0) {
        return km_fail(KM_USAGE,
                       "model.hidden_size: found %lld, expected a multiple of the %lld "
                       "model.num_attention_heads",
                       (long long)model->hidden_size, (long long)model->num_attention_heads);
    }
    const char *why = "";
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
