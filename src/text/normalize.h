/* Text as BERT's normalizer leaves it: cleaned, Chinese characters set apart, accents dropped, in lower case. words.h does
 * the same on its way to words; this is for where the text itself is needed. */
#ifndef KM_TEXT_NORMALIZE_H
#define KM_TEXT_NORMALIZE_H

#include "words.h"

/* Zero-initialize, set `placed` where it is wanted, free with km_normalized_free. */
typedef struct km_normalized {
    char *text;
    size_t count, capacity;
    bool placed; /* with begins and ends */
    size_t *begins,
        *ends;  /* byte i comes from bytes begins[i]..ends[i]-1, with the marks that were dropped behind them */
    size_t run; /* where the marks after the last starter begin */
} km_normalized;

/* Appends text[from, to). Returns the number of invalid UTF-8 sequences, which are dropped. */
uint64_t km_normalize(km_normalized *out, const km_fold *fold, const char *text, size_t from, size_t to);
void km_normalized_free(km_normalized *normalized);

#endif
