/* options: the section `policy` of a config. */
#include "kmask/policy.h"

#include <string.h>

#define AT(member) offsetof(km_policy_config, member)
static const km_option policy_options[] = {
    {"kind", KM_CHOICE, AT(kind), "supervised|meta", "supervised", KM_FIXED,
     .help = "learned from where answers stand in contexts, or from what masking does to the loss of the task",
     .planned = "proposal"},
    {"examples", KM_FILE, AT(examples), NULL, KM_REQUIRED, KM_FIXED,
     .help = "JSONL, or .gz of it: context, source, target (a text or a list of accepted ones)"},
    {"dev", KM_FILE, AT(dev), NULL, NULL, KM_FIXED, .help = "examples that choose the best epoch (supervised)"},
    {"dev_share", KM_DOUBLE, AT(dev_share), "0..<1", "0.1", KM_FIXED,
     .help = "without policy.dev: share of the contexts, by a hash of their text, that is held out instead"},
    {"init", KM_FILE, AT(init), NULL, KM_REQUIRED, KM_FIXED,
     .help = "the model whose embeddings and tokenizer are taken; supervised: or a tokenizer's folder"},
    {"embeddings", KM_CHOICE, AT(embeddings), "trained|frozen", "trained", KM_FIXED,
     .help = "whether the policy's embeddings are trained too"},
    {"embedding_std", KM_DOUBLE, AT(embedding_std), "0..1e3", "0", KM_FIXED,
     .help = "standard deviation that the embeddings are scaled to at the start; 0: the model's, or 0.02"},
    {"width", KM_INT, AT(width), "1..65536", "256", KM_FIXED,
     .help = "of the embeddings, where policy.init is a tokenizer alone"},
    {"hidden", KM_INT, AT(hidden), "1..65536", "256", KM_FIXED,
     .help = "units of the LSTM in each direction, or channels of the convolution"},
    {"layers", KM_INT, AT(layers), "1..8", "2", KM_FIXED, .help = "supervised: of the LSTM"},
    {"kernel", KM_INT, AT(kernel), "1..255", "3", KM_FIXED, .help = "meta: width of the convolution, odd"},
    {"length", KM_INT, AT(length), "3..65535", NULL, KM_FIXED,
     .help = "tokens of a context, source or target; what is longer is cut (default: supervised 512, meta 128)"},
    {"whole_words", KM_FLAG, AT(whole_words), NULL, "true", KM_FIXED,
     .help = "supervised: spans to mask are whole words"},
    {"longest", KM_INT, AT(longest), "1..65535", "10", KM_FIXED,
     .help = "supervised: words of a span to mask, at most (tokens, where whole_words is false)"},
    {"epochs", KM_INT, AT(epochs), "1..1e9", "30", KM_FIXED, .help = "passes over the examples"},
    {"patience", KM_INT, AT(patience), "0..1e9", "0", KM_FIXED,
     .help = "supervised: training ends after so many epochs without a better loss on held-out examples; 0: never"},
    {"batch", KM_INT, AT(batch), "1..1e6", NULL, KM_FIXED,
     .help = "examples of a step (default: supervised 512, meta 32)"},
    {"micro_batch", KM_INT, AT(micro_batch), "1..65536", "16", KM_FIXED,
     .help = "examples that a thread computes together"},
    {"lr", KM_DOUBLE, AT(lr), ">0..1", "1e-5", KM_FIXED, .help = "supervised: learning rate of Adam, constant"},
    {"weight_decay", KM_DOUBLE, AT(weight_decay), "0..1", "0", KM_FIXED, .help = "supervised: AdamW's"},
    {"dropout", KM_DOUBLE, AT(dropout), "0..<1", "0", KM_FIXED,
     .help = "supervised: of the embeddings, between the layers and before the logits"},
    {"clip", KM_DOUBLE, AT(clip), "0..1e9", "0", KM_FIXED,
     .help = "the largest norm of the policy's gradient; 0: no clipping"},
    {"alpha0", KM_DOUBLE, AT(alpha0), "0..1e6", "1e-2", KM_FIXED,
     .help = "meta: rate of the inner pre-training step"},
    {"alpha1", KM_DOUBLE, AT(alpha1), "0..1e6", "1e-2", KM_FIXED,
     .help = "meta: rate of the inner fine-tuning step"},
    {"alpha2", KM_DOUBLE, AT(alpha2), "0..1e9", "1", KM_FIXED, .help = "meta: rate of the policy's SGD"},
    {"beta", KM_DOUBLE, AT(beta), "0..1e9", "1e-3", KM_FIXED, .help = "meta: weight of the budget term"},
    {"gamma", KM_DOUBLE, AT(gamma), "0..1", "0.15", KM_FIXED, .help = "meta: share of a context to mask"},
    {"epsilon", KM_DOUBLE, AT(epsilon), "0..1", "0.05", KM_FIXED,
     .help = "meta: deviation from it that costs nothing"},
    {"temperature", KM_DOUBLE, AT(temperature), ">0..1e3", "1", KM_FIXED, .help = "meta: of the Gumbel softmax"},
    {"hard", KM_FLAG, AT(hard), NULL, "false", KM_FIXED,
     .help = "meta: decisions are 0 or 1, with the gradient of soft ones"},
    {"keep_pretrained", KM_FLAG, AT(keep_pretrained), NULL, "true", KM_FIXED,
     .help = "meta: the model keeps each inner pre-training step (Algorithm 1); false: it starts from policy.init "
             "at each"},
    {"objective", KM_CHOICE, AT(objective), "decrease|loss", "decrease", KM_FIXED,
     .help = "meta: what is minimized, the change of the task's loss by a step (Eq. 5), or the loss behind it"},
};
#undef AT
KM_SECTION(km_policy_section, "policy", km_policy_config, policy_options);

static const km_part parts[] = {
    {&km_run_section, offsetof(km_policy_input, run)},
    {&km_policy_section, offsetof(km_policy_input, policy)},
    {&km_checkpoint_section, offsetof(km_policy_input, checkpoint)},
    {&km_parallel_section, offsetof(km_policy_input, parallel)},
};
const km_schema km_policy_schema = {
    .verb = "policy", .size = sizeof(km_policy_input), .parts = parts, .count = KM_COUNT(parts)};

static void resolve(km_policy_config *policy) {
    const bool meta = strcmp(policy->kind, "meta") == 0;
    policy->length = policy->length > 0 ? policy->length : meta ? 128 : 512;
    policy->batch = policy->batch > 0 ? policy->batch : meta ? 32 : 512;
}

km_status km_policy_load(km_policy_input *out, const km_config_source *source) {
    KM_TRY(km_schema_read(&km_policy_schema, out, source));
    KM_TRY(km_schema_require(&km_policy_schema, out, NULL));
    KM_TRY(km_schema_fill(&km_policy_schema, out));
    resolve(&out->policy);
    return out->policy.kernel % 2 == 1 ? KM_OK
                                       : km_fail(KM_USAGE, "policy.kernel: found %lld, expected an odd number",
                                                 (long long)out->policy.kernel);
}
