/* metrics: the files metrics.jsonl and status.json of a run folder. All calls are made on rank 0. */
#ifndef KMASK_RUN_METRICS_H
#define KMASK_RUN_METRICS_H

#include "kmask/run.h"

/* ---- metrics.jsonl: the log, which has each step once, whatever crashes came in between ---- */

/* Opens the log for appending, after lines of steps beyond `step` and a torn last line have been cut off; step < 0 empties it. */
km_status km_metrics_open(km_metrics **out, const char *dir, int64_t step) KM_NODISCARD;
/* Appends a line, which becomes the log's own. Lines that the disk does not take are kept in memory and tried again with the next. */
void km_metrics_add(km_metrics *metrics, km_json *line);
/* Brings all lines to the disk: to be called before a checkpoint is committed. */
km_status km_metrics_sync(km_metrics *metrics) KM_NODISCARD;
/* Whether the log of the folder lacks the evaluation of a step from which a run goes on: the line of the step has none, since the run was
 * stopped while it evaluated, or the step is 0 and has no line. Changes nothing. */
bool km_metrics_lacks_eval(const char *dir, int64_t step);
/* Adds the evaluation to the line of `step`, which must be the last of the log and on the disk; for step 0 adds the line. */
km_status km_metrics_add_eval(km_metrics *metrics, int64_t step, const km_eval_result *result) KM_NODISCARD;
/* Sets the keys of an evaluation in a line of the log. */
void km_metrics_set_eval(km_json *line, const km_eval_result *result);
/* The eval_loss before the first update, which is in the line of step 0; NaN when there is none. */
double km_metrics_first_eval(const km_metrics *metrics);
void km_metrics_close(km_metrics *metrics);

/* ---- status.json: how the run ended ---- */

/* lost: a rank was killed, stopped or cut off, so that the same command may succeed when it is run again ("retry" in the file). */
void km_status_write(const char *dir, km_status status, const char *reason, int64_t step, bool lost);

#endif
