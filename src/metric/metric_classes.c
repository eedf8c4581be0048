/* metric_classes: metrics of predicted classes, as scikit-learn computes them. */
#include "kmask/metric.h"

#include <math.h>
#include <stdlib.h>

/* How often each class was expected, predicted, and both. */
typedef struct counts {
    double *gold, *predicted, *both; /* (classes) */
    int32_t classes;
    double n, right;
} counts;

static counts count(const int32_t *gold, const int32_t *predicted, size_t n, int32_t classes) {
    counts c = {.classes = classes, .n = (double)n};
    c.gold = km_new((size_t)classes, sizeof *c.gold);
    c.predicted = km_new((size_t)classes, sizeof *c.predicted);
    c.both = km_new((size_t)classes, sizeof *c.both);
    for (size_t i = 0; i < n; i++) {
        c.gold[gold[i]]++;
        c.predicted[predicted[i]]++;
        if (gold[i] == predicted[i]) {
            c.both[gold[i]]++;
            c.right++;
        }
    }
    return c;
}

static void free_counts(counts *c) {
    free(c->gold);
    free(c->predicted);
    free(c->both);
}

/* Twice the hits over all that were expected or predicted to be of the class; 0 where none was. */
static double f1_of_class(const counts *c, int32_t class) {
    double all = c->gold[class] + c->predicted[class];
    return all > 0 ? 2 * c->both[class] / all : 0;
}

/* The mean over the classes that are expected or predicted at least once. */
static double f1_macro(const counts *c) {
    double sum = 0;
    int there = 0;
    for (int32_t k = 0; k < c->classes; k++) {
        there += c->gold[k] + c->predicted[k] > 0;
        sum += f1_of_class(c, k);
    }
    return sum / there;
}

/* The multi-class form (Gorodkin 2004); 0 where either side is of one class alone. */
static double matthews(const counts *c) {
    double both = 0, gold = 0, predicted = 0;
    for (int32_t k = 0; k < c->classes; k++) {
        both += c->gold[k] * c->predicted[k];
        gold += c->gold[k] * c->gold[k];
        predicted += c->predicted[k] * c->predicted[k];
    }
    double square = c->n * c->n, denominator = (square - gold) * (square - predicted);
    return denominator > 0 ? (c->right * c->n - both) / sqrt(denominator) : 0;
}

static double of_counts(km_metric metric, const counts *c, int32_t positive) {
    switch (metric) {
    case KM_METRIC_F1:
        return positive >= 0 && positive < c->classes ? f1_of_class(c, positive) : 0;
    case KM_METRIC_F1_MACRO:
        return f1_macro(c);
    case KM_METRIC_MATTHEWS:
        return matthews(c);
    default: /* with one class for each example, f1_micro is the accuracy */
        return c->right / c->n;
    }
}

double km_metric_of_classes(km_metric metric, const int32_t *gold, const int32_t *predicted, size_t n,
                            int32_t classes, int32_t positive) {
    if (n == 0) {
        return NAN;
    }
    counts c = count(gold, predicted, n, classes);
    double value = of_counts(metric, &c, positive);
    free_counts(&c);
    return value;
}
