/* Private to model/: what its files share. Offsets point into the flat array of weights (and into the gradient's).
 * B views, N tokens, M labelled tokens, C width, H heads, I intermediate width, L layers, V vocabulary.
 * Layers, block ends, embedding and head know nothing of each other; encoder.c and gradient.c join them. */
#ifndef KMASK_MODEL_PARTS_H
#define KMASK_MODEL_PARTS_H

#include "kmask/kernel.h"
#include "kmask/model.h"
#include "timed.h"

/* ---- Where the parts lie (table.c) -------------------------------------------------------------------------- */

typedef struct km_dense { /* y = x w^T + b, w (out,in) */
    size_t w, b;
    int in, out;
} km_dense;

typedef struct km_norm {
    size_t w, b;
} km_norm;

typedef struct km_embedding_parts {
    size_t word, position, type;
    km_norm norm;
} km_embedding_parts;

typedef struct km_layer_parts {
    km_dense qkv; /* query, key and value as one product: three (C,C) one after the other */
    km_dense attention_output;
    km_norm attention_norm;
    km_dense intermediate;
    km_dense output;
    km_norm output_norm;
} km_layer_parts;

typedef struct km_head_parts { /* the decoder's matrix is the word embedding */
    km_dense dense;
    km_norm norm;
    size_t bias;
} km_head_parts;

struct km_model {
    km_model_config config;
    km_table table;
    int C, H, I, L, V, positions, types;
    int first_position; /* row of the first token's position embedding */
    int pad;            /* -1: none */
    float eps, hidden_dropout, attention_dropout;
    km_gelu act, head_act;
    km_embedding_parts embedding;
    km_layer_parts *layers; /* (L) */
    km_head_parts head;
};

/* Fills model->table and the parts from the sizes that are already in `model`. */
void km_table_build(km_model *model);

/* ---- Activations and scratch of one thread (work.c) --------------------------------------------------------- */

/* What products read or write. In fp32 the floats; in bf16 the rounded ones, and floats only where something else than a product
 * reads them too. */
typedef struct km_tensor {
    float *f;
    km_bf16 *h;
} km_tensor;

/* dense -> dropout -> + residual -> norm, the end of every block of a post-norm transformer. */
typedef struct km_ending {
    float *sum, *mean, *rstd; /* (n,C), (n), (n): the norm's input and statistics */
    km_tensor y;              /* (n,C), with floats */
} km_ending;

/* Backward overwrites what it has used: context, g and the endings' sums become their own gradients. */
typedef struct km_layer_acts {
    km_tensor qkv;     /* rows of q|k|v, or q rows and then rows of k|v (layer.c) */
    km_tensor context; /* (n,C) */
    float *lse;        /* (n,H) */
    uint16_t *kept;    /* (n,H,kept_words): what dropout left of the attention */
    km_ending attention;
    km_tensor u, g; /* (n,I) before and after gelu; backward: u holds the gradient of q|k|v after its own use */
    km_ending output;
} km_layer_acts;

typedef struct km_head_acts {
    float *t, *g;       /* (M,C) before and after gelu */
    float *mean, *rstd; /* (M) */
    km_tensor h;        /* (M,C) */
    float *d;           /* (M,C) its gradient; in fp32 in its place */
    float *logits;      /* (M,V), then probabilities or its gradient: in bf16 in the first halves of rows */
    float *loss;        /* (M) */
    uint8_t *hit;       /* (M) */
} km_head_acts;

enum { KM_QKV_GAP = 32 };       /* elements to which the queries of some rows are rounded up */
enum { KM_VOCAB_BLOCK = 2048 }; /* rows of the tied embedding whose gradient exists at a time */

struct km_work {
    char *block;
    km_work_options options;
    int layers;
    int kept_words;           /* of a query and head in km_layer_acts.kept */
    int32_t *positions;       /* (N) row of each token's position embedding */
    int32_t *labelled_starts; /* (B+1) which of the M belong to which view */
    uint64_t *labelled_keys;  /* (M) */
    float *embedding_sum, *embedding_mean, *embedding_rstd;
    float *between; /* (N,C) in bf16: the floats of every attention.y, where layers do not share all; else NULL */
    km_tensor *hidden;   /* (L+1) input of layer l (N,C); at L the output (M,C) */
    km_layer_acts *acts; /* (L) with recompute and without backward they share one set */
    km_tensor input_at;  /* (M,C) the last layer's input at the labelled tokens */
    km_head_acts head;
    float *attention; /* the attention kernel's scratch */
    /* backward only */
    float *d, *d_at;    /* (N,C), (M,C): gradient of the hidden states on its way down */
    km_bf16 *d_rounded; /* (N,C): the same where a product reads it; NULL in fp32 */
    float *gradient;    /* the slice that is being made */
    /* bf16 only */
    km_bf16 *own_weights; /* rounded at each pass, where the caller has none */
    km_bf16_gemm *gemm;
};

/* ---- One pass over one batch -------------------------------------------------------------------------------- */

typedef struct km_pass {
    const km_model *model;
    const float *weights;
    const km_bf16 *rounded; /* the weights that products read; NULL: in fp32 */
    const km_batch *batch;
    km_work *work;
    const km_sink *sink; /* NULL in forward */
    bool dropout;
    uint32_t key[2]; /* of dropout */
} km_pass;

/* The rows for which a layer makes an output; keys and values always come from all N. */
typedef struct km_rows {
    int count;
    const int32_t *starts; /* (B+1) */
    const uint64_t *keys;  /* (count) */
    const int32_t *at;     /* (count) among the N, or NULL: all N */
} km_rows;

/* Sites name every dropout of the model; decoders will go on where the encoder ends. */
enum { KM_SITE_EMBEDDING = 0, KM_SITE_LAYERS = 1, KM_SITES_PER_LAYER = 3 };
km_dropout km_pass_dropout(const km_pass *pass, uint32_t site, float p);

/* Slices of the gradient: computed into work->gradient, handed to the sink. */
void km_report(const km_pass *pass, size_t offset, const float *gradient, size_t count);
void km_report_dense(const km_pass *pass, const km_dense *dense, km_tensor dy, km_tensor x, int rows);
/* The same where dy's rows are ldy apart. */
void km_report_columns(const km_pass *pass, const km_dense *dense, km_tensor dy, int ldy, km_tensor x, int rows);
/* d (rows,C) in place: from the gradient of the norm's output to that of its input x. */
void km_norm_step_back(const km_pass *pass, const km_norm *norm, float *d, const float *x, const float *mean,
                       const float *rstd, int rows);

/* ---- Kernels for either precision (tensor.c) ---------------------------------------------------------------- */

/* From element `at` on. */
km_tensor km_tensor_at(km_tensor t, size_t at);
/* y (rows,out) = x w^T, + b when `biased`. */
void km_dense_forward(const km_pass *pass, const km_dense *dense, km_tensor y, km_tensor x, int rows, bool biased);
/* y = gelu(u), u (rows,out) = x w^T + b. */
void km_dense_gelu_forward(const km_pass *pass, const km_dense *dense, km_tensor y, km_tensor u, km_tensor x,
                           int rows);
/* dx (rows,in) = dy w, or += with `add`; rows of dy are ldy apart. A dx with floats gets floats. */
void km_dense_backward(const km_pass *pass, const km_dense *dense, km_tensor dx, km_tensor dy, int ldy, int rows,
                       bool add);
/* What products read of dropout(d), d (rows,C): d itself without dropout, else made in `place`, or rounded in work->d_rounded. */
km_tensor km_dropout_of(const km_pass *pass, float *d, float *place, const km_dropout *dropout,
                        const uint64_t *keys, int rows, int C);
/* The same of numbers that are what they are. */
km_tensor km_product_operand(const km_pass *pass, float *d, int rows, int C);
void km_gelu_step_back(const km_pass *pass, km_tensor d, km_tensor u, int rows, int C);
void km_tensor_gather(const km_pass *pass, km_tensor out, km_tensor in, const int32_t *at, int rows, int C);

/* ---- The pieces, each a forward/backward pair --------------------------------------------------------------- */

/* y = norm(residual + dropout(x w^T + b)); x (rows,dense->in). */
void km_ending_forward(const km_pass *pass, const km_dense *dense, const km_norm *norm, const km_ending *ending,
                       km_tensor x, const float *residual, const km_rows *rows, uint32_t site);
/* d (rows,C): gradient of y, becomes the residual's. dx (rows,dense->in) is overwritten, and may be x; so is the
 * ending's sum. */
void km_ending_backward(const km_pass *pass, const km_dense *dense, const km_norm *norm, const km_ending *ending,
                        km_tensor x, const km_rows *rows, uint32_t site, float *d, km_tensor dx);

/* x (N,C) -> acts->output.y (rows->count,C). */
void km_layer_forward(const km_pass *pass, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                      const km_rows *rows, uint32_t site);
/* dy (rows->count,C), destroyed; dx (N,C), overwritten; they are one buffer when rows->at is NULL. */
void km_layer_backward(const km_pass *pass, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                       const km_rows *rows, uint32_t site, float *dy, float *dx);

/* ids -> work->hidden[0]; gradient work->d -> slices. */
void km_embedding_forward(const km_pass *pass);
void km_embedding_backward(const km_pass *pass);

/* hidden[0] -> hidden[L]; gradient work->d_at -> work->d, with done() after each layer. */
void km_encoder_forward(const km_pass *pass);
void km_encoder_backward(const km_pass *pass);

/* hidden (M,C) -> work->head.logits, with the bias when `biased`. */
void km_head_forward(const km_pass *pass, km_tensor hidden, bool biased);
/* work->head.logits holds the gradient of the logits; dx (M,C) is overwritten. */
void km_head_backward(const km_pass *pass, km_tensor hidden, float *dx);

#endif
