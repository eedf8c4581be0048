/* search: private to task. The runs of a search, what each has found, and how they become results. */
#ifndef KMASK_TASK_SEARCH_H
#define KMASK_TASK_SEARCH_H

#include "kmask/task.h"

/* One run: what it is, and what it has found once it has finished. */
typedef struct km_tuning {
    int init; /* number of finetune.init */
    int64_t seed, batch;
    double lr;
    int64_t steps;       /* updates in all */
    int64_t micro_batch; /* examples that are computed together: a part of what a run is */
    char identity[33];   /* hash of everything that its result depends on */
    bool finished;
    double score; /* the first metric on dev at the best step; NaN: undefined */
} km_tuning;

typedef struct km_search {
    const km_finetune_input *input;
    const km_task *task;
    km_comm *comm; /* all ranks */
    km_tuning *runs;
    size_t count;
    double started;
} km_search;

/* A model at work on a task, on the ranks of one group. */
typedef struct km_tuner {
    km_comm *comm;
    const km_task *task;
    km_bundle *bundle;
    km_examples examples[KM_SPLITS];
} km_tuner;
/* Opens a model as a classifier for the task and makes the examples of all splits. `seed`: of what is fresh in the head. Local. */
km_status km_tuner_open(km_tuner *out, km_comm *comm, const km_task *task, const km_finetune_input *input,
                        const char *init, uint64_t seed) KM_NODISCARD;
void km_tuner_close(km_tuner *tuner);
/* The outputs (count, label_count) of the model with these weights for a split. The same bits on any number of ranks. Collective. */
km_status km_tuner_predict(const km_tuner *tuner, const float *weights, int split, float *outputs) KM_NODISCARD;
/* {"<metric>": value, ...} of a split. */
km_json *km_tuner_scores(const km_tuner *tuner, int split, const float *outputs);

/* Trains. On every rank of the group *record becomes what the run found (the caller's), and the tuner's bundle holds the weights of the best
 * step. KM_STOPPED where the search is asked to stop. Collective over tuner->comm. */
km_status km_tuning_train(km_search *search, const km_tuning *run, km_tuner *tuner, km_json **record) KM_NODISCARD;

/* ---- Files of the run folder ---- */

char *km_tuning_path(const km_search *search, const km_tuning *run, const char *ending); /* the caller frees */
/* The record of a finished run, the caller's; NULL where there is none that can be read. */
km_json *km_tuning_record(const km_search *search, const km_tuning *run);
/* Whether a run has the model of its kind (init, lr and batch) that is best on dev among those finished so far. */
bool km_tuning_is_best(const km_search *search, const km_tuning *run);

/* Makes all runs, those apart that are finished. Collective over search->comm. */
km_status km_search_run(km_search *search) KM_NODISCARD;
/* Makes one finished run again, and what else is not finished. Collective. */
km_status km_search_repeat(km_search *search, size_t run) KM_NODISCARD;

/* ---- Results ---- */

/* Whether a score is better; NaN is worse than any number. */
bool km_score_better(double a, double b);
/* results.json; *chosen: the run whose model is kept. */
km_json *km_results_make(const km_search *search, size_t *chosen);
/* The mean score over seeds of the runs of one init, learning rate and batch. */
double km_results_mean(const km_search *search, const km_tuning *like);

#endif
