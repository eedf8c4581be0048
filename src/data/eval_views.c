/* Frozen masks for evaluation: a permutation of a row's units, dealt evenly into ceil(1/ratio) parts, a view for
 * each part. Every token is predicted once from the rest, so the losses of two models compare token by token. */
#include "mask.h"
#include "view.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct km_eval_views {
    const km_rows *rows;
    km_replacement replacement;
    uint64_t seed;
    km_unit unit;
    int parts;
    km_row *row;
    km_units *units, *spans;
    uint8_t *mask; /* (length) */
    km_batch_builder builder;
};

/* ceil(1/ratio), but never more parts than a row can have units. */
static int parts_of(double ratio, int most) {
    double parts = ceil(1 / ratio - KM_ROUNDING);
    return parts < most ? (int)parts : most;
}

km_status km_eval_views_create(km_eval_views **out, const km_rows *rows, const km_corpus *corpus, double ratio,
                               km_unit unit, uint64_t seed) {
    *out = NULL;
    if (!(ratio > 0 && ratio <= 1)) {
        return km_fail(KM_USAGE, "eval.ratio is %g; it must be above 0 and at most 1.", ratio);
    }
    int length = km_rows_length(rows), parts = parts_of(ratio, KM_MAX(1, length - 2));
    if (parts > INT_MAX / length) {
        return km_fail(KM_USAGE, "eval.ratio %g makes %d views of %d tokens of a row: too many. Raise it.", ratio,
                       parts, length);
    }
    km_eval_views *views = km_new(1, sizeof *views);
    views->rows = rows;
    views->seed = seed;
    views->unit = unit;
    views->parts = parts;
    const km_batch_limits limits = km_eval_views_limits(views);
    const km_view_options all_masked = {.replace_mask = 1};
    km_status status = km_replacement_init(&views->replacement, corpus, &all_masked);
    if (status == KM_OK) {
        status = km_batch_builder_reserve(&views->builder, &limits);
    }
    if (status != KM_OK) {
        km_eval_views_destroy(views);
        return status;
    }
    views->row = km_row_create(length);
    views->units = km_units_create(length);
    views->spans = km_units_create(length);
    views->mask = km_new((size_t)length, 1);
    *out = views;
    return KM_OK;
}

void km_eval_views_destroy(km_eval_views *views) {
    if (views == NULL) {
        return;
    }
    km_row_destroy(views->row);
    km_units_destroy(views->units);
    km_units_destroy(views->spans);
    km_batch_builder_free(&views->builder);
    free(views->mask);
    free(views);
}

km_batch_limits km_eval_views_limits(const km_eval_views *views) {
    int length = km_rows_length(views->rows);
    return (km_batch_limits){
        .views = views->parts, .tokens = views->parts * length, .longest = length, .labelled = length};
}

km_status km_eval_views_make(km_eval_views *views, uint64_t number, const km_batch **out) {
    *out = NULL;
    km_row *row = views->row;
    KM_TRY(km_rows_read(views->rows, number, row));
    KM_TRY(km_replacement_check(&views->replacement, row));
    const km_mask_visit visit = {.seed = views->seed, .purpose = KM_RNG_EVAL};
    km_rng rng = km_visit_rng(&visit, number);
    km_units *units = views->units;
    km_units_find(units, row, views->unit);
    if (views->unit == KM_UNIT_SPAN) {
        km_units_tile(views->spans, units, 1, &rng);
        units = views->spans;
    }
    km_units_shuffle(units, units->count, &rng);
    km_batch_builder_clear(&views->builder);
    int share = units->count / views->parts, more = units->count % views->parts;
    for (int part = 0, from = 0; part < views->parts && from < units->count; part++) {
        int to = from + share + (part < more);
        memset(views->mask, 0, (size_t)row->length);
        km_units_hide(views->mask, units, from, to);
        km_view_append(&views->builder, row, views->mask, (uint64_t)part, &views->replacement, &rng);
        from = to;
    }
    *out = &views->builder.batch;
    return KM_OK;
}
