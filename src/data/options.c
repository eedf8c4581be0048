/* options: the section `mask` of a config. */
#include "kmask/data.h"

#include <string.h>

#define AT(member) offsetof(km_mask_config, member)
static const km_option mask_options[] = {
    {"policy", KM_CHOICE, AT(policy), NULL, "fully_explored", KM_FIXED,
     .help = "how the K masks of a row are drawn: disjoint, independent, names and dates, BART's noise, likely "
             "answers, or as a network proposes",
     .choices = km_mask_policy_names, .also = "masking|strategy|mask_strategy|masking_strategy|mask_type"},
    {"unit", KM_CHOICE, AT(unit), NULL, NULL, KM_FIXED,
     .help = "what is masked as a whole (default: subword; denoise: word)", .choices = km_unit_names,
     .also = "whole_word_mask|whole_word_masking|do_whole_word_mask|wwm|mask_whole_words"},
    {"ratio", KM_RATIO, AT(ratio), ">0..1", "0.15", KM_FIXED,
     .help = "share of a row that each mask hides (denoise: 0.3 unless given); partition: 1/K of it",
     .also =
         "mlm_probability|mlm_prob|mask_prob|mask_probability|masked_lm_prob|mask_ratio|masking_ratio|mask_rate"},
    {"splits", KM_INT, AT(splits), "1..1024", NULL, KM_FIXED,
     .help = "masks of each row, K (default: 4; salient, denoise: 1)",
     .also = "k|masks|num_masks|num_splits|n_masks|dupe_factor"},
    {"over", KM_CHOICE, AT(over), "step|epochs", "step", KM_FIXED,
     .help = "the K masks of a row in one step, or one a visit over K epochs"},
    {"replace_mask", KM_DOUBLE, AT(replace_mask), "0..1", "1", KM_FIXED,
     .help = "share of masked tokens, or with merge of masked pieces, shown as [MASK]",
     .also = "mask_replace_prob|mask_token_prob"},
    {"replace_random", KM_DOUBLE, AT(replace_random), "0..1", "0", KM_FIXED,
     .help = "share shown as a random token; the rest stays as it is",
     .also = "random_replace_prob|random_token_prob|random_prob"},
    {"target", KM_CHOICE, AT(target), "tokens|full|masked", NULL, KM_FIXED,
     .help =
         "what is predicted: masked tokens in their places, the full row, or the masked pieces one after the other "
         "(default: tokens; with a decoder full)"},
    {"merge", KM_FLAG, AT(merge), NULL, NULL, KM_FIXED,
     .help = "a run of masked tokens is shown as one <mask> (default: true with a decoder)"},
    {"spans", KM_INT, AT(spans), "1..1024", "1", KM_FIXED,
     .help = "salient: names, dates and numbers that each mask hides"},
    {"poisson_lambda", KM_DOUBLE, AT(poisson_lambda), "0.1..64", "3", KM_FIXED,
     .help = "denoise: mean length of a span in units; spans of none are inserted <mask>s"},
    {"permute_sentences", KM_DOUBLE, AT(permute_sentences), "0..1", "1", KM_FIXED,
     .help = "denoise: share of a document's sentences that change places"},
    {"insert", KM_DOUBLE, AT(insert), "0..1", "0", KM_FIXED,
     .help = "denoise: <mask>s inserted besides, as a share of the tokens shown"},
    {"rotate", KM_DOUBLE, AT(rotate), "0..1", "0", KM_FIXED,
     .help = "denoise: share of views that begin at another token"},
    {"model", KM_FILE, AT(model), NULL, NULL, KM_FIXED,
     .help = "supervised: the policy's file, which `kmask policy train` makes"},
    {"top", KM_INT, AT(top), "1..1000", "1", KM_FIXED,
     .help = "supervised: a mask hides one of so many best spans of the row"},
    {"weights", KM_CHOICE, AT(weights), "exact|token|none", "exact", KM_FIXED,
     .help = "proposal: importance weights of masks (the gradient is unbiased), of tokens (so but for contexts), "
             "or none"},
    {"sharpness", KM_DOUBLE, AT(sharpness), ">0..1000", NULL, KM_FIXED,
     .help = "proposal: what scores are multiplied by (default: 1 / tau with exact weights, else 1)"},
    {"uniform", KM_DOUBLE, AT(uniform), ">0..1", "0.1", KM_FIXED,
     .help = "proposal: share of each draw of a unit that is uniform; ratios of probabilities are at most 1 / it"},
    {"disjoint", KM_FLAG, AT(disjoint), NULL, "false", KM_FIXED,
     .help = "proposal: the K masks of a row are drawn without replacement, else independently"},
};
#undef AT
KM_SECTION(km_mask_section, "mask", km_mask_config, mask_options);

/* ---- What follows from other keys ---- */

static bool was_given(const km_mask_config *mask, const char *name) {
    return km_given(&km_mask_section, mask, name);
}

static void set_word(char out[KM_WORD], const char *word) {
    snprintf(out, KM_WORD, "%s", word);
}

void km_mask_resolve(km_mask_config *mask) {
    const km_mask_policy *policy = km_mask_policy_named(mask->policy);
    if (policy == NULL) {
        return;
    }
    if (mask->unit[0] == '\0') {
        set_word(mask->unit, km_unit_name(policy->unit));
    }
    if (mask->splits == 0) {
        mask->splits = policy->splits;
    }
    if (!was_given(mask, "ratio")) {
        mask->ratio = policy->ratio;
    }
}

static km_status check_target(const km_mask_config *mask, const char *model, bool decoder) {
    const bool tokens = strcmp(mask->target, "tokens") == 0;
    if (tokens && decoder) {
        return km_fail(KM_USAGE,
                       "mask.target: found tokens, but %s predicts with its decoder: full (the whole row) or "
                       "masked (the masked pieces) can be its target.",
                       model);
    }
    if (!tokens && !decoder) {
        return km_fail(KM_USAGE,
                       "mask.target: found %s, which a decoder writes, but %s has none. Leave it out, or take an "
                       "encoder-decoder such as model.type bart.",
                       mask->target, model);
    }
    return KM_OK;
}

static km_status check_merge(const km_mask_config *mask, const char *model, bool decoder) {
    const km_mask_policy *policy = km_mask_policy_named(mask->policy);
    if (policy != NULL && policy->needs_merge && !mask->merge) {
        return km_fail(
            KM_USAGE,
            decoder ? "mask.merge: found false, but mask.policy %s shows each of its spans as one <mask>. Leave it "
                      "out.%.0s"
                    : "mask.policy: found %s, which shows spans of any length as one <mask>; %s "
                      "predicts tokens in their places and cannot be trained on it. Take random or "
                      "fully_explored, or an encoder-decoder such as model.type bart.",
            mask->policy, model);
    }
    if (mask->merge && !decoder) {
        return km_fail(KM_USAGE,
                       "mask.merge: found true, but %s predicts masked tokens in their places, so each needs one. "
                       "Leave it out.",
                       model);
    }
    return KM_OK;
}

static km_status check_live(const km_mask_config *mask, const char *model, bool decoder) {
    const km_mask_policy *policy = km_mask_policy_named(mask->policy);
    if (policy != NULL && policy->live && decoder) {
        return km_fail(
            KM_USAGE,
            "mask.policy: found %s, whose network learns from the gradients at masked tokens in their "
            "places, but %s predicts with its decoder. Take random or fully_explored, or an encoder such "
            "as model.type bert.",
            mask->policy, model);
    }
    return KM_OK;
}

km_status km_mask_resolve_target(km_mask_config *mask, const char *model, bool decoder) {
    if (mask->target[0] == '\0') {
        const km_mask_policy *policy = km_mask_policy_named(mask->policy);
        const bool masked = policy != NULL && policy->target == KM_TARGET_MASKED;
        set_word(mask->target, !decoder ? "tokens" : masked ? "masked" : "full");
    }
    if (!was_given(mask, "merge")) {
        mask->merge = decoder;
    }
    KM_TRY(check_target(mask, model, decoder));
    KM_TRY(check_live(mask, model, decoder));
    return check_merge(mask, model, decoder);
}

/* ---- Looking up names ---- */

bool km_target_named(km_target *out, const char *name) {
    static const char *const targets[] = {
        [KM_TARGET_TOKENS] = "tokens", [KM_TARGET_FULL] = "full", [KM_TARGET_MASKED] = "masked"};
    for (size_t i = 0; i < KM_COUNT(targets); i++) {
        if (strcmp(targets[i], name) == 0) {
            *out = (km_target)i;
            return true;
        }
    }
    return false;
}

km_status km_masking_of(km_masking *out, const km_mask_config *config, int64_t decoder_start) {
    *out = (km_masking){.policy = km_mask_policy_named(config->policy),
                        .spec = {.splits = (int)config->splits,
                                 .ratio = config->ratio,
                                 .spans = (int)config->spans,
                                 .poisson_lambda = config->poisson_lambda,
                                 .permute_sentences = config->permute_sentences,
                                 .insert = config->insert,
                                 .rotate = config->rotate,
                                 .top = (int)config->top,
                                 .sharpness = config->sharpness,
                                 .uniform = config->uniform,
                                 .disjoint = config->disjoint},
                        .over_epochs = strcmp(config->over, "epochs") == 0,
                        .view = {.merge = config->merge,
                                 .decoder_start = (int32_t)decoder_start,
                                 .replace_mask = config->replace_mask,
                                 .replace_random = config->replace_random}};
    if (config->weights[0] != '\0' && !km_weighting_named(&out->spec.weighting, config->weights)) {
        return km_fail(KM_USAGE, "mask.weights: unknown name %s", config->weights);
    }
    if (out->policy == NULL || !km_unit_named(&out->spec.unit, config->unit) ||
        (config->target[0] != '\0' && !km_target_named(&out->view.target, config->target))) {
        return km_fail(KM_USAGE, "mask.policy, mask.unit or mask.target: unknown name");
    }
    return KM_OK;
}

km_unit km_masking_unit(const km_masking *masking) {
    return masking->policy->needs_spans ? KM_UNIT_SALIENT : masking->spec.unit;
}

km_status km_mask_config_check(const km_mask_config *mask) {
    const double shown = mask->replace_mask + mask->replace_random;
    km_masking masking;
    KM_TRY(km_masking_of(&masking, mask, -1));
    KM_TRY(km_mask_policy_check(masking.policy, &masking.spec));
    if (masking.policy->needs_model && mask->model[0] == '\0') {
        return km_fail(
            KM_USAGE,
            "mask.model: not given, but mask.policy %s is learned. Name the file that `kmask policy train` "
            "made.",
            mask->policy);
    }
    if (masking.policy->live && masking.spec.disjoint && masking.over_epochs) {
        return km_fail(
            KM_USAGE,
            "mask.disjoint: found true with mask.over epochs, but the scores of mask.policy %s change from "
            "epoch to epoch, so masks of several epochs are not disjoint. Leave one of both out.",
            mask->policy);
    }
    if (!km_at_most(shown, 1)) {
        return km_fail(KM_USAGE, "mask.replace_mask + mask.replace_random: found %g + %g = %g, expected at most 1",
                       mask->replace_mask, mask->replace_random, shown);
    }
    return KM_OK;
}
