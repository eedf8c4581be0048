/* UTF-8: from bytes to code points and back. */
#include "kmask/text.h"

int32_t km_utf8_next(const char **at, const char *end) {
    const uint8_t *p = (const uint8_t *)*at;
    size_t left = (size_t)(end - *at);
    uint8_t lead = p[0];
    if (lead < 0x80) {
        *at += 1;
        return lead;
    }
    if (lead < 0xC2 || lead > 0xF4) {
        *at += 1;
        return -1;
    }
    size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    /* The range of the second byte excludes overlong forms, surrogates and code points beyond U+10FFFF. */
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    uint32_t code = lead & (0x7FU >> size);
    for (size_t i = 1; i < size; i++) {
        if (i >= left || p[i] < low || p[i] > high) {
            *at += i;
            return -1;
        }
        code = code << 6 | (p[i] & 0x3FU);
        low = 0x80;
        high = 0xBF;
    }
    *at += size;
    return (int32_t)code;
}

size_t km_utf8_put(char *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}
