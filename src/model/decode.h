/* Private to model/: a decoder that makes one token at a time for many hypotheses at once. A row is a hypothesis: an answer that has
 * begun. Every step of a row continues a row of the step before. */
#ifndef KMASK_MODEL_DECODE_H
#define KMASK_MODEL_DECODE_H

#include "kmask/model.h"

typedef struct km_decoder km_decoder;

typedef struct km_decoder_limits {
    int sources, tokens, longest; /* of a batch: views, and tokens in all and in one of them */
    int rows, steps;              /* hypotheses at once, and tokens of each that are read */
} km_decoder_limits;

/* The model has a decoder. The caller destroys. */
km_status km_decoder_create(km_decoder **out, const km_model *model, const km_decoder_limits *limits) KM_NODISCARD;
void km_decoder_destroy(km_decoder *decoder);
/* Encodes batch->input, and begins anew. Weights and batch have to stay until the last step. */
void km_decoder_begin(km_decoder *decoder, const float *weights, const km_batch *batch);

/* The hypotheses of one step, those of a source side by side, sources in ascending order. */
typedef struct km_decoder_rows {
    int count;
    const int32_t *ids;     /* (count) the token that each reads */
    const int32_t *sources; /* (count) view of the batch */
    const int32_t *parents; /* (count) row of the step before that each continues; not read in the first step */
} km_decoder_rows;
/* Returns the logarithms of the probabilities of each row's next token (count,V): the decoder's, which may be overwritten, valid until
 * the next step. */
float *km_decoder_step(km_decoder *decoder, const km_decoder_rows *rows);

#endif
