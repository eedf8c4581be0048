/* checkpoint: a trainer's state as one HDF5 file and back. What is state is listed once, in checkpoint.c.
 *
 *   /model/<tensor name>          float32   the weights
 *   /optimizer/m/<tensor name>    float32   AdamW's first moments    (not in snapshots)
 *   /optimizer/v/<tensor name>    float32   AdamW's second moments   (not in snapshots)
 *   attributes: kind ("checkpoint", or "model" for a snapshot), step, seed, place (the next row's place in the
 *   order of rows), config and tokenizer (JSON), tokenizer_hash, corpus_hash, weights_hash, blas (library, kernel,
 *   instruction set of the loops), built_with (compiler, C library), created_by */
#ifndef KMASK_RUN_CHECKPOINT_H
#define KMASK_RUN_CHECKPOINT_H

#include "kmask/run.h"

/* What a file says of the state in it. */
typedef struct km_checkpoint_facts {
    const km_config *config;
    const km_table *table;
    const km_corpus *corpus;
    int64_t step;
    bool weights_only; /* a snapshot */
    km_hash hash;      /* of the weights */
} km_checkpoint_facts;

/* Begins `path`.tmp: folder, directory of arrays, attributes; nothing is written to the arrays yet. Local, to be called on one
 * rank. [HDF5] */
km_status km_checkpoint_create(km_store **out, const km_checkpoint_facts *facts, const char *path) KM_NODISCARD;
/* Elements first..first+count-1 of the own parts, compact, that `rank` has of group 0 (weights), 1 (m) or 2 (v), to
 * their places in the file. Local; any thread; no HDF5. */
km_status km_checkpoint_write(km_store *store, const km_parameters *parameters, int group, int rank, size_t first,
                              size_t count, const float *data) KM_NODISCARD;
/* Weights, moments and step from an open file of the same model, on any number of ranks; `store` is looked at on rank 0
 * alone. Collective. */
km_status km_checkpoint_load(km_trainer *trainer, const km_store *store) KM_NODISCARD;
/* What could make the same step give other bits elsewhere: the file's record of it against this process, in `out` a
 * line of differences; empty when there are none. Local. */
void km_checkpoint_compare_machine(km_buffer *out, const km_store *store, const km_config *config);

#endif
