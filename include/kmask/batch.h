/* batch: what data makes and model reads. A plain struct; the only thing floors 2 share. */
#ifndef KMASK_BATCH_H
#define KMASK_BATCH_H

#include <stdint.h>

/* A micro-batch: B views (masked sequences) without padding, laid one after the other. N tokens, M labels. */
typedef struct km_batch {
    int views;             /* B */
    int tokens;            /* N = starts[B] */
    int labelled;          /* M */
    int longest;           /* the longest view */
    const int32_t *starts; /* (B+1) view v is tokens starts[v]..starts[v+1]-1 */
    const int32_t *ids;    /* (N) input ids, after masking */
    const int32_t *types;  /* (N) token types, or NULL: all 0 */
    const uint8_t *seen;   /* (N) 1, or 0: no token attends to this one (padding); or NULL: all 1 */
    const int32_t *at;     /* (M) labelled token positions in 0..N-1, ascending */
    const int32_t *labels; /* (M) the ids to predict there */
    const uint64_t *keys;  /* (N) a name for each token place within the run: view number * 65536 + position.
                              Dropout is keyed by it, so that it does not depend on the micro-batch's neighbours. */
    const uint64_t *rows;  /* (B) corpus row of each view, for messages */
} km_batch;

#endif
