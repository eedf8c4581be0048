/* The spans of a run of tokens. */
#include "corpus.h"

enum { AT_ONCE = 256 };

static km_status damaged(const km_corpus *corpus, uint64_t index) {
    return km_fail(
        KM_FAILED,
        "%s: span %llu does not lie behind the one before it, or has no kind. Build the corpus again with "
        "`kmask corpus build`.",
        corpus->path, (unsigned long long)index);
}

/* The first span that ends after token `first`. */
static km_status find_first(const km_corpus *corpus, uint64_t first, uint64_t *out) {
    uint64_t low = 0, high = corpus->span_ends->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, end = 0;
        KM_TRY(km_corpus_read_ends(corpus, corpus->span_ends, middle, 1, &end));
        if (end <= first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *out = low;
    return KM_OK;
}

km_status km_corpus_read_spans(const km_corpus *corpus, uint64_t first, size_t count, km_row_span *out,
                               int *found) {
    *found = 0;
    if (corpus->span_starts == NULL) {
        return KM_OK;
    }
    uint64_t next = 0, total = corpus->span_starts->count, before = first;
    uint64_t starts[AT_ONCE], ends[AT_ONCE];
    uint8_t kinds[AT_ONCE];
    KM_TRY(find_first(corpus, first, &next));
    while (next < total && before < first + count) {
        size_t some = (size_t)KM_MIN(KM_MIN(total - next, (uint64_t)AT_ONCE), first + count - before);
        KM_TRY(km_corpus_read_ends(corpus, corpus->span_starts, next, some, starts));
        KM_TRY(km_corpus_read_ends(corpus, corpus->span_ends, next, some, ends));
        KM_TRY(km_store_read(corpus->store, corpus->span_kinds, next, some, kinds));
        for (size_t i = 0; i < some; i++, next++) {
            uint64_t start = KM_MAX(starts[i], first), end = KM_MIN(ends[i], first + count);
            if (starts[i] >= first + count) {
                return KM_OK;
            }
            if (ends[i] <= starts[i] || start < before || end <= start || kinds[i] >= KM_SPAN_KINDS) {
                return damaged(corpus, next);
            }
            out[(*found)++] = (km_row_span){
                .start = (int)(start - first), .end = (int)(end - first), .kind = (km_span_kind)kinds[i]};
            before = end;
        }
    }
    return KM_OK;
}
