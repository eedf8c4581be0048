/* report: charts of runs, of measured variances, of fine-tunings, and of what policies hide, on one self-contained page. */
#ifndef KMASK_REPORT_H
#define KMASK_REPORT_H

#include "kmask/base.h"

/* Writes the page `out` (HTML) of `count` paths, each a run folder, a folder with what a verb measured (variance.json, masks.json, or
 * results.json of `kmask finetune`), a folder with several of these, or such a file. The page appears whole or not at all. KM_FAILED and
 * its kinds: a path that cannot be read, or `out` that cannot be written. */
km_status km_report_page(char *const *paths, int count, const char *out) KM_NODISCARD;

#endif
