/* variance: the variance of K-mask gradients, measured (Zheng et al. 2020, Section 3).
 *
 * What is estimated. g_r(m) is the gradient of the *summed* loss (Eq. 1) of row r under mask m, restricted to the D chosen parameters.
 * A mini-batch is S different rows out of a population of N rows, where each set of S rows is equally likely (S = N is one fixed
 * mini-batch). Each row has K masks, which are independent of those of other rows (Eq. 4):
 *
 *     g = 1/(S K)  sum over rows  sum over k  g_r(m_k)
 *
 * Var and Cov are traces, that is, sums over the D parameters. With G_r = E g_r(m), and a bar for means over the N rows:
 *
 *     var_single = 1/S  bar( E |g_r(m) - G_r|^2 )                             one mask a row
 *     cov        = 1/S  bar( E (g_r(m_1) - G_r).(g_r(m_2) - G_r) )            two masks of one draw of the policy
 *     var        = 1/S  bar( E |1/K sum_k g_r(m_k) - G_r|^2 )
 *                = var_single / K + (1 - 1/K) cov                             Theorem 1, Lemma 3
 *     var_masks  = E_S Var_K(g | S) = var                                     Eq. 5, first term
 *     var_rows   = Var_S(E_K[g | S]) = 1/S (1 - S/N) sum_r |G_r - bar G|^2 / (N - 1)      Eq. 5, second term; 0 where S = N
 *     var_total  = var_masks + var_rows                                       Eq. 5
 *     cov(h)     = 1/S  bar( E (g_r(m_1) - G_r).(g_r(m_2) - G_r) | distance h )           Assumption 1, Figures 2, 3
 *
 * The masks of different rows are independent, so the variance of a mini-batch is a sum over its rows: 1/S^2 times S times a mean over
 * rows. Two identities can be checked: cov(0) = var_single, and cov(2 tau) = cov of fully_explored. The mean of cov(h) over the
 * distances of two independent masks, whose law is hypergeometric, is 0. Distances are counted in units. With spans, both masks of a
 * pair are given the same tiling of the row into spans, as fully_explored does; the mean is then not 0.
 *
 * Masks that a network proposes have importance weights, with which their losses are multiplied: g_r(m) is the gradient of the weighted
 * loss. The network is that of the model's file; a fresh model, or a file without one, has a network as it is before its training, which
 * gives all tokens the same score.
 *
 * How it is estimated without bias. a_r and b_r are means of g_r over random masks that are independent of each other and of all masks
 * that are paired. (A policy whose single masks are not uniform has a G_r of its own, and a_r and b_r over draws of its own.) Then E (g_r(m_1) - a_r).(g_r(m_2) - b_r) is exactly the covariance, however noisy a_r and b_r are; with m_1 = m_2 it
 * is the variance. All K^2 products of a draw of K masks are used. With s = sum_k g_r(m_k):
 *
 *     var          (s - K a).(s - K b) / K^2
 *     var_single   sum_k (g_k - a).(g_k - b) / K
 *     cov          (the first product - the second sum) / (K (K - 1))
 *
 * so Theorem 1 holds draw by draw. sum_r |G_r - bar G|^2 is estimated by sum_r a_r.b_r - (sum_r a_r).(sum_r b_r) / N. No gradient is kept
 * after its draw: a thread has five vectors of D floats.
 *
 * Intervals. A *replicate* measures everything once, on all N rows, with means and draws of its own. Replicates are independent and
 * identically distributed, and each is an average over many rows and draws, so their mean is given a 95 % interval by Student's t. For the
 * ratio of two policies, which share a_r and b_r, the interval is that of the delta method over replicates. With `exhaustive` all masks,
 * pairs and disjoint sets are enumerated; there is no error, and both ends of an interval are the value.
 *
 * Who computes. An *item* is one replicate of one cell (a unit and a K), or one replicate of the distances; with `exhaustive` it is one row
 * of one cell. The result of an item depends on config, corpus, weights and the item's number alone, so that neither the number of ranks
 * nor that of threads changes a bit. */
#ifndef KMASK_STUDY_VARIANCE_H
#define KMASK_STUDY_VARIANCE_H

#include "interval.h"
#include "kmask/data.h"
#include "kmask/modelfile.h"
#include "kmask/study.h"

/* ---- The plan: what is measured, the same on all ranks (variance_plan.c) -------------------------------------- */

enum { KM_POLICIES = 12, KM_MOST_UNITS = 64 };

/* A combination of unit and K, for which all policies are measured. */
typedef struct km_variance_cell {
    km_mask_spec spec; /* unit, K, ratio */
    const char *unit;  /* its name */
} km_variance_cell;

typedef struct km_variance_plan {
    const km_config *config;
    const km_variance_config *wanted;
    km_corpus *corpus;
    uint64_t seed;
    km_row **rows;           /* (row_count) the population */
    km_marks *marks;         /* of the rows, for a policy that was learned; else NULL */
    int row_count;           /* N */
    int sequences;           /* S */
    km_variance_cell *cells; /* every unit with every K; distances are measured in the first */
    int cell_count;
    const km_mask_policy *policies[KM_POLICIES]; /* in the order of the table of policies */
    int policy_count;
    const km_mask_policy
        *control;   /* independent masks, each uniform: the means of uniform policies are taken over them */
    int shown;      /* most tokens that a row is shown as */
    int *distances; /* (distance_count); NULL: shares of the farthest, 0 to 1 in equal steps */
    int distance_count;
    int replicates;
    int draws; /* of each row in each replicate */
    bool exhaustive, dropout;
    km_texts models; /* files or "fresh"; count 0: one fresh model */
    km_hash key;     /* of all that decides the numbers, apart from the models' weights */
} km_variance_plan;

/* `folder`: where the index of rows is kept; NULL: nowhere. */
km_status km_variance_plan_make(km_variance_plan *out, const km_variance_input *input,
                                const char *folder) KM_NODISCARD;
void km_variance_plan_free(km_variance_plan *plan);
/* The distance with this index, as a share of the farthest that two masks of the row can be apart. */
double km_variance_share(const km_variance_plan *plan, const km_row *row, int index);
/* How many units of the row a mask hides. The number of spans varies from draw to draw; it is estimated from the row's words. */
int km_variance_tau(const km_variance_cell *cell, const km_row *row);

/* ---- A model that is measured, and its chosen parameters (variance_model.c) ----------------------------------- */

/* Elements offset..offset+count-1 of the table are places place..place+count-1 of a chosen vector. */
typedef struct km_chosen {
    const char *name; /* of the tensor */
    size_t offset, count, place;
} km_chosen;

typedef struct km_variance_model {
    char *name;        /* its path, or "fresh" */
    km_bundle *bundle; /* NULL where the model is fresh */
    km_model *model;   /* the bundle's, or own */
    const float *weights;
    float *own_weights; /* where the model is fresh */
    km_hash hash;       /* of the weights */
    km_hash key; /* of all that the model adds to the numbers: hash, and that of the network which proposes masks */
    int64_t step;
    float **
        scores; /* (plan->row_count) of each row's tokens, by that network, where a live policy is measured; else NULL */
    int score_rows;
    km_chosen *chosen; /* in ascending order of offsets */
    int chosen_count;
    size_t size;          /* D: elements of a chosen vector */
    uint32_t projections; /* 0, or D: then a chosen vector is D sparse random projections of these */
    uint64_t seed;
} km_variance_model;

/* plan->models[index]; without a list, what a run of the config would start from. */
km_status km_variance_model_open(km_variance_model **out, const km_variance_plan *plan, int index) KM_NODISCARD;
/* The scores of a row of the plan; NULL where no policy needs any. */
const float *km_variance_model_scores(const km_variance_model *measured, const km_variance_plan *plan,
                                      const km_row *row);
void km_variance_model_close(km_variance_model *measured); /* NULL is fine */
/* The parts of a chosen vector for which results are also given one by one: each tensor, or all projections together. */
int km_variance_model_parts(const km_variance_model *measured);
void km_variance_model_part(const km_variance_model *measured, int part, const char **name, size_t *first,
                            size_t *count);

/* ---- What one thread measures with (variance_worker.c) -------------------------------------------------------- */

typedef struct km_variance_worker {
    const km_variance_plan *plan;
    const km_variance_model *measured;
    km_work *work;
    km_view_maker *maker;
    km_masker **maskers;         /* (cell_count, policy_count + 1) those of the policies, then of the control */
    km_masks *drawn;             /* (cell_count, policy_count + 1) what each of them drew last */
    km_masks masks;              /* those that no masker draws */
    float *g, *s, *a, *b;        /* (D) see above */
    float *sum_a, *sum_b;        /* (D) where mini-batches are drawn (S < N), else NULL */
    void (*tick)(void *payload); /* called after each gradient; may be NULL */
    bool (*stop)(
        void *payload); /* called before each gradient, which is KM_STOPPED when it returns true; may be NULL */
    void *payload;
} km_variance_worker;
km_status km_variance_worker_create(km_variance_worker **out, const km_variance_plan *plan,
                                    const km_variance_model *measured) KM_NODISCARD;
void km_variance_worker_destroy(km_variance_worker *worker); /* NULL is fine */
/* out (D) = g_r(mask k). `visit` and `index` name the view, on which replacement and dropout depend. KM_FAILED where the loss is not
 * finite. */
km_status km_variance_worker_gradient(km_variance_worker *worker, const km_row *row, const km_masks *masks, int k,
                                      uint64_t visit, uint32_t index, float *out) KM_NODISCARD;
/* The sum over i of (x - k a)_i (y - k b)_i, in double. */
double km_centered_dot(const float *x, const float *y, const float *a, const float *b, float k, size_t count);

/* ---- Items (variance_item.c, variance_exact.c) ---------------------------------------------------------------- */

/* The result of an item: numbers whose meaning depends on what the item is. */
typedef struct km_item_result {
    double *values; /* NULL: not there yet */
    size_t count, room;
} km_item_result;
void km_item_result_add(km_item_result *result, double value);

/* One replicate of a cell: for each policy these values, all but 1/S times; then KM_CELL_GROUP values of the uniform policies together,
 * and so many of each other policy. */
enum { KM_CELL_VAR, KM_CELL_SINGLE, KM_CELL_COV, KM_CELL_VALUES };
enum { KM_CELL_SPREAD, KM_CELL_UNITS, KM_CELL_TAU, KM_CELL_GROUP }; /* SPREAD: sum_r |G_r - bar G|^2 / (N - 1) */
/* Where the values of a policy's group begin. */
int km_variance_group(const km_variance_plan *plan, int policy);
/* One replicate of the distances: for each row, draw and distance the distance, the product over all chosen parameters, and the product
 * over each part, all but 1/S times. */
/* One row of a cell with `exhaustive`: KM_EXACT_HEAD values; for each policy KM_EXACT_POLICY values; G_r (D); and in the first cell,
 * for each unordered pair of masks, what a replicate of the distances has for a distance. */
enum {
    KM_EXACT_UNITS,
    KM_EXACT_TAU,
    KM_EXACT_MASKS,
    KM_EXACT_NORM,
    KM_EXACT_SINGLE,
    KM_EXACT_HEAD
}; /* NORM: |G_r|^2 */
enum {
    KM_EXACT_VAR,
    KM_EXACT_COV,
    KM_EXACT_SETS,
    KM_EXACT_GAP,
    KM_EXACT_POLICY
}; /* GAP: |mean over the sets - G_r| */

int km_variance_items(const km_variance_plan *plan); /* of one model */
/* How many gradients an item computes. */
double km_variance_work(const km_variance_plan *plan, int item);
km_status km_variance_item(km_variance_worker *worker, int item, km_item_result *out) KM_NODISCARD;
/* The exhaustive item of one row of a cell. pairs: with the values of all pairs of masks. */
km_status km_variance_exact(km_variance_worker *worker, const km_variance_cell *cell, const km_row *row, bool pairs,
                            km_item_result *out) KM_NODISCARD;
/* KM_USAGE, with the numbers, where there are too many masks to enumerate. size, parts: of a chosen vector. */
km_status km_exact_check(const km_variance_plan *plan, size_t size, int parts) KM_NODISCARD;
double km_binomial(int n, int k); /* n choose k */

/* ---- Finished items in a folder, so that a measurement that was killed goes on (variance_store.c) ------------- */

typedef struct km_item_store km_item_store;
/* Each rank has a file of its own. `folder` NULL: nothing is kept. */
km_status km_item_store_open(km_item_store **out, const char *folder, int rank, km_hash key) KM_NODISCARD;
/* Appends one result. A failure is a warning, which is given once. Any thread. */
void km_item_store_add(km_item_store *store, km_hash model, int item, const km_item_result *result);
void km_item_store_close(km_item_store *store);
/* On rank 0, before any rank opens its file: removes the files of other measurements. */
km_status km_item_store_clean(const char *folder, km_hash key) KM_NODISCARD;
/* On rank 0: reads what all files hold for `model` into results[items]. Records that were cut short are left out. */
km_status km_item_store_load(const char *folder, km_hash key, km_hash model, km_item_result *results,
                             int items) KM_NODISCARD;

/* ---- From items to estimates, on rank 0 (variance_result.c) --------------------------------------------------- */

/* The estimates for one policy in one cell. */
typedef struct km_estimate {
    int cell, policy;
    double units, tau; /* means over rows */
    km_interval var, single, cov, rows, total;
    double sets, mean_gap, mean_norm; /* with `exhaustive`: sets of masks, the largest gap, |bar G| */
} km_estimate;
typedef struct km_ratio {
    int cell, policy;
    km_interval ratio; /* var of the policy / var of the control */
} km_ratio;
typedef struct km_curve_point {
    double h; /* the distance; where it differs between rows, their mean */
    km_interval cov;
    size_t pairs;
    double *values; /* (pairs, 1 + parts) the products over all chosen parameters and over each part */
} km_curve_point;
/* All about one model. */
typedef struct km_findings {
    char *name;
    km_hash hash;
    int64_t step;
    char **part_names; /* (parts) */
    int parts;
    size_t size; /* D */
    km_estimate *estimates;
    int estimate_count;
    km_ratio *ratios;
    int ratio_count;
    km_curve_point *curve;
    int curve_count;
    bool has_weighted;
    km_interval weighted; /* the mean of cov(h) by the law of two independent masks, which should be 0 */
    double *mean;         /* (D) with `exhaustive`: bar G, of the first cell; else NULL */
} km_findings;
void km_findings_make(km_findings *out, const km_variance_plan *plan, const km_variance_model *measured,
                      const km_item_result *results);
void km_findings_free(km_findings *findings);

/* ---- Output, on rank 0 (variance_write.c) ---------------------------------------------------------------------- */

km_json *km_variance_json(const km_variance_plan *plan, const km_findings *findings, int count, bool histograms);
/* Writes variance.json and variance.h5 to the folder. */
km_status km_variance_write(const km_variance_plan *plan, const km_findings *findings, int count,
                            const char *folder) KM_NODISCARD;

#endif
