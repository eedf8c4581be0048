/* report: which folders and files a page is made of. */
#include "kmask/report.h"

#include "page.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DOCUMENT = 1 << 28 };

static bool ends_with(const char *path, const char *name) {
    const size_t length = strlen(path), tail = strlen(name);
    return length >= tail && strcmp(path + length - tail, name) == 0;
}

static bool is_document(const km_json *json, const measured *of) {
    return km_json_get(json, of->keys[0]) != NULL && km_json_get(json, of->keys[1]) != NULL;
}

/* Which verb wrote a file: by its name, or else by what is in it; -1: none. */
static int kind_of(const char *path, const km_json *json) {
    int found = -1;
    for (int m = 0; m < REPORT_MEASURED; m++) {
        if (ends_with(path, report_measured[m].file)) {
            return m;
        }
        found = is_document(json, &report_measured[m]) ? m : found;
    }
    return found;
}

/* Adds a file of a verb that measures: the whole document, and its name. */
static km_status read_document(sources *out, const char *path, const char *name) {
    km_json *json = NULL;
    KM_TRY(km_file_check_regular(path));
    KM_TRY(km_json_load(&json, path, DOCUMENT));
    const int kind = kind_of(path, json);
    if (kind >= 0 && is_document(json, &report_measured[kind])) {
        km_json_set_string(json, "name", name);
        km_json_push(out->documents[kind], json);
        return KM_OK;
    }
    const measured *wanted = &report_measured[KM_MAX(kind, 0)];
    km_json_destroy(json);
    return km_fail(KM_FAILED, "%s: found no %s in it, expected what `kmask %s` wrote", path, wanted->keys[0],
                   wanted->verb);
}

/* Reads a verb's document in a run folder, or in that folder itself, where there is one. */
static km_status read_document_in(sources *out, const measured *of, const char *folder, bool *found) {
    char *inner = km_format("%s/%s%s", folder, of->folder, of->file), *own = km_format("%s/%s", folder, of->file);
    const char *path = km_file_exists(inner) ? inner : km_file_exists(own) ? own : NULL;
    km_status status = path != NULL ? read_document(out, path, folder) : KM_OK;
    *found = *found || path != NULL;
    free(inner);
    free(own);
    return status;
}

/* Reads a source, which is a run folder, a folder with a verb's document, a folder with several of these, or such a file. */
static km_status read_source(sources *out, const char *path) {
    struct stat info;
    const bool there = stat(path, &info) == 0;
    if (there && S_ISREG(info.st_mode)) {
        return read_document(out, path, path);
    }
    if (there && !S_ISDIR(info.st_mode)) {
        return km_fail(KM_FAILED, "%s: found %s, expected a run folder or a file of kmask", path,
                       km_file_kind(info.st_mode));
    }
    bool found = false;
    for (int m = 0; m < REPORT_MEASURED; m++) {
        KM_TRY(read_document_in(out, &report_measured[m], path, &found));
    }
    char *metrics = km_format("%s/metrics.jsonl", path);
    const bool has_metrics = km_file_exists(metrics);
    free(metrics);
    if (found && !has_metrics) {
        return KM_OK;
    }
    run *r = report_run_create(path);
    out->runs[out->run_count++] = r;
    return report_run_read(r);
}

km_status km_report_page(char *const *paths, int count, const char *out) {
    sources from = {.runs = km_new((size_t)count, sizeof *from.runs)};
    for (int m = 0; m < REPORT_MEASURED; m++) {
        from.documents[m] = km_json_array();
    }
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
    for (int m = 0; m < REPORT_MEASURED; m++) {
        km_json_destroy(from.documents[m]);
    }
    return status;
}
