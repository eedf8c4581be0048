/* The spans and the sentences of a range of tokens. */
#include "corpus.h"

enum { AT_ONCE = 256 };

static km_status damaged(const km_corpus *corpus, uint64_t index) {
    return km_fail(
        KM_FAILED,
        "%s: span %llu does not lie behind the one before it, or has no kind. Build the corpus again with "
        "`kmask corpus build`.",
        corpus->path, (unsigned long long)index);
}

/* The first element of an array of ends that lies after token `first`. */
static km_status find_first(const km_corpus *corpus, const km_array *ends, uint64_t first, uint64_t *out) {
    uint64_t low = 0, high = ends->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, end = 0;
        KM_TRY(km_corpus_read_ends(corpus, ends, middle, 1, &end));
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
    KM_TRY(find_first(corpus, corpus->span_ends, first, &next));
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

static km_status ends_damaged(const km_corpus *corpus, uint64_t token) {
    return km_fail_kind(
        KM_ERROR_DAMAGED,
        "%s: sentence ends do not ascend near token %llu. Build the corpus again with `kmask corpus "
        "build`.",
        corpus->path, (unsigned long long)token);
}

km_status km_corpus_read_sentences(const km_corpus *corpus, uint64_t first, size_t count, km_row_sentence *out,
                                   int *found) {
    const km_array *ends = corpus->sentence_ends;
    uint64_t next = 0, before = first, read[AT_ONCE];
    *found = 0;
    KM_TRY(find_first(corpus, ends, first, &next));
    while (before < first + count) {
        size_t some = (size_t)KM_MIN(KM_MIN(ends->count - next, (uint64_t)AT_ONCE), first + count - before);
        if (some == 0) {
            return ends_damaged(corpus, before);
        }
        KM_TRY(km_corpus_read_ends(corpus, ends, next, some, read));
        for (size_t i = 0; i < some && before < first + count; i++, next++) {
            const uint64_t end = KM_MIN(read[i], first + count);
            if (end <= before) {
                return ends_damaged(corpus, before);
            }
            out[(*found)++] = (km_row_sentence){.start = (int)(before - first), .end = (int)(end - first)};
            before = end;
        }
    }
    return KM_OK;
}
