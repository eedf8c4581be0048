/* unicode: character classes and mappings of BERT's normalizer. Classes are those of Unicode 8.0, which the tokenizers package
 * has built in, so that token ids never depend on the installed utf8proc. Decomposition and lower case come from utf8proc;
 * where its versions differ, tables here give the package's answer. */
#ifndef KM_TEXT_UNICODE_H
#define KM_TEXT_UNICODE_H

#include "kmask/text.h"

bool km_is_dropped(uint32_t code); /* removed by the normalizer: control, format, private use, U+FFFD */
bool km_is_space(uint32_t code);
bool km_is_punctuation(
    uint32_t code); /* categories P*, and every ASCII character that is neither letter, digit nor space */
bool km_is_chinese(uint32_t code);   /* the CJK blocks that BERT sets apart */
bool km_is_mark(uint32_t code);      /* category Mn: the marks that strip_accents removes */
bool km_is_combining(uint32_t code); /* what the package's StripAccents removes */
bool km_is_numeric(uint32_t code);   /* categories N*, in the version of the package's Digits */

enum { KM_DECOMPOSED = 24 };
/* The canonical decomposition (NFD) of one character, marks not yet in canonical order. Returns the number of code points. */
int km_decompose(uint32_t out[KM_DECOMPOSED], uint32_t code);
/* The same with compatibility decompositions (NFKD). */
int km_decompose_fully(uint32_t out[KM_DECOMPOSED], uint32_t code);
/* The character that two make in NFC; 0 where they make none. */
uint32_t km_compose(uint32_t first, uint32_t second);
int km_combining_class(uint32_t code);
/* The lower case of one character. U+0130 has two code points in lower case; here it becomes "i" alone. */
uint32_t km_lower(uint32_t code);

/* Characters that the regular expressions of the tokenizers package know and Unicode 11 does not. */
typedef struct km_newer_range {
    uint32_t first, last;
    const char *category, *script; /* "Lo", "Han"; "" for a script that is not told apart */
} km_newer_range;
const km_newer_range *km_newer_ranges(size_t *count);

#endif
