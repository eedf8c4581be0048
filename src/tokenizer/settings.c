/* Reads the files beside a vocabulary: tokenizer_config.json, special_tokens_map.json and added_tokens.json. */
#include "settings.h"

#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES = 1 << 26 };

void km_settings_init(km_settings *settings) {
    *settings = (km_settings){.lowercase = KM_UNSET,
                              .strip_accents = KM_UNSET,
                              .chinese = KM_UNSET,
                              .piece_clean_up = KM_UNSET,
                              .clean_up = KM_UNSET,
                              .prefix_space = KM_UNSET,
                              .ignored_lowercase = KM_UNSET,
                              .ignored_prefix = KM_UNSET};
}

void km_settings_free(km_settings *settings) {
    for (size_t i = 0; i < KM_ROLES; i++) {
        free(settings->role[i]);
    }
    for (size_t i = 0; i < settings->added_count; i++) {
        free(settings->added[i].content);
    }
    free(settings->added);
    free(settings->class);
    km_settings_init(settings);
}

void km_settings_role(km_settings *settings, km_role role, const char *name) {
    if (settings->role[role] == NULL) {
        settings->role[role] = km_strdup(name);
    }
}

static km_added_token *find(const km_settings *settings, const char *content) {
    for (size_t i = 0; i < settings->added_count; i++) {
        if (strcmp(settings->added[i].content, content) == 0) {
            return &settings->added[i];
        }
    }
    return NULL;
}

bool km_settings_has_lstrip(const km_settings *settings, const char *content) {
    const km_added_token *token = find(settings, content);
    return token != NULL && token->lstrip != KM_UNSET;
}

/* Takes a flag that was not given before; returns whether it was given otherwise. */
static bool take_flag(const km_settings *settings, km_added_token *token, int8_t *flag, int8_t found) {
    const bool differs = *flag != KM_UNSET && found != KM_UNSET && *flag != found;
    if (*flag == KM_UNSET && found != KM_UNSET) {
        *flag = found;
        token->file = settings->file;
    }
    return differs;
}

/* Says of the first added token about which two files disagree how they do. */
static void say_difference(km_settings *settings, const km_added_token *same, const char *what,
                           const char *counts) {
    if (!settings->differs && settings->file != NULL && same->file != NULL && settings->file != same->file) {
        settings->differs = true;
        km_warn("%s and %s disagree about the %s of the added token \"%.60s\"; %s counts, as for transformers",
                same->file, settings->file, what, same->content, counts);
    }
}

void km_settings_add(km_settings *settings, const km_added_token *token) {
    km_added_token *same = find(settings, token->content);
    if (same == NULL) {
        settings->added = km_grow(settings->added, settings->added_count + 1, sizeof *settings->added);
        same = &settings->added[settings->added_count];
        *same = *token;
        same->content = km_strdup(token->content);
        same->file = settings->file;
        same->place = settings->added_count++;
        return;
    }
    const bool whole = settings->file != NULL && strcmp(settings->file, "tokenizer.json") == 0;
    if (same->id >= 0 && token->id >= 0 && same->id != token->id) {
        say_difference(settings, same, "id", whole ? settings->file : same->file);
    }
    same->id = same->id < 0 || (whole && token->id >= 0) ? token->id : same->id;
    static const char *const names[] = {"lstrip", "rstrip", "single_word", "normalized"};
    int8_t *const flags[] = {&same->lstrip, &same->rstrip, &same->single_word, &same->normalized};
    const int8_t found[] = {token->lstrip, token->rstrip, token->single_word, token->normalized};
    for (size_t i = 0; i < KM_COUNT(flags); i++) {
        if (take_flag(settings, same, flags[i], found[i])) {
            say_difference(settings, same, names[i], same->file);
        }
    }
    same->special = same->special || token->special;
}

/* ---- From JSON ------------------------------------------------------------------------------------------ */

km_status km_settings_flag(int *flag, const km_json *object, const char *key, const char *path) {
    const km_json *value = km_json_get(object, key);
    bool said = false;
    if (value == NULL || km_json_is_null(value)) {
        return KM_OK;
    }
    if (!km_json_boolean(&said, value)) {
        return km_fail(KM_FAILED, "%s: \"%s\" is not true or false", path, key);
    }
    *flag = *flag == KM_UNSET ? said : *flag;
    return KM_OK;
}

/* Reads a token's id; *id stays as it is where there is none. */
static km_status read_id(int32_t *id, const km_json *value, const char *content, const char *path) {
    double number = -1;
    if (value == NULL) {
        return KM_OK;
    }
    if (!km_json_number(&number, value) || !(number >= 0 && number < 1e9) || number > (double)(int32_t)number) {
        return km_fail(KM_FAILED, "%s: the id of \"%.100s\" is not a whole number from 0", path, content);
    }
    *id = (int32_t)number;
    return KM_OK;
}

km_status km_settings_read_token(km_settings *settings, const km_json *token, int32_t id, bool special,
                                 const char *path) {
    const char *content = km_json_string(km_json_get(token, "content"));
    if (content == NULL || *content == '\0') {
        return km_fail(KM_FAILED, "%s: an added token has no \"content\", expected its text", path);
    }
    int lstrip = KM_UNSET, rstrip = KM_UNSET, single = KM_UNSET, normalized = KM_UNSET, is_special = KM_UNSET;
    KM_TRY(km_settings_flag(&lstrip, token, "lstrip", path));
    KM_TRY(km_settings_flag(&rstrip, token, "rstrip", path));
    KM_TRY(km_settings_flag(&single, token, "single_word", path));
    KM_TRY(km_settings_flag(&normalized, token, "normalized", path));
    KM_TRY(km_settings_flag(&is_special, token, "special", path));
    KM_TRY(read_id(&id, km_json_get(token, "id"), content, path));
    special = is_special == KM_UNSET ? special : is_special == 1;
    const km_added_token added = {.content = (char *)(uintptr_t)content,
                                  .id = id,
                                  .lstrip = (int8_t)lstrip,
                                  .rstrip = (int8_t)rstrip,
                                  .single_word = (int8_t)single,
                                  .normalized = (int8_t)normalized,
                                  .special = special};
    km_settings_add(settings, &added);
    return KM_OK;
}

/* A token of which only the text is given. */
static km_added_token token_of_text(const char *content, bool special) {
    return (km_added_token){.content = (char *)(uintptr_t)content,
                            .id = -1,
                            .lstrip = KM_UNSET,
                            .rstrip = KM_UNSET,
                            .single_word = KM_UNSET,
                            .normalized = KM_UNSET,
                            .special = special};
}

/* Adds a special token that is given by its text or as an object; *name becomes its text, NULL where there is none. */
static km_status read_named(km_settings *settings, const char **name, const km_json *value, const char *key,
                            const char *path) {
    *name = NULL;
    if (value == NULL || km_json_is_null(value)) {
        return KM_OK;
    }
    *name = km_json_string(value);
    if (*name != NULL && **name != '\0') {
        const km_added_token added = token_of_text(*name, true);
        km_settings_add(settings, &added);
        return KM_OK;
    }
    if (!km_json_is_object(value)) {
        return km_fail(KM_FAILED, "%s: \"%s\" is not a token, expected its text or an object with \"content\"",
                       path, key);
    }
    *name = km_json_string(km_json_get(value, "content"));
    return km_settings_read_token(settings, value, -1, true, path);
}

/* The tokens of special_tokens_map.json, which tokenizer_config.json may hold too. */
static km_status read_roles(km_settings *settings, const km_json *json, const char *path) {
    static const char *const keys[] = {"pad_token",  "unk_token", "cls_token", "sep_token",
                                       "mask_token", "bos_token", "eos_token"};
    for (size_t i = 0; i < KM_COUNT(keys); i++) {
        const char *name = NULL;
        KM_TRY(read_named(settings, &name, km_json_get(json, keys[i]), keys[i], path));
        if (name != NULL && i < KM_ROLES) {
            km_settings_role(settings, (km_role)i, name);
        }
    }
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < KM_COUNT(lists); i++) {
        const km_json *more = km_json_get(json, lists[i]);
        for (const km_json *item = km_json_first(more); item != NULL; item = km_json_next(item)) {
            const char *name = NULL;
            KM_TRY(read_named(settings, &name, item, lists[i], path));
        }
    }
    return KM_OK;
}

/* "added_tokens_decoder": {"50264": {"content": "<mask>", ...}, ...} */
static km_status read_decoder(km_settings *settings, const km_json *tokens, const char *path) {
    for (const km_json *item = km_json_first(tokens); item != NULL; item = km_json_next(item)) {
        const char *key = km_json_key(item);
        char *end = NULL;
        long id = key == NULL ? -1 : strtol(key, &end, 10);
        if (key == NULL || end == key || *end != '\0' || id < 0 || id > INT32_MAX) {
            return km_fail(KM_FAILED, "%s: \"added_tokens_decoder\" has the key \"%.100s\", expected an id", path,
                           key == NULL ? "" : key);
        }
        KM_TRY(km_settings_read_token(settings, item, (int32_t)id, false, path));
    }
    return KM_OK;
}

/* The classes whose tokenizers are read. The first ones are those that transformers builds anew from the vocabulary: BERT's WordPiece,
 * the byte-level BPE of GPT-2, RoBERTa and BART, and their copies. The others take what tokenizer.json says, and need one. */
static const char *const rebuilt[] = {"Bert",    "Roberta",    "GPT2",        "Bart",     "DistilBert",
                                      "Electra", "MobileBert", "SqueezeBert", "ConvBert", "Longformer",
                                      "LED",     "RetriBert",  "Blenderbot"};
static const char *const taken[] = {
    "PreTrained", "MPNet",      "XLMRoberta",   "Camembert", "Deberta",  "DebertaV2",
    "GPTNeoX",    "GPTNeo",     "Llama",        "CodeLlama", "CodeGen",  "Bloom",
    "Funnel",     "LayoutLM",   "LayoutLMv2",   "Lxmert",    "Splinter", "BigBird",
    "RemBert",    "Albert",     "Barthez",      "MBart",     "NllB",     "Nllb",
    "T5",         "XLNet",      "Qwen2",        "Gemma",     "Herbert",  "Roformer",
    "RoFormer",   "ModernBert", "MarkupLM",     "MVP",       "Mvp",      "DPRContextEncoder",
    "OpenAIGPT",  "Whisper",    "CLIP",         "RealmBert", "Realm",    "Cohere",
    "Pegasus",    "Reformer",   "Nystromformer"};

static bool is_class_of(const char *class, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(names[i]);
        if (strncmp(class, names[i], length) == 0 &&
            (strcmp(class + length, "Tokenizer") == 0 || strcmp(class + length, "TokenizerFast") == 0)) {
            return true;
        }
    }
    return false;
}

/* Refuses a tokenizer that works otherwise than the files beside it look. */
static km_status check_class(km_settings *settings, const km_json *json, const char *path) {
    const char *class = km_json_text(json, "tokenizer_class");
    const bool fits = settings->has_whole && is_class_of(class, taken, KM_COUNT(taken));
    if (*class != '\0' && settings->class == NULL) {
        settings->class = km_strdup(class);
    }
    if (*class != '\0' && strcmp(class, "TokenizersBackend") != 0 &&
        strcmp(class, "PreTrainedTokenizerFast") != 0 && !fits && !is_class_of(class, rebuilt, KM_COUNT(rebuilt))) {
        return km_fail(
            KM_FAILED,
            "%s: tokenizer_class is %.100s, which splits text otherwise than the tokenizers that are read: "
            "BertTokenizer, RobertaTokenizer, GPT2Tokenizer, their copies and Fast forms, PreTrainedTokenizerFast "
            "and TokenizersBackend%s",
            path, class, settings->has_whole ? "" : ", or any that takes its steps from a tokenizer.json");
    }
    static const char *const parts[][2] = {{"word_tokenizer_type", "basic"},
                                           {"subword_tokenizer_type", "wordpiece"}};
    for (size_t i = 0; i < KM_COUNT(parts); i++) {
        const char *found = km_json_text(json, parts[i][0]);
        if (*found != '\0' && strcmp(found, parts[i][1]) != 0) {
            return km_fail(KM_FAILED, "%s: %s is %.100s, which is not supported; expected %s", path, parts[i][0],
                           found, parts[i][1]);
        }
    }
    return KM_OK;
}

/* Beside a tokenizer.json, the classes that transformers builds anew have their own defaults for flags that files do not give, and those
 * that take tokenizer.json as it is heed no flags. */
static void fit_class(km_settings *settings) {
    const char *class = settings->class == NULL ? "" : settings->class;
    if (strcmp(class, "PreTrainedTokenizerFast") == 0 || strcmp(class, "TokenizersBackend") == 0) {
        settings->ignored_lowercase = settings->lowercase;
        settings->ignored_prefix = settings->prefix_space;
        settings->lowercase = settings->strip_accents = settings->chinese = settings->prefix_space = KM_UNSET;
    } else if (is_class_of(class, rebuilt, KM_COUNT(rebuilt))) {
        settings->lowercase = settings->lowercase == KM_UNSET ? 1 : settings->lowercase;
        settings->strip_accents =
            settings->strip_accents == KM_UNSET ? settings->lowercase : settings->strip_accents;
        settings->chinese = settings->chinese == KM_UNSET ? 1 : settings->chinese;
        settings->prefix_space = settings->prefix_space == KM_UNSET ? 0 : settings->prefix_space;
    }
}

void km_settings_warn_of_class(const km_settings *settings, const char *folder) {
    if (settings->class != NULL && is_class_of(settings->class, rebuilt, KM_COUNT(rebuilt))) {
        km_warn("%s: tokenizer_class is %s, but tokenizer.json has other steps than that class: tokenizer.json "
                "counts here and "
                "for transformers 4, while transformers 5 builds the class's own steps. Set tokenizer_class to "
                "PreTrainedTokenizerFast to have the same everywhere.",
                folder, settings->class);
    }
}

/* Of a model's config.json only the tokenizer's class matters. */
static km_status read_model_config(km_settings *settings, const km_json *json, const char *path) {
    return check_class(settings, json, path);
}

static km_status read_config(km_settings *settings, const km_json *json, const char *path) {
    KM_TRY(check_class(settings, json, path));
    KM_TRY(km_settings_flag(&settings->lowercase, json, "do_lower_case", path));
    KM_TRY(km_settings_flag(&settings->strip_accents, json, "strip_accents", path));
    KM_TRY(km_settings_flag(&settings->chinese, json, "tokenize_chinese_chars", path));
    KM_TRY(km_settings_flag(&settings->clean_up, json, "clean_up_tokenization_spaces", path));
    KM_TRY(km_settings_flag(&settings->prefix_space, json, "add_prefix_space", path));
    KM_TRY(read_decoder(settings, km_json_get(json, "added_tokens_decoder"), path));
    return read_roles(settings, json, path);
}

/* added_tokens.json: {"<new>": 30522, ...} */
static km_status read_added(km_settings *settings, const km_json *json, const char *path) {
    for (const km_json *item = km_json_first(json); item != NULL; item = km_json_next(item)) {
        km_added_token token = token_of_text(km_json_key(item), false);
        KM_TRY(read_id(&token.id, item, token.content, path));
        if (*token.content != '\0') {
            km_settings_add(settings, &token);
        }
    }
    return KM_OK;
}

typedef km_status (*reader)(km_settings *settings, const km_json *json, const char *path);

static km_status read_file(km_settings *settings, const char *folder, const char *name, reader read) {
    char *path = km_format("%s/%s", folder, name);
    km_json *json = NULL;
    km_status status = KM_OK;
    settings->file = name;
    if (km_file_exists(path)) {
        status = km_json_load(&json, path, CONFIG_BYTES);
        if (status == KM_OK && !km_json_is_object(json)) {
            status = km_fail(KM_FAILED, "%s: not a JSON object", path);
        }
        status = status == KM_OK ? read(settings, json, path) : status;
    }
    km_json_destroy(json);
    free(path);
    return status;
}

km_status km_settings_read(km_settings *settings, const char *folder) {
    char *whole = km_format("%s/tokenizer.json", folder);
    settings->has_whole = km_file_exists(whole);
    free(whole);
    KM_TRY(read_file(settings, folder, "tokenizer_config.json", read_config));
    KM_TRY(read_file(settings, folder, "config.json", read_model_config));
    if (settings->has_whole) {
        fit_class(settings);
    }
    KM_TRY(read_file(settings, folder, "special_tokens_map.json", read_roles));
    return read_file(settings, folder, "added_tokens.json", read_added);
}
