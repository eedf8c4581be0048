/* words: what words.c and normalize.c share beside kmask/text.h. */
#ifndef KM_TEXT_WORDS_H
#define KM_TEXT_WORDS_H

#include "kmask/text.h"

enum { KM_NORMALIZER_TABLE = 0x20000 }; /* code points with an entry in km_normalizer.table: planes 0 and 1 */

/* Where canonical ordering puts a combining mark of `class` into UTF-8 text that ends with the marks text[marks, end): behind
 * those with the same or a lower class. */
size_t km_mark_place(const char *text, size_t marks, size_t end, int class);

#endif
