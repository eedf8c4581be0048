/* variance: the variance of K-mask gradients, measured (Zheng et al. 2020, Section 3).
 *
 * What is estimated. g_r(m) is the gradient of the *summed* loss (Eq. 1) of row r under mask m, over the D chosen parameters.
 * A mini-batch is S different rows out of a population of N, each set of S equally likely (S = N: one fixed mini-batch); each
 * row has K masks, independent of the other rows' (Eq. 4):
 *
 *     g = 1/(S K)  sum over rows  sum over k  g_r(m_k)
 *
 * Var and Cov are traces: sums over the D parameters. With G_r = E g_r(m), and a bar for means over the N rows:
 *
 *     var_single = 1/S  bar( E |g_r(m) - G_r|^2 )                             one mask a row
 *     cov        = 1/S  bar( E (g_r(m_1) - G_r).(g_r(m_2) - G_r) )            two masks of one draw of the policy
 *     var        = 1/S  bar( E |1/K sum_k g_r(m_k) - G_r|^2 )
 *                = var_single / K + (1 - 1/K) cov                             Theorem 1, Lemma 3
 *     var_masks  = E_S Var_K(g | S) = var                                     Eq. 5, first term
 *     var_rows   = Var_S(E_K[g | S]) = 1/S (1 - S/N) sum_r |G_r - bar G|^2 / (N - 1)      second; 0 where S = N
 *     var_total  = var_masks + var_rows                                       Eq. 5
 *     cov(h)     = 1/S  bar( E (g_r(m_1) - G_r).(g_r(m_2) - G_r) | distance h )           Assumption 1, Figures 2, 3
 *
 * (Rows are independent given their masks, so variances of a mini-batch are sums over its rows: 1/S^2 times S times a mean.)
 * cov(0) = var_single; cov(2 tau) = cov of fully_explored; weighted by the hypergeometric law of H for two independent masks
 * cov(h) is 0. Distances are counted in units. For spans all of it is given one tiling for both masks of a pair, as in
 * fully_explored, and the last property does not hold.
 *
 * How, without bias. a_r and b_r are means of g_r over independent random masks that are in no pair and not in each other.
 * E (g_r(m_1) - a_r).(g_r(m_2) - b_r) is then exactly the covariance, whatever the noise of a_r and b_r, and with both
 * gradients the same the variance. Of one draw of K masks all K^2 products are used: with s = sum_k g_r(m_k)
 *
 *     var: (s - K a).(s - K b) / K^2      var_single: sum_k (g_k - a).(g_k - b) / K      cov: what is left, / (K (K - 1))
 *
 * so Theorem 1 holds draw by draw. sum_r |G_r - bar G|^2 is estimated by sum_r a_r.b_r - (sum_r a_r).(sum_r b_r) / N.
 * Nothing of a draw is kept: five vectors of D floats a thread.
 *
 * Intervals. A *replicate* measures everything once, on all N rows, with means and draws of its own. Replicates are independent
 * and alike, and each is an average over rows and draws, so the mean of R of them has Student's t with R - 1 degrees of freedom: 95 %
 * intervals. For a ratio of two policies, which share a_r and b_r, the delta method over replicates. With `exhaustive` all masks,
 * pairs and disjoint sets are enumerated, and low = high = the value.
 *
 * Who computes. An *item* is one replicate of one (unit, K), or one replicate of the distances; exhaustive: one row of one
 * (unit, K). Its result is a function of config, corpus, weights and its number alone: neither ranks nor threads change a bit. */
#ifndef KMASK_STUDY_VARIANCE_H
#define KMASK_STUDY_VARIANCE_H

#include "kmask/data.h"
#include "kmask/modelfile.h"
#include "kmask/study.h"

/* ---- The plan: what is measured; the same on all ranks -------------------------------------------------------- */

enum { KM_POLICIES = 12, KM_MOST_UNITS = 64 };

typedef struct km_cell {
    km_mask_spec spec; /* unit, K, ratio */
    const char *unit;
} km_cell;

typedef struct km_variance_plan {
    const km_config *config;
    const km_variance_config *wanted;
    km_corpus *corpus;
    uint64_t seed;
    km_row **rows; /* (row_count): N */
    int row_count, sequences;
    km_cell *cells; /* every unit with every K; distances are of the first */
    int cell_count;
    const km_mask_policy *policies[KM_POLICIES]; /* in the order of the table of policies */
    int policy_count;
    const km_mask_policy *control; /* independent masks, each uniform: what means are taken over */
    int *distances;                /* NULL: shares of the farthest, 0..1 in equal steps */
    int distance_count;
    int replicates, draws; /* draws: of each row in each replicate */
    bool exhaustive, dropout;
    km_texts models; /* files or "fresh"; count 0: one fresh */
    km_hash key;     /* of all that decides the numbers, but the models' weights */
} km_variance_plan;

/* `folder`: where the rows' index is kept; NULL: nowhere. */
km_status km_variance_plan_make(km_variance_plan *out, const km_variance_input *input, const char *folder) KM_NODISCARD;
void km_variance_plan_free(km_variance_plan *plan);
/* The share of the farthest distance that distance `index` is in a row. */
double km_variance_share(const km_variance_plan *plan, const km_row *row, int index);
int km_variance_items(const km_variance_plan *plan);
/* tau of a row; units of spans vary: from its words. */
int km_cell_tau(const km_cell *cell, const km_row *row);

/* ---- A model and its chosen parameters ------------------------------------------------------------------------ */

/* Elements offset..offset+count-1 of the table are places place..place+count-1 of a chosen vector. */
typedef struct km_segment {
    const char *name; /* the tensor's, or "projections:N" */
    size_t offset, count, place;
} km_segment;

typedef struct km_subject {
    char *name; /* its path, or "fresh": the config's, or its model.init where given */
    km_bundle *bundle;
    km_model *model; /* the bundle's, or own */
    const float *weights;
    float *own_weights;
    km_hash hash;
    int64_t step;
    km_segment *chosen; /* ascending */
    int chosen_count;
    size_t size;          /* D: of a chosen vector */
    uint32_t projections; /* 0: none; else D of them, sparse and random, of the chosen */
    uint64_t seed;
} km_subject;

km_status km_subject_open(km_subject **out, const km_variance_plan *plan, int index) KM_NODISCARD;
void km_subject_close(km_subject *subject); /* NULL is fine */
/* Parts of a chosen vector that are looked at one by one: the tensors, or the projections together. */
int km_subject_parts(const km_subject *subject);
void km_subject_part(const km_subject *subject, int part, const char **name, size_t *first, size_t *count);

/* ---- One thread's instrument ------------------------------------------------------------------------------------ */

typedef struct km_meter {
    const km_variance_plan *plan;
    const km_subject *subject;
    km_work *work;
    km_view_maker *maker;
    km_masker *
        *maskers; /* (cell_count, policy_count + 1): of each cell those of the policies, then the control's */
    km_masks masks;
    float *g, *s, *a, *b, *sum_a,
        *sum_b;                  /* (D) each; sum_a, sum_b where mini-batches are drawn (S < N), else NULL */
    void (*tick)(void *payload); /* after each gradient; may be NULL */
    void *payload;
    bool (*stop)(void *payload); /* asked before each gradient: KM_STOPPED */
} km_meter;
km_status km_meter_create(km_meter **out, const km_variance_plan *plan, const km_subject *subject) KM_NODISCARD;
void km_meter_destroy(km_meter *meter);
/* out (D) = g_r(mask); visit and index name the view. KM_FAILED where it is not finite. */
km_status km_meter_gradient(km_meter *meter, const km_row *row, const uint8_t *mask, uint64_t visit, uint32_t index,
                            float *out) KM_NODISCARD;
/* sum over i of (x - k a)_i (y - k b)_i, in double. */
double km_centered_dot(const float *x, const float *y, const float *a, const float *b, float k, size_t count);

/* ---- Items -------------------------------------------------------------------------------------------------------- */

/* A result: doubles whose meaning the item's kind decides. */
typedef struct km_result {
    double *values; /* NULL: not there yet */
    size_t count, room;
} km_result;
void km_result_add(km_result *result, double value);

/* One replicate of a cell: for each policy var, var_single, cov (before 1/S); then sum_r |G_r - bar G|^2 / (N-1), and the means of
 * units and tau. */
enum { KM_CELL_VALUES = 3 };
/* One replicate of the distances: for each row, draw and distance the distance, and (before 1/S) the product over all
 * chosen parameters and over each part. */
/* One row of a cell, exhaustive: units, tau, masks, |G_r|^2, var_single; for each policy var, cov, sets enumerated, |mean over sets
 * - G_r|; then G_r (D); then, in the first cell, for each unordered pair of masks what a distance has. */
enum { KM_EXACT_HEAD = 5, KM_EXACT_POLICY = 4 };

km_status km_variance_item(km_meter *meter, int item, km_result *out) KM_NODISCARD;
km_status km_variance_exact(km_meter *meter, const km_cell *cell, const km_row *row, bool pairs,
                            km_result *out) KM_NODISCARD;
/* KM_USAGE with the numbers where they are too many to enumerate. parts: of the subject. */
km_status km_exact_check(const km_variance_plan *plan, size_t size, int parts) KM_NODISCARD;
double km_choose(int n, int k);
/* Gradients that all items of one model need together, for progress. */
double km_variance_work(const km_variance_plan *plan, int item);

/* ---- Finished items in a folder: a killed measurement goes on ------------------------------------------------------ */

typedef struct km_item_store km_item_store;
/* Local to each rank; its file is its own. `folder` NULL: nothing is kept. */
km_status km_item_store_open(km_item_store **out, const char *folder, int rank, km_hash key) KM_NODISCARD;
/* Appends one result; any thread. A disk that is full is a warning, once. */
void km_item_store_add(km_item_store *store, km_hash model, int item, const km_result *result);
void km_item_store_close(km_item_store *store);
/* Rank 0, before others open: removes files of other measurements and reads what is there for `model` into
 * results[items]; damaged tails are passed over. */
km_status km_item_store_clean(const char *folder, km_hash key) KM_NODISCARD;
km_status km_item_store_load(const char *folder, km_hash key, km_hash model, km_result *results,
                             int items) KM_NODISCARD;

/* ---- From items to numbers (rank 0) --------------------------------------------------------------------------------- */

typedef struct km_interval {
    double mean, low, high;
} km_interval;
typedef struct km_estimate {
    int cell, policy;
    double units, tau; /* means over rows */
    km_interval var, single, cov, rows, total;
    double sets, mean_gap, mean_norm; /* exhaustive */
} km_estimate;
typedef struct km_ratio {
    int cell;
    km_interval ratio; /* Var of the policy of disjoint masks / Var of the control */
} km_ratio;
typedef struct km_curve_point {
    double h;
    km_interval cov;
    size_t pairs;
    double *values; /* (pairs, 1 + parts): all chosen parameters, then each part */
} km_curve_point;
typedef struct km_findings {
    char *name;
    km_hash hash;
    int64_t step;
    char **part_names;
    int parts;
    size_t size;
    km_estimate *estimates;
    int estimate_count;
    km_ratio *ratios;
    int ratio_count;
    km_curve_point *curve;
    int curve_count;
    bool has_weighted;
    km_interval weighted; /* by the law of H for independent masks: 0 is expected */
    double *mean;         /* (D) exhaustive: the mean gradient over all rows and masks; else NULL */
} km_findings;
void km_findings_make(km_findings *out, const km_variance_plan *plan, const km_subject *subject,
                      const km_result *results);
void km_findings_free(km_findings *findings);
/* The mean of n values with Student's 95 % interval. */
km_interval km_interval_of(const double *values, int n);
double km_student(int degrees); /* the 97.5 % quantile */

/* ---- Output (rank 0) --------------------------------------------------------------------------------------------------- */

km_json *km_variance_json(const km_variance_plan *plan, const km_findings *findings, int count, bool histograms);
/* variance.json and variance.h5 in the folder. */
km_status km_variance_write(const km_variance_plan *plan, const km_findings *findings, int count,
                            const char *folder) KM_NODISCARD;

#endif
