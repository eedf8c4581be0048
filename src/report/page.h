/* page: the page itself, page.html, in which markers are replaced by the figures and by the scripts that draw them. */
#ifndef KMASK_REPORT_PAGE_H
#define KMASK_REPORT_PAGE_H

#include "log.h"

/* What the page shows: runs, and results of `kmask variance` and of `kmask finetune`. */
typedef struct sources {
    run **runs;
    int run_count;
    km_json *variances; /* an array of documents, each a variance.json */
    km_json *scores;    /* likewise, each a results.json */
} sources;

/* Writes the page to `path`, whole or not at all. */
km_status report_page_write(const sources *from, const char *path) KM_NODISCARD;

#endif
