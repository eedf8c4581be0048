/* log: a run folder as the page shows it: the series of its metrics.jsonl, its config, and its final figures. */
#ifndef KMASK_REPORT_LOG_H
#define KMASK_REPORT_LOG_H

#include "series.h"

typedef struct run {
    const char *folder;
    char *name;
    km_json *config; /* NULL where there is none */
    km_json *starts; /* the lines of starts.jsonl, an array */
    series lines, evals;
    km_buffer most_masked; /* the lines, as JSON, that say what a policy masks */
    float *rates;          /* of all lines, for the median */
    size_t rate_count, rate_capacity;
    int64_t good, bad, first_bad;         /* lines */
    int64_t last, missing, first_missing; /* steps: of the last line; without a line, and the first of these */
    double step, tokens, loss, seconds, comm_seconds, masked;
    double best_eval_loss, best_eval_step, best_eval_accuracy;
    char weights_hash[33];
    double weights_hash_step;
} run;

run *report_run_create(const char *folder); /* the folder's name stays the caller's */
void report_run_destroy(run *r);
/* Reads metrics.jsonl, line by line, and config.json. Lines that cannot be read are left out with a warning. */
km_status report_run_read(run *r) KM_NODISCARD;
/* Names each run by its folder's name, or by its path where several folders have the same name. */
void report_run_name_all(run *const *runs, int count);
/* Prints a run as JSON; its config moves into the text. */
void report_run_print(km_buffer *out, run *r);

#endif
