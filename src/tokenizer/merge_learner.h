/* Byte-pair merges (Sennrich et al. 2016): words as rows of symbols; the most frequent pair of neighbours becomes
 * one symbol, again and again. Counts are kept up to date, so a merge costs what it changes. */
#ifndef KM_TOKENIZER_MERGES_H
#define KM_TOKENIZER_MERGES_H

#include "kmask/base.h"

typedef struct km_merges km_merges;
km_merges *km_merges_create(void);
void km_merges_destroy(km_merges *merges);
/* Adds a word that occurs `count` times. */
void km_merges_add(km_merges *merges, const uint32_t *symbols, size_t size, uint64_t count);
/* The most frequent pair, ties to the lower pair of symbols; false when none occurs `least` times or more. */
bool km_merges_best(km_merges *merges, uint64_t least, uint32_t *left, uint32_t *right);
/* Makes the pair that km_merges_best returned last into `symbol`, in every word. */
void km_merges_apply(km_merges *merges, uint32_t symbol);

#endif
