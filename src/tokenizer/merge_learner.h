/* merge_learner: learns the merges of byte-pair encoding (Sennrich et al. 2016). Words are sequences of symbols; again and
 * again, the most frequent pair of neighbouring symbols becomes a new symbol. Counts of pairs are kept up to date, so a merge
 * costs no more than the words that it changes. */
#ifndef KM_TOKENIZER_MERGE_LEARNER_H
#define KM_TOKENIZER_MERGE_LEARNER_H

#include "kmask/base.h"

typedef struct km_merge_learner km_merge_learner;
km_merge_learner *km_merge_learner_create(void);
void km_merge_learner_destroy(km_merge_learner *learner);
/* Adds a word of `size` symbols that occurs `count` times. */
void km_merge_learner_add(km_merge_learner *learner, const uint32_t *symbols, size_t size, uint64_t count);
/* Finds the most frequent pair; between equally frequent ones, the pair with the lower symbols. Returns false when no pair
 * occurs at least `least` times. */
bool km_merge_learner_best(km_merge_learner *learner, uint64_t least, uint32_t *left, uint32_t *right);
/* Replaces the pair that km_merge_learner_best has found by `symbol` in every word. */
void km_merge_learner_apply(km_merge_learner *learner, uint32_t symbol);

#endif
