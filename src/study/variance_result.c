/* variance_result: from the results of items to estimates with intervals. */
#include "variance.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Intervals ------------------------------------------------------------------------------------------------- */

static km_interval exactly(double value) {
    return (km_interval){value, value, value};
}

/* The ratio of two means by the delta method: its error is that of the mean of (x - ratio y) / mean y. */
static km_interval ratio_of(const double *x, const double *y, int n) {
    double top = 0, bottom = 0, residuals[KM_NUMBERS];
    assert(n <= KM_NUMBERS);
    for (int i = 0; i < n; i++) {
        top += x[i] / n;
        bottom += y[i] / n;
    }
    double ratio = top / bottom;
    for (int i = 0; i < n; i++) {
        residuals[i] = (x[i] - ratio * y[i]) / bottom;
    }
    km_interval error = km_interval_of(residuals, n);
    return (km_interval){ratio, ratio + (error.low - error.mean), ratio + (error.high - error.mean)};
}

/* The place of the control, independent uniform masks, among the policies; -1 where it is not measured. */
static int control_of(const km_variance_plan *plan) {
    for (int p = 0; p < plan->policy_count; p++) {
        if (plan->policies[p] == plan->control) {
            return p;
        }
    }
    return -1;
}

/* Whether a policy's variance is compared with that of the control: disjoint masks that are each uniform, and masks with weights that
 * make up for not being so. */
static bool is_compared(const km_mask_policy *policy) {
    return (policy->uniform && policy->disjoint) || policy->weighted;
}

/* ---- Estimates, sampled ------------------------------------------------------------------------------------------ */

/* out (replicates) = value `index` of every replicate of the cell, times `scale`. */
static void column(double *out, const km_variance_plan *plan, const km_item_result *results, int cell, int index,
                   double scale) {
    for (int r = 0; r < plan->replicates; r++) {
        out[r] = scale * results[cell * plan->replicates + r].values[index];
    }
}

static void estimate_sampled(km_findings *out, const km_variance_plan *plan, const km_item_result *results,
                             int cell) {
    int R = plan->replicates;
    double S = plan->sequences, N = plan->row_count;
    double values[KM_POLICIES][KM_NUMBERS], rows[KM_NUMBERS], other[KM_NUMBERS];
    for (int p = 0; p < plan->policy_count; p++) {
        const int group = km_variance_group(plan, p);
        column(rows, plan, results, cell, group + KM_CELL_SPREAD, (1 - S / N) / S);
        km_estimate *e = &out->estimates[out->estimate_count++];
        *e = (km_estimate){.cell = cell, .policy = p, .rows = km_interval_of(rows, R)};
        column(values[p], plan, results, cell, KM_CELL_VALUES * p + KM_CELL_VAR, 1 / S);
        e->var = km_interval_of(values[p], R);
        column(other, plan, results, cell, KM_CELL_VALUES * p + KM_CELL_SINGLE, 1 / S);
        e->single = km_interval_of(other, R);
        column(other, plan, results, cell, KM_CELL_VALUES * p + KM_CELL_COV, 1 / S);
        e->cov = km_interval_of(other, R);
        column(other, plan, results, cell, group + KM_CELL_UNITS, 1);
        e->units = km_interval_of(other, R).mean;
        column(other, plan, results, cell, group + KM_CELL_TAU, 1);
        e->tau = km_interval_of(other, R).mean;
        for (int r = 0; r < R; r++) {
            other[r] = values[p][r] + rows[r];
        }
        e->total = km_interval_of(other, R);
    }
    const int control = control_of(plan);
    for (int p = 0; p < plan->policy_count; p++) {
        if (control >= 0 && is_compared(plan->policies[p])) {
            out->ratios[out->ratio_count++] = (km_ratio){cell, p, ratio_of(values[p], values[control], R)};
        }
    }
}

/* ---- Estimates, exhaustive ----------------------------------------------------------------------------------------- */

/* Returns sum_r |G_r - bar G|^2 / (N - 1); mean (D) = bar G. */
static double spread_of_rows(double *mean, const km_variance_plan *plan, const km_item_result *results,
                             size_t size) {
    size_t at = KM_EXACT_HEAD + KM_EXACT_POLICY * (size_t)plan->policy_count;
    int N = plan->row_count;
    double sum = 0;
    for (size_t d = 0; d < size; d++) {
        mean[d] = 0;
        for (int i = 0; i < N; i++) {
            mean[d] += results[i].values[at + d] / N;
        }
        for (int i = 0; i < N; i++) {
            double away = results[i].values[at + d] - mean[d];
            sum += away * away;
        }
    }
    return N > 1 ? sum / (N - 1) : 0;
}

static void estimate_exact(km_findings *out, const km_variance_plan *plan, const km_item_result *all, int cell) {
    int N = plan->row_count;
    double S = plan->sequences;
    const km_item_result *results = all + (size_t)cell * (size_t)N;
    double *mean = km_new(out->size, sizeof *mean), norm = 0;
    double rows = spread_of_rows(mean, plan, results, out->size) * (1 - S / N) / S;
    for (size_t d = 0; d < out->size; d++) {
        norm += mean[d] * mean[d];
    }
    for (int p = 0; p < plan->policy_count; p++) {
        km_estimate *e = &out->estimates[out->estimate_count++];
        *e = (km_estimate){.cell = cell, .policy = p, .mean_norm = sqrt(norm)};
        double var = 0, single = 0, cov = 0;
        for (int i = 0; i < N; i++) {
            const double *head = results[i].values, *of = head + KM_EXACT_HEAD + KM_EXACT_POLICY * p;
            e->units += head[KM_EXACT_UNITS] / N;
            e->tau += head[KM_EXACT_TAU] / N;
            single += head[KM_EXACT_SINGLE] / N / S;
            var += of[KM_EXACT_VAR] / N / S;
            cov += of[KM_EXACT_COV] / N / S;
            e->sets += of[KM_EXACT_SETS];
            e->mean_gap = fmax(e->mean_gap, of[KM_EXACT_GAP]);
        }
        e->var = exactly(var);
        e->single = exactly(single);
        e->cov = exactly(cov);
        e->rows = exactly(rows);
        e->total = exactly(var + rows);
    }
    const int control = control_of(plan);
    const km_estimate *e = &out->estimates[out->estimate_count - plan->policy_count];
    for (int p = 0; p < plan->policy_count; p++) {
        if (control >= 0 && is_compared(plan->policies[p])) {
            out->ratios[out->ratio_count++] = (km_ratio){cell, p, exactly(e[p].var.mean / e[control].var.mean)};
        }
    }
    if (cell == 0) {
        out->mean = mean;
    } else {
        free(mean);
    }
}

/* ---- The curve ------------------------------------------------------------------------------------------------------- */

/* The probability that two independent masks of tau out of n units are at distance h. */
static double probability(int n, int tau, int h) {
    int swaps = h / 2;
    return tau - swaps < 0 || swaps > n - tau
               ? 0
               : km_binomial(tau, tau - swaps) * km_binomial(n - tau, swaps) / km_binomial(n, tau);
}

/* Whether the distances that are measured are all that occur, in every row, so that cov(h) can be averaged over them. */
static bool is_complete(const km_variance_plan *plan) {
    const km_variance_cell *cell = &plan->cells[0];
    if (cell->spec.unit == KM_UNIT_SPAN) {
        return false;
    }
    for (int i = 0; i < plan->row_count; i++) {
        int n = km_row_units(plan->rows[i], cell->spec.unit), tau = km_variance_tau(cell, plan->rows[i]);
        double total = 0;
        for (int h = 0; h < plan->distance_count; h++) {
            bool again = false;
            int distance = plan->distances != NULL ? plan->distances[h] : -1;
            for (int other = 0; other < h; other++) {
                again = again || plan->distances == NULL || plan->distances[other] == distance;
            }
            total += again || distance < 0 ? 0 : probability(n, tau, distance);
        }
        if (!km_at_most(1, total)) {
            return false;
        }
    }
    return true;
}

/* The mean of one replicate at distance h; adds to *weighted what it contributes to the mean over all distances. */
static double replicate_mean(const km_variance_plan *plan, const km_item_result *result, int h, int stride,
                             double *weighted) {
    const km_variance_cell *cell = &plan->cells[0];
    double sum = 0, pairs = (double)plan->draws * plan->row_count;
    size_t at = (size_t)h * (size_t)stride;
    for (int i = 0; i < plan->row_count; i++) {
        double weight = 0;
        if (weighted != NULL) {
            weight = probability(km_row_units(plan->rows[i], cell->spec.unit), km_variance_tau(cell, plan->rows[i]),
                                 plan->distances[h]);
        }
        for (int d = 0; d < plan->draws; d++, at += (size_t)plan->distance_count * (size_t)stride) {
            double value = result->values[at + 1] / plan->sequences;
            sum += value / pairs;
            if (weighted != NULL) {
                *weighted += weight * value / pairs;
            }
        }
    }
    return sum;
}

/* Copies the values of all pairs at a distance, replicate by replicate. */
static void copy_pairs(km_curve_point *point, const km_variance_plan *plan, const km_item_result *results, int h,
                       int parts) {
    size_t stride = 2 + (size_t)parts, step = stride * (size_t)plan->distance_count, count = 0;
    point->pairs = (size_t)plan->replicates * (size_t)plan->row_count * (size_t)plan->draws;
    point->values = km_new(point->pairs * (1 + (size_t)parts), sizeof(double));
    for (int r = 0; r < plan->replicates; r++) {
        const double *at = results[r].values + (size_t)h * stride;
        for (int pair = 0; pair < plan->row_count * plan->draws; pair++, at += step) {
            point->h += at[0] / (double)point->pairs;
            for (int part = 0; part <= parts; part++) {
                point->values[count++] = at[1 + part] / plan->sequences;
            }
        }
    }
}

static void curve_sampled(km_findings *out, const km_variance_plan *plan, const km_item_result *all) {
    const km_item_result *results = all + (size_t)plan->cell_count * (size_t)plan->replicates;
    int R = plan->replicates, stride = 2 + out->parts;
    double means[KM_NUMBERS], weighted[KM_NUMBERS] = {0};
    out->has_weighted = is_complete(plan);
    out->curve_count = plan->distance_count;
    out->curve = km_new((size_t)out->curve_count, sizeof *out->curve);
    for (int h = 0; h < out->curve_count; h++) {
        for (int r = 0; r < R; r++) {
            means[r] = replicate_mean(plan, &results[r], h, stride, out->has_weighted ? &weighted[r] : NULL);
        }
        copy_pairs(&out->curve[h], plan, results, h, out->parts);
        out->curve[h].cov = km_interval_of(means, R);
    }
    out->weighted = km_interval_of(weighted, R);
}

/* Adds one row's pairs at distance h to the point; returns how many there are. */
static size_t take_pairs(km_curve_point *point, const km_findings *out, const km_variance_plan *plan,
                         const km_item_result *result, double h) {
    size_t at = KM_EXACT_HEAD + KM_EXACT_POLICY * (size_t)plan->policy_count + out->size, before = point->pairs;
    size_t width = 1 + (size_t)out->parts;
    for (; at < result->count; at += 1 + width) {
        if (result->values[at] == h) {
            for (size_t part = 0; part < width; part++) {
                point->values[point->pairs * width + part] = result->values[at + 1 + part] / plan->sequences;
            }
            point->pairs++;
        }
    }
    return point->pairs - before;
}

/* The curve has every distance that occurs; its value is the mean over the rows in which the distance occurs. */
static void curve_exact(km_findings *out, const km_variance_plan *plan, const km_item_result *results) {
    size_t width = 1 + (size_t)out->parts, most = 0;
    int farthest = 0;
    for (int i = 0; i < plan->row_count; i++) {
        const double *head = results[i].values;
        most += (size_t)(head[KM_EXACT_MASKS] * (head[KM_EXACT_MASKS] + 1) / 2);
        farthest = KM_MAX(farthest, km_mask_farthest((int)head[KM_EXACT_UNITS], (int)head[KM_EXACT_TAU]));
    }
    out->has_weighted = true;
    out->curve = km_new((size_t)farthest / 2 + 1, sizeof *out->curve);
    double weighted = 0;
    for (int h = 0; h <= farthest; h += 2) {
        km_curve_point *point = &out->curve[out->curve_count++];
        point->h = h;
        point->values = km_new(most * width, sizeof(double));
        double sum = 0;
        int rows = 0;
        for (int i = 0; i < plan->row_count; i++) {
            size_t from = point->pairs, count = take_pairs(point, out, plan, &results[i], h);
            double row = 0;
            for (size_t p = from; p < from + count; p++) {
                row += point->values[p * width] / (double)count;
            }
            rows += count > 0;
            sum += row;
            const double *head = results[i].values;
            weighted += probability((int)head[KM_EXACT_UNITS], (int)head[KM_EXACT_TAU], h) * row / plan->row_count;
        }
        point->values = km_grow(point->values, KM_MAX(point->pairs, 1) * width, sizeof(double));
        point->cov = exactly(rows > 0 ? sum / rows : 0);
    }
    out->weighted = exactly(weighted);
}

/* ---- All findings -------------------------------------------------------------------------------------------------------------- */

void km_findings_make(km_findings *out, const km_variance_plan *plan, const km_variance_model *measured,
                      const km_item_result *results) {
    *out = (km_findings){.name = km_strdup(measured->name),
                         .hash = measured->hash,
                         .step = measured->step,
                         .parts = km_variance_model_parts(measured),
                         .size = measured->size};
    out->part_names = km_new((size_t)out->parts, sizeof(char *));
    for (int i = 0; i < out->parts; i++) {
        const char *name = NULL;
        size_t first = 0, count = 0;
        km_variance_model_part(measured, i, &name, &first, &count);
        out->part_names[i] = km_strdup(name);
    }
    out->estimates = km_new((size_t)(plan->cell_count * plan->policy_count), sizeof *out->estimates);
    out->ratios = km_new((size_t)(plan->cell_count * plan->policy_count), sizeof *out->ratios);
    for (int c = 0; c < plan->cell_count; c++) {
        if (plan->exhaustive) {
            estimate_exact(out, plan, results, c);
        } else {
            estimate_sampled(out, plan, results, c);
        }
    }
    if (plan->exhaustive) {
        curve_exact(out, plan, results);
    } else {
        curve_sampled(out, plan, results);
    }
}

void km_findings_free(km_findings *findings) {
    for (int i = 0; i < findings->parts; i++) {
        free(findings->part_names[i]);
    }
    for (int i = 0; i < findings->curve_count; i++) {
        free(findings->curve[i].values);
    }
    free(findings->part_names);
    free(findings->name);
    free(findings->estimates);
    free(findings->ratios);
    free(findings->curve);
    free(findings->mean);
}
