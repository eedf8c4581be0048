/* From text to normalized words, as BERT's tokenizers make them. A table gives what becomes of each code point; ASCII letters
 * and digits, most of all text, take a fast path. */
#include "words.h"

#include <pthread.h>
#include <string.h>

#include "unicode.h"

/* What becomes of a character. */
enum {
    KEEP,  /* it is part of a word, as the code point of the entry */
    SPACE, /* it ends a word */
    ALONE, /* it is a word of its own: punctuation, Chinese */
    DROP,  /* it is removed */
    BREAK, /* it is a removed mark of combining class 0, across which other marks are not sorted */
    SLOW,  /* it becomes several code points, or a mark that stays and has to be sorted among its neighbours */
    MULTI  /* of a first byte: the character has several bytes, so the table of code points decides */
};

/* ---- The table ------------------------------------------------------------------------------------------ */

static uint32_t entry(int action, uint32_t code) {
    return (uint32_t)action << 24 | code;
}

/* The entry of a character when accents are stripped. */
static uint32_t entry_without_accents(const km_normalizer *normalizer, uint32_t code) {
    uint32_t parts[KM_DECOMPOSED], left = 0;
    int count = km_decompose(parts, code), kept = 0;
    bool starter = false; /* one of the removed marks has combining class 0 */
    for (int i = 0; i < count; i++) {
        if (!km_is_mark(parts[i])) {
            left = parts[i];
            kept++;
        } else if (km_combining_class(parts[i]) == 0) {
            starter = true;
        }
    }
    if (kept == 0) {
        return entry(starter ? BREAK : DROP, 0);
    }
    if (kept > 1 || starter || km_combining_class(left) != 0) {
        return entry(SLOW, code);
    }
    return entry(km_is_punctuation(left) ? ALONE : KEEP, normalizer->lowercase ? km_lower(left) : left);
}

static uint32_t entry_of(const km_normalizer *normalizer, uint32_t code) {
    if (km_is_dropped(code)) {
        return entry(DROP, 0);
    }
    if (km_is_space(code)) {
        return entry(SPACE, 0);
    }
    uint32_t result;
    if (normalizer->strip_accents) {
        result = entry_without_accents(normalizer, code);
    } else if (normalizer->lowercase && code == 0x130) {
        result = entry(SLOW, code);
    } else {
        result = entry(km_is_punctuation(code) ? ALONE : KEEP, normalizer->lowercase ? km_lower(code) : code);
    }
    bool alone = normalizer->chinese && km_is_chinese(code) && result >> 24 == KEEP;
    return alone ? entry(ALONE, result & 0xFFFFFF) : result;
}

/* The table for these three switches; a process makes each of the eight once and shares it. */
static const uint32_t *shared_table(const km_normalizer *normalizer) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint32_t *tables[8];
    size_t number =
        (size_t)normalizer->lowercase | (size_t)normalizer->strip_accents << 1 | (size_t)normalizer->chinese << 2;
    pthread_mutex_lock(&lock);
    if (tables[number] == NULL) {
        tables[number] = km_new(KM_NORMALIZER_TABLE, sizeof *tables[number]);
        for (uint32_t code = 0; code < KM_NORMALIZER_TABLE; code++) {
            tables[number][code] = entry_of(normalizer, code);
        }
    }
    pthread_mutex_unlock(&lock);
    return tables[number];
}

void km_normalizer_init(km_normalizer *normalizer, bool lowercase, bool strip_accents, bool chinese) {
    *normalizer = (km_normalizer){.lowercase = lowercase, .strip_accents = strip_accents, .chinese = chinese};
    normalizer->table = shared_table(normalizer);
    for (int byte = 0; byte < 256; byte++) {
        normalizer->action[byte] = (uint8_t)(byte < 128 ? normalizer->table[byte] >> 24 : MULTI);
    }
    for (int byte = 0; byte < 128; byte++) {
        normalizer->ascii[byte] = (uint8_t)normalizer->table[byte];
    }
}

/* ---- The scan ------------------------------------------------------------------------------------------- */

typedef struct scan {
    const km_normalizer *normalizer;
    km_word_sink sink;
    void *context;
    const char *here, *next; /* where the current character begins and ends */
    km_word word;
} scan;

static void finish(scan *s, const char *end) {
    if (s->word.chars > 0) {
        s->word.end = end;
        s->sink(s->context, &s->word);
    }
    s->word.count = s->word.marks = s->word.chars = 0;
}

static void put(scan *s, uint32_t code) {
    km_word *word = &s->word;
    if (word->chars == 0) {
        word->begin = s->here;
    }
    if (word->chars++ < KM_WORD_CHARS) {
        word->count += km_utf8_put(word->bytes + word->count, code);
        word->marks = word->count;
    }
}

static void put_alone(scan *s, uint32_t code) {
    finish(s, s->here);
    put(s, code);
    finish(s, s->next);
}

size_t km_mark_place(const char *text, size_t marks, size_t end, int class) {
    size_t place = end;
    while (place > marks) {
        size_t before = place - 1;
        while (before > marks && (text[before] & 0xC0) == 0x80) {
            before--;
        }
        const char *at = text + before;
        if (km_combining_class((uint32_t)km_utf8_next(&at, text + place)) <= class) {
            break;
        }
        place = before;
    }
    return place;
}

/* Appends a combining mark in canonical order. */
static void put_mark(scan *s, uint32_t code, int class) {
    km_word *word = &s->word;
    if (word->chars == 0) {
        word->begin = s->here;
    }
    if (word->chars++ >= KM_WORD_CHARS) {
        return;
    }
    size_t place = km_mark_place(word->bytes, word->marks, word->count, class);
    char mark[4];
    size_t size = km_utf8_put(mark, code);
    memmove(word->bytes + place + size, word->bytes + place, word->count - place);
    memcpy(word->bytes + place, mark, size);
    word->count += size;
}

/* A character that becomes several code points. */
static void put_decomposed(scan *s, uint32_t code) {
    if (!s->normalizer->strip_accents) { /* U+0130, whose lower case is "i" and a dot above */
        put(s, 'i');
        put(s, 0x307);
        return;
    }
    uint32_t parts[KM_DECOMPOSED];
    int count = km_decompose(parts, code);
    for (int i = 0; i < count; i++) {
        int class = km_combining_class(parts[i]);
        uint32_t lower = s->normalizer->lowercase ? km_lower(parts[i]) : parts[i];
        if (km_is_mark(parts[i])) {
            s->word.marks = class == 0 ? s->word.count : s->word.marks;
        } else if (km_is_punctuation(lower)) {
            put_alone(s, lower);
        } else if (class == 0) {
            put(s, lower);
        } else {
            put_mark(s, lower, class);
        }
    }
}

static void put_entry(scan *s, uint32_t result) {
    uint32_t code = result & 0xFFFFFF;
    switch (result >> 24) {
    case KEEP:
        put(s, code);
        break;
    case SPACE:
        finish(s, s->here);
        break;
    case ALONE:
        put_alone(s, code);
        break;
    case BREAK:
        s->word.marks = s->word.count;
        break;
    case SLOW:
        put_decomposed(s, code);
        break;
    default:
        break;
    }
}

/* The fast path: takes the ASCII letters and digits from `at` on and returns where they end. */
static const char *put_letters(scan *s, const char *at, const char *end) {
    const km_normalizer *normalizer = s->normalizer;
    km_word *word = &s->word;
    const char *start = at;
    char *out = word->bytes + word->count;
    size_t room = word->chars < KM_WORD_CHARS ? KM_WORD_CHARS - word->chars : 0;
    const char *stop = room < (size_t)(end - at) ? at + room : end;
    while (at < stop && normalizer->action[(uint8_t)*at] == KEEP) {
        *out++ = (char)normalizer->ascii[(uint8_t)*at++];
    }
    if (word->chars == 0) {
        word->begin = start;
    }
    word->count = word->marks = (size_t)(out - word->bytes);
    while (at < end && normalizer->action[(uint8_t)*at] == KEEP) { /* beyond KM_WORD_CHARS: counted only */
        at++;
    }
    word->chars += (size_t)(at - start);
    return at;
}

uint64_t km_each_word(const km_normalizer *normalizer, const char *text, size_t count, km_word_sink sink,
                      void *context) {
    scan s;
    s.normalizer = normalizer;
    s.sink = sink;
    s.context = context;
    s.word.count = s.word.marks = s.word.chars = 0;
    uint64_t invalid = 0;
    const char *at = text, *end = text + count;
    while (at < end) {
        uint8_t byte = (uint8_t)*at;
        uint8_t action = normalizer->action[byte];
        if (action == KEEP) {
            at = put_letters(&s, at, end);
        } else if (action == SPACE) {
            finish(&s, at++);
        } else if (action == ALONE) {
            s.here = at;
            s.next = ++at;
            put_alone(&s, byte);
        } else if (action == MULTI) {
            s.here = at;
            int32_t code = km_utf8_next(&at, end);
            s.next = at;
            if (code < 0) {
                invalid++;
            } else {
                uint32_t c = (uint32_t)code;
                put_entry(&s, c < KM_NORMALIZER_TABLE ? normalizer->table[c] : entry_of(normalizer, c));
            }
        } else {
            at++;
        }
    }
    finish(&s, end);
    return invalid;
}
