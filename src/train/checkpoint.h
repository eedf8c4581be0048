/* checkpoint: a trainer's state as one HDF5 file and back. What is state is listed once, in checkpoint.c.
 *
 *   /model/<tensor name>          float32   the weights
 *   /optimizer/m/<tensor name>    float32   AdamW's first moments    (not in snapshots)
 *   /optimizer/v/<tensor name>    float32   AdamW's second moments   (not in snapshots)
 *   attributes: kind ("checkpoint", or "model" for a snapshot), step, seed, place (the next row's place in the
 *   order of rows), config and tokenizer (JSON), tokenizer_hash, corpus_hash, weights_hash, blas, created_by */
#ifndef KMASK_TRAIN_CHECKPOINT_H
#define KMASK_TRAIN_CHECKPOINT_H

#include "kmask/store.h"
#include "trainer.h"

/* Saves to `path` (made complete beside it, then renamed). Moments come to rank 0 in pieces. `hash`: of the weights, on
 * rank 0. A failure leaves what was there. Collective. */
km_status km_checkpoint_save(km_trainer *trainer, const km_corpus *corpus, const char *path, bool weights_only,
                             km_hash hash) KM_NODISCARD;
/* Weights, moments and step from a file of the same model, on any number of ranks. Only rank 0 opens it; `path` is
 * looked at there alone. Collective. */
km_status km_checkpoint_load(km_trainer *trainer, const char *path) KM_NODISCARD;

/* Local. Weights of the table from an open store; a tensor that is missing or of another shape is named. */
km_status km_weights_read(const km_store *store, const km_table *table, float *weights) KM_NODISCARD;

#endif
