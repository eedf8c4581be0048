/* A row with four spans, for the tests of salient masks, and the functions of a corpus that they call. Include it in one file of a
 * program. */
#ifndef KMASK_TESTS_SALIENT_ROW_H
#define KMASK_TESTS_SALIENT_ROW_H

#include "data/mask_statistics.h"

bool km_corpus_has_spans(const km_corpus *corpus) {
    return corpus != NULL;
}
const char *km_corpus_path(const km_corpus *corpus) {
    (void)corpus;
    return "fake.h5";
}

static const km_corpus *const with_spans =
    (const km_corpus *)&with_spans; /* anything but NULL; it is not looked into */

/* [ ww NN ww N w NN NNN w [ : four spans, of which two touch. */
static inline void make_salient_row(test_row *row, km_row_span *spans) {
    static const km_row_span four[] = {
        {3, 5, KM_SPAN_ENTITY}, {7, 8, KM_SPAN_DATE}, {9, 11, KM_SPAN_NUMBER}, {11, 14, KM_SPAN_ENTITY}};
    make_row(row, 3, "[wwwcwwwwwcwccw[");
    memcpy(spans, four, sizeof four);
    row->row.spans = spans;
    row->row.span_count = (int)KM_COUNT(four);
}

#endif
