/* checkpoint: a run's state as one HDF5 file. The file holds each network of the state (km_network in kmask/modelfile.h), with moments in
 * a checkpoint and without them in a snapshot, and these attributes:
 *
 *   kind                         "checkpoint", or "model" for a snapshot
 *   step, seed                   numbers
 *   place                        of the next row in the order of rows
 *   earlier_updates              a number: updates that the moments had before step 0 (optimizer.init); missing where there were none
 *   config, tokenizer            JSON
 *   tokenizer_hash, corpus_hash
 *   weights_hash                 of the model; NAME_weights_hash of a further network
 *   blas                         library, kernel, instruction set of the loops
 *   built_with                   compiler, C library
 *   created_by                   "kmask 0.1.0" */
#ifndef KMASK_RUN_CHECKPOINT_H
#define KMASK_RUN_CHECKPOINT_H

#include "state.h"

/* What a file says of the state that it holds. */
typedef struct km_checkpoint_facts {
    const km_config *config;
    const km_state *state;
    const km_corpus *corpus;
    int64_t step;
    bool weights_only; /* a snapshot */
    km_hash hash;      /* of the model's weights */
} km_checkpoint_facts;

/* Creates `path`.tmp, and its folder where that is missing, with all attributes and with a place for every array; the arrays are still
 * empty. Local; to be called on one rank. [HDF5] */
km_status km_checkpoint_create(km_store **out, const km_checkpoint_facts *facts, const char *path) KM_NODISCARD;
/* Writes elements first..first+count-1 of one of `rank`'s parts to their places in the file. Local; any thread; no HDF5. */
km_status km_checkpoint_write(km_store *store, const km_state_part *part, int rank, size_t first, size_t count,
                              const float *data) KM_NODISCARD;
/* Compares the library, the CPU's instructions and the compiler that a file was computed with to those of this process, on which the
 * bits of a step depend. The differences are added to `out` in one line; nothing where there are none. Local. */
void km_checkpoint_compare_machine(km_buffer *out, const km_store *store, const km_config *config);

/* KM_NO_CHECKPOINT where the run's folder has no checkpoint, but status.json, metrics.jsonl or snapshots show that steps had been
 * saved. Nothing is changed. */
km_status km_check_not_lost(const km_run *run) KM_NODISCARD;

#endif
