/* checkpoint: a trainer's state as one HDF5 file and back. What is state is listed once, in checkpoint.c.
 *
 *   /model/<tensor name>          float32   the weights
 *   /optimizer/m/<tensor name>    float32   AdamW's first moments    (not in snapshots)
 *   /optimizer/v/<tensor name>    float32   AdamW's second moments   (not in snapshots)
 *   attributes: kind ("checkpoint", or "model" for a snapshot), step, seed, place (the next row's place in the
 *   order of rows), config and tokenizer (JSON), tokenizer_hash, corpus_hash, weights_hash, blas (library, kernel,
 *   instruction set of the loops), built_with (compiler, C library), created_by */
#ifndef KMASK_TRAIN_CHECKPOINT_H
#define KMASK_TRAIN_CHECKPOINT_H

#include "kmask/store.h"
#include "trainer.h"

/* Begins `path`.tmp of the trainer's step: folder, directory of arrays, attributes; nothing is written to the arrays yet.
 * `hash`: of the weights. Local, to be called on one rank. [HDF5] */
km_status km_checkpoint_create(km_store **out, const km_trainer *trainer, const km_corpus *corpus, const char *path,
                               bool weights_only, km_hash hash) KM_NODISCARD;
/* Elements first..first+count-1 of the own parts, compact, that `rank` has of group 0 (weights), 1 (m) or 2 (v), to
 * their places in the file. Local; any thread; no HDF5. */
km_status km_checkpoint_write(km_store *store, const km_trainer *trainer, int group, int rank, size_t first,
                              size_t count, const float *data) KM_NODISCARD;
/* Weights, moments and step from an open file of the same model, on any number of ranks; `store` is looked at on rank 0
 * alone. Collective. */
km_status km_checkpoint_load(km_trainer *trainer, const km_store *store) KM_NODISCARD;
/* What could make the same step give other bits elsewhere: the file's record of it against this process, in `out` a
 * line of differences; empty when there are none. Local. */
void km_checkpoint_compare_machine(km_buffer *out, const km_store *store, const km_config *config);

/* Local. Whether all arrays are there in the table's shapes: weights, and with `moments` the optimizer's. Nothing is read. */
km_status km_checkpoint_check(const km_store *store, const km_table *table, bool moments) KM_NODISCARD;
/* Local. Weights of the table from an open store; a tensor that is missing or of another shape is named. */
km_status km_weights_read(const km_store *store, const km_table *table, float *weights) KM_NODISCARD;

#endif
