/* Private to model/: what heads over the vocabulary share: logits by the word embeddings, their softmax and cross entropy at the
 * labelled tokens. M of those, C width, V vocabulary. */
#ifndef KMASK_MODEL_VOCABULARY_H
#define KMASK_MODEL_VOCABULARY_H

#include "head.h"

/* Part of a head's activations. */
typedef struct km_vocabulary_acts {
    float *loss;  /* (M) */
    uint8_t *hit; /* (M) */
} km_vocabulary_acts;

/* The stack whose output the head reads; its word embeddings are the logits' weights. */
const km_stack *km_vocabulary_stack(const km_model *model);
/* The product h E^T + b with the word embeddings E (V,C); `bias` is the offset of b. */
km_dense km_vocabulary_dense(const km_model *model, size_t bias);
/* Places work->logits and the rest; and the largest slice of the gradient that km_vocabulary_report makes. */
void km_vocabulary_place_work(km_work *work, km_arena *arena, km_vocabulary_acts *acts);
size_t km_vocabulary_largest_slice(const km_model *model);
/* For km_head.outputs and most_outputs: the labelled tokens. */
const int32_t *km_vocabulary_outputs(const km_batch *batch, int *count);
int km_vocabulary_most_outputs(const km_batch_limits *limits);
/* h (M,C) -> work->logits, with the bias unless loss() is to add it. */
void km_vocabulary_forward(const km_pass *pass, const km_dense *out, km_tensor h);
/* km_head.loss and predict. `bias` is the offset of what forward has left out. */
km_loss_sum km_vocabulary_loss(const km_pass *pass, const km_vocabulary_acts *acts, size_t bias);
void km_vocabulary_predict(const km_pass *pass);
/* Multiplies the gradient of the logits by the labels' weights, with the norms taken before where they are wanted; then reports the
 * gradient of the word embeddings, and of the bias unless out->b is KM_NO_BIAS. */
void km_vocabulary_report(const km_pass *pass, const km_dense *out, km_tensor h);
/* dh (M,C), of floats, is overwritten with the gradient of h. */
void km_vocabulary_backward(const km_pass *pass, const km_dense *out, float *dh);

#endif
