/* batch: what data makes and model reads. Plain structs; the only thing that the folders data and model share. */
#ifndef KMASK_BATCH_H
#define KMASK_BATCH_H

#include <stdint.h>

/* A stream: one sequence of tokens for each of the batch's B views, laid one after the other without padding. */
typedef struct km_stream {
    int tokens;            /* N = starts[B] */
    int longest;           /* tokens of the longest sequence */
    const int32_t *starts; /* (B+1) view v is tokens starts[v]..starts[v+1]-1 */
    const int32_t *ids;    /* (N) */
    const int32_t *types;  /* (N) token types, or NULL: all 0 */
    const uint8_t *seen;   /* (N) 1, or 0: no token attends to this one (padding); or NULL: all 1 */
    /* (N) a mixture of embeddings (Ye et al. 2021, section 4.3): token i is embedded as (1 - mix[i]) E[ids[i]] + mix[i] E[mix_id]; or
     * NULL: each as itself. */
    const float *mix;
    int32_t mix_id;
    const uint64_t *keys; /* (N) a name for each token's place within the run: view number * 65536 + position.
                              Dropout is keyed by it, so that it does not depend on the micro-batch's neighbours. */
} km_stream;

/* A micro-batch: B views (masked rows, or labelled examples), and what the model is to predict of them. */
typedef struct km_batch {
    int views;       /* B */
    km_stream input; /* the encoder's tokens, after masking */
    km_stream
        decoder; /* the tokens that an encoder-decoder's decoder reads: the target, shifted right; tokens 0: none */

    /* Targets. Tokens at places of the stream that predicts (the decoder where there is one, else the input): */
    int labelled;          /* M; 0: no token is predicted */
    const int32_t *at;     /* (M) places in 0..N-1 of that stream, ascending */
    const int32_t *labels; /* (M) the ids to predict there */
    const float *weights;  /* (M) what the loss of each label is multiplied by, as importance weights of a mask; or
                              NULL: all 1 */
    /* or one class, or one number, of each view: */
    const int32_t *classes; /* (B) or NULL */
    const float *numbers;   /* (B) or NULL */

    const uint64_t *rows; /* (B) number of each view's row or example, for messages */
} km_batch;

/* What no batch of a source exceeds: memory is planned by it. */
typedef struct km_batch_limits {
    int views;
    int tokens, longest;                 /* of the input */
    int decoder_tokens, decoder_longest; /* 0: there is no second stream */
    int labelled;
} km_batch_limits;

#endif
