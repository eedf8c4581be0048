/* named: choices by their names in the config. */
#include "kmask/data.h"

#include <string.h>

static const char *const packings[] = {
    [KM_PACK_FULL_SENTENCES] = "full_sentences", [KM_PACK_DOCUMENTS] = "documents", [KM_PACK_STREAM] = "stream"};
static const char *const units[] = {
    [KM_UNIT_SUBWORD] = "subword", [KM_UNIT_WORD] = "word", [KM_UNIT_SPAN] = "span"};

static bool find(int *out, const char *name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (int)i;
            return true;
        }
    }
    return false;
}

bool km_packing_named(km_packing *out, const char *name) {
    int found = 0;
    bool known = find(&found, name, packings, KM_COUNT(packings));
    if (known) {
        *out = (km_packing)found;
    }
    return known;
}

bool km_unit_named(km_unit *out, const char *name) {
    int found = 0;
    bool known = find(&found, name, units, KM_COUNT(units));
    if (known) {
        *out = (km_unit)found;
    }
    return known;
}

const char *km_packing_names(void) {
    static char names[KM_NAMES];
    return km_names_join(names, packings, KM_COUNT(packings));
}

const char *km_unit_names(void) {
    static char names[KM_NAMES];
    return km_names_join(names, units, KM_COUNT(units));
}
