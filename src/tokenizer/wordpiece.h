/* wordpiece: WordPiece encoding (Wu et al. 2016) by a hash table over the pieces that begin a word and those that continue
 * one. */
#ifndef KM_TOKENIZER_WORDPIECE_H
#define KM_TOKENIZER_WORDPIECE_H

#include "tokenizer.h"

typedef struct km_piece_slot {
    uint32_t tag; /* part of the hash, which sorts out most other pieces without looking at their bytes */
    int32_t id;   /* -1: the slot is empty */
} km_piece_slot;

struct km_wordpiece {
    km_normalizer normalizer;
    km_normalizer splitter; /* changes nothing, for text that is normalized already and only has to be split */
    bool piece_clean_up, clean_up; /* km_settings */
    const char *prefix;            /* "##", or what the pipeline has; owned elsewhere */
    size_t prefix_size;
    uint64_t seeds[2];    /* the hash before the first byte of a piece that begins a word, that continues one */
    km_piece_slot *slots; /* open addressing; the key is the piece */
    int shift;            /* 64 - log2(number of slots) */
    size_t mask;          /* number of slots - 1 */
    size_t longest[2];    /* bytes of the longest piece that begins a word, that continues one */
};

uint64_t km_wordpiece_encode(const km_tokenizer *tokenizer, const char *text, const char *from, const char *end,
                             km_ids *out);
uint64_t km_wordpiece_encode_normalized(const km_tokenizer *tokenizer, const char *text, const char *from,
                                        const char *end, km_ids *out);
void km_wordpiece_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, km_buffer *out);
km_status km_wordpiece_save(const km_tokenizer *tokenizer, const char *folder) KM_NODISCARD;
void km_wordpiece_print_json(const km_tokenizer *tokenizer, km_buffer *out);

size_t km_wordpiece_pretoken(const km_tokenizer *tokenizer, const char *bytes, size_t count, int32_t *ids,
                             uint32_t *sizes);

/* Whether a piece continues a word. */
static inline bool km_continues(const char *piece) {
    return piece[0] == '#' && piece[1] == '#';
}

/* The hash of a piece is made byte by byte, so that one pass over a word gives the hashes of all its prefixes. */
static inline uint64_t km_piece_step(uint64_t hash, char byte) {
    return (hash ^ (uint8_t)byte) * 0x100000001B3ULL;
}

/* The id of the piece with these bytes, behind the prefix if it continues a word, and this hash; -1 where there is none. */
static inline int32_t km_piece_find(const km_tokenizer *t, bool continues, const char *bytes, size_t count,
                                    uint64_t hash) {
    const km_wordpiece *w = t->wordpiece;
    uint64_t mixed = hash ^ hash >> 32;
    uint32_t tag = (uint32_t)mixed;
    const size_t skip = continues ? w->prefix_size : 0;
    for (size_t slot = (size_t)(mixed * 0x9E3779B97F4A7C15ULL >> w->shift);; slot = (slot + 1) & w->mask) {
        km_piece_slot found = w->slots[slot];
        if (found.id < 0) {
            return -1;
        }
        if (found.tag == tag) {
            const char *piece = km_strings_get(&t->pieces, (uint32_t)found.id);
            size_t size = km_strings_size(&t->pieces, (uint32_t)found.id);
            if (size == count + skip && __builtin_memcmp(piece + skip, bytes, count) == 0 &&
                __builtin_memcmp(piece, w->prefix, skip) == 0) {
                return found.id;
            }
        }
    }
}

#endif
