/* BART (Lewis et al. 2020) as transformers' BartForConditionalGeneration computes it: an encoder, and a decoder whose layers also
 * attend to what the encoder makes. Both are stacks of post-norm layers with learned positions and a norm behind the embedding;
 * word embeddings are one matrix with the output weights. */
#include "architecture.h"

#include <math.h>
#include <string.h>

enum { FIRST_POSITION = 2 }; /* the table has two rows that no token uses */

/* Not in the config: torch's default. */
static const float EPS = 1e-5f;

/* ---- Config ------------------------------------------------------------------------------------------------- */

static void fill_sizes(km_model_config *config, int64_t width, int64_t layers, int64_t heads,
                       int64_t intermediate) {
    km_fill_size(&config->d_model, width);
    km_fill_size(&config->encoder_layers, layers);
    km_fill_size(&config->decoder_layers, layers);
    km_fill_size(&config->encoder_attention_heads, heads);
    km_fill_size(&config->decoder_attention_heads, heads);
    km_fill_size(&config->encoder_ffn_dim, intermediate);
    km_fill_size(&config->decoder_ffn_dim, intermediate);
}

static void fill_tiny(km_model_config *config) {
    fill_sizes(config, 128, 2, 2, 512);
}

static void fill_base(km_model_config *config) {
    fill_sizes(config, 768, 6, 12, 3072);
}

static void fill_large(km_model_config *config) {
    fill_sizes(config, 1024, 12, 16, 4096);
}

static void fill(km_model_config *config) {
    fill_sizes(config, 0, config->encoder_layers, config->encoder_attention_heads, 4 * config->d_model);
    km_fill_size(&config->max_position_embeddings, 1024);
    if (config->activation_function[0] == '\0') {
        memcpy(config->activation_function, "gelu", sizeof "gelu");
    }
}

static km_status check_heads(const char *key, int64_t heads, int64_t width) {
    KM_TRY(km_check_size(key, heads, 1 << 15));
    return width % heads == 0
               ? KM_OK
               : km_fail(KM_USAGE,
                         "model.d_model is %lld, which model.%s (%lld) does not divide. Change one so "
                         "that it does.",
                         (long long)width, key, (long long)heads);
}

/* As in bert.c: limits that no real model comes near and that keep every product of sizes within 64 bits. */
static km_status check_sizes(const km_model_config *c) {
    KM_TRY(km_check_size("vocab_size", c->vocab_size, 1 << 24));
    KM_TRY(km_check_size("d_model", c->d_model, 1 << 16));
    KM_TRY(km_check_size("encoder_layers", c->encoder_layers, 1 << 10));
    KM_TRY(km_check_size("decoder_layers", c->decoder_layers, 1 << 10));
    KM_TRY(km_check_size("encoder_ffn_dim", c->encoder_ffn_dim, 1 << 18));
    KM_TRY(km_check_size("decoder_ffn_dim", c->decoder_ffn_dim, 1 << 18));
    KM_TRY(km_check_size("max_position_embeddings", c->max_position_embeddings, 1 << 16));
    KM_TRY(check_heads("encoder_attention_heads", c->encoder_attention_heads, c->d_model));
    return check_heads("decoder_attention_heads", c->decoder_attention_heads, c->d_model);
}

static km_status check_id(const char *key, int64_t id, int64_t least, int64_t vocabulary) {
    if (id < least || id >= vocabulary) {
        return km_fail(KM_USAGE, "model.%s is %lld; expected an id below vocab_size (%lld)%s.", key, (long long)id,
                       (long long)vocabulary, least < 0 ? ", or -1 for none" : "");
    }
    return KM_OK;
}

static km_status check_numbers(const km_model_config *c) {
    KM_TRY(km_check_share("dropout", c->dropout));
    KM_TRY(km_check_share("attention_dropout", c->attention_dropout));
    KM_TRY(km_check_share("activation_dropout", c->activation_dropout));
    if (!(c->init_std >= 0.0 && isfinite(c->init_std))) {
        return km_fail(KM_USAGE, "model.init_std is %g; expected 0 or more, such as 0.02.", c->init_std);
    }
    KM_TRY(check_id("pad_token_id", c->pad_token_id, -1, c->vocab_size));
    KM_TRY(check_id("decoder_start_token_id", c->decoder_start_token_id, 0, c->vocab_size));
    KM_TRY(check_id("forced_bos_token_id", c->forced_bos_token_id, -1, c->vocab_size));
    KM_TRY(check_id("forced_eos_token_id", c->forced_eos_token_id, -1, c->vocab_size));
    if (c->eos_token_id.count > KM_MOST_ENDS) {
        return km_fail(KM_USAGE, "model.eos_token_id has %d ids; expected at most %d.", c->eos_token_id.count,
                       KM_MOST_ENDS);
    }
    for (int i = 0; i < c->eos_token_id.count; i++) {
        KM_TRY(check_id("eos_token_id", c->eos_token_id.list[i], 0, c->vocab_size));
    }
    return KM_OK;
}

static bool find_activation(km_activation *out, const char *name) {
    static const struct {
        const char *name;
        km_activation kind;
    } known[] = {{"gelu", KM_GELU_ERF}, {"gelu_new", KM_GELU_TANH}, {"relu", KM_RELU}};
    for (size_t i = 0; i < KM_COUNT(known); i++) {
        if (strcmp(name, known[i].name) == 0) {
            *out = known[i].kind;
            return true;
        }
    }
    return false;
}

static km_status check(const km_model_config *c) {
    km_activation act = KM_GELU_ERF;
    if (!find_activation(&act, c->activation_function)) {
        return km_fail(KM_USAGE,
                       "model.activation_function is \"%.*s\"; expected gelu (erf), gelu_new (tanh) or relu.",
                       KM_WORD, c->activation_function);
    }
    KM_TRY(check_sizes(c));
    return check_numbers(c);
}

static int64_t longest(const km_model_config *config) {
    return config->max_position_embeddings;
}

static int64_t usual_longest(const km_model_config *config, const char **why) {
    *why = "";
    return longest(config);
}

/* ---- The backbone ------------------------------------------------------------------------------------------- */

/* What both stacks have. */
static km_stack common_stack(const km_model_config *c) {
    km_stack stack = {.C = (int)c->d_model,
                      .positions = (int)c->max_position_embeddings + FIRST_POSITION,
                      .first_position = FIRST_POSITION,
                      .pad_position = -1,
                      .word_scale = c->scale_embedding ? sqrtf((float)c->d_model) : 1.0f,
                      .eps = EPS,
                      .hidden_dropout = (float)c->dropout,
                      .attention_dropout = (float)c->attention_dropout,
                      .activation_dropout = (float)c->activation_dropout};
    (void)find_activation(&stack.act, c->activation_function);
    return stack;
}

static void take_config(km_model *model) {
    const km_model_config *c = &model->config;
    km_stack *encoder = &model->stacks[KM_ENCODER], *decoder = &model->stacks[KM_DECODER];
    *encoder = *decoder = common_stack(c);
    encoder->H = (int)c->encoder_attention_heads;
    encoder->I = (int)c->encoder_ffn_dim;
    encoder->L = (int)c->encoder_layers;
    encoder->sites_per_layer = 4;
    decoder->is_decoder = true;
    decoder->H = (int)c->decoder_attention_heads;
    decoder->I = (int)c->decoder_ffn_dim;
    decoder->L = (int)c->decoder_layers;
    decoder->sites_per_layer = 6;
    decoder->first_site = km_stack_site(encoder, encoder->L); /* behind the encoder's */
    model->stack_count = 2;
    model->init_deviation = c->init_std;
}

/* ".q_proj" and its like lie one behind the other. */
static km_dense place_qkv(km_table *t, int C, const char *prefix) {
    km_dense qkv = {.in = C, .out = 3 * C};
    qkv.w = km_table_add(t, KM_START_NORMAL, C, C, "%s.q_proj.weight", prefix);
    km_table_add_adjacent(t, KM_START_NORMAL, C, C, "%s.k_proj.weight", prefix);
    km_table_add_adjacent(t, KM_START_NORMAL, C, C, "%s.v_proj.weight", prefix);
    qkv.b = km_table_add(t, KM_START_ZERO, C, 0, "%s.q_proj.bias", prefix);
    km_table_add_adjacent(t, KM_START_ZERO, C, 0, "%s.k_proj.bias", prefix);
    km_table_add_adjacent(t, KM_START_ZERO, C, 0, "%s.v_proj.bias", prefix);
    return qkv;
}

static km_attention_parts place_attention(km_table *t, int C, const char *layer, const char *name) {
    char prefix[96];
    km_attention_parts parts;
    snprintf(prefix, sizeof prefix, "%s.%s", layer, name);
    parts.qkv = place_qkv(t, C, prefix);
    snprintf(prefix, sizeof prefix, "%s.%s.out_proj", layer, name);
    parts.output = km_table_add_dense(t, C, C, prefix);
    snprintf(prefix, sizeof prefix, "%s.%s_layer_norm", layer, name);
    parts.norm = km_table_add_norm(t, C, prefix);
    return parts;
}

static void place_layer(km_stack *s, km_table *t, const char *name, int l) {
    km_layer_parts *parts = &s->layers[l];
    char layer[64], prefix[96];
    snprintf(layer, sizeof layer, "model.%s.layers.%d", name, l);
    parts->attention = place_attention(t, s->C, layer, "self_attn");
    if (s->is_decoder) {
        parts->cross = place_attention(t, s->C, layer, "encoder_attn");
    }
    snprintf(prefix, sizeof prefix, "%s.fc1", layer);
    parts->wide = km_table_add_dense(t, s->C, s->I, prefix);
    snprintf(prefix, sizeof prefix, "%s.fc2", layer);
    parts->narrow = km_table_add_dense(t, s->I, s->C, prefix);
    snprintf(prefix, sizeof prefix, "%s.final_layer_norm", layer);
    parts->norm = km_table_add_norm(t, s->C, prefix);
}

static void place_stack(km_stack *s, km_table *t, size_t words, const char *name) {
    char prefix[64];
    s->embedding.word = words;
    s->embedding.position =
        km_table_add(t, KM_START_NORMAL, s->positions, s->C, "model.%s.embed_positions.weight", name);
    snprintf(prefix, sizeof prefix, "model.%s.layernorm_embedding", name);
    s->embedding.norm = km_table_add_norm(t, s->C, prefix);
    for (int l = 0; l < s->L; l++) {
        place_layer(s, t, name, l);
    }
}

static void place(km_model *model, km_table *table) {
    const int C = model->stacks[KM_ENCODER].C;
    const size_t words = km_table_add(table, KM_START_NORMAL, model->V, C, "model.shared.weight");
    place_stack(&model->stacks[KM_ENCODER], table, words, "encoder");
    place_stack(&model->stacks[KM_DECODER], table, words, "decoder");
}

static void clear_rows(const km_model *model, float *weights) {
    const km_stack *stack = &model->stacks[KM_ENCODER];
    const size_t C = (size_t)stack->C;
    if (model->pad >= 0) {
        memset(weights + stack->embedding.word + (size_t)model->pad * C, 0, C * sizeof *weights);
    }
}

static void forward(const km_pass *pass) {
    km_stack_forward(pass, KM_ENCODER);
    km_stack_forward(pass, KM_DECODER);
}

/* The decoder leaves the gradient of the encoder's output where the encoder's backward begins. */
static void backward(const km_pass *pass) {
    km_stack_backward(pass, KM_DECODER);
    km_report_done(pass, pass->model->stacks[KM_DECODER].embedding.position);
    km_stack_backward(pass, KM_ENCODER);
}

/* ---- What other programs call it ---------------------------------------------------------------------------- */

static const km_preset presets[] = {
    {"bart-tiny", fill_tiny, 8192}, {"bart-base", fill_base, 0}, {"bart-large", fill_large, 0}};

static const km_interchange_number numbers[] = {{"vocab_size", 50265},
                                                {"d_model", 1024},
                                                {"encoder_layers", 12},
                                                {"decoder_layers", 12},
                                                {"encoder_attention_heads", 16},
                                                {"decoder_attention_heads", 16},
                                                {"encoder_ffn_dim", 4096},
                                                {"decoder_ffn_dim", 4096},
                                                {"max_position_embeddings", 1024},
                                                {"dropout", 0.1},
                                                {"attention_dropout", 0},
                                                {"activation_dropout", 0},
                                                {"init_std", 0.02},
                                                {"scale_embedding", 0},
                                                {"pad_token_id", 1},
                                                {"decoder_start_token_id", 2},
                                                {"forced_bos_token_id", -1},
                                                {"forced_eos_token_id", 2},
                                                {"eos_token_id", 2},
                                                {NULL, 0}};

static const char *const generation[] = {"forced_bos_token_id", "forced_eos_token_id", "eos_token_id", NULL};

static const km_interchange_switch switches[] = {
    {"tie_word_embeddings", true, "true: kmask's output weights are the word embeddings"},
    {"is_encoder_decoder", true, "true: an encoder and a decoder"},
    {"is_decoder", false, "false: an encoder and a decoder"},
    /* of fairseq, in files of 2020 */
    {"normalize_before", false, "false: norms behind each block"},
    {"add_final_layer_norm", false, "false: no norm behind the last layer"},
    {"normalize_embedding", true, "true: a norm behind the embedding"},
    {"static_position_embeddings", false, "false: learned positions"},
    {NULL, false, NULL}};

static const char *const words[] = {"shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
                                    NULL};
static const char *const backbone[] = {"shared.", "encoder.", "decoder.", NULL};
static const char *const unused[] = {NULL};
static const char *const buffers[] = {"encoder.version", "decoder.version", NULL};
static const char *const dropouts[] = {"dropout", "attention_dropout", "activation_dropout", NULL};
static const char *const required[] = {"d_model", "encoder_layers", "encoder_attention_heads", NULL};

static const km_interchange_copy copies[] = {{"model.encoder.embed_tokens.weight", "model.shared.weight"},
                                             {"model.decoder.embed_tokens.weight", "model.shared.weight"},
                                             {"lm_head.weight", "model.shared.weight"},
                                             {NULL, NULL}};

static const km_language_model_options language_model = {.bias = "final_logits_bias"};

static int64_t decoder_start(const km_model_config *config) {
    return config->decoder_start_token_id;
}

const km_architecture km_bart = {
    .files = {.type = "bart",
              .class_prefix = "Bart",
              .numbers = numbers,
              .switches = switches,
              .generation = generation,
              .is_encoder_decoder = true,
              .width = "d_model",
              .activation = "activation_function",
              .sequence_ids = true,
              .root = "model.",
              .words = words,
              .backbone = backbone,
              .unused = unused,
              .buffers = buffers,
              .head = "final_logits_bias",
              .copies = copies},
    .presets = presets,
    .preset_count = KM_COUNT(presets),
    .vocabulary = 50265,
    .required = required,
    .dropouts = dropouts,
    .heads = {[KM_HEAD_TOKENS] = {&km_head_language_model, "BartForConditionalGeneration", &language_model}},
    .fill = fill,
    .check = check,
    .longest = longest,
    .usual_longest = usual_longest,
    .decoder_start = decoder_start,
    .take_config = take_config,
    .place = place,
    .clear_rows = clear_rows,
    .forward = forward,
    .backward = backward,
};
