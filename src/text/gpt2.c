/* How GPT-2 cuts text into pre-tokens, and the printable characters that stand for bytes in its vocabulary. */
#include "kmask/text.h"

/* ---- Bytes as characters -------------------------------------------------------------------------------- */

/* As in GPT-2, the printable characters of Latin-1 stand for their own bytes, and U+0100 to U+0143 for the 68 other bytes. */
static bool stands_for_itself(uint32_t byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

uint32_t km_byte_char(uint8_t byte) {
    if (stands_for_itself(byte)) {
        return byte;
    }
    return 0x100U + (byte <= 0x20 ? byte : byte <= 0xA0 ? 0x21U + byte - 0x7F : 0x43U);
}

int km_char_byte(uint32_t code) {
    if (code < 0x100) {
        return stands_for_itself(code) ? (int)code : -1;
    }
    uint32_t number = code - 0x100;
    return number <= 0x20 ? (int)number : number <= 0x42 ? (int)(number - 0x21 + 0x7F) : number == 0x43 ? 0xAD : -1;
}

/* ---- Pre-tokens ----------------------------------------------------------------------------------------- */
/* GPT-2's pattern: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */

/* The class of the character at *at, which moves behind it. An invalid sequence is read as U+FFFD and counted in *bad. */
static inline uint8_t next_class(const uint8_t *classes, const char **at, const char *end, uint64_t *bad) {
    uint8_t byte = (uint8_t) * *at;
    if (byte < 0x80) {
        ++*at;
        return classes[byte];
    }
    int32_t code = km_utf8_next(at, end);
    *bad += code < 0;
    return code < 0 ? KM_CHAR_OTHER : classes[code];
}

/* The end of an English contraction ('s, 're, ...) that begins at `at`; NULL for none. */
static const char *contraction(const char *at, const char *end) {
    if (end - at < 2 || *at != '\'') {
        return NULL;
    }
    switch (at[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
        return at + 2;
    case 'r':
    case 'v':
        return end - at > 2 && at[2] == 'e' ? at + 3 : NULL;
    case 'l':
        return end - at > 2 && at[2] == 'l' ? at + 3 : NULL;
    default:
        return NULL;
    }
}

const char *km_gpt2_split(const uint8_t *classes, const char *at, const char *end, bool *valid, uint64_t *invalid) {
    const char *stop = contraction(at, end), *last;
    uint64_t bad = 0, more = 0;
    if (stop != NULL) {
        return stop;
    }
    const char *next = at;
    uint8_t class = next_class(classes, &next, end, &bad);
    if (class == KM_CHAR_SPACE) { /* a single space before something else belongs to its pre-token */
        last = next;
        uint8_t behind = next == end ? (uint8_t)KM_CHAR_SPACE : next_class(classes, &last, end, &more);
        if (behind == KM_CHAR_SPACE) {
            const char *before = at;
            while (next < end) {
                last = next;
                more = 0;
                if (next_class(classes, &last, end, &more) != KM_CHAR_SPACE) {
                    return before; /* the last white character is left for what follows */
                }
                before = next;
                next = last;
            }
            return next;
        }
        if (*at != ' ') {
            return next;
        }
        class = behind;
        bad += more;
        next = last;
    }
    for (last = next; next < end; next = last) {
        more = 0;
        if (next_class(classes, &last, end, &more) != class) {
            break;
        }
        bad += more;
    }
    *valid = *valid && bad == 0;
    *invalid += bad;
    return next;
}

const char *km_gpt2_first(const uint8_t *classes, const char *from, const char *end, uint64_t *invalid) {
    const char *stop = from;
    const uint8_t class = next_class(classes, &stop, end, invalid);
    const char *before = from;
    for (const char *next = stop; stop < end; stop = next) {
        uint64_t more = 0;
        if (next_class(classes, &next, end, &more) != class) {
            break;
        }
        before = stop;
        *invalid += more;
    }
    /* The last white character stays for what follows. */
    return class == KM_CHAR_SPACE && stop < end ? before : stop;
}
