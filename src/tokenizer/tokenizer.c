/* Makes a tokenizer out of pieces and settings: checks the pieces, gives added tokens their ids, and finds the special
 * tokens. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

static const char *const role_keys[] = {"pad", "unk", "cls", "sep", "mask"};

km_tokenizer *km_tokenizer_new(const km_family *family) {
    km_tokenizer *t = km_new(1, sizeof *t);
    t->family = family;
    t->unknown = -1;
    return t;
}

void km_tokenizer_destroy(km_tokenizer *tokenizer) {
    if (tokenizer == NULL) {
        return;
    }
    tokenizer->family->destroy(tokenizer);
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        free(tokenizer->added[i].content);
        free(tokenizer->added[i].normalized_text);
    }
    free(tokenizer->added);
    km_added_set_free(&tokenizer->added_raw);
    km_added_set_free(&tokenizer->added_normalized);
    km_pipeline_destroy(tokenizer->pipeline);
    free(tokenizer->merges);
    km_strings_free(&tokenizer->pieces);
    free(tokenizer);
}

/* ---- The vocabulary ------------------------------------------------------------------------------------- */

int32_t km_tokenizer_id(const km_tokenizer *tokenizer, const char *piece) {
    return (int32_t)km_strings_find(&tokenizer->pieces, piece, strlen(piece));
}

const char *km_tokenizer_piece(const km_tokenizer *tokenizer, int32_t id) {
    return id >= 0 && id < (int32_t)tokenizer->pieces.count ? km_strings_get(&tokenizer->pieces, (uint32_t)id)
                                                            : NULL;
}

int32_t km_tokenizer_size(const km_tokenizer *tokenizer) {
    return (int32_t)tokenizer->pieces.count;
}

bool km_tokenizer_has_blanks(const km_tokenizer *tokenizer) {
    return tokenizer->family == &km_family_bpe || tokenizer->pipeline != NULL;
}

km_specials km_tokenizer_specials(const km_tokenizer *tokenizer) {
    return tokenizer->specials;
}

km_status km_tokenizer_can_mask(const km_tokenizer *tokenizer, const char *origin) {
    const km_specials *s = &tokenizer->specials;
    const int32_t ids[] = {s->pad, 0, s->cls, s->sep, s->mask};
    const char *const *usual = tokenizer->family->usual_names[0];
    km_buffer missing = {0};
    for (size_t i = 0; i < KM_ROLES; i++) {
        if (ids[i] < 0) {
            km_buffer_print(&missing, "%s%s (%s)", missing.size > 0 ? ", " : "", usual[i], role_keys[i]);
        }
    }
    km_status status = KM_OK;
    if (missing.size > 0) {
        status =
            km_fail(KM_FAILED,
                    "%s: the vocabulary has no %s, which masked language modelling needs. Add them to it, or name "
                    "its own in special_tokens_map.json.",
                    origin, missing.data);
    }
    km_buffer_free(&missing);
    return status;
}

const km_added_token *km_added_token_of(const km_tokenizer *tokenizer, int32_t id) {
    size_t low = 0, high = tokenizer->added_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (tokenizer->added[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < tokenizer->added_count && tokenizer->added[low].id == id ? &tokenizer->added[low] : NULL;
}

/* ---- Pieces --------------------------------------------------------------------------------------------- */

static bool is_utf8(const char *text, size_t count) {
    const char *at = text, *end = text + count;
    while (at < end) {
        if (km_utf8_next(&at, end) < 0) {
            return false;
        }
    }
    return true;
}

km_status km_tokenizer_add(km_tokenizer *tokenizer, const char *piece, size_t size, const char *origin) {
    const uint32_t id = tokenizer->pieces.count;
    if (id >= KM_PIECES) {
        return km_fail(KM_FAILED, "%s: more than %d pieces. Is this a vocabulary?", origin, KM_PIECES);
    }
    if (size == 0) {
        return km_fail(KM_FAILED, "%s: piece %u is empty, expected text", origin, id);
    }
    if (!is_utf8(piece, size)) {
        return km_fail(KM_FAILED, "%s: piece %u is not valid UTF-8. Save the vocabulary as UTF-8.", origin, id);
    }
    if (tokenizer->family == &km_family_wordpiece && tokenizer->pipeline == NULL &&
        strpbrk(piece, "\r\n") != NULL) {
        return km_fail(KM_FAILED, "%s: piece %u holds a line end, which a vocab.txt cannot hold", origin, id);
    }
    uint32_t same = km_strings_add(&tokenizer->pieces, piece, size);
    if (same != id) {
        return km_fail(KM_FAILED, "%s: piece \"%s\" stands twice, as %u and as %u, expected different pieces",
                       origin, piece, same, id);
    }
    return KM_OK;
}

km_status km_tokenizer_add_hole(km_tokenizer *tokenizer, const char *origin) {
    char name[32];
    const int size = snprintf(name, sizeof name, "[no piece %u]", tokenizer->pieces.count);
    return km_tokenizer_add(tokenizer, name, (size_t)size, origin);
}

km_status km_tokenizer_merge(km_tokenizer *tokenizer, const char *left, size_t left_size, const char *right,
                             size_t right_size, const char *origin) {
    const km_strings *pieces = &tokenizer->pieces;
    km_buffer whole = {0};
    km_buffer_add(&whole, left, left_size);
    const size_t prefix = tokenizer->pipeline == NULL ? 0 : strlen(tokenizer->pipeline->model.prefix);
    const size_t skipped = KM_MIN(prefix, right_size); /* of a right piece, which is written with it */
    km_buffer_add(&whole, right + skipped, right_size - skipped);
    const int64_t ids[] = {km_strings_find(pieces, left, left_size), km_strings_find(pieces, right, right_size),
                           km_strings_find(pieces, whole.data, whole.size)};
    km_buffer_free(&whole);
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0) {
        return km_fail(KM_FAILED,
                       "%s: merge %zu is of \"%.*s\" and \"%.*s\", but %s in the vocabulary. Are both files of one "
                       "tokenizer?",
                       origin, tokenizer->merge_count + 1, (int)KM_MIN(left_size, 100), left,
                       (int)KM_MIN(right_size, 100), right,
                       ids[0] < 0   ? "the first is not"
                       : ids[1] < 0 ? "the second is not"
                                    : "what they make together is not");
    }
    if ((tokenizer->merge_count & (tokenizer->merge_count - 1)) == 0) {
        tokenizer->merges =
            km_grow(tokenizer->merges, KM_MAX(2 * tokenizer->merge_count, 1), sizeof *tokenizer->merges);
    }
    tokenizer->merges[tokenizer->merge_count++] = (km_merge){(int32_t)ids[0], (int32_t)ids[1], (int32_t)ids[2]};
    return KM_OK;
}

/* ---- Special and added tokens --------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b) {
    const km_added_token *x = a, *y = b;
    return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : (x->place > y->place) - (x->place < y->place);
}

/* Gives an added token its id as the tokenizers package does, whatever files say: that of its piece, or the next one behind all
 * others. Sets *told once this was said of a token for which files say otherwise. */
static km_status place_token(km_tokenizer *t, km_added_token *token, bool *told, const char *origin) {
    const int32_t said = token->id, found = km_tokenizer_id(t, token->content);
    if (found < 0 && said < t->model_size) { /* the vocabulary is damaged, or of another tokenizer */
        return km_fail(KM_FAILED,
                       "%s: the added token \"%.100s\" has the id %d, where the vocabulary has \"%.100s\"", origin,
                       token->content, said, km_tokenizer_piece(t, said));
    }
    token->id = found >= 0 ? found : (int32_t)t->pieces.count;
    if (token->id != said && !*told) {
        *told = true;
        km_warn("%s: the added token \"%.60s\" has the id %d in the files, but %d %s, which counts, as for "
                "transformers",
                origin, token->content, said, token->id,
                found >= 0 ? "in the vocabulary" : "is the next one that is free");
    }
    return found >= 0 ? KM_OK : km_tokenizer_add(t, token->content, strlen(token->content), origin);
}

/* Makes the list of added tokens. One that is no piece of the vocabulary becomes one behind it. */
static km_status place_added(km_tokenizer *t, const km_settings *settings, const char *origin) {
    bool told = false;
    t->added = km_new(settings->added_count + KM_ROLES, sizeof *t->added);
    for (size_t i = 0; i < settings->added_count; i++) {
        km_added_token token = settings->added[i];
        token.id = token.id < 0 ? km_tokenizer_id(t, token.content) : token.id;
        if (token.id >= 0) { /* otherwise a file names it, but this vocabulary does not have it */
            token.content = km_strdup(token.content);
            t->added[t->added_count++] = token;
        }
    }
    qsort(t->added, t->added_count, sizeof *t->added, by_id);
    for (size_t i = 0; i < t->added_count; i++) {
        KM_TRY(place_token(t, &t->added[i], &told, origin));
    }
    qsort(t->added, t->added_count, sizeof *t->added, by_id);
    return KM_OK;
}

/* Makes the special token of a role an added token. It is special, whatever files say. */
static void add_role(km_tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->added_count; i++) {
        if (t->added[i].id == id) {
            t->added[i].special = true;
            return;
        }
    }
    t->added[t->added_count++] = (km_added_token){.content = km_strdup(km_tokenizer_piece(t, id)),
                                                  .id = id,
                                                  .lstrip = KM_UNSET,
                                                  .rstrip = KM_UNSET,
                                                  .single_word = KM_UNSET,
                                                  .normalized = KM_UNSET,
                                                  .special = true};
    qsort(t->added, t->added_count, sizeof *t->added, by_id);
}

/* The id of the token that files give for a role (-1 if they give "", that is, none). If they give none, or one that the
 * vocabulary does not have, the first usual name that it has is used. */
static int32_t role_id(const km_tokenizer *t, const km_settings *settings, km_role role) {
    const char *named = settings->role[role];
    int32_t found = named == NULL ? -1 : km_tokenizer_id(t, named);
    if (found >= 0 || (named != NULL && *named == '\0')) {
        return found;
    }
    for (size_t set = 0; set < t->family->usual_count; set++) {
        const char *name = t->family->usual_names[set][role];
        int32_t id = name == NULL ? -1 : km_tokenizer_id(t, name);
        if (id >= 0) {
            return id;
        }
    }
    return -1;
}

/* Finds the special tokens, and gives every flag that is still unset its usual value. */
static void find_specials(km_tokenizer *t, const km_settings *settings) {
    int32_t *const ids[] = {&t->specials.pad, &t->specials.unk, &t->specials.cls, &t->specials.sep,
                            &t->specials.mask};
    for (size_t i = 0; i < KM_ROLES; i++) {
        *ids[i] = role_id(t, settings, (km_role)i);
        if (*ids[i] >= 0) {
            add_role(t, *ids[i]);
        }
    }
    for (size_t i = 0; i < t->added_count; i++) {
        km_added_token *token = &t->added[i];
        bool mask = token->id == t->specials.mask && t->family->mask_lstrip;
        token->lstrip = token->lstrip == KM_UNSET ? mask : token->lstrip;
        token->rstrip = token->rstrip == 1;
        token->single_word = token->single_word == 1;
        token->normalized = token->normalized == KM_UNSET ? !token->special : token->normalized;
    }
}

/* Sorts the added tokens into the two sets in which they are looked for. The family is prepared, so it can normalize them. */
static void make_added_sets(km_tokenizer *t) {
    const bool both = km_tokenizer_normalizes(t) || km_added_order_matters(t->added, t->added_count);
    for (size_t i = 0; i < t->added_count; i++) {
        km_added_token *token = &t->added[i];
        token->normalized = both && token->normalized == 1;
        if (token->normalized == 1 && km_tokenizer_normalizes(t)) {
            km_normalized n = {0};
            (void)km_tokenizer_normalize(t, &n, token->content, 0, strlen(token->content));
            token->normalized_text = km_format("%.*s", (int)n.count, n.count > 0 ? n.text : "");
            km_normalized_free(&n);
        }
        km_added_set_add(token->normalized == 1 ? &t->added_normalized : &t->added_raw, token);
    }
    km_added_set_finish(&t->added_raw);
    km_added_set_finish(&t->added_normalized);
}

km_status km_tokenizer_finish(km_tokenizer **tokenizer, const km_settings *settings, const char *origin) {
    km_tokenizer *t = *tokenizer;
    km_status status = KM_OK;
    t->model_size = t->model_size > 0 ? t->model_size : (int32_t)t->pieces.count;
    if (t->pieces.count == 0) {
        status = km_fail(KM_FAILED, "%s: no pieces, expected one a line", origin);
    }
    if (status == KM_OK) {
        status = place_added(t, settings, origin);
    }
    if (status == KM_OK) {
        find_specials(t, settings);
        status = t->family->prepare(t, settings, origin);
    }
    if (status == KM_OK) {
        make_added_sets(t);
    }
    if (status != KM_OK) {
        km_tokenizer_destroy(t);
        *tokenizer = NULL;
    }
    return status;
}
