/* What a model is: its sizes, checked, and its table. */
#include "parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Checks ------------------------------------------------------------------------------------------------- */

/* Limits that no real model comes near and that keep every product of sizes within 64 bits; positions and heads
 * also have to fit into the dropout's counters (kernel.h). */
static km_status check_size(const char *key, int64_t value, int64_t most) {
    if (value < 1 || value > most) {
        return km_fail(KM_USAGE, "model.%s is %lld; expected 1 to %lld.", key, (long long)value, (long long)most);
    }
    return KM_OK;
}

static km_status check_sizes(const km_model_config *c) {
    KM_TRY(check_size("vocab_size", c->vocab_size, 1 << 24));
    KM_TRY(check_size("hidden_size", c->hidden_size, 1 << 16));
    KM_TRY(check_size("num_hidden_layers", c->num_hidden_layers, 1 << 10));
    KM_TRY(check_size("num_attention_heads", c->num_attention_heads, 1 << 15));
    KM_TRY(check_size("intermediate_size", c->intermediate_size, 1 << 18));
    KM_TRY(check_size("max_position_embeddings", c->max_position_embeddings, 1 << 16));
    KM_TRY(check_size("type_vocab_size", c->type_vocab_size, 1 << 16));
    if (c->hidden_size % c->num_attention_heads != 0) {
        return km_fail(KM_USAGE,
                       "model.hidden_size is %lld, which %lld heads do not divide. Change one so that "
                       "num_attention_heads divides hidden_size.",
                       (long long)c->hidden_size, (long long)c->num_attention_heads);
    }
    return KM_OK;
}

static km_status check_share(const char *key, double p) {
    if (!(p >= 0.0 && p * 65536.0 < 65535.0)) {
        return km_fail(KM_USAGE, "model.%s is %g; expected a share from 0 to below 1.", key, p);
    }
    return KM_OK;
}

static km_status check_numbers(const km_model_config *c) {
    KM_TRY(check_share("hidden_dropout_prob", c->hidden_dropout_prob));
    KM_TRY(check_share("attention_probs_dropout_prob", c->attention_probs_dropout_prob));
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

static km_status check_pad(const km_model_config *c, bool roberta) {
    int64_t least = roberta ? 0 : -1;
    if (c->pad_token_id < least || c->pad_token_id >= c->vocab_size) {
        return km_fail(KM_USAGE, "model.pad_token_id is %lld; expected an id below vocab_size (%lld).",
                       (long long)c->pad_token_id, (long long)c->vocab_size);
    }
    if (roberta && c->max_position_embeddings <= c->pad_token_id + 1) {
        return km_fail(KM_USAGE,
                       "model.max_position_embeddings is %lld, but RoBERTa's positions start after the pad token's "
                       "id (%lld): expected more, such as 514.",
                       (long long)c->max_position_embeddings, (long long)c->pad_token_id);
    }
    return KM_OK;
}

static km_status check_words(const km_model_config *c) {
    if (strcmp(c->type, "bert") != 0 && strcmp(c->type, "roberta") != 0) {
        return km_fail(KM_USAGE, "model.type is \"%.*s\"; expected bert or roberta.", KM_WORD, c->type);
    }
    if (strcmp(c->hidden_act, "gelu") != 0 && strcmp(c->hidden_act, "gelu_new") != 0) {
        return km_fail(KM_USAGE, "model.hidden_act is \"%.*s\"; expected gelu (erf) or gelu_new (tanh).", KM_WORD,
                       c->hidden_act);
    }
    return KM_OK;
}

/* ---- Models ------------------------------------------------------------------------------------------------- */

static void take_shape(km_model *model, const km_model_config *c, bool roberta) {
    model->config = *c;
    model->C = (int)c->hidden_size;
    model->H = (int)c->num_attention_heads;
    model->I = (int)c->intermediate_size;
    model->L = (int)c->num_hidden_layers;
    model->V = (int)c->vocab_size;
    model->positions = (int)c->max_position_embeddings;
    model->types = (int)c->type_vocab_size;
    model->pad = (int)c->pad_token_id;
    model->first_position = roberta ? model->pad + 1 : 0;
    model->eps = (float)c->layer_norm_eps;
    model->hidden_dropout = (float)c->hidden_dropout_prob;
    model->attention_dropout = (float)c->attention_probs_dropout_prob;
    model->act = strcmp(c->hidden_act, "gelu_new") == 0 ? KM_GELU_TANH : KM_GELU_ERF;
    model->head_act = roberta ? KM_GELU_ERF : model->act; /* RoBERTa's head has its own, fixed gelu */
}

km_status km_model_create(km_model **out, const km_model_config *config) {
    *out = NULL;
    KM_TRY(check_words(config));
    bool roberta = strcmp(config->type, "roberta") == 0;
    KM_TRY(check_sizes(config));
    KM_TRY(check_numbers(config));
    KM_TRY(check_pad(config, roberta));
    km_model *model = km_new(1, sizeof *model);
    take_shape(model, config, roberta);
    km_table_build(model);
    *out = model;
    return KM_OK;
}

void km_model_destroy(km_model *model) {
    if (model != NULL) {
        free(model->table.params);
        free(model->layers);
        free(model);
    }
}

const km_table *km_model_table(const km_model *model) {
    return &model->table;
}

int64_t km_model_longest(const km_model_config *config) {
    bool roberta = strcmp(config->type, "roberta") == 0;
    return config->max_position_embeddings - (roberta ? config->pad_token_id + 1 : 0);
}

const km_model_config *km_model_shape(const km_model *model) {
    return &model->config;
}

/* ---- Batches ------------------------------------------------------------------------------------------------ */

static km_status check_tokens(const km_model *model, const km_batch *batch) {
    for (int i = 0; i < batch->input.tokens; i++) {
        if (batch->input.ids[i] < 0 || batch->input.ids[i] >= model->V) {
            return km_fail(KM_USAGE, "token id %d at place %d is not in the model's vocabulary of %d.",
                           batch->input.ids[i], i, model->V);
        }
        if (batch->input.types != NULL && (batch->input.types[i] < 0 || batch->input.types[i] >= model->types)) {
            return km_fail(KM_USAGE, "token type %d at place %d is not one of the model's %d.",
                           batch->input.types[i], i, model->types);
        }
    }
    return KM_OK;
}

static km_status check_views(const km_model *model, const km_batch *batch) {
    int most = model->positions - model->first_position;
    if (batch->views < 1 || batch->input.starts[0] != 0 ||
        batch->input.starts[batch->views] != batch->input.tokens) {
        return km_fail(KM_USAGE, "the batch's %d views do not cover its %d tokens.", batch->views,
                       batch->input.tokens);
    }
    for (int view = 0; view < batch->views; view++) {
        int length = batch->input.starts[view + 1] - batch->input.starts[view];
        if (length < 1 || length > batch->input.longest || length > most) {
            return km_fail(KM_USAGE, "view %d has %d tokens; expected 1 to %d.", view, length,
                           KM_MIN(batch->input.longest, most));
        }
        if (batch->input.seen != NULL &&
            memchr(batch->input.seen + batch->input.starts[view], 1, (size_t)length) == NULL) {
            return km_fail(KM_USAGE, "view %d has no token that may be seen; expected one at least.", view);
        }
    }
    return KM_OK;
}

km_status km_model_check(const km_model *model, const km_batch *batch) {
    KM_TRY(check_views(model, batch));
    KM_TRY(check_tokens(model, batch));
    for (int m = 0; m < batch->labelled; m++) {
        if (batch->at[m] < (m > 0 ? batch->at[m - 1] + 1 : 0) || batch->at[m] >= batch->input.tokens) {
            return km_fail(KM_USAGE, "labelled place %d is not an ascending one of the batch's %d tokens.",
                           batch->at[m], batch->input.tokens);
        }
        if (batch->labels[m] < 0 || batch->labels[m] >= model->V) {
            return km_fail(KM_USAGE, "label %d is not in the model's vocabulary of %d.", batch->labels[m],
                           model->V);
        }
    }
    return KM_OK;
}
