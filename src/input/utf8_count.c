/* How much of a text is UTF-8. */
#include <string.h>

#include "kmask/input.h"
#include "kmask/text.h"

void km_utf8_count(const char *text, size_t count, uint64_t *invalid, uint64_t *beyond_ascii) {
    const char *at = text, *end = text + count;
    while (at < end) {
        uint64_t eight = 0;
        while (end - at >= 8 && (memcpy(&eight, at, 8), (eight & UINT64_C(0x8080808080808080)) == 0)) {
            at += 8;
        }
        if (at < end && (unsigned char)*at < 0x80) {
            at++;
        } else if (at < end) {
            const char *from = at;
            if (km_utf8_next(&at, end) < 0) {
                *invalid += (uint64_t)(at - from);
            } else {
                *beyond_ascii += 1;
            }
        }
    }
}

bool km_invalid_is_large(uint64_t invalid, uint64_t beyond_ascii, uint64_t bytes) {
    const double share = bytes > 0 ? (double)invalid / (double)bytes : 0;
    return share >= 0.01 || (share >= 0.003 && invalid > beyond_ascii);
}
