/* strings: a set of different strings, numbered in the order in which they were added. */
#ifndef KM_TOKENIZER_STRINGS_H
#define KM_TOKENIZER_STRINGS_H

#include "kmask/base.h"

typedef struct km_strings {
    char *bytes; /* the strings one after the other, each with a NUL behind it */
    size_t used, capacity;
    size_t *starts;  /* (count + 1) where each string begins in `bytes` */
    uint32_t *table; /* a hash table with open addressing: number + 1, or 0 for an empty slot */
    size_t mask;     /* slots of the table - 1 */
    uint32_t count, room;
} km_strings;

/* The number of the string that is equal to these bytes; -1 where there is none. */
int64_t km_strings_find(const km_strings *strings, const char *bytes, size_t size);
/* The same, but a string that is not there yet is added with the number `count`. */
uint32_t km_strings_add(km_strings *strings, const char *bytes, size_t size);
const char *km_strings_get(const km_strings *strings, uint32_t number);
size_t km_strings_size(const km_strings *strings, uint32_t number); /* bytes without the NUL */
void km_strings_free(km_strings *strings);

#endif
