/* options: the sections `data` and `mask` of a config. */
#include "kmask/data.h"

#include <string.h>

#define AT(member) offsetof(km_data_config, member)
static const km_option data_options[] = {
    {"train", KM_FILE, AT(train), NULL, KM_REQUIRED, KM_MAY_CHANGE,
     .help = "the corpus; another path must have the same content"},
    {"eval", KM_FILE, AT(eval), NULL, NULL, KM_MAY_CHANGE, .help = "a corpus that is held out"},
    {"length", KM_INT, AT(length), "3..65535", "128", KM_FIXED,
     .help = "tokens of a row, with first and last special token"},
    {"packing", KM_CHOICE, AT(packing), NULL, "full_sentences", KM_FIXED,
     .help = "whole sentences; the same, never across documents; or filled to the brim",
     .choices = km_packing_names},
};
#undef AT
KM_SECTION(km_data_section, "data", km_data_config, data_options);

#define AT(member) offsetof(km_mask_config, member)
static const km_option mask_options[] = {
    {"policy", KM_CHOICE, AT(policy), NULL, "fully_explored", KM_FIXED,
     .help = "K disjoint masks of a row, or K independent ones", .choices = km_mask_policy_names,
     .planned = "salient|denoise|supervised|meta|proposal"},
    {"unit", KM_CHOICE, AT(unit), NULL, "subword", KM_FIXED, .help = "what is masked as a whole",
     .choices = km_unit_names},
    {"ratio", KM_RATIO, AT(ratio), ">0..1", "0.15", KM_FIXED,
     .help = "share of a row that each mask hides; partition: 1/K of it"},
    {"splits", KM_INT, AT(splits), "1..1024", "4", KM_FIXED, .help = "masks of each row (K)"},
    {"over", KM_CHOICE, AT(over), "step|epochs", "step", KM_FIXED,
     .help = "the K masks of a row in one step, or one a visit over K epochs"},
    {"replace_mask", KM_DOUBLE, AT(replace_mask), "0..1", "1", KM_FIXED,
     .help = "share of masked tokens shown as [MASK]"},
    {"replace_random", KM_DOUBLE, AT(replace_random), "0..1", "0", KM_FIXED,
     .help = "share shown as a random token; the rest stays as it is"},
};
#undef AT
KM_SECTION(km_mask_section, "mask", km_mask_config, mask_options);

km_status km_mask_config_check(const km_mask_config *mask) {
    const double shown = mask->replace_mask + mask->replace_random;
    const km_mask_policy *policy = km_mask_policy_named(mask->policy);
    km_mask_spec spec = {.splits = (int)mask->splits, .ratio = mask->ratio};
    if (policy == NULL || !km_unit_named(&spec.unit, mask->unit)) {
        return km_fail(KM_USAGE, "mask.policy or mask.unit: unknown name");
    }
    KM_TRY(km_mask_policy_check(policy, &spec));
    if (!km_at_most(shown, 1)) {
        return km_fail(KM_USAGE, "mask.replace_mask + mask.replace_random: found %g + %g = %g, expected at most 1",
                       mask->replace_mask, mask->replace_random, shown);
    }
    return KM_OK;
}
