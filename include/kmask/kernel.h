/* kernel: the arithmetic of the model, as pairs of pure functions, forward and backward. Parameters are outputs, then inputs,
 * then sizes. The functions allocate no memory, keep no state and start no threads. Matrices are row-major. Matrix products
 * of floats are made by OpenBLAS, or by oneDNN where km_kernel_use chooses it; products of bf16 numbers by oneDNN; both on
 * the calling thread.
 *
 * Shapes: N tokens, T length of a view (one input sequence), C width, H heads, D = C/H head width, V vocabulary, I and O
 * input and output width of a linear layer, M tokens with a label.
 *
 * On CPUs of one class (km_kernel_vector, and the kernels of the library), a result depends to the bit on the arguments
 * alone. The number of rows is one of them: OpenBLAS rounds differently for different shapes. */
#ifndef KMASK_KERNEL_H
#define KMASK_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- The libraries and the CPU ---- */
/* Sets OpenBLAS to one thread. Call it once, before any product. */
void km_kernel_start(void);
/* Chooses the library for products of floats: "openblas", the default, or "onednn". Returns false, and changes nothing, if
 * this build has no oneDNN. Call it while no product is running. */
bool km_kernel_use(const char *gemm);
/* Whether several threads may compute products at the same time. False for OpenBLAS's serial build, which shares buffers
 * without locks, so that two threads sometimes get wrong numbers; its pthread and openmp builds are safe. */
bool km_kernel_concurrent(void);
const char *km_kernel_blas(void); /* OpenBLAS's version, e.g. "OpenBLAS 0.3.21" */
const char *km_kernel_core(void); /* the kernel that OpenBLAS has chosen for this CPU, e.g. "SkylakeX" */
/* A faster kernel that this CPU could run: "SkylakeX" or "Haswell"; NULL where OpenBLAS's choice is fine. OpenBLAS takes its
 * slowest kernel on CPUs that are newer than itself (0.3.21 on an Emerald Rapids Xeon: Prescott, at a sixth of SkylakeX's
 * speed). The environment variable OPENBLAS_CORETYPE, which OpenBLAS reads when it is loaded, names another one. */
const char *km_kernel_better_core(void);
const char *km_kernel_onednn(void); /* oneDNN's version, e.g. "oneDNN 2.6.3"; NULL if this build has none */
const char *km_kernel_isa(void); /* the instruction set that oneDNN uses, e.g. "avx512_core_bf16"; NULL likewise */
const char *km_kernel_vector(void); /* the instruction set of kmask's own loops: "avx512", "avx2" or "generic" */

/* ---- Linear layers ---- */
/* y (N,O) = x (N,I) w (O,I)^T + b (O). b may be NULL: no bias. */
void km_linear_forward(float *y, const float *x, const float *w, const float *b, int N, int I, int O);
/* The same, faster for up to about KM_FEW_ROWS rows, and with other rounding errors. */
enum { KM_FEW_ROWS = 16 };
void km_linear_few_forward(float *y, const float *x, const float *w, const float *b, int N, int I, int O);
/* dx (N,I) = dy (N,O) w (O,I). With `add` the product is added to dx. */
void km_linear_backward_input(float *dx, const float *dy, const float *w, int N, int I, int O, bool add);
/* dw (O,I) = dy (N,O)^T x (N,I); db (O) = column sums of dy. Both are overwritten; db may be NULL. */
void km_linear_backward_weight(float *dw, float *db, const float *dy, const float *x, int N, int I, int O);
/* The same where dy is O columns of a wider matrix: ldy elements from one row to the next. */
void km_linear_backward_columns(float *dw, float *db, const float *dy, int ldy, const float *x, int N, int I,
                                int O);

/* ---- bf16: the upper half of a float ---- */
/* A bf16 number has half the bytes of a float, and CPUs with bf16 instructions compute twice as many products a second. A
 * function name() has a twin name_bf16() where some of the inputs or outputs are bf16. Sums, norms, softmax and loss are
 * still computed in floats, and outputs are rounded to the nearest bf16 number, ties to even. */
typedef uint16_t km_bf16;
void km_bf16_round(km_bf16 *out, const float *in, size_t count);

typedef enum km_bf16_support {
    KM_BF16_NOT_BUILT, /* this build has no oneDNN, or one that starts its own threads */
    KM_BF16_NO_CPU,    /* oneDNN has no bf16 product for this CPU */
    KM_BF16_SLOW,      /* products work, but are computed with float instructions */
    KM_BF16_FULL       /* the CPU has bf16 instructions */
} km_bf16_support;
km_bf16_support km_bf16_supported(void); /* what this CPU and this build can do */

/* oneDNN's state for bf16 products; every thread needs its own. km_bf16_gemm_create returns NULL if bf16 is not supported or
 * memory has run out. */
typedef struct km_bf16_gemm km_bf16_gemm;
km_bf16_gemm *km_bf16_gemm_create(void);
void km_bf16_gemm_destroy(km_bf16_gemm *gemm); /* NULL is fine */

/* Linear layers as above. The result is written as floats or as bf16: one of the two pointers to it is NULL. */
/* y (N,O) = x (N,I) w (O,I)^T + b (O). b may be NULL. */
void km_linear_forward_bf16(km_bf16_gemm *gemm, float *y, km_bf16 *y_bf16, const km_bf16 *x, const km_bf16 *w,
                            const float *b, int N, int I, int O);
/* dx (N,I) = dy (N,O) w (O,I), or dx += with `add`, for which dx must be floats. ldy elements from one row of dy to the next. */
void km_linear_backward_input_bf16(km_bf16_gemm *gemm, float *dx, km_bf16 *dx_bf16, const km_bf16 *dy, int ldy,
                                   const km_bf16 *w, int N, int I, int O, bool add);
/* dw (O,I) = dy (N,O)^T x (N,I); db (O) = column sums of dy. Both are overwritten. ldy as above. */
void km_linear_backward_weight_bf16(km_bf16_gemm *gemm, float *dw, float *db, const km_bf16 *dy, int ldy,
                                    const km_bf16 *x, int N, int I, int O);

/* ---- Plain matrix products, for measuring ---- */
/* c (M,N) = a b by the library alone; `kmask bench` compares a training step with them. a is (M,K), or (K,M) with
 * transpose_a; b is (K,N), or (N,K) with transpose_b. lda, ldb, ldc: elements from one row to the next. In bf16 only one of
 * the two may be transposed. */
void km_product(float *c, const float *a, const float *b, bool transpose_a, bool transpose_b, int M, int N, int K,
                int lda, int ldb, int ldc);
void km_product_bf16(km_bf16_gemm *gemm, float *c, const km_bf16 *a, const km_bf16 *b, bool transpose_a,
                     bool transpose_b, int M, int N, int K, int lda, int ldb, int ldc);

/* ---- Dropout ---- */
/* Whether an element is kept is a function of (row key, site, element), so backward recomputes it and nothing is stored
 * (attention alone stores a bit for each probability). Element e of a row with key k at site s is kept when the 16-bit number
 * e%8 of the Philox block with counter {e/8, s, low word of k, high word of k} and key {key[0], key[1]} is at least round(p *
 * 65536). The eight numbers of a block are the low halves of its four words, then the high halves. Kept elements are
 * multiplied by 1 / (1 - round(p*65536)/65536), so that the expected value is exact. p = 0 switches dropout off. */
typedef struct km_dropout {
    uint32_t key[2]; /* km_rng_key(seed, KM_RNG_DROPOUT) */
    uint32_t site;   /* which of the model's dropout layers */
    float p;
} km_dropout;
/* y (N,C) = dropout(x); keys (N) are the keys of the rows. y may be x. Backward is the same function, applied to the
 * gradient. */
void km_dropout_apply(float *y, const float *x, const km_dropout *dropout, const uint64_t *keys, int N, int C);
void km_dropout_apply_bf16(km_bf16 *y, const float *x, const km_dropout *dropout, const uint64_t *keys, int N,
                           int C);

/* ---- Embedding ---- */
/* out (N,C) = word[ids] + position[positions] + type[types]. types may be NULL: all are type 0. */
void km_embed_forward(float *out, const int32_t *ids, const int32_t *positions, const int32_t *types,
                      const float *word, const float *position, const float *type, int N, int C);

/* out (N,C) = scale * word[ids] + position[positions]. */
void km_embed_scaled_forward(float *out, const int32_t *ids, const int32_t *positions, const float *word,
                             float scale, const float *position, int N, int C);

/* ---- Layer norm (biased variance, eps inside the root) ---- */
/* y (N,C) = normalize(x) * w + b. mean and rstd (N), the mean and 1/sqrt(variance + eps) of each row, are kept for backward,
 * which needs x too; where no backward follows, y may be x. */
void km_norm_forward(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b, float eps,
                     int N, int C);
/* dx (N,C), dw (C) and db (C) are overwritten. dx may be dy. */
void km_norm_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *mean,
                      const float *rstd, const float *w, int N, int C);
/* The end of each block of a post-norm transformer in one pass: sum (N,C) = residual + dropout(x + bias), y = norm(sum). keys
 * (N). bias (C) may be NULL. sum may be x; y must be neither of them. */
void km_residual_norm_forward(float *y, float *sum, float *mean, float *rstd, const float *x, const float *bias,
                              const float *residual, const km_dropout *dropout, const uint64_t *keys,
                              const float *w, const float *b, float eps, int N, int C);

/* km_norm_forward with the result rounded to bf16; `row` (C) is scratch. */
void km_norm_forward_bf16(km_bf16 *y, float *mean, float *rstd, const float *x, const float *w, const float *b,
                          float eps, float *row, int N, int C);
/* km_residual_norm_forward with the result both as floats and rounded to bf16. */
void km_residual_norm_forward_bf16(float *y, km_bf16 *rounded, float *sum, float *mean, float *rstd, const float *x,
                                   const float *bias, const float *residual, const km_dropout *dropout,
                                   const uint64_t *keys, const float *w, const float *b, float eps, int N, int C);

/* ---- Activations ---- */
typedef enum km_activation { KM_GELU_ERF, KM_GELU_TANH, KM_RELU } km_activation;
/* x (N,C) += b (C), then y (N,C) = dropout(activation(x)). b may be NULL, and so may `dropout`: there is none. keys (N) are
 * dropout's. Backward needs x as it is then. */
void km_activation_forward(float *y, float *x, const float *b, km_activation kind, const km_dropout *dropout,
                           const uint64_t *keys, int N, int C);
/* dx (N,C) = dropout(dy) * activation'(x). dx may be dy. */
void km_activation_backward(float *dx, const float *dy, const float *x, km_activation kind,
                            const km_dropout *dropout, const uint64_t *keys, int N, int C);
/* The same of bf16. There is no bias to add: x has it. */
void km_activation_forward_bf16(km_bf16 *y, const km_bf16 *x, km_activation kind, const km_dropout *dropout,
                                const uint64_t *keys, int N, int C);
void km_activation_backward_bf16(km_bf16 *dx, const km_bf16 *dy, const km_bf16 *x, km_activation kind,
                                 const km_dropout *dropout, const uint64_t *keys, int N, int C);
/* db (C) = column sums of dy (N,C). */
void km_bias_backward(float *db, const float *dy, int N, int C);

/* ---- Attention ---- */
/* For each view and head: out = dropout(softmax(q k^T / sqrt(D))) v.
 *
 * The queries of view i are rows q_starts[i]..q_starts[i+1]-1 of q, its keys and values rows k_starts[i]..k_starts[i+1]-1 of
 * k and v. Head h is columns h*D..h*D+D-1. ldq, ldk and ldo are the elements from one row to the next, so q, k and v may be
 * parts of one matrix that holds q|k|v side by side.
 *
 * lse (Nq, H) is the logarithm of each softmax's denominator; backward needs it. Dropout works on the probabilities: the row
 * key is the query's, the element h * 65536 + j for head h and key number j of the view. Forward writes to `kept` which
 * probabilities are kept, and backward reads it. At most KM_ATTENTION_ROWS x T scores of a head are in memory at a time (Dao
 * et al. 2022); scratch has km_attention_scratch(length of the longest view, D) floats and is aligned to 64 bytes. */
enum { KM_ATTENTION_ROWS = 64 };
typedef struct km_attention {
    int views, H, D;
    const int32_t *q_starts, *k_starts; /* (views+1) */
    int ldq, ldk, ldo;                  /* ldk is for keys and values, ldo for out and its gradient */
    km_dropout dropout;
    const uint64_t *keys; /* (Nq) dropout's row keys */
    uint16_t *kept;       /* (Nq, H, kept_words): one bit for each key; NULL where dropout is off */
    int kept_words;       /* at least km_attention_kept_words(longest) */
    /* (Nk) attention mask: keys with 0 get probability 0; one key of each view is 1. NULL: all are. */
    const uint8_t *seen;
    /* (Nq) how many keys of its view a query sees, the first ones: at least 1, and within a view never fewer than the query
     * before it. In causal attention query i sees i + 1. Blocks of keys that no query of a block sees are not computed. With
     * `seen`, each query sees a key that has 1. NULL: every query sees all keys. */
    const int32_t *visible;
} km_attention;
size_t km_attention_scratch(int longest, int D);
int km_attention_kept_words(int longest);
void km_attention_forward(float *out, float *lse, const float *q, const float *k, const float *v,
                          const km_attention *shape, float *scratch);
/* dq, dk and dv, with ldq, ldk and ldk elements from one row to the next, are overwritten for all queries and keys of the
 * views. */
void km_attention_backward(float *dq, float *dk, float *dv, const float *dout, const float *lse, const float *q,
                           const float *k, const float *v, const km_attention *shape, float *scratch);

size_t km_attention_scratch_bf16(int longest, int D); /* floats */
void km_attention_forward_bf16(km_bf16 *out, float *lse, const km_bf16 *q, const km_bf16 *k, const km_bf16 *v,
                               const km_attention *shape, float *scratch);
void km_attention_backward_bf16(km_bf16 *dq, km_bf16 *dk, km_bf16 *dv, const km_bf16 *dout, const float *lse,
                                const km_bf16 *q, const km_bf16 *k, const km_bf16 *v, const km_attention *shape,
                                float *scratch);

/* Attention of a decoder that makes one token at a time: each query q (rows, H D) sees `keys` rows of a cache of keys and values.
 * Query r sees the rows at[r * ldat], at[r * ldat + 1], ...; k and v have ldk elements from one row to the next. There is no
 * dropout. out (rows, H D). scratch has km_attention_cached_scratch(keys, H) floats and is aligned to 64 bytes. */
typedef struct km_attention_cached {
    int rows, H, D, keys;
    const int32_t *at; /* (rows, ldat) */
    int ldat, ldk;
} km_attention_cached;
size_t km_attention_cached_scratch(int most, int H); /* enough for up to `most` keys */
void km_attention_cached_forward(float *out, const float *q, const float *k, const float *v,
                                 const km_attention_cached *shape, float *scratch);

/* ---- Softmax and cross entropy ---- */
/* loss (M) = -log softmax(logits + bias)[label] for logits (M,V), bias (V) and labels (M); hit (M) = 1 where the label has
 * the largest logit (of equal ones the lowest id counts), else 0. bias, loss and hit may be NULL. With `backward`, logits are
 * overwritten by softmax - onehot, the gradient of the sum of the losses; without, by logits + bias. */
void km_loss(float *logits, float *loss, uint8_t *hit, const float *bias, const int32_t *labels, bool backward,
             int M, int V);
/* km_loss with `backward` and all outputs, under label smoothing: the loss of a row is kept * -log p(label) plus spread times the sum over
 * all V ids of -log p. kept + V spread has to be 1, so that the gradient is softmax - kept onehot(label) - spread. */
void km_loss_smoothed(float *logits, float *loss, uint8_t *hit, const float *bias, const int32_t *labels,
                      float kept, float spread, int M, int V);
/* km_loss with `backward` and with both outputs. The gradient is bf16 and fills the first half of each row of logits, so that
 * there are 2 V bf16 numbers from one row to the next. */
void km_loss_bf16(float *logits, float *loss, uint8_t *hit, const float *bias, const int32_t *labels, int M, int V);
/* norms (M): the Euclidean norm of each row of x (M,C). In bf16 there are `ld` numbers from one row to the next. */
void km_row_norms(float *norms, const float *x, int M, int C);
void km_row_norms_bf16(float *norms, const km_bf16 *x, int ld, int M, int C);
/* Multiplies row m of x (M,C) by factors[m]. */
void km_scale_rows(float *x, const float *factors, int M, int C);
void km_scale_rows_bf16(km_bf16 *x, const float *factors, int ld, int M, int C);
/* Overwrites each row of logits (M,V) with softmax(logits + bias). bias (V) may be NULL. */
void km_softmax(float *logits, const float *bias, int M, int V);
/* Overwrites each row of logits (M,V) with the logarithm of its softmax. */
void km_log_softmax(float *logits, int M, int V);

/* ---- Layers along a sequence ---- */
/* One direction of an LSTM layer (Hochreiter and Schmidhuber 1997), with the gates of PyTorch's nn.LSTM in its order i, f, g, o. Tokens
 * are in packed order: first the first token of every sequence, the longest sequence first, then the second tokens, and so on; active[t]
 * is how many sequences have a token number t, which never grows with t. */
typedef struct km_lstm {
    int steps, tokens, H; /* steps: tokens of the longest sequence; tokens: N, the sum of `active` */
    const int *active;    /* (steps) */
} km_lstm;
/* gates (N,4H): in x W_ih^T + b_ih + b_hh, out the four gates after their activations; hidden and cells (N,H); w (4H,H) is W_hh. */
void km_lstm_forward(float *hidden, float *cells, float *gates, const float *w, const km_lstm *shape);
/* dgates (N,4H): gradient of what `gates` was before forward. dhidden (N,H): in the gradient of `hidden`, out with what comes along the
 * sequence added. dcell (active[0],H) is scratch. */
void km_lstm_backward(float *dgates, float *dhidden, float *dcell, const float *gates, const float *cells,
                      const float *w, const km_lstm *shape);
/* The windows of a convolution of width K (odd) along each view, with zeros around the view: out (N, C*K), out[n][c*K + k] = x[n + k -
 * K/2][c]. A product with PyTorch's conv1d weight (O,C,K), read as (O, C*K), makes the convolution of it. dx (N,C) is overwritten. */
void km_windows_forward(float *out, const float *x, const int32_t *starts, int views, int C, int K);
void km_windows_backward(float *dx, const float *dout, const int32_t *starts, int views, int C, int K);

/* ---- Elementwise helpers ---- */
void km_add(float *y, const float *x, size_t count);                               /* y += x */
void km_multiply(float *y, const float *x, float factor, size_t count);            /* y = factor x */
void km_gather_rows(float *out, const float *in, const int32_t *at, int M, int C); /* out[i] = in[at[i]] */
void km_gather_rows_bf16(km_bf16 *out, const km_bf16 *in, const int32_t *at, int M, int C);
void km_scatter_add_rows(float *out, const float *in, const int32_t *at, int M, int C); /* out[at[i]] += in[i] */

/* ---- The exact sum ---- */
/* Gradients are summed as 64-bit fixed-point numbers, which give the same bits in any order of addition. One unit is
 * 2^-KM_FIXED_BITS of the gradient of the summed loss. A single value must be below KM_FIXED_LIMIT in magnitude; sums of up
 * to 8,192 such values cannot overflow. */
enum { KM_FIXED_BITS = 36 };
#define KM_FIXED_LIMIT 16384.0f
/* sum (count) += round(g * 2^36). Returns false if a value is not finite or is out of range; sum is undefined then. */
bool km_fixed_add(int64_t *sum, const float *g, size_t count);
/* The first addition of a sum: sum (count) = round(g * 2^36). It writes past the caches where it can, so it is meant for long
 * stretches of a large sum. */
bool km_fixed_set(int64_t *sum, const float *g, size_t count);
/* The sum of (sum[i] * scale)^2 in double, added in a fixed order. */
double km_fixed_squares(const int64_t *sum, double scale, size_t count);

/* ---- AdamW ---- */
/* Loshchilov and Hutter 2019: decoupled weight decay, bias correction as in PyTorch. */
typedef struct km_adamw {
    float lr, beta1, beta2, eps, weight_decay;
    float correction1, correction2; /* 1 - beta1^step, 1 - beta2^step */
} km_adamw;
/* Updates m, v and w (count) with the gradient g = sum * scale, where `scale` undoes the fixed point and applies the divisor
 * of the loss and the clipping:
 * m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= lr * (m/c1 / (sqrt(v/c2) + eps) + weight_decay * w). */
void km_adamw_update(float *w, float *m, float *v, const int64_t *sum, double scale, const km_adamw *options,
                     size_t count);

#endif
