/* A batch of two streams for the tests of encoder-decoders, and small models. */
#ifndef KMASK_TESTS_MODEL_BART_SUPPORT_H
#define KMASK_TESTS_MODEL_BART_SUPPORT_H

#include "model/support.h"

static inline km_model_config small_bart(void) {
    return (km_model_config){.type = "bart",
                             .vocab_size = 37,
                             .d_model = 24,
                             .encoder_layers = 2,
                             .decoder_layers = 3,
                             .encoder_attention_heads = 3,
                             .decoder_attention_heads = 4,
                             .encoder_ffn_dim = 31,
                             .decoder_ffn_dim = 20,
                             .max_position_embeddings = 90,
                             .activation_function = "gelu",
                             .dropout = 0.2,
                             .attention_dropout = 0.15,
                             .activation_dropout = 0.1,
                             .init_std = 0.3,
                             .pad_token_id = 1,
                             .decoder_start_token_id = 2,
                             .forced_bos_token_id = -1,
                             .forced_eos_token_id = 2};
}

typedef struct own_stream {
    int32_t starts[MOST_VIEWS_HERE + 1], ids[MOST_TOKENS_HERE];
    uint8_t seen[MOST_TOKENS_HERE];
    uint64_t keys[MOST_TOKENS_HERE];
} own_stream;

typedef struct own_pair {
    km_batch batch;
    own_stream input, decoder;
    int32_t at[MOST_TOKENS_HERE], labels[MOST_TOKENS_HERE];
    uint64_t rows[MOST_VIEWS_HERE];
} own_pair;

static inline void link_stream(km_stream *stream, own_stream *own) {
    stream->starts = own->starts;
    stream->ids = own->ids;
    stream->keys = own->keys;
}

static inline void own_pair_link(own_pair *own) {
    link_stream(&own->batch.input, &own->input);
    link_stream(&own->batch.decoder, &own->decoder);
    own->batch.at = own->at;
    own->batch.labels = own->labels;
    own->batch.rows = own->rows;
}

/* A token of view `view` at its place `place`. Keys of the two streams differ by chance in no place. */
static inline int own_append(km_stream *stream, own_stream *own, int view, int place, int32_t id) {
    int n = stream->tokens++;
    assert_true(n < MOST_TOKENS_HERE);
    own->ids[n] = id;
    own->seen[n] = 1;
    own->keys[n] = (uint64_t)(view + 100) * 65536 + (uint64_t)place;
    stream->longest = KM_MAX(stream->longest, place + 1);
    own->starts[view + 1] = stream->tokens;
    return n;
}

static inline void own_label(own_pair *own, int place, int32_t label) {
    own->at[own->batch.labelled] = place;
    own->labels[own->batch.labelled++] = label;
}

/* Views of the given lengths of source and target (0 ends the list); each token of a target is labelled with chance `share`. */
static inline void own_pair_draw(own_pair *own, const km_model_config *config, const int (*lengths)[2],
                                 double share, uint64_t seed) {
    const uint32_t V = (uint32_t)config->vocab_size;
    km_rng rng = km_rng_make(seed, KM_RNG_TEST, 9, 0);
    memset(own, 0, sizeof *own);
    own_pair_link(own);
    for (int view = 0; lengths[view][0] > 0; view++, own->batch.views++) {
        for (int i = 0; i < lengths[view][0]; i++) {
            own_append(&own->batch.input, &own->input, view, i, (int32_t)km_rng_below(&rng, V));
        }
        for (int i = 0; i < lengths[view][1]; i++) {
            int n = own_append(&own->batch.decoder, &own->decoder, view, i, (int32_t)km_rng_below(&rng, V));
            if (km_rng_unit(&rng) < share) {
                own_label(own, n, (int32_t)km_rng_below(&rng, V));
            }
        }
    }
}

static inline km_work_options pair_options(const km_batch *batch, bool recompute) {
    km_work_options options = options_of(batch, recompute);
    options.limits.decoder_tokens = batch->decoder.tokens;
    options.limits.decoder_longest = batch->decoder.longest;
    return options;
}

static inline keeper pair_gradient(km_loss_sum *loss, const km_model *model, const float *weights,
                                   const km_batch *batch, bool dropout, const km_work_options *options) {
    km_work *work = NULL;
    keeper keep = keeper_make(km_model_table(model));
    assert_int_equal(km_work_create(&work, model, options), KM_OK);
    add_gradient(&keep, loss, model, weights, batch, dropout, work);
    km_work_destroy(work);
    return keep;
}

#endif
