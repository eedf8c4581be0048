/* How often each word occurs. */
#ifndef KM_TOKENIZER_COUNTS_H
#define KM_TOKENIZER_COUNTS_H

#include "strings.h"

typedef struct km_counts {
    km_strings words;
    uint64_t *counts; /* by number of the word */
    uint32_t room;
} km_counts;
void km_counts_add(km_counts *counts, const char *bytes, size_t size);
void km_counts_free(km_counts *counts);

#endif
