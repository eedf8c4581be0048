/* schema_hint: what is said of a key that is not there: the one that was meant, also where it is another program's name. */
#include "schema.h"

#include <ctype.h>
#include <stdlib.h>

/* Whether the `length` bytes at `name` are `word`, apart from case, underscores and hyphens: batchSize is batch_size. */
static bool is_same(const char *word, const char *name, size_t length) {
    for (const char *end = name + length;; word++, name++) {
        word += strspn(word, "_-");
        while (name < end && (*name == '_' || *name == '-')) {
            name++;
        }
        if (*word == '\0' || name == end) {
            return *word == '\0' && name == end;
        }
        if (tolower((unsigned char)*word) != tolower((unsigned char)*name)) {
            return false;
        }
    }
}

/* Whether other programs call the option so. */
static bool is_called(const km_option *option, const char *word) {
    for (const char *name = option->also; name != NULL && *name != '\0'; name += *name == '|') {
        size_t length = strcspn(name, "|");
        if (is_same(word, name, length)) {
            return true;
        }
        name += length;
    }
    return false;
}

/* Finds the option that is called `word`, in kmask (also = false) or in other programs; one of section `home` comes first, which
 * has `length` bytes and may be empty. */
static bool find_called(km_field *out, const km_schema *schema, const char *word, bool also, const char *home,
                        size_t length) {
    km_field field;
    bool found = false;
    for (int i = 0; km_schema_field(&field, schema, i); i++) {
        const km_option *option = field.option;
        bool own = strlen(field.section->name) == length && strncmp(field.section->name, home, length) == 0;
        bool called = also ? is_called(option, word) : is_same(word, option->name, strlen(option->name));
        if (called && (own || !found)) {
            *out = field;
            found = true;
            if (own) {
                return true;
            }
        }
    }
    return found;
}

/* The option whose key begins with `key` or is nearest to it by edit distance. */
static bool find_near(km_field *out, const km_schema *schema, const char *key) {
    km_field field;
    int count = 0;
    while (km_schema_field(&field, schema, count)) {
        count++;
    }
    char **keys = km_new((size_t)count + 1, sizeof *keys);
    int begins = -1, nearest = -1;
    const char *dot = strchr(key, '.');
    for (int i = 0; km_schema_field(&field, schema, i); i++) {
        keys[i] = km_format("%s.%s", field.section->name, field.option->name);
        begins =
            begins < 0 && dot != NULL && dot[1] != '\0' && strncmp(keys[i], key, strlen(key)) == 0 ? i : begins;
    }
    const char *near = km_nearest(key, (const char *const *)keys);
    for (int i = 0; i < count; i++) {
        nearest = keys[i] == near ? i : nearest;
    }
    for (int i = 0; i < count; i++) {
        free(keys[i]);
    }
    free(keys);
    int which = begins >= 0 ? begins : nearest;
    return which >= 0 && km_schema_field(out, schema, which);
}

/* " Did you mean mask.splits?" for a key that is unknown, "" where nothing is like it; the caller frees. */
static char *hint_for(const km_schema *schema, const char *key) {
    const char *dot = strchr(key, '.'), *name = dot == NULL ? key : dot + 1;
    size_t length = dot == NULL ? 0 : (size_t)(dot - key);
    km_field field;
    if (find_called(&field, schema, name, false, key, length)) {
        return km_format(" Did you mean %s.%s?", field.section->name, field.option->name);
    }
    if (find_called(&field, schema, name, true, key, length)) {
        return km_format(" Did you mean %s.%s (%s)?", field.section->name, field.option->name, field.option->help);
    }
    return find_near(&field, schema, key)
               ? km_format(" Did you mean %s.%s?", field.section->name, field.option->name)
               : km_strdup("");
}

km_status km_schema_unknown_key(const km_schema *schema, const char *key) {
    char *hint = hint_for(schema, key), *where = km_format(" See `kmask %s --help` for all keys.", schema->verb);
    km_status status = km_fail(KM_USAGE, "%.200s: unknown key.%s", key, hint[0] != '\0' ? hint : where);
    free(where);
    free(hint);
    return status;
}

/* Returns the names of all sections, with commas; the caller frees. Sets *near to the name that is most like `name`, or NULL. */
static char *sections_of(const km_schema *schema, const char *name, const char **near) {
    int count = km_schema_parts(schema);
    const char **words = km_new((size_t)count + 1, sizeof *words);
    km_buffer all = {0};
    for (int i = 0; i < count; i++) {
        words[i] = km_schema_part(schema, i)->section->name;
        km_buffer_print(&all, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    *near = km_nearest(name, words);
    free(words);
    return all.data;
}

km_status km_schema_unknown_section(const km_schema *schema, const char *name) {
    km_field field;
    const char *near = NULL;
    char *all = sections_of(schema, name, &near);
    bool called = find_called(&field, schema, name, false, "", 0) || find_called(&field, schema, name, true, "", 0);
    if (strchr(name, '.') != NULL || (called && near == NULL)) {
        char *hint = hint_for(schema, name);
        km_fail(KM_USAGE, "%.200s: keys of a section stand in an object: {\"section\": {\"key\": value}}.%s", name,
                hint);
        free(hint);
    } else if (near != NULL) {
        km_fail(KM_USAGE, "%.200s: unknown section. Did you mean %s?", name, near);
    } else {
        km_fail(KM_USAGE, "%.200s: unknown section, expected one of %s", name, all);
    }
    free(all);
    return KM_USAGE;
}
