/* How often each token and each tag of a corpus occurs. */
#include <stdlib.h>

#include "rows.h"

enum { AT_ONCE = 1 << 16 };

km_status km_corpus_count(const km_corpus *corpus, uint64_t first, uint64_t count, int64_t *by_id,
                          int64_t *by_tag) {
    const km_specials special = km_tokenizer_specials(corpus->tokenizer);
    int32_t *ids = km_new(AT_ONCE, sizeof *ids);
    uint8_t *tags = km_new(AT_ONCE, 1);
    km_status status = KM_OK;
    for (uint64_t at = 0; at < count && status == KM_OK; at += AT_ONCE) {
        const size_t some = (size_t)KM_MIN((uint64_t)AT_ONCE, count - at);
        status = km_corpus_read_tokens(corpus, first + at, some, ids);
        status = status == KM_OK ? km_corpus_read_tags(corpus, first + at, some, tags) : status;
        for (size_t i = 0; i < some && status == KM_OK; i++) {
            const int hideable = km_id_maskable(&special, ids[i]);
            by_id[ids[i]] += hideable;
            by_tag[tags[i]] += hideable;
        }
    }
    free(ids);
    free(tags);
    return status;
}
