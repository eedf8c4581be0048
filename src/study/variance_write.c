/* variance_write: the findings as JSON and as an HDF5 file. */
#include "kmask/store.h"
#include "variance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 40 };

/* ---- JSON --------------------------------------------------------------------------------------------------------- */

static void set_interval(km_json *json, const char *name, km_interval interval) {
    char *low = km_format("%s_low", name), *high = km_format("%s_high", name);
    km_json_set_number(json, name, interval.mean);
    km_json_set_number(json, low, interval.low);
    km_json_set_number(json, high, interval.high);
    free(low);
    free(high);
}

static void set_cell(km_json *json, const km_variance_plan *plan, int cell) {
    km_json_set_string(json, "unit", plan->cells[cell].unit);
    km_json_set_number(json, "splits", plan->cells[cell].spec.splits);
}

static km_json *estimate_json(const km_variance_plan *plan, const km_findings *f, const km_estimate *e) {
    km_json *json = km_json_object();
    km_interval none = {NAN, NAN, NAN};
    km_json_set_string(json, "model", f->name);
    km_json_set_string(json, "policy", plan->policies[e->policy]->name);
    set_cell(json, plan, e->cell);
    km_json_set_number(json, "maskable", e->units);
    km_json_set_number(json, "tau", e->tau);
    set_interval(json, "var", e->var);
    set_interval(json, "var_single", e->single);
    set_interval(json, "cov", plan->cells[e->cell].spec.splits > 1 ? e->cov : none);
    set_interval(json, "var_masks", e->var);
    set_interval(json, "var_rows", e->rows);
    set_interval(json, "var_total", e->total);
    if (plan->exhaustive) {
        km_json_set_number(json, "sets", e->sets);
        km_json_set_number(json, "mean_norm", e->mean_norm);
        km_json_set_number(json, "mean_gap", e->mean_gap);
    }
    return json;
}

static void add_model(const km_variance_plan *plan, const km_findings *f, km_json *models, km_json *estimates,
                      km_json *ratios, km_json *curve, km_json *weighted) {
    char hash[33];
    km_hash_text(hash, f->hash);
    km_json *model = km_json_object();
    km_json_set_string(model, "model", f->name);
    km_json_set_string(model, "weights_hash", hash);
    km_json_set_number(model, "step", (double)f->step);
    km_json_set_number(model, "parameters", (double)f->size);
    km_json *tensors = km_json_array();
    for (int i = 0; i < f->parts; i++) {
        km_json_push_string(tensors, f->part_names[i]);
    }
    km_json_set(model, "tensors", tensors);
    km_json_push(models, model);
    for (int i = 0; i < f->estimate_count; i++) {
        km_json_push(estimates, estimate_json(plan, f, &f->estimates[i]));
    }
    for (int i = 0; i < f->ratio_count; i++) {
        km_json *ratio = km_json_object();
        km_json_set_string(ratio, "model", f->name);
        const km_mask_policy *policy = plan->policies[f->ratios[i].policy];
        if (!policy->uniform) { /* without a name it is that of fully_explored */
            km_json_set_string(ratio, "policy", policy->name);
        }
        set_cell(ratio, plan, f->ratios[i].cell);
        set_interval(ratio, "ratio", f->ratios[i].ratio);
        km_json_push(ratios, ratio);
    }
    for (int i = 0; i < f->curve_count; i++) {
        km_json *point = km_json_object();
        km_json_set_string(point, "model", f->name);
        km_json_set_number(point, "h", f->curve[i].h);
        set_interval(point, "cov", f->curve[i].cov);
        km_json_set_number(point, "pairs", (double)f->curve[i].pairs);
        km_json_push(curve, point);
    }
    if (f->has_weighted) {
        km_json *sum = km_json_object();
        km_json_set_string(sum, "model", f->name);
        set_interval(sum, "cov", f->weighted);
        km_json_push(weighted, sum);
    }
}

/* The range of a tensor's values over all distances, so that its histograms have the same bins. */
static void range_of(double *low, double *high, const km_findings *f, int part) {
    size_t width = 1 + (size_t)f->parts;
    *low = INFINITY;
    *high = -INFINITY;
    for (int i = 0; i < f->curve_count; i++) {
        for (size_t p = 0; p < f->curve[i].pairs; p++) {
            *low = fmin(*low, f->curve[i].values[p * width + (size_t)part]);
            *high = fmax(*high, f->curve[i].values[p * width + (size_t)part]);
        }
    }
}

static km_json *counts_of(const km_findings *f, const km_curve_point *point, int part, double low, double high) {
    double counts[BINS] = {0};
    size_t width = 1 + (size_t)f->parts;
    for (size_t p = 0; p < point->pairs; p++) {
        double place = high > low ? (point->values[p * width + (size_t)part] - low) / (high - low) * BINS : 0;
        counts[KM_MIN((int)place, BINS - 1)]++;
    }
    km_json *list = km_json_array();
    for (int b = 0; b < BINS; b++) {
        km_json_push_number(list, counts[b]);
    }
    return list;
}

static void add_histograms(km_json *list, const km_findings *f) {
    for (int part = 0; part <= f->parts; part++) {
        double low = 0, high = 0;
        range_of(&low, &high, f, part);
        for (int i = 0; i < f->curve_count; i++) {
            km_json *histogram = km_json_object();
            km_json_set_string(histogram, "model", f->name);
            km_json_set_string(histogram, "tensor", part == 0 ? "all" : f->part_names[part - 1]);
            km_json_set_number(histogram, "h", f->curve[i].h);
            km_json_set_number(histogram, "low", low);
            km_json_set_number(histogram, "high", high);
            km_json_set(histogram, "counts", counts_of(f, &f->curve[i], part, low, high));
            km_json_push(list, histogram);
        }
    }
}

static void set_numbers(km_json *json, const km_variance_plan *plan) {
    const km_variance_cell *cell = &plan->cells[0];
    double units = 0, tau = 0;
    km_json *rows = km_json_array();
    for (int i = 0; i < plan->row_count; i++) {
        units += km_row_units(plan->rows[i], cell->spec.unit);
        tau += km_variance_tau(cell, plan->rows[i]);
        km_json_push_number(rows, (double)plan->rows[i]->number);
    }
    km_json_set_number(json, "sequences", plan->sequences);
    km_json_set_number(json, "maskable", units / plan->row_count);
    km_json_set_number(json, "tau", tau / plan->row_count);
    km_json_set_number(json, "ratio", plan->config->mask.ratio);
    km_json_set(json, "rows", rows);
    km_json_set_boolean(json, "exhaustive", plan->exhaustive);
    if (!plan->exhaustive) {
        km_json_set_number(json, "replicates", plan->replicates);
        km_json_set_number(json, "draws", (double)plan->replicates * plan->draws);
        km_json_set_number(json, "confidence", 0.95);
    }
    km_json_set_string(json, "distance_unit", cell->unit);
    km_json_set_number(json, "distance_splits", cell->spec.splits);
}

km_json *km_variance_json(const km_variance_plan *plan, const km_findings *findings, int count, bool histograms) {
    km_json *json = km_json_object(), *models = km_json_array(), *estimates = km_json_array();
    km_json *ratios = km_json_array(), *curve = km_json_array(), *weighted = km_json_array();
    set_numbers(json, plan);
    for (int m = 0; m < count; m++) {
        add_model(plan, &findings[m], models, estimates, ratios, curve, weighted);
    }
    km_json_set(json, "models", models);
    km_json_set(json, "estimates", estimates);
    km_json_set(json, "ratios", ratios);
    km_json_set(json, "distance", curve);
    km_json_set(json, "distance_weighted", weighted);
    if (histograms) {
        km_json *list = km_json_array();
        for (int m = 0; m < count; m++) {
            add_histograms(list, &findings[m]);
        }
        km_json_set(json, "histograms", list);
    }
    return json;
}

/* ---- HDF5 ------------------------------------------------------------------------------------------------------------ */

typedef struct column {
    char *name; /* owned */
    double *values;
    uint64_t dims[2];
    int rank;
} column;

typedef struct columns {
    column *list;
    int count;
} columns;

static double *add_column(columns *all, char *name, uint64_t rows, uint64_t width) {
    all->list = km_grow(all->list, (size_t)all->count + 1, sizeof *all->list);
    column *c = &all->list[all->count++];
    *c = (column){.name = name, .dims = {rows, width}, .rank = width > 0 ? 2 : 1};
    c->values = km_new((size_t)(rows * KM_MAX(width, 1)) + 1, sizeof *c->values);
    return c->values;
}

/* Adds the tables of model m: /model-<m>/estimates has a row for each estimate; /model-<m>/distance a row for each h;
 * /model-<m>/pairs/<h> for each pair of masks the product over all chosen parameters and over each tensor; /model-<m>/mean is
 * bar G. The attribute `results` says what the columns are. */
static void add_findings(columns *all, const km_findings *f, int m) {
    double *out = add_column(all, km_format("/model-%d/estimates", m), (uint64_t)f->estimate_count, 15);
    for (int i = 0; i < f->estimate_count; i++) {
        const km_estimate *e = &f->estimates[i];
        const km_interval intervals[] = {e->var, e->single, e->cov, e->rows, e->total};
        for (size_t v = 0; v < KM_COUNT(intervals); v++) {
            *out++ = intervals[v].mean;
            *out++ = intervals[v].low;
            *out++ = intervals[v].high;
        }
    }
    out = add_column(all, km_format("/model-%d/distance", m), (uint64_t)f->curve_count, 4);
    for (int i = 0; i < f->curve_count; i++) {
        const km_curve_point *point = &f->curve[i];
        const double row[] = {point->h, point->cov.mean, point->cov.low, point->cov.high};
        memcpy(out + 4 * (size_t)i, row, sizeof row);
        double *pairs =
            add_column(all, km_format("/model-%d/pairs/%d", m, i), point->pairs, 1 + (uint64_t)f->parts);
        memcpy(pairs, point->values, point->pairs * (1 + (size_t)f->parts) * sizeof *pairs);
    }
    if (f->mean != NULL) {
        memcpy(add_column(all, km_format("/model-%d/mean", m), f->size, 0), f->mean, f->size * sizeof *f->mean);
    }
}

static km_status fill_store(km_store *store, const columns *all, const char *text) {
    KM_TRY(km_store_set_text(store, "kind", "variance"));
    KM_TRY(km_store_set_text(store, "results", text));
    KM_TRY(km_store_set_text(store, "created_by", "kmask " KM_VERSION));
    KM_TRY(km_store_set_text(store, "estimates_columns",
                             "var, var_single, cov, var_rows, var_total: each with its low and high end"));
    KM_TRY(km_store_set_text(store, "distance_columns", "h, cov, low, high"));
    KM_TRY(km_store_set_text(store, "pairs_columns", "all chosen parameters, then each of models[].tensors"));
    for (int i = 0; i < all->count; i++) {
        KM_TRY(km_store_add(store, all->list[i].name, KM_F64, all->list[i].rank, all->list[i].dims));
    }
    KM_TRY(km_store_layout(store));
    for (int i = 0; i < all->count; i++) {
        const km_array *array = km_store_find(store, all->list[i].name);
        KM_TRY(km_store_write(store, array, 0, array->count, all->list[i].values));
    }
    return KM_OK;
}

static km_status write_store(const columns *all, const char *path, const char *text) {
    km_store *store = NULL;
    KM_TRY(km_store_create_out(&store, path, NULL));
    km_status status = fill_store(store, all, text);
    if (status == KM_OK) {
        return km_store_commit(store);
    }
    km_store_abandon(store);
    return status;
}

km_status km_variance_write(const km_variance_plan *plan, const km_findings *findings, int count,
                            const char *folder) {
    km_json *json = km_variance_json(plan, findings, count, false);
    char *brief = km_json_print(json, true);
    km_json_destroy(json);
    json = km_variance_json(plan, findings, count, true);
    char *text = km_json_print(json, true);
    km_json_destroy(json);
    columns all = {0};
    for (int m = 0; m < count; m++) {
        add_findings(&all, &findings[m], m);
    }
    char *h5 = km_format("%s/variance.h5", folder), *file = km_format("%s/variance.json", folder);
    km_status status = write_store(&all, h5, brief);
    status = status == KM_OK ? km_out_replace(file, text, strlen(text)) : status;
    for (int i = 0; i < all.count; i++) {
        free(all.list[i].values);
        free(all.list[i].name);
    }
    free(all.list);
    free(h5);
    free(file);
    free(text);
    free(brief);
    return status;
}
