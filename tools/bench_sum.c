/* bench_sum: what the exact sum costs over a plain one, as a share of a training step. tools/bench_sum.sh builds it and
 * runs it on two ranks.
 *
 * Both ways carry the gradients of BERT-base's 110 M parameters from backward to the updated weights:
 *
 *             exact                                              plain
 *   adding    fp32 to 64-bit fixed point, slice by slice         fp32 to fp32
 *   sending   km_exchange, 8 bytes a parameter                   MPI_Reduce_scatter of MPI_FLOAT, 4 bytes
 *   updating  clearing, norm and AdamW from 64-bit sums          the same from fp32
 *
 * Adding is measured inside a real backward (CPU time of the thread, the two ways in turns), as the slices are in cache
 * there; sending and updating alone, in turns, by the clock. Sending is counted as if nothing of it were hidden behind
 * backward, which favours the plain sum: kmask hides it, MPI_Reduce_scatter waits. Adding comes once a micro-batch, sending
 * and updating once a step. */
#include "kmask/comm.h"
#include "kmask/kernel.h"
#include "kmask/model.h"
#include "simd.h"

#include <math.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BUCKET = 1 << 22 }; /* as include/kmask/train.h has it */

typedef struct options {
    int length, views, repeat, layers;
} options;

/* Seconds of one lap. */
enum part { GRADIENT, ADD_EXACT, ADD_PLAIN, SEND_EXACT, SEND_PLAIN, UPDATE_EXACT, UPDATE_PLAIN, PARTS };

typedef struct bench {
    options options;
    km_comm *comm;
    km_model *model;
    const km_table *table;
    km_batch batch;
    km_work *work;
    km_exchange *exchange;
    size_t owned;
    int counts[2];
    float *weights, *m, *v;
    int64_t *exact;
    float *plain, *received;
    const int64_t *sums;
    double adding; /* CPU seconds of the sink */
    bool bad;
} bench;

static double cpu_seconds(void) {
    struct timespec cpu;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec;
}

/* ---- Adding, inside backward ---- */

KM_SIMD static void add_plain(float *sum, const float *gradient, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sum[i] += gradient[i];
    }
}

static void take_exact(void *payload, size_t offset, const float *gradient, size_t count) {
    bench *b = payload;
    const double start = cpu_seconds();
    b->bad = !km_fixed_add(b->exact + offset, gradient, count) || b->bad;
    b->adding += cpu_seconds() - start;
}

static void take_plain(void *payload, size_t offset, const float *gradient, size_t count) {
    bench *b = payload;
    const double start = cpu_seconds();
    add_plain(b->plain + offset, gradient, count);
    b->adding += cpu_seconds() - start;
}

static void finish(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

/* CPU seconds of a micro-batch without the sink. */
static double gradient(bench *b, bool exact, double *adding) {
    const km_sink sink = {b, exact ? take_exact : take_plain, finish};
    km_loss_sum loss;
    b->adding = 0;
    const double start = cpu_seconds();
    km_model_gradient(b->model, b->weights, &b->batch, 1, true, b->work, &sink, &loss);
    const double all = cpu_seconds() - start;
    *adding = b->adding;
    return all - b->adding;
}

/* ---- Sending ---- */

static double send_exact(bench *b) {
    km_comm_barrier(b->comm);
    const double start = km_seconds();
    for (int bucket = 0; bucket < km_exchange_buckets(b->exchange); bucket++) {
        km_exchange_begin(b->exchange, bucket, b->exact);
    }
    b->sums = km_exchange_end(b->exchange);
    km_comm_barrier(b->comm);
    return km_seconds() - start;
}

static double send_plain(bench *b) {
    km_comm_barrier(b->comm);
    const double start = km_seconds();
    MPI_Reduce_scatter(b->plain, b->received, b->counts, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    km_comm_barrier(b->comm);
    return km_seconds() - start;
}

/* ---- Updating ---- */

static const km_adamw ADAMW = {1e-4f, 0.9f, 0.999f, 1e-6f, 0.01f, 0.1f, 0.001f};

KM_SIMD static double squares_plain(const float *sum, size_t count) {
    double total = 0;
#pragma omp simd reduction(+ : total)
    for (size_t i = 0; i < count; i++) {
        total += (double)sum[i] * sum[i];
    }
    return total;
}

KM_SIMD static void adamw_plain(float *w, float *m, float *v, const float *sum, float scale, const km_adamw *o,
                                size_t count) {
    const float b1 = o->beta1, b2 = o->beta2, c1 = 1.0f / o->correction1, c2 = 1.0f / o->correction2;
    for (size_t i = 0; i < count; i++) {
        const float g = sum[i] * scale;
        m[i] = b1 * m[i] + (1.0f - b1) * g;
        v[i] = b2 * v[i] + (1.0f - b2) * g * g;
        w[i] -= o->lr * (m[i] * c1 / (sqrtf(v[i] * c2) + o->eps) + o->weight_decay * w[i]);
    }
}

static double update_exact(bench *b) {
    const double start = cpu_seconds(), unit = ldexp(1.0, -KM_FIXED_BITS);
    const double norm = sqrt(km_fixed_squares(b->sums, unit, b->owned));
    km_adamw_update(b->weights, b->m, b->v, b->sums, unit / (1 + norm), &ADAMW, b->owned);
    memset(b->exact, 0, b->table->size * sizeof *b->exact);
    return cpu_seconds() - start;
}

static double update_plain(bench *b) {
    const double start = cpu_seconds();
    const double norm = sqrt(squares_plain(b->received, b->owned));
    adamw_plain(b->weights, b->m, b->v, b->received, (float)(1 / (1 + norm)), &ADAMW, b->owned);
    memset(b->plain, 0, b->table->size * sizeof *b->plain);
    return cpu_seconds() - start;
}

/* The two ways in turns; which comes first changes, as the second finds a warmer cache. */
static void run_lap(bench *b, int number, double lap[PARTS]) {
    double sum = 0;
    for (int i = 0; i < 2; i++) {
        const bool exact = (i + number) % 2 == 0;
        sum += gradient(b, exact, &lap[exact ? ADD_EXACT : ADD_PLAIN]);
    }
    lap[GRADIENT] = sum / 2;
    for (int i = 0; i < 2; i++) {
        if ((i + number) % 2 == 0) {
            lap[SEND_EXACT] = send_exact(b);
            lap[UPDATE_EXACT] = update_exact(b);
        } else {
            lap[SEND_PLAIN] = send_plain(b);
            lap[UPDATE_PLAIN] = update_plain(b);
        }
    }
}

/* ---- Setting up ---- */

static km_status create_model(bench *b) {
    const km_model_config config = {.type = "bert",
                                    .hidden_act = "gelu",
                                    .vocab_size = 30522,
                                    .hidden_size = 768,
                                    .num_hidden_layers = b->options.layers,
                                    .num_attention_heads = 12,
                                    .intermediate_size = 3072,
                                    .max_position_embeddings = 512,
                                    .type_vocab_size = 2,
                                    .layer_norm_eps = 1e-12,
                                    .initializer_range = 0.02,
                                    .hidden_dropout_prob = 0.1,
                                    .attention_probs_dropout_prob = 0.1};
    KM_TRY(km_model_create(&b->model, &config, KM_HEAD_TOKENS));
    b->table = km_model_table(b->model);
    return KM_OK;
}

/* Random tokens, 20 of 128 labelled, evenly over each view. */
static void make_batch(bench *b) {
    const int T = b->options.length, views = b->options.views, labelled = KM_MAX(1, T * 20 / 128);
    const int N = views * T, M = views * labelled;
    int32_t *ids = km_new((size_t)N, sizeof *ids), *at = km_new((size_t)M, sizeof *at);
    int32_t *labels = km_new((size_t)M, sizeof *labels), *starts = km_new((size_t)views + 1, sizeof *starts);
    uint64_t *keys = km_new((size_t)N, sizeof *keys);
    km_rng rng = km_rng_make(1, KM_RNG_TEST, 0, (uint64_t)km_comm_rank(b->comm));
    for (int i = 0; i < N; i++) {
        ids[i] = (int32_t)km_rng_below(&rng, 30522);
        keys[i] = (uint64_t)i;
    }
    for (int i = 0; i < M; i++) {
        at[i] = i / labelled * T + i % labelled * T / labelled;
        labels[i] = (int32_t)km_rng_below(&rng, 30522);
    }
    for (int i = 0; i <= views; i++) {
        starts[i] = i * T;
    }
    b->batch = (km_batch){.views = views,
                          .input.tokens = N,
                          .labelled = M,
                          .input.longest = T,
                          .input.starts = starts,
                          .input.ids = ids,
                          .at = at,
                          .labels = labels,
                          .input.keys = keys};
}

static km_status allocate(bench *b) {
    const struct {
        void **to;
        size_t bytes;
    } blocks[] = {{(void **)&b->weights, b->table->size * sizeof(float)},
                  {(void **)&b->plain, b->table->size * sizeof(float)},
                  {(void **)&b->exact, b->table->size * sizeof(int64_t)},
                  {(void **)&b->m, b->owned * sizeof(float)},
                  {(void **)&b->v, b->owned * sizeof(float)},
                  {(void **)&b->received, b->owned * sizeof(float)}};
    for (size_t i = 0; i < KM_COUNT(blocks); i++) {
        KM_TRY(km_allocate(blocks[i].to, blocks[i].bytes, "numbers to measure with"));
    }
    km_model_init_weights(b->model, b->weights, 1);
    return KM_OK;
}

static km_status set_up(bench *b) {
    if (km_comm_size(b->comm) != 2) {
        return km_fail(KM_USAGE, "%d ranks, expected 2: tools/bench_sum.sh starts them", km_comm_size(b->comm));
    }
    KM_TRY(create_model(b));
    make_batch(b);
    const km_work_options most = {.limits = {.views = b->options.views,
                                             .tokens = b->batch.input.tokens,
                                             .longest = b->batch.input.longest,
                                             .labelled = b->batch.labelled},
                                  .backward = true};
    KM_TRY(km_work_create(&b->work, b->model, &most));
    KM_TRY(km_exchange_create(&b->exchange, b->comm, b->table->size, BUCKET));
    for (int rank = 0; rank < 2; rank++) {
        b->counts[rank] = (int)km_exchange_owned(b->exchange, rank);
    }
    b->owned = (size_t)b->counts[km_comm_rank(b->comm)];
    return allocate(b);
}

/* ---- What is printed, of rank 0 ---- */

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What the exact sum takes more, in percent of the plain way's step of `batches` micro-batches. `sends`: with all of the
 * sending, else with none, as if all of it were hidden behind backward. */
static double share_of(const double *lap, int batches, bool sends) {
    const double step =
        batches * (lap[GRADIENT] + lap[ADD_PLAIN]) + (sends ? lap[SEND_PLAIN] : 0) + lap[UPDATE_PLAIN];
    const double more = batches * (lap[ADD_EXACT] - lap[ADD_PLAIN]) +
                        (sends ? lap[SEND_EXACT] - lap[SEND_PLAIN] : 0) + lap[UPDATE_EXACT] - lap[UPDATE_PLAIN];
    return 100 * more / step;
}

static void print_shares(const double (*laps)[PARTS], int count, int batches) {
    double *shares = km_new((size_t)count, sizeof *shares);
    printf("%-12d", batches);
    for (int sends = 0; sends < 2; sends++) {
        for (int i = 0; i < count; i++) {
            shares[i] = share_of(laps[i], batches, sends == 1);
        }
        qsort(shares, (size_t)count, sizeof *shares, ascending);
        printf("   %7.2f %% (%.2f to %.2f)", shares[count / 2], shares[0], shares[count - 1]);
    }
    putchar('\n');
    free(shares);
}

static void print_part(const char *name, const double (*laps)[PARTS], int count, enum part part) {
    double *values = km_new((size_t)count, sizeof *values);
    for (int i = 0; i < count; i++) {
        values[i] = 1e3 * laps[i][part];
    }
    qsort(values, (size_t)count, sizeof *values, ascending);
    printf("%-44s %9.1f   (%.1f to %.1f)\n", name, values[count / 2], values[0], values[count - 1]);
    free(values);
}

static void print_all(const bench *b, const double (*laps)[PARTS]) {
    const int count = b->options.repeat;
    printf(
        "%s, kernel %s; BERT-base, %d layers, %.1f M parameters, %d tokens a micro-batch; 2 ranks of one thread; "
        "medians of %d (least to most)\n\n%-44s %9s\n",
        km_kernel_blas(), km_kernel_core(), b->options.layers, (double)b->table->elements / 1e6,
        b->batch.input.tokens, count, "", "ms");
    print_part("a micro-batch, forward and backward", laps, count, GRADIENT);
    print_part("adding its gradient, exact", laps, count, ADD_EXACT);
    print_part("adding its gradient, plain", laps, count, ADD_PLAIN);
    print_part("sending, exact", laps, count, SEND_EXACT);
    print_part("sending, plain (MPI_Reduce_scatter)", laps, count, SEND_PLAIN);
    print_part("clearing, norm, AdamW, exact", laps, count, UPDATE_EXACT);
    print_part("clearing, norm, AdamW, plain", laps, count, UPDATE_PLAIN);
    printf("\nWhat the exact sum takes more, of the plain way's step, by micro-batches of a rank in a step:\n"
           "               sending hidden               sending not hidden\n");
    for (int batches = 1; batches <= 32; batches *= 2) {
        print_shares(laps, count, batches);
    }
}

/* ---- The program ---- */

static km_status parse(options *o, int argc, char **argv) {
    const struct {
        const char *name;
        int *value, most;
    } known[] = {{"--length", &o->length, 512},
                 {"--views", &o->views, 1024},
                 {"--repeat", &o->repeat, 1000},
                 {"--layers", &o->layers, 100}};
    for (int i = 1; i < argc; i += 2) {
        size_t k = 0;
        while (k < KM_COUNT(known) && strcmp(argv[i], known[k].name) != 0) {
            k++;
        }
        char *end = NULL;
        const long value = k < KM_COUNT(known) && i + 1 < argc ? strtol(argv[i + 1], &end, 10) : 0;
        if (k == KM_COUNT(known) || value < 1 || value > known[k].most || *end != '\0') {
            return km_fail(KM_USAGE, "%s: options are --length 128, --views 8, --repeat 5, --layers 12", argv[i]);
        }
        *known[k].value = (int)value;
    }
    return KM_OK;
}

static km_status run(bench *b, int argc, char **argv) {
    KM_TRY(parse(&b->options, argc, argv));
    KM_TRY(km_comm_agree(b->comm, set_up(b)));
    double(*laps)[PARTS] = km_new((size_t)b->options.repeat + 1, sizeof *laps);
    for (int i = 0; i <= b->options.repeat; i++) { /* the first warms up, and the next takes its place */
        run_lap(b, i, laps[i]);
        if (b->bad) {
            return km_fail(KM_FAILED, "a gradient is not finite or out of the sum's range");
        }
    }
    if (km_comm_rank(b->comm) == 0) {
        print_all(b, (const double(*)[PARTS])(laps + 1));
    }
    free(laps);
    return KM_OK;
}

int main(int argc, char **argv) {
    static bench b = {.options = {.length = 128, .views = 8, .repeat = 5, .layers = 12}};
    const char *better = km_kernel_better_core();
    if (better != NULL && getenv("OPENBLAS_CORETYPE") == NULL && setenv("OPENBLAS_CORETYPE", better, 0) == 0) {
        execv("/proc/self/exe", argv); /* as kmask itself does */
    }
    km_kernel_start();
    km_status status = km_comm_open(&b.comm, &argc, &argv);
    status = status == KM_OK ? run(&b, argc, argv) : status;
    if (status != KM_OK && (b.comm == NULL || km_comm_rank(b.comm) == 0)) {
        fprintf(stderr, "bench_sum: %s\n", km_message());
    }
    km_exchange_destroy(b.exchange);
    km_comm_close(b.comm);
    return (int)status;
}
