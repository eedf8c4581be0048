/* compare: results of fine-tunings side by side, with a paired t-test by seed. */
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
    r->split = km_json_size(km_json_get(chosen, "test")) > 0 ? "test" : "dev";
    r->seeds = km_new(km_json_size(runs) + 1, sizeof *r->seeds);
    r->scores = km_new(km_json_size(runs) + 1, sizeof *r->scores);
    for (const km_json *run = km_json_first(runs); run != NULL; run = km_json_next(run)) {
        if (is_chosen(run, chosen)) {
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
    double *x = km_new(a->count, sizeof *x), *y = km_new(a->count, sizeof *y), t = NAN;
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
    for (int i = 0; i < count; i++) {
        km_json_destroy(results[i].json);
        free(results[i].seeds);
        free(results[i].scores);
    }
    free(results);
    return status;
}
