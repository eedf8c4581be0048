/* What a core does at the run's own work, while its neighbours do the same: cores that share a clock, a cache or, as hardware
 * threads, themselves are slower together than alone. */
#include "plan.h"

#include "kmask/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 4, PIECE = 1 << 22 };              /* micro-batches looked at; elements, beyond what caches hold */
static const double long_enough = 2, too_long = 20; /* seconds */

/* This thread's own time: a login node is shared. */
static double cpu_seconds(void) {
    struct timespec cpu;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec;
}

/* One core's. */
typedef struct bench {
    bool direct;
    int64_t *sum, *landing; /* of pieces */
    float *w, *m, *v;
    double norm;
    km_work *work;
    int64_t *gradient_sum; /* of the table */
    bool good;
    km_core_rate rate;
} bench;

typedef struct session {
    const km_run *run;
    const km_batch *batches;
    int count;
    float *weights; /* NULL: the micro-batch is not measured */
    bench *benches;
} session;

/* ---- Micro-batches ---- */

static void take_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    bench *b = payload;
    b->good = km_fixed_add(b->gradient_sum + offset, gradient, count) && b->good;
}

static void finish_slices(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

/* Forward, backward and adding, until there is enough of it; the first one is not counted. */
static void time_gradient(const session *s, bench *b) {
    const uint64_t seed = (uint64_t)s->run->config.run.seed;
    const km_sink sink = {b, take_slice, finish_slices};
    km_loss_sum loss;
    double start = 0, took = 0, begun = km_seconds();
    int done = -1;
    for (; done < 1 || (took < long_enough && km_seconds() - begun < too_long); done++) {
        start = done == 0 ? cpu_seconds() : start;
        km_model_gradient(s->run->model, s->weights, &s->batches[(done + 1) % s->count], seed, true, b->work, &sink,
                          &loss);
        took = done >= 0 ? cpu_seconds() - start : 0;
    }
    b->rate.micro_batch = took / done;
}

/* ---- Memory ---- */

static void update(bench *b) {
    const km_adamw adamw = {1e-4f, 0.9f, 0.999f, 1e-6f, 0.01f, 0.1f, 0.001f};
    b->norm += km_fixed_squares(b->sum, 1e-9, PIECE);
    km_adamw_update(b->w, b->m, b->v, b->sum, 1e-9, &adamw, PIECE);
}

/* As from another process: one's own memory may always be read so. */
static void bring(const bench *b, int64_t *to, size_t at, size_t count) {
    if (!b->direct || !km_process_read(getpid(), (uint64_t)(uintptr_t)(b->landing + at), to, count * sizeof *to)) {
        memcpy(to, b->landing + at, count * sizeof *to);
    }
}

static void copy(bench *b) {
    bring(b, b->sum, 0, PIECE);
}

static void add(int64_t *sum, const int64_t *share, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sum[i] += share[i];
    }
}

/* Direct reading: in chunks, which are added while a cache holds them. Messages: all of a share is there first. */
static void bring_and_add(bench *b) {
    int64_t *chunk = (int64_t *)b->m; /* of PIECE floats: room for half as many numbers */
    const size_t step = b->direct ? KM_CHUNK : PIECE / 2;
    for (size_t at = 0; at < PIECE; at += step) {
        bring(b, chunk, at, step);
        add(b->sum + at, chunk, step);
    }
}

/* Seconds of one run of `what`, the best of a few. */
static double best_of(bench *b, void (*what)(bench *)) {
    enum { TIMES = 5 };
    double best = INFINITY;
    for (int i = 0; i < TIMES; i++) {
        double start = cpu_seconds();
        what(b);
        best = fmin(best, cpu_seconds() - start);
    }
    return best;
}

static void time_memory(bench *b) {
    const double bytes = PIECE * sizeof(int64_t);
    b->rate.update = best_of(b, update) / PIECE;
    b->rate.copy = bytes / best_of(b, copy);
    b->rate.add = bytes / best_of(b, bring_and_add);
}

/* ---- All cores ---- */

static void measure(void *payload, int worker) {
    session *s = payload;
    bench *b = &s->benches[worker];
    if (s->weights != NULL) {
        time_gradient(s, b);
    }
    time_memory(b);
}

static void limits_of(km_work_options *out, const km_run *run) {
    *out = (km_work_options){
        .backward = true, .recompute = run->config.train.recompute, .bf16 = km_is_bf16(&run->config.train)};
    out->limits = km_reader_limits(run->reader);
}

/* The cores of a node's ranks, as far as they and the memory that it takes are here. */
static int cores_here(const km_run *run, const km_plan_options *options) {
    km_cpus cpus;
    km_cpus_allowed(&cpus);
    km_work_options limits;
    limits_of(&limits, run);
    const double table = (double)km_model_table(run->model)->size;
    const double each = (double)km_work_bytes(run->model, &limits) + 8 * table + (8 + 8 + 3 * 4) * (double)PIECE;
    const double room = ((double)km_memory_room() - 4 * table) / 2;
    double cores = fmin((double)options->cores, km_cpus_count(&cpus));
    cores = fmin(cores, km_kernel_concurrent() ? floor(room / each) : 1);
    return (int)fmax(cores, 1);
}

static km_status prepare(session *s, int cores, bool direct) {
    const km_run *run = s->run;
    const size_t size = km_model_table(run->model)->size;
    km_work_options limits;
    limits_of(&limits, run);
    for (int i = 0; i < cores; i++) {
        bench *b = &s->benches[i];
        b->direct = direct;
        const struct {
            void **to;
            size_t bytes;
        } blocks[] = {{(void **)&b->sum, PIECE * sizeof *b->sum},
                      {(void **)&b->landing, PIECE * sizeof *b->landing},
                      {(void **)&b->w, PIECE * sizeof *b->w},
                      {(void **)&b->m, PIECE * sizeof *b->m},
                      {(void **)&b->v, PIECE * sizeof *b->v},
                      {(void **)&b->gradient_sum, s->weights != NULL ? size * sizeof *b->gradient_sum : 0}};
        for (size_t j = 0; j < KM_COUNT(blocks); j++) {
            if (blocks[j].bytes > 0) {
                KM_TRY(km_allocate(blocks[j].to, blocks[j].bytes, "numbers to measure with"));
            }
        }
        if (s->weights != NULL) {
            KM_TRY(km_work_create(&b->work, run->model, &limits));
        }
    }
    return KM_OK;
}

static void clean_up(session *s, int cores) {
    for (int i = 0; i < cores; i++) {
        bench *b = &s->benches[i];
        km_work_destroy(b->work);
        void *const blocks[] = {b->sum, b->landing, b->w, b->m, b->v, b->gradient_sum};
        for (size_t j = 0; j < KM_COUNT(blocks); j++) {
            free(blocks[j]);
        }
    }
    free(s->weights);
    free(s->benches);
}

/* A step waits for all: means of their times. */
static void collect(km_core_rate *out, const bench *benches, int cores) {
    double add_seconds = 0, copy_seconds = 0;
    for (int i = 0; i < cores; i++) {
        out->micro_batch += benches[i].rate.micro_batch / cores;
        out->update += benches[i].rate.update / cores;
        add_seconds += 1 / benches[i].rate.add / cores;
        copy_seconds += 1 / benches[i].rate.copy / cores;
    }
    out->add = 1 / add_seconds;
    out->copy = 1 / copy_seconds;
}

static km_status run_session(km_core_rate *out, session *s, bool told) {
    const km_run *run = s->run;
    if (!told) {
        KM_TRY(km_allocate((void **)&s->weights, km_model_table(run->model)->size * sizeof *s->weights,
                           "weights to measure with"));
        km_model_init_weights(run->model, s->weights, (uint64_t)run->config.run.seed);
    }
    KM_TRY(prepare(s, out->cores, out->direct));
    km_pool *pool = NULL;
    KM_TRY(km_pool_create(&pool, out->cores));
    km_pool_run(pool, measure, s);
    km_pool_destroy(pool);
    collect(out, s->benches, out->cores);
    out->measured = !told;
    return KM_OK;
}

km_status km_core_measure(km_core_rate *out, km_run *run, const km_plan_options *options) {
    session s = {.run = run, .count = KM_MIN(km_reader_micro_batches(run->reader), BATCHES)};
    *out = (km_core_rate){.cores = cores_here(run, options), .direct = km_process_readable()};
    km_reader_request(run->reader, 0, 0, s.count);
    KM_TRY(km_reader_take(run->reader, &s.batches, &s.count));
    for (int i = 0; i < s.count; i++) {
        out->flops += km_model_flops(run->model, &s.batches[i]) / s.count;
    }
    s.benches = km_new((size_t)out->cores, sizeof *s.benches);
    km_status status = run_session(out, &s, options->gflops > 0);
    clean_up(&s, out->cores);
    if (options->gflops > 0) {
        out->micro_batch = out->flops / (options->gflops * 1e9);
        return status;
    }
    return status == KM_OK ? KM_OK
                           : km_context(status, "no measurement here; give the compute node's rate with --gflops");
}
