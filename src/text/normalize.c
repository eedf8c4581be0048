/* Text as BERT's normalizer leaves it: cleaned, Chinese characters set apart, accents dropped, in lower case. words.c does the
 * same on its way to words. */
#include <stdlib.h>
#include <string.h>

#include "unicode.h"
#include "words.h"

/* A character of the source, and how it is taken. */
typedef struct source {
    const km_fold *fold;
    size_t begin, end;
} source;

static void make_room(km_normalized *n) {
    if (n->capacity - n->count < 4) {
        n->capacity = 2 * n->capacity + 64;
        n->text = km_grow(n->text, n->capacity, 1);
        n->begins = n->placed ? km_grow(n->begins, n->capacity, sizeof *n->begins) : NULL;
        n->ends = n->placed ? km_grow(n->ends, n->capacity, sizeof *n->ends) : NULL;
    }
}

/* Puts a character at byte `place`; what is behind it moves on. */
static void put_at(km_normalized *n, const source *s, size_t place, uint32_t code) {
    char bytes[4];
    make_room(n);
    size_t size = km_utf8_put(bytes, code), behind = n->count - place;
    memmove(n->text + place + size, n->text + place, behind);
    memcpy(n->text + place, bytes, size);
    if (n->placed) {
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
    n->run = n->count;
}

/* Behind the marks of its run with the same or a lower combining class. */
static void put_mark(km_normalized *n, const source *s, uint32_t code, int class) {
    size_t place = km_mark_place(n->text, n->run, n->count, class);
    put_at(n, s, place, code);
}

/* What is dropped belongs to what stands before it, unless that is a space. */
static void drop(km_normalized *n, const source *s) {
    for (size_t i = n->count; n->placed && i > 0 && n->text[n->count - 1] != ' '; i--) {
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
        uint32_t lower = s->fold->lowercase ? km_lower(parts[i]) : parts[i];
        if (km_is_mark(parts[i])) {
            n->run = class == 0 ? n->count : n->run;
            drop(n, s);
        } else if (class == 0) {
            put(n, s, lower);
        } else {
            put_mark(n, s, lower, class);
        }
    }
}

static void put_character(km_normalized *n, const source *s, uint32_t code) {
    const km_fold *fold = s->fold;
    if (km_is_dropped(code)) {
        drop(n, s);
        return;
    }
    if (km_is_space(code)) {
        put(n, s, ' ');
        return;
    }
    const bool apart = fold->chinese && km_is_chinese(code);
    if (apart) {
        put(n, s, ' ');
    }
    if (fold->strip_accents) {
        put_stripped(n, s, code);
    } else if (fold->lowercase && code == 0x130) { /* "i" and a dot above */
        put(n, s, 'i');
        put(n, s, 0x307);
    } else {
        put(n, s, fold->lowercase ? km_lower(code) : code);
    }
    if (apart) {
        put(n, s, ' ');
    }
}

uint64_t km_normalize(km_normalized *out, const km_fold *fold, const char *text, size_t from, size_t to) {
    const char *at = text + from, *end = text + to;
    uint64_t invalid = 0;
    while (at < end) {
        source s = {.fold = fold, .begin = (size_t)(at - text)};
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
