#include <stdlib.h>
#include <string.h>

#include "kmask/text.h"
#include "tokenizer.h"

/* Replaces each `from` behind `start` by the shorter `to`, left to right. */
static void replace(km_buffer *text, size_t start, const char *from, const char *to) {
    size_t from_size = strlen(from), to_size = strlen(to);
    if (text->size == 0) {
        return;
    }
    char *end = text->data + text->size, *at = text->data + start, *out = at, *found;
    while ((found = memmem(at, (size_t)(end - at), from, from_size)) != NULL) {
        memmove(out, at, (size_t)(found - at));
        out += found - at;
        memcpy(out, to, to_size);
        out += to_size;
        at = found + from_size;
    }
    memmove(out, at, (size_t)(end - at));
    out += end - at;
    *out = '\0';
    text->size = (size_t)(out - text->data);
}

/* The clean-up of transformers, in its order; the reference applies it to each piece and then to the whole. */
static void clean_up(km_buffer *text, size_t start, bool piece) {
    replace(text, start, " .", ".");
    replace(text, start, " ?", "?");
    replace(text, start, " !", "!");
    replace(text, start, " ,", ",");
    replace(text, start, " ' ", "'");
    replace(text, start, " n't", "n't");
    replace(text, start, " 'm", "'m");
    if (piece) {
        replace(text, start, " do not", " don't");
    }
    replace(text, start, " 's", "'s");
    replace(text, start, " 've", "'ve");
    replace(text, start, " 're", "'re");
}

static bool is_special(const km_specials *s, int32_t id) {
    return id == s->pad || id == s->unk || id == s->cls || id == s->sep || id == s->mask;
}

char *km_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_specials) {
    km_buffer text = {0};
    km_buffer_add(&text, "", 0);
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        const char *piece = km_tokenizer_piece(tokenizer, ids[i]);
        if (piece == NULL || (skip_specials && is_special(&tokenizer->specials, ids[i]))) {
            continue;
        }
        size_t start = text.size;
        bool continues = piece[0] == '#' && piece[1] == '#';
        km_buffer_print(&text, "%s%s", first || continues ? "" : " ", !first && continues ? piece + 2 : piece);
        if (strchr(text.data + start, ' ') != NULL) {
            clean_up(&text, start, true);
        }
        first = false;
    }
    clean_up(&text, 0, false);
    return text.data;
}
