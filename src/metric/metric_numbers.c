/* metric_numbers: correlations and Student's paired t-test, as scipy.stats computes them. */
#include "kmask/metric.h"

#include <math.h>
#include <stdlib.h>

/* ---- Correlations --------------------------------------------------------------------------------------------- */

static double mean_of(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum / (double)n;
}

static bool usable(const double *x, size_t n) {
    bool finite = true, varies = false;
    for (size_t i = 0; i < n; i++) {
        finite = finite && isfinite(x[i]);
        varies = varies || x[i] < x[0] || x[i] > x[0];
    }
    return finite && varies;
}

static double pearson(const double *x, const double *y, size_t n) {
    if (n < 2 || !usable(x, n) || !usable(y, n)) {
        return NAN;
    }
    double mean_x = mean_of(x, n), mean_y = mean_of(y, n), xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        double a = x[i] - mean_x, b = y[i] - mean_y;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    double r = xy / (sqrt(xx) * sqrt(yy));
    return KM_MAX(-1.0, KM_MIN(1.0, r));
}

typedef struct numbered {
    double value;
    size_t index;
} numbered;

static int by_value(const void *a, const void *b) {
    double x = ((const numbered *)a)->value, y = ((const numbered *)b)->value;
    return (x > y) - (x < y);
}

/* Ranks from 1; equal values share the mean of their ranks. */
static double *ranks_of(const double *x, size_t n) {
    numbered *sorted = km_new(n, sizeof *sorted);
    double *ranks = km_new(n, sizeof *ranks);
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (numbered){x[i], i};
    }
    qsort(sorted, n, sizeof *sorted, by_value);
    for (size_t from = 0, to = 0; from < n; from = to) {
        while (to < n && !(sorted[to].value > sorted[from].value)) {
            to++;
        }
        for (size_t i = from; i < to; i++) {
            ranks[sorted[i].index] = ((double)from + (double)to + 1) / 2;
        }
    }
    free(sorted);
    return ranks;
}

static double spearman(const double *x, const double *y, size_t n) {
    if (n < 2 || !usable(x, n) || !usable(y, n)) {
        return NAN;
    }
    double *a = ranks_of(x, n), *b = ranks_of(y, n), r = pearson(a, b, n);
    free(a);
    free(b);
    return r;
}

double km_metric_of_numbers(km_metric metric, const double *gold, const double *predicted, size_t n) {
    return metric == KM_METRIC_SPEARMAN ? spearman(gold, predicted, n) : pearson(gold, predicted, n);
}

/* ---- Student's t ---------------------------------------------------------------------------------------------- */

/* The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method. */
static double beta_fraction(double a, double b, double x) {
    const double tiny = 1e-300, enough = 1e-16;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m <= 10000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double factors[] = {even, odd}, change = 1;
        for (int i = 0; i < 2; i++) {
            d = 1 + factors[i] * d;
            c = 1 + factors[i] / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            change = c * d;
            h *= change;
        }
        if (fabs(change - 1) < enough) {
            break;
        }
    }
    return h;
}

/* The regularized incomplete beta function I_x(a, b). */
static double incomplete_beta(double a, double b, double x) {
    if (x <= 0 || x >= 1) {
        return x <= 0 ? 0 : 1;
    }
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                     : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double km_paired_t_test(double *t, const double *a, const double *b, size_t n) {
    *t = NAN;
    if (n < 2) {
        return NAN;
    }
    double *difference = km_new(n, sizeof *difference), squares = 0;
    for (size_t i = 0; i < n; i++) {
        difference[i] = a[i] - b[i];
    }
    double mean = mean_of(difference, n), freedom = (double)n - 1;
    for (size_t i = 0; i < n; i++) {
        squares += (difference[i] - mean) * (difference[i] - mean);
    }
    free(difference);
    *t = mean / sqrt(squares / freedom / (double)n);
    if (isnan(*t) || isinf(*t)) {
        return isnan(*t) ? NAN : 0;
    }
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + *t * *t));
}
