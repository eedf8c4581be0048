/* metrics: what only pre-training asks of metrics.jsonl; the rest is in kmask/run.h. All calls are made on rank 0. */
#ifndef KMASK_RUN_METRICS_H
#define KMASK_RUN_METRICS_H

#include "kmask/run.h"

/* ---- metrics.jsonl: the log, which has each step once, whatever crashes came in between ---- */

/* Whether the log of the folder lacks the evaluation of a step from which a run goes on: the line of the step has none, since the run was
 * stopped while it evaluated, or the step is 0 and has no line. Changes nothing. */
bool km_metrics_lacks_eval(const char *dir, int64_t step);
/* Adds the evaluation to the line of `step`, which must be the last of the log and on the disk; for step 0 adds the line. */
km_status km_metrics_add_eval(km_metrics *metrics, int64_t step, const km_eval_result *result) KM_NODISCARD;
/* Sets the keys of an evaluation in a line of the log. */
void km_metrics_set_eval(km_json *line, const km_eval_result *result);
/* Calls `hook` with each good line of the log of a folder, in their order. */
typedef void km_metrics_hook(void *payload, const km_json *line, int64_t step);
void km_metrics_each(const char *dir, km_metrics_hook *hook, void *payload);
/* The eval_loss before the first update, which is in the line of step 0; NaN when there is none. */
double km_metrics_first_eval(const km_metrics *metrics);

#endif
