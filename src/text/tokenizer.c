/* A vocabulary: checked, looked up, printed and parsed. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

static const char *const special_names[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
static const char *const special_keys[] = {"pad", "unk", "cls", "sep", "mask"};

static bool is_utf8(const char *text, size_t count) {
    const char *at = text, *end = text + count;
    while (at < end) {
        if (km_utf8_next(&at, end) < 0) {
            return false;
        }
    }
    return true;
}

static uint64_t piece_hash(bool continues, const char *bytes, size_t count) {
    uint64_t hash = km_piece_seed(continues);
    for (size_t i = 0; i < count; i++) {
        hash = km_piece_step(hash, bytes[i]);
    }
    return hash;
}

static bool continues_word(const char *piece) {
    return piece[0] == '#' && piece[1] == '#';
}

int32_t km_tokenizer_id(const km_tokenizer *tokenizer, const char *piece) {
    bool continues = continues_word(piece);
    const char *bytes = continues ? piece + 2 : piece;
    size_t count = strlen(bytes);
    return km_piece_find(tokenizer, continues, bytes, count, piece_hash(continues, bytes, count));
}

const char *km_tokenizer_piece(const km_tokenizer *tokenizer, int32_t id) {
    return id >= 0 && id < tokenizer->size ? tokenizer->text + tokenizer->starts[id] : NULL;
}

int32_t km_tokenizer_size(const km_tokenizer *tokenizer) {
    return tokenizer->size;
}

km_specials km_tokenizer_specials(const km_tokenizer *tokenizer) {
    return tokenizer->specials;
}

/* ---- Making --------------------------------------------------------------------------------------------- */

static km_status check_piece(const char *piece, size_t size, int32_t id, const char *origin) {
    if (size == 0) {
        return km_fail(KM_FAILED, "%s: piece %d is empty, expected text", origin, id);
    }
    if (!is_utf8(piece, size)) {
        return km_fail(KM_FAILED, "%s: piece %d is not valid UTF-8. Save the vocabulary as UTF-8.", origin, id);
    }
    if (strpbrk(piece, "\r\n") != NULL) {
        return km_fail(KM_FAILED, "%s: piece %d holds a line end, which a vocab.txt cannot hold", origin, id);
    }
    return KM_OK;
}

/* Puts piece `id` into the table; an equal one that is there already is an error. */
static km_status insert(km_tokenizer *t, int32_t id, const char *origin) {
    const char *piece = km_tokenizer_piece(t, id);
    int32_t same = km_tokenizer_id(t, piece);
    if (same >= 0) {
        return km_fail(KM_FAILED, "%s: piece \"%s\" stands twice, as %d and as %d, expected different pieces",
                       origin, piece, same, id);
    }
    bool continues = continues_word(piece);
    const char *bytes = continues ? piece + 2 : piece;
    size_t count = strlen(bytes);
    uint64_t hash = piece_hash(continues, bytes, count);
    uint64_t mixed = hash ^ hash >> 32;
    size_t slot = (size_t)(mixed * 0x9E3779B97F4A7C15ULL >> t->shift);
    while (t->slots[slot].id >= 0) {
        slot = (slot + 1) & t->mask;
    }
    t->slots[slot] = (km_slot){(uint32_t)mixed, id};
    t->longest[continues] = KM_MAX(t->longest[continues], KM_MIN(count, (size_t)KM_WORD_BYTES));
    return KM_OK;
}

static km_status find_specials(km_tokenizer *t, const char *origin) {
    int32_t *const ids[] = {&t->specials.pad, &t->specials.unk, &t->specials.cls, &t->specials.sep,
                            &t->specials.mask};
    km_buffer missing = {0};
    for (size_t i = 0; i < KM_COUNT(ids); i++) {
        *ids[i] = km_tokenizer_id(t, special_names[i]);
        if (*ids[i] < 0) {
            km_buffer_print(&missing, "%s%s", missing.size > 0 ? ", " : "", special_names[i]);
        }
    }
    km_status status = KM_OK;
    if (missing.size > 0) {
        status =
            km_fail(KM_FAILED,
                    "%s: no %s among the %d pieces. A WordPiece vocabulary needs [PAD], [UNK], [CLS], [SEP] and "
                    "[MASK], one piece a line.",
                    origin, missing.data, t->size);
    }
    km_buffer_free(&missing);
    return status;
}

static km_status fill(km_tokenizer *t, const char *origin) {
    size_t slots = 64;
    t->shift = 64 - 6;
    while (slots < 2 * (size_t)t->size) {
        slots *= 2;
        t->shift--;
    }
    t->mask = slots - 1;
    t->slots = km_new(slots, sizeof *t->slots);
    for (size_t i = 0; i < slots; i++) {
        t->slots[i].id = -1;
    }
    for (int32_t id = 0; id < t->size; id++) {
        size_t size = t->starts[id + 1] - t->starts[id] - 1;
        KM_TRY(check_piece(km_tokenizer_piece(t, id), size, id, origin));
        KM_TRY(insert(t, id, origin));
    }
    return find_specials(t, origin);
}

km_status km_tokenizer_make(km_tokenizer **out, char *text, size_t bytes, size_t count, km_folding folding,
                            const char *origin) {
    *out = NULL;
    if (count == 0 || count > KM_PIECES) {
        free(text);
        return count == 0 ? km_fail(KM_FAILED, "%s: no pieces, expected one a line", origin)
                          : km_fail(KM_FAILED, "%s: more than %d pieces. Is this a vocabulary?", origin, KM_PIECES);
    }
    km_tokenizer *t = km_new(1, sizeof *t);
    t->text = text;
    t->size = (int32_t)count;
    t->starts = km_new(count + 1, sizeof *t->starts);
    for (size_t i = 0, at = 0; i < count && at < bytes; i++) {
        at += strlen(text + at) + 1;
        t->starts[i + 1] = at;
    }
    km_status status = fill(t, origin);
    if (status != KM_OK) {
        km_tokenizer_destroy(t);
        return status;
    }
    km_fold_create(&t->fold, folding.lowercase, folding.strip_accents, folding.chinese);
    *out = t;
    return KM_OK;
}

void km_tokenizer_destroy(km_tokenizer *tokenizer) {
    if (tokenizer == NULL) {
        return;
    }
    km_fold_destroy(&tokenizer->fold);
    free(tokenizer->text);
    free(tokenizer->starts);
    free(tokenizer->slots);
    free(tokenizer);
}

/* ---- As JSON -------------------------------------------------------------------------------------------- */

char *km_tokenizer_print(const km_tokenizer *tokenizer) {
    const km_specials *s = &tokenizer->specials;
    const int32_t ids[] = {s->pad, s->unk, s->cls, s->sep, s->mask};
    km_json *json = km_json_object();
    km_json_set_string(json, "type", "wordpiece");
    km_json_set_boolean(json, "lowercase", tokenizer->fold.lowercase);
    km_json_set_boolean(json, "strip_accents", tokenizer->fold.strip_accents);
    km_json_set_boolean(json, "chinese", tokenizer->fold.chinese);
    km_json *specials = km_json_object();
    for (size_t i = 0; i < KM_COUNT(ids); i++) {
        km_json_set_number(specials, special_keys[i], ids[i]);
    }
    km_json_set(json, "specials", specials);
    km_json *vocab = km_json_array();
    for (int32_t id = 0; id < tokenizer->size; id++) {
        km_json_push_string(vocab, km_tokenizer_piece(tokenizer, id));
    }
    km_json_set(json, "vocab", vocab);
    char *text = km_json_print(json, false);
    km_json_destroy(json);
    return text;
}

km_hash km_tokenizer_hash(const km_tokenizer *tokenizer) {
    char *text = km_tokenizer_print(tokenizer);
    km_hash hash = km_hash_bytes(text, strlen(text));
    free(text);
    return hash;
}

static km_status read_flag(bool *out, const km_json *json, const char *key, const char *origin) {
    if (!km_json_boolean(out, km_json_get(json, key))) {
        return km_fail(KM_FAILED, "%s: the tokenizer's \"%s\" is not true or false", origin, key);
    }
    return KM_OK;
}

/* All strings of `vocab`, each with a NUL after it, in `text`. */
static km_status read_pieces(km_buffer *text, size_t *count, const km_json *vocab, const char *origin) {
    *count = 0;
    if (!km_json_is_array(vocab)) {
        return km_fail(KM_FAILED, "%s: the tokenizer's \"vocab\" is not a list of pieces", origin);
    }
    for (const km_json *item = km_json_first(vocab); item != NULL; item = km_json_next(item)) {
        const char *piece = km_json_string(item);
        if (piece == NULL) {
            return km_fail(KM_FAILED, "%s: piece %zu of the tokenizer's \"vocab\" is not a string", origin, *count);
        }
        km_buffer_add(text, piece, strlen(piece) + 1);
        ++*count;
    }
    return KM_OK;
}

/* The ids follow from the usual names; a text that says otherwise was changed by someone. */
static km_status check_specials(const km_tokenizer *t, const km_json *specials, const char *origin) {
    const int32_t ids[] = {t->specials.pad, t->specials.unk, t->specials.cls, t->specials.sep, t->specials.mask};
    for (size_t i = 0; i < KM_COUNT(ids); i++) {
        double value = -1;
        if (!km_json_number(&value, km_json_get(specials, special_keys[i])) || value < ids[i] || value > ids[i]) {
            return km_fail(KM_FAILED,
                           "%s: the tokenizer's \"specials\" has another id for \"%s\" than the %d of %s", origin,
                           special_keys[i], ids[i], special_names[i]);
        }
    }
    return KM_OK;
}

static km_status from_json(km_tokenizer **out, const km_json *json, const char *origin) {
    const char *type = km_json_string(km_json_get(json, "type"));
    if (type == NULL || strcmp(type, "wordpiece") != 0) {
        return km_fail(KM_FAILED, "%s: the tokenizer's \"type\" is %s%.100s%s, expected \"wordpiece\"", origin,
                       type == NULL ? "not there" : "\"", type == NULL ? "" : type, type == NULL ? "" : "\"");
    }
    km_folding folding = {0};
    KM_TRY(read_flag(&folding.lowercase, json, "lowercase", origin));
    KM_TRY(read_flag(&folding.strip_accents, json, "strip_accents", origin));
    KM_TRY(read_flag(&folding.chinese, json, "chinese", origin));
    km_buffer text = {0};
    size_t count = 0;
    km_status status = read_pieces(&text, &count, km_json_get(json, "vocab"), origin);
    if (status != KM_OK) {
        km_buffer_free(&text);
        return status;
    }
    KM_TRY(km_tokenizer_make(out, text.data, text.size, count, folding, origin));
    status = check_specials(*out, km_json_get(json, "specials"), origin);
    if (status != KM_OK) {
        km_tokenizer_destroy(*out);
        *out = NULL;
    }
    return status;
}

km_status km_tokenizer_parse(km_tokenizer **out, const char *json, size_t count, const char *origin) {
    km_json *parsed = NULL;
    *out = NULL;
    KM_TRY(km_json_parse(&parsed, json, count, origin));
    km_status status = from_json(out, parsed, origin);
    km_json_destroy(parsed);
    return status;
}
