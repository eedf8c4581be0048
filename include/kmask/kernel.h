/* kernel: the arithmetic. Pure forward/backward pairs: output first, then inputs, then sizes; no allocation, no
 * globals, no threads. Matrices are row-major. Matrix products go to OpenBLAS, or to oneDNN where that is asked for or numbers
 * are bf16, either on the calling thread alone.
 *
 * B views, N tokens, T length of a view, C width, H heads, D = C/H head width, V vocabulary, M labelled tokens.
 * Every function is a function of its arguments to the bit, on one CPU class: the number of rows of a call is part
 * of the arguments (OpenBLAS rounds differently for different shapes). */
#ifndef KMASK_KERNEL_H
#define KMASK_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- What runs here ---- */
/* Sets OpenBLAS to one thread; call once before any product. */
void km_kernel_start(void);
/* Which library multiplies floats from now on: "openblas", as at the start, or "onednn". False where this build has no
 * oneDNN. While no product runs. */
bool km_kernel_use(const char *gemm);
/* Whether several threads may call products at once. OpenBLAS's serial build shares its buffers without locks: two
 * threads in it give wrong numbers now and then. The pthread and openmp builds are safe. */
bool km_kernel_concurrent(void);
const char *km_kernel_blas(void); /* OpenBLAS's version, e.g. "OpenBLAS 0.3.21" */
/* The kernel that this CPU could run when OpenBLAS's is weaker: "SkylakeX" or "Haswell", for OPENBLAS_CORETYPE, which is
 * read when the library is loaded. NULL when its choice is fine. OpenBLAS takes its slowest kernel on CPUs that are newer
 * than itself (0.3.21 on an Emerald Rapids Xeon: Prescott, a sixth of SkylakeX's speed). */
const char *km_kernel_better_core(void);
const char *km_kernel_core(void);   /* its kernel, e.g. "SkylakeX" */
const char *km_kernel_onednn(void); /* oneDNN's version, e.g. "oneDNN 2.6.3"; NULL where this build has none */
const char *km_kernel_isa(void);    /* the instructions that it uses, e.g. "avx512_core_bf16" */
const char *km_kernel_vector(void); /* the class our own loops run in: "avx512", "avx2" or "generic" */

/* ---- Linear layers ---- */
/* y (N,O) = x (N,I) w (O,I)^T; with b (O) not NULL, + b. */
void km_linear_forward(float *y, const float *x, const float *w, const float *b, int N, int I, int O);
/* dx (N,I) = dy (N,O) w (O,I), or += with `add`. */
void km_linear_backward_input(float *dx, const float *dy, const float *w, int N, int I, int O, bool add);
/* dw (O,I) = dy (N,O)^T x (N,I); with db (O) not NULL, db = column sums of dy. Both are overwritten. */
void km_linear_backward_weight(float *dw, float *db, const float *dy, const float *x, int N, int I, int O);
/* The same for O columns of a wider matrix, whose rows are ldy apart. */
void km_linear_backward_columns(float *dw, float *db, const float *dy, int ldy, const float *x, int N, int I,
                                int O);

/* ---- bf16: the upper half of a float ---- */
/* Half the bytes, and twice the products a second where the CPU has instructions for them. A function whose name ends in _bf16
 * is the one without it for numbers of which some are bf16: sums, norms, softmax and loss are still made in floats, and what
 * is written as bf16 is rounded to nearest, ties to even. */
typedef uint16_t km_bf16;
void km_bf16_round(km_bf16 *out, const float *in, size_t count);

typedef enum km_bf16_support {
    KM_BF16_NOT_BUILT, /* this program was built without oneDNN, or runs with one that takes threads of its own */
    KM_BF16_NO_CPU,    /* oneDNN has no such product for this CPU */
    KM_BF16_SLOW,      /* made of instructions for floats */
    KM_BF16_FULL
} km_bf16_support;
km_bf16_support km_bf16_supported(void);

/* What oneDNN keeps for one thread: only one uses it at a time. NULL where there is no support, or no memory. */
typedef struct km_bf16_gemm km_bf16_gemm;
km_bf16_gemm *km_bf16_gemm_create(void);
void km_bf16_gemm_destroy(km_bf16_gemm *gemm); /* NULL is fine */

/* Linear layers. Results are floats, or bf16: one of the two pointers to a result is NULL. */
/* y (N,O) = x (N,I) w (O,I)^T; with b (O) not NULL, + b. */
void km_linear_forward_bf16(km_bf16_gemm *gemm, float *y, km_bf16 *y_bf16, const km_bf16 *x, const km_bf16 *w,
                            const float *b, int N, int I, int O);
/* dx (N,I) = dy (N,O) w (O,I), or += with `add`, which is for floats. Rows of dy are ldy apart. */
void km_linear_backward_input_bf16(km_bf16_gemm *gemm, float *dx, km_bf16 *dx_bf16, const km_bf16 *dy, int ldy,
                                   const km_bf16 *w, int N, int I, int O, bool add);
/* dw (O,I) = dy (N,O)^T x (N,I); db (O) = column sums of dy. Rows of dy are ldy apart. Both are overwritten. */
void km_linear_backward_weight_bf16(km_bf16_gemm *gemm, float *dw, float *db, const km_bf16 *dy, int ldy,
                                    const km_bf16 *x, int N, int I, int O);

/* ---- Products to measure with ---- */
/* c (M,N) = a b, the library's own product and nothing else. a is (M,K), or (K,M) with transpose_a; b is (K,N), or (N,K) with
 * transpose_b. In bf16 not both are. */
void km_product(float *c, const float *a, const float *b, bool transpose_a, bool transpose_b, int M, int N, int K,
                int lda, int ldb, int ldc);
void km_product_bf16(km_bf16_gemm *gemm, float *c, const km_bf16 *a, const km_bf16 *b, bool transpose_a,
                     bool transpose_b, int M, int N, int K, int lda, int ldb, int ldc);

/* ---- Dropout: a bit for each (row key, site, element), recomputed in backward, never stored ---- */
/* Element e of a row with key k at site s is kept when the 16-bit number e%8 of Philox block
 * (counter {e/8, s, k low, k high}, key {key[0], key[1]}) is >= round(p * 65536); numbers are the four words'
 * low halves then high halves: 0..3 = low 16 bits of words 0..3, 4..7 = high 16 bits. Kept elements are scaled by
 * 1 / (1 - round(p*65536)/65536), so that the mean is exact. p = 0 is off. */
typedef struct km_dropout {
    uint32_t key[2]; /* km_rng_key(seed, KM_RNG_DROPOUT) */
    uint32_t site;   /* which dropout of the model */
    float p;
} km_dropout;
/* y (N,C) = dropout(x); keys (N). In place (y == x) is fine. Backward is the same function on gradients. */
void km_dropout_apply(float *y, const float *x, const km_dropout *dropout, const uint64_t *keys, int N, int C);
void km_dropout_apply_bf16(km_bf16 *y, const float *x, const km_dropout *dropout, const uint64_t *keys, int N,
                           int C);

/* ---- Embedding ---- */
/* out (N,C) = word[ids] + position[positions] + type[types] (types NULL: type 0). */
void km_embed_forward(float *out, const int32_t *ids, const int32_t *positions, const int32_t *types,
                      const float *word, const float *position, const float *type, int N, int C);

/* ---- Layer norm (biased variance, eps inside the root) ---- */
/* y (N,C) = normalize(x) * w + b; mean and rstd (N) are kept for backward. In place is fine only for y == x when
 * backward is not wanted. */
void km_norm_forward(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b, float eps,
                     int N, int C);
/* dx (N,C), dw (C), db (C): all overwritten. dx == dy is fine. */
void km_norm_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *mean,
                      const float *rstd, const float *w, int N, int C);
/* The block end of a post-norm transformer in one pass: sum (N,C) = residual + dropout(x + bias), y = norm(sum).
 * bias (C) may be NULL. sum may be x; y must be neither. `keys` (N). */
void km_residual_norm_forward(float *y, float *sum, float *mean, float *rstd, const float *x, const float *bias,
                              const float *residual, const km_dropout *dropout, const uint64_t *keys,
                              const float *w, const float *b, float eps, int N, int C);

/* The same with the result rounded, and `row` (C) to make it in. */
void km_norm_forward_bf16(km_bf16 *y, float *mean, float *rstd, const float *x, const float *w, const float *b,
                          float eps, float *row, int N, int C);
/* The same with the result as it is, and rounded. */
void km_residual_norm_forward_bf16(float *y, km_bf16 *rounded, float *sum, float *mean, float *rstd, const float *x,
                                   const float *bias, const float *residual, const km_dropout *dropout,
                                   const uint64_t *keys, const float *w, const float *b, float eps, int N, int C);

/* ---- GELU ---- */
typedef enum km_gelu { KM_GELU_ERF, KM_GELU_TANH } km_gelu;
/* x (N,C) += b (C) (b may be NULL); y (N,C) = gelu(x). x is kept for backward. */
void km_gelu_forward(float *y, float *x, const float *b, km_gelu kind, int N, int C);
/* dx (N,C) = dy * gelu'(x); dx == dy is fine. */
void km_gelu_backward(float *dx, const float *dy, const float *x, km_gelu kind, int N, int C);
/* Without a bias: x has it. */
void km_gelu_forward_bf16(km_bf16 *y, const km_bf16 *x, km_gelu kind, int N, int C);
void km_gelu_backward_bf16(km_bf16 *dx, const km_bf16 *dy, const km_bf16 *x, km_gelu kind, int N, int C);
/* db (C) = column sums of dy (N,C). */
void km_bias_backward(float *db, const float *dy, int N, int C);

/* ---- Attention ---- */
/* For each view v and head h: out = softmax(q k^T / sqrt(D)), dropout on the probabilities, times v.
 * Queries of view v are rows q_starts[v]..q_starts[v+1]-1, keys and values rows k_starts[v]..; all (·, C) parts of
 * rows with a leading dimension (ldq, ldk, ldo: elements from row to row), so that a fused q|k|v matrix needs no
 * copy. lse (Nq, H): log of the softmax's denominator, kept for backward. Dropout: keys (Nq) of the query rows,
 * element h * 65536 + j for head h and key j of the view; which probabilities it keeps is written to `kept` by forward
 * and read by backward. No more than a block of KM_ATTENTION_ROWS x T scores exists at a time; scratch has
 * km_attention_scratch(longest, D) floats and is 64-byte aligned. */
enum { KM_ATTENTION_ROWS = 64 };
typedef struct km_attention {
    int views, H, D;
    const int32_t *q_starts, *k_starts; /* (views+1) */
    int ldq, ldk, ldo;                  /* ldk: of keys and values; ldo: of out and its gradient */
    km_dropout dropout;
    const uint64_t *keys; /* (Nq) */
    uint16_t *kept;       /* (Nq, H, kept_words): a bit a key; NULL where dropout is off */
    int kept_words;       /* at least km_attention_kept_words(longest) */
    const uint8_t *seen;  /* (Nk) keys with 0 take no part, at least one of a view does; NULL: all do */
} km_attention;
size_t km_attention_scratch(int longest, int D);
int km_attention_kept_words(int longest);
void km_attention_forward(float *out, float *lse, const float *q, const float *k, const float *v,
                          const km_attention *shape, float *scratch);
/* dq, dk, dv (leading dimensions ldq, ldk, ldk) are overwritten at all queries and keys of the views. */
void km_attention_backward(float *dq, float *dk, float *dv, const float *dout, const float *lse, const float *q,
                           const float *k, const float *v, const km_attention *shape, float *scratch);

size_t km_attention_scratch_bf16(int longest, int D); /* floats */
void km_attention_forward_bf16(km_bf16 *out, float *lse, const km_bf16 *q, const km_bf16 *k, const km_bf16 *v,
                               const km_attention *shape, float *scratch);
void km_attention_backward_bf16(km_bf16 *dq, km_bf16 *dk, km_bf16 *dv, const km_bf16 *dout, const float *lse,
                                const km_bf16 *q, const km_bf16 *k, const km_bf16 *v, const km_attention *shape,
                                float *scratch);

/* ---- Softmax and cross entropy ---- */
/* logits (M,V), labels (M). loss (M) = -log softmax(logits)[label]; hit (M) = 1 where the label's logit is the
 * largest (the lowest id wins a tie). With `backward`, logits are overwritten by softmax - onehot: the gradient of
 * the *summed* loss. bias (V), may be NULL, is added to the logits first. Either output may be NULL. */
void km_loss(float *logits, float *loss, uint8_t *hit, const float *bias, const int32_t *labels, bool backward,
             int M, int V);
/* With `backward`, and no output NULL; the gradient is bf16, in the first half of each row: 2 V of them from row to row. */
void km_loss_bf16(float *logits, float *loss, uint8_t *hit, const float *bias, const int32_t *labels, int M, int V);
/* p (M,V) in place: softmax of each row of logits + bias (may be NULL). */
void km_softmax(float *logits, const float *bias, int M, int V);

/* ---- Elementwise helpers ---- */
void km_add(float *y, const float *x, size_t count);                               /* y += x */
void km_gather_rows(float *out, const float *in, const int32_t *at, int M, int C); /* out[i] = in[at[i]] */
void km_gather_rows_bf16(km_bf16 *out, const km_bf16 *in, const int32_t *at, int M, int C);
void km_scatter_add_rows(float *out, const float *in, const int32_t *at, int M, int C); /* out[at[i]] += in[i] */

/* ---- The exact sum: fixed point, the same bits in any order ---- */
/* One unit is 2^-KM_FIXED_BITS of the summed loss' gradient. A single value must be below KM_FIXED_LIMIT; sums of up
 * to 8,192 such values cannot overflow. */
enum { KM_FIXED_BITS = 36 };
#define KM_FIXED_LIMIT 16384.0f
/* sum (count) += round(g * 2^36). False when a value is not finite or out of range (sum is then undefined). */
bool km_fixed_add(int64_t *sum, const float *g, size_t count);
/* The same where nothing has been summed yet: sum (count) = round(g * 2^36). For whole stretches of a large sum: it goes
 * past the caches. */
bool km_fixed_set(int64_t *sum, const float *g, size_t count);
/* Sum of squares of sum[i] * scale, in double, in a fixed order of additions. */
double km_fixed_squares(const int64_t *sum, double scale, size_t count);

/* ---- AdamW (Loshchilov and Hutter 2019), decoupled decay, bias-corrected as HuggingFace and PyTorch have it ---- */
typedef struct km_adamw {
    float lr, beta1, beta2, eps, weight_decay;
    float correction1, correction2; /* 1 - beta1^step, 1 - beta2^step */
} km_adamw;
/* g = sum * scale (scale undoes fixed point, loss norm and clip); m, v, w updated in one pass:
 * m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= lr * (m/c1 / (sqrt(v/c2) + eps) + weight_decay * w). */
void km_adamw_update(float *w, float *m, float *v, const int64_t *sum, double scale, const km_adamw *options,
                     size_t count);

#endif
