/* page: the page itself, page.html, in which markers are replaced by the figures and by the scripts that draw them. */
#ifndef KMASK_REPORT_PAGE_H
#define KMASK_REPORT_PAGE_H

#include "log.h"

/* Documents of a verb that measures something. It writes `file`, to its own folder or to the subfolder `folder` of a run's. */
typedef struct measured {
    const char *verb, *folder, *file;
    const char *keys[2];                /* that each document has */
    const char *marker, *script_marker; /* in page.html: where the documents go, and the script that draws them */
    const char *script;
} measured;
enum { REPORT_VARIANCES, REPORT_MASKS, REPORT_SCORES, REPORT_MEASURED };
extern const measured report_measured[REPORT_MEASURED];

/* What the page shows: runs, and what verbs have measured. */
typedef struct sources {
    run **runs;
    int run_count;
    km_json *documents[REPORT_MEASURED]; /* arrays */
} sources;

/* Writes the page to `path`, whole or not at all. */
km_status report_page_write(const sources *from, const char *path) KM_NODISCARD;

#endif
