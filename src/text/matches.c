/* Regular expressions, by ICU: whether a text begins with a match. */
#include "kmask/text.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/uregex.h>
#include <unicode/ustring.h>

/* The text in UTF-16, with U+FFFD for what is not UTF-8; the caller frees. */
static UChar *widen(const char *text, int32_t *length) {
    const size_t bytes = strlen(text);
    UErrorCode code = U_ZERO_ERROR;
    UChar *wide = km_new(bytes + 1, sizeof *wide);
    u_strFromUTF8WithSub(wide, (int32_t)bytes + 1, length, text, (int32_t)bytes, 0xFFFD, NULL, &code);
    return wide;
}

bool km_text_matches(const char *text, const char *pattern) {
    enum { PATIENCE = 100 }; /* times 10,000 of ICU's steps; some patterns take exponentially many */
    int32_t length = 0, pattern_length = 0;
    UErrorCode code = U_ZERO_ERROR;
    UChar *wide = widen(text, &length), *rule = widen(pattern, &pattern_length);
    URegularExpression *expression =
        uregex_open(rule, pattern_length, UREGEX_CASE_INSENSITIVE | UREGEX_MULTILINE, NULL, &code);
    uregex_setTimeLimit(expression, PATIENCE, &code);
    uregex_setText(expression, wide, length, &code);
    const bool matches =
        pattern_length == 0 || (uregex_lookingAt(expression, 0, &code) && U_SUCCESS(code)); /* ICU refuses "" */
    uregex_close(expression);
    free(wide);
    free(rule);
    return matches;
}
