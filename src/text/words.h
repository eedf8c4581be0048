/* What words.c and normalize.c share beside kmask/text.h. */
#ifndef KM_TEXT_WORDS_H
#define KM_TEXT_WORDS_H

#include "kmask/text.h"

enum { KM_FOLD_TABLE = 0x20000 }; /* code points with an entry in km_fold's table: planes 0 and 1 */

/* Where a mark of `class` goes in UTF-8 text whose run of marks is text[run..end): behind those with the same or a lower class. */
size_t km_mark_place(const char *text, size_t run, size_t end, int class);

#endif
