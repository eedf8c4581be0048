/* Text as normalized words, for BERT's tokenizers. */
#include "words.h"

#include <pthread.h>
#include <string.h>

#include "unicode.h"

enum {
    KEEP,  /* part of a word, as the table's code point */
    SPACE, /* ends a word */
    ALONE, /* a word of its own: punctuation, Chinese */
    DROP,  /* as if it were not there */
    BREAK, /* a dropped mark that separates other marks when they are put in order */
    SLOW,  /* several code points, or a mark that stays and has to be put in order */
    MULTI  /* of bytes: the character has more than one */
};

/* ---- What happens to a character ------------------------------------------------------------------------ */

static uint32_t entry(int kind, uint32_t code) {
    return (uint32_t)kind << 24 | code;
}

/* The entry of a character that decomposes, where accents are stripped. */
static uint32_t fold_stripped(const km_fold *fold, uint32_t code) {
    uint32_t parts[KM_DECOMPOSED], left = 0;
    int count = km_decompose(parts, code), kept = 0;
    bool starter = false; /* among the dropped */
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
    return entry(km_is_punctuation(left) ? ALONE : KEEP, fold->lowercase ? km_lower(left) : left);
}

static uint32_t fold_one(const km_fold *fold, uint32_t code) {
    if (km_is_dropped(code)) {
        return entry(DROP, 0);
    }
    if (km_is_space(code)) {
        return entry(SPACE, 0);
    }
    uint32_t folded;
    if (fold->strip_accents) {
        folded = fold_stripped(fold, code);
    } else if (fold->lowercase && code == 0x130) {
        folded = entry(SLOW, code);
    } else {
        folded = entry(km_is_punctuation(code) ? ALONE : KEEP, fold->lowercase ? km_lower(code) : code);
    }
    bool alone = fold->chinese && km_is_chinese(code) && folded >> 24 == KEEP;
    return alone ? entry(ALONE, folded & 0xFFFFFF) : folded;
}

/* Tables are a function of three flags: made once in a process and shared. */
static const uint32_t *shared_table(const km_fold *fold) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint32_t *tables[8];
    size_t number = (size_t)fold->lowercase | (size_t)fold->strip_accents << 1 | (size_t)fold->chinese << 2;
    pthread_mutex_lock(&lock);
    if (tables[number] == NULL) {
        tables[number] = km_new(KM_FOLD_TABLE, sizeof *tables[number]);
        for (uint32_t code = 0; code < KM_FOLD_TABLE; code++) {
            tables[number][code] = fold_one(fold, code);
        }
    }
    pthread_mutex_unlock(&lock);
    return tables[number];
}

void km_fold_create(km_fold *fold, bool lowercase, bool strip_accents, bool chinese) {
    *fold = (km_fold){.lowercase = lowercase, .strip_accents = strip_accents, .chinese = chinese};
    fold->table = shared_table(fold);
    for (int byte = 0; byte < 256; byte++) {
        fold->kind[byte] = (uint8_t)(byte < 128 ? fold->table[byte] >> 24 : MULTI);
    }
    for (int byte = 0; byte < 128; byte++) {
        fold->lower[byte] = (uint8_t)fold->table[byte];
    }
}

/* ---- The scan ------------------------------------------------------------------------------------------- */

typedef struct scan {
    const km_fold *fold;
    km_word_sink sink;
    void *context;
    const char *here, *next; /* the character at hand, and what follows it */
    km_word_text word;
} scan;

static void finish(scan *s, const char *end) {
    if (s->word.chars > 0) {
        s->word.end = end;
        s->sink(s->context, &s->word);
    }
    s->word.count = s->word.run = s->word.chars = 0;
}

static void put(scan *s, uint32_t code) {
    km_word_text *word = &s->word;
    if (word->chars == 0) {
        word->begin = s->here;
    }
    if (word->chars++ < KM_WORD_CHARS) {
        word->count += km_utf8_put(word->bytes + word->count, code);
        word->run = word->count;
    }
}

static void put_alone(scan *s, uint32_t code) {
    finish(s, s->here);
    put(s, code);
    finish(s, s->next);
}

size_t km_mark_place(const char *text, size_t run, size_t end, int class) {
    size_t place = end;
    while (place > run) {
        size_t before = place - 1;
        while (before > run && (text[before] & 0xC0) == 0x80) {
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

/* Inserts a mark behind the marks of its run with the same or a lower combining class. */
static void put_mark(scan *s, uint32_t code, int class) {
    km_word_text *word = &s->word;
    if (word->chars == 0) {
        word->begin = s->here;
    }
    if (word->chars++ >= KM_WORD_CHARS) {
        return;
    }
    size_t place = km_mark_place(word->bytes, word->run, word->count, class);
    char mark[4];
    size_t size = km_utf8_put(mark, code);
    memmove(word->bytes + place + size, word->bytes + place, word->count - place);
    memcpy(word->bytes + place, mark, size);
    word->count += size;
}

static void put_slowly(scan *s, uint32_t code) {
    if (!s->fold->strip_accents) { /* U+0130: "i" and a dot above */
        put(s, 'i');
        put(s, 0x307);
        return;
    }
    uint32_t parts[KM_DECOMPOSED];
    int count = km_decompose(parts, code);
    for (int i = 0; i < count; i++) {
        int class = km_combining_class(parts[i]);
        uint32_t lower = s->fold->lowercase ? km_lower(parts[i]) : parts[i];
        if (km_is_mark(parts[i])) {
            s->word.run = class == 0 ? s->word.count : s->word.run;
        } else if (km_is_punctuation(lower)) {
            put_alone(s, lower);
        } else if (class == 0) {
            put(s, lower);
        } else {
            put_mark(s, lower, class);
        }
    }
}

static void put_folded(scan *s, uint32_t folded) {
    uint32_t code = folded & 0xFFFFFF;
    switch (folded >> 24) {
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
        s->word.run = s->word.count;
        break;
    case SLOW:
        put_slowly(s, code);
        break;
    default:
        break;
    }
}

/* Takes the ASCII letters and digits at `at`; returns where they end. */
static const char *put_letters(scan *s, const char *at, const char *end) {
    const km_fold *fold = s->fold;
    km_word_text *word = &s->word;
    const char *start = at;
    char *out = word->bytes + word->count;
    size_t room = word->chars < KM_WORD_CHARS ? KM_WORD_CHARS - word->chars : 0;
    const char *stop = room < (size_t)(end - at) ? at + room : end;
    while (at < stop && fold->kind[(uint8_t)*at] == KEEP) {
        *out++ = (char)fold->lower[(uint8_t)*at++];
    }
    if (word->chars == 0) {
        word->begin = start;
    }
    word->count = word->run = (size_t)(out - word->bytes);
    while (at < end && fold->kind[(uint8_t)*at] == KEEP) { /* beyond the longest word: only counted */
        at++;
    }
    word->chars += (size_t)(at - start);
    return at;
}

uint64_t km_words(const km_fold *fold, const char *text, size_t count, km_word_sink sink, void *context) {
    scan s;
    s.fold = fold;
    s.sink = sink;
    s.context = context;
    s.word.count = s.word.run = s.word.chars = 0;
    uint64_t invalid = 0;
    const char *at = text, *end = text + count;
    while (at < end) {
        uint8_t byte = (uint8_t)*at;
        uint8_t kind = fold->kind[byte];
        if (kind == KEEP) {
            at = put_letters(&s, at, end);
        } else if (kind == SPACE) {
            finish(&s, at++);
        } else if (kind == ALONE) {
            s.here = at;
            s.next = ++at;
            put_alone(&s, byte);
        } else if (kind == MULTI) {
            s.here = at;
            int32_t code = km_utf8_next(&at, end);
            s.next = at;
            if (code < 0) {
                invalid++;
            } else {
                uint32_t c = (uint32_t)code;
                put_folded(&s, c < KM_FOLD_TABLE ? fold->table[c] : fold_one(fold, c));
            }
        } else {
            at++;
        }
    }
    finish(&s, end);
    return invalid;
}
