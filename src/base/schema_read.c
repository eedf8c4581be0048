/* schema_read: two-level JSON and assignments "section.key=value" into the struct of a schema. */
#include "schema.h"

#include <math.h>
#include <stdlib.h>

enum { LARGEST = 1 << 20 }; /* most bytes that a config file may have */

/* The config that is being read, and how. */
typedef struct reading {
    const km_schema *schema;
    char *config;
    const km_schema *const *others; /* schemas of other verbs, NULL at the end; may be NULL */
    bool passes_over;               /* ignore sections that are not in the schema, whatever they hold */
} reading;

/* The schema of another verb that has a section of this name; NULL when there is none. */
static const km_schema *owner_of(const reading *r, const char *name, size_t length) {
    for (const km_schema *const *other = r->others; other != NULL && *other != NULL; other++) {
        if (km_schema_find(*other, name, length) != NULL) {
            return *other;
        }
    }
    return NULL;
}

/* ---- JSON --------------------------------------------------------------------------------------------------- */

static km_status set_member(const km_schema *schema, const km_section *section, void *values, uint64_t *seen,
                            const km_json *member) {
    const km_option *option = km_section_option(section, km_json_key(member));
    if (option == NULL) {
        char *key = km_format("%s.%s", section->name, km_json_key(member));
        km_status status = km_schema_unknown_key(schema, key);
        free(key);
        return status;
    }
    uint64_t bit = UINT64_C(1) << (option - section->options);
    if ((*seen & bit) != 0) {
        return km_fail(KM_USAGE, "%s.%s: given twice", section->name, option->name);
    }
    *seen |= bit;
    return km_option_set(section, option, values, member);
}

static km_status set_section(const km_schema *schema, const km_section *section, void *values,
                             const km_json *json) {
    uint64_t seen = 0;
    if (!km_json_is_object(json)) {
        return km_fail(KM_USAGE, "%s: found something else, expected an object {\"key\": value}", section->name);
    }
    for (const km_json *member = km_json_first(json); member != NULL; member = km_json_next(member)) {
        KM_TRY(set_member(schema, section, values, &seen, member));
    }
    return KM_OK;
}

/* A section of another verb is checked like any other, and its values are dropped. */
static km_status check_other(const km_schema *owner, const km_json *json) {
    const char *name = km_json_key(json);
    const km_section *section = km_schema_find(owner, name, strlen(name))->section;
    void *values = km_new(1, section->size);
    km_status status = set_section(owner, section, values, json);
    free(values);
    return status;
}

static km_status check_version(const km_json *json) {
    double version = -1;
    if (!km_json_number(&version, json) || !(version >= 0) || version != floor(version)) {
        return km_fail(KM_USAGE, "version: found something else, expected a whole number from 0 to %d",
                       KM_CONFIG_VERSION);
    }
    if (version > KM_CONFIG_VERSION) {
        (void)km_fail_kind(
            KM_ERROR_LATER,
            "written by a later kmask, in version %g of configs; this one, kmask %s, reads versions up "
            "to %d. Use the kmask that wrote it, or a newer one.",
            version, KM_VERSION, KM_CONFIG_VERSION);
        return KM_USAGE;
    }
    return KM_OK;
}

static km_status set_top(reading *r, const km_json *json) {
    const char *name = km_json_key(json);
    const km_part *part = km_schema_find(r->schema, name, strlen(name));
    const km_schema *owner = owner_of(r, name, strlen(name));
    if (strcmp(name, "version") == 0) {
        return KM_OK; /* the version, which was checked before everything else */
    }
    if (part != NULL) {
        return set_section(r->schema, part->section, r->config + part->place, json);
    }
    if (r->passes_over) {
        return KM_OK;
    }
    return owner != NULL ? check_other(owner, json) : km_schema_unknown_section(r->schema, name);
}

static km_status set_all(reading *r, const km_json *json) {
    if (!km_json_is_object(json)) {
        return km_fail(KM_USAGE, "found something else, expected an object {\"section\": {\"key\": value}}");
    }
    KM_TRY(km_json_get(json, "version") != NULL ? check_version(km_json_get(json, "version")) : KM_OK);
    for (const km_json *top = km_json_first(json); top != NULL; top = km_json_next(top)) {
        for (const km_json *other = km_json_first(json); other != top; other = km_json_next(other)) {
            if (strcmp(km_json_key(other), km_json_key(top)) == 0) {
                return km_fail(KM_USAGE, "%.200s: this section is given twice", km_json_key(top));
            }
        }
        KM_TRY(set_top(r, top));
    }
    return KM_OK;
}

/* Whether the text has the escape \u0000. It is refused, since cJSON would silently end the string there. */
static bool has_escaped_nul(const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '\\' && strncmp(text + 1, "u0000", 5) == 0) {
            return true;
        }
        text += *text == '\\' && text[1] != '\0';
    }
    return false;
}

static km_status set_from_json(reading *r, const char *text, size_t count, const char *origin) {
    km_json *json = NULL;
    if (km_json_parse(&json, text, count, origin) != KM_OK) {
        return KM_USAGE;
    }
    km_status status =
        has_escaped_nul(text) ? km_fail(KM_USAGE, "found \\u0000, expected text without NUL") : set_all(r, json);
    km_json_destroy(json);
    return status == KM_OK ? KM_OK : km_context(status, "%s", origin);
}

static km_status set_from_file(reading *r, const char *path) {
    char *text = NULL;
    size_t count = 0;
    if (km_file_read(&text, &count, path, LARGEST) != KM_OK) {
        return KM_USAGE;
    }
    km_status status = set_from_json(r, text, count, path);
    free(text);
    return status;
}

/* ---- Assignments -------------------------------------------------------------------------------------------- */

static km_status refuse_other(const km_schema *owner, const km_schema *schema, const char *key) {
    const char *dot = strchr(key, '.');
    const km_part *part = km_schema_find(owner, key, (size_t)(dot - key));
    if (km_section_option(part->section, dot + 1) == NULL) {
        return km_schema_unknown_key(owner, key);
    }
    return km_fail(KM_USAGE, "%s: a key of `kmask %s`, which `kmask %s` does not use. Leave it out.", key,
                   owner->verb, schema->verb);
}

static km_status assign_key(reading *r, const char *key, const char *value) {
    const char *dot = strchr(key, '.');
    if (dot == NULL) {
        return km_schema_unknown_key(r->schema, key);
    }
    const km_part *part = km_schema_find(r->schema, key, (size_t)(dot - key));
    const km_schema *owner = part == NULL ? owner_of(r, key, (size_t)(dot - key)) : NULL;
    if (owner != NULL) {
        return refuse_other(owner, r->schema, key);
    }
    const km_option *option = part == NULL ? NULL : km_section_option(part->section, dot + 1);
    return option == NULL ? km_schema_unknown_key(r->schema, key)
                          : km_option_set_text(part->section, option, r->config + part->place, value);
}

/* Reads an assignment "section.key=value". */
static km_status assign(reading *r, const char *text) {
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        return km_fail(KM_USAGE, "--set: found %.200s, expected key=value", text);
    }
    char *key = km_format("%.*s", (int)KM_MIN(equals - text, 200), text);
    km_status status = assign_key(r, key, equals + 1);
    free(key);
    return status == KM_OK ? KM_OK : km_context(status, "--set");
}

/* ---- All of it ---------------------------------------------------------------------------------------------- */

km_status km_schema_read(const km_schema *schema, void *out, const km_config_source *source) {
    reading r = {.schema = schema, .config = out, .others = source->others};
    memset(out, 0, schema->size); /* also the padding, since configs are compared and broadcast as bytes */
    if (source->path != NULL) {
        KM_TRY(set_from_file(&r, source->path));
    }
    for (int i = 0; i < source->set_count; i++) {
        KM_TRY(assign(&r, source->set[i]));
    }
    return KM_OK;
}

km_status km_schema_parse(const km_schema *schema, void *out, const char *json, const char *origin) {
    reading r = {.schema = schema, .config = out, .passes_over = true};
    memset(out, 0, schema->size);
    return set_from_json(&r, json, strlen(json), origin);
}
