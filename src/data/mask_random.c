/* Random masks: K independent masks, each uniform over the sets of tau units: the control of Theorem 1 of Zheng
 * et al. 2020, where Cov(g(m1), g(m2)) = 0. K = 1 is the standard masked language model. For spans every mask has
 * a tiling of its own, so that the masks are independent and each is distributed as a fully-explored one. */
#include "mask.h"

static km_status draw(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out) {
    km_unit_masker *self = (km_unit_masker *)masker;
    KM_TRY(km_unit_masker_begin(self, row, visit));
    for (int k = 0; k < masker->spec.splits; k++) {
        km_units *units = km_unit_masker_units(self);
        int tau = km_mask_tau(&masker->spec, units->count);
        km_units_shuffle(units, tau, &self->rng);
        km_units_hide(out->masks + (size_t)k * (size_t)out->stride, units, 0, tau);
        if (k == 0) {
            out->units = units->count;
            out->tau = tau;
        }
    }
    return KM_OK;
}

const km_mask_policy km_mask_random = {.name = "random",
                                       .help = "K independent masks of a row",
                                       .splits = 4,
                                       .ratio = 0.15,
                                       .uniform = true,
                                       .most_hidden = km_most_hidden_units,
                                       .create = km_unit_masker_create,
                                       .draw = draw,
                                       .expect = km_unit_masker_expect,
                                       .destroy = km_unit_masker_destroy};
