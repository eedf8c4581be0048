#include <stdlib.h>
#include <string.h>

#include "kmask/text.h"
#include "tokenizer.h"

typedef struct encoding {
    const km_tokenizer *tokenizer;
    const char *text;
    km_ids *out;
} encoding;

static void reserve(km_ids *out, size_t more) {
    if (out->count + more > out->capacity) {
        out->capacity = (out->count + more) * 3 / 2 + 64;
        out->ids = km_grow(out->ids, out->capacity, sizeof *out->ids);
        out->starts_word = km_grow(out->starts_word, out->capacity, 1);
        if (out->ranges) {
            out->begins = km_grow(out->begins, out->capacity, sizeof *out->begins);
            out->ends = km_grow(out->ends, out->capacity, sizeof *out->ends);
        }
    }
}

static void push(km_ids *out, int32_t id, bool starts_word) {
    out->ids[out->count] = id;
    out->starts_word[out->count++] = starts_word;
}

/* The tokens from `first` on are those of text[begin, end). */
static void set_ranges(const encoding *e, size_t first, const char *begin, const char *end) {
    for (size_t i = first; e->out->ranges && i < e->out->count; i++) {
        e->out->begins[i] = (size_t)(begin - e->text);
        e->out->ends[i] = (size_t)(end - e->text);
    }
}

/* The longest piece at `at`: its id, or -1, and in *used its bytes. */
static int32_t longest_piece(const km_tokenizer *t, bool continues, const char *at, size_t count, size_t *used) {
    uint64_t hashes[KM_WORD_BYTES];
    size_t limit = KM_MIN(count, t->longest[continues]);
    uint64_t hash = km_piece_seed(continues);
    for (size_t i = 0; i < limit; i++) {
        hashes[i] = hash = km_piece_step(hash, at[i]);
    }
    for (size_t size = limit; size > 0; size--) {
        bool inside = size < count && (at[size] & 0xC0) == 0x80; /* of a character */
        int32_t id = inside ? -1 : km_piece_find(t, continues, at, size, hashes[size - 1]);
        if (id >= 0) {
            *used = size;
            return id;
        }
    }
    return -1;
}

/* Longest piece first; a word with a part that no piece covers is unknown as a whole. */
static void encode_word(void *context, const km_word_text *word) {
    encoding *e = context;
    km_ids *out = e->out;
    reserve(out, KM_WORD_CHARS);
    size_t start = out->count;
    size_t at = word->chars <= KM_WORD_CHARS ? 0 : word->count;
    while (at < word->count) {
        size_t used = 0;
        int32_t id = longest_piece(e->tokenizer, at > 0, word->bytes + at, word->count - at, &used);
        if (id < 0) {
            out->count = start;
            break;
        }
        push(out, id, out->count == start);
        at += used;
    }
    if (out->count == start) {
        push(out, e->tokenizer->specials.unk, true);
    }
    set_ranges(e, start, word->begin, word->end);
}

/* The special token whose name stands at `at`; -1 for none. */
static int32_t special_at(const km_tokenizer *t, const char *at, const char *end, size_t *size) {
    const int32_t ids[] = {t->specials.pad, t->specials.unk, t->specials.cls, t->specials.sep, t->specials.mask};
    for (size_t i = 0; i < KM_COUNT(ids); i++) {
        const char *name = km_tokenizer_piece(t, ids[i]);
        *size = strlen(name);
        if (*size <= (size_t)(end - at) && memcmp(at, name, *size) == 0) {
            return ids[i];
        }
    }
    return -1;
}

void km_encode(const km_tokenizer *tokenizer, const char *text, size_t count, bool specials, km_ids *out,
               uint64_t *invalid) {
    encoding e = {tokenizer, text, out};
    const char *end = text + count, *from = text, *at = text;
    uint64_t bad = 0;
    while (specials && count > 0 && (at = memchr(at, '[', (size_t)(end - at))) != NULL) {
        size_t size = 0;
        int32_t id = special_at(tokenizer, at, end, &size);
        if (id < 0) {
            at++;
            continue;
        }
        bad += km_words(&tokenizer->fold, from, (size_t)(at - from), encode_word, &e);
        reserve(out, 1);
        push(out, id, true);
        set_ranges(&e, out->count - 1, at, at + size);
        from = at += size;
    }
    if (from < end) {
        bad += km_words(&tokenizer->fold, from, (size_t)(end - from), encode_word, &e);
    }
    if (invalid != NULL) {
        *invalid += bad;
    }
}

void km_ids_free(km_ids *ids) {
    free(ids->ids);
    free(ids->starts_word);
    free(ids->begins);
    free(ids->ends);
    *ids = (km_ids){0};
}
