/* Reads the files of tools/golden_bart.py, which describes them, and makes batches of their rows. */
#ifndef KMASK_TESTS_MODEL_GOLDEN_BART_H
#define KMASK_TESTS_MODEL_GOLDEN_BART_H

#include "model/golden.h"

#include <stdlib.h>

typedef struct golden_bart {
    golden_reader in;
    km_model_config config;
    km_model *model;
    int B, S, T;
    const int32_t *ids, *mask, *labels, *decoder; /* (B,S), (B,S), (B,T), (B,T) */
    double loss;                                  /* mean over labels */
    int labelled;
    const float *logits, *encoder, *states; /* (B,T,V), (Le+1,B,S,C), (Ld+1,B,T,C) */
    float *weights, *gradient;              /* (table->size) */
} golden_bart;

static inline km_model_config take_bart_config(golden_reader *in) {
    static const char *const activations[] = {"gelu", "gelu_new", "relu"};
    km_model_config c = {.type = "bart", .init_std = 0.02, .forced_bos_token_id = -1, .forced_eos_token_id = 2};
    int64_t *sizes[] = {&c.vocab_size,
                        &c.d_model,
                        &c.encoder_layers,
                        &c.decoder_layers,
                        &c.encoder_attention_heads,
                        &c.decoder_attention_heads,
                        &c.encoder_ffn_dim,
                        &c.decoder_ffn_dim,
                        &c.max_position_embeddings,
                        &c.pad_token_id,
                        &c.decoder_start_token_id};
    for (size_t i = 0; i < KM_COUNT(sizes); i++) {
        *sizes[i] = take_int(in);
    }
    c.scale_embedding = take_int(in) != 0;
    snprintf(c.activation_function, sizeof c.activation_function, "%s", activations[take_int(in)]);
    return c;
}

/* Numbers of the file, copied so that they are aligned. The test frees. */
static inline void *take_copy(golden_reader *in, size_t count) {
    void *copy = km_new(count, 4);
    memcpy(copy, take(in, count, 4), count * 4);
    return copy;
}

static inline golden_bart open_golden_bart(const char *path) {
    golden_bart g = {.in = open_golden(path, "KMG3")};
    g.config = take_bart_config(&g.in);
    assert_int_equal(km_model_create(&g.model, &g.config, KM_HEAD_TOKENS), KM_OK);
    g.B = take_int(&g.in);
    g.S = take_int(&g.in);
    g.T = take_int(&g.in);
    const size_t source = (size_t)(g.B * g.S), target = (size_t)(g.B * g.T), C = (size_t)g.config.d_model;
    g.ids = take_copy(&g.in, source);
    g.mask = take_copy(&g.in, source);
    g.labels = take_copy(&g.in, target);
    g.decoder = take_copy(&g.in, target);
    g.loss = take_double(&g.in);
    g.logits = take_copy(&g.in, target * (size_t)g.config.vocab_size);
    g.encoder = take_copy(&g.in, source * C * (size_t)(g.config.encoder_layers + 1));
    g.states = take_copy(&g.in, target * C * (size_t)(g.config.decoder_layers + 1));
    const km_table *table = km_model_table(g.model);
    g.weights = km_new(table->size, sizeof(float));
    g.gradient = km_new(table->size, sizeof(float));
    take_parameters(&g.in, table, g.weights, g.gradient);
    for (size_t i = 0; i < target; i++) {
        g.labelled += g.labels[i] != -100;
    }
    return g;
}

static inline void close_golden_bart(golden_bart *g) {
    const void *copies[] = {g->ids, g->mask, g->labels, g->decoder, g->logits, g->encoder, g->states};
    for (size_t i = 0; i < KM_COUNT(copies); i++) {
        free((void *)(uintptr_t)copies[i]);
    }
    free(g->weights);
    free(g->gradient);
    free(g->in.bytes);
    km_model_destroy(g->model);
}

#endif
