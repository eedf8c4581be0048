/* span_words: a text as words, numbers and marks, each with its shape. span_find.c recognizes names and dates from these
 * shapes. */
#ifndef KM_TEXT_SPAN_WORDS_H
#define KM_TEXT_SPAN_WORDS_H

#include "kmask/text.h"

typedef enum km_word_shape {
    KM_SHAPE_MARK,    /* one character that is part of no word; `mark` holds it where it is ASCII */
    KM_SHAPE_LETTERS, /* what is never a name: letters without case, identifiers, addresses */
    KM_SHAPE_LOWER,   /* house */
    KM_SHAPE_CAPITAL, /* Paris, Jean-Paul, O'Brien */
    KM_SHAPE_MIXED,   /* McDonald, iPhone, PCs */
    KM_SHAPE_UPPER,   /* NASA, AT&T, U.S., H2O */
    KM_SHAPE_SINGLE,  /* one capital letter: A */
    KM_SHAPE_INITIAL, /* one capital letter with its full stop: J. */
    KM_SHAPE_NUMBER,  /* with its separators, currency sign, per cent sign or unit: 3,000.50, $20, 5%, 5kg */
    KM_SHAPE_ORDINAL, /* 1st */
    KM_SHAPE_DATE,    /* 1999-12-31, 1/2/1999, 1990s */
    KM_SHAPE_TIME     /* 10:30, 5pm */
} km_word_shape;

typedef struct km_span_word {
    uint32_t begin, end; /* bytes of the text */
    uint32_t hash;       /* of a word in lower case; 0 for marks and numbers */
    int32_t value;       /* of a number that is up to four digits and nothing else; -1 otherwise */
    uint8_t shape;       /* km_word_shape */
    uint8_t mark;
    bool first_in_line;
    bool after_space;        /* a blank or a line's beginning stands before it */
    bool may_begin_sentence; /* so its capital letter is no evidence of a name */
} km_span_word;

typedef struct km_span_words {
    km_span_word *words;
    size_t count, capacity;
} km_span_words;

/* Replaces what `out` holds with the words of a text of less than 2^32 bytes. */
void km_span_words_read(km_span_words *out, const char *text, size_t count);

#endif
