/* RoBERTa (Liu et al. 2019) as transformers' RobertaForMaskedLM computes it: BERT with other names, whose positions start behind the
 * pad token's id. */
#include "bert.h"

static void fill_base(km_model_config *config) {
    km_bert_fill_sizes(config, 768, 12, 12, 3072);
}

static void fill(km_model_config *config) {
    km_bert_fill(config, 514, 1, 1e-5);
}

static km_status check(const km_model_config *c) {
    KM_TRY(km_bert_check(c));
    KM_TRY(km_bert_check_pad(c, 0));
    if (c->max_position_embeddings <= c->pad_token_id + 1) {
        return km_fail(KM_USAGE,
                       "model.max_position_embeddings is %lld, but RoBERTa's positions start after the pad token's "
                       "id (%lld): expected more, such as 514.",
                       (long long)c->max_position_embeddings, (long long)c->pad_token_id);
    }
    return KM_OK;
}

static int64_t longest(const km_model_config *config) {
    return config->max_position_embeddings - (config->pad_token_id + 1);
}

static int64_t usual_longest(const km_model_config *config, const char **why) {
    *why = ", and roberta's positions start at 2";
    return config->max_position_embeddings - 2;
}

/* Pad tokens have the row of the pad token's id; the others are counted from the row behind it. */
static void take_config(km_model *model) {
    km_bert_take_config(model);
    model->stacks[KM_ENCODER].pad_position = model->pad;
    model->stacks[KM_ENCODER].first_position = model->pad + 1;
}

static const km_preset presets[] = {{"roberta-base", fill_base, 0}};

static const km_interchange_number numbers[] = {{"vocab_size", 50265},
                                                {"hidden_size", 768},
                                                {"num_hidden_layers", 12},
                                                {"num_attention_heads", 12},
                                                {"intermediate_size", 3072},
                                                {"max_position_embeddings", 512},
                                                {"type_vocab_size", 2},
                                                {"layer_norm_eps", 1e-12},
                                                {"hidden_dropout_prob", 0.1},
                                                {"attention_probs_dropout_prob", 0.1},
                                                {"initializer_range", 0.02},
                                                {"pad_token_id", 1},
                                                {NULL, 0}};

static const km_interchange_copy copies[] = {
    {"lm_head.decoder.bias", "lm_head.bias"},
    {"lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"},
    {NULL, NULL}};

static const km_masked_lm_options masked_lm = {
    .dense = "lm_head.dense", .norm = "lm_head.layer_norm", .bias = "lm_head.bias", .exact_gelu = true};

static const km_classes_options classes = {
    .dense = "classifier.dense", .out = "classifier.out_proj", .dropout_first = true};

const km_architecture km_roberta = {
    .files = {.type = "roberta",
              .class_prefix = "Roberta",
              .numbers = numbers,
              .switches = km_bert_switches,
              .width = "hidden_size",
              .activation = "hidden_act",
              .separators = 2,
              .sequence_ids = true,
              .root = "roberta.",
              .words = km_bert_words,
              .backbone = km_bert_backbone,
              .unused = km_bert_unused,
              .head = "lm_head.",
              .copies = copies,
              .buffers = km_bert_buffers},
    .presets = presets,
    .preset_count = KM_COUNT(presets),
    .vocabulary = 50265,
    .required = km_bert_required,
    .dropouts = km_bert_dropouts,
    .heads = {[KM_HEAD_TOKENS] = {&km_head_masked_lm, "RobertaForMaskedLM", &masked_lm},
              [KM_HEAD_CLASSES] = {&km_head_classes, "RobertaForSequenceClassification", &classes}},
    .fill = fill,
    .check = check,
    .longest = longest,
    .usual_longest = usual_longest,
    .take_config = take_config,
    .place = km_bert_place,
    .clear_rows = km_bert_clear_rows,
    .forward = km_bert_forward,
    .backward = km_bert_backward,
};
