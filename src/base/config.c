/* Config: two-level JSON and --set into one struct, by the table of options, and back. */
#include "config_option.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1 << 20 }; /* bytes of a config */

/* ---- Reading ---- */

static km_status set_member(km_config *config, bool *seen, const char *section, const km_json *member) {
    char *key = km_format("%s.%s", section, km_json_key(member));
    int i = km_option_find(key);
    km_status status = KM_OK;
    if (i < 0) {
        char *hint = km_option_hint(key);
        status = km_fail(KM_USAGE, "%.200s: unknown key.%s", key, hint);
        free(hint);
    } else if (seen[i]) {
        status = km_fail(KM_USAGE, "%s: given twice", key);
    } else {
        seen[i] = true;
        status = km_option_set(&km_options[i], config, member);
    }
    free(key);
    return status;
}

/* "run" for any of the options run.*; `words` gets the sections' names. */
static bool is_section(const char *name, const char *words[], char names[][KM_WORD]) {
    int count = 0;
    bool known = false;
    for (int i = 0; i < km_option_count; i++) {
        const char *key = km_options[i].key;
        size_t length = (size_t)(strchr(key, '.') - key);
        if (count == 0 || strncmp(names[count - 1], key, length) != 0 || names[count - 1][length] != '\0') {
            memcpy(names[count], key, length);
            names[count][length] = '\0';
            words[count] = names[count];
            known = known || strcmp(name, names[count]) == 0;
            count++;
        }
    }
    words[count] = NULL;
    return known;
}

static km_status unknown_section(const char *name, const char *const *words) {
    const char *near = km_nearest(name, words);
    char *hint = strchr(name, '.') != NULL ? km_option_hint(name) : NULL;
    km_buffer all = {0};
    for (const char *const *word = words; *word != NULL; word++) {
        km_buffer_print(&all, "%s%s", all.size > 0 ? ", " : "", *word);
    }
    if (hint != NULL) {
        km_fail(KM_USAGE, "%.200s: keys of a section stand in an object: {\"section\": {\"key\": value}}.%s", name,
                hint);
    } else if (near != NULL) {
        km_fail(KM_USAGE, "%.200s: unknown section. Did you mean %s?", name, near);
    } else {
        km_fail(KM_USAGE, "%.200s: unknown section, expected one of %s", name, all.data);
    }
    free(hint);
    km_buffer_free(&all);
    return KM_USAGE;
}

static km_status set_section(km_config *config, bool *seen, const km_json *section) {
    enum { SECTIONS = 32 };
    const char *words[SECTIONS + 1];
    char names[SECTIONS][KM_WORD];
    const char *name = km_json_key(section);
    if (!is_section(name, words, names)) {
        return unknown_section(name, words);
    }
    if (!km_json_is_object(section)) {
        return km_fail(KM_USAGE, "%s: found something else, expected an object {\"key\": value}", name);
    }
    for (const km_json *member = km_json_first(section); member != NULL; member = km_json_next(member)) {
        KM_TRY(set_member(config, seen, name, member));
    }
    return KM_OK;
}

static km_status set_all(km_config *config, const km_json *json) {
    bool seen[KM_COUNT(config->given)] = {false};
    if (!km_json_is_object(json)) {
        return km_fail(KM_USAGE, "found something else, expected an object {\"section\": {\"key\": value}}");
    }
    for (const km_json *section = km_json_first(json); section != NULL; section = km_json_next(section)) {
        for (const km_json *other = km_json_first(json); other != section; other = km_json_next(other)) {
            if (strcmp(km_json_key(other), km_json_key(section)) == 0) {
                return km_fail(KM_USAGE, "%.200s: this section is given twice", km_json_key(section));
            }
        }
        KM_TRY(set_section(config, seen, section));
    }
    return KM_OK;
}

/* cJSON ends a string at \u0000: what follows would be lost without a word. */
static bool has_escaped_nul(const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '\\' && strncmp(text + 1, "u0000", 5) == 0) {
            return true;
        }
        text += *text == '\\' && text[1] != '\0';
    }
    return false;
}

static km_status set_from_json(km_config *config, const char *text, size_t count, const char *origin) {
    km_json *json = NULL;
    if (km_json_parse(&json, text, count, origin) != KM_OK) {
        return KM_USAGE;
    }
    km_status status = has_escaped_nul(text) ? km_fail(KM_USAGE, "found \\u0000, expected text without NUL")
                                             : set_all(config, json);
    km_json_destroy(json);
    return status == KM_OK ? KM_OK : km_context(status, "%s", origin);
}

static km_status set_from_file(km_config *config, const char *path) {
    char *text = NULL;
    size_t count = 0;
    if (km_file_read(&text, &count, path, LARGEST) != KM_OK) {
        return KM_USAGE;
    }
    km_status status = set_from_json(config, text, count, path);
    free(text);
    return status;
}

/* "key=value" */
static km_status assign(km_config *config, const char *text) {
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        return km_fail(KM_USAGE, "--set: found %.200s, expected key=value", text);
    }
    char *key = km_format("%.*s", (int)KM_MIN(equals - text, 200), text);
    int i = km_option_find(key);
    km_status status = KM_OK;
    if (i < 0) {
        char *hint = km_option_hint(key);
        status = km_fail(KM_USAGE, "--set: %s: unknown key.%s", key, hint);
        free(hint);
    } else {
        status = km_option_set_text(&km_options[i], config, equals + 1);
        status = status == KM_OK ? KM_OK : km_context(status, "--set");
    }
    free(key);
    return status;
}

static km_status set_defaults(km_config *config) {
    for (int i = 0; i < km_option_count; i++) {
        const km_option *option = &km_options[i];
        if (!config->given[i] && option->standard != NULL && !km_option_required(option)) {
            KM_TRY(km_option_set_text(option, config, option->standard));
            config->given[i] = 0;
        }
    }
    return KM_OK;
}

static km_status finish(km_config *config) {
    KM_TRY(set_defaults(config));
    km_config_resolve(config);
    return km_config_check(config);
}

/* The first of a list stands for it where choices of the section mask are checked against each other. */
static void follow_lists(km_config *config) {
    const km_numbers *splits = &config->variance.splits;
    struct {
        const char *key;
        const km_texts *list;
        char *word;
    } words[] = {{"mask.policy", &config->variance.policies, config->mask.policy},
                 {"mask.unit", &config->variance.units, config->mask.unit}};
    for (size_t i = 0; i < KM_COUNT(words); i++) {
        if (words[i].list->count > 0) {
            snprintf(words[i].word, KM_WORD, "%s", km_texts_at(words[i].list, 0));
            config->given[km_option_find(words[i].key)] = 1;
        }
    }
    if (splits->count > 0) {
        config->mask.splits = splits->list[0];
        config->given[km_option_find("mask.splits")] = 1;
    }
}

km_status km_config_load(km_config *out, const char *path, int set_count, char *const *set, km_config_use use) {
    memset(out, 0, sizeof *out); /* padding too: it is compared and broadcast as bytes */
    if (path != NULL) {
        KM_TRY(set_from_file(out, path));
    }
    for (int i = 0; i < set_count; i++) {
        KM_TRY(assign(out, set[i]));
    }
    km_status status = use == KM_CONFIG_ANY ? KM_OK : km_config_check_given(out, use);
    if (use == KM_CONFIG_VARIANCE) {
        follow_lists(out);
    }
    status = status == KM_OK ? finish(out) : status;
    return status == KM_OK || path == NULL ? status : km_context(status, "%s", path);
}

km_status km_config_parse(km_config *out, const char *json, const char *origin) {
    memset(out, 0, sizeof *out);
    KM_TRY(set_from_json(out, json, strlen(json), origin));
    km_status status = finish(out);
    return status == KM_OK ? KM_OK : km_context(status, "%s", origin);
}

/* ---- Printing ---- */

/* "run.dir" -> "dir"; `fresh`: the section is another than that of the option before. */
static const char *split(int i, int *length, bool *fresh) {
    const char *key = km_options[i].key;
    *length = (int)(strchr(key, '.') - key);
    *fresh = i == 0 || strncmp(km_options[i - 1].key, key, (size_t)*length + 1) != 0;
    return key + *length + 1;
}

char *km_config_print(const km_config *config) {
    km_buffer out = {0};
    for (int i = 0; i < km_option_count; i++) {
        int length = 0;
        bool fresh = false;
        const char *name = split(i, &length, &fresh);
        if (fresh) {
            km_buffer_print(&out, "%s  \"%.*s\": {\n", i == 0 ? "{\n" : "\n  },\n", length, km_options[i].key);
        } else {
            km_buffer_print(&out, ",\n");
        }
        km_buffer_print(&out, "    \"%s\": ", name);
        km_option_print(&km_options[i], config, &out);
    }
    km_buffer_print(&out, "\n  }\n}\n");
    return out.data;
}

/* ---- Resuming ---- */

km_status km_config_continues(const km_config *was, const km_config *now, km_buffer *changes) {
    km_buffer refused = {0};
    for (int i = 0; i < km_option_count; i++) {
        const km_option *option = &km_options[i];
        bool fixed = option->resume == KM_FIXED;
        km_buffer before = {0}, after = {0};
        km_option_print(option, was, &before);
        km_option_print(option, now, &after);
        bool differs = option->resume != KM_ORIGIN && strcmp(before.data, after.data) != 0;
        if (differs && fixed) {
            km_buffer_print(&refused, "%s%s (was %s, now %s)", refused.size > 0 ? ", " : "", option->key,
                            before.data, after.data);
        } else if (differs) {
            km_buffer_print(changes, "  %s: %s, was %s%s\n", option->key, after.data, before.data,
                            strcmp(option->key, "train.steps") == 0 ? "; the schedule follows the new end" : "");
        }
        km_buffer_free(&before);
        km_buffer_free(&after);
    }
    km_status status = KM_OK;
    if (refused.size > 0) {
        status =
            km_fail(KM_USAGE,
                    "%s: the run in %s cannot go on with other values than it was started with. Set them back, "
                    "or start a new run.dir with model.init = its newest checkpoint.",
                    refused.data, now->run.dir);
    }
    km_buffer_free(&refused);
    return status;
}
