/* word_counts: how often each different word of a text occurs, for the trainers. */
#ifndef KM_TOKENIZER_WORD_COUNTS_H
#define KM_TOKENIZER_WORD_COUNTS_H

#include "strings.h"

/* Zero-initialize; free with km_word_counts_free. */
typedef struct km_word_counts {
    km_strings words;
    uint64_t *counts; /* by the number of the word */
    uint32_t room;
} km_word_counts;
/* Counts one occurrence of a word. */
void km_word_counts_add(km_word_counts *counts, const char *bytes, size_t size);
void km_word_counts_free(km_word_counts *counts);

#endif
