/* tokenizer.json, the one file of newer HuggingFace folders that have no vocab.txt. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

enum { JSON_BYTES = 1 << 30 };

/* An absent key, or null, keeps *flag. */
static km_status read_flag(bool *flag, const km_json *json, const char *key, const char *path) {
    const km_json *value = km_json_get(json, key);
    if (value == NULL || km_json_is_null(value) || km_json_boolean(flag, value)) {
        return KM_OK;
    }
    return km_fail(KM_FAILED, "%s: the normalizer's \"%s\" is not true or false", path, key);
}

static km_status read_normalizer(km_folding *folding, const km_json *normalizer, const char *path) {
    const char *type = km_json_string(km_json_get(normalizer, "type"));
    if (type == NULL || strcmp(type, "BertNormalizer") != 0) {
        return km_fail(KM_FAILED, "%s: the normalizer is %.100s, expected BertNormalizer", path,
                       type == NULL ? "not there" : type);
    }
    bool clean = true;
    KM_TRY(read_flag(&clean, normalizer, "clean_text", path));
    if (!clean) {
        return km_fail(KM_FAILED, "%s: the normalizer has clean_text false, which is not supported", path);
    }
    KM_TRY(read_flag(&folding->lowercase, normalizer, "lowercase", path));
    folding->strip_accents = folding->lowercase;
    KM_TRY(read_flag(&folding->strip_accents, normalizer, "strip_accents", path));
    return read_flag(&folding->chinese, normalizer, "handle_chinese_chars", path);
}

/* pieces[id] = piece for all of {"piece": id, ...}, whose ids must be 0 to count - 1. */
static km_status place_pieces(const char **pieces, size_t count, const km_json *vocab, const char *path) {
    for (const km_json *item = km_json_first(vocab); item != NULL; item = km_json_next(item)) {
        double id = -1;
        if (!km_json_number(&id, item) || !(id >= 0 && id < (double)count) || id > (double)(size_t)id) {
            return km_fail(KM_FAILED, "%s: the id of piece \"%.100s\" is not a whole number from 0 to %zu", path,
                           km_json_key(item), count - 1);
        }
        if (pieces[(size_t)id] != NULL) {
            return km_fail(KM_FAILED, "%s: pieces \"%.100s\" and \"%.100s\" have the same id", path,
                           pieces[(size_t)id], km_json_key(item));
        }
        pieces[(size_t)id] = km_json_key(item);
    }
    return KM_OK;
}

static km_status read_model(km_tokenizer **out, const km_json *model, km_folding folding, const char *path) {
    const char *type = km_json_string(km_json_get(model, "type"));
    const char *prefix = km_json_string(km_json_get(model, "continuing_subword_prefix"));
    const km_json *vocab = km_json_get(model, "vocab");
    if (type == NULL || strcmp(type, "WordPiece") != 0 || !km_json_is_object(vocab)) {
        return km_fail(KM_FAILED, "%s: the model is not WordPiece with a vocab, the only kind supported here",
                       path);
    }
    if (prefix != NULL && strcmp(prefix, "##") != 0) {
        return km_fail(KM_FAILED, "%s: continuing_subword_prefix is \"%.100s\", expected \"##\"", path, prefix);
    }
    size_t count = km_json_size(vocab);
    const char **pieces = km_new(count, sizeof *pieces);
    km_status status = place_pieces(pieces, count, vocab, path);
    km_buffer text = {0};
    for (size_t i = 0; status == KM_OK && i < count; i++) {
        km_buffer_add(&text, pieces[i], strlen(pieces[i]) + 1);
    }
    free(pieces);
    return status != KM_OK ? status : km_tokenizer_make(out, text.data, text.size, count, folding, path);
}

km_status km_tokenizer_json_open(km_tokenizer **out, const char *path) {
    km_json *json = NULL;
    km_folding folding = {true, true, true};
    *out = NULL;
    KM_TRY(km_json_load(&json, path, JSON_BYTES));
    km_status status = read_normalizer(&folding, km_json_get(json, "normalizer"), path);
    if (status == KM_OK) {
        status = read_model(out, km_json_get(json, "model"), folding, path);
    }
    km_json_destroy(json);
    return status;
}
