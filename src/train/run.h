/* run: the run folder. Its list of checkpoints, metrics.jsonl and status.json. Called on rank 0 only. */
#ifndef KMASK_TRAIN_RUN_H
#define KMASK_TRAIN_RUN_H

#include "kmask/base.h"
#include "kmask/store.h"

/* ---- Checkpoints ---- */
typedef struct km_generation {
    int64_t step;
    char *path;
} km_generation;
typedef struct km_generations {
    km_generation *items; /* newest first */
    int count;
} km_generations;
/* Files checkpoints/step-<number>.h5. A missing folder is an empty list. */
km_status km_generations_list(km_generations *out, const char *dir) KM_NODISCARD;
void km_generations_free(km_generations *generations);
char *km_checkpoint_path(const char *dir, int64_t step); /* the caller frees */
char *km_snapshot_path(const char *dir, int64_t step);   /* the caller frees */
/* The newest that verifies; the damaged ones before it are named in warnings. None exists: *step -1. Exist but none is
 * valid: KM_NO_CHECKPOINT. Nothing is changed. */
km_status km_newest_valid(char **path, int64_t *step, const char *dir) KM_NODISCARD;
/* The same, opened for reading, which verifies it: each file is read once. *newest is the last step that has a file, valid or
 * not (-1: none). The caller closes. [HDF5] */
km_status km_newest_open(km_store **store, int64_t *step, int64_t *newest, const char *dir) KM_NODISCARD;
/* Removes what is older than the `keep` newest valid ones up to step `until`, damaged ones not counted; returns how many went.
 * Those of later steps are none that the run has gone on from, and stay. The one of step `verified` (-1: none) is known to
 * be valid. Any thread. */
int km_generations_prune(const char *dir, int64_t keep, int64_t until, int64_t verified);
/* Removes files that a killed run was still writing. */
void km_remove_unfinished(const char *dir);
/* A damaged file where this step is about to be saved again is set aside as <name>.damaged. */
void km_set_damaged_aside(const char *path);

/* ---- metrics.jsonl: every step once, also across crashes ---- */
typedef struct km_metrics km_metrics;
/* Opens for appending after cutting lines beyond `step` and a torn last one; step < 0: starts empty. */
km_status km_metrics_open(km_metrics **out, const char *dir, int64_t step) KM_NODISCARD;
/* Takes ownership of `line`. What the disk does not take is kept and tried again with the next line. */
void km_metrics_add(km_metrics *metrics, km_json *line);
/* All lines are on the disk: to be called before a checkpoint is committed. */
km_status km_metrics_sync(km_metrics *metrics) KM_NODISCARD;
/* Whether the evaluation of a step that a run goes on from is still to come: its line has none (the run was stopped while it
 * evaluated), or it is step 0 and has no line. Changes nothing. */
bool km_log_lacks_eval(const char *dir, int64_t step);
/* Adds it: to the line of `step`, which must be the log's last and on the disk, or as step 0's line. */
km_status km_metrics_add_eval(km_metrics *metrics, int64_t step, double loss, double accuracy) KM_NODISCARD;
/* eval_loss of the line of step 0, from before the first update; NaN when there is none. */
double km_metrics_first_eval(const km_metrics *metrics);
void km_metrics_close(km_metrics *metrics);

/* ---- status.json ---- */
/* `lost`: a rank was killed, stopped or cut off. "retry" in the file says whether the same command may do better. */
void km_status_write(const char *dir, km_status status, const char *reason, int64_t step, bool lost);

#endif
