/* series: what the lines of a log say, in a bounded number of points, however many lines there are: consecutive lines are averaged. */
#ifndef KMASK_REPORT_SERIES_H
#define KMASK_REPORT_SERIES_H

#include "kmask/base.h"

enum { POINTS = 2000 };

/* What a point has of a line. The names on the page and in the log are in report_fields. */
enum {
    STEP,
    TOKENS,
    SECONDS, /* the time of all steps so far, without what lies between them */
    LOSS,
    LR,
    GRAD_NORM,
    RATE,
    COMM,
    /* Of the training of a policy; a run without them has no such columns. */
    LOSS_PRETRAIN,
    LOSS_BEFORE,
    LOSS_AFTER,
    MASKED_SHARE,
    WITHIN_BUDGET,

    EVAL_LOSS,
    EVAL_ACCURACY,
    UNIGRAM,      /* the unigram entropy of the held-out text */
    EVAL_AMONG_5, /* of a policy */
    FIELDS
};
extern const char *const report_fields[FIELDS];

/* The sums of consecutive lines. A field that a line lacks is not counted. */
typedef struct point {
    double sum[FIELDS];
    int64_t count[FIELDS];
    double low, high; /* the smallest and largest loss of the lines, which an average would hide */
} point;

/* A series of at most 2*POINTS points. When it is full, each two neighbours are merged, and a point then holds twice as many
 * lines. */
typedef struct series {
    point points[2 * POINTS];
    int count;
    int64_t width, filled; /* how many lines a point holds; how many the last point has so far */
} series;

/* Adds the values of a line; those that are not finite count as absent. */
void report_series_add(series *s, const double values[FIELDS]);
/* Prints a series as JSON: the columns that are shared (up to SECONDS) and those from `first` to `last`. */
void report_series_print(km_buffer *out, const series *s, int first, int last);

#endif
