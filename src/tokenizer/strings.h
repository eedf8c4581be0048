/* Different strings, numbered in the order of their arrival. */
#ifndef KM_TOKENIZER_STRINGS_H
#define KM_TOKENIZER_STRINGS_H

#include "kmask/base.h"

typedef struct km_strings {
    char *bytes; /* the strings one after the other, each with a NUL after it */
    size_t used, capacity;
    size_t *starts;  /* count + 1 */
    uint32_t *table; /* open addressing: number + 1, or 0 */
    size_t mask;
    uint32_t count, room;
} km_strings;

/* The number of an equal string, or -1. */
int64_t km_strings_find(const km_strings *strings, const char *bytes, size_t size);
/* The string's number; a new one gets number `count`. */
uint32_t km_strings_add(km_strings *strings, const char *bytes, size_t size);
const char *km_strings_get(const km_strings *strings, uint32_t number);
size_t km_strings_size(const km_strings *strings, uint32_t number); /* bytes without the NUL */
void km_strings_free(km_strings *strings);

#endif
