/* Rows under masks, as a source of examples. The views of a row are made one after the other, so the row is read and its K masks
 * are drawn once for all of them. */
#include "mask.h"
#include "view.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

typedef struct row_source {
    km_source source;
    km_source_rows_options options;
    const km_rows *rows;
    km_replacement replacement;
    int length, labelled; /* labelled: most of a view */
    km_masker *masker;
    /* The row that was read last, the masks drawn for it, and the visit they are of. */
    km_row *row;
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
    const km_source_rows_options *options = &self->options;
    const uint64_t splits = (uint64_t)options->mask.splits, rows = km_rows_count(self->rows);
    const uint64_t at = options->over_epochs ? number : number / splits, epoch = at / rows;
    const uint64_t row = km_order(at % rows, rows, options->seed, epoch);
    return options->over_epochs ? (place){row, epoch / splits, (int)(epoch % splits)}
                                : (place){row, epoch, (int)(number % splits)};
}

/* Reads the row and draws its masks, unless they are there from the view before. */
static km_status prepare(row_source *self, const place *wanted) {
    if (self->have_row && self->row->number == wanted->row && self->visit == wanted->visit) {
        return KM_OK;
    }
    self->have_row = false;
    KM_TRY(km_rows_read(self->rows, wanted->row, self->row));
    KM_TRY(km_replacement_check(&self->replacement, self->row));
    const km_mask_visit visit = {.seed = self->options.seed, .purpose = KM_RNG_MASK, .number = wanted->visit};
    km_status status = km_masker_draw(self->masker, self->row, &visit, &self->masks);
    if (status != KM_OK) {
        return km_context(status, "%s", self->replacement.origin);
    }
    self->visit = wanted->visit;
    self->have_row = true;
    return KM_OK;
}

static km_status make(km_source *source, uint64_t number, km_batch_builder *out) {
    row_source *self = (row_source *)source;
    const place wanted = locate(self, number);
    KM_TRY(prepare(self, &wanted));
    km_rng rng = km_view_rng(self->options.seed, wanted.visit, (uint32_t)wanted.index, wanted.row);
    const uint8_t *mask = self->masks.masks + (size_t)wanted.index * (size_t)self->masks.stride;
    km_view_append(out, self->row, mask, number, &self->replacement, &rng);
    return KM_OK;
}

static km_status limits(const km_source *source, int views, km_batch_limits *out) {
    const row_source *self = (const row_source *)source;
    if (views > INT_MAX / self->length) {
        return km_fail(KM_USAGE,
                       "train.micro_batch %d times data.length %d is more than a batch can count. Lower it.", views,
                       self->length);
    }
    *out = (km_batch_limits){.views = views,
                             .tokens = views * self->length,
                             .longest = self->length,
                             .labelled = views * self->labelled};
    return KM_OK;
}

static void destroy(km_source *source) {
    row_source *self = (row_source *)source;
    km_masker_destroy(self->masker);
    km_row_destroy(self->row);
    free(self->masks.masks);
    free(self);
}

km_status km_source_rows_create(km_source **out, const km_rows *rows, const km_corpus *corpus,
                                const km_source_rows_options *options) {
    *out = NULL;
    assert(options->policy != NULL);
    KM_TRY(km_mask_policy_check(options->policy, &options->mask));
    if (km_rows_count(rows) == 0) {
        return km_fail(KM_FAILED, "there are no rows to train on.");
    }
    row_source *self = km_new(1, sizeof *self);
    self->source = (km_source){.limits = limits, .make = make, .destroy = destroy};
    self->options = *options;
    self->rows = rows;
    self->length = km_rows_length(rows);
    self->labelled = options->policy->most_hidden(&options->mask, KM_MAX(1, self->length - 2));
    self->row = km_row_create(self->length);
    self->masks.stride = self->length;
    self->masks.masks = km_new((size_t)options->mask.splits * (size_t)self->length, 1);
    km_status status = km_replacement_init(&self->replacement, corpus, &options->view);
    if (status == KM_OK) {
        status = km_masker_create(&self->masker, options->policy, &options->mask, corpus, self->length);
    }
    if (status != KM_OK) {
        destroy(&self->source);
        return status;
    }
    *out = &self->source;
    return KM_OK;
}
