/* variance_item: the items that are sampled, each one replicate of a cell or of the distances over all rows. */
#include "variance.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What masks are drawn for. Together with cell, replicate and draw it names a visit, so that no two draws share random numbers. */
enum { DRAW_A, DRAW_B, DRAW_PAIRS, DRAW_POLICY };

void km_item_result_add(km_item_result *result, double value) {
    if (result->count == result->room) {
        result->room = 2 * result->room + 64;
        result->values = km_grow(result->values, result->room, sizeof *result->values);
    }
    result->values[result->count++] = value;
}

/* The number does not depend on the model, so that all models are measured under the same masks. */
static uint64_t visit_of(int what, int cell, int replicate, int draw) {
    return (uint64_t)what << 60 | (uint64_t)cell << 44 | (uint64_t)replicate << 32 | (uint64_t)draw;
}

int km_variance_items(const km_variance_plan *plan) {
    return plan->exhaustive ? plan->cell_count * plan->row_count : (plan->cell_count + 1) * plan->replicates;
}

/* How many draws of K masks a_r and b_r are each taken over: about twice as many masks as there are draws, so that their noise adds little. */
static int mean_draws(const km_variance_plan *plan, const km_variance_cell *cell) {
    enum { LEAST = 4, MOST = 16 };
    int masks = KM_MIN(KM_MAX(2 * plan->draws, LEAST), MOST);
    return (masks + cell->spec.splits - 1) / cell->spec.splits;
}

double km_variance_work(const km_variance_plan *plan, int item) {
    double rows = plan->row_count;
    if (plan->exhaustive) {
        const km_variance_cell *cell = &plan->cells[item / plan->row_count];
        const km_row *row = plan->rows[item % plan->row_count];
        return km_binomial(km_row_units(row, cell->spec.unit), km_variance_tau(cell, row));
    }
    int c = item / plan->replicates;
    const km_variance_cell *cell = &plan->cells[c < plan->cell_count ? c : 0];
    double means = 2.0 * mean_draws(plan, cell) * cell->spec.splits;
    double each = c < plan->cell_count ? plan->policy_count * cell->spec.splits : plan->distance_count;
    return rows * (means + plan->draws * each);
}

/* ---- Masks and means ------------------------------------------------------------------------------------------------- */

static const uint8_t *mask_of(const km_variance_worker *worker, int index) {
    return worker->masks.masks + (size_t)index * (size_t)worker->masks.stride;
}

static void add(float *sum, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sum[i] += x[i];
    }
}

static km_mask_visit visit_at(const km_variance_worker *worker, uint64_t number) {
    return (km_mask_visit){.seed = worker->plan->seed, .purpose = KM_RNG_VARIANCE, .number = number};
}

/* Draws the masks of one of the plan's policies, or those of the control where policy is policy_count. */
static km_status draw(km_variance_worker *worker, int cell, int policy, const km_row *row, uint64_t number) {
    const km_mask_visit visit = visit_at(worker, number);
    return km_masker_draw(worker->maskers[cell * (worker->plan->policy_count + 1) + policy], row, &visit,
                          &worker->masks);
}

/* out (D) = the mean gradient over random masks of the cell `place`. cell_number: what they are drawn for. */
static km_status mean_gradient(km_variance_worker *worker, int place, const km_row *row, int what, int cell_number,
                               int replicate, float *out) {
    const km_variance_cell *cell = &worker->plan->cells[place];
    size_t size = worker->measured->size;
    int draws = mean_draws(worker->plan, cell), splits = cell->spec.splits;
    memset(out, 0, size * sizeof *out);
    for (int d = 0; d < draws; d++) {
        uint64_t visit = visit_of(what, cell_number, replicate, d);
        KM_TRY(draw(worker, place, worker->plan->policy_count, row, visit));
        for (int k = 0; k < splits; k++) {
            KM_TRY(km_variance_worker_gradient(worker, row, mask_of(worker, k), visit, (uint32_t)k, worker->g));
            add(out, worker->g, size);
        }
    }
    float scale = 1.0F / (float)(draws * splits);
    for (size_t i = 0; i < size; i++) {
        out[i] *= scale;
    }
    return KM_OK;
}

static km_status both_means(km_variance_worker *worker, int cell, const km_row *row, int place, int replicate) {
    KM_TRY(mean_gradient(worker, place, row, DRAW_A, cell, replicate, worker->a));
    return mean_gradient(worker, place, row, DRAW_B, cell, replicate, worker->b);
}

/* ---- A cell ------------------------------------------------------------------------------------------------- */

typedef struct tally {
    double values[KM_POLICIES][KM_CELL_VALUES];
    double units, tau, spread; /* spread: sum_r a_r.b_r */
} tally;

/* Adds what one draw of K masks says of the three terms of Theorem 1, from all K^2 products. */
static km_status one_draw(km_variance_worker *worker, const km_variance_cell *cell, const km_row *row,
                          uint64_t visit, double *values) {
    size_t size = worker->measured->size;
    int K = cell->spec.splits;
    double single = 0;
    memset(worker->s, 0, size * sizeof *worker->s);
    for (int k = 0; k < K; k++) {
        KM_TRY(km_variance_worker_gradient(worker, row, mask_of(worker, k), visit, (uint32_t)k, worker->g));
        single += km_centered_dot(worker->g, worker->g, worker->a, worker->b, 1, size);
        add(worker->s, worker->g, size);
    }
    double whole = km_centered_dot(worker->s, worker->s, worker->a, worker->b, (float)K, size);
    values[KM_CELL_VAR] += whole / (K * K);
    values[KM_CELL_SINGLE] += single / K;
    values[KM_CELL_COV] += K > 1 ? (whole - single) / (K * (K - 1)) : 0;
    return KM_OK;
}

static km_status measure_row(km_variance_worker *worker, int cell_number, const km_row *row, int replicate,
                             tally *t) {
    const km_variance_plan *plan = worker->plan;
    const km_variance_cell *cell = &plan->cells[cell_number];
    KM_TRY(both_means(worker, cell_number, row, cell_number, replicate));
    for (int p = 0; p < plan->policy_count; p++) {
        for (int d = 0; d < plan->draws; d++) {
            uint64_t visit = visit_of(DRAW_POLICY + p, cell_number, replicate, d);
            KM_TRY(draw(worker, cell_number, p, row, visit));
            t->units += worker->masks.units;
            t->tau += worker->masks.tau;
            KM_TRY(one_draw(worker, cell, row, visit, t->values[p]));
        }
    }
    return KM_OK;
}

static void add_row_means(km_variance_worker *worker, tally *t) {
    size_t size = worker->measured->size;
    if (worker->sum_a == NULL) {
        return;
    }
    t->spread += km_centered_dot(worker->a, worker->b, worker->a, worker->b, 0, size);
    add(worker->sum_a, worker->a, size);
    add(worker->sum_b, worker->b, size);
}

static km_status measure_cell(km_variance_worker *worker, int cell, int replicate, km_item_result *out) {
    const km_variance_plan *plan = worker->plan;
    size_t size = worker->measured->size;
    double N = plan->row_count, draws = N * plan->draws, spread = 0;
    tally t = {0};
    if (worker->sum_a != NULL) {
        memset(worker->sum_a, 0, size * sizeof *worker->sum_a);
        memset(worker->sum_b, 0, size * sizeof *worker->sum_b);
    }
    for (int i = 0; i < plan->row_count; i++) {
        KM_TRY(measure_row(worker, cell, plan->rows[i], replicate, &t));
        add_row_means(worker, &t);
    }
    if (worker->sum_a != NULL) {
        double all = km_centered_dot(worker->sum_a, worker->sum_b, worker->a, worker->b, 0, size);
        spread = (t.spread - all / N) / (N - 1);
    }
    for (int p = 0; p < plan->policy_count; p++) {
        for (int v = 0; v < KM_CELL_VALUES; v++) {
            km_item_result_add(out, t.values[p][v] / draws);
        }
    }
    km_item_result_add(out, spread);
    km_item_result_add(out, t.units / (draws * plan->policy_count));
    km_item_result_add(out, t.tau / (draws * plan->policy_count));
    return KM_OK;
}

/* ---- Distances ---------------------------------------------------------------------------------------------- */

/* Adds the products of a pair. (g1 - a).(g2 - b) and (g2 - a).(g1 - b) are both without bias; their mean has less noise. */
static void add_pair(const km_variance_worker *worker, const float *g1, const float *g2, double distance,
                     km_item_result *out) {
    double all = 0;
    size_t at = out->count + 1;
    km_item_result_add(out, distance);
    km_item_result_add(out, 0);
    for (int part = 0; part < km_variance_model_parts(worker->measured); part++) {
        const char *name = NULL;
        size_t first = 0, count = 0;
        km_variance_model_part(worker->measured, part, &name, &first, &count);
        const float *a = worker->a + first, *b = worker->b + first;
        double product = km_centered_dot(g1 + first, g2 + first, a, b, 1, count);
        if (g1 != g2) {
            product = 0.5 * (product + km_centered_dot(g2 + first, g1 + first, a, b, 1, count));
        }
        km_item_result_add(out, product);
        all += product;
    }
    out->values[at] = all;
}

/* Draws a mask and a partner at every distance, and adds the products of these pairs. */
static km_status measure_pairs(km_variance_worker *worker, const km_row *row, uint64_t visit, const double *shares,
                               int *distances, km_item_result *out) {
    const km_variance_plan *plan = worker->plan;
    const km_mask_visit drawn = visit_at(worker, visit);
    KM_TRY(km_mask_distances(&plan->cells[0].spec, row, &drawn, shares, plan->distance_count, distances,
                             &worker->masks));
    KM_TRY(km_variance_worker_gradient(worker, row, mask_of(worker, 0), visit, 0, worker->s));
    for (int i = 0; i < plan->distance_count; i++) {
        if (distances[i] == 0) {
            add_pair(worker, worker->s, worker->s, 0, out);
            continue;
        }
        KM_TRY(km_variance_worker_gradient(worker, row, mask_of(worker, 1 + i), visit, 1 + (uint32_t)i, worker->g));
        add_pair(worker, worker->s, worker->g, distances[i], out);
    }
    return KM_OK;
}

static km_status measure_distances(km_variance_worker *worker, int replicate, km_item_result *out) {
    const km_variance_plan *plan = worker->plan;
    double *shares = km_new((size_t)plan->distance_count, sizeof *shares);
    int *distances = km_new((size_t)plan->distance_count, sizeof *distances);
    km_status status = KM_OK;
    for (int i = 0; i < plan->row_count && status == KM_OK; i++) {
        const km_row *row = plan->rows[i];
        for (int h = 0; h < plan->distance_count; h++) {
            shares[h] = km_variance_share(plan, row, h);
        }
        status = both_means(worker, plan->cell_count, row, 0, replicate);
        for (int d = 0; d < plan->draws && status == KM_OK; d++) {
            uint64_t visit = visit_of(DRAW_PAIRS, plan->cell_count, replicate, d);
            status = measure_pairs(worker, row, visit, shares, distances, out);
        }
    }
    free(shares);
    free(distances);
    return status;
}

km_status km_variance_item(km_variance_worker *worker, int item, km_item_result *out) {
    const km_variance_plan *plan = worker->plan;
    out->count = 0;
    if (plan->exhaustive) {
        int cell = item / plan->row_count;
        return km_variance_exact(worker, &plan->cells[cell], plan->rows[item % plan->row_count], cell == 0, out);
    }
    int cell = item / plan->replicates, replicate = item % plan->replicates;
    assert(cell <= plan->cell_count);
    return cell < plan->cell_count ? measure_cell(worker, cell, replicate, out)
                                   : measure_distances(worker, replicate, out);
}
