/* bench: what its files share. bench.c runs steps and products in turns, bench_corpus.c makes something to train on,
 * bench_products.c knows a step's matrix products. */
#ifndef KMASK_ADVISE_BENCH_PRIVATE_H
#define KMASK_ADVISE_BENCH_PRIVATE_H

#include "kmask/advise.h"
#include "kmask/data.h"
#include "kmask/kernel.h"
#include "kmask/model.h"

/* A corpus of `rows` rows of exactly `length` random tokens under stream packing, in a file that is gone as soon as it is
 * open, and a WordPiece tokenizer of `vocabulary` pieces. The same on all ranks, each of which has its own. */
km_status km_bench_corpus_open(km_corpus **out, int64_t vocabulary, int length, int rows) KM_NODISCARD;

/* The products of one micro-batch: B views of T tokens each, N = B T, M of them labelled. */
typedef struct km_product_shape {
    int L, C, H, I, V;
    int B, T, M;
} km_product_shape;
km_product_shape km_product_shape_of(const km_model_config *model, int views, int length, int labelled);

/* Multiply-adds times two of forward and backward of `views` views with `labelled` labelled tokens of such a shape,
 * `whole`: as if the last layer were computed at all tokens; else as a step does it, at labelled ones. */
double km_product_flops(const km_product_shape *shape, double views, double labelled, bool whole);

/* The same products by the library alone, in a step's order, with a step's weights. */
typedef struct km_products km_products; /* of one thread */
/* `rounded` NULL: in fp32, by what parallel.gemm has chosen; else in bf16. */
km_status km_products_create(km_products **out, const km_product_shape *shape, const float *weights,
                             const km_bf16 *rounded) KM_NODISCARD;
void km_products_destroy(km_products *products); /* NULL is fine */
typedef struct km_products_time {                /* seconds */
    double whole;                                /* with a whole last layer */
    double done;                                 /* with the last layer at labelled tokens */
    double attention;                            /* of `whole`: scores and contexts, head by head */
} km_products_time;
void km_products_run(km_products *products, km_products_time *out);

#endif
