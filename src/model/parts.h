/* Private to model/: what its files share. A model is a backbone (one stack of layers, or an encoder's and a decoder's) and a
 * head. Offsets point into the flat array of weights, and into the gradient's, which has the same layout.
 *
 * B views, N tokens of a stack's stream, M outputs (tokens whose last hidden state the head reads), C width, H heads,
 * I intermediate width, L layers, V vocabulary. Stacks and heads know nothing of each other; gradient.c joins them. */
#ifndef KMASK_MODEL_PARTS_H
#define KMASK_MODEL_PARTS_H

#include "kmask/kernel.h"
#include "kmask/model.h"

/* ---- The table, and where parts lie (table.c) ---------------------------------------------------------------- */

typedef struct km_dense { /* y = x w^T + b, w (out,in) */
    size_t w, b;          /* b: or KM_NO_BIAS */
    int in, out;
} km_dense;
#define KM_NO_BIAS SIZE_MAX

typedef struct km_norm {
    size_t w, b;
} km_norm;

/* km_table_add without a gap behind the last part, so that neighbours are one matrix. */
size_t km_table_add_adjacent(km_table *table, km_start start, int rows, int columns, const char *format, ...)
    KM_PRINTF(5, 6);
/* A part that belongs to the model and is never trained: zeros, unless a file brings other numbers. */
size_t km_table_add_buffer(km_table *table, int rows, int columns, const char *format, ...) KM_PRINTF(4, 5);
/* prefix.weight and prefix.bias. */
km_dense km_table_add_dense(km_table *table, int in, int out, const char *prefix);
km_norm km_table_add_norm(km_table *table, int C, const char *prefix);
/* Fills model->table and all parts: by the architecture's and then the head's place(). */
void km_table_build(km_model *model);

typedef struct km_embedding_parts {
    size_t word, position, type;
    km_norm norm;
} km_embedding_parts;

typedef struct km_attention_parts {
    km_dense qkv; /* query, key and value as one product: three (C,C) one after the other */
    km_dense output;
    km_norm norm;
} km_attention_parts;

typedef struct km_layer_parts {
    km_attention_parts attention;
    km_attention_parts cross; /* of a stack that attends to another one */
    km_dense wide, narrow;    /* the feed-forward part: C to I, I to C */
    km_norm norm;
} km_layer_parts;

/* Layers of one shape and the embedding below them: BERT's encoder, or an encoder-decoder's encoder or decoder. */
typedef struct km_stack {
    int C, H, I, L;
    bool is_decoder;    /* tokens attend to those before them, and to the encoder's output */
    int positions;      /* rows of the table of positions */
    int first_position; /* the row of a view's first token */
    int pad_position; /* the row of pad tokens, which are then left out of the count; -1: they count as all others do */
    int types;        /* rows of the table of token types; 0: there is none */
    float word_scale; /* of word embeddings; 1 where there are types */
    float eps, hidden_dropout, attention_dropout, activation_dropout;
    km_activation act;
    uint32_t first_site, sites_per_layer; /* of its dropouts; see km_stack_site */
    km_embedding_parts embedding;
    km_layer_parts *layers; /* (L) */
} km_stack;

struct km_model {
    km_model_config config;
    const km_architecture *architecture;
    const struct km_head_use *head;
    km_table table;
    size_t head_offset; /* of the head's first part */
    int V;
    int pad;               /* the pad token's id; -1: none */
    double init_deviation; /* of initial weights */
    km_stack stacks[KM_STACKS];
    int stack_count;  /* the head reads what the last of them makes */
    void *head_parts; /* of head->kind->parts_size bytes */
};

/* ---- Activations and scratch of one thread (work.c) --------------------------------------------------------- */

/* What products read or write. In fp32 the floats; in bf16 the rounded ones, and floats only where something else than a
 * product reads them too. */
typedef struct km_tensor {
    float *f;
    km_bf16 *h;
} km_tensor;

/* What a layer norm at a block's end keeps for backward: norm(residual + dropout(dense(x))). */
typedef struct km_residual_norm {
    float *sum, *mean, *rstd; /* (n,C), (n), (n): the norm's input and statistics */
    km_tensor y;              /* (n,C), with floats */
} km_residual_norm;

/* Backward overwrites what it has used: context, g and the sums become their own gradients. */
typedef struct km_attention_acts {
    km_tensor qkv;     /* rows of q|k|v, or q rows and then rows of k|v (attention.c) */
    km_tensor context; /* (n,C) */
    float *lse;        /* (n,H) */
    uint16_t *kept;    /* (n,H,kept_words): what dropout left of the attention */
    int kept_words;    /* of a query and head */
    km_residual_norm end;
} km_attention_acts;

typedef struct km_layer_acts {
    km_attention_acts attention, cross; /* cross: a decoder's */
    km_tensor u,
        g; /* (n,I) before and after the activation; backward: u holds gradients of q|k|v after its own use */
    km_residual_norm end;
} km_layer_acts;

enum { KM_QKV_GAP = 32 };       /* elements to which the queries of some rows are rounded up */
enum { KM_VOCAB_BLOCK = 2048 }; /* rows of the tied embedding whose gradient exists at a time */

typedef struct km_stack_work {
    int32_t *positions; /* (N) row of each token's position embedding */
    int32_t *visible;   /* (N) a decoder's: how many tokens of its view each sees, the first ones with itself */
    float *embedding_sum, *embedding_mean, *embedding_rstd;
    float *dmix;         /* (N) backward: gradient of the stream's mixture */
    km_tensor *hidden;   /* (L+1) input of layer l (N,C); at L the output */
    km_layer_acts *acts; /* (L) with recompute and without backward all layers share one set */
    /* (N,C) in bf16 the floats of every acts.attention.end.y and acts.cross.end.y, where layers share nothing else; or NULL */
    float *attention_y, *cross_y;
    km_tensor input_at; /* (M,C) the last layer's input at the outputs' tokens */
    float *d;           /* (N,C) backward: gradient of the hidden states on its way down */
} km_stack_work;

struct km_work {
    char *block;
    const km_model *model;
    km_work_options options;
    int most_outputs;        /* M at most */
    int32_t *output_starts;  /* (B+1) which of the M belong to which view */
    uint64_t *output_keys;   /* (M) */
    int32_t *output_visible; /* (M) as km_stack_work.visible, where a decoder is last */
    km_stack_work stacks[KM_STACKS];
    void *head;    /* of head->kind->work_size bytes */
    float *logits; /* the head's: (M,V), then probabilities or its gradient: in bf16 in the first halves of rows */
    float *attention;            /* the attention kernel's scratch */
    float *norms, *hidden_norms; /* (M) km_work_norms, and of the hidden states; NULL without options.norms */
    /* backward only */
    float *d_at;        /* (M,C): gradient of the outputs */
    km_bf16 *d_rounded; /* (N,C): gradient of hidden states where a product reads it; NULL in fp32 */
    float *gradient;    /* the slice that is being made */
    /* bf16 only */
    km_bf16 *own_weights; /* rounded at each pass, where the caller has none */
    km_bf16_gemm *gemm;
};

/* Parts of the block; an arena without a base only measures. */
float *km_work_floats(km_arena *arena, int rows, int columns);
/* What products and what is fused with them look at alone: floats, or rounded in bf16. */
km_tensor km_work_operand(km_arena *arena, const km_work *work, size_t count);
/* Floats that are somewhere else, and in bf16 room for them rounded. */
km_tensor km_work_beside(km_arena *arena, const km_work *work, float *f, size_t count);

/* Most tokens of a stack's stream, and of one of its sequences. */
int km_work_tokens(const km_work *work, int stack);
int km_work_longest(const km_work *work, int stack);

/* ---- One pass over one batch -------------------------------------------------------------------------------- */

/* The tokens for which a layer makes an output: the queries of its attention. Keys and values always come from all N. */
typedef struct km_queries {
    int count;
    const int32_t *starts;  /* (B+1) */
    const uint64_t *keys;   /* (count) */
    const int32_t *at;      /* (count) among the N, or NULL: all N */
    const int32_t *visible; /* (count) how many tokens of its view each sees in self-attention; NULL: all */
} km_queries;

typedef struct km_pass {
    const km_model *model;
    const float *weights;
    const km_bf16 *rounded; /* the weights that products read; NULL: in fp32 */
    const km_batch *batch;
    km_work *work;
    const km_sink *sink; /* NULL: forward only */
    km_queries outputs;  /* of the last stack's last layer */
    bool dropout;
    uint32_t key[2]; /* of dropout */
    bool one_token;  /* of each hypothesis: the rows may be few (decode.c) */
} km_pass;

/* A stack and what it works on in one pass. */
typedef struct km_stack_pass {
    const km_pass *pass;
    const km_stack *stack;
    const km_stream *stream;
    km_stack_work *work;
    bool last; /* the head reads its output */
    /* A decoder's: the encoder's stream, its output (N,C), and the gradient of that. */
    const km_stream *memory;
    km_tensor encoded;
    float *dmemory;
} km_stack_pass;

/* Sites number the dropouts of a stack: the embedding's, then those of each layer: attention weights and attention output, in a
 * decoder also those of its cross attention, feed-forward output, and activation where that has one. */
uint32_t km_stack_site(const km_stack *stack, int layer);
km_dropout km_pass_dropout(const km_pass *pass, uint32_t site, float p);

/* The stream that a stack reads: the batch's input, or a decoder's. */
const km_stream *km_stack_stream(const km_batch *batch, int stack);

/* Slices of the gradient: computed into work->gradient, handed to the sink. */
void km_report(const km_pass *pass, size_t offset, const float *gradient, size_t count);
void km_report_dense(const km_pass *pass, const km_dense *dense, km_tensor dy, km_tensor x, int rows);
/* The same where dy's rows are ldy apart. */
void km_report_columns(const km_pass *pass, const km_dense *dense, km_tensor dy, int ldy, km_tensor x, int rows);
/* d (rows,C) in place: from the gradient of the norm's output to that of its input x. */
void km_norm_step_back(const km_pass *pass, const km_norm *norm, float *d, const float *x, const float *mean,
                       const float *rstd, int rows, int C);
/* Nothing at or beyond `offset` will be reported any more. */
void km_report_done(const km_pass *pass, size_t offset);

/* ---- Kernels for either precision (tensor.c) ---------------------------------------------------------------- */

/* From element `at` on. */
km_tensor km_tensor_at(km_tensor t, size_t at);
/* y (rows,out) = x w^T, + b when `biased`. */
void km_dense_forward(const km_pass *pass, const km_dense *dense, km_tensor y, km_tensor x, int rows, bool biased);
/* y = dropout(activation(u)), u (rows,out) = x w^T + b; keys (rows). */
void km_dense_activation_forward(const km_pass *pass, const km_dense *dense, km_activation act,
                                 const km_dropout *dropout, const uint64_t *keys, km_tensor y, km_tensor u,
                                 km_tensor x, int rows);
/* dx (rows,in) = dy w, or += with `add`; rows of dy are ldy apart. A dx with floats gets floats. */
void km_dense_backward(const km_pass *pass, const km_dense *dense, km_tensor dx, km_tensor dy, int ldy, int rows,
                       bool add);
/* Returns the operand that a product reads of dropout(d), d (rows,C): d itself in fp32 without dropout, else made in `place`,
 * or in bf16 rounded in work->d_rounded. */
km_tensor km_dropout_of(const km_pass *pass, float *d, float *place, const km_dropout *dropout,
                        const uint64_t *keys, int rows, int C);
/* Returns the operand that a product reads of d (rows,C): d itself in fp32, in bf16 rounded in work->d_rounded. */
km_tensor km_product_operand(const km_pass *pass, float *d, int rows, int C);
/* d (rows,C) in place: from the gradient of y to that of u. */
void km_activation_step_back(const km_pass *pass, km_activation act, const km_dropout *dropout,
                             const uint64_t *keys, km_tensor d, km_tensor u, int rows, int C);
void km_tensor_gather(const km_pass *pass, km_tensor out, km_tensor in, const int32_t *at, int rows, int C);

/* ---- The pieces of a stack, each a forward/backward pair ------------------------------------------------------ */

/* Output projection, dropout, residual connection and layer norm, the last part of each block: y = norm(residual + dropout(x
 * w^T + b)); x (rows,dense->in). (layer.c) */
void km_block_end_forward(const km_stack_pass *in, const km_dense *dense, const km_norm *norm,
                          const km_residual_norm *end, km_tensor x, const float *residual,
                          const km_queries *queries, uint32_t site);
/* d (rows,C): gradient of y, becomes the residual's. dx (rows,dense->in) is overwritten, and may be x; so is end->sum. */
void km_block_end_backward(const km_stack_pass *in, const km_dense *dense, const km_norm *norm,
                           const km_residual_norm *end, km_tensor x, const km_queries *queries, uint32_t site,
                           float *d, km_tensor dx);

/* An attention block: queries of some tokens, keys and values of all tokens of a stream. (attention.c) */
typedef struct km_attention_block {
    const km_stack_pass *in;
    const km_attention_parts *parts;
    const km_attention_acts *acts;
    const km_queries *queries;
    const km_stream *memory; /* of the keys */
    bool fused;              /* queries are of all tokens of the same stream: q, k and v are one product */
    const int32_t *visible;  /* (count) or NULL: kmask/kernel.h */
    uint32_t site;           /* of attention weights; the output's is the next */
} km_attention_block;
/* x (count,C), the queries', which is also the residual; memory (N,C), the same where they are fused -> acts->end.y. */
void km_attention_block_forward(const km_attention_block *block, km_tensor x, km_tensor memory);
/* d (count,C): gradient of y, becomes x's. dmemory (N,C), of floats, is overwritten, or added to with `add`; where they are fused,
 * it is d. `scratch` has acts->qkv's size. */
void km_attention_block_backward(const km_attention_block *block, km_tensor x, km_tensor memory, km_tensor scratch,
                                 float *d, float *dmemory, bool add);

/* x (N,C) -> acts->end.y (queries->count,C). */
void km_layer_forward(const km_stack_pass *in, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                      const km_queries *queries, uint32_t site);
/* dy (queries->count,C), destroyed; dx (N,C), overwritten; they are one buffer when queries->at is NULL. A decoder's layer adds to
 * in->dmemory, or overwrites it with `first`. */
void km_layer_backward(const km_stack_pass *in, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                       const km_queries *queries, uint32_t site, bool first, float *dy, float *dx);

/* ids -> work->hidden[0]; gradient work->d -> slices. */
void km_embedding_forward(const km_stack_pass *in);
void km_embedding_backward(const km_stack_pass *in);

/* ---- A stack (stack.c) --------------------------------------------------------------------------------------- */

/* ids -> hidden[L]: of the last stack (M,C), of others (N,C). A decoder reads the encoder's. */
void km_stack_forward(const km_pass *pass, int stack);
/* Gradient of hidden[L], work->d_at or the stack's d, -> slices, with done() after each layer and not after the embedding. A decoder
 * leaves the gradient of the encoder's output in the encoder's d. */
void km_stack_backward(const km_pass *pass, int stack);
/* Products of one forward, in multiply-adds. */
double km_stack_products(const km_model *model, int stack, const km_batch *batch);
/* The stack's activations. */
void km_stack_place_work(km_work *work, km_arena *arena, int stack);
size_t km_stack_largest_slice(const km_work *work, int stack);
size_t km_stack_attention_scratch(const km_work *work, int stack); /* floats */

#endif
