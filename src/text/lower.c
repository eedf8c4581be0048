/* lower: a text in lower case by Unicode's full mapping, as Python's str.lower() has it. */
#include "kmask/text.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/ucasemap.h>

char *km_text_lower(const char *text) {
    UErrorCode error = U_ZERO_ERROR;
    UCaseMap *map = ucasemap_open("", 0, &error);
    size_t length = strlen(text), room = 3 * length + 1; /* no character grows to more than three times its bytes */
    char *lower = km_new(room, 1);
    if (map != NULL && length < INT32_MAX / 3) {
        (void)ucasemap_utf8ToLower(map, lower, (int32_t)room, text, (int32_t)length, &error);
    }
    if (map == NULL || U_FAILURE(error)) {
        memcpy(lower, text, length + 1);
    }
    ucasemap_close(map);
    return lower;
}
