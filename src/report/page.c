/* page: fills in page.html. */
#include "page.h"
#include "page_policy.h"
#include "report_html.h"
#include "report_masks_js.h"
#include "report_scores_js.h"
#include "report_variance_js.h"

#include <stdlib.h>
#include <string.h>

/* Adds JSON with "<" escaped, since it stands inside <script>. JSON has "<" only in strings, where an escape means the same. */
static void add_escaped(km_buffer *out, const char *json, size_t size) {
    const char *from = json, *end = json + size;
    while (from < end) {
        const char *less = memchr(from, '<', (size_t)(end - from));
        km_buffer_add(out, from, (size_t)((less != NULL ? less : end) - from));
        if (less != NULL) {
            km_buffer_print(out, "\\u003c");
        }
        from = less != NULL ? less + 1 : end;
    }
}

static void add_runs(km_buffer *out, run *const *runs, int count) {
    km_buffer json = {0};
    km_buffer_print(&json, "[");
    for (int i = 0; i < count; i++) {
        km_buffer_print(&json, i > 0 ? ",\n" : "");
        report_run_print(&json, runs[i]);
    }
    km_buffer_print(&json, "]");
    add_escaped(out, json.data, json.size);
    km_buffer_free(&json);
}

static void add_json(km_buffer *out, const km_json *array) {
    char *json = km_json_print(array, false);
    add_escaped(out, json, strlen(json));
    free(json);
}

const measured report_measured[REPORT_MEASURED] = {
    [REPORT_VARIANCES] = {.verb = "variance",
                          .folder = "variance/",
                          .file = "variance.json",
                          .keys = {"estimates", "distance"},
                          .marker = "@VARIANCES@",
                          .script_marker = "@VARIANCE_SCRIPT@",
                          .script = (const char *)report_variance_js},
    [REPORT_MASKS] = {.verb = "masks",
                      .folder = "masks/",
                      .file = "masks.json",
                      .keys = {"policies", "corpora"},
                      .marker = "@MASKS@",
                      .script_marker = "@MASKS_SCRIPT@",
                      .script = (const char *)report_masks_js},
    [REPORT_SCORES] = {.verb = "finetune",
                       .folder = "",
                       .file = "results.json",
                       .keys = {"runs", "metric"},
                       .marker = "@SCORES@",
                       .script_marker = "@SCORE_SCRIPT@",
                       .script = (const char *)report_scores_js}};

/* Adds what stands in the place of a marker: runs, documents, or a script. */
static void add_part(km_buffer *out, const sources *from, const char *marker) {
    if (strcmp(marker, "@RUNS@") == 0) {
        add_runs(out, from->runs, from->run_count);
    }
    for (int m = 0; m < REPORT_MEASURED; m++) {
        const measured *of = &report_measured[m];
        if (strcmp(marker, of->marker) == 0) {
            add_json(out, from->documents[m]);
        } else if (strcmp(marker, of->script_marker) == 0) {
            km_buffer_add(out, of->script, strlen(of->script));
        }
    }
}

km_status report_page_write(const sources *from, const char *path) {
    static const char *const markers[] = {
        "@RUNS@", "@VARIANCES@", "@MASKS@", "@SCORES@", "@VARIANCE_SCRIPT@", "@MASKS_SCRIPT@", "@SCORE_SCRIPT@"};
    const char *page = (const char *)report_html;
    km_buffer out = {0};
    for (size_t i = 0; i < KM_COUNT(markers); i++) {
        const char *marker = strstr(page, markers[i]);
        if (marker == NULL) {
            km_buffer_free(&out);
            return km_fail(KM_FAILED, "page.html: the marker %s is missing; this kmask is built wrongly",
                           markers[i]);
        }
        km_buffer_add(&out, page, (size_t)(marker - page));
        add_part(&out, from, markers[i]);
        page = marker + strlen(markers[i]);
    }
    km_buffer_add(&out, page, strlen(page));
    km_status status = report_add_policy(&out);
    if (status == KM_OK) {
        status = km_out_replace(path, out.data, out.size);
    }
    km_buffer_free(&out);
    return status;
}
