/* generation: how an encoder-decoder answers, as its model's file says. */
#include "kmask/modelfile.h"

#include <math.h>
#include <stdlib.h>

/* ---- Tokens ---- */

void km_generate_take_tokens(km_generate_options *options, const km_bundle *bundle) {
    const km_model_config *shape = &bundle->shape;
    options->start = (int32_t)shape->decoder_start_token_id;
    options->end = (int32_t)shape->eos_token_id.list[0];
    options->more_end_count = shape->eos_token_id.count - 1;
    for (int i = 0; i < options->more_end_count; i++) {
        options->more_ends[i] = (int32_t)shape->eos_token_id.list[i + 1];
    }
    options->forced_first = (int32_t)shape->forced_bos_token_id;
    options->forced_last = (int32_t)shape->forced_eos_token_id;
}

/* ---- Lengths, beams and penalties ---- */

static const char GENERATION[] = "generation", CONFIG[] = "config";

/* A whole number that HuggingFace transformers' GenerationConfig has, and where it goes; `more` is added to it. */
typedef struct setting {
    const char *key;
    double low, high;
    int *to;
    int more;
} setting;

static km_status refuse(const char *key, const km_json *value, const char *path, double low, double high) {
    char *found = km_json_print(value, false);
    km_status status =
        km_fail(KM_FAILED, "%s: its generation settings have %s %.40s, expected a number from %.0f to %.0f", path,
                key, found, low, high);
    free(found);
    return status;
}

/* A value that is absent or null leaves *to as it is. */
static km_status take_whole(const km_json *json, const setting *s, const char *path) {
    const km_json *value = km_json_get(json, s->key);
    double number = 0;
    if (value == NULL || km_json_is_null(value)) {
        return KM_OK;
    }
    if (!km_json_number(&number, value) || floor(number) < number || number < s->low || number > s->high) {
        return refuse(s->key, value, path, s->low, s->high);
    }
    *s->to = (int)number + s->more;
    return KM_OK;
}

static km_status take_penalty(km_generate_options *options, const km_json *json, const char *path) {
    enum { MOST = 100 };
    const km_json *value = km_json_get(json, "length_penalty");
    if (value == NULL || km_json_is_null(value)) {
        return KM_OK;
    }
    return km_json_number(&options->length_penalty, value) && fabs(options->length_penalty) <= MOST
               ? KM_OK
               : refuse("length_penalty", value, path, -MOST, MOST);
}

/* Counts of new tokens win over lengths, which count the decoder's start as well. */
static km_status take_settings(km_generate_options *options, const km_json *json, const char *path) {
    enum { LONGEST = 1 << 16, MOST_BEAMS = 256 };
    const setting settings[] = {
        {"num_beams", 1, MOST_BEAMS, &options->beams, 0},
        {"min_length", 0, LONGEST, &options->min_length, 0},
        {"min_new_tokens", 0, LONGEST, &options->min_length, 1},
        {"max_length", 2, LONGEST, &options->max_length, 0},
        {"max_new_tokens", 1, LONGEST, &options->max_length, 1},
        {"no_repeat_ngram_size", 0, LONGEST, &options->no_repeat_ngram, 0},
    };
    for (size_t i = 0; i < KM_COUNT(settings); i++) {
        KM_TRY(take_whole(json, &settings[i], path));
    }
    return take_penalty(options, json, path);
}

/* Settings by which transformers would answer otherwise than kmask does. */
static void warn_of_others(const km_json *json, const char *path) {
    static const struct {
        const char *key;
        double usual;
    } others[] = {{"do_sample", 0},          {"early_stopping", 0},       {"num_beam_groups", 1},
                  {"repetition_penalty", 1}, {"diversity_penalty", 0},    {"encoder_no_repeat_ngram_size", 0},
                  {"renormalize_logits", 0}, {"remove_invalid_values", 0}};
    for (size_t i = 0; i < KM_COUNT(others); i++) {
        const km_json *value = km_json_get(json, others[i].key);
        bool on = false;
        double number = others[i].usual;
        if ((km_json_boolean(&on, value) && on) ||
            (km_json_number(&number, value) && fabs(number - others[i].usual) > 0) ||
            km_json_string(value) != NULL) {
            char *found = km_json_print(value, false);
            km_warn("%s: its generation settings have %s %.40s, which kmask does not follow", path, others[i].key,
                    found);
            free(found);
        }
    }
}

km_status km_generate_take_settings(km_generate_options *options, const km_bundle *bundle, const char *path) {
    km_json *json = km_bundle_noted(bundle, GENERATION);
    json = json != NULL ? json : km_bundle_noted(bundle, CONFIG);
    *options = (km_generate_options){.beams = 4, .min_length = 1, .max_length = 20, .length_penalty = 1};
    km_generate_take_tokens(options, bundle);
    km_status status = take_settings(options, json, path);
    if (status == KM_OK) {
        warn_of_others(json, path);
    }
    km_json_destroy(json);
    return status;
}

void km_generate_note_settings(km_bundle *bundle, const km_generate_options *options) {
    km_json *json = km_bundle_noted(bundle, GENERATION);
    json = json != NULL ? json : km_json_object();
    km_json_set_number(json, "num_beams", options->beams);
    km_json_set_number(json, "min_length", options->min_length);
    km_json_set_number(json, "max_length", options->max_length);
    km_json_set_number(json, "no_repeat_ngram_size", options->no_repeat_ngram);
    km_json_set_decimal(json, "length_penalty", options->length_penalty);
    km_json_set_boolean(json, "early_stopping", false);
    for (int i = 0; i < 2; i++) { /* which would win over the lengths */
        const char *const key = i == 0 ? "min_new_tokens" : "max_new_tokens";
        if (km_json_get(json, key) != NULL) {
            km_json_set_number(json, key, NAN);
        }
    }
    km_bundle_note(bundle, GENERATION, json);
}
