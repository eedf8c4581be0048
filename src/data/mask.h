/* mask: what the policies share. The object behind a masker, randomness by purpose, and the policies that draw units. */
#ifndef KMASK_DATA_MASK_H
#define KMASK_DATA_MASK_H

#include "units.h"

/* Every policy's state begins with this. */
struct km_masker {
    const km_mask_policy *policy;
    km_mask_spec spec;
    int length; /* of the longest row */
};

/* The generator of a visit of a row. Visits and rows are independent draws. */
km_rng km_visit_rng(const km_mask_visit *visit, uint64_t row);
/* The generator for what is drawn when view `index` of a visit is made. */
km_rng km_view_rng(uint64_t seed, uint64_t visit, uint32_t index, uint64_t row);

/* Whether K masks of the ratio can be disjoint: K ratio <= 1, or partition. */
bool km_mask_disjoint(const km_mask_spec *spec);
/* KM_USAGE where splits or ratio are out of range. */
km_status km_mask_spec_check(const km_mask_spec *spec) KM_NODISCARD;
/* KM_USAGE unless km_mask_disjoint; what a policy of disjoint masks checks. */
km_status km_mask_disjoint_check(const km_mask_spec *spec) KM_NODISCARD;
/* KM_FAILED unless a row has K units. */
km_status km_mask_units_check(const km_mask_spec *spec, const km_row *row, km_unit unit, int units) KM_NODISCARD;

/* ---- Policies that hide tau units (mask_units.c) ---- */

/* Their state. */
typedef struct km_unit_masker {
    km_masker masker;
    km_units *units; /* subwords or words */
    km_units *spans; /* NULL unless the unit is the span */
    km_rng rng;      /* of the visit */
} km_unit_masker;

/* Their create, destroy and most_hidden. */
km_status km_unit_masker_create(km_masker **out, const km_mask_spec *spec, const km_corpus *corpus,
                                int length) KM_NODISCARD;
void km_unit_masker_destroy(km_masker *masker);
/* The part of create that fills in a state which begins with theirs. */
void km_unit_masker_prepare(km_unit_masker *masker, const km_mask_spec *spec, int length);
int km_most_hidden_units(const km_mask_spec *spec, int tokens);
/* Their expect: each unit is hidden with probability tau / units. False for spans, which are tiled anew at each draw. */
bool km_unit_masker_expect(km_masker *masker, const km_row *row, double *probability);
/* Most tokens that a mask of size(spec, units) units hides in a row of `tokens` maskable tokens, however many units these are. */
int km_most_hidden(const km_mask_spec *spec, int tokens, int (*size)(const km_mask_spec *spec, int units));
/* Begins a draw: finds the row's units; fewer than K are KM_FAILED. */
km_status km_unit_masker_begin(km_unit_masker *masker, const km_row *row, const km_mask_visit *visit) KM_NODISCARD;
/* The units to choose from; spans are tiled anew at each call. */
km_units *km_unit_masker_units(km_unit_masker *masker);

/* ---- The policies ---- */

extern const km_mask_policy km_mask_random;
extern const km_mask_policy km_mask_salient;
extern const km_mask_policy km_mask_denoise;
extern const km_mask_policy km_mask_fully_explored;
extern const km_mask_policy km_mask_supervised;
extern const km_mask_policy km_mask_meta;
extern const km_mask_policy km_mask_proposal;

#endif
