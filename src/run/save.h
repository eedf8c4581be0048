/* save: checkpoints that are written while training goes on.
 *
 * A save is one step's state on its way to the disk: a checkpoint, a snapshot (weights only), or both from one copy.
 *
 *   state      who                     does
 *   --------   ---------------------   --------------------------------------------------------------------------------
 *   begin      all, at the step's end  wait for the save before, if it is still under way (the log says so); copy the elements
 *                                      that the rank owns of each network (12 bytes for each owned parameter)
 *              rank 0                  brings metrics.jsonl to the disk; creates the .tmp, and has HDF5 lay it out: from then on
 *                                      every array has its place, and HDF5 is not called any more
 *   pieces     all, in polls           send their copy to rank 0 in messages of up to 4 MiB, few at a time, and no more in a step
 *                                      than its share; rank 0 hands them to the writer
 *              writer                  writes each piece at its places; its memory is then free for another piece
 *   commit     writer                  fsync, checksum of what is read back, user block, fsync, close, rename, fsync of the folder;
 *                                      then the file is read from the disk and verified, and only then older checkpoints are
 *                                      removed
 *   over       rank 0                  learns of the result at the end of a step; the other ranks need not know
 *
 * The writer is a thread of rank 0 that calls neither MPI nor HDF5. No collective is needed between begin and over: whether a
 * step is saved follows from its number, or, when rank 0 wants a save tried again, from the totals that the step adds up anyway.
 * When a rank fails, rank 0 goes on taking what the others send, and drops it, so that nobody waits for ever.
 *
 * When a rank is killed, at whatever point: before the rename the older checkpoints are there, and a .tmp that the next start
 * removes; after it the new checkpoint is there too. (If the power fails before the folder is synced it may be missing, but it
 * is never torn.) metrics.jsonl has a line for every step up to the newest checkpoint, since the lines are on the disk before
 * the checkpoint is.
 *
 * A save that fails (no space, quota, I/O) leaves what was there before. Where space was lacking, all checkpoints but the newest
 * valid one are removed. Rank 0 wants another try: at once if that made room, else after some seconds, at most minutes. */
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
/* On rank 0, before the first save: the log whose lines must be on the disk before a checkpoint is. */
void km_saver_set_metrics(km_saver *saver, km_metrics *metrics);
/* Finishes a save that is under way. NULL is fine. Collective. */
void km_saver_destroy(km_saver *saver);
/* Bytes that a saver of this state takes on `rank` of `ranks`. */
size_t km_saver_bytes(const km_state *state, int rank, int ranks);

/* Begins to save the state as it is after `step`: a checkpoint, a snapshot, or both. `hash`: of the model's weights, on rank 0.
 * A failure is reported later. Collective. */
void km_saver_begin(km_saver *saver, int64_t step, bool checkpoint, bool snapshot, km_hash hash);
/* On rank 0, before km_saver_begin: the checkpoint becomes best.h5 once it is verified (checkpoint.best). Local. */
void km_saver_keep_best(km_saver *saver);
/* Lets the save advance: to be called often from the main thread, as by km_trainer_set_poll. Local. */
void km_saver_poll(void *saver);
/* At the end of each step: allows another share of the pieces to be sent; on rank 0 logs how a save has ended. Local. */
void km_saver_after_step(km_saver *saver);
/* On rank 0: whether a checkpoint could not be saved and it is time to try again. Local. */
bool km_saver_wants_retry(const km_saver *saver);
/* Waits until what was begun is saved and verified; a failure is reported to all ranks. Collective. */
km_status km_saver_confirm(km_saver *saver) KM_NODISCARD;
/* Waits as km_saver_confirm does, without a status, for callers that cannot act on a failure. Collective. */
void km_saver_finish(km_saver *saver);
/* On rank 0: the seconds that the last successful save took; before the first, what km_saver_prove_room has measured. */
double km_saver_seconds(const km_saver *saver);
/* On rank 0: proves that the disk takes the checkpoints that are due (km_run_checkpoints_due) by writing as many bytes, which are
 * removed again. Local. */
km_status km_saver_prove_room(km_saver *saver) KM_NODISCARD;

#endif
