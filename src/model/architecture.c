/* The list of architectures, and what others ask of them. A new one is a file like bert.c and a line here. */
#include "architecture.h"

#include <string.h>

static const km_architecture *const architectures[] = {
    &km_bert,
    &km_roberta,
    &km_bart,
};

/* ---- By name ------------------------------------------------------------------------------------------------- */

const km_architecture *km_architecture_at(int index) {
    return index >= 0 && index < (int)KM_COUNT(architectures) ? architectures[index] : NULL;
}

const km_architecture *km_architecture_named(const char *type) {
    for (size_t i = 0; i < KM_COUNT(architectures); i++) {
        if (strcmp(type, architectures[i]->files.type) == 0) {
            return architectures[i];
        }
    }
    return NULL;
}

static void append_choice(char *list, size_t size, const char *name) {
    const size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used > 0 ? "|" : "", name);
}

const char *km_architecture_types(void) {
    static char list[256];
    list[0] = '\0';
    for (size_t i = 0; i < KM_COUNT(architectures); i++) {
        append_choice(list, sizeof list, architectures[i]->files.type);
    }
    return list;
}

const char *km_architecture_presets(void) {
    static char list[1024];
    list[0] = '\0';
    for (size_t i = 0; i < KM_COUNT(architectures); i++) {
        for (int p = 0; p < architectures[i]->preset_count; p++) {
            append_choice(list, sizeof list, architectures[i]->presets[p].name);
        }
    }
    return list;
}

char *km_architecture_list(const char *quotes) {
    km_buffer out = {0};
    for (size_t i = 0; i < KM_COUNT(architectures); i++) {
        const char *between = i == 0 ? "" : i + 1 < KM_COUNT(architectures) ? ", " : " or ";
        km_buffer_print(&out, "%s%s%s%s", between, quotes, architectures[i]->files.type, quotes);
    }
    return out.data;
}

const km_interchange *km_architecture_files(const km_architecture *architecture) {
    return &architecture->files;
}

const char *km_architecture_class(const km_architecture *architecture, km_head_kind head) {
    return architecture->heads[head].class_name;
}

/* ---- Of a config ---------------------------------------------------------------------------------------------- */

static const km_preset *preset_of(const km_model_config *config, const km_architecture **of) {
    for (size_t i = 0; i < KM_COUNT(architectures); i++) {
        for (int p = 0; p < architectures[i]->preset_count; p++) {
            if (strcmp(config->preset, architectures[i]->presets[p].name) == 0) {
                *of = architectures[i];
                return &architectures[i]->presets[p];
            }
        }
    }
    return NULL;
}

void km_model_config_fill(km_model_config *config) {
    const km_architecture *architecture = NULL;
    const km_preset *preset = preset_of(config, &architecture);
    if (preset != NULL) {
        if (config->type[0] == '\0') {
            snprintf(config->type, sizeof config->type, "%s", architecture->files.type);
        }
        preset->fill(config);
    }
    architecture = km_architecture_named(config->type);
    if (architecture != NULL) {
        architecture->fill(config);
    }
}

int64_t km_model_longest(const km_model_config *config) {
    return km_architecture_named(config->type)->longest(config);
}

int64_t km_model_usual_longest(const km_model_config *config, const char **why) {
    return km_architecture_named(config->type)->usual_longest(config, why);
}

int64_t km_model_decoder_start(const km_model_config *config) {
    const km_architecture *architecture = km_architecture_named(config->type);
    return architecture->decoder_start != NULL ? architecture->decoder_start(config) : -1;
}

int64_t km_model_usual_vocabulary(const km_model_config *config) {
    const km_architecture *architecture = NULL;
    const km_preset *preset = preset_of(config, &architecture);
    return preset != NULL && preset->vocabulary > 0 ? preset->vocabulary
                                                    : km_architecture_named(config->type)->vocabulary;
}

/* ---- What several need -------------------------------------------------------------------------------- */

void km_fill_size(int64_t *field, int64_t value) {
    *field = *field == 0 ? value : *field;
}

km_status km_check_size(const char *key, int64_t value, int64_t most) {
    if (value < 1 || value > most) {
        return km_fail(KM_USAGE, "model.%s is %lld; expected 1 to %lld.", key, (long long)value, (long long)most);
    }
    return KM_OK;
}

km_status km_check_share(const char *key, double p) {
    if (!(p >= 0.0 && p * 65536.0 < 65535.0)) {
        return km_fail(KM_USAGE, "model.%s is %g; expected a share from 0 to below 1.", key, p);
    }
    return KM_OK;
}
