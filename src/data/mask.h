/* What the policies share: the maskable units of a row, random choices among them, and the generator of a visit. */
#ifndef KMASK_DATA_MASK_H
#define KMASK_DATA_MASK_H

#include "kmask/data.h"

/* A unit is a run of maskable tokens begin..end-1. Runs are ascending and disjoint, and cover every maskable
 * token. */
typedef struct km_run {
    int begin, end;
} km_run;

typedef struct km_units {
    int count, capacity;
    km_run *runs; /* (capacity) */
    int *order;   /* (capacity) filled by km_units_shuffle */
} km_units;

/* Room for the units of a row of `length` tokens. */
km_units *km_units_create(int length);
void km_units_destroy(km_units *units);

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

/* Visits and rows are independent draws; `index` numbers what is drawn within a visit. */
km_rng km_visit_rng(uint64_t seed, km_purpose purpose, uint64_t visit, uint64_t row);
km_rng km_view_rng(uint64_t seed, uint64_t visit, uint32_t index, uint64_t row);

/* True when K masks of the ratio can be disjoint: K ratio <= 1, or partition. */
bool km_mask_disjoint(const km_mask_spec *spec);
/* Checks the ranges of a spec. */
km_status km_mask_spec_check(const km_mask_spec *spec) KM_NODISCARD;
/* What a policy works with during a draw. */
typedef struct km_mask_draw {
    const km_mask_spec *spec;
    km_units *units; /* subwords or words */
    km_units *spans; /* NULL unless the unit is the span */
    km_rng rng;
} km_mask_draw;

/* Checks the spec, finds the row's units (fewer than K are an error), clears all K masks. On KM_OK call
 * km_mask_end. */
km_status km_mask_begin(km_mask_draw *draw, const km_mask_spec *spec, const km_row *row, uint64_t seed,
                        km_purpose purpose, uint64_t visit, km_masks *out) KM_NODISCARD;
/* The units to choose from; spans are tiled anew at each call. The draw owns them. */
km_units *km_mask_units(km_mask_draw *draw);
void km_mask_end(km_mask_draw *draw);

extern const km_mask_policy km_mask_random;
extern const km_mask_policy km_mask_fully_explored;

#endif
