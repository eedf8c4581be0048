/* Fully-explored masks: K disjoint masks of tau units (Zheng et al. 2020, Algorithm 1 and Eq. 10). Every pair has
 * Hamming distance 2 tau, and each mask alone is uniform over the sets of tau units (Lemma 2), because the masks
 * are successive pieces of one uniform permutation; for the same reason they are exchangeable. What partition
 * leaves over, n mod K units, is the permutation's tail and new at every visit. */
#include "mask.h"

static km_status draw(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out) {
    km_unit_masker *self = (km_unit_masker *)masker;
    const km_mask_spec *spec = &masker->spec;
    KM_TRY(km_unit_masker_begin(self, row, visit));
    km_units *units = km_unit_masker_units(self);
    int tau = km_mask_tau(spec, units->count);
    km_units_shuffle(units, spec->splits * tau, &self->rng);
    for (int k = 0; k < spec->splits; k++) {
        km_units_hide(out->masks + (size_t)k * (size_t)out->stride, units, k * tau, (k + 1) * tau);
    }
    out->units = units->count;
    out->tau = tau;
    return KM_OK;
}

const km_mask_policy km_mask_fully_explored = {.name = "fully_explored",
                                               .help = "K disjoint masks of a row",
                                               .splits = 4,
                                               .ratio = 0.15,
                                               .disjoint = true,
                                               .uniform = true,
                                               .check = km_mask_disjoint_check,
                                               .most_hidden = km_most_hidden_units,
                                               .create = km_unit_masker_create,
                                               .draw = draw,
                                               .expect = km_unit_masker_expect,
                                               .destroy = km_unit_masker_destroy};
