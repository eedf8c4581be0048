/* results: what the runs of a search found, over seeds, and which is chosen. */
#include "search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool km_score_better(double a, double b) {
    return !isnan(a) && (isnan(b) || a > b);
}

static bool same_kind(const km_tuning *a, const km_tuning *b) {
    return a->init == b->init && a->lr == b->lr && a->batch == b->batch;
}

/* How many runs of a kind have scores, or have diverged. */
static int count_kind(const km_search *search, const km_tuning *like, bool diverged) {
    int count = 0;
    for (size_t i = 0; i < search->count; i++) {
        count += same_kind(&search->runs[i], like) && search->runs[i].diverged == diverged;
    }
    return count;
}

static double mean_score(const km_search *search, const km_tuning *like) {
    double sum = 0;
    for (size_t i = 0; i < search->count; i++) {
        const km_tuning *run = &search->runs[i];
        sum += same_kind(run, like) && !run->diverged ? run->score : 0;
    }
    const int count = count_kind(search, like, false);
    return count > 0 ? sum / count : NAN;
}

bool km_results_better(const km_search *search, const km_tuning *a, const km_tuning *b) {
    const int lost = count_kind(search, a, true), lost_b = count_kind(search, b, true);
    return lost != lost_b ? lost < lost_b : km_score_better(mean_score(search, a), mean_score(search, b));
}

/* ---- Means and deviations ---- */

/* {"mean", "sd"} of the values that the records have under split and metric; sd (n - 1) of one value is null. */
static km_json *spread(const double *values, int count) {
    double sum = 0, squares = 0;
    for (int i = 0; i < count; i++) {
        sum += values[i];
    }
    const double mean = sum / count;
    for (int i = 0; i < count; i++) {
        squares += (values[i] - mean) * (values[i] - mean);
    }
    km_json *json = km_json_object();
    km_json_set_number(json, "mean", mean);
    km_json_set_number(json, "sd", count > 1 ? sqrt(squares / (count - 1)) : NAN);
    return json;
}

static km_json *spreads(const km_search *search, km_json *const *records, const km_tuning *like,
                        const char *split) {
    km_json *out = km_json_object();
    double *values = km_new(search->count, sizeof *values);
    for (int m = 0; m < search->task->metric_count; m++) {
        const char *metric = km_metric_name(search->task->metrics[m]);
        int count = 0;
        for (size_t i = 0; i < search->count; i++) {
            if (same_kind(&search->runs[i], like) && km_json_get(records[i], split) != NULL) {
                values[count++] = km_json_number_or(km_json_get(records[i], split), metric, NAN);
            }
        }
        if (count > 0) {
            km_json_set(out, metric, spread(values, count));
        }
    }
    free(values);
    return out;
}

static km_json *summary_of(const km_search *search, km_json *const *records, const km_tuning *like) {
    km_json *json = km_json_object();
    km_json_set_string(json, "init", km_texts_at(&search->input->finetune.init, like->init));
    km_json_set_number(json, "lr", like->lr);
    km_json_set_number(json, "batch", (double)like->batch);
    km_json_set_number(json, "n", count_kind(search, like, false));
    if (count_kind(search, like, true) > 0) {
        km_json_set_number(json, "diverged", count_kind(search, like, true));
    }
    km_json_set(json, "dev", spreads(search, records, like, "dev"));
    km_json_set(json, "test", spreads(search, records, like, "test"));
    if (search->task->labelled[KM_MATCHED]) {
        km_json_set(json, "matched", spreads(search, records, like, "matched"));
    }
    return json;
}

/* ---- The choice ---- */

/* Whether run i is the first of its kind. */
static bool is_first(const km_search *search, size_t i) {
    for (size_t j = 0; j < i; j++) {
        if (same_kind(&search->runs[j], &search->runs[i])) {
            return false;
        }
    }
    return true;
}

/* The best kind of one init or, with init -1, of all; of it the run with the best score on dev. search->count: all have diverged. */
static size_t choose(const km_search *search, int init) {
    size_t kind = search->count, best = search->count;
    for (size_t i = 0; i < search->count; i++) {
        const km_tuning *run = &search->runs[i];
        if ((init < 0 || run->init == init) &&
            (kind == search->count || km_results_better(search, run, &search->runs[kind]))) {
            kind = i;
        }
    }
    for (size_t i = 0; i < search->count; i++) {
        if (!search->runs[i].diverged && same_kind(&search->runs[i], &search->runs[kind]) &&
            (best == search->count || km_score_better(search->runs[i].score, search->runs[best].score))) {
            best = i;
        }
    }
    return best;
}

static km_json *chosen_of(const km_search *search, km_json *const *records, size_t run) {
    km_json *json = summary_of(search, records, &search->runs[run]);
    km_json_set_number(json, "seed", (double)search->runs[run].seed);
    km_json_set_string(json, "weights_hash", km_json_text(records[run], "weights_hash"));
    return json;
}

/* ---- All of it ---- */

static void copy_scores(km_json *to, const km_json *record, const char *split) {
    const km_json *scores = km_json_get(record, split);
    if (scores == NULL) {
        return;
    }
    km_json *copy = km_json_object();
    for (const km_json *item = km_json_first(scores); item != NULL; item = km_json_next(item)) {
        double value = NAN;
        (void)km_json_number(&value, item);
        km_json_set_number(copy, km_json_key(item), value);
    }
    km_json_set(to, split, copy);
}

/* `init` is the run's own: models of equal weights share a record, which names the first of them. */
static km_json *run_of(const km_json *record, const char *init) {
    static const char *const numbers[] = {"seed", "lr", "batch", "best_step"};
    km_json *json = km_json_object();
    km_json_set_string(json, "init", init);
    for (size_t i = 0; i < KM_COUNT(numbers); i++) {
        km_json_set_number(json, numbers[i], km_json_number_or(record, numbers[i], NAN));
    }
    if (km_json_get(record, "diverged") != NULL) {
        km_json_set_number(json, "diverged", km_json_number_or(record, "diverged", NAN));
        return json;
    }
    copy_scores(json, record, "dev");
    copy_scores(json, record, "test");
    copy_scores(json, record, "matched");
    km_json_set_string(json, "weights_hash", km_json_text(record, "weights_hash"));
    return json;
}

/* Where each init comes from: {"init", "step"}, and the masks that it was pre-trained with where that is known. */
static km_json *inits_of(const km_search *search) {
    km_json *list = km_json_array();
    for (int i = 0; i < search->input->finetune.init.count; i++) {
        const km_origin *from = &search->origins[i];
        km_json *json = km_json_object();
        km_json_set_string(json, "init", km_texts_at(&search->input->finetune.init, i));
        km_json_set_number(json, "step", (double)from->step);
        if (from->splits > 0) {
            km_json_set_string(json, "policy", from->policy);
            km_json_set_string(json, "unit", from->unit);
            km_json_set_number(json, "splits", (double)from->splits);
        }
        km_json_push(list, json);
    }
    return list;
}

km_json *km_results_make(const km_search *search, size_t *chosen) {
    km_json **records = km_new(search->count, sizeof *records);
    km_json *out = km_json_object(), *runs = km_json_array(), *summary = km_json_array(),
            *by_init = km_json_array();
    for (size_t i = 0; i < search->count; i++) {
        records[i] = km_tuning_record(search, &search->runs[i]);
        const char *init = km_texts_at(&search->input->finetune.init, search->runs[i].init);
        km_json_push(runs, run_of(records[i], init));
    }
    for (size_t i = 0; i < search->count; i++) {
        if (is_first(search, i)) {
            km_json_push(summary, summary_of(search, records, &search->runs[i]));
        }
    }
    for (int init = 0; init < search->input->finetune.init.count; init++) {
        const size_t best = choose(search, init);
        km_json_push(by_init, best < search->count ? chosen_of(search, records, best) : km_json_object());
    }
    *chosen = choose(search, -1);
    const km_task_config *task = &search->input->task;
    km_json_set_string(out, "task",
                       task->name[0] != '\0'     ? task->name
                       : task->preset[0] != '\0' ? task->preset
                                                 : task->train);
    km_json_set_string(out, "metric", km_metric_name(search->task->metrics[0]));
    km_json_set(out, "inits", inits_of(search));
    km_json_set(out, "runs", runs);
    km_json_set(out, "summary", summary);
    km_json_set(out, "chosen", *chosen < search->count ? chosen_of(search, records, *chosen) : km_json_object());
    km_json_set(out, "chosen_by_init", by_init);
    for (size_t i = 0; i < search->count; i++) {
        km_json_destroy(records[i]);
    }
    free(records);
    return out;
}
