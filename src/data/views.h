/* Views: a row with one of its masks applied, as part of a batch. Shared by the loader and by evaluation. */
#ifndef KMASK_DATA_VIEWS_H
#define KMASK_DATA_VIEWS_H

#include "kmask/data.h"

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
km_status km_replacement_init(km_replacement *out, const km_corpus *corpus, double by_mask,
                              double by_random) KM_NODISCARD;
/* KM_FAILED with corpus and row when the row holds an id that the vocabulary does not have. */
km_status km_replacement_check(const km_replacement *replacement, const km_row *row) KM_NODISCARD;

/* A batch and the one block of memory it stands in. Zero-initialize; free with km_batch_room_free. */
typedef struct km_batch_room {
    km_batch batch;
    char *block;
    int32_t *starts, *ids, *at, *labels;
    uint64_t *keys, *rows;
} km_batch_room;

km_status km_batch_room_reserve(km_batch_room *room, const km_batch_limits *most) KM_NODISCARD;
void km_batch_room_free(km_batch_room *room);
void km_batch_room_clear(km_batch_room *room);
/* Adds the row under `mask` (row->length) as view `number` of the run. What replaces each hidden token is drawn
 * from `rng`, token by token as BERT does. The caller reserved enough. */
void km_batch_room_add(km_batch_room *room, const km_row *row, const uint8_t *mask, uint64_t number,
                       const km_replacement *replacement, km_rng *rng);

#endif
