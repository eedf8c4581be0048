/* What the policies share that hide tau of a row's units: random and fully_explored. */
#include "mask.h"

#include <stdlib.h>

void km_unit_masker_prepare(km_unit_masker *masker, const km_mask_spec *spec, int length) {
    masker->units = km_units_create(length);
    masker->spans = spec->unit == KM_UNIT_SPAN ? km_units_create(length) : NULL;
}

km_status km_unit_masker_create(km_masker **out, const km_mask_spec *spec, const km_corpus *corpus, int length) {
    (void)corpus;
    km_unit_masker *masker = km_new(1, sizeof *masker);
    km_unit_masker_prepare(masker, spec, length);
    *out = &masker->masker;
    return KM_OK;
}

void km_unit_masker_destroy(km_masker *masker) {
    km_unit_masker *self = (km_unit_masker *)masker;
    km_units_destroy(self->units);
    km_units_destroy(self->spans);
    free(self);
}

/* Of u units a mask leaves u - size alone, each of at least one token; subwords are one token each. */
int km_most_hidden(const km_mask_spec *spec, int tokens, int (*size)(const km_mask_spec *spec, int units)) {
    int left = tokens;
    for (int units = spec->unit == KM_UNIT_SUBWORD ? tokens : spec->splits; units <= tokens; units++) {
        left = KM_MIN(left, units - size(spec, units));
    }
    return KM_MAX(1, tokens - left);
}

int km_most_hidden_units(const km_mask_spec *spec, int tokens) {
    return km_most_hidden(spec, tokens, km_mask_tau);
}

km_status km_unit_masker_begin(km_unit_masker *masker, const km_row *row, const km_mask_visit *visit) {
    const km_mask_spec *spec = &masker->masker.spec;
    km_units_find(masker->units, row, spec->unit);
    KM_TRY(km_mask_units_check(spec, row, spec->unit, masker->units->count));
    masker->rng = km_visit_rng(visit, row->number);
    return KM_OK;
}

bool km_unit_masker_expect(km_masker *masker, const km_row *row, double *probability) {
    km_unit_masker *self = (km_unit_masker *)masker;
    if (self->spans != NULL) {
        return false;
    }
    km_units_find(self->units, row, masker->spec.unit);
    const double hidden = (double)km_mask_tau(&masker->spec, self->units->count) / self->units->count;
    for (int u = 0; u < self->units->count; u++) {
        for (int p = self->units->ranges[u].begin; p < self->units->ranges[u].end; p++) {
            probability[p] = hidden;
        }
    }
    return true;
}

km_units *km_unit_masker_units(km_unit_masker *masker) {
    if (masker->spans == NULL) {
        return masker->units;
    }
    km_units_tile(masker->spans, masker->units, masker->masker.spec.splits, &masker->rng);
    return masker->spans;
}
