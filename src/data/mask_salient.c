/* Salient masks: each mask hides some of the row's names, dates and numbers, one unless mask.spans says more (K. Guu et al., "REALM:
 * retrieval-augmented language model pre-training", ICML 2020, section 3.4). The K masks of a visit hide different ones: they are
 * successive pieces of one uniform permutation. A row with fewer than K cannot be used. */
#include "mask.h"

#include <stdlib.h>

typedef struct salient_masker {
    km_masker masker;
    km_units *units; /* the row's spans with a token that may be hidden */
} salient_masker;

static km_status create(km_masker **out, const km_mask_spec *spec, const km_corpus *corpus, int length) {
    (void)spec;
    (void)corpus;
    salient_masker *self = km_new(1, sizeof *self);
    self->units = km_units_create(length);
    *out = &self->masker;
    return KM_OK;
}

static void destroy(km_masker *masker) {
    salient_masker *self = (salient_masker *)masker;
    km_units_destroy(self->units);
    free(self);
}

static void hide(const km_row *row, km_range range, uint8_t *mask) {
    for (int p = range.begin; p < range.end; p++) {
        if (row->maskable[p]) {
            mask[p] = p == range.begin ? KM_PIECE : KM_HIDDEN;
        }
    }
}

static km_status draw(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out) {
    km_units *units = ((salient_masker *)masker)->units;
    const int splits = masker->spec.splits;
    km_units_find(units, row, KM_UNIT_SALIENT);
    KM_TRY(km_mask_units_check(&masker->spec, row, KM_UNIT_SALIENT, units->count));
    const int tau = KM_MIN(masker->spec.spans, units->count / splits);
    km_rng rng = km_visit_rng(visit, row->number);
    km_units_shuffle(units, splits * tau, &rng);
    for (int i = 0; i < splits * tau; i++) {
        hide(row, units->ranges[units->order[i]], out->masks + (size_t)(i / tau) * (size_t)out->stride);
    }
    out->units = units->count;
    out->tau = tau;
    return KM_OK;
}

/* All spans of the row are equally likely: tau of them are hidden by each mask. */
static bool expect(km_masker *masker, const km_row *row, double *probability) {
    km_units *units = ((salient_masker *)masker)->units;
    km_units_find(units, row, KM_UNIT_SALIENT);
    const double tau = KM_MIN(masker->spec.spans, units->count / masker->spec.splits);
    for (int u = 0; u < units->count; u++) {
        for (int p = units->ranges[u].begin; p < units->ranges[u].end; p++) {
            probability[p] = row->maskable[p] ? tau / units->count : 0;
        }
    }
    return true;
}

/* A span may be as long as the row. */
static int most_hidden(const km_mask_spec *spec, int tokens) {
    (void)spec;
    return tokens;
}

const km_mask_policy km_mask_salient = {.name = "salient",
                                        .help = "names, dates and numbers, K different ones",
                                        .splits = 1,
                                        .ratio = 0.15,
                                        .disjoint = true,
                                        .needs_spans = true,
                                        .most_hidden = most_hidden,
                                        .create = create,
                                        .draw = draw,
                                        .expect = expect,
                                        .destroy = destroy};
