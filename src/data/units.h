/* units: what a mask hides as a whole. The maskable units of a row, random choices among them, and tilings into spans. */
#ifndef KMASK_DATA_UNITS_H
#define KMASK_DATA_UNITS_H

#include "kmask/data.h"

/* Tokens begin..end-1 of a row. */
typedef struct km_range {
    int begin, end;
} km_range;

/* The units of a row: ranges of tokens, ascending and disjoint. Subwords and words consist of maskable tokens and together cover every
 * one of these; a salient unit has at least one. */
typedef struct km_units {
    int count, capacity;
    km_range *ranges; /* (capacity) */
    int *order;       /* (capacity) filled by km_units_shuffle */
} km_units;

/* Room for the units of a row of `length` tokens. */
km_units *km_units_create(int length);
void km_units_destroy(km_units *units); /* NULL is fine */

/* Every maskable token (subword), or every word: a maskable token that starts a word, with the maskable tokens
 * after it that do not. A token after one that is not maskable always begins a unit. For spans: the words. */
void km_units_find(km_units *out, const km_row *row, km_unit unit);

/* Tiles words into spans of consecutive words: SpanBERT's lengths, geometric with p = 0.2, renormalised to 1..L
 * words with L = min(10, floor(words / splits)), so that a row of at least K words has at least K spans. The
 * first span is entered in its middle as in a stationary renewal process (length-biased pick, uniform rest), so
 * that a span begins at every word with the same probability. The lengths run over the words of the whole row; a
 * span that would run over a token that is not maskable is cut in two there. */
void km_units_tile(km_units *spans, const km_units *words, int splits, km_rng *rng);

/* order[0..prefix-1] becomes a uniform ordered choice without repetition of the unit numbers (Fisher-Yates). */
void km_units_shuffle(km_units *units, int prefix, km_rng *rng);
/* Sets mask to 1 at the tokens of units order[from..to-1]. */
void km_units_hide(uint8_t *mask, const km_units *units, int from, int to);

#endif
