/* Byte-level BPE (Radford et al. 2019): text is cut into pre-tokens by GPT-2's pattern; each is its bytes at first, of
 * which the pair that was learned soonest is merged again and again. Pieces are written with a printable character
 * for each byte ("\u0120the" is " the"). */
#ifndef KM_TOKENIZER_BPE_H
#define KM_TOKENIZER_BPE_H

#include "tokenizer.h"

/* A pair of neighbours that merges; rank 0 is the first. */
typedef struct km_pair {
    int32_t left, right; /* left -1: an empty place of the table */
    uint32_t rank;
    int32_t result;
} km_pair;

typedef struct km_whole {
    uint32_t tag;
    int32_t id; /* -1: empty */
} km_whole;

struct km_bpe {
    bool prefix_space;
    const uint8_t *classes; /* (KM_CODES) km_split */
    char *raw;              /* the bytes that pieces stand for, one after the other */
    size_t *raw_starts;     /* (pieces + 1) */
    int32_t byte_ids[256];  /* -1: the byte has no piece */
    km_pair *pairs;         /* open addressing */
    int pair_shift;         /* 64 - log2 of its size */
    size_t pair_mask;
    km_whole *wholes; /* pieces that merging makes of their own bytes: found without merging; open addressing */
    size_t whole_mask;
    size_t longest; /* bytes of the longest of them */
};

enum {
    KM_MERGE_SCAN = 64,        /* bytes up to which the next pair is found by looking at all */
    KM_MERGE_WINDOW = 1 << 14, /* bytes of a pre-token that are merged at a time */
    KM_MERGE_BEHIND = 1 << 11  /* of which those at its end only show what follows */
};

/* The character of a byte, and the byte of a character (-1: none). */
uint32_t km_byte_char(uint8_t byte);
int km_char_byte(uint32_t code);
/* The bytes that a piece stands for, into out (as long as the piece); returns how many. Of a piece with other
 * characters they are its own. */
size_t km_piece_bytes(char *out, const char *piece, size_t size, bool *of_bytes);

/* The ids of `count` bytes (at most KM_MERGE_WINDOW) of one pre-token; returns how many. `sizes` (may be NULL): the bytes
 * of each. Both have room for `count`. */
size_t km_bpe_merge(const km_tokenizer *tokenizer, const char *bytes, size_t count, int32_t *ids, uint32_t *sizes);

/* The end of the pre-token that begins at `at`; *valid is false where it holds invalid UTF-8, whose number is added. */
const char *km_bpe_split(const uint8_t *classes, const char *at, const char *end, bool *valid, uint64_t *invalid);

uint64_t km_bpe_encode(const km_tokenizer *tokenizer, const char *text, const char *from, const char *end,
                       km_ids *out);
void km_bpe_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, km_buffer *out);
km_status km_bpe_save(const km_tokenizer *tokenizer, const char *folder) KM_NODISCARD;
void km_bpe_print_json(const km_tokenizer *tokenizer, km_buffer *out);

static inline uint64_t km_bytes_hash(const char *bytes, size_t count) {
    uint64_t hash = count * 0x9E3779B97F4A7C15ULL, word;
    for (; count >= 8; bytes += 8, count -= 8) {
        __builtin_memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0xFF51AFD7ED558CCDULL;
        hash ^= hash >> 32;
    }
    word = 0;
    for (size_t i = 0; i < count; i++) {
        word = word << 8 | (uint8_t)bytes[i];
    }
    hash = (hash ^ word) * 0xC4CEB9FE1A85EC53ULL;
    return hash ^ hash >> 29;
}

static inline const km_pair *km_pair_find(const km_bpe *b, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t slot = (size_t)(key * 0x9E3779B97F4A7C15ULL >> b->pair_shift);; slot = (slot + 1) & b->pair_mask) {
        const km_pair *pair = &b->pairs[slot];
        if (pair->left == left && pair->right == right) {
            return pair;
        }
        if (pair->left < 0) {
            return NULL;
        }
    }
}

#endif
