/* The table of policies, the checks and sizes that they share, and maskers. */
#include "mask.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- The table ---- */

static const km_mask_policy *const policies[] = {&km_mask_fully_explored, &km_mask_random,     &km_mask_salient,
                                                 &km_mask_denoise,        &km_mask_supervised, &km_mask_meta,
                                                 &km_mask_proposal};

const km_mask_policy *km_mask_policy_at(int index) {
    return index >= 0 && index < (int)KM_COUNT(policies) ? policies[index] : NULL;
}

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

/* ---- Sizes and checks ---- */

bool km_mask_disjoint(const km_mask_spec *spec) {
    return km_at_most(spec->splits * spec->ratio,
                      1); /* three masks of 0.333333333333 and ten of 0.1 are meant to fit */
}

int km_mask_tau(const km_mask_spec *spec, int units) {
    int share = units / spec->splits;
    if (spec->ratio == 0) {
        return share;
    }
    int tau = KM_MAX(1, (int)floor(spec->ratio * units + 0.5));
    return km_mask_disjoint(spec) ? KM_MIN(tau, share) : KM_MIN(tau, units);
}

int km_mask_farthest(int units, int tau) {
    return 2 * KM_MIN(tau, units - tau);
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

km_status km_mask_disjoint_check(const km_mask_spec *spec) {
    if (km_mask_disjoint(spec)) {
        return KM_OK;
    }
    return km_fail(KM_USAGE,
                   "mask.splits: %d disjoint masks of mask.ratio %g would hide %g of each row, expected at "
                   "most 1. Lower either, set mask.ratio=partition, or use mask.policy random.",
                   spec->splits, spec->ratio, spec->splits * spec->ratio);
}

km_status km_mask_units_check(const km_mask_spec *spec, const km_row *row, km_unit unit, int units) {
    if (units >= spec->splits) {
        return KM_OK;
    }
    return km_fail(KM_FAILED,
                   "row %llu has %d maskable %s, but mask.splits asks for %d masks. Lower it, or form "
                   "rows of at least that many.",
                   (unsigned long long)row->number, units, km_unit_counted(unit), spec->splits);
}

km_status km_mask_policy_check(const km_mask_policy *policy, const km_mask_spec *spec) {
    KM_TRY(km_mask_spec_check(spec));
    return policy->check != NULL ? policy->check(spec) : KM_OK;
}

/* ---- Randomness ---- */

/* The counter has 32 bits for the visit; the rest goes into the key. The seed itself is untouched for visits below
 * 2^32, since km_mix64(0) = 0. */
km_rng km_visit_rng(const km_mask_visit *visit, uint64_t row) {
    return km_rng_make(visit->seed ^ km_mix64(visit->number >> 32), visit->purpose, (uint32_t)visit->number, row);
}

km_rng km_view_rng(uint64_t seed, uint64_t visit, uint32_t index, uint64_t row) {
    return km_rng_make(seed ^ km_mix64(visit + 1), KM_RNG_REPLACE, index, row);
}

/* ---- Maskers ---- */

km_status km_masker_create(km_masker **out, const km_mask_policy *policy, const km_mask_spec *spec,
                           const km_corpus *corpus, int length) {
    *out = NULL;
    KM_TRY(km_mask_policy_check(policy, spec));
    if (policy->needs_spans && !km_corpus_has_spans(corpus)) {
        return km_fail(
            KM_USAGE,
            "mask.policy %s: %s holds no names, dates and numbers. Build it again with `kmask corpus build "
            "--spans find`, or from JSONL with \"entities\".",
            policy->name, km_corpus_path(corpus));
    }
    KM_TRY(policy->create(out, spec, corpus, length));
    (*out)->policy = policy;
    (*out)->spec = *spec;
    (*out)->length = length;
    return KM_OK;
}

void km_masker_destroy(km_masker *masker) {
    if (masker != NULL) {
        masker->policy->destroy(masker);
    }
}

void km_masks_create(km_masks *out, const km_masker *masker) {
    const km_mask_policy *policy = masker->policy;
    const size_t splits = (size_t)masker->spec.splits;
    *out = (km_masks){.splits = masker->spec.splits, .stride = masker->length};
    out->masks = km_new(splits * (size_t)masker->length, 1);
    out->weights = policy->weighted ? km_new(splits * (size_t)masker->length, sizeof *out->weights) : NULL;
    if (policy->longest_order != NULL) {
        out->order_stride = policy->longest_order(&masker->spec, masker->length);
        out->orders = km_new(splits * (size_t)out->order_stride, sizeof *out->orders);
        out->counts = km_new(splits, sizeof *out->counts);
    }
}

void km_masks_free(km_masks *masks) {
    free(masks->masks);
    free(masks->weights);
    free(masks->orders);
    free(masks->counts);
    *masks = (km_masks){0};
}

bool km_masker_expect(km_masker *masker, const km_row *row, double *probability) {
    memset(probability, 0, (size_t)row->length * sizeof *probability);
    return masker->policy->expect != NULL && masker->policy->expect(masker, row, probability);
}

km_status km_masker_draw(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out) {
    assert(out->masks != NULL && out->stride >= row->length);
    assert(masker->policy->longest_order == NULL || out->orders != NULL);
    assert(!masker->policy->weighted || out->weights != NULL);
    out->splits = masker->spec.splits;
    memset(out->masks, 0, (size_t)out->splits * (size_t)out->stride);
    return masker->policy->draw(masker, row, visit, out);
}
