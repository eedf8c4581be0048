/* config: finding a verb, the schemas of all verbs, and where a verb's config comes from. */
#include "cli.h"

#include <string.h>

const cli_verb *cli_verb_named(const char *name) {
    for (const cli_verb *const *verb = cli_verbs; *verb != NULL; verb++) {
        if (strcmp((*verb)->name, name) == 0) {
            return *verb;
        }
    }
    return NULL;
}

const km_schema *const *cli_schemas(void) {
    enum { MOST = 32 };
    static const km_schema *all[MOST + 1];
    int count = 0;
    for (const cli_verb *const *verb = cli_verbs; *verb != NULL && count < MOST; verb++) {
        const km_schema *schema = (*verb)->schema;
        if (schema != NULL && strcmp(schema->verb, (*verb)->name) == 0) {
            all[count++] = schema;
        }
    }
    all[count] = NULL;
    return all;
}

km_config_source cli_config_source(const char *path, const cli_list *set) {
    return (km_config_source){.path = path, .set_count = set->count, .set = set->items, .others = cli_schemas()};
}

const char *cli_choices(const km_section *section, const char *name) {
    return km_option_choices(km_section_option(section, name));
}
