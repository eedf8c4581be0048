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
    numbers x, dy, p;   /* operands: activations, gradients, and probabilities (T,T) of the longest T */
    float *out;         /* results, which are never read */
    float *slice;       /* the gradient of a weight */
    float *scores;      /* (T,T) */
};

km_product_shape km_product_shape_of(const km_model *model, const km_batch_limits *limits, int labelled) {
    km_product_shape out = {.V = (int)km_model_shape(model)->vocab_size, .B = limits->views, .M = labelled};
    km_stack_shape s;
    for (; km_model_stack(&s, model, (km_stack_name)out.count); out.count++) {
        const bool is_decoder = out.count == KM_DECODER;
        out.stacks[out.count] = (km_product_stack){.L = s.layers,
                                                   .C = s.width,
                                                   .H = s.heads,
                                                   .I = s.intermediate,
                                                   .T = is_decoder ? limits->decoder_longest : limits->longest,
                                                   .is_decoder = is_decoder};
    }
    return out;
}

/* ---- Counting ------------------------------------------------------------------------------------------------- */

/* Multiply-adds of forward through one layer, of attention alone: `queries` tokens, each of which sees `keys` of its own stack. */
static double attention_adds(const km_product_shape *shape, const km_product_stack *s, double queries,
                             double keys) {
    const double memory = s->is_decoder ? shape->stacks[KM_ENCODER].T : 0;
    return 2 * queries * (keys + memory) * s->C;
}

/* Of everything else in the layer, whose keys and values are those of all tokens. */
static double dense_adds(const km_product_shape *shape, const km_product_stack *s, double views, double queries) {
    const double C = s->C, I = s->I, N = views * s->T;
    const double memory = s->is_decoder ? views * shape->stacks[KM_ENCODER].T : 0;
    return 2 * N * C * C + queries * (2 * C * C + 2 * C * I) + (s->is_decoder ? 2 * (memory + queries) * C * C : 0);
}

/* The head of an encoder has a product of its own before the one with the vocabulary. */
static double head_adds(const km_product_shape *shape, double labelled) {
    const double C = shape->stacks[shape->count - 1].C;
    return labelled * ((shape->count == 1 ? C * C : 0) + C * shape->V);
}

double km_product_flops(const km_product_shape *shape, double views, double labelled, km_product_count count) {
    const bool bare = count == KM_COUNT_BARE || count == KM_COUNT_BARE_WHOLE;
    const bool whole = count == KM_COUNT_WHOLE || count == KM_COUNT_BARE_WHOLE;
    double sum = head_adds(shape, labelled);
    for (int i = 0; i < shape->count; i++) {
        const km_product_stack *s = &shape->stacks[i];
        const double N = views * s->T, keys = s->is_decoder && !bare ? (s->T + 1) / 2.0 : s->T;
        const double last = i == shape->count - 1 && !whole ? labelled : N;
        sum += (s->L - 1) * (dense_adds(shape, s, views, N) + attention_adds(shape, s, N, keys));
        sum += dense_adds(shape, s, views, last) + attention_adds(shape, s, last, keys);
    }
    return 2 * 3 * sum;
}

double km_product_attention_flops(const km_product_shape *shape, double views) {
    double sum = 0;
    for (int i = 0; i < shape->count; i++) {
        const km_product_stack *s = &shape->stacks[i];
        sum += s->L * attention_adds(shape, s, views * s->T, s->T);
    }
    return 2 * 3 * sum;
}

/* ---- Operands --------------------------------------------------------------------------------------------------- */

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

/* The largest sizes of a stack's operands: (N,3C) or (N,I), a weight's gradient, and (T,T). */
static void measure(const km_product_shape *shape, size_t *operand, size_t *slice, int *square) {
    *operand = area(shape->M, shape->V);
    *slice = 0;
    *square = 0;
    for (int i = 0; i < shape->count; i++) {
        const km_product_stack *s = &shape->stacks[i];
        const int widest = KM_MAX(3 * s->C, s->I);
        *operand = KM_MAX(*operand, area(shape->B * s->T, widest));
        *slice = KM_MAX(*slice, area(KM_MAX(widest, KM_MIN(shape->V, VOCABULARY_SLICE)), s->C));
        *square = KM_MAX(*square, s->T);
    }
}

static km_status allocate(km_products *p) {
    size_t most = 0, slice = 0;
    int square = 0;
    measure(&p->shape, &most, &slice, &square);
    KM_TRY(random_numbers(&p->x, p, most, 1));
    KM_TRY(random_numbers(&p->dy, p, most, 2));
    KM_TRY(random_floats(&p->out, most, 3));
    KM_TRY(random_floats(&p->slice, slice, 4));
    KM_TRY(random_floats(&p->scores, area(square, square), 5));
    p->p.f = p->scores; /* in fp32 the scores themselves are the operand */
    return p->gemm != NULL ? random_numbers(&p->p, p, area(square, square), 6) : KM_OK;
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

static size_t layer_weights(const km_product_stack *s) {
    return (s->is_decoder ? 8 : 4) * area(s->C, s->C) + 2 * area(s->C, s->I);
}

/* The weights of a layer: those of all layers lie behind the word embeddings. */
static numbers weights_of(const km_products *p, int stack, int layer) {
    const km_product_shape *shape = &p->shape;
    size_t offset = area(shape->V, shape->stacks[0].C);
    for (int i = 0; i < stack; i++) {
        offset += (size_t)shape->stacks[i].L * layer_weights(&shape->stacks[i]);
    }
    return at(p->w, offset + (size_t)layer * layer_weights(&shape->stacks[stack]));
}

/* `rows`: for how many tokens the layer computes an output. */
static void layer_products(km_products *p, dense_pass *pass, int stack, int l, int rows) {
    const km_product_stack *s = &p->shape.stacks[stack];
    const int N = p->shape.B * s->T, C = s->C, I = s->I;
    numbers w = weights_of(p, stack, l);
    if (rows == N) {
        pass(p, w, N, C, 3 * C);
    } else {
        pass(p, w, rows, C, C);
        pass(p, at(w, area(C, C)), N, C, 2 * C);
    }
    w = at(w, 3 * area(C, C));
    pass(p, w, rows, C, C);
    if (s->is_decoder) {
        pass(p, at(w, area(C, C)), rows, C, C);
        pass(p, at(w, 2 * area(C, C)), p->shape.B * p->shape.stacks[KM_ENCODER].T, C, 2 * C);
        w = at(w, 4 * area(C, C));
        pass(p, w, rows, C, C);
    }
    pass(p, at(w, area(C, C)), rows, C, I);
    pass(p, at(w, area(C, C) + area(C, I)), rows, I, C);
}

static void head_products(km_products *p, dense_pass *pass) {
    const km_product_shape *s = &p->shape;
    const int C = s->stacks[s->count - 1].C;
    if (s->count == 1) {
        pass(p, at(p->w, area(s->V, C)), s->M, C, C);
    }
    pass(p, p->w, s->M, C, s->V);
}

/* ---- Attention ---------------------------------------------------------------------------------------------- */

/* A head of a view: R queries, T keys. */
typedef struct head {
    numbers q, k, v;
    int R, T, C, D;
} head;

/* The scores and the context. */
static void attend_forward(km_products *p, const head *h) {
    const int T = h->T, C = h->C, D = h->D, R = h->R;
    multiply(p, p->scores, h->q, h->k, false, true, R, T, D, 3 * C, 3 * C, T);
    multiply(p, p->out, p->p, h->v, false, false, R, D, T, T, 3 * C, C);
}

/* The gradients of the probabilities, values, queries and keys. */
static void attend_backward(km_products *p, const head *h) {
    const int T = h->T, C = h->C, D = h->D, R = h->R;
    multiply(p, p->scores, p->dy, h->v, false, true, R, T, D, C, 3 * C, T);
    multiply(p, p->out, p->p, p->dy, true, false, T, D, R, T, C, 3 * C);
    multiply(p, p->out, p->p, h->k, false, false, R, D, T, T, 3 * C, 3 * C);
    multiply(p, p->out, p->p, h->q, true, false, T, D, R, T, 3 * C, 3 * C);
}

typedef void attend_pass(km_products *p, const head *h);

/* R queries of every view, to the T tokens of a stack. */
static void attend(km_products *p, attend_pass *pass, const km_product_stack *s, int R, int T) {
    const size_t C = (size_t)s->C;
    for (int view = 0; view < p->shape.B; view++) {
        for (int number = 0; number < s->H; number++) {
            const numbers q = at(p->x, area(view * T, 3 * s->C) + area(number, s->C / s->H));
            const head h = {.q = q, .k = at(q, C), .v = at(q, 2 * C), .R = R, .T = T, .C = s->C, .D = s->C / s->H};
            pass(p, &h);
        }
    }
}

static void attention_products(km_products *p, attend_pass *pass, const km_product_stack *s, int R) {
    attend(p, pass, s, R, s->T);
    if (s->is_decoder) {
        attend(p, pass, s, R, p->shape.stacks[KM_ENCODER].T);
    }
}

/* ---- All of them -------------------------------------------------------------------------------------------- */

/* Returns the seconds that the layer's products take, and adds those of attention to *attention. */
static double time_layer(km_products *p, bool backward, int stack, int l, int rows, double *attention) {
    const km_product_stack *s = &p->shape.stacks[stack];
    const double start = km_seconds();
    layer_products(p, backward ? dense_backward : dense_forward, stack, l, rows);
    const double middle = km_seconds();
    attention_products(p, backward ? attend_backward : attend_forward, s, KM_MAX(1, rows / p->shape.B));
    const double end = km_seconds();
    *attention += end - middle;
    return end - start;
}

static void run_layers(km_products *p, bool backward, int stack, km_products_time *out) {
    const km_product_shape *shape = &p->shape;
    const km_product_stack *s = &shape->stacks[stack];
    const bool has_head = stack == shape->count - 1;
    double unused = 0;
    for (int i = 0; i < s->L; i++) {
        const int l = backward ? s->L - 1 - i : i;
        const bool reduced = has_head && l == s->L - 1;
        if (reduced) {
            out->done += time_layer(p, backward, stack, l, shape->M, &unused);
        }
        const double seconds = time_layer(p, backward, stack, l, shape->B * s->T, &out->attention);
        out->whole += seconds;
        out->done += reduced ? 0 : seconds;
    }
}

static void run_pass(km_products *p, bool backward, km_products_time *out) {
    for (int i = 0; i < p->shape.count; i++) {
        run_layers(p, backward, backward ? p->shape.count - 1 - i : i, out);
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
