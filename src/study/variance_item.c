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

/* Groups of policies that share their means. */
static int groups_of(const km_variance_plan *plan) {
    int others = 0;
    for (int p = 0; p < plan->policy_count; p++) {
        others += !plan->policies[p]->uniform;
    }
    return others + (others < plan->policy_count);
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
    double means = 2.0 * mean_draws(plan, cell) * cell->spec.splits * (c < plan->cell_count ? groups_of(plan) : 1);
    double each = c < plan->cell_count ? plan->policy_count * cell->spec.splits : plan->distance_count;
    return rows * (means + plan->draws * each);
}

/* ---- Masks and means ------------------------------------------------------------------------------------------------- */

static void add(float *sum, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sum[i] += x[i];
    }
}

static km_mask_visit visit_at(const km_variance_worker *worker, uint64_t number) {
    return (km_mask_visit){.seed = worker->plan->seed, .purpose = KM_RNG_VARIANCE, .number = number};
}

/* *masks: drawn by one of the plan's policies, or by the control where policy is policy_count. */
static km_status draw(km_variance_worker *worker, int cell, int policy, const km_row *row, uint64_t number,
                      const km_masks **masks) {
    km_mask_visit visit = visit_at(worker, number);
    visit.scores = km_variance_model_scores(worker->measured, worker->plan, row);
    const int i = cell * (worker->plan->policy_count + 1) + policy;
    *masks = &worker->drawn[i];
    return km_masker_draw(worker->maskers[i], row, &visit, &worker->drawn[i]);
}

/* out (D) = the mean gradient over independent draws of a policy, or of the control where it is policy_count. `number` is what they are
 * drawn for, `cell` the one whose masks they are. */
static km_status mean_gradient(km_variance_worker *worker, int cell, int policy, const km_row *row, int what,
                               int number, int replicate, float *out) {
    const km_variance_cell *of = &worker->plan->cells[cell];
    size_t size = worker->measured->size;
    int draws = mean_draws(worker->plan, of), splits = of->spec.splits;
    memset(out, 0, size * sizeof *out);
    for (int d = 0; d < draws; d++) {
        uint64_t visit = visit_of(what, number, replicate, d);
        const km_masks *masks = NULL;
        KM_TRY(draw(worker, cell, policy, row, visit, &masks));
        for (int k = 0; k < splits; k++) {
            KM_TRY(km_variance_worker_gradient(worker, row, masks, k, visit, (uint32_t)k, worker->g));
            add(out, worker->g, size);
        }
    }
    float scale = 1.0F / (float)(draws * splits);
    for (size_t i = 0; i < size; i++) {
        out[i] *= scale;
    }
    return KM_OK;
}

static km_status both_means(km_variance_worker *worker, int cell, int policy, const km_row *row, int number,
                            int replicate) {
    KM_TRY(mean_gradient(worker, cell, policy, row, DRAW_A, number, replicate, worker->a));
    return mean_gradient(worker, cell, policy, row, DRAW_B, number, replicate, worker->b);
}

/* ---- A cell ------------------------------------------------------------------------------------------------- */

/* Policies that share G_r, and with it the means a_r and b_r. */
typedef struct group {
    int cell, replicate;
    int means;                        /* the policy that means are taken over; policy_count: the control */
    bool members[KM_POLICIES];        /* of the policies */
    double units, tau, drawn, spread; /* sums over draws, and how many draws; sum_r a_r.b_r */
} group;

/* Adds what one draw of K masks says of the three terms of Theorem 1, from all K^2 products. */
static km_status one_draw(km_variance_worker *worker, const km_masks *masks, const km_row *row, uint64_t visit,
                          double *values) {
    size_t size = worker->measured->size;
    int K = masks->splits;
    double single = 0;
    memset(worker->s, 0, size * sizeof *worker->s);
    for (int k = 0; k < K; k++) {
        KM_TRY(km_variance_worker_gradient(worker, row, masks, k, visit, (uint32_t)k, worker->g));
        single += km_centered_dot(worker->g, worker->g, worker->a, worker->b, 1, size);
        add(worker->s, worker->g, size);
    }
    double whole = km_centered_dot(worker->s, worker->s, worker->a, worker->b, (float)K, size);
    values[KM_CELL_VAR] += whole / (K * K);
    values[KM_CELL_SINGLE] += single / K;
    values[KM_CELL_COV] += K > 1 ? (whole - single) / (K * (K - 1)) : 0;
    return KM_OK;
}

static km_status measure_row(km_variance_worker *worker, group *g, const km_row *row,
                             double values[][KM_CELL_VALUES]) {
    const km_variance_plan *plan = worker->plan;
    KM_TRY(both_means(worker, g->cell, g->means, row, g->cell, g->replicate));
    for (int p = 0; p < plan->policy_count; p++) {
        for (int d = 0; d < plan->draws && g->members[p]; d++) {
            uint64_t visit = visit_of(DRAW_POLICY + p, g->cell, g->replicate, d);
            const km_masks *masks = NULL;
            KM_TRY(draw(worker, g->cell, p, row, visit, &masks));
            g->units += masks->units;
            g->tau += masks->tau;
            g->drawn++;
            KM_TRY(one_draw(worker, masks, row, visit, values[p]));
        }
    }
    return KM_OK;
}

static void add_row_means(km_variance_worker *worker, group *g) {
    size_t size = worker->measured->size;
    if (worker->sum_a == NULL) {
        return;
    }
    g->spread += km_centered_dot(worker->a, worker->b, worker->a, worker->b, 0, size);
    add(worker->sum_a, worker->a, size);
    add(worker->sum_b, worker->b, size);
}

/* sum_r |G_r - bar G|^2 / (N - 1); 0 where a mini-batch has all rows. */
static double spread_of(const km_variance_worker *worker, const group *g) {
    if (worker->sum_a == NULL) {
        return 0;
    }
    const double N = worker->plan->row_count;
    double all = km_centered_dot(worker->sum_a, worker->sum_b, worker->a, worker->b, 0, worker->measured->size);
    return (g->spread - all / N) / (N - 1);
}

/* out: the group's KM_CELL_GROUP values. */
static km_status measure_group(km_variance_worker *worker, group *g, double values[][KM_CELL_VALUES], double *out) {
    const size_t size = worker->measured->size;
    if (worker->sum_a != NULL) {
        memset(worker->sum_a, 0, size * sizeof *worker->sum_a);
        memset(worker->sum_b, 0, size * sizeof *worker->sum_b);
    }
    for (int i = 0; i < worker->plan->row_count; i++) {
        KM_TRY(measure_row(worker, g, worker->plan->rows[i], values));
        add_row_means(worker, g);
    }
    out[KM_CELL_SPREAD] = spread_of(worker, g);
    out[KM_CELL_UNITS] = g->units / g->drawn;
    out[KM_CELL_TAU] = g->tau / g->drawn;
    return KM_OK;
}

/* The uniform policies together. False where there are none. */
static bool uniform_group(const km_variance_plan *plan, group *g) {
    bool any = false;
    g->means = plan->policy_count;
    for (int p = 0; p < plan->policy_count; p++) {
        g->members[p] = plan->policies[p]->uniform;
        any = any || g->members[p];
    }
    return any;
}

int km_variance_group(const km_variance_plan *plan, int policy) {
    int at = KM_CELL_VALUES * plan->policy_count;
    for (int p = 0; p <= policy && !plan->policies[policy]->uniform; p++) {
        at += plan->policies[p]->uniform ? 0 : KM_CELL_GROUP;
    }
    return at;
}

static km_status measure_cell(km_variance_worker *worker, int cell, int replicate, km_item_result *out) {
    const km_variance_plan *plan = worker->plan;
    const double draws = (double)plan->row_count * plan->draws;
    double values[KM_POLICIES][KM_CELL_VALUES] = {{0}}, groups[1 + KM_POLICIES][KM_CELL_GROUP] = {{0}};
    int count = 1;
    group uniform = {.cell = cell, .replicate = replicate};
    if (uniform_group(plan, &uniform)) {
        KM_TRY(measure_group(worker, &uniform, values, groups[0]));
    }
    for (int p = 0; p < plan->policy_count; p++) {
        if (!plan->policies[p]->uniform) {
            group own = {.cell = cell, .replicate = replicate, .means = p};
            own.members[p] = true;
            KM_TRY(measure_group(worker, &own, values, groups[count++]));
        }
    }
    for (int p = 0; p < plan->policy_count; p++) {
        for (int v = 0; v < KM_CELL_VALUES; v++) {
            km_item_result_add(out, values[p][v] / draws);
        }
    }
    for (int i = 0; i < count * KM_CELL_GROUP; i++) {
        km_item_result_add(out, groups[i / KM_CELL_GROUP][i % KM_CELL_GROUP]);
    }
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
    KM_TRY(km_variance_worker_gradient(worker, row, &worker->masks, 0, visit, 0, worker->s));
    for (int i = 0; i < plan->distance_count; i++) {
        if (distances[i] == 0) {
            add_pair(worker, worker->s, worker->s, 0, out);
            continue;
        }
        KM_TRY(km_variance_worker_gradient(worker, row, &worker->masks, 1 + i, visit, 1 + (uint32_t)i, worker->g));
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
        status = both_means(worker, 0, plan->policy_count, row, plan->cell_count, replicate);
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
