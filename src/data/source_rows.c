/* Rows under masks, as a source of examples. The views of a row are made one after the other, so the row is read and its K masks
 * are drawn once for all of them. */
#include "mask.h"
#include "view.h"

#include <stdlib.h>

typedef struct row_source {
    km_source source;
    km_masking masking;
    uint64_t seed;
    const km_rows *rows;
    km_view_rule rule;
    km_masker *masker;
    /* The row that was read last, the masks drawn for it, and the visit they are of. */
    km_row *row;
    float *scores; /* (length) of its tokens, for a live policy */
    km_masks masks;
    uint64_t visit;
    bool have_row;
} row_source;

/* Which view an example is: mask `index` of the masks that are drawn together for `visit` of `row`. */
typedef struct place {
    uint64_t row, visit;
    int index;
} place;

static place locate(const row_source *self, uint64_t number) {
    const bool over_epochs = self->masking.over_epochs;
    const uint64_t splits = (uint64_t)self->masking.spec.splits, rows = km_rows_count(self->rows);
    const uint64_t at = over_epochs ? number : number / splits, epoch = at / rows;
    const uint64_t row = km_order(at % rows, rows, self->seed, epoch);
    return over_epochs ? (place){row, epoch / splits, (int)(epoch % splits)}
                       : (place){row, epoch, (int)(number % splits)};
}

/* Reads the row and draws its masks, unless they are there from the view before. */
static km_status load(row_source *self, const place *wanted) {
    if (self->have_row && self->row->number == wanted->row && self->visit == wanted->visit) {
        return KM_OK;
    }
    self->have_row = false;
    KM_TRY(km_rows_read(self->rows, wanted->row, self->row));
    KM_TRY(km_view_rule_check(&self->rule, self->row));
    km_mask_visit visit = {.seed = self->seed, .purpose = KM_RNG_MASK, .number = wanted->visit};
    if (self->source.scorer.score != NULL) {
        self->source.scorer.score(self->source.scorer.payload, self->row, self->scores);
        visit.scores = self->scores;
    }
    km_status status = km_masker_draw(self->masker, self->row, &visit, &self->masks);
    if (status != KM_OK) {
        return km_context(status, "%s", self->rule.origin);
    }
    self->visit = wanted->visit;
    self->have_row = true;
    return KM_OK;
}

static km_status make(km_source *source, uint64_t number, km_batch_builder *out) {
    row_source *self = (row_source *)source;
    const place wanted = locate(self, number);
    KM_TRY(load(self, &wanted));
    km_rng rng = km_view_rng(self->seed, wanted.visit, (uint32_t)wanted.index, wanted.row);
    km_view_append(out, &self->rule, self->row, &self->masks, wanted.index, number, &rng);
    return KM_OK;
}

/* Reads the row, so that it is in memory when its masks can be drawn. */
static km_status read_ahead(km_source *source, uint64_t number) {
    row_source *self = (row_source *)source;
    const place wanted = locate(self, number);
    self->have_row = false;
    return self->row->number == wanted.row ? KM_OK : km_rows_read(self->rows, wanted.row, self->row);
}

static km_status limits(const km_source *source, int views, km_batch_limits *out) {
    const row_source *self = (const row_source *)source;
    const km_mask_policy *policy = self->masking.policy;
    const km_mask_spec *spec = &self->masking.spec;
    const int length = km_rows_length(self->rows), hidden = policy->most_hidden(spec, KM_MAX(1, length - 2));
    const int shown = policy->longest_shown != NULL ? policy->longest_shown(spec, length) : length;
    return km_view_rule_limits(&self->rule, views, length, shown, hidden, out);
}

static void destroy(km_source *source) {
    row_source *self = (row_source *)source;
    km_masker_destroy(self->masker);
    km_row_destroy(self->row);
    free(self->scores);
    km_masks_free(&self->masks);
    free(self);
}

static km_status prepare_drawing(row_source *self, const km_corpus *corpus) {
    const km_masking *masking = &self->masking;
    KM_TRY(km_view_rule_init(&self->rule, corpus, &masking->view));
    KM_TRY(km_masker_create(&self->masker, masking->policy, &masking->spec, corpus, km_rows_length(self->rows)));
    km_masks_create(&self->masks, self->masker);
    return KM_OK;
}

km_status km_source_rows_create(km_source **out, const km_rows *rows, const km_corpus *corpus,
                                const km_masking *masking, uint64_t seed) {
    *out = NULL;
    if (km_rows_count(rows) == 0) {
        return km_fail(KM_FAILED, "there are no rows to train on.");
    }
    row_source *self = km_new(1, sizeof *self);
    self->source = (km_source){
        .limits = limits, .make = make, .live = masking->policy->live, .prepare = read_ahead, .destroy = destroy};
    self->masking = *masking;
    self->seed = seed;
    self->rows = rows;
    self->row = km_row_create(km_rows_length(rows));
    self->row->wants_sentences = masking->policy->needs_sentences;
    self->scores = km_new((size_t)km_rows_length(rows), sizeof *self->scores);
    km_status status = prepare_drawing(self, corpus);
    if (status != KM_OK) {
        destroy(&self->source);
        return status;
    }
    *out = &self->source;
    return KM_OK;
}
