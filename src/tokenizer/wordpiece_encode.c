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
    uint64_t hash = t->wordpiece->seeds[continues];
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

size_t km_wordpiece_pretoken(const km_tokenizer *tokenizer, const char *bytes, size_t count, int32_t *ids,
                             uint32_t *sizes) {
    size_t chars = 0, made = 0, at = 0;
    for (size_t i = 0; i < count; i++) {
        chars += (bytes[i] & 0xC0) != 0x80;
    }
    at = chars <= (size_t)tokenizer->pipeline->model.max_chars ? 0 : count;
    for (size_t used = 0; at < count; at += used) {
        ids[made] = longest_piece(tokenizer, at > 0, bytes + at, count - at, &used);
        if (ids[made] < 0) {
            made = 0;
            break;
        }
        sizes[made++] = (uint32_t)used;
    }
    if (made == 0) {
        ids[0] = tokenizer->unknown;
        sizes[0] = (uint32_t)count;
        made = 1;
    }
    return made;
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
            km_clean_up(out, start, true);
        }
    }
    if (w->clean_up) {
        km_clean_up(out, 0, false);
    }
}
