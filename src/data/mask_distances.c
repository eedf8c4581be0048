/* Masks at given distances from each other. */
#include "mask.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Of one uniform permutation, mask 0 hides places 0..tau-1, and the mask at distance 2s places s..tau+s-1: the s units
 * that it gives up are a uniform choice of mask 0's, the s that it takes a uniform choice of the others. */
static km_status draw(km_unit_masker *masker, const km_row *row, const km_mask_visit *visit, const double *shares,
                      int count, int *distances, km_masks *out) {
    KM_TRY(km_unit_masker_begin(masker, row, visit));
    km_units *units = km_unit_masker_units(masker);
    int tau = km_mask_tau(&masker->masker.spec, units->count), swaps = km_mask_farthest(units->count, tau) / 2;
    km_units_shuffle(units, tau + swaps, &masker->rng);
    out->splits = 1 + count;
    out->units = units->count;
    out->tau = tau;
    memset(out->masks, 0, (size_t)out->splits * (size_t)out->stride);
    km_units_hide(out->masks, units, 0, tau);
    for (int i = 0; i < count; i++) {
        assert(shares[i] >= 0 && shares[i] <= 1);
        int swap = (int)floor(shares[i] * swaps + 0.5);
        distances[i] = 2 * swap;
        km_units_hide(out->masks + (size_t)(1 + i) * (size_t)out->stride, units, swap, tau + swap);
    }
    return KM_OK;
}

km_status km_mask_distances(const km_mask_spec *spec, const km_row *row, const km_mask_visit *visit,
                            const double *shares, int count, int *distances, km_masks *out) {
    km_masker *masker = NULL;
    KM_TRY(km_mask_spec_check(spec));
    KM_TRY(km_unit_masker_create(&masker, spec, NULL, row->length));
    masker->spec = *spec;
    km_status status = draw((km_unit_masker *)masker, row, visit, shares, count, distances, out);
    km_unit_masker_destroy(masker);
    return status;
}
