/* The table of policies, the size of a mask, and the units of a row. */
#include "mask.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const km_mask_policy *const policies[] = {&km_mask_fully_explored, &km_mask_random};

const km_mask_policy *km_mask_policy_named(const char *name) {
    for (size_t i = 0; i < KM_COUNT(policies); i++) {
        if (strcmp(policies[i]->name, name) == 0) {
            return policies[i];
        }
    }
    return NULL;
}

const char *km_mask_policy_names(void) {
    static char names[KM_NAMES];
    const char *words[KM_COUNT(policies)];
    for (size_t i = 0; i < KM_COUNT(policies); i++) {
        words[i] = policies[i]->name;
    }
    return km_names_join(names, words, KM_COUNT(policies));
}

bool km_mask_disjoint(const km_mask_spec *spec) {
    const double rounding = 1e-9; /* three masks of 0.333333333333 and ten of 0.1 are meant to fit */
    return spec->splits * spec->ratio <= 1 + rounding;
}

int km_mask_tau(const km_mask_spec *spec, int units) {
    int share = units / spec->splits;
    if (spec->ratio == 0) {
        return share;
    }
    int tau = KM_MAX(1, (int)floor(spec->ratio * units + 0.5));
    return km_mask_disjoint(spec) ? KM_MIN(tau, share) : KM_MIN(tau, units);
}

km_status km_mask_spec_check(const km_mask_spec *spec) {
    if (spec->splits < 1) {
        return km_fail(KM_USAGE, "mask.splits is %d; at least 1 is needed.", spec->splits);
    }
    if (!(spec->ratio >= 0 && spec->ratio <= 1)) {
        return km_fail(KM_USAGE, "mask.ratio is %g; it must be above 0 and at most 1, or \"partition\".",
                       spec->ratio);
    }
    return KM_OK;
}

km_units *km_units_create(int length) {
    km_units *units = km_new(1, sizeof *units);
    units->capacity = length;
    units->runs = km_new((size_t)length, sizeof *units->runs);
    units->order = km_new((size_t)length, sizeof *units->order);
    return units;
}

void km_units_destroy(km_units *units) {
    if (units != NULL) {
        free(units->runs);
        free(units->order);
        free(units);
    }
}

void km_units_find(km_units *out, const km_row *row, km_unit unit) {
    assert(out->capacity >= row->length);
    out->count = 0;
    for (int p = 0; p < row->length; p++) {
        if (!row->maskable[p]) {
            continue;
        }
        bool begins = unit == KM_UNIT_SUBWORD || row->starts_word[p] || p == 0 || !row->maskable[p - 1];
        if (begins) {
            out->runs[out->count++] = (km_run){p, p + 1};
        } else {
            out->runs[out->count - 1].end = p + 1;
        }
    }
}

void km_units_shuffle(km_units *units, int prefix, km_rng *rng) {
    assert(prefix >= 0 && prefix <= units->count);
    int *order = units->order;
    for (int i = 0; i < units->count; i++) {
        order[i] = i;
    }
    for (int i = 0; i < prefix; i++) {
        int j = i + (int)km_rng_below(rng, (uint32_t)(units->count - i));
        int chosen = order[j];
        order[j] = order[i];
        order[i] = chosen;
    }
}

void km_units_hide(uint8_t *mask, const km_units *units, int from, int to) {
    for (int i = from; i < to; i++) {
        km_run run = units->runs[units->order[i]];
        memset(mask + run.begin, 1, (size_t)(run.end - run.begin));
    }
}

/* The counter has 32 bits for the visit; the rest goes into the key. The seed itself is untouched for visits below
 * 2^32, since km_mix64(0) = 0. */
km_rng km_visit_rng(uint64_t seed, km_purpose purpose, uint64_t visit, uint64_t row) {
    return km_rng_make(seed ^ km_mix64(visit >> 32), purpose, (uint32_t)visit, row);
}

km_rng km_view_rng(uint64_t seed, uint64_t visit, uint32_t index, uint64_t row) {
    return km_rng_make(seed ^ km_mix64(visit + 1), KM_RNG_REPLACE, index, row);
}

km_status km_mask_begin(km_mask_draw *draw, const km_mask_spec *spec, const km_row *row, uint64_t seed,
                        km_purpose purpose, uint64_t visit, km_masks *out) {
    KM_TRY(km_mask_spec_check(spec));
    km_units *units = km_units_create(row->length);
    km_units_find(units, row, spec->unit);
    if (units->count < spec->splits) {
        km_status status =
            km_fail(KM_FAILED,
                    "row %llu has %d maskable %s, but mask.splits asks for %d masks. Lower it, or form "
                    "rows of at least that many.",
                    (unsigned long long)row->number, units->count,
                    spec->unit == KM_UNIT_SUBWORD ? "tokens" : "words", spec->splits);
        km_units_destroy(units);
        return status;
    }
    assert(out->masks != NULL && out->stride >= row->length);
    out->splits = spec->splits;
    memset(out->masks, 0, (size_t)spec->splits * (size_t)out->stride);
    draw->spec = spec;
    draw->units = units;
    draw->spans = spec->unit == KM_UNIT_SPAN ? km_units_create(row->length) : NULL;
    draw->rng = km_visit_rng(seed, purpose, visit, row->number);
    return KM_OK;
}

km_units *km_mask_units(km_mask_draw *draw) {
    if (draw->spans == NULL) {
        return draw->units;
    }
    km_units_tile(draw->spans, draw->units, draw->spec->splits, &draw->rng);
    return draw->spans;
}

void km_mask_end(km_mask_draw *draw) {
    km_units_destroy(draw->units);
    km_units_destroy(draw->spans);
}
