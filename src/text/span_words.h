/* A text as words, numbers and marks, each with a shape: what the finder of names and dates reads. */
#ifndef KM_TEXT_SPAN_WORDS_H
#define KM_TEXT_SPAN_WORDS_H

#include "kmask/text.h"

typedef enum km_shape {
    KM_SHAPE_MARK,    /* one character that is part of no word; `mark` where it is ASCII */
    KM_SHAPE_LETTERS, /* caseless letters, identifiers, addresses: never a name */
    KM_SHAPE_LOWER,
    KM_SHAPE_CAPITAL, /* Paris, Jean-Paul, O'Brien */
    KM_SHAPE_MIXED,   /* McDonald, iPhone, PCs */
    KM_SHAPE_UPPER,   /* NASA, AT&T, U.S., H2O */
    KM_SHAPE_SINGLE,  /* one capital letter */
    KM_SHAPE_INITIAL, /* J. */
    KM_SHAPE_NUMBER,  /* with separators, currency, per cent, attached unit */
    KM_SHAPE_ORDINAL, /* 1st */
    KM_SHAPE_DATE,    /* 1999-12-31, 1/2/1999, 1990s */
    KM_SHAPE_TIME     /* 10:30, 5pm */
} km_shape;

typedef struct km_span_word {
    uint32_t begin, end; /* bytes of the text */
    uint32_t hash;       /* of a word, whatever its case */
    int32_t value;       /* of a number of up to four digits and nothing else; else -1 */
    uint8_t shape, mark;
    bool line;    /* the first of its line */
    bool space;   /* behind a blank or at the first of its line */
    bool initial; /* a sentence may begin here */
} km_span_word;

typedef struct km_span_words {
    km_span_word *words;
    size_t count, capacity;
} km_span_words;

/* Replaces `out` with the words of a text of less than 2^32 bytes. */
void km_span_words_read(km_span_words *out, const char *text, size_t count);

#endif
