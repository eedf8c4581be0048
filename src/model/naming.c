/* Names of tensors in other programs' files, and the table's own for them. */
#include "kmask/model.h"

#include <string.h>

static bool starts(const char *name, const char *with) {
    return strncmp(name, with, strlen(with)) == 0;
}

static bool ends(const char *name, const char *with) {
    size_t length = strlen(name), tail = strlen(with);
    return length >= tail && strcmp(name + length - tail, with) == 0;
}

/* Whether `name` begins with one of the list. */
static bool starts_one(const char *name, const char *const *list) {
    for (int i = 0; list[i] != NULL; i++) {
        if (starts(name, list[i])) {
            return true;
        }
    }
    return false;
}

static bool is_one(const char *name, const char *const *list) {
    for (int i = 0; list[i] != NULL; i++) {
        if (strcmp(name, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool km_interchange_is_backbone(const km_interchange *files, const char *name) {
    return starts(name, files->root) && starts_one(name + strlen(files->root), files->backbone);
}

bool km_naming_from(km_naming *out, const km_interchange *files, const char *words, const char *name) {
    size_t length = strlen(name), tail = strlen(words), before = length - tail;
    if (!ends(name, words) || (before > 0 && name[before - 1] != '.') || before >= sizeof out->prefix) {
        return false;
    }
    *out = (km_naming){.files = files, .backbone = before, .head = before};
    memcpy(out->prefix, name, before);
    size_t root = strlen(files->root);
    if (ends(out->prefix, files->root) && (before == root || out->prefix[before - root - 1] == '.')) {
        out->head = before - root;
    }
    return true;
}

/* ".LayerNorm.gamma" as the files of 2018 have it. */
static const char *modern(const char *rest, size_t *kept) {
    static const char *const old[][2] = {{".gamma", ".weight"}, {".beta", ".bias"}};
    *kept = strlen(rest);
    for (size_t i = 0; i < KM_COUNT(old); i++) {
        if (ends(rest, old[i][0]) && (strstr(rest, "LayerNorm.") != NULL || strstr(rest, "layer_norm.") != NULL)) {
            *kept -= strlen(old[i][0]);
            return old[i][1];
        }
    }
    return "";
}

bool km_naming_own(char *out, size_t size, const km_naming *naming, const char *name) {
    const km_interchange *files = naming->files;
    const char *before = "", *rest = name;
    if (strncmp(name, naming->prefix, naming->head) == 0) {
        rest = name + naming->head;
    }
    if (strncmp(name, naming->prefix, naming->backbone) == 0) {
        const char *behind = name + naming->backbone;
        if (starts_one(behind, files->backbone) || starts_one(behind, files->unused)) {
            before = files->root;
            rest = behind;
        }
    }
    size_t kept = 0;
    const char *tail = modern(rest, &kept);
    int length = snprintf(out, size, "%s%.*s%s", before, (int)kept, rest, tail);
    return length >= 0 && (size_t)length < size;
}

km_tensor_kind km_naming_kind(const km_interchange_copy **copy, const km_naming *naming, const char *own) {
    const km_interchange *files = naming->files;
    for (*copy = files->copies; (*copy)->name != NULL; ++*copy) {
        if (strcmp(own, (*copy)->name) == 0) {
            return KM_TENSOR_COPY;
        }
    }
    *copy = NULL;
    if (starts(own, files->head)) {
        return KM_TENSOR_UNKNOWN;
    }
    if (!starts(own, files->root)) {
        return KM_TENSOR_EXTRA;
    }
    const char *rest = own + strlen(files->root);
    return is_one(rest, files->buffers)        ? KM_TENSOR_BUFFER
           : starts_one(rest, files->backbone) ? KM_TENSOR_UNKNOWN
                                               : KM_TENSOR_EXTRA;
}
