/* BPE that begins with characters: the symbols of a pre-token before any merge. */
#include "bpe.h"

#include <string.h>

typedef struct symbols {
    const km_tokenizer *tokenizer;
    int32_t *ids;
    uint32_t *sizes;
    size_t count;
    uint32_t unknown; /* bytes of an unknown token that is not written yet, because others may join it; 0: none */
    uint32_t lost;    /* bytes that are left out; the next symbol stands for them too */
} symbols;

static void put(symbols *s, int32_t id, uint32_t size) {
    s->ids[s->count] = id;
    s->sizes[s->count++] = size + s->lost;
    s->lost = 0;
}

static void put_unknown(symbols *s) {
    if (s->unknown > 0) {
        put(s, s->tokenizer->unknown, s->unknown);
        s->unknown = 0;
    }
}

/* Puts the pieces of single bytes such as <0x0A>; false where some byte has none. Of the bytes, `size` are in the text. */
static bool put_bytes(symbols *s, const char *bytes, size_t count, uint32_t size) {
    const int32_t *pieces = s->tokenizer->bpe->fallback;
    for (size_t i = 0; i < count; i++) {
        if (pieces[(uint8_t)bytes[i]] < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        put(s, pieces[(uint8_t)bytes[i]], i < size);
    }
    return true;
}

static void put_character(symbols *s, const char *bytes, size_t count, uint32_t size) {
    const km_tokenizer *t = s->tokenizer;
    const km_model_options *o = &t->pipeline->model;
    const int64_t id = km_strings_find(&t->pieces, bytes, count);
    if (id >= 0 && id < t->model_size) {
        put_unknown(s);
        put(s, (int32_t)id, size);
        return;
    }
    if (o->byte_fallback && put_bytes(s, bytes, count, size)) {
        return; /* an unknown token before it comes later, as in the tokenizers package */
    }
    if (t->unknown < 0) {
        s->lost += size;
        return;
    }
    if (!o->fuse_unknown) {
        put_unknown(s);
    }
    s->unknown += size;
}

size_t km_bpe_symbols(const km_tokenizer *tokenizer, const char *bytes, size_t count, int32_t *ids,
                      uint32_t *sizes) {
    const km_model_options *o = &tokenizer->pipeline->model;
    symbols s = {.tokenizer = tokenizer, .ids = ids, .sizes = sizes};
    km_buffer word = {0}; /* a character with the marks of its place in the word */
    for (const char *at = bytes, *end = bytes + count; at < end;) {
        const char *begin = at;
        (void)km_utf8_next(&at, end);
        const uint32_t size = (uint32_t)(at - begin);
        if (tokenizer->ids_a_byte == 1) {
            put_character(&s, begin, size, size);
            continue;
        }
        word.size = 0;
        km_buffer_add(&word, o->prefix, begin > bytes ? strlen(o->prefix) : 0);
        km_buffer_add(&word, begin, size);
        km_buffer_add(&word, o->suffix, at == end ? strlen(o->suffix) : 0);
        put_character(&s, word.data, word.size, size);
    }
    put_unknown(&s);
    if (s.count > 0) {
        s.sizes[s.count - 1] += s.lost;
    }
    km_buffer_free(&word);
    return s.count;
}
