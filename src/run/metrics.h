/* metrics: metrics.jsonl and status.json of a run folder. Called on rank 0 only. */
#ifndef KMASK_RUN_METRICS_H
#define KMASK_RUN_METRICS_H

#include "kmask/run.h"

/* ---- metrics.jsonl: every step once, also across crashes ---- */
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
