/* Byte-level BPE: merges the bytes of one pre-token into pieces. */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

static const uint32_t NONE = UINT32_MAX; /* the rank of a pair that does not merge */

/* The shortcut with these bytes; -1 where there is none. */
static int32_t find_shortcut(const km_tokenizer *t, const char *bytes, size_t count) {
    const km_bpe *b = t->bpe;
    if (count > b->longest) {
        return -1;
    }
    uint64_t hash = km_bytes_hash(bytes, count);
    for (size_t slot = (size_t)hash & b->shortcut_mask;; slot = (slot + 1) & b->shortcut_mask) {
        km_bpe_shortcut found = b->shortcuts[slot];
        if (found.id < 0) {
            return -1;
        }
        if (found.tag == (uint32_t)(hash >> 32)) {
            size_t start = b->raw_starts[found.id];
            if (b->raw_starts[found.id + 1] - start == count && memcmp(b->raw + start, bytes, count) == 0) {
                return found.id;
            }
        }
    }
}

/* Writes the piece of each byte. A byte without a piece becomes the unknown token or, if there is none, is left out. */
static size_t single_bytes(const km_tokenizer *t, const char *bytes, size_t count, int32_t *ids, uint32_t *sizes) {
    size_t out = 0;
    for (size_t i = 0; i < count; i++) {
        int32_t id = t->bpe->byte_ids[(uint8_t)bytes[i]];
        ids[out] = id;
        sizes[out] = 1;
        out += id >= 0;
    }
    return out;
}

static uint32_t rank_of(const km_bpe *b, int32_t left, int32_t right) {
    const km_bpe_pair *pair = km_bpe_pair_find(b, left, right);
    return pair == NULL ? NONE : pair->rank;
}

/* Merges few symbols: the pair with the lowest rank, the leftmost of equal ones, is found by comparing all pairs. Returns how
 * many symbols are left. */
static size_t merge_few(const km_bpe *b, int32_t *ids, uint32_t *sizes, size_t count) {
    uint32_t ranks[KM_MERGE_SCAN];
    for (size_t i = 0; i + 1 < count; i++) {
        ranks[i] = rank_of(b, ids[i], ids[i + 1]);
    }
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++) {
            best = ranks[i] < ranks[best] ? i : best;
        }
        if (ranks[best] == NONE) {
            break;
        }
        ids[best] = km_bpe_pair_find(b, ids[best], ids[best + 1])->result;
        sizes[best] += sizes[best + 1];
        count--;
        for (size_t i = best + 1; i < count; i++) {
            ids[i] = ids[i + 1];
            sizes[i] = sizes[i + 1];
            ranks[i - 1] = ranks[i];
        }
        if (best + 1 < count) {
            ranks[best] = rank_of(b, ids[best], ids[best + 1]);
        }
        if (best > 0) {
            ranks[best - 1] = rank_of(b, ids[best - 1], ids[best]);
        }
    }
    return count;
}

/* ---- Many symbols: a priority queue of pairs over a linked list of symbols ------------------------------- */

/* A pair in the queue: at symbol `at`, as it was when it was put in. */
typedef struct waiting {
    uint32_t rank, at;
    int32_t left, right;
} waiting;

typedef struct merging {
    const km_bpe *bpe;
    int32_t *ids; /* -1: the symbol was merged into the one before it */
    uint32_t *sizes, *next, *before;
    size_t count;
    waiting *queue; /* a binary heap; it gets one entry for each symbol and two for each merge at most */
    size_t queue_count;
} merging;

static bool sooner(const waiting *a, const waiting *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void enqueue(merging *m, uint32_t at) {
    uint32_t next = m->next[at];
    if (next >= m->count) {
        return;
    }
    const waiting item = {rank_of(m->bpe, m->ids[at], m->ids[next]), at, m->ids[at], m->ids[next]};
    if (item.rank == NONE) {
        return;
    }
    size_t i = m->queue_count++;
    for (; i > 0 && sooner(&item, &m->queue[(i - 1) / 2]); i = (i - 1) / 2) {
        m->queue[i] = m->queue[(i - 1) / 2];
    }
    m->queue[i] = item;
}

static waiting dequeue(merging *m) {
    waiting first = m->queue[0], last = m->queue[--m->queue_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < m->queue_count && sooner(&m->queue[child + 1], &m->queue[child])) {
            child++;
        }
        if (child >= m->queue_count || !sooner(&m->queue[child], &last)) {
            break;
        }
        m->queue[i] = m->queue[child];
        i = child;
    }
    m->queue[i] = last;
    return first;
}

/* Merges the next pair of the queue, unless one of its symbols has been merged since it was put in. */
static void merge_next(merging *m) {
    waiting item = dequeue(m);
    uint32_t at = item.at, next = m->next[at];
    if (m->ids[at] != item.left || next >= m->count || m->ids[next] != item.right) {
        return;
    }
    m->ids[at] = km_bpe_pair_find(m->bpe, item.left, item.right)->result;
    m->sizes[at] += m->sizes[next];
    m->ids[next] = -1;
    m->next[at] = m->next[next];
    if (m->next[at] < m->count) {
        m->before[m->next[at]] = at;
    }
    enqueue(m, at);
    if (at > 0) {
        enqueue(m, m->before[at]);
    }
}

static size_t merge_many(const km_bpe *b, int32_t *ids, uint32_t *sizes, size_t count) {
    merging m = {.bpe = b, .ids = ids, .sizes = sizes, .count = count};
    m.next = km_new(2 * count, sizeof *m.next);
    m.before = m.next + count;
    m.queue = km_new(3 * count, sizeof *m.queue);
    for (size_t i = 0; i < count; i++) {
        m.next[i] = (uint32_t)i + 1;
        m.before[i] = (uint32_t)i - 1;
    }
    for (size_t i = 0; i < count; i++) {
        enqueue(&m, (uint32_t)i);
    }
    while (m.queue_count > 0) {
        merge_next(&m);
    }
    size_t out = 0;
    for (size_t i = 0; i < count; i++) {
        ids[out] = ids[i];
        sizes[out] = sizes[i];
        out += ids[out] >= 0;
    }
    free(m.next);
    free(m.queue);
    return out;
}

size_t km_bpe_merge(const km_tokenizer *tokenizer, const char *bytes, size_t count, int32_t *ids, uint32_t *sizes) {
    int32_t whole = find_shortcut(tokenizer, bytes, count);
    if (whole >= 0) {
        ids[0] = whole;
        sizes[0] = (uint32_t)count;
        return 1;
    }
    size_t symbols = tokenizer->bpe->by_character ? km_bpe_symbols(tokenizer, bytes, count, ids, sizes)
                                                  : single_bytes(tokenizer, bytes, count, ids, sizes);
    return symbols <= KM_MERGE_SCAN ? merge_few(tokenizer->bpe, ids, sizes, symbols)
                                    : merge_many(tokenizer->bpe, ids, sizes, symbols);
}
