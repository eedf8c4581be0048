/* Character classes and mappings that decide ids. Categories are those of Unicode 8.0, the version frozen into the
 * reference tokenizers, so that ids never depend on the utf8proc that is installed; decomposition and lower case
 * come from utf8proc, pinned in the same way where versions differ. */
#ifndef KM_TEXT_UNICODE_H
#define KM_TEXT_UNICODE_H

#include "kmask/text.h"

bool km_is_dropped(uint32_t code); /* control, format, private use, U+FFFD: removed by clean-up */
bool km_is_space(uint32_t code);
bool km_is_punctuation(uint32_t code); /* categories P*, and all ASCII that is neither letter nor digit */
bool km_is_chinese(uint32_t code);
bool km_is_mark(uint32_t code); /* category Mn: what stripping accents removes */

enum { KM_DECOMPOSED = 24 };
/* Canonical decomposition (NFD) of one character without reordering; returns how many code points. */
int km_decompose(uint32_t out[KM_DECOMPOSED], uint32_t code);
int km_combining_class(uint32_t code);
/* Lower case of one character; U+0130 alone has two code points, here it becomes "i". */
uint32_t km_lower(uint32_t code);

#endif
