/* view: how a row under a mask becomes what a model sees and what it is to predict. This is the one place where that is decided. */
#ifndef KMASK_DATA_VIEW_H
#define KMASK_DATA_VIEW_H

#include "builder.h"

/* What stands at a hidden position instead of its token. */
typedef struct km_replacement {
    const char *origin;  /* the corpus, for messages */
    int32_t mask;        /* id of [MASK] */
    int32_t vocabulary;  /* ids are 0..vocabulary-1 */
    int32_t specials[5]; /* ascending, distinct */
    int special_count;
    double by_mask, by_random; /* shares; the rest stays unchanged */
} km_replacement;

/* KM_USAGE when the shares are none; `corpus` must live as long as `out`. */
km_status km_replacement_init(km_replacement *out, const km_corpus *corpus,
                              const km_view_options *options) KM_NODISCARD;
/* KM_FAILED with corpus and row when the row holds an id that the vocabulary does not have. */
km_status km_replacement_check(const km_replacement *replacement, const km_row *row) KM_NODISCARD;

/* Appends the row under `mask` (row->length) as view `number` of the run. What replaces each hidden token is drawn
 * from `rng`, token by token as BERT does. */
void km_view_append(km_batch_builder *builder, const km_row *row, const uint8_t *mask, uint64_t number,
                    const km_replacement *replacement, km_rng *rng);

#endif
