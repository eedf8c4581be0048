/* Choices by their names in the config. */
#include "kmask/data.h"

#include <string.h>

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
    static const char *const names[] = {[KM_PACK_FULL_SENTENCES] = "full_sentences",
                                        [KM_PACK_DOCUMENTS] = "documents",
                                        [KM_PACK_STREAM] = "stream"};
    int found = 0;
    bool known = find(&found, name, names, KM_COUNT(names));
    if (known) {
        *out = (km_packing)found;
    }
    return known;
}

bool km_unit_named(km_unit *out, const char *name) {
    static const char *const names[] = {
        [KM_UNIT_SUBWORD] = "subword", [KM_UNIT_WORD] = "word", [KM_UNIT_SPAN] = "span"};
    int found = 0;
    bool known = find(&found, name, names, KM_COUNT(names));
    if (known) {
        *out = (km_unit)found;
    }
    return known;
}
