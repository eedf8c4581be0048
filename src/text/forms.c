/* Unicode's normalization forms NFC, NFD, NFKC and NFKD (Unicode Annex 15) of a text whose bytes remember where they come from. The
 * decompositions, classes and compositions are utf8proc's, in the Unicode version of the tokenizers package. */
#include "steps.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "unicode.h"

/* What the forms may do to a character. */
enum {
    DECOMPOSES = 1,      /* canonically */
    DECOMPOSES_MORE = 2, /* in NFKD */
    COMBINES = 4,        /* with a character before it */
    MARK = 8             /* its combining class is not 0 */
};

static uint8_t traits[KM_CODE_POINTS];

static void fill_traits(void) {
    for (uint32_t code = 0x80; code < KM_CODE_POINTS; code++) {
        uint32_t parts[KM_DECOMPOSED], more[KM_DECOMPOSED];
        const int count = km_decompose(parts, code), all = km_decompose_fully(more, code);
        const bool changes = count > 1 || parts[0] != code, changes_more = all > 1 || more[0] != code;
        traits[code] |= (uint8_t)((changes ? DECOMPOSES : 0) | (changes_more ? DECOMPOSES_MORE : 0) |
                                  (km_combining_class(code) != 0 ? MARK : 0));
        if (count > 1) {
            traits[parts[count - 1]] |= COMBINES;
        }
    }
}

/* A code point and where it comes from. */
typedef struct character {
    uint32_t code;
    int class;
    size_t begin, end;
} character;

/* The characters between two places across which nothing is reordered or composed. */
typedef struct stretch {
    character *all;
    size_t count, capacity;
} stretch;

static void add(stretch *s, uint32_t code, size_t begin, size_t end) {
    if (s->count == s->capacity) {
        s->capacity = 2 * s->capacity + 64;
        s->all = km_grow(s->all, s->capacity, sizeof *s->all);
    }
    s->all[s->count++] = (character){code, km_combining_class(code), begin, end};
}

/* Sorts marks by their classes and leaves those of one class in their order. */
static void sort_marks(character *marks, size_t count) {
    if (count < 32) {
        for (size_t i = 1; i < count; i++) {
            const character mark = marks[i];
            size_t place = i;
            for (; place > 0 && marks[place - 1].class > mark.class; place--) {
                marks[place] = marks[place - 1];
            }
            marks[place] = mark;
        }
        return;
    }
    size_t places[257] = {0};
    character *sorted = km_new(count, sizeof *sorted);
    for (size_t i = 0; i < count; i++) {
        places[marks[i].class + 1]++;
    }
    for (size_t i = 0; i < 256; i++) {
        places[i + 1] += places[i];
    }
    for (size_t i = 0; i < count; i++) {
        sorted[places[marks[i].class]++] = marks[i];
    }
    memcpy(marks, sorted, count * sizeof *marks);
    free(sorted);
}

static void reorder(stretch *s) {
    for (size_t i = 0; i < s->count;) {
        size_t stop = i;
        while (stop < s->count && s->all[stop].class != 0) {
            stop++;
        }
        if (stop - i > 1) {
            sort_marks(s->all + i, stop - i);
        }
        i = stop + 1;
    }
}

/* Composes each character with the last one of class 0 before it, where nothing stands between them that blocks it. */
static void compose(stretch *s) {
    size_t kept = 0, starter = SIZE_MAX;
    int last = 0; /* the class of the character before */
    for (size_t i = 0; i < s->count; i++) {
        const character c = s->all[i];
        const bool free_way = starter != SIZE_MAX && (kept == starter + 1 || (last != 0 && last < c.class));
        const uint32_t whole =
            free_way && (traits[c.code] & COMBINES) != 0 ? km_compose(s->all[starter].code, c.code) : 0;
        if (whole != 0) {
            s->all[starter].code = whole;
            s->all[starter].begin = KM_MIN(s->all[starter].begin, c.begin);
            s->all[starter].end = KM_MAX(s->all[starter].end, c.end);
            continue;
        }
        starter = c.class == 0 ? kept : starter;
        last = c.class;
        s->all[kept++] = c;
    }
    s->count = kept;
}

static void flush(stretch *s, const km_step *step, km_normalized *out) {
    reorder(s);
    if (step->kind->composes) {
        compose(s);
    }
    for (size_t i = 0; i < s->count; i++) {
        char bytes[4];
        const size_t size = km_utf8_put(bytes, s->all[i].code);
        km_normalized_put(out, bytes, size, s->all[i].begin, s->all[i].end);
    }
    s->count = 0;
}

/* The first character of in[from..] that may change, or the one before it with which it may compose; the end where there is none. */
static size_t first_change(const km_step *step, const km_normalized *in, size_t from) {
    const uint8_t wanted = (uint8_t)(MARK | (step->kind->composes ? COMBINES | DECOMPOSES : DECOMPOSES) |
                                     (step->kind->compatible ? DECOMPOSES_MORE : 0));
    const char *at = in->text + from, *end = in->text + in->count, *before = at;
    while (at < end) {
        if ((uint8_t)*at < 0x80) {
            before = at++;
            continue;
        }
        const char *here = at;
        const uint32_t code = (uint32_t)km_utf8_next(&at, end);
        if ((traits[code] & wanted) != 0) {
            return (size_t)(before - in->text);
        }
        before = here;
    }
    return in->count;
}

/* Puts the characters of in[from..] into `s` until one begins that neither changes nor composes with what is before it. Returns where. */
static size_t read_stretch(stretch *s, const km_step *step, const km_normalized *in, size_t from) {
    const char *at = in->text + from, *end = in->text + in->count;
    while (at < end) {
        const size_t begin = (size_t)(at - in->text);
        const uint32_t code = (uint32_t)km_utf8_next(&at, end);
        const bool quiet = (traits[code] & (MARK | COMBINES | DECOMPOSES | DECOMPOSES_MORE)) == 0;
        if (s->count > 0 && quiet) {
            return begin;
        }
        uint32_t parts[KM_DECOMPOSED];
        const int count = step->kind->compatible ? km_decompose_fully(parts, code) : km_decompose(parts, code);
        for (int i = 0; i < count; i++) {
            add(s, parts[i], km_source_begin(in, begin), km_source_end(in, (size_t)(at - in->text)));
        }
    }
    return in->count;
}

void km_step_form(const km_step *step, km_normalized *text) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_traits);
    size_t at = 0, change = first_change(step, text, 0);
    if (change == text->count) {
        return;
    }
    km_normalized out = {.ranges = text->ranges};
    stretch s = {0};
    while (at < text->count) {
        km_normalized_copy(&out, text, at, change);
        at = read_stretch(&s, step, text, change);
        flush(&s, step, &out);
        change = at < text->count ? first_change(step, text, at) : at;
    }
    free(s.all);
    km_normalized_replace(text, &out);
}
