/* bpe: byte-level byte-pair encoding (Radford et al. 2019). GPT-2's pattern cuts text into pre-tokens; each pre-token begins as
 * its single bytes, and the pair of neighbours whose merge was learned first is merged, again and again. The vocabulary writes
 * pieces with a printable character for each byte: "\u0120the" is " the". */
#ifndef KM_TOKENIZER_BPE_H
#define KM_TOKENIZER_BPE_H

#include "tokenizer.h"

/* A pair of neighbouring pieces that merges. */
typedef struct km_bpe_pair {
    int32_t left, right; /* left -1: the slot is empty */
    uint32_t rank;       /* which merge it is; the lowest rank is applied first */
    int32_t result;
} km_bpe_pair;

/* A piece that merging makes out of exactly its own bytes. A pre-token with these bytes is that piece, without any merging. */
typedef struct km_bpe_shortcut {
    uint32_t tag; /* part of the hash */
    int32_t id;   /* -1: the slot is empty */
} km_bpe_shortcut;

struct km_bpe {
    bool prefix_space; /* km_settings */
    bool by_character; /* merging begins with characters, and pieces are written as they are, not byte for byte */
    int32_t fallback[256];  /* by_character: the piece such as <0x0A> of each byte; -1: none */
    const uint8_t *classes; /* km_char_classes() */
    char *raw;              /* the bytes that pieces stand for, one piece after the other */
    size_t *raw_starts;     /* (pieces + 1) where each piece begins in `raw` */
    int32_t byte_ids[256];  /* the piece of each single byte; km_tokenizer.unknown for a byte without one */
    km_bpe_pair *pairs;     /* a hash table with open addressing */
    int pair_shift;         /* 64 - log2(slots of the table) */
    size_t pair_mask;
    km_bpe_shortcut *shortcuts; /* a hash table with open addressing */
    size_t shortcut_mask;
    size_t longest; /* most bytes of a shortcut */
};

enum {
    KM_MERGE_SCAN = 64,        /* up to so many symbols, the next pair to merge is found by comparing all */
    KM_MERGE_WINDOW = 1 << 14, /* most bytes of a pre-token that are merged at a time */
    KM_MERGE_BEHIND =
        1 << 11 /* the last bytes of a window, whose pieces are not taken: what follows could change them */
};

/* Writes the bytes that a piece stands for to `out`, which has room for `size` bytes, and returns their number. A piece with
 * other characters than those that stand for bytes is copied as it is, and *of_bytes is false. */
size_t km_piece_bytes(char *out, const char *piece, size_t size, bool *of_bytes);

/* Writes the ids of `count` bytes (at most KM_MERGE_WINDOW) of one pre-token and, to `sizes`, the bytes of each. Returns their
 * number. Both arrays have room for `count`. */
size_t km_bpe_merge(const km_tokenizer *tokenizer, const char *bytes, size_t count, int32_t *ids, uint32_t *sizes);

/* The symbols with which merging begins, where it begins with characters; arrays as for km_family.encode_pretoken. */
size_t km_bpe_symbols(const km_tokenizer *tokenizer, const char *bytes, size_t count, int32_t *ids,
                      uint32_t *sizes);
bool km_bpe_by_character(const km_tokenizer *tokenizer);

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

/* The pair with these two pieces; NULL where they do not merge. */
static inline const km_bpe_pair *km_bpe_pair_find(const km_bpe *b, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t slot = (size_t)(key * 0x9E3779B97F4A7C15ULL >> b->pair_shift);; slot = (slot + 1) & b->pair_mask) {
        const km_bpe_pair *pair = &b->pairs[slot];
        if (pair->left == left && pair->right == right) {
            return pair;
        }
        if (pair->left < 0) {
            return NULL;
        }
    }
}

#endif
