/* Sampled items: one replicate of a cell or of the distances, over all rows. */
#include "variance.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What is drawn; with cell, replicate and draw it names a visit, so that no two draws share randomness. */
enum { DRAW_A, DRAW_B, DRAW_PAIRS, DRAW_POLICY };

void km_result_add(km_result *result, double value) {
    if (result->count == result->room) {
        result->room = 2 * result->room + 64;
        result->values = km_grow(result->values, result->room, sizeof *result->values);
    }
    result->values[result->count++] = value;
}

/* Independent of the model: two models are measured under the same masks. */
static uint64_t visit_of(int what, int cell, int replicate, int draw) {
    return (uint64_t)what << 60 | (uint64_t)cell << 44 | (uint64_t)replicate << 32 | (uint64_t)draw;
}

int km_variance_items(const km_variance_plan *plan) {
    return plan->exhaustive ? plan->cell_count * plan->row_count : (plan->cell_count + 1) * plan->replicates;
}

/* Masks in each of a_r and b_r: twice the draws, so that their noise adds little; whole draws of K. */
static int mean_draws(const km_variance_plan *plan, const km_cell *cell) {
    enum { LEAST = 4, MOST = 16 };
    int masks = KM_MIN(KM_MAX(2 * plan->draws, LEAST), MOST);
    return (masks + cell->spec.splits - 1) / cell->spec.splits;
}

double km_variance_work(const km_variance_plan *plan, int item) {
    double rows = plan->row_count;
    if (plan->exhaustive) {
        const km_cell *cell = &plan->cells[item / plan->row_count];
        const km_row *row = plan->rows[item % plan->row_count];
        return km_choose(km_row_units(row, cell->spec.unit), km_cell_tau(cell, row));
    }
    int c = item / plan->replicates;
    const km_cell *cell = &plan->cells[c < plan->cell_count ? c : 0];
    double means = 2.0 * mean_draws(plan, cell) * cell->spec.splits;
    double each = c < plan->cell_count ? plan->policy_count * cell->spec.splits : plan->distance_count;
    return rows * (means + plan->draws * each);
}

/* ---- Pieces ------------------------------------------------------------------------------------------------- */

static const uint8_t *mask_of(const km_meter *meter, int index) {
    return meter->masks.masks + (size_t)index * (size_t)meter->masks.stride;
}

static void add(float *sum, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sum[i] += x[i];
    }
}

static km_mask_visit visit_at(const km_meter *meter, uint64_t number) {
    return (km_mask_visit){.seed = meter->plan->seed, .purpose = KM_RNG_VARIANCE, .number = number};
}

/* The masks of a policy of the plan, or with policy_count those of the control. */
static km_status draw(km_meter *meter, int cell, int policy, const km_row *row, uint64_t number) {
    const km_mask_visit visit = visit_at(meter, number);
    return km_masker_draw(meter->maskers[cell * (meter->plan->policy_count + 1) + policy], row, &visit,
                          &meter->masks);
}

/* out (D) = the mean gradient over independent random masks. */
static km_status mean_gradient(km_meter *meter, int place, const km_row *row, int what, int cell_number,
                               int replicate, float *out) {
    const km_cell *cell = &meter->plan->cells[place];
    size_t size = meter->subject->size;
    int draws = mean_draws(meter->plan, cell), splits = cell->spec.splits;
    memset(out, 0, size * sizeof *out);
    for (int d = 0; d < draws; d++) {
        uint64_t visit = visit_of(what, cell_number, replicate, d);
        KM_TRY(draw(meter, place, meter->plan->policy_count, row, visit));
        for (int k = 0; k < splits; k++) {
            KM_TRY(km_meter_gradient(meter, row, mask_of(meter, k), visit, (uint32_t)k, meter->g));
            add(out, meter->g, size);
        }
    }
    float scale = 1.0F / (float)(draws * splits);
    for (size_t i = 0; i < size; i++) {
        out[i] *= scale;
    }
    return KM_OK;
}

static km_status both_means(km_meter *meter, int cell, const km_row *row, int place, int replicate) {
    KM_TRY(mean_gradient(meter, place, row, DRAW_A, cell, replicate, meter->a));
    return mean_gradient(meter, place, row, DRAW_B, cell, replicate, meter->b);
}

/* ---- A cell ------------------------------------------------------------------------------------------------- */

typedef struct tally {
    double values[KM_POLICIES][KM_CELL_VALUES];
    double units, tau, spread; /* spread: sum_r a_r.b_r */
} tally;

/* One draw of K masks; Theorem 1's three terms from all its pairs. */
static km_status one_draw(km_meter *meter, const km_cell *cell, const km_row *row, uint64_t visit, double *values) {
    size_t size = meter->subject->size;
    int K = cell->spec.splits;
    double single = 0;
    memset(meter->s, 0, size * sizeof *meter->s);
    for (int k = 0; k < K; k++) {
        KM_TRY(km_meter_gradient(meter, row, mask_of(meter, k), visit, (uint32_t)k, meter->g));
        single += km_centered_dot(meter->g, meter->g, meter->a, meter->b, 1, size);
        add(meter->s, meter->g, size);
    }
    double whole = km_centered_dot(meter->s, meter->s, meter->a, meter->b, (float)K, size);
    values[0] += whole / (K * K);
    values[1] += single / K;
    values[2] += K > 1 ? (whole - single) / (K * (K - 1)) : 0;
    return KM_OK;
}

static km_status measure_row(km_meter *meter, int cell_number, const km_row *row, int replicate, tally *t) {
    const km_variance_plan *plan = meter->plan;
    const km_cell *cell = &plan->cells[cell_number];
    KM_TRY(both_means(meter, cell_number, row, cell_number, replicate));
    for (int p = 0; p < plan->policy_count; p++) {
        for (int d = 0; d < plan->draws; d++) {
            uint64_t visit = visit_of(DRAW_POLICY + p, cell_number, replicate, d);
            KM_TRY(draw(meter, cell_number, p, row, visit));
            t->units += meter->masks.units;
            t->tau += meter->masks.tau;
            KM_TRY(one_draw(meter, cell, row, visit, t->values[p]));
        }
    }
    return KM_OK;
}

static void add_row_means(km_meter *meter, tally *t) {
    size_t size = meter->subject->size;
    if (meter->sum_a == NULL) {
        return;
    }
    t->spread += km_centered_dot(meter->a, meter->b, meter->a, meter->b, 0, size);
    add(meter->sum_a, meter->a, size);
    add(meter->sum_b, meter->b, size);
}

static km_status measure_cell(km_meter *meter, int cell, int replicate, km_result *out) {
    const km_variance_plan *plan = meter->plan;
    size_t size = meter->subject->size;
    double N = plan->row_count, draws = N * plan->draws, spread = 0;
    tally t = {0};
    if (meter->sum_a != NULL) {
        memset(meter->sum_a, 0, size * sizeof *meter->sum_a);
        memset(meter->sum_b, 0, size * sizeof *meter->sum_b);
    }
    for (int i = 0; i < plan->row_count; i++) {
        KM_TRY(measure_row(meter, cell, plan->rows[i], replicate, &t));
        add_row_means(meter, &t);
    }
    if (meter->sum_a != NULL) {
        double all = km_centered_dot(meter->sum_a, meter->sum_b, meter->a, meter->b, 0, size);
        spread = (t.spread - all / N) / (N - 1);
    }
    for (int p = 0; p < plan->policy_count; p++) {
        for (int v = 0; v < KM_CELL_VALUES; v++) {
            km_result_add(out, t.values[p][v] / draws);
        }
    }
    km_result_add(out, spread);
    km_result_add(out, t.units / (draws * plan->policy_count));
    km_result_add(out, t.tau / (draws * plan->policy_count));
    return KM_OK;
}

/* ---- Distances ---------------------------------------------------------------------------------------------- */

/* (g1 - a).(g2 - b) and (g2 - a).(g1 - b) are both unbiased: their mean has less noise. */
static void add_pair(const km_meter *meter, const float *g1, const float *g2, double distance, km_result *out) {
    double all = 0;
    size_t at = out->count + 1;
    km_result_add(out, distance);
    km_result_add(out, 0);
    for (int part = 0; part < km_subject_parts(meter->subject); part++) {
        const char *name = NULL;
        size_t first = 0, count = 0;
        km_subject_part(meter->subject, part, &name, &first, &count);
        const float *a = meter->a + first, *b = meter->b + first;
        double product = km_centered_dot(g1 + first, g2 + first, a, b, 1, count);
        if (g1 != g2) {
            product = 0.5 * (product + km_centered_dot(g2 + first, g1 + first, a, b, 1, count));
        }
        km_result_add(out, product);
        all += product;
    }
    out->values[at] = all;
}

/* One mask, and its partners at every distance. */
static km_status measure_pairs(km_meter *meter, const km_row *row, uint64_t visit, const double *shares,
                               int *distances, km_result *out) {
    const km_variance_plan *plan = meter->plan;
    const km_mask_visit drawn = visit_at(meter, visit);
    KM_TRY(km_mask_distances(&plan->cells[0].spec, row, &drawn, shares, plan->distance_count, distances,
                             &meter->masks));
    KM_TRY(km_meter_gradient(meter, row, mask_of(meter, 0), visit, 0, meter->s));
    for (int i = 0; i < plan->distance_count; i++) {
        if (distances[i] == 0) {
            add_pair(meter, meter->s, meter->s, 0, out);
            continue;
        }
        KM_TRY(km_meter_gradient(meter, row, mask_of(meter, 1 + i), visit, 1 + (uint32_t)i, meter->g));
        add_pair(meter, meter->s, meter->g, distances[i], out);
    }
    return KM_OK;
}

static km_status measure_distances(km_meter *meter, int replicate, km_result *out) {
    const km_variance_plan *plan = meter->plan;
    double *shares = km_new((size_t)plan->distance_count, sizeof *shares);
    int *distances = km_new((size_t)plan->distance_count, sizeof *distances);
    km_status status = KM_OK;
    for (int i = 0; i < plan->row_count && status == KM_OK; i++) {
        const km_row *row = plan->rows[i];
        for (int h = 0; h < plan->distance_count; h++) {
            shares[h] = km_variance_share(plan, row, h);
        }
        status = both_means(meter, plan->cell_count, row, 0, replicate);
        for (int d = 0; d < plan->draws && status == KM_OK; d++) {
            uint64_t visit = visit_of(DRAW_PAIRS, plan->cell_count, replicate, d);
            status = measure_pairs(meter, row, visit, shares, distances, out);
        }
    }
    free(shares);
    free(distances);
    return status;
}

km_status km_variance_item(km_meter *meter, int item, km_result *out) {
    const km_variance_plan *plan = meter->plan;
    out->count = 0;
    if (plan->exhaustive) {
        int cell = item / plan->row_count;
        return km_variance_exact(meter, &plan->cells[cell], plan->rows[item % plan->row_count], cell == 0, out);
    }
    int cell = item / plan->replicates, replicate = item % plan->replicates;
    assert(cell <= plan->cell_count);
    return cell < plan->cell_count ? measure_cell(meter, cell, replicate, out)
                                   : measure_distances(meter, replicate, out);
}
