/* bench_step: a training step of BERT-base against the bare matrix products in it, on one thread.
 * tools/bench_step.sh builds and runs it.
 *
 * The step: the gradient of --batches micro-batches of --views x --length tokens, 20 of 128 labelled, dropout on,
 * added to the exact integer sum; then the gradient's norm and AdamW over all parameters. The products: the same
 * multiplications in the same shapes, thus with the same FLOPs, and nothing else. The two take turns, a micro-batch
 * each, so that a machine shared with others disturbs both alike. Time is the thread's own (CPU) and the clock's
 * (wall). Kernels are then called alone in the shapes of a micro-batch, which shows where a step's time goes.
 *
 * N tokens, M labelled tokens, C width, H heads, D = C/H, I intermediate width, V vocabulary, T a view's length. */
#include "kmask/base.h"
#include "kmask/kernel.h"
#include "kmask/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- Time --------------------------------------------------------------------------------------------------- */

typedef struct took { /* seconds */
    double cpu, wall;
} took;

static took now(void) {
    struct timespec cpu;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (took){(double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec, km_seconds()};
}

static void add_since(took *sum, took start) {
    const took end = now();
    sum->cpu += end.cpu - start.cpu;
    sum->wall += end.wall - start.wall;
}

/* ---- What is measured --------------------------------------------------------------------------------------- */

typedef struct preset {
    const char *name;
    int layers, width, heads, intermediate, vocabulary;
} preset;

static const preset presets[] = {
    {"bert-base", 12, 768, 12, 3072, 30522},
    {"small", 4, 256, 4, 1024, 8192},
};

typedef struct options {
    const preset *preset;
    int length, views, batches, repeat, layers; /* layers 0: the preset's */
} options;

/* Parts of a lap. The sink's time is inside the gradient's. */
enum part { GRADIENT, SINK, UPDATE, PRODUCTS, ATTENTION_PRODUCTS, ATTENTION, NORM, GELU, BIAS, LOSS, EMBED, PARTS };

typedef struct lap {
    took part[PARTS];
} lap;

typedef struct dense { /* rows of x (rows,in) w (out,in)^T */
    int rows, in, out;
    size_t w; /* where in the weights */
} dense;

typedef struct bench {
    options options;
    km_model *model;
    const km_table *table;
    int N, M, C, H, I, V, T;
    km_batch batch;
    km_work *work;
    size_t work_bytes;
    float *w, *m, *v; /* weights and moments */
    int64_t *sum;
    bool bad; /* a gradient that the sum could not take */
    took sink;
    int64_t steps;
    dense *denses;
    int dense_count;
    int32_t *starts, *labelled_starts, *positions;
    uint64_t *labelled_keys;
    /* for products and kernels that are called alone: N * I or M * V floats each; a gradient's slice, I * C */
    float *in[3], *out[3], *slice;
    float *zeros, *lse, *scratch;
    uint16_t *kept;
} bench;

static size_t product(int a, int b) {
    return (size_t)a * (size_t)b;
}

/* ---- The step ----------------------------------------------------------------------------------------------- */

static void take_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    bench *b = payload;
    const took start = now();
    b->bad = !km_fixed_add(b->sum + offset, gradient, count) || b->bad;
    add_since(&b->sink, start);
}

static void finish_slices(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

static void run_gradient(bench *b) {
    const km_sink sink = {b, take_slice, finish_slices};
    km_loss_sum loss;
    km_model_gradient(b->model, b->w, &b->batch, 1, true, b->work, &sink, &loss);
    b->bad = b->bad || !isfinite(loss.loss);
}

/* What a run does once a step, whatever the number of its micro-batches: norm, AdamW, and a sum for the next. */
static void run_update(bench *b) {
    const double step = (double)++b->steps;
    const double scale = ldexp(1.0, -KM_FIXED_BITS) / (double)product(b->options.batches, b->M);
    const double norm = sqrt(km_fixed_squares(b->sum, scale, b->table->size));
    const km_adamw adamw = {.lr = 1e-4f,
                            .beta1 = 0.9f,
                            .beta2 = 0.999f,
                            .eps = 1e-6f,
                            .weight_decay = 0.01f,
                            .correction1 = (float)(1 - pow(0.9, step)),
                            .correction2 = (float)(1 - pow(0.999, step))};
    km_adamw_update(b->w, b->m, b->v, b->sum, scale * (norm > 1 ? 1 / norm : 1), &adamw, b->table->size);
    memset(b->sum, 0, b->table->size * sizeof *b->sum);
}

/* ---- The bare products -------------------------------------------------------------------------------------- */

static void add_dense(bench *b, int rows, int in, int out, size_t *w) {
    b->denses[b->dense_count++] = (dense){rows, in, out, *w};
    *w += product(in, out);
}

/* In the order of the forward pass. In the last layer only keys and values are made of all tokens. */
static void list_denses(bench *b) {
    size_t w = product(b->V, b->C), embedding = 0;
    b->denses = km_new(5 * (size_t)b->options.layers + 2, sizeof *b->denses);
    for (int l = 0; l < b->options.layers; l++) {
        const bool last = l == b->options.layers - 1;
        const int rows = last ? b->M : b->N;
        if (last) {
            add_dense(b, rows, b->C, b->C, &w);
            add_dense(b, b->N, b->C, 2 * b->C, &w);
        } else {
            add_dense(b, rows, b->C, 3 * b->C, &w);
        }
        add_dense(b, rows, b->C, b->C, &w);
        add_dense(b, rows, b->C, b->I, &w);
        add_dense(b, rows, b->I, b->C, &w);
    }
    add_dense(b, b->M, b->C, b->C, &w);
    add_dense(b, b->M, b->C, b->V, &embedding);
}

enum {
    VOCABULARY_SLICE = 2048
}; /* rows of the decoder's gradient at a time, as the model has it: faster than whole */

/* Returns the FLOPs. */
static double run_products(bench *b) {
    double flops = 0;
    for (int i = 0; i < b->dense_count; i++) {
        const dense *d = &b->denses[i];
        km_linear_forward(b->out[0], b->in[0], b->w + d->w, NULL, d->rows, d->in, d->out);
        flops += 6.0 * d->rows * d->in * d->out;
    }
    for (int i = b->dense_count - 1; i >= 0; i--) {
        const dense *d = &b->denses[i];
        const int most = d->out == b->V ? VOCABULARY_SLICE : d->out;
        for (int first = 0; first < d->out; first += most) {
            const int count = KM_MIN(d->out - first, most);
            km_linear_backward_weight(b->slice, NULL, b->in[1], b->in[0], d->rows, d->in, count);
        }
        km_linear_backward_input(b->out[0], b->in[1], b->w + d->w, d->rows, d->in, d->out, false);
    }
    return flops;
}

/* Of one head of one view, R queries and T keys: scores and values forward, four products backward. */
static double run_head_products(bench *b, size_t at, int R, int T, int D) {
    const float *q = b->in[0] + at, *k = b->in[1] + at, *v = b->in[2] + at;
    float *scores = b->scratch, *d_scores = b->scratch + product(R, T);
    km_linear_forward(scores, q, k, NULL, R, D, T);
    km_linear_backward_input(b->out[0] + at, scores, v, R, D, T, false);
    km_linear_forward(d_scores, q, v, NULL, R, D, T);
    km_linear_backward_weight(b->out[1] + at, NULL, scores, q, R, D, T);
    km_linear_backward_input(b->out[0] + at, d_scores, k, R, D, T, false);
    km_linear_backward_weight(b->out[2] + at, NULL, d_scores, q, R, D, T);
    return 6.0 * 2.0 * R * T * D;
}

static double run_attention_products(bench *b) {
    const int D = b->C / b->H;
    double flops = 0;
    for (int l = 0; l < b->options.layers; l++) {
        const int queries = l == b->options.layers - 1 ? b->M / b->batch.views : b->T;
        for (int head = 0; head < b->batch.views * b->H; head++) {
            for (int first = 0; first < queries; first += KM_ATTENTION_ROWS) {
                flops += run_head_products(b, product(head, b->T * D), KM_MIN(queries - first, KM_ATTENTION_ROWS),
                                           b->T, D);
            }
        }
    }
    return flops;
}

/* ---- Kernels alone, as often as one micro-batch calls them -------------------------------------------------- */

static km_dropout dropout_at(uint32_t site) {
    return (km_dropout){.key = {1, 2}, .site = site, .p = 0.1f};
}

static void run_attention(bench *b) {
    for (int l = 0; l < b->options.layers; l++) {
        const bool last = l == b->options.layers - 1;
        const int C = b->C, ldq = last ? C : 3 * C, ldk = last ? 2 * C : 3 * C;
        const float *q = b->in[0], *k = last ? b->in[1] : q + C;
        float *dq = b->out[0], *dk = last ? b->out[1] : dq + C;
        const km_attention shape = {.views = b->batch.views,
                                    .H = b->H,
                                    .D = C / b->H,
                                    .q_starts = last ? b->labelled_starts : b->starts,
                                    .k_starts = b->starts,
                                    .ldq = ldq,
                                    .ldk = ldk,
                                    .ldo = C,
                                    .dropout = dropout_at((uint32_t)l),
                                    .keys = last ? b->labelled_keys : b->batch.keys,
                                    .kept = b->kept,
                                    .kept_words = km_attention_kept_words(b->T)};
        km_attention_forward(b->out[2], b->lse, q, k, k + C, &shape, b->scratch);
        km_attention_backward(dq, dk, dk + C, b->in[2], b->lse, q, k, k + C, &shape, b->scratch);
    }
}

/* The end of a block: dropout, residual, norm. */
static void run_block_end(bench *b, int rows, const uint64_t *keys) {
    const km_dropout dropout = dropout_at(0);
    float *mean = b->lse, *rstd = b->lse + rows;
    km_residual_norm_forward(b->out[0], b->out[1], mean, rstd, b->in[0], b->zeros, b->in[1], &dropout, keys,
                             b->in[2], b->zeros, 1e-12f, rows, b->C);
    km_norm_backward(b->out[2], b->slice, b->slice + b->C, b->in[0], b->out[1], mean, rstd, b->in[2], rows, b->C);
    km_dropout_apply(b->out[0], b->out[2], &dropout, keys, rows, b->C);
}

static void run_norms(bench *b) {
    const km_dropout dropout = dropout_at(0);
    for (int l = 0; l < b->options.layers; l++) {
        const bool last = l == b->options.layers - 1;
        for (int i = 0; i < 2; i++) {
            run_block_end(b, last ? b->M : b->N, last ? b->labelled_keys : b->batch.keys);
        }
    }
    const int rows[] = {b->N, b->M}; /* embedding, head */
    for (int i = 0; i < 2; i++) {
        float *mean = b->lse, *rstd = b->lse + rows[i];
        km_norm_forward(b->out[0], mean, rstd, b->in[0], b->in[2], b->zeros, 1e-12f, rows[i], b->C);
        km_norm_backward(b->out[2], b->slice, b->slice + b->C, b->in[1], b->in[0], mean, rstd, b->in[2], rows[i],
                         b->C);
    }
    km_dropout_apply(b->out[0], b->out[0], &dropout, b->batch.keys, b->N, b->C);
    km_dropout_apply(b->out[2], b->out[2], &dropout, b->batch.keys, b->N, b->C);
}

static void run_gelu(bench *b) {
    for (int l = 0; l <= b->options.layers; l++) { /* the last is the head's */
        const int rows = l < b->options.layers - 1 ? b->N : b->M, width = l < b->options.layers ? b->I : b->C;
        km_gelu_forward(b->out[0], b->in[0], b->zeros, KM_GELU_ERF, rows, width);
        km_gelu_backward(b->out[0], b->in[1], b->in[0], KM_GELU_ERF, rows, width);
    }
}

/* Gradients of biases. */
static void run_bias(bench *b) {
    for (int i = 0; i < b->dense_count; i++) {
        km_bias_backward(b->slice, b->in[1], b->denses[i].rows, b->denses[i].out);
    }
}

static void run_loss(bench *b) {
    km_loss(b->out[1], b->lse, NULL, b->zeros, b->batch.labels, true, b->M, b->V);
}

/* Lookup, the gradient of positions and types, rows of the last layer's input and back. */
static void run_embed(bench *b) {
    const float *word = b->w, *position = b->w + product(b->V, b->C);
    km_embed_forward(b->out[0], b->batch.ids, b->positions, NULL, word, position, position, b->N, b->C);
    km_bias_backward(b->slice, b->in[0], b->N, b->C);
    memset(b->out[1], 0, product(b->T, b->C) * sizeof(float));
    km_scatter_add_rows(b->out[1], b->in[0], b->positions, b->N, b->C);
    km_gather_rows(b->out[2], b->in[0], b->batch.at, b->M, b->C);
    km_scatter_add_rows(b->out[0], b->in[0], b->batch.at, b->M, b->C);
}

/* ---- Laps ------------------------------------------------------------------------------------------------- */

#define TIME(sum, call)                                                                                            \
    do {                                                                                                           \
        const took start_ = now();                                                                                 \
        call;                                                                                                      \
        add_since(&(sum), start_);                                                                                 \
    } while (0)

static void time_kernels(bench *b, lap *r) {
    static const struct {
        enum part part;
        void (*run)(bench *);
    } kernels[] = {{ATTENTION, run_attention}, {NORM, run_norms}, {GELU, run_gelu},
                   {BIAS, run_bias},           {LOSS, run_loss},  {EMBED, run_embed}};
    memcpy(b->out[1], b->in[0], product(b->M, b->V) * sizeof(float)); /* the loss' logits */
    for (size_t i = 0; i < KM_COUNT(kernels); i++) {
        took once = {0};
        TIME(once, kernels[i].run(b));
        r->part[kernels[i].part] = (took){once.cpu * b->options.batches, once.wall * b->options.batches};
    }
}

/* Step and products, a micro-batch in turns. */
static km_status run_lap(bench *b, lap *r) {
    double flops = 0;
    *r = (lap){0};
    b->sink = (took){0};
    for (int i = 0; i < b->options.batches; i++) {
        TIME(r->part[GRADIENT], run_gradient(b));
        TIME(r->part[PRODUCTS], flops = run_products(b));
        TIME(r->part[ATTENTION_PRODUCTS], flops += run_attention_products(b));
    }
    TIME(r->part[UPDATE], run_update(b));
    r->part[SINK] = b->sink;
    time_kernels(b, r);
    if (b->bad) {
        return km_fail(KM_FAILED, "a loss or a gradient is not finite or out of the sum's range");
    }
    const double expected = km_model_flops(b->model, &b->batch);
    if (fabs(flops - expected) > 1e-6 * expected) {
        return km_fail(KM_FAILED, "the products have %.6g FLOPs, the model's gradient has %.6g", flops, expected);
    }
    return KM_OK;
}

/* ---- Setting up --------------------------------------------------------------------------------------------- */

static km_status create_model(bench *b) {
    const km_model_config config = {.type = "bert",
                                    .hidden_act = "gelu",
                                    .vocab_size = b->options.preset->vocabulary,
                                    .hidden_size = b->options.preset->width,
                                    .num_hidden_layers = b->options.layers,
                                    .num_attention_heads = b->options.preset->heads,
                                    .intermediate_size = b->options.preset->intermediate,
                                    .max_position_embeddings = 512,
                                    .type_vocab_size = 2,
                                    .layer_norm_eps = 1e-12,
                                    .initializer_range = 0.02,
                                    .hidden_dropout_prob = 0.1,
                                    .attention_probs_dropout_prob = 0.1};
    KM_TRY(km_model_create(&b->model, &config));
    b->table = km_model_table(b->model);
    b->C = (int)config.hidden_size;
    b->H = (int)config.num_attention_heads;
    b->I = (int)config.intermediate_size;
    b->V = (int)config.vocab_size;
    return KM_OK;
}

/* Random tokens; the labelled ones are spread evenly over each view. */
static void make_batch(bench *b) {
    const int views = b->options.views, labelled = KM_MAX(1, b->T * 20 / 128);
    b->N = views * b->T;
    b->M = views * labelled;
    int32_t *ids = km_new((size_t)b->N, sizeof *ids), *at = km_new((size_t)b->M, sizeof *at);
    int32_t *labels = km_new((size_t)b->M, sizeof *labels);
    uint64_t *keys = km_new((size_t)b->N, sizeof *keys);
    b->starts = km_new((size_t)views + 1, sizeof *b->starts);
    b->labelled_starts = km_new((size_t)views + 1, sizeof *b->labelled_starts);
    b->positions = km_new((size_t)b->N, sizeof *b->positions);
    b->labelled_keys = km_new((size_t)b->M, sizeof *b->labelled_keys);
    km_rng rng = km_rng_make(1, KM_RNG_TEST, 0, 0);
    for (int i = 0; i < b->N; i++) {
        ids[i] = (int32_t)km_rng_below(&rng, (uint32_t)b->V);
        b->positions[i] = i % b->T;
        keys[i] = (uint64_t)(i / b->T) * 65536 + (uint64_t)(i % b->T);
    }
    for (int m = 0; m < b->M; m++) {
        at[m] = m / labelled * b->T + m % labelled * b->T / labelled;
        labels[m] = (int32_t)km_rng_below(&rng, (uint32_t)b->V);
        b->labelled_keys[m] = keys[at[m]];
    }
    for (int v = 0; v <= views; v++) {
        b->starts[v] = v * b->T;
        b->labelled_starts[v] = v * labelled;
    }
    b->batch = (km_batch){.views = views,
                          .tokens = b->N,
                          .labelled = b->M,
                          .longest = b->T,
                          .starts = b->starts,
                          .ids = ids,
                          .at = at,
                          .labels = labels,
                          .keys = keys};
}

static km_status zero_floats(float **out, size_t count) {
    void *block = NULL;
    KM_TRY(km_allocate(&block, count * sizeof(float), "numbers to measure with"));
    *out = block;
    return KM_OK;
}

/* Between -0.5 and 0.5. */
static km_status random_floats(float **out, size_t count, uint64_t seed) {
    KM_TRY(zero_floats(out, count));
    for (size_t i = 0; i < count; i++) {
        (*out)[i] = (float)(km_mix64(seed * count + i) >> 40) * 0x1p-24f - 0.5f;
    }
    return KM_OK;
}

static km_status allocate(bench *b) {
    const size_t size = b->table->size, most = KM_MAX(product(b->N, b->I), product(b->M, b->V));
    void *sum = NULL;
    KM_TRY(zero_floats(&b->w, size));
    KM_TRY(zero_floats(&b->m, size));
    KM_TRY(zero_floats(&b->v, size));
    KM_TRY(km_allocate(&sum, size * sizeof *b->sum, "the gradient's sum"));
    b->sum = sum;
    km_model_init_weights(b->model, b->w, 1);
    for (size_t i = 0; i < KM_COUNT(b->in); i++) {
        KM_TRY(random_floats(&b->in[i], most, i));
        KM_TRY(zero_floats(&b->out[i], most));
    }
    KM_TRY(zero_floats(&b->slice, product(KM_MAX(b->I, VOCABULARY_SLICE), b->C)));
    KM_TRY(zero_floats(&b->zeros, (size_t)b->V));
    b->kept = km_new(product(b->N, b->H * km_attention_kept_words(b->T)), sizeof *b->kept);
    KM_TRY(zero_floats(&b->lse, product(b->N, b->H)));
    return zero_floats(&b->scratch, km_attention_scratch(b->T, b->C / b->H));
}

static km_status set_up(bench *b) {
    b->T = b->options.length;
    KM_TRY(create_model(b));
    make_batch(b);
    const km_work_options most = {b->batch.views, b->N, b->M, b->T, true, false};
    KM_TRY(km_work_create(&b->work, b->model, &most));
    b->work_bytes = km_work_bytes(b->model, &most);
    KM_TRY(km_model_check(b->model, &b->batch));
    KM_TRY(allocate(b));
    list_denses(b);
    return KM_OK;
}

/* ---- What is printed ---------------------------------------------------------------------------------------- */

#define BIT(part) (1u << (part))
#define STEP (BIT(GRADIENT) | BIT(UPDATE))
#define BARE (BIT(PRODUCTS) | BIT(ATTENTION_PRODUCTS))
#define ALONE (BIT(ATTENTION) | BIT(NORM) | BIT(GELU) | BIT(BIAS) | BIT(LOSS) | BIT(EMBED))

static double seconds(const lap *l, unsigned parts, bool wall) {
    double sum = 0;
    for (int i = 0; i < PARTS; i++) {
        sum += (parts & BIT(i)) == 0 ? 0 : wall ? l->part[i].wall : l->part[i].cpu;
    }
    return sum;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* Of `plus` less `minus`, over the laps. */
static double median_seconds(const lap *laps, int count, unsigned plus, unsigned minus, bool wall) {
    double *values = km_new((size_t)count, sizeof *values);
    for (int i = 0; i < count; i++) {
        values[i] = seconds(&laps[i], plus, wall) - seconds(&laps[i], minus, wall);
    }
    const double middle = median(values, count);
    free(values);
    return middle;
}

/* The products' time in the step's, as the median of each lap's own; its extremes too. */
static void print_share(const lap *laps, int count, bool wall) {
    double *shares = km_new((size_t)count, sizeof *shares);
    for (int i = 0; i < count; i++) {
        shares[i] = 100 * seconds(&laps[i], BARE, wall) / seconds(&laps[i], STEP, wall);
    }
    const double middle = median(shares, count);
    printf("   %5.1f %% (%.1f to %.1f)", middle, shares[0], shares[count - 1]);
    free(shares);
}

static void print_head(const bench *b) {
    const options *o = &b->options;
    printf("%s, kernel %s, own loops for %s, one thread\n", km_kernel_blas(), km_kernel_core(), km_kernel_vector());
    printf("%s, %d layers, %.1f M parameters; %d views of %d tokens, %d labelled; %d micro-batches a step; "
           "medians of %d\n\n",
           o->preset->name, o->layers, (double)b->table->elements / 1e6, o->views, o->length, b->M, o->batches, o->repeat);
}

static void print_rates(const bench *b, const lap *laps) {
    const int count = b->options.repeat;
    const double flops = km_model_flops(b->model, &b->batch) * b->options.batches;
    printf("time   step s   products s   step GFLOP/s   products GFLOP/s   tokens/s   share (least to most)\n");
    for (int wall = 0; wall <= 1; wall++) {
        const double step = median_seconds(laps, count, STEP, 0, wall);
        const double bare = median_seconds(laps, count, BARE, 0, wall);
        printf("%-4s %8.3f %12.3f %14.1f %18.1f %10.0f", wall ? "wall" : "CPU", step, bare, flops / step / 1e9,
               flops / bare / 1e9, (double)product(b->N, b->options.batches) / step);
        print_share(laps, count, wall);
        putchar('\n');
    }
}

static void print_operations(const bench *b, const lap *laps) {
    static const struct {
        const char *name;
        unsigned plus, minus;
    } rows[] = {
        {"products of layers and head *", BIT(PRODUCTS), 0},
        {"attention's products *", BIT(ATTENTION_PRODUCTS), 0},
        {"attention, all else *", BIT(ATTENTION), BIT(ATTENTION_PRODUCTS)},
        {"dropout, residual, norm *", BIT(NORM), 0},
        {"gelu *", BIT(GELU), 0},
        {"gradients of biases *", BIT(BIAS), 0},
        {"softmax and loss *", BIT(LOSS), 0},
        {"embedding, rows in and out *", BIT(EMBED), 0},
        {"exact sum", BIT(SINK), 0},
        {"norm, AdamW, clearing the sum", BIT(UPDATE), 0},
        {"rest", BIT(GRADIENT), BIT(PRODUCTS) | ALONE | BIT(SINK)},
    };
    const int count = b->options.repeat;
    const double step = median_seconds(laps, count, STEP, 0, false);
    printf("\n%-32s %9s %10s\n", "operation (CPU time)", "ms a step", "of step");
    for (size_t i = 0; i < KM_COUNT(rows); i++) {
        const double own = median_seconds(laps, count, rows[i].plus, rows[i].minus, false);
        printf("%-32s %9.1f %8.2f %%\n", rows[i].name, 1e3 * own, 100 * own / step);
    }
    printf("* called alone, in the shapes of the step\n");
}

static void print_memory(const bench *b) {
    const size_t each = sizeof *b->w + sizeof *b->m + sizeof *b->v + sizeof *b->sum;
    printf(
        "\nmemory: %.0f MB of activations and scratch for a thread; %zu bytes a parameter (weight, moments, sum): "
        "%.0f MB\n",
        (double)b->work_bytes / 1e6, each, (double)(each * b->table->size) / 1e6);
}

/* ---- The program -------------------------------------------------------------------------------------------- */

static km_status find_preset(const preset **out, const char *name) {
    for (size_t i = 0; i < KM_COUNT(presets); i++) {
        if (strcmp(presets[i].name, name) == 0) {
            *out = &presets[i];
            return KM_OK;
        }
    }
    return km_fail(KM_USAGE, "no preset %s; there are bert-base and small", name);
}

static km_status parse(options *o, int argc, char **argv) {
    const struct {
        const char *name;
        int *value, most;
    } known[] = {{"--length", &o->length, 512},
                 {"--views", &o->views, 4096},
                 {"--batches", &o->batches, 1000},
                 {"--repeat", &o->repeat, 1000},
                 {"--layers", &o->layers, 100}};
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--preset") == 0 && i + 1 < argc) {
            KM_TRY(find_preset(&o->preset, argv[i + 1]));
            continue;
        }
        size_t k = 0;
        while (k < KM_COUNT(known) && strcmp(argv[i], known[k].name) != 0) {
            k++;
        }
        if (k == KM_COUNT(known)) {
            return km_fail(KM_USAGE,
                           "no option %s; there are --preset bert-base, --length 128, --views 8, --batches 4, "
                           "--repeat 7 and --layers (the preset's)",
                           argv[i]);
        }
        char *end = NULL;
        const long value = i + 1 < argc ? strtol(argv[i + 1], &end, 10) : 0;
        if (value < 1 || value > known[k].most || *end != '\0') {
            return km_fail(KM_USAGE, "%s: expected a number from 1 to %d", argv[i], known[k].most);
        }
        *known[k].value = (int)value;
    }
    o->layers = o->layers > 0 ? o->layers : o->preset->layers;
    return KM_OK;
}

/* As kmask itself does it: OpenBLAS reads its choice only when it is loaded. */
static void choose_blas_kernel(char **argv) {
    const char *better = km_kernel_better_core();
    if (better != NULL && getenv("OPENBLAS_CORETYPE") == NULL && setenv("OPENBLAS_CORETYPE", better, 0) == 0) {
        execv("/proc/self/exe", argv);
    }
}

static km_status run(bench *b, int argc, char **argv) {
    lap warm_up;
    KM_TRY(parse(&b->options, argc, argv));
    KM_TRY(set_up(b));
    lap *laps = km_new((size_t)b->options.repeat, sizeof *laps);
    print_head(b);
    km_status status = run_lap(b, &warm_up);
    for (int i = 0; status == KM_OK && i < b->options.repeat; i++) {
        status = run_lap(b, &laps[i]);
    }
    if (status == KM_OK) {
        print_rates(b, laps);
        print_operations(b, laps);
        print_memory(b);
    }
    free(laps);
    return status;
}

int main(int argc, char **argv) {
    static bench b = {.options = {.length = 128, .views = 8, .batches = 4, .repeat = 7, .preset = &presets[0]}};
    choose_blas_kernel(argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    km_kernel_start();
    const km_status status = run(&b, argc, argv); /* memory goes with the process */
    if (status != KM_OK) {
        fprintf(stderr, "bench_step: %s\n", km_message());
    }
    return (int)status;
}
