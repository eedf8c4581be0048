/* bench_products: the matrix products of a step and nothing else, forward through layers and head and then backward. Those of
 * attention are computed head by head, with queries, keys and values where they are in a step: each row of one matrix holds all
 * three. Letters as in kernel.h. */
#include "bench_private.h"
#include "kmask/kernel.h"

#include <stdlib.h>
#include <string.h>

/* Rows of the output layer's weight gradient that are computed at a time, which is faster than all at once. */
enum { VOCABULARY_SLICE = 2048 };

/* The numbers of an operand, in fp32 or in bf16; the other pointer is NULL. */
typedef struct numbers {
    float *f;
    km_bf16 *h;
} numbers;

struct km_products {
    km_product_shape shape;
    km_bf16_gemm *gemm; /* NULL: products in fp32 */
    numbers w;          /* the model's weights: (V,C) word embeddings, then those of the layers */
    numbers x, dy, p;   /* operands: activations, gradients, and probabilities (T,T) */
    float *out;         /* results, which are never read */
    float *slice;       /* the gradient of a weight */
    float *scores;      /* (T,T) */
};

km_product_shape km_product_shape_of(const km_model_config *model, int views, int length, int labelled) {
    return (km_product_shape){.L = (int)model->num_hidden_layers,
                              .C = (int)model->hidden_size,
                              .H = (int)model->num_attention_heads,
                              .I = (int)model->intermediate_size,
                              .V = (int)model->vocab_size,
                              .B = views,
                              .T = length,
                              .M = labelled};
}

double km_product_flops(const km_product_shape *s, double views, double labelled, bool whole) {
    const double C = s->C, I = s->I, N = views * s->T, pairs = N * s->T;
    const double layer = N * (4 * C * C + 2 * C * I) + 2 * pairs * C;
    const double reduced = 2 * N * C * C + labelled * (2 * C * C + 2 * C * I) + 2 * labelled * s->T * C;
    const double head = labelled * (C * C + C * s->V);
    return 2 * 3 * ((s->L - 1) * layer + (whole ? layer : reduced) + head);
}

static size_t area(int a, int b) {
    return (size_t)a * (size_t)b;
}

/* Allocates random numbers between -0.5 and 0.5. */
static km_status random_floats(float **out, size_t count, uint64_t seed) {
    KM_TRY(km_allocate((void **)out, count * sizeof(float), "numbers to multiply"));
    for (size_t i = 0; i < count; i++) {
        (*out)[i] = (float)(km_mix64(seed * count + i) >> 40) * 0x1p-24f - 0.5f;
    }
    return KM_OK;
}

static numbers at(numbers n, size_t offset) {
    return (numbers){n.f == NULL ? NULL : n.f + offset, n.h == NULL ? NULL : n.h + offset};
}

/* c = a b, with a or b transposed. The rows of c are ldc elements apart, those of a lda, those of b ldb. */
static void multiply(const km_products *p, float *c, numbers a, numbers b, bool transpose_a, bool transpose_b,
                     int M, int N, int K, int lda, int ldb, int ldc) {
    if (p->gemm != NULL) {
        km_product_bf16(p->gemm, c, a.h, b.h, transpose_a, transpose_b, M, N, K, lda, ldb, ldc);
    } else {
        km_product(c, a.f, b.f, transpose_a, transpose_b, M, N, K, lda, ldb, ldc);
    }
}

static km_status random_numbers(numbers *out, const km_products *p, size_t count, uint64_t seed) {
    KM_TRY(random_floats(&out->f, count, seed));
    if (p->gemm == NULL) {
        return KM_OK;
    }
    KM_TRY(km_allocate((void **)&out->h, count * sizeof *out->h, "numbers to multiply"));
    km_bf16_round(out->h, out->f, count);
    free(out->f);
    out->f = NULL;
    return KM_OK;
}

static km_status allocate(km_products *p) {
    const km_product_shape *s = &p->shape;
    const int N = s->B * s->T, widest = KM_MAX(3 * s->C, s->I);
    const size_t most = KM_MAX(area(N, widest), area(s->M, s->V));
    const size_t slice = area(KM_MAX(widest, KM_MIN(s->V, VOCABULARY_SLICE)), s->C);
    KM_TRY(random_numbers(&p->x, p, most, 1));
    KM_TRY(random_numbers(&p->dy, p, most, 2));
    KM_TRY(random_floats(&p->out, most, 3));
    KM_TRY(random_floats(&p->slice, slice, 4));
    KM_TRY(random_floats(&p->scores, area(s->T, s->T), 5));
    p->p.f = p->scores; /* in fp32 the scores take the place of the probabilities */
    return p->gemm != NULL ? random_numbers(&p->p, p, area(s->T, s->T), 6) : KM_OK;
}

km_status km_products_create(km_products **out, const km_product_shape *shape, const float *weights,
                             const km_bf16 *rounded) {
    km_products *p = km_new(1, sizeof *p);
    p->shape = *shape;
    p->w = (numbers){(float *)(uintptr_t)weights, (km_bf16 *)(uintptr_t)rounded}; /* they are only read */
    p->gemm = rounded != NULL ? km_bf16_gemm_create() : NULL;
    km_status status = allocate(p);
    if (status != KM_OK) {
        km_products_destroy(p);
        p = NULL;
    }
    *out = p;
    return status;
}

void km_products_destroy(km_products *p) {
    if (p != NULL) {
        km_bf16_gemm_destroy(p->gemm);
        free(p->x.f);
        free(p->x.h);
        free(p->dy.f);
        free(p->dy.h);
        free(p->p.h);
        free(p->out);
        free(p->slice);
        free(p->scores);
        free(p);
    }
}

/* ---- Layers and head ---------------------------------------------------------------------------------------- */

static void dense_forward(km_products *p, numbers w, int rows, int in, int out) {
    multiply(p, p->out, p->x, w, false, true, rows, out, in, in, in, out);
}

static void dense_backward(km_products *p, numbers w, int rows, int in, int out) {
    for (int first = 0; first < out; first += p->shape.V == out ? VOCABULARY_SLICE : out) {
        const int count = p->shape.V == out ? KM_MIN(out - first, VOCABULARY_SLICE) : out;
        multiply(p, p->slice, at(p->dy, (size_t)first), p->x, true, false, count, in, rows, out, in, in);
    }
    multiply(p, p->out, p->dy, w, false, false, rows, in, out, out, in, in);
}

typedef void dense_pass(km_products *p, numbers w, int rows, int in, int out);

/* The dense products of layer l. rows: for how many tokens the layer has an output. */
static void layer_products(km_products *p, dense_pass *pass, int l, int rows) {
    const km_product_shape *s = &p->shape;
    const int N = s->B * s->T, C = s->C, I = s->I;
    numbers w = at(p->w, area(s->V, C) + (size_t)l * (4 * area(C, C) + 2 * area(C, I)));
    if (rows == N) {
        pass(p, w, N, C, 3 * C);
    } else {
        pass(p, w, rows, C, C);
        pass(p, at(w, area(C, C)), N, C, 2 * C);
    }
    w = at(w, 3 * area(C, C));
    pass(p, w, rows, C, C);
    pass(p, at(w, area(C, C)), rows, C, I);
    pass(p, at(w, area(C, C) + area(C, I)), rows, I, C);
}

static void head_products(km_products *p, dense_pass *pass) {
    const km_product_shape *s = &p->shape;
    pass(p, at(p->w, area(s->V, s->C)), s->M, s->C, s->C);
    pass(p, p->w, s->M, s->C, s->V);
}

/* ---- Attention ---------------------------------------------------------------------------------------------- */

/* Scores and context of R queries and T keys, of one head of one view. */
static void attend_forward(km_products *p, numbers q, numbers k, numbers v, int R) {
    const int T = p->shape.T, C = p->shape.C, D = C / p->shape.H;
    multiply(p, p->scores, q, k, false, true, R, T, D, 3 * C, 3 * C, T);
    multiply(p, p->out, p->p, v, false, false, R, D, T, T, 3 * C, C);
}

/* The gradients of probabilities, values, queries and keys of one head of one view. */
static void attend_backward(km_products *p, numbers q, numbers k, numbers v, int R) {
    const int T = p->shape.T, C = p->shape.C, D = C / p->shape.H;
    multiply(p, p->scores, p->dy, v, false, true, R, T, D, C, 3 * C, T);
    multiply(p, p->out, p->p, p->dy, true, false, T, D, R, T, C, 3 * C);
    multiply(p, p->out, p->p, k, false, false, R, D, T, T, 3 * C, 3 * C);
    multiply(p, p->out, p->p, q, true, false, T, D, R, T, 3 * C, 3 * C);
}

typedef void attend_pass(km_products *p, numbers q, numbers k, numbers v, int R);

static void attention_products(km_products *p, attend_pass *pass, int R) {
    const km_product_shape *s = &p->shape;
    for (int view = 0; view < s->B; view++) {
        for (int head = 0; head < s->H; head++) {
            const size_t C = (size_t)s->C;
            const numbers q = at(p->x, area(view * s->T, 3 * s->C) + area(head, s->C / s->H));
            pass(p, q, at(q, C), at(q, 2 * C), R);
        }
    }
}

/* ---- The products of a micro-batch -------------------------------------------------------------------------------------------- */

/* Returns the seconds that the layer takes, and adds those of attention to *attention. */
static double time_layer(km_products *p, bool backward, int l, int rows, int queries, double *attention) {
    const double start = km_seconds();
    layer_products(p, backward ? dense_backward : dense_forward, l, rows);
    const double middle = km_seconds();
    attention_products(p, backward ? attend_backward : attend_forward, queries);
    const double end = km_seconds();
    *attention += end - middle;
    return end - start;
}

static void run_pass(km_products *p, bool backward, km_products_time *out) {
    const km_product_shape *s = &p->shape;
    const int last = s->L - 1;
    double unused = 0;
    for (int i = 0; i < s->L; i++) {
        const int l = backward ? last - i : i;
        if (l == last) {
            out->done += time_layer(p, backward, l, s->M, KM_MAX(1, s->M / s->B), &unused);
            out->whole += time_layer(p, backward, l, s->B * s->T, s->T, &out->attention);
            continue;
        }
        const double seconds = time_layer(p, backward, l, s->B * s->T, s->T, &out->attention);
        out->whole += seconds;
        out->done += seconds;
    }
    const double start = km_seconds();
    head_products(p, backward ? dense_backward : dense_forward);
    const double seconds = km_seconds() - start;
    out->whole += seconds;
    out->done += seconds;
}

void km_products_run(km_products *p, km_products_time *out) {
    *out = (km_products_time){0};
    run_pass(p, false, out);
    run_pass(p, true, out);
}
