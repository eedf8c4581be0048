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
    km_view_rule rule;
    uint64_t seed;
    km_unit unit;
    int parts;
    km_row *row;
    km_units *units, *spans;
    km_masks masks; /* one */
    km_batch_builder builder;
};

/* ceil(1/ratio), but never more parts than a row can have units. */
static int parts_of(double ratio, int most) {
    double parts = ceil(1 / ratio - KM_ROUNDING);
    return parts < most ? (int)parts : most;
}

/* Of all parts together no token is hidden twice. */
static km_status reserve(km_eval_views *views, int length) {
    km_batch_limits limits;
    KM_TRY(km_view_rule_limits(&views->rule, views->parts, length, length, KM_MAX(1, length - 2), &limits));
    limits.labelled = length;
    return km_batch_builder_reserve(&views->builder, &limits);
}

static km_status prepare(km_eval_views *views, const km_corpus *corpus, const km_eval_views_options *options) {
    const km_view_options shown = {.target = options->target,
                                   .merge = options->target != KM_TARGET_TOKENS,
                                   .decoder_start = options->decoder_start,
                                   .replace_mask = 1};
    const int length = km_rows_length(views->rows);
    if (!(options->ratio > 0 && options->ratio <= 1)) {
        return km_fail(KM_USAGE, "eval.ratio is %g; it must be above 0 and at most 1.", options->ratio);
    }
    views->seed = options->seed;
    views->unit = options->unit;
    views->parts = parts_of(options->ratio, KM_MAX(1, length - 2));
    if (views->parts > INT_MAX / length) {
        return km_fail(KM_USAGE, "eval.ratio %g makes %d views of %d tokens of a row: too many. Raise it.",
                       options->ratio, views->parts, length);
    }
    KM_TRY(km_view_rule_init(&views->rule, corpus, &shown));
    views->rule.only_hidden = true;
    return reserve(views, length);
}

km_status km_eval_views_create(km_eval_views **out, const km_rows *rows, const km_corpus *corpus,
                               const km_eval_views_options *options) {
    *out = NULL;
    const int length = km_rows_length(rows);
    km_eval_views *views = km_new(1, sizeof *views);
    views->rows = rows;
    km_status status = prepare(views, corpus, options);
    if (status != KM_OK) {
        km_eval_views_destroy(views);
        return status;
    }
    views->row = km_row_create(length);
    views->units = km_units_create(length);
    views->spans = km_units_create(length);
    views->masks = (km_masks){.splits = 1, .stride = length, .masks = km_new((size_t)length, 1)};
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
    km_masks_free(&views->masks);
    free(views);
}

km_batch_limits km_eval_views_limits(const km_eval_views *views) {
    return views->builder.limits;
}

km_status km_eval_views_make(km_eval_views *views, uint64_t number, const km_batch **out) {
    *out = NULL;
    km_row *row = views->row;
    KM_TRY(km_rows_read(views->rows, number, row));
    KM_TRY(km_view_rule_check(&views->rule, row));
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
        memset(views->masks.masks, 0, (size_t)row->length);
        km_units_hide(views->masks.masks, units, from, to);
        km_view_append(&views->builder, &views->rule, row, &views->masks, 0, (uint64_t)part, &rng);
        from = to;
    }
    *out = &views->builder.batch;
    return KM_OK;
}
