/* The pieces of a vocabulary and a hash table over them. */
#ifndef KM_TEXT_TOKENIZER_H
#define KM_TEXT_TOKENIZER_H

#include "kmask/text.h"
#include "words.h"

enum { KM_PIECES = 10 * 1000 * 1000 }; /* the largest vocabulary */

typedef struct km_slot {
    uint32_t tag;
    int32_t id; /* -1: empty */
} km_slot;

struct km_tokenizer {
    km_fold fold;
    km_specials specials;
    int32_t size;
    char *text;        /* all pieces, each with a NUL after it */
    size_t *starts;    /* size + 1: where piece i begins in text */
    km_slot *slots;    /* open addressing over (continues, bytes without "##") */
    int shift;         /* 64 - log2(number of slots) */
    size_t mask;       /* number of slots - 1 */
    size_t longest[2]; /* bytes of the longest piece that begins, that continues a word */
};

/* How the text is normalized before it is cut into pieces. */
typedef struct km_folding {
    bool lowercase, strip_accents, chinese;
} km_folding;

/* Makes a tokenizer of `count` pieces, NUL-terminated one after the other in `text` (taken over, also on error).
 * `origin` heads messages. */
km_status km_tokenizer_make(km_tokenizer **out, char *text, size_t bytes, size_t count, km_folding folding,
                            const char *origin) KM_NODISCARD;

/* Opens a tokenizer.json (HuggingFace) with a WordPiece model and BERT's normalizer. */
km_status km_tokenizer_json_open(km_tokenizer **out, const char *path) KM_NODISCARD;

/* The hash of a piece grows byte by byte, so that one pass gives it for all beginnings of a word. */
static inline uint64_t km_piece_seed(bool continues) {
    return continues ? 0x9AE16A3B2F90404FULL : 0xCBF29CE484222325ULL;
}

static inline uint64_t km_piece_step(uint64_t hash, char byte) {
    return (hash ^ (uint8_t)byte) * 0x100000001B3ULL;
}

/* The id of a piece given without "##", or -1. */
static inline int32_t km_piece_find(const km_tokenizer *t, bool continues, const char *bytes, size_t count,
                                    uint64_t hash) {
    uint64_t mixed = hash ^ hash >> 32;
    uint32_t tag = (uint32_t)mixed;
    size_t skip = continues ? 2 : 0;
    for (size_t slot = (size_t)(mixed * 0x9E3779B97F4A7C15ULL >> t->shift);; slot = (slot + 1) & t->mask) {
        km_slot found = t->slots[slot];
        if (found.id < 0) {
            return -1;
        }
        if (found.tag == tag) {
            size_t start = t->starts[found.id];
            const char *piece = t->text + start;
            size_t size = t->starts[found.id + 1] - start - 1;
            bool inner = size >= 2 && piece[0] == '#' && piece[1] == '#';
            if (size == count + skip && inner == continues && __builtin_memcmp(piece + skip, bytes, count) == 0) {
                return found.id;
            }
        }
    }
}

#endif
