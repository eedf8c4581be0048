/* The section `masks` of a config, and the config of `kmask masks`, which has it beside the sections of a run. */
#include <string.h>

#include "census.h"

#define AT(member) offsetof(km_census_config, member)
static const km_option census_options[] = {
    {"policies", KM_TEXT_LIST, AT(policies), NULL, NULL, KM_ORIGIN,
     .help = "policies to compare, each with its own defaults for what `mask` does not give (default: mask.policy)",
     .choices = km_mask_policy_names},
    {"share", KM_DOUBLE, AT(share), ">0..1", "0.01", KM_ORIGIN, .help = "share of the rows that are looked at"},
    {"draws", KM_INT, AT(draws), "1..1000000", "16", KM_ORIGIN,
     .help = "visits of each row, for policies whose expected masks have no closed form"},
};
#undef AT
KM_SECTION(km_census_section, "masks", km_census_config, census_options);

static const km_part part = {&km_census_section, offsetof(km_census_input, masks)};

const km_schema km_census_schema = {
    .verb = "masks", .size = sizeof(km_census_input), .parts = &part, .count = 1, .first = &km_config_schema};

km_status km_census_masking(km_masking *out, const km_config *config, const char *policy) {
    km_mask_config mask = config->mask;
    const bool own = strcmp(mask.policy, policy) == 0;
    snprintf(mask.policy, sizeof mask.policy, "%s", policy);
    if (!own && !km_given(&km_mask_section, &mask, "unit")) {
        mask.unit[0] = '\0';
    }
    if (!own && !km_given(&km_mask_section, &mask, "splits")) {
        mask.splits = 0;
    }
    km_mask_resolve(&mask);
    KM_TRY(km_mask_config_check(&mask));
    return km_masking_of(out, &mask, -1);
}

static km_status check_policies(const km_census_input *in) {
    km_masking masking;
    for (int i = 0; i < in->masks.policies.count; i++) {
        const char *name = km_texts_at(&in->masks.policies, i);
        km_status status = km_census_masking(&masking, &in->config, name);
        if (status != KM_OK) {
            return km_context(status, "masks.policies %s", name);
        }
    }
    return KM_OK;
}

static km_status finish(km_census_input *in) {
    static const char *const required[] = {"data.train", NULL};
    KM_TRY(km_schema_require(&km_census_schema, in, required));
    KM_TRY(km_schema_fill(&km_census_schema, in));
    KM_TRY(km_config_settle(&in->config));
    return check_policies(in);
}

km_status km_census_load(km_census_input *out, const km_config_source *source) {
    KM_TRY(km_schema_read(&km_census_schema, out, source));
    km_status status = finish(out);
    return status == KM_OK || source->path == NULL ? status : km_context(status, "%s", source->path);
}
