/* Masks that are asked for instead of drawn by a policy: of given units, at given distances; and views of them. */
#include "mask.h"
#include "views.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int km_row_units(const km_row *row, km_unit unit) {
    km_units *units = km_units_create(row->length);
    km_units_find(units, row, unit);
    int count = units->count;
    km_units_destroy(units);
    return count;
}

void km_row_hide(const km_row *row, km_unit unit, const int *chosen, int count, uint8_t *mask) {
    assert(unit != KM_UNIT_SPAN);
    km_units *units = km_units_create(row->length);
    km_units_find(units, row, unit);
    memset(mask, 0, (size_t)row->length);
    for (int i = 0; i < count; i++) {
        assert(chosen[i] >= 0 && chosen[i] < units->count);
        units->order[0] = chosen[i];
        km_units_hide(mask, units, 0, 1);
    }
    km_units_destroy(units);
}

/* ---- Distances ---------------------------------------------------------------------------------------------- */

int km_mask_farthest(int units, int tau) {
    return 2 * KM_MIN(tau, units - tau);
}

/* Of one uniform permutation, mask 0 hides places 0..tau-1, and the mask at distance 2s places s..tau+s-1: the s units
 * that it gives up are a uniform choice of mask 0's, the s that it takes a uniform choice of the others. */
km_status km_mask_distances(const km_mask_spec *spec, const km_row *row, uint64_t seed, km_purpose purpose,
                            uint64_t visit, const double *shares, int count, int *distances, km_masks *out) {
    km_mask_draw draw;
    KM_TRY(km_mask_begin(&draw, spec, row, seed, purpose, visit, out));
    km_units *units = km_mask_units(&draw);
    int tau = km_mask_tau(spec, units->count), swaps = km_mask_farthest(units->count, tau) / 2;
    km_units_shuffle(units, tau + swaps, &draw.rng);
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
    km_mask_end(&draw);
    return KM_OK;
}

/* ---- Views -------------------------------------------------------------------------------------------------- */

struct km_view_maker {
    km_replacement replacement;
    km_batch_room room;
    int length;
};

km_status km_view_maker_create(km_view_maker **out, const km_corpus *corpus, int length, double replace_mask,
                               double replace_random) {
    km_view_maker *maker = km_new(1, sizeof *maker);
    maker->length = length;
    const km_batch_limits limits = {.views = 1, .tokens = length, .longest = length, .labelled = length};
    km_status status = km_replacement_init(&maker->replacement, corpus, replace_mask, replace_random);
    if (status == KM_OK) {
        status = km_batch_room_reserve(&maker->room, &limits);
    }
    if (status != KM_OK) {
        km_view_maker_destroy(maker);
        maker = NULL;
    }
    *out = maker;
    return status;
}

void km_view_maker_destroy(km_view_maker *maker) {
    if (maker != NULL) {
        km_batch_room_free(&maker->room);
        free(maker);
    }
}

km_status km_view_maker_make(km_view_maker *maker, const km_row *row, const uint8_t *mask, uint64_t seed,
                             uint64_t visit, uint32_t index, const km_batch **out) {
    assert(row->length <= maker->length);
    KM_TRY(km_replacement_check(&maker->replacement, row));
    km_rng rng = km_view_rng(seed, visit, index, row->number);
    uint64_t name = km_mix64(km_mix64(visit + 1) + row->number) + index; /* dropout's: distinct for each view */
    km_batch_room_clear(&maker->room);
    km_batch_room_add(&maker->room, row, mask, km_mix64(name) >> 16, &maker->replacement, &rng);
    *out = &maker->room.batch;
    return KM_OK;
}
