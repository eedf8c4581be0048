/* Random masks: K independent masks, each uniform over the sets of tau units: the control of Theorem 1 of Zheng
 * et al. 2020, where Cov(g(m1), g(m2)) = 0. K = 1 is the standard masked language model. For spans every mask has
 * a tiling of its own, so that the masks are independent and each is distributed as a fully-explored one. */
#include "mask.h"

static km_status draw_random(const km_mask_spec *spec, const km_row *row, uint64_t seed, km_purpose purpose,
                             uint64_t visit, km_masks *out) {
    km_mask_draw draw;
    KM_TRY(km_mask_begin(&draw, spec, row, seed, purpose, visit, out));
    for (int k = 0; k < spec->splits; k++) {
        km_units *units = km_mask_units(&draw);
        int tau = km_mask_tau(spec, units->count);
        km_units_shuffle(units, tau, &draw.rng);
        km_units_hide(out->masks + (size_t)k * (size_t)out->stride, units, 0, tau);
        if (k == 0) {
            out->units = units->count;
            out->tau = tau;
        }
    }
    km_mask_end(&draw);
    return KM_OK;
}

const km_mask_policy km_mask_random = {"random", draw_random};
