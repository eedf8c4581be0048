/* report: which folders and files a page is made of. */
#include "kmask/report.h"

#include "page.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DOCUMENT = 1 << 28 };

/* Adds a results.json of `kmask finetune`. */
static km_status read_scores(km_json *scores, const char *path, const char *name) {
    km_json *json = NULL;
    KM_TRY(km_json_load(&json, path, DOCUMENT));
    if (km_json_get(json, "metric") == NULL || km_json_get(json, "runs") == NULL) {
        km_json_destroy(json);
        return km_fail(KM_FAILED, "%s: found no runs in it, expected what `kmask finetune` wrote", path);
    }
    km_json_set_string(json, "name", name);
    km_json_push(scores, json);
    return KM_OK;
}

/* Adds a file of `kmask variance`: the whole document, and the name of its folder. */
static km_status read_variance(km_json *variances, const char *path, const char *name) {
    km_json *json = NULL;
    KM_TRY(km_json_load(&json, path, DOCUMENT));
    if (km_json_get(json, "estimates") == NULL || km_json_get(json, "distance") == NULL) {
        km_json_destroy(json);
        return km_fail(KM_FAILED, "%s: found no estimates in it, expected what `kmask variance` wrote", path);
    }
    km_json_set_string(json, "name", name);
    km_json_push(variances, json);
    return KM_OK;
}

/* Finds variance.json in a run folder (<run.dir>/variance, where `kmask variance` writes it) or in that folder itself. */
static char *variance_in(const char *folder) {
    char *inner = km_format("%s/variance/variance.json", folder);
    if (km_file_exists(inner)) {
        return inner;
    }
    free(inner);
    return km_format("%s/variance.json", folder);
}

static bool is_results(const char *path) {
    static const char name[] = "results.json";
    const size_t length = strlen(path), tail = sizeof name - 1;
    return length >= tail && strcmp(path + length - tail, name) == 0;
}

/* Reads a source, which is a run folder, a folder with a variance.json or a results.json, a folder with several of these, or such a
 * file. */
static km_status read_source(sources *out, const char *path) {
    struct stat info;
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
        return is_results(path) ? read_scores(out->scores, path, path) : read_variance(out->variances, path, path);
    }
    char *variance = variance_in(path), *metrics = km_format("%s/metrics.jsonl", path);
    char *results = km_format("%s/results.json", path);
    bool has_variance = km_file_exists(variance), has_metrics = km_file_exists(metrics),
         has_results = km_file_exists(results);
    km_status status = has_variance ? read_variance(out->variances, variance, path) : KM_OK;
    status = status == KM_OK && has_results ? read_scores(out->scores, results, path) : status;
    free(variance);
    free(metrics);
    free(results);
    if (status == KM_OK && (has_metrics || (!has_variance && !has_results))) {
        run *r = report_run_create(path);
        out->runs[out->run_count++] = r;
        status = report_run_read(r);
    }
    return status;
}

km_status km_report_page(char *const *paths, int count, const char *out) {
    sources from = {
        .runs = km_new((size_t)count, sizeof *from.runs), .variances = km_json_array(), .scores = km_json_array()};
    km_status status = KM_OK;
    for (int i = 0; status == KM_OK && i < count; i++) {
        status = read_source(&from, paths[i]);
    }
    if (status == KM_OK) {
        report_run_name_all(from.runs, from.run_count);
        status = report_page_write(&from, out);
    }
    for (int i = 0; i < from.run_count; i++) {
        report_run_destroy(from.runs[i]);
    }
    free(from.runs);
    km_json_destroy(from.variances);
    km_json_destroy(from.scores);
    return status;
}
