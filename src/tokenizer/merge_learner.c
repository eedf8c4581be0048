/* Learns the merges of byte-pair encoding: it counts all pairs, keeps them in a priority queue, and merges the best one in
 * all words that contain it. */
#include "merge_learner.h"

#include <stdlib.h>
#include <string.h>

typedef struct pair {
    uint32_t left, right;
    int64_t count;
    uint32_t *words; /* words that may contain it: one may be listed twice, or have lost the pair since */
    uint32_t used, room;
    bool raised; /* its count has grown since the queue was last updated */
} pair;

typedef struct word {
    size_t start; /* where its symbols begin */
    uint32_t size;
    uint64_t count;
} word;

/* A pair in the queue with the count that it had when it was put in. If the count has fallen since, that is noticed when the
 * pair is taken out. */
typedef struct waiting {
    int64_t count;
    uint32_t pair;
} waiting;

struct km_merge_learner {
    uint32_t *symbols;
    size_t symbol_count, symbol_room;
    word *words;
    uint32_t word_count, word_room;
    pair *pairs;
    uint32_t pair_count, pair_room;
    uint32_t *table; /* a hash table of pairs with open addressing: number + 1, or 0 for an empty slot */
    size_t mask;
    waiting *queue; /* a binary heap, the most frequent pair first */
    size_t queue_count, queue_room;
    uint32_t *raised; /* pairs whose count has grown since the queue was last updated */
    size_t raised_count, raised_room;
    uint32_t best; /* the pair that km_merge_learner_best has found */
};

/* Makes room for one more item in an array, by doubling it. */
#define ROOM(array, count, room)                                                                                   \
    ((count) < (room) ? (void)0                                                                                    \
                      : (void)((room) = (room) == 0 ? 64 : 2 * (room),                                             \
                               (array) = km_grow((array), (size_t)(room), sizeof *(array))))

km_merge_learner *km_merge_learner_create(void) {
    km_merge_learner *m = km_new(1, sizeof *m);
    m->mask = 1023;
    m->table = km_new(m->mask + 1, sizeof *m->table);
    return m;
}

void km_merge_learner_destroy(km_merge_learner *learner) {
    if (learner == NULL) {
        return;
    }
    for (uint32_t i = 0; i < learner->pair_count; i++) {
        free(learner->pairs[i].words);
    }
    free(learner->symbols);
    free(learner->words);
    free(learner->pairs);
    free(learner->table);
    free(learner->queue);
    free(learner->raised);
    free(learner);
}

/* ---- Pairs ---------------------------------------------------------------------------------------------- */

static size_t slot_of(const km_merge_learner *m, uint32_t left, uint32_t right) {
    size_t slot = (size_t)km_mix64((uint64_t)left << 32 | right) & m->mask;
    while (m->table[slot] != 0) {
        const pair *p = &m->pairs[m->table[slot] - 1];
        if (p->left == left && p->right == right) {
            break;
        }
        slot = (slot + 1) & m->mask;
    }
    return slot;
}

static void widen_table(km_merge_learner *m) {
    free(m->table);
    m->mask = 2 * m->mask + 1;
    m->table = km_new(m->mask + 1, sizeof *m->table);
    for (uint32_t i = 0; i < m->pair_count; i++) {
        m->table[slot_of(m, m->pairs[i].left, m->pairs[i].right)] = i + 1;
    }
}

/* The number of a pair, which is added if it is new. */
static uint32_t pair_number(km_merge_learner *m, uint32_t left, uint32_t right) {
    size_t slot = slot_of(m, left, right);
    if (m->table[slot] != 0) {
        return m->table[slot] - 1;
    }
    ROOM(m->pairs, m->pair_count, m->pair_room);
    uint32_t number = m->pair_count++;
    m->pairs[number] = (pair){.left = left, .right = right};
    m->table[slot] = number + 1;
    if (2 * (size_t)m->pair_count > m->mask) {
        widen_table(m);
    }
    return number;
}

static void lower_count(km_merge_learner *m, uint32_t left, uint32_t right, uint64_t count) {
    m->pairs[pair_number(m, left, right)].count -= (int64_t)count;
}

/* One more occurrence of a pair in word `in`. */
static void raise_count(km_merge_learner *m, uint32_t left, uint32_t right, uint32_t in) {
    uint32_t number = pair_number(m, left, right);
    pair *p = &m->pairs[number];
    p->count += (int64_t)m->words[in].count;
    if (p->used == 0 || p->words[p->used - 1] != in) {
        ROOM(p->words, p->used, p->room);
        p->words[p->used++] = in;
    }
    if (!p->raised) {
        p->raised = true;
        ROOM(m->raised, m->raised_count, m->raised_room);
        m->raised[m->raised_count++] = number;
    }
}

void km_merge_learner_add(km_merge_learner *learner, const uint32_t *symbols, size_t size, uint64_t count) {
    if (size < 2) {
        return;
    }
    if (learner->symbol_count + size > learner->symbol_room) {
        learner->symbol_room = 2 * (learner->symbol_count + size);
        learner->symbols = km_grow(learner->symbols, learner->symbol_room, sizeof *symbols);
    }
    memcpy(learner->symbols + learner->symbol_count, symbols, size * sizeof *symbols);
    ROOM(learner->words, learner->word_count, learner->word_room);
    uint32_t number = learner->word_count++;
    learner->words[number] = (word){learner->symbol_count, (uint32_t)size, count};
    learner->symbol_count += size;
    for (size_t i = 0; i + 1 < size; i++) {
        raise_count(learner, symbols[i], symbols[i + 1], number);
    }
}

/* ---- The queue ------------------------------------------------------------------------------------------ */

/* Whether pair a is merged before pair b. */
static bool before(const km_merge_learner *m, waiting a, waiting b) {
    const pair *p = &m->pairs[a.pair], *q = &m->pairs[b.pair];
    if (a.count != b.count) {
        return a.count > b.count;
    }
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static void enqueue(km_merge_learner *m, waiting item) {
    ROOM(m->queue, m->queue_count, m->queue_room);
    size_t i = m->queue_count++;
    for (; i > 0 && before(m, item, m->queue[(i - 1) / 2]); i = (i - 1) / 2) {
        m->queue[i] = m->queue[(i - 1) / 2];
    }
    m->queue[i] = item;
}

static waiting dequeue(km_merge_learner *m) {
    waiting first = m->queue[0], last = m->queue[--m->queue_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < m->queue_count && before(m, m->queue[child + 1], m->queue[child])) {
            child++;
        }
        if (child >= m->queue_count || !before(m, m->queue[child], last)) {
            break;
        }
        m->queue[i] = m->queue[child];
        i = child;
    }
    m->queue[i] = last;
    return first;
}

static void enqueue_raised(km_merge_learner *m) {
    for (size_t i = 0; i < m->raised_count; i++) {
        pair *p = &m->pairs[m->raised[i]];
        p->raised = false;
        if (p->count > 0) {
            enqueue(m, (waiting){p->count, m->raised[i]});
        }
    }
    m->raised_count = 0;
}

bool km_merge_learner_best(km_merge_learner *learner, uint64_t least, uint32_t *left, uint32_t *right) {
    enqueue_raised(learner);
    int64_t floor = KM_MAX((int64_t)least, 1);
    while (learner->queue_count > 0) {
        waiting top = dequeue(learner);
        pair *p = &learner->pairs[top.pair];
        if (p->count < floor) {
            continue;
        }
        if (p->count != top.count) {
            enqueue(learner, (waiting){p->count, top.pair});
            continue;
        }
        learner->best = top.pair;
        *left = p->left;
        *right = p->right;
        return true;
    }
    return false;
}

/* ---- Merging -------------------------------------------------------------------------------------------- */

/* Replaces the pair by `symbol` in word `in`. */
static void merge_in(km_merge_learner *m, uint32_t in, uint32_t left, uint32_t right, uint32_t symbol) {
    word *w = &m->words[in];
    uint32_t *s = m->symbols + w->start;
    uint32_t out = 0;
    for (uint32_t i = 0; i < w->size; i++) {
        if (i + 1 == w->size || s[i] != left || s[i + 1] != right) {
            s[out++] = s[i];
            continue;
        }
        if (out > 0) {
            lower_count(m, s[out - 1], left, w->count);
            raise_count(m, s[out - 1], symbol, in);
        }
        if (i + 2 < w->size) {
            lower_count(m, right, s[i + 2], w->count);
            raise_count(m, symbol, s[i + 2], in);
        }
        s[out++] = symbol;
        i++;
    }
    w->size = out;
}

void km_merge_learner_apply(km_merge_learner *learner, uint32_t symbol) {
    pair *p = &learner->pairs[learner->best];
    uint32_t left = p->left, right = p->right, used = p->used, *words = p->words;
    p->words = NULL;
    p->used = p->room = 0;
    for (uint32_t i = 0; i < used; i++) {
        merge_in(learner, words[i], left, right, symbol);
    }
    free(words);
    learner->pairs[learner->best].count = 0;
}
