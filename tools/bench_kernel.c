/* What each kernel costs beside the matrix products of the same micro-batch: BERT-base, 1,024 tokens, 160 labelled.
 * Medians over interleaved rounds, so that a machine shared with others shares its disturbance fairly.
 *
 *   cc -O2 -std=c11 -D_GNU_SOURCE -Iinclude tools/bench_kernel.c -o build/bench_kernel \
 *       build/release/libkm_kernel.a -lopenblas -lm && build/bench_kernel [rounds] [view length] */
#include "kmask/kernel.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 1024, C = 768, F = 3072, H = 12, V = 30522, M = 160, LAYERS = 12, MOST_ROUNDS = 201 };
enum { SLICE = C * F, SUMS = 12 * SLICE, PARAMETERS = 109514298, MICRO_BATCHES = 32 };

typedef struct bench {
    float *x, *y, *z, *wide, *wide2, *qkv, *dqkv, *w, *b, *w_slice, *logits, *lse, *mean, *rstd, *scratch, *m, *v;
    int64_t *sum, sum_at;
    int32_t starts[N + 1], ids[N], labels[M];
    uint64_t keys[N];
    uint8_t hit[M];
    km_dropout dropout, off;
    km_attention attention, attention_off;
} bench;

static float *numbers(size_t count, float scale) {
    float *x = aligned_alloc(64, (count * sizeof *x + 63) / 64 * 64);
    uint32_t state = 12345;
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            state = state * 1664525u + 1013904223u;
            sum += (float)(state >> 8) / 16777216.0f - 0.5f;
        }
        x[i] = sum * 1.7f * scale;
    }
    return x;
}

static void prepare(bench *t, int length) {
    t->x = numbers((size_t)N * C, 1);
    t->y = numbers((size_t)N * C, 1);
    t->z = numbers((size_t)N * C, 1);
    t->wide = numbers((size_t)N * F, 1);
    t->wide2 = numbers((size_t)N * F, 1);
    t->qkv = numbers((size_t)N * 3 * C, 1);
    t->dqkv = numbers((size_t)N * 3 * C, 1);
    t->w = numbers((size_t)V * C, 0.02f);
    t->w_slice = numbers(SLICE, 0.02f);
    t->b = numbers(V, 0.02f);
    t->logits = numbers((size_t)M * V, 1);
    t->lse = numbers((size_t)N * H, 1);
    t->mean = numbers(N, 1);
    t->rstd = numbers(N, 1);
    t->m = numbers(SLICE, 0.001f);
    t->v = numbers(SLICE, 0);
    t->scratch = numbers(km_attention_scratch(length, C / H), 1);
    t->sum = aligned_alloc(64, SUMS * sizeof *t->sum);
    memset(t->sum, 0, SUMS * sizeof *t->sum);
    for (int n = 0; n < N; n++) {
        t->ids[n] = n * 29 % V;
        t->keys[n] = (uint64_t)n << 16;
    }
    for (int m = 0; m < M; m++) {
        t->labels[m] = m * 190;
    }
    for (int v = 0; v * length <= N; v++) {
        t->starts[v] = v * length;
    }
    t->dropout = (km_dropout){{1, 2}, 3, 0.1f};
    t->attention = (km_attention){N / length, H, C / H, t->starts, t->starts, 3 * C, 3 * C, C, t->dropout, t->keys};
    t->attention.kept_words = km_attention_kept_words(length);
    t->attention.kept = calloc((size_t)N * H * (size_t)t->attention.kept_words, sizeof(uint16_t));
    t->attention_off = t->attention;
    t->attention_off.dropout.p = 0;
}

/* ---- The cases ---- */

static void gemm_square(bench *t) {
    km_linear_forward(t->y, t->x, t->w, NULL, N, C, C);
    km_linear_backward_input(t->x, t->y, t->w, N, C, C, false);
    km_linear_backward_weight(t->w_slice, NULL, t->y, t->x, N, C, C);
}
static void gemm_qkv(bench *t) {
    km_linear_forward(t->qkv, t->x, t->w, NULL, N, C, 3 * C);
    km_linear_backward_input(t->x, t->dqkv, t->w, N, C, 3 * C, false);
    km_linear_backward_weight(t->w_slice, NULL, t->dqkv, t->x, N, C, 3 * C);
}
static void gemm_up(bench *t) {
    km_linear_forward(t->wide, t->x, t->w, NULL, N, C, F);
    km_linear_backward_input(t->x, t->wide2, t->w, N, C, F, false);
    km_linear_backward_weight(t->w_slice, NULL, t->wide2, t->x, N, C, F);
}
static void gemm_down(bench *t) {
    km_linear_forward(t->y, t->wide, t->w, NULL, N, F, C);
    km_linear_backward_input(t->wide2, t->y, t->w, N, F, C, false);
    km_linear_backward_weight(t->w_slice, NULL, t->y, t->wide, N, F, C);
}
static void gemm_vocabulary(bench *t) {
    km_linear_forward(t->logits, t->x, t->w, NULL, M, C, V);
    km_linear_backward_input(t->y, t->logits, t->w, M, C, V, false);
    for (int first = 0; first < V; first += F) {
        km_linear_backward_weight(t->w_slice, NULL, t->wide, t->x, M, C, V - first < F ? V - first : F);
    }
}
/* The two and five products of attention, a block of queries of a head of a view at a time, and nothing else. */
static void attention_products(const bench *t, bool backward) {
    const km_attention *s = &t->attention;
    const enum CBLAS_TRANSPOSE no = CblasNoTrans, yes = CblasTrans;
    const int T = s->k_starts[1], R = T < KM_ATTENTION_ROWS ? T : KM_ATTENTION_ROWS, D = s->D, ld = s->ldq;
    for (int i = 0; i < N / R * H; i++) {
        const float *q = t->qkv + (size_t)(i / H) * (size_t)R * (size_t)ld + (size_t)(i % H) * (size_t)D;
        const float *k = t->qkv + (size_t)(i / H * R / T * T) * (size_t)ld + (size_t)(i % H) * (size_t)D + C;
        float *d = t->dqkv + (k - t->qkv);
        cblas_sgemm(CblasRowMajor, no, yes, R, T, D, 1, q, ld, k, ld, 0, t->scratch, T);
        cblas_sgemm(CblasRowMajor, no, no, R, D, T, 1, t->scratch, T, k, ld, 0, t->y, C);
        if (backward) {
            cblas_sgemm(CblasRowMajor, no, yes, R, T, D, 1, q, ld, k, ld, 0, t->scratch, T);
            cblas_sgemm(CblasRowMajor, yes, no, T, D, R, 1, t->scratch, T, q, ld, 1, d, ld);
            cblas_sgemm(CblasRowMajor, yes, no, T, D, R, 1, t->scratch, T, q, ld, 1, d + C, ld);
        }
    }
}
static void attention_products_forward(bench *t) {
    attention_products(t, false);
}
static void attention_products_backward(bench *t) {
    attention_products(t, true);
}
static void attention_forward(bench *t) {
    km_attention_forward(t->y, t->lse, t->qkv, t->qkv + C, t->qkv + 2 * C, &t->attention, t->scratch);
}
static void attention_backward(bench *t) {
    km_attention_backward(t->dqkv, t->dqkv + C, t->dqkv + 2 * C, t->z, t->lse, t->qkv, t->qkv + C, t->qkv + 2 * C,
                          &t->attention, t->scratch);
}
static void attention_forward_off(bench *t) {
    km_attention_forward(t->y, t->lse, t->qkv, t->qkv + C, t->qkv + 2 * C, &t->attention_off, t->scratch);
}
static void attention_backward_off(bench *t) {
    km_attention_backward(t->dqkv, t->dqkv + C, t->dqkv + 2 * C, t->z, t->lse, t->qkv, t->qkv + C, t->qkv + 2 * C,
                          &t->attention_off, t->scratch);
}
static void block_end(bench *t) {
    km_residual_norm_forward(t->y, t->x, t->mean, t->rstd, t->x, t->b, t->z, &t->dropout, t->keys, t->w, t->b,
                             1e-12f, N, C);
}
static void block_end_off(bench *t) {
    km_residual_norm_forward(t->y, t->x, t->mean, t->rstd, t->x, t->b, t->z, &t->off, t->keys, t->w, t->b, 1e-12f,
                             N, C);
}
static void norm_backward(bench *t) {
    km_norm_backward(t->y, t->w_slice, t->w_slice + C, t->z, t->x, t->mean, t->rstd, t->w, N, C);
}
static void dropout(bench *t) {
    km_dropout_apply(t->y, t->z, &t->dropout, t->keys, N, C);
}
static void gelu_forward(bench *t) {
    km_activation_forward(t->wide2, t->wide, t->b, KM_GELU_ERF, NULL, NULL, N, F);
}
static void gelu_backward(bench *t) {
    km_activation_backward(t->wide2, t->wide2, t->wide, KM_GELU_ERF, NULL, NULL, N, F);
}
static void gelu_tanh_forward(bench *t) {
    km_activation_forward(t->wide2, t->wide, t->b, KM_GELU_TANH, NULL, NULL, N, F);
}
static void gelu_tanh_backward(bench *t) {
    km_activation_backward(t->wide2, t->wide2, t->wide, KM_GELU_TANH, NULL, NULL, N, F);
}
static void product_biased(bench *t) {
    km_linear_forward(t->qkv, t->x, t->w, t->b, N, C, 3 * C);
}
static void product_alone(bench *t) {
    km_linear_forward(t->qkv, t->x, t->w, NULL, N, C, 3 * C);
}
static void bias_qkv(bench *t) {
    km_bias_backward(t->w_slice, t->dqkv, N, 3 * C);
}
static void bias_wide(bench *t) {
    km_bias_backward(t->w_slice, t->wide, N, F);
}
static void bias_narrow(bench *t) {
    km_bias_backward(t->w_slice, t->x, N, C);
}
static void embedding(bench *t) {
    km_embed_forward(t->y, t->ids, t->ids, NULL, t->w, t->w, t->w, N, C);
}
static void loss(bench *t) {
    km_loss(t->logits, t->mean, t->hit, t->b, t->labels, true, M, V);
}
static void fixed_add(bench *t) { /* the gradient is in cache, the sum is not */
    if (!km_fixed_add(t->sum + t->sum_at, t->w_slice, SLICE)) {
        abort();
    }
    t->sum_at = (t->sum_at + SLICE) % SUMS;
}
static void fixed_squares(bench *t) {
    volatile double sink = km_fixed_squares(t->sum + t->sum_at, 1e-11, SLICE);
    (void)sink;
}
static void adamw(bench *t) {
    const km_adamw o = {1e-4f, 0.9f, 0.999f, 1e-6f, 0.01f, 0.1f, 0.001f};
    km_adamw_update(t->w_slice, t->m, t->v, t->sum + t->sum_at, 1e-11, &o, SLICE);
}

/* `times`: how often in a micro-batch of a training run with dropout; 0: for comparison only. */
static const struct {
    const char *name;
    void (*run)(bench *);
    double times;
    bool product;
    void (*less)(bench *); /* an earlier case that is part of it and counted there */
} cases[] = {
    {"products 768 x 768", gemm_square, LAYERS, true, NULL},
    {"products 768 x 2304", gemm_qkv, LAYERS, true, NULL},
    {"products 768 x 3072", gemm_up, LAYERS, true, NULL},
    {"products 3072 x 768", gemm_down, LAYERS, true, NULL},
    {"products vocabulary", gemm_vocabulary, 1, true, NULL},
    {"attention's products forward", attention_products_forward, LAYERS, true, NULL},
    {"attention's products backward", attention_products_backward, LAYERS, true, NULL},
    {"attention forward, less its products", attention_forward, LAYERS, false, attention_products_forward},
    {"attention backward, less its products", attention_backward, LAYERS, false, attention_products_backward},
    {"attention forward, p = 0, less its products", attention_forward_off, 0, false, attention_products_forward},
    {"attention backward, p = 0, less its products", attention_backward_off, 0, false, attention_products_backward},
    {"block end forward", block_end, 2 * LAYERS, false, NULL},
    {"block end forward, p = 0", block_end_off, 0, false, NULL},
    {"norm backward", norm_backward, 2 * LAYERS + 1, false, NULL},
    {"dropout", dropout, 2 * LAYERS + 2, false, NULL},
    {"gelu forward", gelu_forward, LAYERS, false, NULL},
    {"gelu backward", gelu_backward, LAYERS, false, NULL},
    {"gelu forward, tanh", gelu_tanh_forward, 0, false, NULL},
    {"gelu backward, tanh", gelu_tanh_backward, 0, false, NULL},
    {"one product 768 x 2304 with bias", product_biased, 0, false, NULL},
    {"one product 768 x 2304 without", product_alone, 0, false, NULL},
    {"bias 2304 backward", bias_qkv, LAYERS, false, NULL},
    {"bias 3072 backward", bias_wide, LAYERS, false, NULL},
    {"bias 768 backward", bias_narrow, 2 * LAYERS, false, NULL},
    {"embedding", embedding, 1, false, NULL},
    {"loss", loss, 1, false, NULL},
    {"exact sum", fixed_add, (double)PARAMETERS / SLICE, false, NULL},
    {"squares (1/32 of the weights)", fixed_squares, (double)PARAMETERS / SLICE / MICRO_BATCHES, false, NULL},
    {"AdamW (1/32 of the weights)", adamw, (double)PARAMETERS / SLICE / MICRO_BATCHES, false, NULL},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    static bench t;
    static double took[CASES][MOST_ROUNDS];
    int rounds = argc > 1 ? atoi(argv[1]) : 9, length = argc > 2 ? atoi(argv[2]) : 128;
    if (rounds < 1 || rounds > MOST_ROUNDS || length < 1 || N % length != 0) {
        fprintf(stderr, "bench_kernel [rounds 1..%d] [view length: a divisor of %d]\n", MOST_ROUNDS, N);
        return 2;
    }
    if (km_kernel_better_core() != NULL) {
        fprintf(stderr, "OpenBLAS does not know this CPU: set OPENBLAS_CORETYPE=%s, as kmask does for itself\n",
                km_kernel_better_core());
    }
    km_kernel_start();
    prepare(&t, length);
    for (int round = -1; round < rounds; round++) {
        for (int i = 0; i < CASES; i++) {
            double from = seconds();
            cases[i].run(&t);
            took[i][round < 0 ? 0 : round] = seconds() - from;
        }
    }
    double products = 0, other = 0, median[CASES];
    for (int i = 0; i < CASES; i++) {
        qsort(took[i], (size_t)rounds, sizeof took[i][0], ascending);
        median[i] = took[i][rounds / 2];
        for (int k = 0; cases[i].less != NULL && k < i; k++) {
            median[i] -= cases[k].run == cases[i].less ? median[k] : 0;
        }
        *(cases[i].product ? &products : &other) += median[i] * cases[i].times;
    }
    printf("%s %s, loops for %s, views of %d\n", km_kernel_blas(), km_kernel_core(), km_kernel_vector(), length);
    for (int i = 0; i < CASES; i++) {
        double once = median[i];
        printf("%-45s %9.3f ms x %5.1f = %5.2f %% of the products\n", cases[i].name, 1e3 * once, cases[i].times,
               100 * once * cases[i].times / products);
    }
    printf("products %.0f ms, all else %.0f ms: %.2f %%\n", 1e3 * products, 1e3 * other, 100 * other / products);
    return 0;
}
