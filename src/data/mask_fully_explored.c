/* Fully-explored masks: K disjoint masks of tau units (Zheng et al. 2020, Algorithm 1 and Eq. 10). Every pair has
 * Hamming distance 2 tau, and each mask alone is uniform over the sets of tau units (Lemma 2), because the masks
 * are successive pieces of one uniform permutation; for the same reason they are exchangeable. What partition
 * leaves over, n mod K units, is the permutation's tail and new at every visit. */
#include "mask.h"

static km_status draw_fully_explored(const km_mask_spec *spec, const km_row *row, uint64_t seed, km_purpose purpose,
                                     uint64_t visit, km_masks *out) {
    if (!km_mask_disjoint(spec)) {
        return km_fail(
            KM_USAGE,
            "mask.policy fully_explored: %d disjoint masks (mask.splits) of a share of %g (mask.ratio) are "
            "%g of a row; at most 1 fits. Lower one of them, or take mask.ratio \"partition\".",
            spec->splits, spec->ratio, spec->splits * spec->ratio);
    }
    km_mask_draw draw;
    KM_TRY(km_mask_begin(&draw, spec, row, seed, purpose, visit, out));
    km_units *units = km_mask_units(&draw);
    int tau = km_mask_tau(spec, units->count);
    km_units_shuffle(units, spec->splits * tau, &draw.rng);
    for (int k = 0; k < spec->splits; k++) {
        km_units_hide(out->masks + (size_t)k * (size_t)out->stride, units, k * tau, (k + 1) * tau);
    }
    out->units = units->count;
    out->tau = tau;
    km_mask_end(&draw);
    return KM_OK;
}

const km_mask_policy km_mask_fully_explored = {"fully_explored", draw_fully_explored};
