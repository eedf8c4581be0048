/* A tokenizer as the JSON text that corpora and model files carry: printing, parsing, and the hash of it. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

static const char *const keys[] = {"pad", "unk", "cls", "sep", "mask"};

static void list_ids(int32_t ids[KM_ROLES], const km_specials *s) {
    const int32_t all[KM_ROLES] = {s->pad, s->unk, s->cls, s->sep, s->mask};
    memcpy(ids, all, sizeof all);
}

/* Whether the added tokens are just the five special ones under their usual names and with their usual flags. They are not
 * printed then. */
static bool as_usual(const km_tokenizer *t) {
    int32_t ids[KM_ROLES];
    list_ids(ids, &t->specials);
    bool usual = t->family == &km_family_wordpiece && t->added_count == KM_ROLES;
    for (size_t i = 0; usual && i < KM_ROLES; i++) {
        const km_added_token *token = &t->added[i];
        usual = token->special && token->lstrip != 1 && token->rstrip != 1 && token->single_word != 1 &&
                token->normalized != 1 && km_tokenizer_id(t, t->family->usual_names[0][i]) == ids[i];
    }
    return usual;
}

static km_json *print_added(const km_tokenizer *t) {
    km_json *list = km_json_array();
    for (size_t i = 0; i < t->added_count; i++) {
        km_json *token = km_json_object();
        km_json_set_number(token, "id", t->added[i].id);
        km_json_set_boolean(token, "lstrip", t->added[i].lstrip == 1);
        km_json_set_boolean(token, "rstrip", t->added[i].rstrip == 1);
        km_json_set_boolean(token, "special", t->added[i].special);
        if (t->added[i].single_word ==
            1) { /* printed only if true, so that hashes from before these flags existed stay the same */
            km_json_set_boolean(token, "single_word", true);
        }
        if (t->added[i].normalized == 1) {
            km_json_set_boolean(token, "normalized", true);
        }
        km_json_push(list, token);
    }
    return list;
}

static char *print(const km_tokenizer *t, bool ids_only) {
    int32_t ids[KM_ROLES];
    list_ids(ids, &t->specials);
    km_json *json = km_json_object();
    km_json_set_string(json, "type", t->family->type);
    if (t->pipeline != NULL) {
        km_pipeline_print(t, json, ids_only);
    }
    t->family->print(t, json, ids_only);
    km_json *specials = km_json_object();
    for (size_t i = 0; i < KM_ROLES; i++) {
        km_json_set_number(specials, keys[i], ids[i]);
    }
    km_json_set(json, "specials", specials);
    if (!as_usual(t)) {
        km_json_set(json, "added", print_added(t));
        km_json_set_number(json, "model_size", t->model_size);
    }
    km_json *vocab = km_json_array();
    for (uint32_t id = 0; id < t->pieces.count; id++) {
        km_json_push_string(vocab, km_strings_get(&t->pieces, id));
    }
    km_json_set(json, "vocab", vocab);
    char *text = km_json_print(json, false);
    km_json_destroy(json);
    return text;
}

char *km_tokenizer_print(const km_tokenizer *tokenizer) {
    return print(tokenizer, false);
}

km_hash km_tokenizer_hash(const km_tokenizer *tokenizer) {
    char *text = print(tokenizer, true);
    km_hash hash = km_hash_bytes(text, strlen(text));
    free(text);
    return hash;
}

/* ---- Parsing -------------------------------------------------------------------------------------------- */

km_status km_tokenizer_read_pieces(km_tokenizer *tokenizer, const km_json *json, const char *origin) {
    const km_json *vocab = km_json_get(json, "vocab");
    if (!km_json_is_array(vocab)) {
        return km_fail(KM_FAILED, "%s: the tokenizer's \"vocab\" is not a list of pieces", origin);
    }
    for (const km_json *item = km_json_first(vocab); item != NULL; item = km_json_next(item)) {
        const char *piece = km_json_string(item);
        if (piece == NULL) {
            return km_fail(KM_FAILED, "%s: piece %u of the tokenizer's \"vocab\" is not a string", origin,
                           tokenizer->pieces.count);
        }
        KM_TRY(km_tokenizer_add(tokenizer, piece, strlen(piece), origin));
    }
    return KM_OK;
}

/* Reads a whole number from `low` to `high` under `key`. */
static km_status read_number(int32_t *out, const km_json *object, const char *key, int32_t low, int32_t high,
                             const char *origin) {
    double value = 0;
    if (!km_json_number(&value, km_json_get(object, key)) || !(value >= low && value <= high) ||
        value > (double)(int32_t)value) {
        return km_fail(KM_FAILED, "%s: the tokenizer's \"specials\" or \"added\" has no \"%s\" from %d to %d",
                       origin, key, low, high);
    }
    *out = (int32_t)value;
    return KM_OK;
}

static km_status read_added(km_tokenizer *t, km_settings *settings, const km_json *json, const char *origin) {
    const int32_t last = (int32_t)t->pieces.count - 1;
    const km_json *added = km_json_get(json, "added"), *specials = km_json_get(json, "specials");
    for (const km_json *item = km_json_first(added); item != NULL; item = km_json_next(item)) {
        int lstrip = 0, rstrip = 0, special = 0, single = 0, normalized = 0;
        int *const flags[] = {&lstrip, &rstrip, &special, &single, &normalized};
        static const char *const names[] = {"lstrip", "rstrip", "special", "single_word", "normalized"};
        km_added_token token = {0};
        KM_TRY(read_number(&token.id, item, "id", 0, last, origin));
        for (size_t i = 0; i < KM_COUNT(flags); i++) {
            *flags[i] = KM_UNSET;
            KM_TRY(km_settings_flag(flags[i], item, names[i], origin));
        }
        token.content = (char *)(uintptr_t)km_tokenizer_piece(t, token.id);
        token.lstrip = lstrip == 1;
        token.rstrip = rstrip == 1;
        token.single_word = single == 1;
        token.normalized = normalized == 1;
        token.special = special == 1;
        km_settings_add(settings, &token);
    }
    for (size_t i = 0; i < KM_ROLES; i++) {
        int32_t id = -1;
        KM_TRY(read_number(&id, specials, keys[i], -1, last, origin));
        km_settings_role(settings, (km_role)i, id < 0 ? "" : km_tokenizer_piece(t, id));
    }
    return read_number(&t->model_size, json, "model_size", 1, last + 1, origin);
}

/* Without the member "added" the special tokens are found by their usual names. A text whose "specials" say otherwise has been
 * changed by someone. */
static km_status check_specials(const km_tokenizer *t, const km_json *json, const char *origin) {
    const km_json *specials = km_json_get(json, "specials");
    int32_t ids[KM_ROLES];
    list_ids(ids, &t->specials);
    for (size_t i = 0; i < KM_ROLES; i++) {
        double value = -1;
        if (!km_json_number(&value, km_json_get(specials, keys[i])) || value < ids[i] || value > ids[i]) {
            return km_fail(KM_FAILED,
                           "%s: the tokenizer's \"specials\" has another id for \"%s\" than the %d of %s", origin,
                           keys[i], ids[i], t->family->usual_names[0][i]);
        }
    }
    return KM_OK;
}

static km_status from_json(km_tokenizer **out, km_settings *settings, const km_json *json, const char *origin) {
    static const km_family *const families[] = {&km_family_wordpiece, &km_family_bpe};
    const char *type = km_json_string(km_json_get(json, "type"));
    for (size_t i = 0; type != NULL && *out == NULL && i < KM_COUNT(families); i++) {
        *out = strcmp(type, families[i]->type) == 0 ? km_tokenizer_new(families[i]) : NULL;
    }
    if (*out == NULL) {
        return km_fail(KM_FAILED, "%s: the tokenizer's \"type\" is %s%.100s%s, expected \"wordpiece\" or \"bpe\"",
                       origin, type == NULL ? "not there" : "\"", type == NULL ? "" : type,
                       type == NULL ? "" : "\"");
    }
    const bool wordpiece = (*out)->family == &km_family_wordpiece;
    if (km_json_get(json, "pre_tokenizer") != NULL) {
        KM_TRY(km_pipeline_read(&(*out)->pipeline, json, wordpiece, origin));
    }
    KM_TRY((*out)->family->parse(*out, settings, json, origin));
    if ((*out)->pipeline != NULL) {
        KM_TRY(read_number(&(*out)->unknown, km_json_get(json, "model"), "unknown", -1, km_tokenizer_size(*out) - 1,
                           origin));
    }
    bool has_added = km_json_get(json, "added") != NULL;
    if (has_added) {
        KM_TRY(read_added(*out, settings, json, origin));
    }
    KM_TRY(km_tokenizer_finish(out, settings, origin));
    return has_added ? KM_OK : check_specials(*out, json, origin);
}

km_status km_tokenizer_parse(km_tokenizer **out, const char *json, size_t count, const char *origin) {
    km_json *parsed = NULL;
    *out = NULL;
    KM_TRY(km_json_parse(&parsed, json, count, origin));
    km_settings settings;
    km_settings_init(&settings);
    km_status status = from_json(out, &settings, parsed, origin);
    if (status != KM_OK) {
        km_tokenizer_destroy(*out);
        *out = NULL;
    }
    km_settings_free(&settings);
    km_json_destroy(parsed);
    return status;
}
