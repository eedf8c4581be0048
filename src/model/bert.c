/* BERT (Devlin et al. 2019) as transformers' BertForMaskedLM computes it: one stack of post-norm layers that see both sides. */
#include "bert.h"

#include <math.h>
#include <string.h>

/* ---- Config ------------------------------------------------------------------------------------------------- */

void km_bert_fill_sizes(km_model_config *config, int64_t width, int64_t layers, int64_t heads,
                        int64_t intermediate) {
    km_fill_size(&config->hidden_size, width);
    km_fill_size(&config->num_hidden_layers, layers);
    km_fill_size(&config->num_attention_heads, heads);
    km_fill_size(&config->intermediate_size, intermediate);
}

static void fill_unless_given(km_model_config *config, const char *name, double *value, double standard) {
    if (!km_given(&km_model_section, config, name)) {
        *value = standard;
    }
}

/* Such a small network learns fastest from larger initial weights and without dropout: with the values of BERT it stays at the
 * unigram entropy for thousands of steps. */
static void fill_tiny(km_model_config *config) {
    km_bert_fill_sizes(config, 128, 2, 4, 512);
    fill_unless_given(config, "initializer_range", &config->initializer_range, 0.08);
    fill_unless_given(config, "hidden_dropout_prob", &config->hidden_dropout_prob, 0);
    fill_unless_given(config, "attention_probs_dropout_prob", &config->attention_probs_dropout_prob, 0);
}

static void fill_small(km_model_config *config) {
    km_bert_fill_sizes(config, 256, 4, 4, 1024);
}

static void fill_base(km_model_config *config) {
    km_bert_fill_sizes(config, 768, 12, 12, 3072);
}

static void fill_large(km_model_config *config) {
    km_bert_fill_sizes(config, 1024, 24, 16, 4096);
}

void km_bert_fill(km_model_config *config, int64_t positions, int64_t types, double eps) {
    km_fill_size(&config->intermediate_size, 4 * config->hidden_size);
    km_fill_size(&config->max_position_embeddings, positions);
    km_fill_size(&config->type_vocab_size, types);
    if (config->hidden_act[0] == '\0') {
        memcpy(config->hidden_act, "gelu", sizeof "gelu");
    }
    if (config->layer_norm_eps == 0) {
        config->layer_norm_eps = eps;
    }
}

static void fill_config(km_model_config *config) {
    km_bert_fill(config, 512, 2, 1e-12);
}

static km_status check_activation(const km_model_config *c) {
    if (strcmp(c->hidden_act, "gelu") != 0 && strcmp(c->hidden_act, "gelu_new") != 0) {
        return km_fail(KM_USAGE, "model.hidden_act is \"%.*s\"; expected gelu (erf) or gelu_new (tanh).", KM_WORD,
                       c->hidden_act);
    }
    return KM_OK;
}

/* Limits that no real model comes near and that keep every product of sizes within 64 bits; positions and heads
 * also have to fit into the dropout's counters (kernel.h). */
static km_status check_sizes(const km_model_config *c) {
    KM_TRY(km_check_size("vocab_size", c->vocab_size, 1 << 24));
    KM_TRY(km_check_size("hidden_size", c->hidden_size, 1 << 16));
    KM_TRY(km_check_size("num_hidden_layers", c->num_hidden_layers, 1 << 10));
    KM_TRY(km_check_size("num_attention_heads", c->num_attention_heads, 1 << 15));
    KM_TRY(km_check_size("intermediate_size", c->intermediate_size, 1 << 18));
    KM_TRY(km_check_size("max_position_embeddings", c->max_position_embeddings, 1 << 16));
    KM_TRY(km_check_size("type_vocab_size", c->type_vocab_size, 1 << 16));
    if (c->hidden_size % c->num_attention_heads != 0) {
        return km_fail(KM_USAGE,
                       "model.hidden_size is %lld, which %lld heads do not divide. Change one so that "
                       "num_attention_heads divides hidden_size.",
                       (long long)c->hidden_size, (long long)c->num_attention_heads);
    }
    return KM_OK;
}

static km_status check_numbers(const km_model_config *c) {
    KM_TRY(km_check_share("hidden_dropout_prob", c->hidden_dropout_prob));
    KM_TRY(km_check_share("attention_probs_dropout_prob", c->attention_probs_dropout_prob));
    if (!(c->layer_norm_eps > 0.0 && c->layer_norm_eps < 1.0)) {
        return km_fail(KM_USAGE, "model.layer_norm_eps is %g; expected a small positive number such as 1e-12.",
                       c->layer_norm_eps);
    }
    if (!(c->initializer_range >= 0.0 && isfinite(c->initializer_range))) {
        return km_fail(KM_USAGE, "model.initializer_range is %g; expected 0 or more, such as 0.02.",
                       c->initializer_range);
    }
    return KM_OK;
}

km_status km_bert_check_pad(const km_model_config *c, int64_t least) {
    if (c->pad_token_id < least || c->pad_token_id >= c->vocab_size) {
        return km_fail(KM_USAGE, "model.pad_token_id is %lld; expected an id below vocab_size (%lld).",
                       (long long)c->pad_token_id, (long long)c->vocab_size);
    }
    return KM_OK;
}

km_status km_bert_check(const km_model_config *config) {
    KM_TRY(check_activation(config));
    KM_TRY(check_sizes(config));
    return check_numbers(config);
}

static km_status check(const km_model_config *config) {
    KM_TRY(km_bert_check(config));
    return km_bert_check_pad(config, -1);
}

static int64_t longest(const km_model_config *config) {
    return config->max_position_embeddings;
}

static int64_t usual_longest(const km_model_config *config, const char **why) {
    *why = "";
    return longest(config);
}

/* ---- The backbone ------------------------------------------------------------------------------------------- */

void km_bert_take_config(km_model *model) {
    const km_model_config *c = &model->config;
    model->stack_count = 1;
    model->init_deviation = c->initializer_range;
    model->stacks[KM_ENCODER] =
        (km_stack){.C = (int)c->hidden_size,
                   .H = (int)c->num_attention_heads,
                   .I = (int)c->intermediate_size,
                   .L = (int)c->num_hidden_layers,
                   .positions = (int)c->max_position_embeddings,
                   .pad_position = -1,
                   .word_scale = 1,
                   .types = (int)c->type_vocab_size,
                   .eps = (float)c->layer_norm_eps,
                   .hidden_dropout = (float)c->hidden_dropout_prob,
                   .attention_dropout = (float)c->attention_probs_dropout_prob,
                   .sites_per_layer = 3,
                   .act = strcmp(c->hidden_act, "gelu_new") == 0 ? KM_GELU_TANH : KM_GELU_ERF};
}

static void place_embedding(const km_model *m, km_stack *s, km_table *t) {
    const char *root = m->architecture->files.root;
    km_embedding_parts *parts = &s->embedding;
    char prefix[64];
    parts->word = km_table_add(t, KM_START_NORMAL, m->V, s->C, "%sembeddings.word_embeddings.weight", root);
    parts->position =
        km_table_add(t, KM_START_NORMAL, s->positions, s->C, "%sembeddings.position_embeddings.weight", root);
    parts->type =
        km_table_add(t, KM_START_NORMAL, s->types, s->C, "%sembeddings.token_type_embeddings.weight", root);
    snprintf(prefix, sizeof prefix, "%sembeddings.LayerNorm", root);
    parts->norm = km_table_add_norm(t, s->C, prefix);
}

static km_dense place_qkv(km_table *t, int C, const char *layer) {
    km_dense qkv = {.in = C, .out = 3 * C};
    qkv.w = km_table_add(t, KM_START_NORMAL, C, C, "%s.attention.self.query.weight", layer);
    km_table_add_adjacent(t, KM_START_NORMAL, C, C, "%s.attention.self.key.weight", layer);
    km_table_add_adjacent(t, KM_START_NORMAL, C, C, "%s.attention.self.value.weight", layer);
    qkv.b = km_table_add(t, KM_START_ZERO, C, 0, "%s.attention.self.query.bias", layer);
    km_table_add_adjacent(t, KM_START_ZERO, C, 0, "%s.attention.self.key.bias", layer);
    km_table_add_adjacent(t, KM_START_ZERO, C, 0, "%s.attention.self.value.bias", layer);
    return qkv;
}

static void place_layer(const km_model *m, km_stack *s, km_table *t, int l) {
    km_layer_parts *parts = &s->layers[l];
    char layer[64], prefix[96];
    snprintf(layer, sizeof layer, "%sencoder.layer.%d", m->architecture->files.root, l);
    parts->attention.qkv = place_qkv(t, s->C, layer);
    snprintf(prefix, sizeof prefix, "%s.attention.output.dense", layer);
    parts->attention.output = km_table_add_dense(t, s->C, s->C, prefix);
    snprintf(prefix, sizeof prefix, "%s.attention.output.LayerNorm", layer);
    parts->attention.norm = km_table_add_norm(t, s->C, prefix);
    snprintf(prefix, sizeof prefix, "%s.intermediate.dense", layer);
    parts->wide = km_table_add_dense(t, s->C, s->I, prefix);
    snprintf(prefix, sizeof prefix, "%s.output.dense", layer);
    parts->narrow = km_table_add_dense(t, s->I, s->C, prefix);
    snprintf(prefix, sizeof prefix, "%s.output.LayerNorm", layer);
    parts->norm = km_table_add_norm(t, s->C, prefix);
}

void km_bert_place(km_model *m, km_table *t) {
    km_stack *stack = &m->stacks[KM_ENCODER];
    place_embedding(m, stack, t);
    for (int l = 0; l < stack->L; l++) {
        place_layer(m, stack, t, l);
    }
}

void km_bert_clear_rows(const km_model *model, float *weights) {
    const km_stack *stack = &model->stacks[KM_ENCODER];
    const size_t C = (size_t)stack->C;
    if (model->pad >= 0) {
        memset(weights + stack->embedding.word + (size_t)model->pad * C, 0, C * sizeof *weights);
    }
    if (stack->pad_position >= 0) {
        memset(weights + stack->embedding.position + (size_t)stack->pad_position * C, 0, C * sizeof *weights);
    }
}

void km_bert_forward(const km_pass *pass) {
    km_stack_forward(pass, KM_ENCODER);
}

void km_bert_backward(const km_pass *pass) {
    km_stack_backward(pass, KM_ENCODER);
}

/* ---- What other programs call it ---------------------------------------------------------------------------- */

static const km_preset presets[] = {{"tiny", fill_tiny, 8192},
                                    {"small", fill_small, 8192},
                                    {"bert-base", fill_base, 0},
                                    {"bert-large", fill_large, 0}};

static const km_interchange_number numbers[] = {{"vocab_size", 30522},
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
                                                {"pad_token_id", 0},
                                                {NULL, 0}};

const km_interchange_switch km_bert_switches[] = {
    {"tie_word_embeddings", true, "true: kmask's output weights are the word embeddings"},
    {"is_decoder", false, "false: an encoder that sees both sides"},
    {"add_cross_attention", false, "false: an encoder alone"},
    {"is_encoder_decoder", false, "false: an encoder alone"},
    {NULL, false, NULL}};

const char *const km_bert_words[] = {"embeddings.word_embeddings.weight", NULL};
const char *const km_bert_required[] = {"hidden_size", "num_hidden_layers", "num_attention_heads", NULL};
const char *const km_bert_dropouts[] = {"hidden_dropout_prob", "attention_probs_dropout_prob", NULL};
const char *const km_bert_backbone[] = {"embeddings.", "encoder.", NULL};
const char *const km_bert_unused[] = {"pooler.", NULL};
const char *const km_bert_buffers[] = {"embeddings.position_ids", "embeddings.token_type_ids", NULL};

static const km_interchange_copy copies[] = {
    {"cls.predictions.decoder.bias", "cls.predictions.bias"},
    {"cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"},
    {NULL, NULL}};

static const km_masked_lm_options masked_lm = {.dense = "cls.predictions.transform.dense",
                                               .norm = "cls.predictions.transform.LayerNorm",
                                               .bias = "cls.predictions.bias"};

static const km_classes_options classes = {.dense = "bert.pooler.dense", .out = "classifier"};

const km_architecture km_bert = {
    .files = {.type = "bert",
              .class_prefix = "Bert",
              .numbers = numbers,
              .switches = km_bert_switches,
              .width = "hidden_size",
              .activation = "hidden_act",
              .separators = 1,
              .root = "bert.",
              .words = km_bert_words,
              .backbone = km_bert_backbone,
              .unused = km_bert_unused,
              .head = "cls.predictions.",
              .copies = copies,
              .buffers = km_bert_buffers},
    .presets = presets,
    .preset_count = KM_COUNT(presets),
    .vocabulary = 30522,
    .required = km_bert_required,
    .dropouts = km_bert_dropouts,
    .heads = {[KM_HEAD_TOKENS] = {&km_head_masked_lm, "BertForMaskedLM", &masked_lm},
              [KM_HEAD_CLASSES] = {&km_head_classes, "BertForSequenceClassification", &classes}},
    .fill = fill_config,
    .check = check,
    .longest = longest,
    .usual_longest = usual_longest,
    .take_config = km_bert_take_config,
    .place = km_bert_place,
    .clear_rows = km_bert_clear_rows,
    .forward = km_bert_forward,
    .backward = km_bert_backward,
};
