/* A whole text as BERT's normalizer leaves it. words.c applies the same rules while it splits; this file is for tokenizers with
 * added tokens that are looked for in normalized text. */
#include <stdlib.h>
#include <string.h>

#include "unicode.h"
#include "words.h"

/* The bytes of the text that the current character comes from. */
typedef struct source {
    const km_normalizer *normalizer;
    size_t begin, end;
} source;

static void make_room(km_normalized *n) {
    if (n->capacity - n->count < 4) {
        n->capacity = 2 * n->capacity + 64;
        n->text = km_grow(n->text, n->capacity, 1);
        n->begins = n->ranges ? km_grow(n->begins, n->capacity, sizeof *n->begins) : NULL;
        n->ends = n->ranges ? km_grow(n->ends, n->capacity, sizeof *n->ends) : NULL;
    }
}

/* Inserts a character at byte `place`. */
static void put_at(km_normalized *n, const source *s, size_t place, uint32_t code) {
    char bytes[4];
    make_room(n);
    size_t size = km_utf8_put(bytes, code), behind = n->count - place;
    memmove(n->text + place + size, n->text + place, behind);
    memcpy(n->text + place, bytes, size);
    if (n->ranges) {
        memmove(n->begins + place + size, n->begins + place, behind * sizeof *n->begins);
        memmove(n->ends + place + size, n->ends + place, behind * sizeof *n->ends);
        for (size_t i = place; i < place + size; i++) {
            n->begins[i] = s->begin;
            n->ends[i] = s->end;
        }
    }
    n->count += size;
}

static void put(km_normalized *n, const source *s, uint32_t code) {
    put_at(n, s, n->count, code);
    n->marks = n->count;
}

/* Appends a combining mark in canonical order. */
static void put_mark(km_normalized *n, const source *s, uint32_t code, int class) {
    size_t place = km_mark_place(n->text, n->marks, n->count, class);
    put_at(n, s, place, code);
}

/* A character that is removed extends the range of the character before it, unless that is a space. */
static void drop(km_normalized *n, const source *s) {
    for (size_t i = n->count; n->ranges && i > 0 && n->text[n->count - 1] != ' '; i--) {
        n->ends[i - 1] = s->end;
        if ((n->text[i - 1] & 0xC0) != 0x80) {
            break;
        }
    }
}

static void put_stripped(km_normalized *n, const source *s, uint32_t code) {
    uint32_t parts[KM_DECOMPOSED];
    int count = km_decompose(parts, code);
    for (int i = 0; i < count; i++) {
        int class = km_combining_class(parts[i]);
        uint32_t lower = s->normalizer->lowercase ? km_lower(parts[i]) : parts[i];
        if (km_is_mark(parts[i])) {
            n->marks = class == 0 ? n->count : n->marks;
            drop(n, s);
        } else if (class == 0) {
            put(n, s, lower);
        } else {
            put_mark(n, s, lower, class);
        }
    }
}

static void put_character(km_normalized *n, const source *s, uint32_t code) {
    const km_normalizer *normalizer = s->normalizer;
    if (!normalizer->unclean && km_is_dropped(code)) {
        drop(n, s);
        return;
    }
    if (!normalizer->unclean && km_is_space(code)) {
        put(n, s, ' ');
        return;
    }
    const bool apart = normalizer->chinese && km_is_chinese(code);
    if (apart) {
        put(n, s, ' ');
    }
    if (normalizer->strip_accents) {
        put_stripped(n, s, code);
    } else if (normalizer->lowercase && code == 0x130) { /* its lower case is "i" and a dot above */
        put(n, s, 'i');
        put(n, s, 0x307);
    } else {
        put(n, s, normalizer->lowercase ? km_lower(code) : code);
    }
    if (apart) {
        put(n, s, ' ');
    }
}

uint64_t km_normalize(km_normalized *out, const km_normalizer *normalizer, const char *text, size_t from,
                      size_t to) {
    const char *at = text + from, *end = text + to;
    uint64_t invalid = 0;
    while (at < end) {
        source s = {.normalizer = normalizer, .begin = (size_t)(at - text)};
        int32_t code = km_utf8_next(&at, end);
        s.end = (size_t)(at - text);
        if (code < 0) {
            invalid++;
            drop(out, &s);
        } else {
            put_character(out, &s, (uint32_t)code);
        }
    }
    return invalid;
}

void km_normalized_free(km_normalized *normalized) {
    free(normalized->text);
    free(normalized->begins);
    free(normalized->ends);
    *normalized = (km_normalized){0};
}
