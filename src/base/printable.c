/* printable: text from files and names, made harmless for a terminal. A control character in it could hide or forge lines, change the
 * terminal's title, or answer questions that nobody asked. */
#include "kmask/base.h"

#include <stdlib.h>
#include <string.h>

/* The length of the UTF-8 sequence that begins with this byte; 0 where none does. */
static size_t sequence(unsigned char first) {
    return first < 0x80                    ? 1
           : first >= 0xC2 && first < 0xE0 ? 2
           : (first & 0xF0) == 0xE0        ? 3
           : first >= 0xF0 && first < 0xF5 ? 4
                                           : 0;
}

/* How many bytes of the sequence are as they must be. */
static size_t good_bytes(const unsigned char *text, size_t count, size_t length) {
    size_t good = 1;
    while (good < length && good < count && (text[good] & 0xC0) == 0x80) {
        good++;
    }
    return good;
}

static uint32_t character(const unsigned char *text, size_t length) {
    uint32_t value = length == 1 ? text[0] : text[0] & (0x7FU >> length);
    for (size_t i = 1; i < length; i++) {
        value = value << 6 | (text[i] & 0x3FU);
    }
    return value;
}

/* Control characters but tab and newline, and those that turn the direction of text round. */
static bool is_control(uint32_t c) {
    return (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7F && c < 0xA0) || c == 0x061C || c == 0x200E ||
           c == 0x200F || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

size_t km_printable_add(km_buffer *out, const char *text, size_t count, bool last) {
    const unsigned char *at = (const unsigned char *)text;
    size_t i = 0, shown = 0; /* bytes text[shown..i-1] are shown as they are */
    while (i < count) {
        const size_t length = sequence(at[i]), good = length > 0 ? good_bytes(at + i, count - i, length) : 1;
        if (good < length && i + good == count && !last) {
            break; /* the rest of the sequence comes with the next bytes */
        }
        const bool whole = length > 0 && good == length;
        if (whole && !is_control(character(at + i, length))) {
            i += length;
            continue;
        }
        km_buffer_add(out, text + shown, i - shown);
        if (whole && length > 1) {
            km_buffer_print(out, "\\u%04x", character(at + i, length));
        } else {
            km_buffer_print(out, "\\x%02x", at[i]);
        }
        i += whole ? length : 1;
        shown = i;
    }
    km_buffer_add(out, text + shown, i - shown);
    return i;
}

char *km_printable(const char *text) {
    km_buffer out = {0};
    (void)km_printable_add(&out, text, strlen(text), true);
    return out.data != NULL ? out.data : km_strdup("");
}
