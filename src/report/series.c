/* series: adding lines to points, merging points when there are too many, and printing them as columns of JSON. */
#include "series.h"

#include <math.h>

const char *const report_fields[FIELDS] = {"step",
                                           "tokens",
                                           "seconds",
                                           "loss",
                                           "lr",
                                           "grad_norm",
                                           "tokens_per_s",
                                           "comm_share",
                                           "loss_pretrain",
                                           "loss_before",
                                           "loss_after",
                                           "masked_share",
                                           "within_budget",
                                           "eval_loss",
                                           "eval_accuracy",
                                           "unigram_entropy",
                                           "eval_among_5"};

static void merge(point *into, const point *other) {
    for (int f = 0; f < FIELDS; f++) {
        into->sum[f] += other->sum[f];
        into->count[f] += other->count[f];
    }
    into->low = fmin(into->low, other->low);
    into->high = fmax(into->high, other->high);
}

static void halve(series *s) {
    for (int i = 0; i < POINTS; i++) {
        point pair = s->points[2 * i];
        merge(&pair, &s->points[2 * i + 1]);
        s->points[i] = pair;
    }
    s->count = POINTS;
    s->width *= 2;
}

void report_series_add(series *s, const double values[FIELDS]) {
    if (s->width == 0 || s->filled == s->width) {
        if (s->count == 2 * POINTS) {
            halve(s);
        }
        s->width = KM_MAX(s->width, 1);
        s->points[s->count++] = (point){.low = NAN, .high = NAN};
        s->filled = 0;
    }
    point one = {.low = values[LOSS], .high = values[LOSS]};
    for (int f = 0; f < FIELDS; f++) {
        one.count[f] = isfinite(values[f]);
        one.sum[f] = one.count[f] ? values[f] : 0;
    }
    merge(&s->points[s->count - 1], &one);
    s->filled++;
}

static void print_value(km_buffer *out, double value) {
    if (isfinite(value)) {
        km_buffer_print(out, fabs(value) < 1e15 && value == floor(value) ? "%.0f" : "%.6g", value);
    } else {
        km_buffer_print(out, "null");
    }
}

typedef double (*reader)(const point *p, int field);

static double mean_of(const point *p, int field) {
    return p->count[field] > 0 ? p->sum[field] / (double)p->count[field] : NAN;
}

static double low_of(const point *p, int field) {
    (void)field;
    return p->low;
}

static double high_of(const point *p, int field) {
    (void)field;
    return p->high;
}

static void print_column(km_buffer *out, const series *s, const char *name, reader read, int field) {
    km_buffer_print(out, "\"%s\":[", name);
    for (int i = 0; i < s->count; i++) {
        km_buffer_print(out, i > 0 ? "," : "");
        print_value(out, read(&s->points[i], field));
    }
    km_buffer_print(out, "]");
}

static bool has_any(const series *s, int field) {
    bool any = false;
    for (int i = 0; i < s->count; i++) {
        any |= s->points[i].count[field] > 0;
    }
    return any;
}

void report_series_print(km_buffer *out, const series *s, int first, int last) {
    km_buffer_print(out, "{\"width\":%lld", (long long)s->width);
    for (int f = 0; f <= last; f++) {
        const bool optional = (f > COMM && f < EVAL_LOSS) || f == EVAL_AMONG_5;
        if ((f <= SECONDS || f >= first) && (!optional || has_any(s, f))) {
            km_buffer_print(out, ",");
            print_column(out, s, report_fields[f], mean_of, f);
        }
    }
    if (first == LOSS && s->width > 1) {
        km_buffer_print(out, ",");
        print_column(out, s, "loss_low", low_of, LOSS);
        km_buffer_print(out, ",");
        print_column(out, s, "loss_high", high_of, LOSS);
    }
    km_buffer_print(out, "}");
}
