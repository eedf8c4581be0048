/* kind: the list of kinds of tasks. */
#include "kind.h"

#include <string.h>

static const km_task_kind *const kinds[] = {&km_kind_classification, &km_kind_regression, &km_kind_seq2seq};

const km_task_kind *km_task_kind_named(const char *name) {
    for (size_t i = 0; i < KM_COUNT(kinds); i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            return kinds[i];
        }
    }
    return NULL;
}

const char *km_task_kind_names(void) {
    static char names[KM_NAMES];
    const char *words[KM_COUNT(kinds)];
    for (size_t i = 0; i < KM_COUNT(kinds); i++) {
        words[i] = kinds[i]->name;
    }
    return km_names_join(names, words, KM_COUNT(kinds));
}
