/* save: checkpoints that are written while training goes on.
 *
 * A save is one step's state on its way to the disk: a checkpoint, a snapshot (weights only), or both from one copy.
 *
 *   state      who                     does
 *   --------   ---------------------   --------------------------------------------------------------------------------
 *   begin      all, at the step's end  wait for the save before, if it is still under way (the log says so);
 *                                      copy the own parts of weights, m and v (12 bytes for each owned parameter)
 *              rank 0                  brings metrics.jsonl to the disk; opens the .tmp and has HDF5 write its directory,
 *                                      from which on every array has its place and HDF5 is done with
 *   pieces     all, in polls           own copy to rank 0 in messages of up to 4 MiB, few at a time, at most a share of
 *                                      all a step; rank 0 hands them to its writer
 *              writer (rank 0)         pwrites each piece at its places; says that its memory is free again
 *   commit     writer                  flush, fsync, checksum of what is read back, user block, fsync, close, rename,
 *                                      fsync of the folder; then the file is read from the disk and verified, and only
 *                                      then older generations are removed
 *   over       rank 0                  learns of it at the end of a step; others need not know
 *
 * The writer is one thread of rank 0 that calls neither MPI nor HDF5. No collective is needed between begin and over:
 * whether a step is saved follows from its number, or from the step's own totals when rank 0 wants a save tried again.
 * A failure on any rank ends with rank 0: it takes (and drops) what is still sent, so that nobody waits for ever.
 *
 * What survives a kill, of any rank at any point: before the rename the generations that were there, and a .tmp that
 * the next start removes; after it the new one too (which, should the power fail before the folder was synced, is there
 * or not, but whole). Metrics have every step up to the newest checkpoint, whose lines were on the disk before it was.
 *
 * Failures (no space, quota, I/O) leave what was there. Where it was for want of space, all but the newest valid
 * generation are removed. Rank 0 wants another try at once if that made room, else in some seconds, at most minutes. */
#ifndef KMASK_RUN_SAVE_H
#define KMASK_RUN_SAVE_H

#include "metrics.h"
#include "state.h"

typedef struct km_saver_options {
    km_comm *comm;
    km_pool *pool;           /* whose workers copy what is saved */
    const km_config *config; /* where, how often and how many; and what the files say of the run */
    const km_corpus *corpus;
    km_state state; /* what is saved */
} km_saver_options;
/* All that the options point to stays the caller's. Collective. */
km_status km_saver_create(km_saver **out, const km_saver_options *options) KM_NODISCARD;
/* Rank 0, before the first save: the lines that are on the disk before a checkpoint is. */
void km_saver_set_metrics(km_saver *saver, km_metrics *metrics);
/* Waits for what is under way. NULL is fine. Collective. */
void km_saver_destroy(km_saver *saver);
/* Bytes that a saver of this state takes on `rank` of `ranks`. */
size_t km_saver_bytes(const km_state *state, int rank, int ranks);

/* Begins to save the state as it is after `step`. `hash`: of the model's weights, on rank 0. What fails is said later. Collective. */
void km_saver_begin(km_saver *saver, int64_t step, bool checkpoint, bool snapshot, km_hash hash);
/* Lets the save advance: to be called often from the main thread, as by km_trainer_set_poll. Local. */
void km_saver_poll(void *saver);
/* At the end of each step: another share of the pieces may go; rank 0 says what has failed. Local. */
void km_saver_step(km_saver *saver);
/* Rank 0: a checkpoint is missing and it is time to try again. Local. */
bool km_saver_wants(const km_saver *saver);
/* Drives what was begun to its verified end; its failure is everyone's. Collective. */
km_status km_saver_end(km_saver *saver) KM_NODISCARD;
/* The same without a status, for callers that cannot act on it. Collective. */
void km_saver_settle(km_saver *saver);
/* Rank 0: seconds from begin to end of the last save that succeeded; before it, an estimate from `prove`. */
double km_saver_seconds(const km_saver *saver);
/* Rank 0: proves by writing it that the disk takes what checkpoint.keep will have it hold: as many checkpoints as are
 * missing from keep + 1. The bytes are removed again. KM_FAILED with a sentence when it does not. Local. */
km_status km_saver_prove(km_saver *saver) KM_NODISCARD;

#endif
