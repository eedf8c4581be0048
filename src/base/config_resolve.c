/* What follows from other keys, and what must fit together. */
#include "config_option.h"

#include <string.h>

static bool is(const char *word, const char *other) {
    return strcmp(word, other) == 0;
}

/* ---- Presets and defaults ---- */

typedef struct preset {
    const char *name, *type;
    int64_t hidden_size, layers, heads, intermediate_size;
} preset;

/* What else differs between bert and roberta follows from the type. */
static const preset presets[] = {
    {"tiny", "bert", 128, 2, 2, 512},
    {"small", "bert", 256, 4, 4, 1024},
    {"bert-base", "bert", 768, 12, 12, 3072},
    {"bert-large", "bert", 1024, 24, 16, 4096},
    {"roberta-base", "roberta", 768, 12, 12, 3072},
};

static void fill(int64_t *field, int64_t value) {
    *field = *field == 0 ? value : *field;
}

static void fill_word(char field[KM_WORD], const char *word) {
    if (field[0] == '\0') {
        memcpy(field, word, strlen(word));
    }
}

static void apply_preset(km_model_config *model) {
    for (size_t i = 0; i < KM_COUNT(presets); i++) {
        if (is(model->preset, presets[i].name)) {
            fill_word(model->type, presets[i].type);
            fill(&model->hidden_size, presets[i].hidden_size);
            fill(&model->num_hidden_layers, presets[i].layers);
            fill(&model->num_attention_heads, presets[i].heads);
            fill(&model->intermediate_size, presets[i].intermediate_size);
        }
    }
}

static void apply_type(km_model_config *model) {
    if (model->type[0] == '\0') {
        return;
    }
    bool roberta = is(model->type, "roberta");
    fill(&model->intermediate_size, 4 * model->hidden_size);
    fill(&model->max_position_embeddings, roberta ? 514 : 512);
    fill(&model->type_vocab_size, roberta ? 1 : 2);
    fill_word(model->hidden_act, "gelu");
    if (model->layer_norm_eps == 0) {
        model->layer_norm_eps = roberta ? 1e-5 : 1e-12;
    }
}

void km_config_resolve(km_config *config) {
    if (config->model.init[0] == '\0') {
        apply_preset(&config->model);
        apply_type(&config->model);
    }
    fill(&config->train.micro_batch, KM_MAX(1, 1024 / config->data.length));
    if (is(config->train.loss_norm, "masks") && !km_config_given(config, "optimizer.clip")) {
        config->optimizer.clip = 0; /* such gradients are about tau times larger */
    }
}

/* ---- What must be given ---- */

static km_status check_init(const km_config *config) {
    static const char *const fine[] = {"model.init", "model.hidden_dropout_prob",
                                       "model.attention_probs_dropout_prob"};
    for (int i = 0; i < km_option_count; i++) {
        const char *key = km_options[i].key;
        bool allowed = strncmp(key, "model.", 6) != 0;
        for (size_t f = 0; f < KM_COUNT(fine); f++) {
            allowed = allowed || is(key, fine[f]);
        }
        if (!allowed && config->given[i]) {
            return km_fail(KM_USAGE,
                           "%s: given together with model.init (%s), from which all model keys come; only "
                           "hidden_dropout_prob and attention_probs_dropout_prob may be given too. Leave it out.",
                           key, config->model.init);
        }
    }
    return KM_OK;
}

static km_status check_model_given(const km_config *config) {
    static const char *const sizes[] = {"model.hidden_size", "model.num_hidden_layers",
                                        "model.num_attention_heads"};
    if (config->model.init[0] != '\0') {
        return check_init(config);
    }
    if (config->model.preset[0] != '\0') {
        return KM_OK;
    }
    if (config->model.type[0] == '\0') {
        return km_fail(KM_USAGE, "model: none of model.type, model.preset and model.init is given, expected one. "
                                 "Try `--set model.preset=tiny`.");
    }
    for (size_t i = 0; i < KM_COUNT(sizes); i++) {
        if (!km_config_given(config, sizes[i])) {
            return km_fail(KM_USAGE, "%s: missing; without model.preset or model.init the sizes must be given",
                           sizes[i]);
        }
    }
    return KM_OK;
}

/* What pretrain requires beside these is of no use to variance, which also takes models by its own key. */
static bool needs(km_config_use use, const char *key) {
    return use == KM_CONFIG_PRETRAIN || is(key, "data.train");
}

static bool needs_model(const km_config *config, km_config_use use) {
    const km_texts *files = &config->variance.model;
    bool fresh = files->count == 0;
    for (int i = 0; i < files->count; i++) {
        fresh = fresh || is(km_texts_at(files, i), "fresh");
    }
    return use == KM_CONFIG_PRETRAIN || fresh;
}

km_status km_config_check_given(const km_config *config, km_config_use use) {
    km_buffer missing = {0};
    for (int i = 0; i < km_option_count; i++) {
        bool needed = km_option_required(&km_options[i]) && needs(use, km_options[i].key);
        if (needed && !config->given[i]) {
            km_buffer_print(&missing, "%s%s", missing.size > 0 ? ", " : "", km_options[i].key);
        }
    }
    km_status status = KM_OK;
    if (missing.size > 0) {
        status =
            km_fail(KM_USAGE, "%s: missing. Give it in the config file or with --set key=value.", missing.data);
    }
    km_buffer_free(&missing);
    return status == KM_OK && needs_model(config, use) ? check_model_given(config) : status;
}

/* ---- What must fit together ---- */

static km_status check_masks(const km_config *config) {
    const double rounding = 1e-9; /* 20 * 0.05 is 1 */
    double ratio = config->mask.ratio, shown = config->mask.replace_mask + config->mask.replace_random;
    double covered = (double)config->mask.splits * ratio;
    if (is(config->mask.policy, "fully_explored") && covered > 1 + rounding) {
        return km_fail(KM_USAGE,
                       "mask.splits: %lld disjoint masks of mask.ratio %g would hide %g of each row, expected at "
                       "most 1. Lower either, set mask.ratio=partition, or use mask.policy random.",
                       (long long)config->mask.splits, ratio, covered);
    }
    if (shown > 1 + rounding) {
        return km_fail(KM_USAGE, "mask.replace_mask + mask.replace_random: found %g + %g = %g, expected at most 1",
                       config->mask.replace_mask, config->mask.replace_random, shown);
    }
    return KM_OK;
}

static km_status check_model(const km_config *config) {
    const km_model_config *model = &config->model;
    if (model->hidden_size > 0 && model->num_attention_heads > 0 &&
        model->hidden_size % model->num_attention_heads != 0) {
        return km_fail(KM_USAGE,
                       "model.hidden_size: found %lld, expected a multiple of the %lld "
                       "model.num_attention_heads",
                       (long long)model->hidden_size, (long long)model->num_attention_heads);
    }
    bool roberta = is(model->type, "roberta");
    int64_t room = model->max_position_embeddings - (roberta ? 2 : 0);
    if (model->max_position_embeddings > 0 && config->data.length > room) {
        return km_fail(KM_USAGE,
                       "data.length: found %lld, expected at most %lld: model.max_position_embeddings "
                       "is %lld%s",
                       (long long)config->data.length, (long long)room, (long long)model->max_position_embeddings,
                       roberta ? ", and roberta's positions start at 2" : "");
    }
    return KM_OK;
}

km_status km_config_check(const km_config *config) {
    KM_TRY(check_masks(config));
    KM_TRY(check_model(config));
    if (config->train.steps > 0 && config->schedule.warmup > config->train.steps) {
        return km_fail(KM_USAGE, "schedule.warmup: found %lld, expected at most train.steps (%lld)",
                       (long long)config->schedule.warmup, (long long)config->train.steps);
    }
    if (config->eval.every > 0 && config->data.eval[0] == '\0') {
        return km_fail(KM_USAGE, "eval.every: found %lld without data.eval. Give a corpus to evaluate on.",
                       (long long)config->eval.every);
    }
    return KM_OK;
}
