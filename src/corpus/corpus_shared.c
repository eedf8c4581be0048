/* Documents that two corpora share: what is held out must not be trained on. */
#include "corpus.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 4096 };

/* Called with the hash of a document's ids. */
typedef void (*document_sink)(void *context, km_hash hash);

/* Hashes the ids of tokens first..end-1. */
static km_status hash_document(const km_corpus *corpus, uint64_t first, uint64_t end, km_hash *out) {
    int32_t ids[AT_ONCE];
    km_hasher *hasher = km_hasher_create();
    km_status status = KM_OK;
    while (first < end && status == KM_OK) {
        const size_t count = (size_t)KM_MIN(end - first, (uint64_t)AT_ONCE);
        status = km_corpus_read_tokens(corpus, first, count, ids);
        km_hasher_add(hasher, ids, count * sizeof *ids);
        first += count;
    }
    *out = km_hasher_end(hasher);
    return status;
}

/* Hands out the documents of at least `least` tokens. */
static km_status each_document(const km_corpus *corpus, uint64_t least, document_sink sink, void *context) {
    const km_array *ends = corpus->document_ends;
    uint64_t begin = 0, read[AT_ONCE];
    for (uint64_t at = 0; at < ends->count;) {
        const size_t count = (size_t)KM_MIN(ends->count - at, (uint64_t)AT_ONCE);
        KM_TRY(km_corpus_read_ends(corpus, ends, at, count, read));
        for (size_t i = 0; i < count; i++) {
            if (read[i] >= begin + least) {
                km_hash hash;
                KM_TRY(hash_document(corpus, begin, read[i], &hash));
                sink(context, hash);
            }
            begin = KM_MAX(begin, read[i]);
        }
        at += count;
    }
    return KM_OK;
}

typedef struct hash_list {
    km_hash *hashes; /* (count), sorted once all are there */
    bool *met;
    size_t count, capacity, shared;
} hash_list;

static int by_value(const void *left, const void *right) {
    const km_hash *a = left, *b = right;
    return a->high != b->high ? (a->high < b->high ? -1 : 1) : a->low != b->low ? (a->low < b->low ? -1 : 1) : 0;
}

static void collect(void *context, km_hash hash) {
    hash_list *list = context;
    if (list->count == list->capacity) {
        list->capacity = 2 * list->capacity + 64;
        list->hashes = km_grow(list->hashes, list->capacity, sizeof *list->hashes);
    }
    list->hashes[list->count++] = hash;
}

/* Counts each of the listed documents once, however often the other corpus has it. */
static void look_up(void *context, km_hash hash) {
    hash_list *list = context;
    const km_hash *found =
        list->count > 0 ? bsearch(&hash, list->hashes, list->count, sizeof hash, by_value) : NULL;
    if (found == NULL) {
        return;
    }
    size_t at = (size_t)(found - list->hashes);
    while (at > 0 && km_hash_equal(list->hashes[at - 1], hash)) {
        at--;
    }
    for (; at < list->count && km_hash_equal(list->hashes[at], hash); at++) {
        list->shared += !list->met[at];
        list->met[at] = true;
    }
}

km_status km_corpus_shared(const km_corpus *held_out, const km_corpus *train, uint64_t least, uint64_t *shared,
                           uint64_t *documents) {
    hash_list list = {0};
    km_status status = each_document(held_out, least, collect, &list);
    if (status == KM_OK && list.count > 0) {
        qsort(list.hashes, list.count, sizeof *list.hashes, by_value);
        list.met = km_new(list.count, sizeof *list.met);
        status = each_document(train, least, look_up, &list);
    }
    *shared = list.shared;
    *documents = list.count;
    free(list.hashes);
    free(list.met);
    return status;
}
