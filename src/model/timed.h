/* timed: which of a step's operations each kernel is (kmask/base.h, "Where time goes"). Included by parts.h: in model/
 * the name of a kernel in this list is its call with a timer around it. A kernel that is missing here counts as the rest. */
#ifndef KMASK_MODEL_TIMED_H
#define KMASK_MODEL_TIMED_H

#include "kmask/base.h"
#include "kmask/kernel.h"

/* A macro's own name is not expanded again inside it. */
#define km_linear_forward(...) KM_TIMED(KM_OP_FORWARD_PRODUCTS, km_linear_forward(__VA_ARGS__))
#define km_attention_forward(...) KM_TIMED(KM_OP_FORWARD_ATTENTION, km_attention_forward(__VA_ARGS__))
#define km_residual_norm_forward(...) KM_TIMED(KM_OP_FORWARD_NORM, km_residual_norm_forward(__VA_ARGS__))
#define km_norm_forward(...) KM_TIMED(KM_OP_FORWARD_NORM, km_norm_forward(__VA_ARGS__))
#define km_gelu_forward(...) KM_TIMED(KM_OP_FORWARD_GELU, km_gelu_forward(__VA_ARGS__))
#define km_embed_forward(...) KM_TIMED(KM_OP_FORWARD_EMBEDDING, km_embed_forward(__VA_ARGS__))
#define km_gather_rows(...) KM_TIMED(KM_OP_FORWARD_EMBEDDING, km_gather_rows(__VA_ARGS__))
#define km_loss(...) KM_TIMED(KM_OP_LOSS, km_loss(__VA_ARGS__))
#define km_linear_backward_input(...) KM_TIMED(KM_OP_BACKWARD_PRODUCTS, km_linear_backward_input(__VA_ARGS__))
#define km_linear_backward_weight(...) KM_TIMED(KM_OP_BACKWARD_PRODUCTS, km_linear_backward_weight(__VA_ARGS__))
#define km_linear_backward_columns(...) KM_TIMED(KM_OP_BACKWARD_PRODUCTS, km_linear_backward_columns(__VA_ARGS__))
#define km_attention_backward(...) KM_TIMED(KM_OP_BACKWARD_ATTENTION, km_attention_backward(__VA_ARGS__))
#define km_norm_backward(...) KM_TIMED(KM_OP_BACKWARD_NORM, km_norm_backward(__VA_ARGS__))
#define km_gelu_backward(...) KM_TIMED(KM_OP_BACKWARD_GELU, km_gelu_backward(__VA_ARGS__))
#define km_bias_backward(...) KM_TIMED(KM_OP_BACKWARD_EMBEDDING, km_bias_backward(__VA_ARGS__))
#define km_scatter_add_rows(...) KM_TIMED(KM_OP_BACKWARD_EMBEDDING, km_scatter_add_rows(__VA_ARGS__))
#define km_dropout_apply(...) KM_TIMED(KM_OP_DROPOUT, km_dropout_apply(__VA_ARGS__))

#define km_linear_forward_bf16(...) KM_TIMED(KM_OP_FORWARD_PRODUCTS, km_linear_forward_bf16(__VA_ARGS__))
#define km_attention_forward_bf16(...) KM_TIMED(KM_OP_FORWARD_ATTENTION, km_attention_forward_bf16(__VA_ARGS__))
#define km_residual_norm_forward_bf16(...) KM_TIMED(KM_OP_FORWARD_NORM, km_residual_norm_forward_bf16(__VA_ARGS__))
#define km_norm_forward_bf16(...) KM_TIMED(KM_OP_FORWARD_NORM, km_norm_forward_bf16(__VA_ARGS__))
#define km_gelu_forward_bf16(...) KM_TIMED(KM_OP_FORWARD_GELU, km_gelu_forward_bf16(__VA_ARGS__))
#define km_gather_rows_bf16(...) KM_TIMED(KM_OP_FORWARD_EMBEDDING, km_gather_rows_bf16(__VA_ARGS__))
#define km_loss_bf16(...) KM_TIMED(KM_OP_LOSS, km_loss_bf16(__VA_ARGS__))
#define km_linear_backward_input_bf16(...)                                                                         \
    KM_TIMED(KM_OP_BACKWARD_PRODUCTS, km_linear_backward_input_bf16(__VA_ARGS__))
#define km_linear_backward_weight_bf16(...)                                                                        \
    KM_TIMED(KM_OP_BACKWARD_PRODUCTS, km_linear_backward_weight_bf16(__VA_ARGS__))
#define km_attention_backward_bf16(...) KM_TIMED(KM_OP_BACKWARD_ATTENTION, km_attention_backward_bf16(__VA_ARGS__))
#define km_gelu_backward_bf16(...) KM_TIMED(KM_OP_BACKWARD_GELU, km_gelu_backward_bf16(__VA_ARGS__))
#define km_dropout_apply_bf16(...) KM_TIMED(KM_OP_DROPOUT, km_dropout_apply_bf16(__VA_ARGS__))
#define km_bf16_round(...) KM_TIMED(KM_OP_ROUNDING, km_bf16_round(__VA_ARGS__))

#endif
