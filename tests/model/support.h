/* Small models and ragged batches for the tests of model/, and a sink that keeps the whole gradient. */
#ifndef KMASK_TESTS_MODEL_SUPPORT_H
#define KMASK_TESTS_MODEL_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmask/model.h"

static inline km_model_config small_config(const char *type) {
    km_model_config config = {.vocab_size = 41,
                              .hidden_size = 20,
                              .num_hidden_layers = 3,
                              .num_attention_heads = 4,
                              .intermediate_size = 27,
                              .max_position_embeddings = 24,
                              .type_vocab_size = 2,
                              .layer_norm_eps = 1e-5,
                              .hidden_dropout_prob = 0.2,
                              .attention_probs_dropout_prob = 0.15,
                              .initializer_range = 0.3,
                              .pad_token_id = 1};
    snprintf(config.type, sizeof config.type, "%s", type);
    snprintf(config.hidden_act, sizeof config.hidden_act, "%s", "gelu");
    return config;
}

/* ---- Batches ---- */

enum { MOST_TOKENS_HERE = 256, MOST_VIEWS_HERE = 16 };

typedef struct own_batch {
    km_batch batch;
    int32_t starts[MOST_VIEWS_HERE + 1], ids[MOST_TOKENS_HERE], types[MOST_TOKENS_HERE];
    int32_t at[MOST_TOKENS_HERE], labels[MOST_TOKENS_HERE];
    float weights[MOST_TOKENS_HERE];
    uint8_t seen[MOST_TOKENS_HERE];
    uint64_t keys[MOST_TOKENS_HERE], rows[MOST_VIEWS_HERE];
} own_batch;

static inline void own_link(own_batch *own, bool types) {
    own->batch.input.starts = own->starts;
    own->batch.input.ids = own->ids;
    own->batch.input.types = types ? own->types : NULL;
    own->batch.at = own->at;
    own->batch.labels = own->labels;
    own->batch.input.keys = own->keys;
    own->batch.rows = own->rows;
    own->batch.weights = own->batch.weights != NULL ? own->weights : NULL;
}

/* Views of the given lengths (0 ends the list) with random content; each token is labelled with chance `share`. */
static inline void own_draw(own_batch *own, const km_model_config *config, const int *lengths, double share,
                            bool types, uint64_t seed) {
    km_rng rng = km_rng_make(seed, KM_RNG_TEST, 7, 0);
    memset(own, 0, sizeof *own);
    own_link(own, types);
    km_batch *batch = &own->batch;
    for (int view = 0; lengths[view] > 0; view++) {
        for (int i = 0; i < lengths[view]; i++) {
            int n = batch->input.tokens++;
            own->ids[n] = (int32_t)km_rng_below(&rng, (uint32_t)config->vocab_size);
            own->types[n] = (int32_t)km_rng_below(&rng, (uint32_t)config->type_vocab_size);
            own->keys[n] = (uint64_t)(view + 100) * 65536 + (uint64_t)i;
            if (km_rng_unit(&rng) < share) {
                own->at[batch->labelled] = n;
                own->labels[batch->labelled++] = (int32_t)km_rng_below(&rng, (uint32_t)config->vocab_size);
            }
        }
        batch->input.longest = KM_MAX(batch->input.longest, lengths[view]);
        own->starts[++batch->views] = batch->input.tokens;
    }
}

/* Gives each label a weight from 0 to 3. */
static inline void own_weigh(own_batch *own, uint64_t seed) {
    km_rng rng = km_rng_make(seed, KM_RNG_TEST, 8, 0);
    for (int m = 0; m < own->batch.labelled; m++) {
        own->weights[m] = 3 * (float)km_rng_unit(&rng);
    }
    own->batch.weights = own->weights;
}

/* View number `view` of `all` alone. */
static inline void own_view(own_batch *own, const km_batch *all, int view) {
    int first = all->input.starts[view], end = all->input.starts[view + 1];
    memset(own, 0, sizeof *own);
    own_link(own, all->input.types != NULL);
    km_batch *batch = &own->batch;
    batch->views = 1;
    batch->weights = all->weights != NULL ? own->weights : NULL;
    batch->input.tokens = batch->input.longest = own->starts[1] = end - first;
    for (int i = first; i < end; i++) {
        own->ids[i - first] = all->input.ids[i];
        own->types[i - first] = all->input.types != NULL ? all->input.types[i] : 0;
        own->keys[i - first] = all->input.keys[i];
    }
    for (int m = 0; m < all->labelled; m++) {
        if (all->at[m] >= first && all->at[m] < end) {
            own->at[batch->labelled] = all->at[m] - first;
            own->weights[batch->labelled] = all->weights != NULL ? all->weights[m] : 1;
            own->labels[batch->labelled++] = all->labels[m];
        }
    }
}

static inline km_work_options options_of(const km_batch *batch, bool recompute) {
    return (km_work_options){.limits.views = batch->views,
                             .limits.tokens = batch->input.tokens,
                             .limits.labelled = batch->labelled,
                             .limits.longest = batch->input.longest,
                             .backward = true,
                             .recompute = recompute};
}

/* ---- A sink that keeps everything and checks what it gets ---- */

typedef struct keeper {
    const km_table *table;
    double *sum;      /* (table->size) */
    uint8_t *touched; /* (table->size) */
    size_t done;      /* of the last call */
    int calls;
} keeper;

static inline void keeper_ready(void *payload, size_t offset, const float *gradient, size_t count) {
    keeper *keep = payload;
    assert_true(offset + count <= keep->done);
    for (size_t i = 0; i < count; i++) {
        keep->sum[offset + i] += (double)gradient[i];
        keep->touched[offset + i] = 1;
    }
}

static inline void keeper_done(void *payload, size_t offset) {
    keeper *keep = payload;
    assert_true(offset < keep->done);
    keep->done = offset;
    keep->calls++;
}

static inline keeper keeper_make(const km_table *table) {
    return (keeper){table, km_new(table->size, sizeof(double)), km_new(table->size, 1), table->size, 0};
}

static inline void keeper_free(keeper *keep) {
    free(keep->sum);
    free(keep->touched);
}

static inline km_sink keeper_sink(keeper *keep) {
    return (km_sink){keep, keeper_ready, keeper_done};
}

/* ---- Everything for one gradient ---- */

enum { SEED = 11 };

static inline void add_gradient(keeper *keep, km_loss_sum *loss, const km_model *model, const float *weights,
                                const km_batch *batch, bool dropout, km_work *work) {
    km_sink sink = keeper_sink(keep);
    keep->done = keep->table->size;
    assert_int_equal(km_model_check(model, batch), KM_OK);
    km_model_gradient(model, weights, batch, SEED, dropout, work, &sink, loss);
    assert_int_equal(keep->done, 0);
}

static inline keeper gradient_of(km_loss_sum *loss, const km_model *model, const float *weights,
                                 const km_batch *batch, bool dropout, bool recompute) {
    km_work_options options = options_of(batch, recompute);
    km_work *work = NULL;
    keeper keep = keeper_make(km_model_table(model));
    assert_int_equal(km_work_create(&work, model, &options), KM_OK);
    add_gradient(&keep, loss, model, weights, batch, dropout, work);
    km_work_destroy(work);
    return keep;
}

/* Random everywhere, also where a fresh model has zeros and ones, so that every term of a gradient counts. */
static inline float *random_weights(const km_model *model, uint64_t seed) {
    const km_table *table = km_model_table(model);
    float *weights = km_new(table->size, sizeof *weights);
    for (int p = 0; p < table->count; p++) {
        const km_param *param = &table->params[p];
        km_rng rng = km_rng_make(seed, KM_RNG_TEST, (uint32_t)p, 1);
        for (size_t i = 0; i < param->count; i++) {
            double mean = param->start == KM_START_ONE ? 1.0 : 0.0;
            weights[param->offset + i] = (float)(mean + 0.3 * km_rng_normal(&rng));
        }
    }
    return weights;
}

static inline double largest(const double *x, size_t count) {
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs(x[i]));
    }
    return most;
}

#endif
