/* variance_plan: what `kmask variance` measures. The rows, cells, policies and distances are derived from the config. */
#include "kmask/kernel.h"
#include "kmask/run.h"
#include "variance.h"

#include <stdlib.h>
#include <string.h>

enum { DRAWS = 64, REPLICATES = 16, SEQUENCES = 16, DISTANCES = 9 };

int km_variance_tau(const km_variance_cell *cell, const km_row *row) {
    return km_mask_tau(&cell->spec, km_row_units(row, cell->spec.unit));
}

/* ---- Cells -------------------------------------------------------------------------------------------------- */

static km_status make_cells(km_variance_plan *plan) {
    const km_config *config = plan->config;
    const km_texts *units = &plan->wanted->units;
    const km_numbers *splits = &plan->wanted->splits;
    km_masking masking;
    KM_TRY(km_masking_of(&masking, &config->mask, -1));
    int unit_count = KM_MAX(1, units->count), split_count = KM_MAX(1, splits->count);
    plan->cells = km_new((size_t)unit_count * (size_t)split_count, sizeof *plan->cells);
    for (int u = 0; u < unit_count; u++) {
        for (int s = 0; s < split_count; s++) {
            km_variance_cell *cell = &plan->cells[plan->cell_count++];
            cell->unit = units->count > 0 ? km_texts_at(units, u) : config->mask.unit;
            cell->spec = masking.spec;
            cell->spec.splits = (int)(splits->count > 0 ? splits->list[s] : config->mask.splits);
            if (!km_unit_named(&cell->spec.unit, cell->unit)) {
                return km_fail(KM_USAGE, "variance.units: unknown name %s", cell->unit);
            }
        }
    }
    return KM_OK;
}

/* Whether a policy is measured. Without a list these are the policies whose masks, each by itself, are uniformly distributed:
 * Theorem 1 compares such policies. */
static bool is_wanted(const km_mask_policy *policy, const km_texts *given) {
    bool wanted = given->count == 0 && policy->uniform;
    for (int i = 0; i < given->count; i++) {
        wanted = wanted || strcmp(km_texts_at(given, i), policy->name) == 0;
    }
    return wanted;
}

static void make_policies(km_variance_plan *plan) {
    const km_texts *given = &plan->wanted->policies;
    const km_mask_policy *policy = NULL;
    for (int i = 0; (policy = km_mask_policy_at(i)) != NULL; i++) {
        if (policy->uniform && !policy->disjoint) {
            plan->control = policy;
        }
        if (is_wanted(policy, given)) {
            plan->policies[plan->policy_count++] = policy;
        }
    }
}

static km_status check_policy(const km_variance_plan *plan, const km_mask_policy *policy) {
    if (plan->exhaustive && !policy->uniform) {
        return km_fail(KM_USAGE,
                       "variance.exhaustive: the masks of policy %s are not all equally likely and cannot be "
                       "enumerated. Leave it out of variance.policies.",
                       policy->name);
    }
    if (policy->needs_model) {
        km_mask_config mask = plan->config->mask;
        snprintf(mask.policy, sizeof mask.policy, "%s", policy->name);
        KM_TRY(km_mask_config_check(&mask));
    }
    for (int c = 0; c < plan->cell_count; c++) {
        km_status status = km_mask_policy_check(policy, &plan->cells[c].spec);
        if (status != KM_OK) {
            return km_context(status, "variance.policies, variance.splits");
        }
    }
    return KM_OK;
}

static km_status check_policies(km_variance_plan *plan) {
    const int length = (int)plan->config->data.length;
    plan->shown = length;
    for (int p = 0; p < plan->policy_count; p++) {
        const km_mask_policy *policy = plan->policies[p];
        KM_TRY(check_policy(plan, policy));
        if (policy->longest_shown != NULL) {
            plan->shown = KM_MAX(plan->shown, policy->longest_shown(&plan->cells[0].spec, length));
        }
    }
    return KM_OK;
}

static bool needs_spans(const km_variance_plan *plan) {
    bool any = false;
    for (int p = 0; p < plan->policy_count; p++) {
        any = any || plan->policies[p]->needs_spans;
    }
    return any;
}

static bool needs_sentences(const km_variance_plan *plan) {
    bool any = false;
    for (int p = 0; p < plan->policy_count; p++) {
        any = any || plan->policies[p]->needs_sentences;
    }
    return any;
}

/* ---- Rows --------------------------------------------------------------------------------------------------- */

/* *out: the numbers of the rows, which are those given, or those of the first step of a run. */
static km_status choose_rows(km_variance_plan *plan, const km_rows *rows, uint64_t **out) {
    const km_numbers *given = &plan->wanted->rows;
    uint64_t total = km_rows_count(rows);
    int64_t sequences = plan->config->train.sequences;
    plan->row_count = given->count > 0 ? given->count : (int)(sequences > 0 ? sequences : SEQUENCES);
    if (given->count == 0 && (uint64_t)plan->row_count > total) {
        plan->row_count = (int)total;
    }
    *out = km_new((size_t)plan->row_count, sizeof **out);
    for (int i = 0; i < plan->row_count; i++) {
        (*out)[i] = given->count > 0 ? (uint64_t)given->list[i] : km_order((uint64_t)i, total, plan->seed, 0);
        if ((*out)[i] >= total) {
            return km_fail(KM_USAGE, "variance.rows: row %llu does not exist in %s; there are %llu rows, from 0",
                           (unsigned long long)(*out)[i], km_corpus_path(plan->corpus), (unsigned long long)total);
        }
        for (int j = 0; j < i; j++) {
            if ((*out)[j] == (*out)[i]) {
                return km_fail(KM_USAGE, "variance.rows: row %llu is named twice", (unsigned long long)(*out)[i]);
            }
        }
    }
    plan->sequences = sequences > 0 ? (int)KM_MIN(sequences, INT32_MAX) : plan->row_count;
    if (plan->sequences > plan->row_count) {
        return km_fail(KM_USAGE,
                       "train.sequences: mini-batches of %d different rows cannot be drawn from %d rows. Name more "
                       "variance.rows, or set train.sequences to %d for one fixed mini-batch.",
                       plan->sequences, plan->row_count, plan->row_count);
    }
    return KM_OK;
}

static km_status check_units(const km_row *row, km_unit unit, int splits) {
    const int units = km_row_units(row, unit);
    if (units >= splits) {
        return KM_OK;
    }
    return km_fail(KM_USAGE,
                   "variance.rows: row %llu has %d maskable %s, too few for K = %d. Lower variance.splits, or "
                   "take another row.",
                   (unsigned long long)row->number, units, km_unit_counted(unit), splits);
}

static km_status check_row(const km_variance_plan *plan, const km_row *row) {
    for (int c = 0; c < plan->cell_count; c++) {
        const km_mask_spec *spec = &plan->cells[c].spec;
        KM_TRY(check_units(row, spec->unit, spec->splits));
        KM_TRY(needs_spans(plan) ? check_units(row, KM_UNIT_SALIENT, spec->splits) : KM_OK);
    }
    return KM_OK;
}

static km_status read_rows(km_variance_plan *plan, const km_rows *rows) {
    uint64_t *numbers = NULL;
    km_status status = choose_rows(plan, rows, &numbers);
    if (status == KM_OK) {
        plan->rows = km_new((size_t)plan->row_count, sizeof(km_row *));
    }
    for (int i = 0; i < plan->row_count && status == KM_OK; i++) {
        plan->rows[i] = km_row_create(km_rows_length(rows));
        plan->rows[i]->wants_sentences = needs_sentences(plan);
        status = km_rows_read(rows, numbers[i], plan->rows[i]);
        status = status == KM_OK ? check_row(plan, plan->rows[i]) : status;
    }
    free(numbers);
    return status;
}

/* Policies that were learned have marked the rows. */
static km_status make_marks(km_variance_plan *plan, const km_rows *rows, int splits) {
    km_mask_config mask = plan->config->mask;
    const km_mask_policy *policy = NULL;
    for (int p = 0; p < plan->policy_count; p++) {
        policy = plan->policies[p]->needs_model ? plan->policies[p] : policy;
    }
    if (policy == NULL) {
        return KM_OK;
    }
    snprintf(mask.policy, sizeof mask.policy, "%s", policy->name);
    mask.splits = splits;
    uint64_t *numbers = km_new((size_t)plan->row_count, sizeof *numbers);
    for (int i = 0; i < plan->row_count; i++) {
        numbers[i] = plan->rows[i]->number;
    }
    const km_mark_request request = {.corpus = plan->corpus,
                                     .rows = rows,
                                     .count = (uint64_t)plan->row_count,
                                     .numbers = numbers,
                                     .threads = (int)plan->config->parallel.threads};
    km_status status = km_run_mark(&plan->marks, NULL, &mask, &request);
    free(numbers);
    for (int c = 0; c < plan->cell_count; c++) {
        plan->cells[c].spec.marks = plan->marks;
    }
    return status;
}

/* Rows are numbered as pretrain numbers them with the largest of the splits. */
static km_status open_rows(km_variance_plan *plan, const char *folder) {
    const km_config *config = plan->config;
    km_rows_options options = {.length = (int)config->data.length,
                               .unit = needs_spans(plan) ? KM_UNIT_SALIENT : plan->cells[0].spec.unit};
    for (int c = 0; c < plan->cell_count; c++) {
        options.min_units = KM_MAX(options.min_units, plan->cells[c].spec.splits);
    }
    if (!km_packing_named(&options.packing, config->data.packing)) {
        return km_fail(KM_USAGE, "data.packing: unknown name %s", config->data.packing);
    }
    char *file = folder == NULL ? NULL
                                : km_format("%s/rows-%s-%s-%d-%d.idx", folder, config->data.packing,
                                            km_unit_name(options.unit), options.length, options.min_units);
    km_rows *rows = NULL;
    km_status status = km_rows_open(&rows, plan->corpus, &options, file);
    free(file);
    KM_TRY(status);
    status = read_rows(plan, rows);
    status = status == KM_OK ? make_marks(plan, rows, options.min_units) : status;
    km_rows_close(rows);
    return status;
}

/* ---- Distances ---------------------------------------------------------------------------------------------- */

static int farthest(const km_variance_plan *plan, const km_row *row) {
    const km_variance_cell *cell = &plan->cells[0];
    return km_mask_farthest(km_row_units(row, cell->spec.unit), km_variance_tau(cell, row));
}

double km_variance_share(const km_variance_plan *plan, const km_row *row, int index) {
    if (plan->distances != NULL) {
        int most = farthest(plan, row);
        return most == 0 ? 0 : (double)plan->distances[index] / (double)most;
    }
    return plan->distance_count == 1 ? 0 : (double)index / (double)(plan->distance_count - 1);
}

static km_status check_distance(const km_variance_plan *plan, int64_t distance) {
    if (distance % 2 != 0) {
        return km_fail(
            KM_USAGE,
            "variance.distances: found %lld, expected even numbers: two masks of the same size differ at an "
            "even number of places",
            (long long)distance);
    }
    for (int i = 0; i < plan->row_count; i++) {
        int most = farthest(plan, plan->rows[i]);
        if (distance > most) {
            return km_fail(
                KM_USAGE,
                "variance.distances: found %lld, but row %llu has %d maskable units and tau %d: masks are "
                "at most %d apart. Leave variance.distances out for nine distances that fit.",
                (long long)distance, (unsigned long long)plan->rows[i]->number,
                km_row_units(plan->rows[i], plan->cells[0].spec.unit),
                km_variance_tau(&plan->cells[0], plan->rows[i]), most);
        }
    }
    return KM_OK;
}

/* Without a list, nine shares of the farthest distance, from 0 to 1. Where it is the same for all rows, these are distances, of
 * which each is taken once. */
static void default_distances(km_variance_plan *plan) {
    int most = farthest(plan, plan->rows[0]), largest = most;
    bool same = plan->cells[0].spec.unit != KM_UNIT_SPAN;
    for (int i = 1; i < plan->row_count; i++) {
        same = same && farthest(plan, plan->rows[i]) == most;
        largest = KM_MAX(largest, farthest(plan, plan->rows[i]));
    }
    if (!same) {
        plan->distance_count = KM_MIN(DISTANCES, largest / 2 + 1);
        return;
    }
    plan->distances = km_new(DISTANCES, sizeof *plan->distances);
    plan->distance_count = 0;
    for (int i = 0; i < DISTANCES; i++) {
        int swaps = (2 * i * (most / 2) + DISTANCES - 1) / (2 * (DISTANCES - 1)); /* rounded */
        int count = plan->distance_count;
        if (count == 0 || plan->distances[count - 1] != 2 * swaps) {
            plan->distances[plan->distance_count++] = 2 * swaps;
        }
    }
}

static km_status make_distances(km_variance_plan *plan) {
    const km_numbers *given = &plan->wanted->distances;
    if (given->count == 0) {
        default_distances(plan);
        return KM_OK;
    }
    if (plan->cells[0].spec.unit == KM_UNIT_SPAN) {
        return km_fail(KM_USAGE,
                       "variance.distances: rows are tiled into another number of spans at each visit, so "
                       "distances cannot be given in spans. Leave it out for nine from 0 to 2 tau.");
    }
    plan->distances = km_new((size_t)given->count, sizeof *plan->distances);
    for (int i = 0; i < given->count; i++) {
        KM_TRY(check_distance(plan, given->list[i]));
        plan->distances[plan->distance_count++] = (int)given->list[i];
    }
    return KM_OK;
}

/* ---- The plan ---------------------------------------------------------------------------------------------- */

static void hash_numbers(km_hasher *hasher, const int64_t *numbers, size_t count) {
    km_hasher_add(hasher, numbers, count * sizeof *numbers);
}

/* Options that came after the first version. Where they do not matter they leave the key as it was. */
static void hash_newer_options(km_hasher *hasher, const km_variance_plan *plan) {
    const km_mask_spec *spec = &plan->cells[0].spec;
    bool uniform = true;
    for (int p = 0; p < plan->policy_count; p++) {
        uniform = uniform && plan->policies[p]->uniform;
    }
    const km_mask_config *mask = &plan->config->mask;
    const bool merge = km_given(&km_mask_section, mask, "merge"),
               target = km_given(&km_mask_section, mask, "target");
    if (!uniform || merge || target) { /* what is not given follows from the model */
        const double numbers[] = {merge && mask->merge,    spec->spans,  spec->poisson_lambda,
                                  spec->permute_sentences, spec->insert, spec->rotate};
        km_hasher_add(hasher, numbers, sizeof numbers);
        km_hasher_add(hasher, mask->target, target ? strlen(mask->target) : 0);
    }
    for (int p = 0; p < plan->policy_count; p++) {
        if (plan->policies[p]->weighted) {
            const double drawing[] = {spec->weighting, spec->sharpness, spec->uniform, spec->disjoint};
            km_hasher_add(hasher, drawing, sizeof drawing);
        }
    }
}

/* The key covers what decides the numbers, and nothing else: no paths, no number of ranks or threads. */
static void make_key(km_variance_plan *plan) {
    const km_config *config = plan->config;
    km_hash corpus = km_corpus_hash(plan->corpus);
    km_hasher *hasher = km_hasher_create();
    static const char version[] = "variance 1";
    km_hasher_add(hasher, version, sizeof version);
    km_hasher_add(hasher, &corpus, sizeof corpus);
    const int64_t numbers[] = {config->run.seed,   config->data.length, plan->sequences,        plan->row_count,
                               plan->replicates,   plan->draws,         plan->exhaustive,       plan->dropout,
                               plan->policy_count, plan->cell_count,    plan->distances != NULL};
    hash_numbers(hasher, numbers, KM_COUNT(numbers));
    const double shares[] = {config->mask.ratio, config->mask.replace_mask, config->mask.replace_random};
    km_hasher_add(hasher, shares, sizeof shares);
    hash_newer_options(hasher, plan);
    for (int i = 0; i < plan->row_count; i++) {
        const km_row *row = plan->rows[i];
        km_hasher_add(hasher, &row->number, sizeof row->number);
        km_hasher_add(hasher, row->ids, (size_t)row->length * sizeof *row->ids);
    }
    for (int c = 0; c < plan->cell_count; c++) {
        const int64_t cell[] = {plan->cells[c].spec.unit, plan->cells[c].spec.splits};
        hash_numbers(hasher, cell, KM_COUNT(cell));
    }
    for (int i = 0; plan->distances != NULL && i < plan->distance_count; i++) {
        const int64_t distance = plan->distances[i];
        hash_numbers(hasher, &distance, 1);
    }
    for (int p = 0; p < plan->policy_count; p++) {
        if (p == 0 || plan->policies[p] != plan->control) { /* the control follows from the count */
            km_hasher_add(hasher, plan->policies[p]->name, strlen(plan->policies[p]->name));
        }
    }
    if (plan->marks != NULL) {
        const km_hash marks = km_marks_hash(plan->marks);
        const int64_t top = plan->cells[0].spec.top;
        km_hasher_add(hasher, &marks, sizeof marks);
        hash_numbers(hasher, &top, 1);
    }
    km_hasher_add(hasher, &plan->wanted->params, sizeof plan->wanted->params);
    plan->key = km_hasher_end(hasher);
}

static km_status check_exhaustive(const km_variance_plan *plan) {
    if (!plan->exhaustive) {
        return KM_OK;
    }
    if (plan->dropout || plan->config->mask.replace_mask < 1) {
        return km_fail(KM_USAGE, "variance.exhaustive: masks can be enumerated, but neither dropout nor random "
                                 "replacement can. Set variance.dropout=false and mask.replace_mask=1.");
    }
    return km_exact_check(plan, 1, 1);
}

km_status km_variance_plan_make(km_variance_plan *out, const km_variance_input *input, const char *folder) {
    const km_config *config = &input->config;
    const km_variance_config *wanted = &input->variance;
    *out = (km_variance_plan){.config = config,
                              .wanted = wanted,
                              .seed = (uint64_t)config->run.seed,
                              .models = wanted->model,
                              .exhaustive = wanted->exhaustive,
                              .dropout = wanted->dropout};
    int64_t draws = wanted->draws > 0 ? wanted->draws : DRAWS;
    out->replicates = (int)KM_MIN(draws, REPLICATES);
    out->draws = (int)((draws + out->replicates - 1) / out->replicates);
    KM_TRY(make_cells(out));
    make_policies(out);
    KM_TRY(check_policies(out));
    KM_TRY(km_corpus_open(&out->corpus, config->data.train));
    KM_TRY(open_rows(out, folder));
    KM_TRY(make_distances(out));
    KM_TRY(check_exhaustive(out));
    make_key(out);
    return KM_OK;
}

void km_variance_plan_free(km_variance_plan *plan) {
    for (int i = 0; plan->rows != NULL && i < plan->row_count; i++) {
        km_row_destroy(plan->rows[i]);
    }
    if (plan->corpus != NULL) {
        km_corpus_close(plan->corpus);
    }
    km_marks_close(plan->marks);
    free(plan->rows);
    free(plan->cells);
    free(plan->distances);
}
