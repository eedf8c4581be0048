/* variance_exact: the exhaustive items, over every mask of a row, every pair and every set of K masks. The gradients of all masks are kept;
 * their products, in double, form a matrix, and everything else is sums over that matrix. */
#include "variance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double MOST_MASKS = 4096, MOST_SETS = 2e7, MOST_VALUES = 1 << 26;

double km_binomial(int n, int k) {
    double ways = 1;
    for (int i = 1; i <= k; i++) {
        ways = ways * (n - k + i) / i;
    }
    return floor(ways + 0.5);
}

/* How many unordered sets of K disjoint masks there are. */
static double disjoint_sets(int n, int tau, int K) {
    double ways = 1;
    for (int k = 0; k < K; k++) {
        ways *= km_binomial(n - k * tau, tau) / (k + 1);
    }
    return floor(ways + 0.5);
}

/* ---- Whether there are too many ---------------------------------------------------------------------------------- */

static km_status check_row(const km_variance_plan *plan, const km_variance_cell *cell, const km_row *row,
                           size_t size, int parts) {
    int n = km_row_units(row, cell->spec.unit), tau = km_variance_tau(cell, row), K = cell->spec.splits;
    double masks = km_binomial(n, tau), sets = disjoint_sets(n, tau, K);
    unsigned long long number = (unsigned long long)row->number;
    if (n > KM_MOST_UNITS || masks > MOST_MASKS) {
        return km_fail(
            KM_USAGE,
            "variance.exhaustive: row %llu has %d maskable units, of which tau = %d are masked: %.4g masks, "
            "at most %g of at most %d units can be enumerated. Lower data.length or mask.ratio, or leave "
            "it out.",
            number, n, tau, masks, MOST_MASKS, KM_MOST_UNITS);
    }
    if (plan->policies[0]->disjoint && sets > MOST_SETS) {
        return km_fail(
            KM_USAGE,
            "variance.exhaustive: row %llu has %.4g sets of K = %d disjoint masks of tau = %d out of %d units, "
            "at most %g can be enumerated. Lower variance.splits or data.length.",
            number, sets, K, tau, n, MOST_SETS);
    }
    double values = masks * ((double)size + 1.5 * masks * (2.0 + parts));
    if (values > MOST_VALUES) {
        return km_fail(
            KM_USAGE,
            "variance.exhaustive: %.4g masks of row %llu with %zu chosen parameters are %.3g numbers, at most "
            "%.3g are kept. Choose fewer variance.params, or lower data.length.",
            masks, number, size, values, MOST_VALUES);
    }
    return KM_OK;
}

km_status km_exact_check(const km_variance_plan *plan, size_t size, int parts) {
    for (int c = 0; c < plan->cell_count; c++) {
        if (plan->cells[c].spec.unit == KM_UNIT_SPAN) {
            return km_fail(KM_USAGE,
                           "variance.exhaustive: spans are tiled at random and cannot be enumerated. Take "
                           "variance.units subword or word.");
        }
        for (int i = 0; i < plan->row_count; i++) {
            KM_TRY(check_row(plan, &plan->cells[c], plan->rows[i], size, parts));
        }
    }
    return KM_OK;
}

/* ---- All masks ------------------------------------------------------------------------------------------------ */

typedef struct exact {
    int n, tau, masks, parts;
    size_t size;
    uint64_t *sets;   /* (masks) the units that each mask hides, as bits */
    float *gradients; /* (masks, size) */
    double *mean;     /* (size) G_r */
    double **grams; /* (1 + parts) matrices (masks, masks) of products of gradients less G_r; [0]: over all parts */
} exact;

/* Lists every set of tau out of n units, in ascending order of bits (Gosper's way to the next number with as many bits). */
static void list_masks(exact *e) {
    uint64_t set = e->tau == 64 ? UINT64_MAX : (UINT64_C(1) << e->tau) - 1;
    for (int i = 0; i < e->masks; i++) {
        e->sets[i] = set;
        uint64_t lowest = set & (~set + 1), next = set + lowest;
        set = lowest == 0 || next == 0 ? 0 : next | ((set ^ next) / lowest >> 2);
    }
}

static km_status fill_gradients(exact *e, km_variance_worker *worker, const km_variance_cell *cell,
                                const km_row *row) {
    int units[KM_MOST_UNITS];
    for (int i = 0; i < e->masks; i++) {
        int count = 0;
        for (int u = 0; u < e->n; u++) {
            if ((e->sets[i] >> u & 1) != 0) {
                units[count++] = u;
            }
        }
        km_row_hide(row, cell->spec.unit, units, count, worker->masks.masks);
        float *g = e->gradients + (size_t)i * e->size;
        KM_TRY(km_variance_worker_gradient(worker, row, &worker->masks, 0, (uint64_t)i, 0, g));
        for (size_t d = 0; d < e->size; d++) {
            e->mean[d] += (double)g[d];
        }
    }
    for (size_t d = 0; d < e->size; d++) {
        e->mean[d] /= e->masks;
    }
    return KM_OK;
}

static double product(const exact *e, int i, int j, size_t first, size_t count) {
    const float *x = e->gradients + (size_t)i * e->size, *y = e->gradients + (size_t)j * e->size;
    double sum = 0;
    for (size_t d = first; d < first + count; d++) {
        sum += ((double)x[d] - e->mean[d]) * ((double)y[d] - e->mean[d]);
    }
    return sum;
}

static void fill_grams(exact *e, const km_variance_model *measured) {
    size_t M = (size_t)e->masks;
    for (int part = 0; part < e->parts; part++) {
        const char *name = NULL;
        size_t first = 0, count = 0;
        km_variance_model_part(measured, part, &name, &first, &count);
        for (size_t i = 0; i < M; i++) {
            for (size_t j = i; j < M; j++) {
                double value = product(e, (int)i, (int)j, first, count);
                e->grams[1 + part][i * M + j] = value;
                e->grams[0][i * M + j] += value;
                e->grams[0][j * M + i] = e->grams[0][i * M + j];
            }
        }
    }
}

/* ---- Sets of K masks ------------------------------------------------------------------------------------------- */

typedef struct walk {
    const exact *e;
    int K;
    bool disjoint;       /* unordered disjoint sets; else ordered, independent */
    int chosen[1024];    /* mask.splits is at most that */
    double total, sets;  /* of |sum_k (g_k - G)|^2; how many sets */
    double *appearances; /* (masks) */
} walk;

/* Visits every set that the first `depth` chosen masks begin. value: |sum of the chosen gradients less G_r|^2. */
static void visit_sets(walk *w, int depth, int first, uint64_t used, double value) {
    const exact *e = w->e;
    size_t M = (size_t)e->masks;
    if (depth == w->K) {
        w->total += value;
        w->sets++;
        for (int k = 0; k < w->K; k++) {
            w->appearances[w->chosen[k]]++;
        }
        return;
    }
    for (int j = w->disjoint ? first : 0; j < e->masks; j++) {
        if (w->disjoint && (e->sets[j] & used) != 0) {
            continue;
        }
        double more = e->grams[0][(size_t)j * M + (size_t)j];
        for (int k = 0; k < depth; k++) {
            more += 2 * e->grams[0][(size_t)j * M + (size_t)w->chosen[k]];
        }
        w->chosen[depth] = j;
        visit_sets(w, depth + 1, j + 1, used | e->sets[j], value + more);
    }
}

/* |mean over the masks of all sets - mean over all masks|, which is 0 by Lemma 2. */
static double gap(const walk *w) {
    size_t M = (size_t)w->e->masks;
    double sum = 0;
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < M; j++) {
            double u = w->appearances[i] / (w->sets * w->K) - 1.0 / (double)M;
            double v = w->appearances[j] / (w->sets * w->K) - 1.0 / (double)M;
            sum += u * v * w->e->grams[0][i * M + j];
        }
    }
    return sqrt(fmax(sum, 0));
}

/* Adds the KM_EXACT_POLICY values of a policy. */
static void add_policy(const exact *e, const km_variance_cell *cell, bool disjoint, double single,
                       km_item_result *out) {
    int K = cell->spec.splits;
    walk *w = km_new(1, sizeof *w);
    w->e = e;
    w->K = K;
    w->disjoint = disjoint;
    w->appearances = km_new((size_t)e->masks, sizeof(double));
    double cov = 0, pairs = 0, var = 0, away = 0;
    size_t M = (size_t)e->masks;
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < M; j++) {
            if (!disjoint || (e->sets[i] & e->sets[j]) == 0) {
                cov += e->grams[0][i * M + j];
                pairs++;
            }
        }
    }
    cov = K > 1 ? cov / pairs : 0;
    if (disjoint || pow((double)M, K) <= MOST_SETS) {
        visit_sets(w, 0, 0, 0, 0);
        var = w->total / w->sets / ((double)K * K);
        away = gap(w);
    } else { /* too many ordered sets to list; the masks are independent, so Theorem 1 gives the variance */
        var = single / K + (1 - 1.0 / K) * cov;
    }
    km_item_result_add(out, var);
    km_item_result_add(out, cov);
    km_item_result_add(out, w->sets);
    km_item_result_add(out, away);
    free(w->appearances);
    free(w);
}

/* ---- An item ------------------------------------------------------------------------------------------------------ */

static km_status make(exact *e, const km_variance_worker *worker, const km_variance_cell *cell, const km_row *row) {
    e->n = km_row_units(row, cell->spec.unit);
    e->tau = km_variance_tau(cell, row);
    e->masks = (int)km_binomial(e->n, e->tau);
    e->parts = km_variance_model_parts(worker->measured);
    e->size = worker->measured->size;
    size_t M = (size_t)e->masks;
    e->sets = km_new(M, sizeof *e->sets);
    e->mean = km_new(e->size, sizeof *e->mean);
    e->grams = km_new(1 + (size_t)e->parts, sizeof(double *));
    KM_TRY(km_allocate((void **)&e->gradients, M * e->size * sizeof(float), "the gradients of all masks"));
    for (int i = 0; i <= e->parts; i++) {
        KM_TRY(km_allocate((void **)&e->grams[i], M * M * sizeof(double), "the products of all pairs of masks"));
    }
    return KM_OK;
}

static void destroy(exact *e) {
    for (int i = 0; e->grams != NULL && i <= e->parts; i++) {
        free(e->grams[i]);
    }
    free(e->grams);
    free(e->gradients);
    free(e->sets);
    free(e->mean);
}

static void add_pairs(const exact *e, km_item_result *out) {
    size_t M = (size_t)e->masks;
    for (size_t i = 0; i < M; i++) {
        for (size_t j = i; j < M; j++) {
            km_item_result_add(out, __builtin_popcountll(e->sets[i] ^ e->sets[j]));
            for (int part = 0; part <= e->parts; part++) {
                km_item_result_add(out, e->grams[part][i * M + j]);
            }
        }
    }
}

static void summarize(const exact *e, const km_variance_plan *plan, const km_variance_cell *cell,
                      km_item_result *out) {
    size_t M = (size_t)e->masks;
    double single = 0, norm = 0;
    for (size_t i = 0; i < M; i++) {
        single += e->grams[0][i * M + i] / (double)M;
    }
    for (size_t d = 0; d < e->size; d++) {
        norm += e->mean[d] * e->mean[d];
    }
    const double head[KM_EXACT_HEAD] = {e->n, e->tau, e->masks, norm, single};
    for (size_t i = 0; i < KM_COUNT(head); i++) {
        km_item_result_add(out, head[i]);
    }
    for (int p = 0; p < plan->policy_count; p++) {
        add_policy(e, cell, plan->policies[p]->disjoint, single, out);
    }
    for (size_t d = 0; d < e->size; d++) {
        km_item_result_add(out, e->mean[d]);
    }
}

km_status km_variance_exact(km_variance_worker *worker, const km_variance_cell *cell, const km_row *row, bool pairs,
                            km_item_result *out) {
    exact e = {0};
    km_status status = make(&e, worker, cell, row);
    if (status == KM_OK) {
        list_masks(&e);
        status = fill_gradients(&e, worker, cell, row);
    }
    if (status == KM_OK) {
        fill_grams(&e, worker->measured);
        summarize(&e, worker->plan, cell, out);
        if (pairs) {
            add_pairs(&e, out);
        }
    }
    destroy(&e);
    return status;
}
