/* checkpoint: a run's state as one HDF5 file. The file holds each network of the state (km_network in
 * kmask/modelfile.h), with moments in a checkpoint and without in a snapshot.
 *
 *   attributes: kind ("checkpoint", or "model" for a snapshot), step, seed, place (the next row's place in the
 *   order of rows), config and tokenizer (JSON), tokenizer_hash, corpus_hash, weights_hash (and NAME_weights_hash for a
 *   further network), blas (library, kernel,
 *   instruction set of the loops), built_with (compiler, C library), created_by */
#ifndef KMASK_RUN_CHECKPOINT_H
#define KMASK_RUN_CHECKPOINT_H

#include "state.h"

/* What a file says of the state in it. */
typedef struct km_checkpoint_facts {
    const km_config *config;
    const km_state *state;
    const km_corpus *corpus;
    int64_t step;
    bool weights_only; /* a snapshot */
    km_hash hash;      /* of the model's weights */
} km_checkpoint_facts;

/* Begins `path`.tmp: folder, directory of arrays, attributes; nothing is written to the arrays yet. Local, to be called on one
 * rank. [HDF5] */
km_status km_checkpoint_create(km_store **out, const km_checkpoint_facts *facts, const char *path) KM_NODISCARD;
/* Writes elements first..first+count-1 of a part of `rank`'s to their places in the file. Local; any thread; no HDF5. */
km_status km_checkpoint_write(km_store *store, const km_state_part *part, int rank, size_t first, size_t count,
                              const float *data) KM_NODISCARD;
/* What could make the same step give other bits elsewhere: the file's record of it against this process, in `out` a
 * line of differences; empty when there are none. Local. */
void km_checkpoint_compare_machine(km_buffer *out, const km_store *store, const km_config *config);

#endif
