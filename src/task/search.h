/* search: private to task. The runs of a search, what each has found, and how they become results. */
#ifndef KMASK_TASK_SEARCH_H
#define KMASK_TASK_SEARCH_H

#include "tuner.h"

/* One run: what it is, and what it has found once it has finished. */
typedef struct km_tuning {
    int init; /* number of finetune.init */
    int64_t seed, batch;
    double lr;
    int64_t steps;       /* updates in all */
    int64_t micro_batch; /* examples that are computed together: a part of what a run is */
    char identity[33];   /* hash of everything that its result depends on */
    bool finished;
    bool diverged; /* it has finished without a model: a loss, a gradient or an output was not finite */
    double score;  /* the first metric on dev at the best step; NaN: undefined */
} km_tuning;

/* What runs depend on of the model that they begin with, and where it comes from. Plain bytes. */
typedef struct km_origin {
    char hash[33];  /* of its weights, its tokenizer, and the examples as it reads them */
    uint64_t mean;  /* tokens of a training example */
    int64_t step;   /* of pre-training; 0 for a model from elsewhere */
    int64_t splits; /* of the masks that it was pre-trained with; 0: not known, and the words are empty */
    char policy[KM_WORD], unit[KM_WORD];
} km_origin;

typedef struct km_search {
    const km_finetune_input *input;
    const km_task *task;
    km_comm *comm;      /* all ranks */
    km_origin *origins; /* of each init */
    km_tuning *runs;
    size_t count;
    double started;
} km_search;

/* Trains. On every rank of the group *record becomes what the run found (the caller's), and the tuner's bundle holds the weights of the best
 * step. The record of a run that diverged has {"diverged": step} in place of scores and hash, and the bundle is as it was. KM_STOPPED
 * where the search is asked to stop. Collective over tuner->comm. */
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
/* results.json; *chosen: the run whose model is kept, or search->count where all runs diverged. */
km_json *km_results_make(const km_search *search, size_t *chosen);
/* Whether the runs like a (of its init, learning rate and batch) are better than those like b: fewer have diverged, or as many and the
 * mean score of the others is better. */
bool km_results_better(const km_search *search, const km_tuning *a, const km_tuning *b);

#endif
