/* WordPiece: from words to ids, and back. */
#include <string.h>

#include "wordpiece.h"

typedef struct encoding {
    const km_tokenizer *tokenizer;
    const char *text;
    km_ids *out;
} encoding;

/* The id of the longest piece that the `count` bytes at `at` begin with, and its bytes in *used; -1 where no piece fits. */
static int32_t longest_piece(const km_tokenizer *t, bool continues, const char *at, size_t count, size_t *used) {
    uint64_t hashes[KM_WORD_BYTES];
    size_t limit = KM_MIN(count, t->wordpiece->longest[continues]);
    uint64_t hash = km_piece_seed(continues);
    for (size_t i = 0; i < limit; i++) {
        hashes[i] = hash = km_piece_step(hash, at[i]);
    }
    for (size_t size = limit; size > 0; size--) {
        bool inside = size < count && (at[size] & 0xC0) == 0x80; /* a piece does not end inside a character */
        int32_t id = inside ? -1 : km_piece_find(t, continues, at, size, hashes[size - 1]);
        if (id >= 0) {
            *used = size;
            return id;
        }
    }
    return -1;
}

/* Appends the ids of a word: always the longest piece that fits. A word with a part that no piece fits is [UNK] as a whole. */
static void encode_word(void *context, const km_word *word) {
    encoding *e = context;
    km_ids *out = e->out;
    km_ids_reserve(out, KM_WORD_CHARS);
    size_t start = out->count;
    size_t at = word->chars <= KM_WORD_CHARS ? 0 : word->count;
    while (at < word->count) {
        size_t used = 0;
        int32_t id = longest_piece(e->tokenizer, at > 0, word->bytes + at, word->count - at, &used);
        if (id < 0) {
            out->count = start;
            break;
        }
        km_ids_push(out, id, out->count == start);
        at += used;
    }
    if (out->count == start) {
        km_ids_push(out, e->tokenizer->specials.unk, true);
    }
    km_ids_range(out, start, (size_t)(word->begin - e->text), (size_t)(word->end - e->text));
}

uint64_t km_wordpiece_encode(const km_tokenizer *tokenizer, const char *text, const char *from, const char *end,
                             km_ids *out) {
    encoding e = {tokenizer, text, out};
    return km_each_word(&tokenizer->wordpiece->normalizer, from, (size_t)(end - from), encode_word, &e);
}

uint64_t km_wordpiece_encode_normalized(const km_tokenizer *tokenizer, const char *text, const char *from,
                                        const char *end, km_ids *out) {
    encoding e = {tokenizer, text, out};
    return km_each_word(&tokenizer->wordpiece->splitter, from, (size_t)(end - from), encode_word, &e);
}

/* ---- Decoding ------------------------------------------------------------------------------------------- */

/* Replaces every `from` at or behind byte `start` by the shorter `to`, from left to right. */
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

/* The replacements of transformers' clean_up_tokenization, in its order. The tokenizers package applies them, with one more,
 * to each piece. */
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

void km_wordpiece_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, km_buffer *out) {
    const km_wordpiece *w = tokenizer->wordpiece;
    for (size_t i = 0; i < count; i++) {
        const km_added_token *token =
            tokenizer->added_normalized.count > 0 ? km_added_token_of(tokenizer, ids[i]) : NULL;
        const char *piece = token != NULL && token->normalized_text != NULL ? token->normalized_text
                                                                            : km_tokenizer_piece(tokenizer, ids[i]);
        size_t start = out->size;
        bool continues = km_continues(piece);
        km_buffer_print(out, "%s%s", i == 0 || continues ? "" : " ", i > 0 && continues ? piece + 2 : piece);
        if (w->piece_clean_up && strchr(out->data + start, ' ') != NULL) {
            clean_up(out, start, true);
        }
    }
    if (w->clean_up) {
        clean_up(out, 0, false);
    }
}
