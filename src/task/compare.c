/* compare: results of fine-tunings side by side, with a paired t-test by seed: of one task, or averaged over several tasks. */
#include "kmask/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 28 };

/* One results.json: the scores of its chosen runs by seed. */
typedef struct result {
    const char *path;
    km_json *json;
    double *seeds, *scores; /* (count) */
    size_t count;
    const char *metric, *split;
} result;

/* Whether a run is of the kind that was chosen. */
static bool is_chosen(const km_json *run, const km_json *chosen) {
    return strcmp(km_json_text(run, "init"), km_json_text(chosen, "init")) == 0 &&
           km_json_number_or(run, "lr", -1) == km_json_number_or(chosen, "lr", -2) &&
           km_json_number_or(run, "batch", -1) == km_json_number_or(chosen, "batch", -2);
}

static km_status read_scores(result *r) {
    const km_json *chosen = km_json_get(r->json, "chosen"), *runs = km_json_get(r->json, "runs");
    r->metric = km_json_text(r->json, "metric");
    if (r->split == NULL) {
        r->split = km_json_size(km_json_get(chosen, "test")) > 0 ? "test" : "dev";
    }
    r->seeds = km_new(km_json_size(runs) + 1, sizeof *r->seeds);
    r->scores = km_new(km_json_size(runs) + 1, sizeof *r->scores);
    for (const km_json *run = km_json_first(runs); run != NULL; run = km_json_next(run)) {
        if (is_chosen(run, chosen) && km_json_get(run, "diverged") == NULL) {
            r->seeds[r->count] = km_json_number_or(run, "seed", NAN);
            r->scores[r->count++] = km_json_number_or(km_json_get(run, r->split), r->metric, NAN);
        }
    }
    return r->count > 0 && r->metric[0] != '\0'
               ? KM_OK
               : km_fail(KM_FAILED, "%s: no runs of what was chosen, expected a results.json of `kmask finetune`.",
                         r->path);
}

static double mean_of(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += values[i];
    }
    return sum / (double)count;
}

static double deviation_of(const double *values, size_t count) {
    const double mean = mean_of(values, count);
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        squares += (values[i] - mean) * (values[i] - mean);
    }
    return count > 1 ? sqrt(squares / (double)(count - 1)) : NAN;
}

static km_json *describe(const result *r) {
    km_json *json = km_json_object();
    const km_json *chosen = km_json_get(r->json, "chosen");
    km_json_set_string(json, "path", r->path);
    km_json_set_string(json, "init", km_json_text(chosen, "init"));
    km_json_set_number(json, "lr", km_json_number_or(chosen, "lr", NAN));
    km_json_set_number(json, "batch", km_json_number_or(chosen, "batch", NAN));
    km_json_set_number(json, "n", (double)r->count);
    km_json_set_number(json, "mean", mean_of(r->scores, r->count));
    km_json_set_number(json, "sd", deviation_of(r->scores, r->count));
    return json;
}

/* Scores of the seeds that both have, in pairs; returns how many. */
static size_t pair(double *x, double *y, const result *a, const result *b) {
    size_t count = 0;
    for (size_t i = 0; i < a->count; i++) {
        for (size_t j = 0; j < b->count; j++) {
            if (a->seeds[i] == b->seeds[j]) {
                x[count] = a->scores[i];
                y[count++] = b->scores[j];
                break;
            }
        }
    }
    return count;
}

static km_json *test(const result *a, const result *b) {
    double *x = km_new(a->count + 1, sizeof *x), *y = km_new(a->count + 1, sizeof *y), t = NAN;
    const size_t count = pair(x, y, a, b);
    const double p = count >= 2 ? km_paired_t_test(&t, x, y, count) : NAN;
    km_json *json = km_json_object();
    km_json_set_string(json, "a", a->path);
    km_json_set_string(json, "b", b->path);
    km_json_set_number(json, "n", (double)count);
    km_json_set_number(json, "difference", count > 0 ? mean_of(x, count) - mean_of(y, count) : NAN);
    km_json_set_number(json, "t", t);
    km_json_set_number(json, "p", p);
    free(x);
    free(y);
    return json;
}

static km_status check_same(const result *a, const result *b) {
    return strcmp(a->metric, b->metric) == 0 && strcmp(a->split, b->split) == 0
               ? KM_OK
               : km_fail(KM_FAILED, "%s has %s of %s, %s has %s of %s: expected results of one task.", a->path,
                         a->metric, a->split, b->path, b->metric, b->split);
}

static km_json *compare(const result *results, int count) {
    km_json *out = km_json_object(), *list = km_json_array(), *pairs = km_json_array();
    for (int i = 0; i < count; i++) {
        km_json_push(list, describe(&results[i]));
        for (int j = i + 1; j < count; j++) {
            km_json_push(pairs, test(&results[i], &results[j]));
        }
    }
    km_json_set_string(out, "metric", results[0].metric);
    km_json_set_string(out, "split", results[0].split);
    km_json_set(out, "results", list);
    km_json_set(out, "pairs", pairs);
    return out;
}

static void free_results(result *results, int count) {
    for (int i = 0; i < count; i++) {
        km_json_destroy(results[i].json);
        free(results[i].seeds);
        free(results[i].scores);
    }
    free(results);
}

km_status km_compare(km_json **out, const char *const *paths, int count) {
    result *results = km_new((size_t)count, sizeof *results);
    km_status status = KM_OK;
    *out = NULL;
    for (int i = 0; i < count && status == KM_OK; i++) {
        results[i].path = paths[i];
        status = km_json_load(&results[i].json, paths[i], MOST);
        status = status == KM_OK ? read_scores(&results[i]) : status;
        status = status == KM_OK ? check_same(&results[0], &results[i]) : status;
    }
    if (status == KM_OK) {
        *out = compare(results, count);
    }
    free_results(results, count);
    return status;
}

/* ---- Averages over tasks ---- */

/* The scores that count for the average: dev of every task, and of MNLI also the mismatched part, which its preset has as test. */
static km_status read_averaged(result *results, int *count, const char *path) {
    static const char *const splits[] = {"dev", "test"};
    for (size_t i = 0; i < KM_COUNT(splits); i++) {
        result *r = &results[*count];
        *r = (result){.path = path, .split = splits[i]};
        (*count)++;
        KM_TRY(km_json_load(&r->json, path, MOST));
        const bool two = strcmp(km_json_text(r->json, "task"), "mnli") == 0 &&
                         km_json_size(km_json_get(km_json_get(r->json, "chosen"), "test")) > 0;
        KM_TRY(read_scores(r));
        if (!two) {
            break;
        }
    }
    return KM_OK;
}

/* "runs/mlm" of "runs/mlm/rte/results.json": the folder with the results of a model; the caller frees. */
static char *model_of(const char *path) {
    const char *end = path + strlen(path);
    for (int levels = 0; levels < 2; levels++) {
        while (end > path && *--end != '/') {
        }
    }
    return end > path ? km_format("%.*s", (int)(end - path), path) : km_strdup(".");
}

/* The average of each seed that all of a model's (count) scores have. */
static void average_seeds(result *out, const result *scores, int count) {
    const result *first = &scores[0];
    out->seeds = km_new(first->count, sizeof *out->seeds);
    out->scores = km_new(first->count, sizeof *out->scores);
    for (size_t s = 0; s < first->count; s++) {
        double sum = 0;
        int found = 0;
        for (int i = 0; i < count; i++) {
            for (size_t j = 0; j < scores[i].count && found == i; j++) {
                if (scores[i].seeds[j] == first->seeds[s]) {
                    sum += scores[i].scores[j];
                    found++;
                }
            }
        }
        if (found == count) {
            out->seeds[out->count] = first->seeds[s];
            out->scores[out->count++] = sum / count;
        }
    }
}

static km_json *describe_average(const result *average, const result *scores, int count) {
    km_json *json = km_json_object(), *list = km_json_array();
    double sum = 0;
    for (int i = 0; i < count; i++) {
        const double mean = mean_of(scores[i].scores, scores[i].count);
        km_json *score = km_json_object();
        km_json_set_string(score, "path", scores[i].path);
        km_json_set_string(score, "task", km_json_text(scores[i].json, "task"));
        km_json_set_string(score, "metric", scores[i].metric);
        km_json_set_string(score, "split", scores[i].split);
        km_json_set_number(score, "mean", mean);
        km_json_push(list, score);
        sum += mean;
    }
    km_json_set_string(json, "path", average->path);
    km_json_set(json, "scores", list);
    km_json_set_number(json, "n", (double)average->count);
    km_json_set_number(json, "mean", sum / count);
    km_json_set_number(json, "sd", deviation_of(average->scores, average->count));
    return json;
}

/* Whether two models have scores of the same tasks in the same order. */
static km_status check_tasks(const result *a, int count_a, const result *b, int count_b) {
    for (int i = 0; i < KM_MAX(count_a, count_b); i++) {
        const char *task_a = i < count_a ? km_json_text(a[i].json, "task") : "nothing";
        const char *task_b = i < count_b ? km_json_text(b[i].json, "task") : "nothing";
        if (strcmp(task_a, task_b) != 0) {
            return km_fail(
                KM_FAILED,
                "%s has %s where %s has %s: expected results of the same tasks, in one order, for each model.",
                a[KM_MIN(i, count_a - 1)].path, task_a, b[KM_MIN(i, count_b - 1)].path, task_b);
        }
    }
    return KM_OK;
}

typedef struct averages {
    result *scores; /* of all files, those of a model one after the other */
    int *starts;    /* (count+1) */
    char **names;   /* (count) */
    result *models; /* (count) */
    int count;
} averages;

static km_status read_averages(averages *a, const char *const *paths, int count, int *read) {
    for (int i = 0; i < count; i++) {
        char *name = model_of(paths[i]);
        const bool again = a->count > 0 && strcmp(a->names[a->count - 1], name) == 0;
        if (again) {
            free(name);
        } else {
            a->starts[a->count] = *read;
            a->names[a->count++] = name;
        }
        KM_TRY(read_averaged(a->scores, read, paths[i]));
        a->starts[a->count] = *read;
    }
    return KM_OK;
}

static km_status average(averages *a, km_json **out) {
    km_json *list = km_json_array(), *pairs = km_json_array();
    km_status status = KM_OK;
    for (int i = 0; i < a->count && status == KM_OK; i++) {
        const result *scores = a->scores + a->starts[i];
        const int count = a->starts[i + 1] - a->starts[i];
        status = check_tasks(a->scores, a->starts[1], scores, count);
        a->models[i].path = a->names[i];
        average_seeds(&a->models[i], scores, count);
        km_json_push(list, describe_average(&a->models[i], scores, count));
        for (int j = 0; j < i; j++) {
            km_json_push(pairs, test(&a->models[j], &a->models[i]));
        }
    }
    *out = km_json_object();
    km_json_set(*out, "models", list);
    km_json_set(*out, "pairs", pairs);
    return status;
}

km_status km_compare_average(km_json **out, const char *const *paths, int count) {
    averages a = {.scores = km_new(2 * (size_t)count, sizeof *a.scores),
                  .starts = km_new((size_t)count + 1, sizeof *a.starts),
                  .names = km_new((size_t)count, sizeof *a.names),
                  .models = km_new((size_t)count, sizeof *a.models)};
    int read = 0;
    *out = NULL;
    km_status status = read_averages(&a, paths, count, &read);
    status = status == KM_OK ? average(&a, out) : status;
    if (status != KM_OK) {
        km_json_destroy(*out);
        *out = NULL;
    }
    for (int i = 0; i < a.count; i++) {
        free(a.names[i]);
    }
    free_results(a.scores, read);
    free_results(a.models, a.count);
    free(a.names);
    free(a.starts);
    return status;
}
