/* The slow twin of BART: the textbook formulas in double, one view and one position after the other; parts are found by their
 * names. Every position goes through every layer. */
#ifndef KMASK_TESTS_MODEL_TWIN_BART_H
#define KMASK_TESTS_MODEL_TWIN_BART_H

#include "model/bart_support.h"
#include "model/twin.h"

/* One of the two stacks. Its dropouts are numbered: the embedding's, then `sites` of each layer. */
typedef struct twin_side {
    const char *name;
    int layers, heads, inner;
    uint32_t first_site, sites;
    bool decoder;
} twin_side;

static inline twin_side twin_encoder(const km_model_config *c) {
    return (twin_side){.name = "encoder",
                       .layers = (int)c->encoder_layers,
                       .heads = (int)c->encoder_attention_heads,
                       .inner = (int)c->encoder_ffn_dim,
                       .sites = 4};
}

static inline twin_side twin_decoder(const km_model_config *c) {
    return (twin_side){.name = "decoder",
                       .layers = (int)c->decoder_layers,
                       .heads = (int)c->decoder_attention_heads,
                       .inner = (int)c->decoder_ffn_dim,
                       .first_site = 1 + 4 * (uint32_t)c->encoder_layers,
                       .sites = 6,
                       .decoder = true};
}

static inline void bart_norm(const twin *t, double *x, const char *prefix) {
    const double *w = twin_part(t, "%s.weight", prefix), *b = twin_part(t, "%s.bias", prefix);
    const int C = (int)t->config->d_model;
    double mean = 0, variance = 0;
    for (int c = 0; c < C; c++) {
        mean += x[c] / C;
    }
    for (int c = 0; c < C; c++) {
        variance += (x[c] - mean) * (x[c] - mean) / C;
    }
    for (int c = 0; c < C; c++) {
        x[c] = (x[c] - mean) / sqrt(variance + (double)1e-5f) * w[c] + b[c];
    }
}

static inline double bart_activation(const twin *t, double x) {
    const char *name = t->config->activation_function;
    return strcmp(name, "relu") == 0 ? fmax(x, 0) : twin_gelu(x, strcmp(name, "gelu_new") == 0);
}

/* x = norm(x + dropout(dense(in))) */
static inline void bart_end(const twin *t, double *x, const double *in, int I, uint64_t key, uint32_t site,
                            const char *dense, const char *norm) {
    double y[TWIN_WIDTH];
    const int C = (int)t->config->d_model;
    twin_dense(t, y, in, I, C, dense);
    for (int c = 0; c < C; c++) {
        x[c] += y[c] * twin_keep(t, t->config->dropout, site, key, (uint32_t)c);
    }
    bart_norm(t, x, norm);
}

/* x (Tx,C) attends to memory (Tm,C): x = norm(x + dropout(out_proj(attention))). */
static inline void bart_attend(const twin *t, twin_rows x, int Tx, const uint64_t *keys, twin_rows memory, int Tm,
                               const uint8_t *seen, bool causal, int H, const char *layer, const char *name,
                               uint32_t site) {
    static twin_rows k, v, before;
    char prefix[112], norm[112];
    const int C = (int)t->config->d_model, D = C / H;
    memcpy(before, x, sizeof before);
    for (int j = 0; j < Tm; j++) {
        snprintf(prefix, sizeof prefix, "%s.%s.k_proj", layer, name);
        twin_dense(t, k[j], memory == x ? before[j] : memory[j], C, C, prefix);
        snprintf(prefix, sizeof prefix, "%s.%s.v_proj", layer, name);
        twin_dense(t, v[j], memory == x ? before[j] : memory[j], C, C, prefix);
    }
    for (int i = 0; i < Tx; i++) {
        double q[TWIN_WIDTH], out[TWIN_WIDTH] = {0};
        snprintf(prefix, sizeof prefix, "%s.%s.q_proj", layer, name);
        twin_dense(t, q, before[i], C, C, prefix);
        for (int h = 0; h < H; h++) {
            double e[TWIN_LENGTH], sum = 0;
            for (int j = 0; j < Tm; j++) {
                double score = 0;
                for (int d = h * D; d < (h + 1) * D; d++) {
                    score += q[d] * k[j][d];
                }
                e[j] = (seen == NULL || seen[j]) && (!causal || j <= i) ? exp(score / sqrt(D)) : 0;
                sum += e[j];
            }
            for (int j = 0; j < Tm; j++) {
                double p = e[j] / sum *
                           twin_keep(t, t->config->attention_dropout, site, keys[i], (uint32_t)(h * 65536 + j));
                for (int d = h * D; d < (h + 1) * D; d++) {
                    out[d] += p * v[j][d];
                }
            }
        }
        snprintf(prefix, sizeof prefix, "%s.%s.out_proj", layer, name);
        snprintf(norm, sizeof norm, "%s.%s_layer_norm", layer, name);
        bart_end(t, x[i], out, C, keys[i], site + 1, prefix, norm);
    }
}

static inline void bart_feed_forward(const twin *t, double *x, const twin_side *side, uint64_t key,
                                     const char *layer, uint32_t site) {
    double wide[TWIN_WIDTH];
    char prefix[112], norm[112];
    snprintf(prefix, sizeof prefix, "%s.fc1", layer);
    twin_dense(t, wide, x, (int)t->config->d_model, side->inner, prefix);
    for (int o = 0; o < side->inner; o++) {
        wide[o] =
            bart_activation(t, wide[o]) * twin_keep(t, t->config->activation_dropout, site + 1, key, (uint32_t)o);
    }
    snprintf(prefix, sizeof prefix, "%s.fc2", layer);
    snprintf(norm, sizeof norm, "%s.final_layer_norm", layer);
    bart_end(t, x, wide, side->inner, key, site, prefix, norm);
}

static inline void bart_embed(const twin *t, double *x, const twin_side *side, int32_t id, int place,
                              uint64_t key) {
    char prefix[112];
    const int C = (int)t->config->d_model;
    const double scale = t->config->scale_embedding ? sqrt(C) : 1;
    const double *word = twin_part(t, "model.shared.weight") + id * C;
    const double *position = twin_part(t, "model.%s.embed_positions.weight", side->name) + (place + 2) * C;
    for (int c = 0; c < C; c++) {
        x[c] = scale * word[c] + position[c];
    }
    snprintf(prefix, sizeof prefix, "model.%s.layernorm_embedding", side->name);
    bart_norm(t, x, prefix);
    for (int c = 0; c < C; c++) {
        x[c] *= twin_keep(t, t->config->dropout, side->first_site, key, (uint32_t)c);
    }
}

/* View `view` of a stream through a stack; a decoder's tokens also attend to memory (Tm,C). */
static inline int bart_stack(const twin *t, twin_rows x, const twin_side *side, const km_stream *stream, int view,
                             twin_rows memory, int Tm, const uint8_t *memory_seen) {
    const int first = stream->starts[view], T = stream->starts[view + 1] - first;
    const uint64_t *keys = stream->keys + first;
    for (int i = 0; i < T; i++) {
        bart_embed(t, x[i], side, stream->ids[first + i], i, keys[i]);
    }
    for (int l = 0; l < side->layers; l++) {
        char layer[64];
        uint32_t site = side->first_site + 1 + side->sites * (uint32_t)l;
        snprintf(layer, sizeof layer, "model.%s.layers.%d", side->name, l);
        bart_attend(t, x, T, keys, x, T, stream->seen != NULL ? stream->seen + first : NULL, side->decoder,
                    side->heads, layer, "self_attn", site);
        if (side->decoder) {
            bart_attend(t, x, T, keys, memory, Tm, memory_seen, false, side->heads, layer, "encoder_attn",
                        site + 2);
        }
        for (int i = 0; i < T; i++) {
            bart_feed_forward(t, x[i], side, keys[i], layer, site + (side->decoder ? 4 : 2));
        }
    }
    return T;
}

static inline double bart_token_loss(const twin *t, const double *x, int32_t label) {
    const int C = (int)t->config->d_model, V = (int)t->config->vocab_size;
    const double *word = twin_part(t, "model.shared.weight"), *bias = twin_part(t, "final_logits_bias");
    double sum = 0, wanted = 0;
    for (int v = 0; v < V; v++) {
        double logit = bias[v];
        for (int c = 0; c < C; c++) {
            logit += x[c] * word[v * C + c];
        }
        sum += exp(logit);
        wanted = v == label ? logit : wanted;
    }
    return log(sum) - wanted;
}

/* The summed loss of a batch. */
static inline double bart_loss(const twin *t, const km_batch *batch) {
    static twin_rows memory, x;
    const twin_side encoder = twin_encoder(t->config), decoder = twin_decoder(t->config);
    double loss = 0;
    for (int view = 0; view < batch->views; view++) {
        const uint8_t *seen = batch->input.seen != NULL ? batch->input.seen + batch->input.starts[view] : NULL;
        const int Tm = bart_stack(t, memory, &encoder, &batch->input, view, NULL, 0, NULL);
        const int T = bart_stack(t, x, &decoder, &batch->decoder, view, memory, Tm, seen);
        const int first = batch->decoder.starts[view];
        for (int m = 0; m < batch->labelled; m++) {
            if (batch->at[m] >= first && batch->at[m] < first + T) {
                loss += bart_token_loss(t, x[batch->at[m] - first], batch->labels[m]);
            }
        }
    }
    return loss;
}

#endif
