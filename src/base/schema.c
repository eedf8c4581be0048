/* schema: the sections that a verb reads, as a whole: finding keys, defaults, required keys, printing, comparing. */
#include "schema.h"

#include <stdlib.h>

/* ---- Finding ------------------------------------------------------------------------------------------------ */

const km_option *km_section_option(const km_section *section, const char *name) {
    for (int i = 0; i < section->count; i++) {
        if (strcmp(section->options[i].name, name) == 0) {
            return &section->options[i];
        }
    }
    return NULL;
}

bool km_given(const km_section *section, const void *values, const char *name) {
    const km_option *option = km_section_option(section, name);
    return option != NULL && (*(const uint64_t *)values >> (option - section->options) & 1) != 0;
}

const km_part *km_schema_part(const km_schema *schema, int index) {
    const km_schema *first = schema->first;
    int before = first == NULL ? 0 : km_schema_parts(first);
    if (index < before) {
        return km_schema_part(first, index);
    }
    return index - before < schema->count ? &schema->parts[index - before] : NULL;
}

int km_schema_parts(const km_schema *schema) {
    return schema->count + (schema->first == NULL ? 0 : km_schema_parts(schema->first));
}

const km_part *km_schema_find(const km_schema *schema, const char *name, size_t length) {
    const km_part *part = NULL;
    for (int i = 0; (part = km_schema_part(schema, i)) != NULL; i++) {
        if (strlen(part->section->name) == length && strncmp(part->section->name, name, length) == 0) {
            return part;
        }
    }
    return NULL;
}

bool km_schema_field(km_field *out, const km_schema *schema, int index) {
    const km_part *part = NULL;
    for (int i = 0; (part = km_schema_part(schema, i)) != NULL; i++) {
        if (index < part->section->count) {
            const km_option *option = &part->section->options[index];
            *out = (km_field){.section = part->section, .option = option, .place = part->place + option->place};
            return true;
        }
        index -= part->section->count;
    }
    return false;
}

/* The values of the section that a field belongs to. */
static const void *values_of(const km_field *field, const void *config) {
    return (const char *)config + field->place - field->option->place;
}

/* ---- Defaults and required keys ----------------------------------------------------------------------------- */

km_status km_schema_fill(const km_schema *schema, void *config) {
    const km_part *part = NULL;
    for (int p = 0; (part = km_schema_part(schema, p)) != NULL; p++) {
        const km_section *section = part->section;
        void *values = (char *)config + part->place;
        uint64_t given = *(uint64_t *)values;
        for (int i = 0; i < section->count; i++) {
            const km_option *option = &section->options[i];
            if (option->standard != NULL && !km_option_required(option) && (given >> i & 1) == 0) {
                KM_TRY(km_option_set_text(section, option, values, option->standard));
            }
        }
        *(uint64_t *)values = given; /* as before: a value that comes from a default does not count as given */
    }
    return KM_OK;
}

static bool is_wanted(const km_field *field, const char *const *keys) {
    if (keys == NULL) {
        return km_option_required(field->option);
    }
    char *key = km_format("%s.%s", field->section->name, field->option->name);
    bool wanted = false;
    for (; *keys != NULL; keys++) {
        wanted = wanted || strcmp(*keys, key) == 0;
    }
    free(key);
    return wanted;
}

km_status km_schema_require(const km_schema *schema, const void *config, const char *const *keys) {
    km_buffer missing = {0};
    km_field field;
    for (int i = 0; km_schema_field(&field, schema, i); i++) {
        if (is_wanted(&field, keys) && !km_given(field.section, values_of(&field, config), field.option->name)) {
            km_buffer_print(&missing, "%s%s.%s", missing.size > 0 ? ", " : "", field.section->name,
                            field.option->name);
        }
    }
    km_status status = KM_OK;
    if (missing.size > 0) {
        status =
            km_fail(KM_USAGE, "%s: missing. Give it in the config file or with --set key=value.", missing.data);
    }
    km_buffer_free(&missing);
    return status;
}

/* ---- Printing and comparing --------------------------------------------------------------------------------- */

static bool is_concerned(const km_field *field, const void *config) {
    const km_section *section = field->section;
    return section->concerns == NULL || section->concerns(values_of(field, config), field->option);
}

char *km_schema_print(const km_schema *schema, const void *config) {
    km_buffer out = {0};
    km_field field;
    const km_section *last = NULL;
    km_buffer_print(&out, "{\n  \"version\": %d", KM_CONFIG_VERSION);
    for (int i = 0; km_schema_field(&field, schema, i); i++) {
        if (!is_concerned(&field, config)) {
            continue;
        }
        if (field.section != last) {
            km_buffer_print(&out, "%s,\n  \"%s\": {\n", last == NULL ? "" : "\n  }", field.section->name);
        } else {
            km_buffer_print(&out, ",\n");
        }
        last = field.section;
        km_buffer_print(&out, "    \"%s\": ", field.option->name);
        km_option_print(field.option, values_of(&field, config), &out);
    }
    km_buffer_print(&out, "\n  }\n}\n");
    return out.data;
}

void km_schema_compare(const km_schema *schema, const void *was, const void *now, km_buffer *refused,
                       km_buffer *changes) {
    km_field field;
    for (int i = 0; km_schema_field(&field, schema, i); i++) {
        const km_option *option = field.option;
        km_buffer before = {0}, after = {0};
        km_option_print(option, values_of(&field, was), &before);
        km_option_print(option, values_of(&field, now), &after);
        bool differs =
            option->resume != KM_ORIGIN && is_concerned(&field, now) && strcmp(before.data, after.data) != 0;
        if (differs && option->resume == KM_FIXED) {
            km_buffer_print(refused, "%s%s.%s (was %s, now %s)", refused->size > 0 ? ", " : "", field.section->name,
                            option->name, before.data, after.data);
        } else if (differs) {
            km_buffer_print(changes, "  %s.%s: %s, was %s%s%s\n", field.section->name, option->name, after.data,
                            before.data, option->consequence != NULL ? "; " : "",
                            option->consequence != NULL ? option->consequence : "");
        }
        km_buffer_free(&before);
        km_buffer_free(&after);
    }
}
