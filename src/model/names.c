/* Names of tensors in other programs' files, and the table's own for them. */
#include "kmask/model.h"

#include <string.h>

static const char WORDS[] = "embeddings.word_embeddings.weight";

static bool starts(const char *name, const char *with) {
    return strncmp(name, with, strlen(with)) == 0;
}

static bool ends(const char *name, const char *with) {
    size_t length = strlen(name), tail = strlen(with);
    return length >= tail && strcmp(name + length - tail, with) == 0;
}

static bool is_bert(const char *root) {
    return strcmp(root, "bert.") == 0;
}

bool km_naming_from(km_naming *out, const char *type, const char *name) {
    size_t length = strlen(name), tail = sizeof WORDS - 1, before = length - tail;
    if (!ends(name, WORDS) || (before > 0 && name[before - 1] != '.') || before >= sizeof out->prefix) {
        return false;
    }
    *out = (km_naming){
        .root = strcmp(type, "roberta") == 0 ? "roberta." : "bert.", .backbone = before, .head = before};
    memcpy(out->prefix, name, before);
    size_t root = strlen(out->root);
    if (ends(out->prefix, out->root) && (before == root || out->prefix[before - root - 1] == '.')) {
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
    static const char *const backbone[] = {"embeddings.", "encoder.", "pooler."};
    const char *before = "", *rest = name;
    if (strncmp(name, naming->prefix, naming->head) == 0) {
        rest = name + naming->head;
    }
    if (strncmp(name, naming->prefix, naming->backbone) == 0) {
        for (size_t i = 0; i < KM_COUNT(backbone); i++) {
            if (starts(name + naming->backbone, backbone[i])) {
                before = naming->root;
                rest = name + naming->backbone;
            }
        }
    }
    size_t kept = 0;
    const char *tail = modern(rest, &kept);
    int length = snprintf(out, size, "%s%.*s%s", before, (int)kept, rest, tail);
    return length >= 0 && (size_t)length < size;
}

km_stray km_naming_stray(const char *root, const char *own) {
    const char *head = is_bert(root) ? "cls.predictions." : "lm_head.";
    if (starts(own, head)) {
        const char *rest = own + strlen(head);
        return strcmp(rest, "decoder.weight") == 0 ? KM_STRAY_TIED_WEIGHT
               : strcmp(rest, "decoder.bias") == 0 ? KM_STRAY_TIED_BIAS
                                                   : KM_STRAY_UNKNOWN;
    }
    if (!starts(own, root)) {
        return KM_STRAY_EXTRA;
    }
    const char *rest = own + strlen(root);
    if (strcmp(rest, "embeddings.position_ids") == 0 || strcmp(rest, "embeddings.token_type_ids") == 0) {
        return KM_STRAY_BUFFER;
    }
    return starts(rest, "embeddings.") || starts(rest, "encoder.") ? KM_STRAY_UNKNOWN : KM_STRAY_EXTRA;
}
