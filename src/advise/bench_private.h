/* bench_private: what the files of bench share. bench.c runs steps and products in turns, bench_corpus.c makes a corpus of
 * random tokens, bench_products.c computes the matrix products of a step and nothing else. */
#ifndef KMASK_ADVISE_BENCH_PRIVATE_H
#define KMASK_ADVISE_BENCH_PRIVATE_H

#include "kmask/advise.h"
#include "kmask/data.h"
#include "kmask/kernel.h"
#include "kmask/model.h"
#include "kmask/run.h"
#include "kmask/tokenizer.h"

/* A corpus of random tokens, which stream packing cuts into rows of exactly data.length tokens: as many as a step reads, within
 * bounds. tokenizer = NULL: it has a WordPiece tokenizer of model.vocab_size pieces. Its file is removed as soon as it is open.
 * Each rank has a file of its own, with the same tokens. */
km_status km_bench_corpus_open(km_corpus **out, const km_config *config,
                               const km_tokenizer *tokenizer) KM_NODISCARD;

/* A stack of layers whose sequences have T tokens each. */
typedef struct km_product_stack {
    int L, C, H, I, T;
    bool is_decoder; /* with products for attention to the first stack's output */
} km_product_stack;

/* The products of one micro-batch: B views, M labelled tokens of the last stack. */
typedef struct km_product_shape {
    km_product_stack stacks[KM_STACKS];
    int count; /* of stacks */
    int V, B, M;
} km_product_shape;
/* Views as long as the limits allow. */
km_product_shape km_product_shape_of(const km_model *model, const km_batch_limits *limits, int labelled);

/* What the products of a step are counted as. */
typedef enum km_product_count {
    KM_COUNT_DONE, /* as a step computes them: the last layer at labelled tokens, and of causal attention what it shows */
    KM_COUNT_WHOLE, /* with the last layer at all tokens */
    /* As km_products_run computes them: causal attention is a whole square to a library. */
    KM_COUNT_BARE,       /* with the last layer at labelled tokens */
    KM_COUNT_BARE_WHOLE, /* at all tokens */
} km_product_count;
/* Multiply-adds times two of forward and backward over `views` views with `labelled` labelled tokens. */
double km_product_flops(const km_product_shape *shape, double views, double labelled, km_product_count count);
/* The part of KM_COUNT_BARE_WHOLE that multiplies queries, keys, values and probabilities. */
double km_product_attention_flops(const km_product_shape *shape, double views);

/* The products of one micro-batch for one thread, in the order of a step and with the weights of a step. */
typedef struct km_products km_products;
/* rounded = NULL: in fp32, by the library that parallel.gemm has chosen; else in bf16. */
km_status km_products_create(km_products **out, const km_product_shape *shape, const float *weights,
                             const km_bf16 *rounded) KM_NODISCARD;
void km_products_destroy(km_products *products); /* NULL is fine */
/* The times that the products take, in seconds. */
typedef struct km_products_time {
    double whole; /* with the last layer at all tokens */
    double done;  /* with the last layer as a step computes it */
    /* The part of `whole` that multiplies queries, keys, values and probabilities, head by head. */
    double attention;
} km_products_time;
/* Computes the products once and sets *out to their times. */
void km_products_run(km_products *products, km_products_time *out);

#endif
