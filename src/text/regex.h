/* regex: regular expressions by PCRE2, as the tokenizers package has them by Oniguruma. */
#ifndef KM_TEXT_REGEX_H
#define KM_TEXT_REGEX_H

#include "kmask/text.h"

typedef struct km_regex km_regex;

/* Compiles a pattern, or with `literal` a text that matches itself. KM_FAILED where the pattern is none, or uses what PCRE2 reads
 * otherwise than Oniguruma and km_pattern_translate cannot say in other words, or where it takes too long. `origin` begins the
 * message. The caller destroys. */
km_status km_regex_create(km_regex **out, const char *pattern, bool literal, const char *origin) KM_NODISCARD;
void km_regex_destroy(km_regex *regex);

/* Appends the matches in text[begin, end), which is UTF-8, and what lies between them, in order. Matches may be empty. Where the
 * search takes too many steps it ends with a warning, and the rest of the text is a part without a match. */
void km_regex_find(const km_regex *regex, const char *text, size_t begin, size_t end, km_parts *out);

/* Appends the pattern in PCRE2's words. */
km_status km_pattern_translate(km_buffer *out, const char *pattern, const char *origin) KM_NODISCARD;

#endif
