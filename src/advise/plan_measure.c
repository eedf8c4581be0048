/* plan_measure: how fast a core does the run's own work while its neighbours do the same. Cores that share a clock, a cache or,
 * as hardware threads, a physical core, are slower together than alone. */
#include "plan.h"

#include "kmask/kernel.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCHES = 4,    /* different micro-batches that are computed */
    PIECE = 1 << 22 /* elements of what is copied, added and updated: more than caches hold */
};
static const double long_enough = 2, too_long = 20; /* seconds after which measuring ends, and at most */

/* The CPU time of this thread, since other users of a login node take some of the cores. */
static double cpu_seconds(void) {
    struct timespec cpu;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec;
}

/* What one core works on. */
typedef struct core {
    bool direct;
    int64_t *sum, *share; /* (PIECE) a rank's sum, and what another rank of the node adds to it */
    float *w, *m, *v;     /* (PIECE) */
    double norm;          /* a result that is kept, so that the compiler does not leave out the sum of squares */
    km_work *work;
    int64_t *gradient_sum; /* (table->size) */
    bool good;
    km_core_rate rate;
} core;

/* The measurement on all cores. */
typedef struct core_measurement {
    const km_run *run;
    const km_batch *batches;
    int count;
    float *weights;         /* NULL: the micro-batch is not measured */
    core *measured;         /* one for each core that is measured at the same time */
    atomic_int done, share; /* of the first core: its micro-batches, and thousandths of its measurement */
    atomic_bool ended;
} core_measurement;

/* ---- What a user sees meanwhile ---- */

/* A thread that shows how far the first core is, also while one micro-batch takes many seconds. */
static void *show_progress(void *payload) {
    core_measurement *s = payload;
    const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    const double start = km_seconds();
    km_progress *progress = km_progress_create("measuring the cores", 0, 1000);
    while (!atomic_load(&s->ended)) {
        km_progress_update(progress, (uint64_t)atomic_load(&s->share), "%d micro-batches in %.0f s",
                           atomic_load(&s->done), km_seconds() - start);
        nanosleep(&pause, NULL);
    }
    km_progress_clear(progress);
    km_progress_destroy(progress);
    return NULL;
}

/* ---- Micro-batches ---- */

static void take_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    core *c = payload;
    c->good = km_fixed_add(c->gradient_sum + offset, gradient, count) && c->good;
}

static void finish_slices(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

/* Computes micro-batches and adds their gradients until that has taken long enough; the first one is not counted. */
static void time_gradient(core_measurement *s, core *c) {
    const uint64_t seed = (uint64_t)s->run->config.run.seed;
    const km_sink sink = {c, take_slice, finish_slices};
    km_loss_sum loss;
    double start = 0, took = 0, begun = km_seconds();
    int done = -1;
    for (; done < 1 || (took < long_enough && km_seconds() - begun < too_long); done++) {
        start = done == 0 ? cpu_seconds() : start;
        km_model_gradient(s->run->model, s->weights, &s->batches[(done + 1) % s->count], seed, true, c->work, &sink,
                          &loss);
        took = done >= 0 ? cpu_seconds() - start : 0;
        if (c == s->measured) {
            atomic_store(&s->done, done + 2);
            atomic_store(&s->share, (int)(999 * fmin(took / long_enough, 1)));
        }
    }
    c->rate.micro_batch = took / done;
}

/* ---- Memory ---- */

static void update(core *c) {
    const km_adamw adamw = {1e-4f, 0.9f, 0.999f, 1e-6f, 0.01f, 0.1f, 0.001f};
    c->norm += km_fixed_squares(c->sum, 1e-9, PIECE);
    km_adamw_update(c->w, c->m, c->v, c->sum, 1e-9, &adamw, PIECE);
}

/* Copies from the share as from the memory of another process, where ranks read it directly; a process may always read itself
 * so. */
static void fetch(const core *c, int64_t *to, size_t at, size_t count) {
    if (!c->direct || !km_process_read(getpid(), (uint64_t)(uintptr_t)(c->share + at), to, count * sizeof *to)) {
        memcpy(to, c->share + at, count * sizeof *to);
    }
}

static void copy(core *c) {
    fetch(c, c->sum, 0, PIECE);
}

static void add(int64_t *sum, const int64_t *share, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sum[i] += share[i];
    }
}

/* Where memory is read directly it comes in chunks, which are added while they are in a cache; a message arrives whole before it
 * is added. */
static void fetch_and_add(core *c) {
    int64_t *chunk = (int64_t *)c->m; /* PIECE floats are room for half as many integers */
    const size_t step = c->direct ? KM_CHUNK : PIECE / 2;
    for (size_t at = 0; at < PIECE; at += step) {
        fetch(c, chunk, at, step);
        add(c->sum + at, chunk, step);
    }
}

/* The fewest seconds of a few runs of `what`. */
static double best_of(core *c, void (*what)(core *)) {
    enum { TIMES = 5 };
    double best = INFINITY;
    for (int i = 0; i < TIMES; i++) {
        double start = cpu_seconds();
        what(c);
        best = fmin(best, cpu_seconds() - start);
    }
    return best;
}

static void time_memory(core *c) {
    const double bytes = PIECE * sizeof(int64_t);
    c->rate.update = best_of(c, update) / PIECE;
    c->rate.copy = bytes / best_of(c, copy);
    c->rate.add = bytes / best_of(c, fetch_and_add);
}

/* ---- All cores ---- */

static void measure(void *payload, int worker) {
    core_measurement *s = payload;
    core *c = &s->measured[worker];
    if (s->weights != NULL) {
        time_gradient(s, c);
    }
    time_memory(c);
}

static void limits_of(km_work_options *out, const km_run *run) {
    *out = (km_work_options){
        .backward = true, .recompute = run->config.train.recompute, .bf16 = km_is_bf16(&run->config.train)};
    out->limits = km_reader_limits(run->reader);
}

/* How many cores are measured at once: those of a node's ranks, or as many as this host has, with memory for all. */
static int cores_here(const km_run *run, const km_plan_options *options) {
    km_cpus cpus;
    km_cpus_allowed(&cpus);
    km_work_options limits;
    limits_of(&limits, run);
    const double table = (double)km_model_table(run->model)->size;
    const double each = (double)km_work_bytes(run->model, &limits) + 8 * table + (8 + 8 + 3 * 4) * (double)PIECE;
    const double room = ((double)km_memory_available() - 4 * table) / 2;
    double cores = fmin((double)options->cores, km_cpus_count(&cpus));
    cores = fmin(cores, km_kernel_concurrent() ? floor(room / each) : 1);
    return (int)fmax(cores, 1);
}

static km_status prepare(core_measurement *s, int cores, bool direct) {
    const km_run *run = s->run;
    const size_t size = km_model_table(run->model)->size;
    km_work_options limits;
    limits_of(&limits, run);
    for (int i = 0; i < cores; i++) {
        core *c = &s->measured[i];
        c->direct = direct;
        const struct {
            void **to;
            size_t bytes;
        } blocks[] = {{(void **)&c->sum, PIECE * sizeof *c->sum},
                      {(void **)&c->share, PIECE * sizeof *c->share},
                      {(void **)&c->w, PIECE * sizeof *c->w},
                      {(void **)&c->m, PIECE * sizeof *c->m},
                      {(void **)&c->v, PIECE * sizeof *c->v},
                      {(void **)&c->gradient_sum, s->weights != NULL ? size * sizeof *c->gradient_sum : 0}};
        for (size_t j = 0; j < KM_COUNT(blocks); j++) {
            if (blocks[j].bytes > 0) {
                KM_TRY(km_allocate(blocks[j].to, blocks[j].bytes, "numbers to measure with"));
            }
        }
        if (s->weights != NULL) {
            KM_TRY(km_work_create(&c->work, run->model, &limits));
        }
    }
    return KM_OK;
}

static void clean_up(core_measurement *s, int cores) {
    for (int i = 0; i < cores; i++) {
        core *c = &s->measured[i];
        km_work_destroy(c->work);
        void *const blocks[] = {c->sum, c->share, c->w, c->m, c->v, c->gradient_sum};
        for (size_t j = 0; j < KM_COUNT(blocks); j++) {
            free(blocks[j]);
        }
    }
    free(s->weights);
    free(s->measured);
}

/* A step has work for all cores, so the times are averaged. */
static void collect(km_core_rate *out, const core *measured, int cores) {
    double add_seconds = 0, copy_seconds = 0;
    for (int i = 0; i < cores; i++) {
        out->micro_batch += measured[i].rate.micro_batch / cores;
        out->update += measured[i].rate.update / cores;
        add_seconds += 1 / measured[i].rate.add / cores;
        copy_seconds += 1 / measured[i].rate.copy / cores;
    }
    out->add = 1 / add_seconds;
    out->copy = 1 / copy_seconds;
}

static km_status run_measurement(km_core_rate *out, core_measurement *s, bool told) {
    const km_run *run = s->run;
    if (!told) {
        KM_TRY(km_allocate((void **)&s->weights, km_model_table(run->model)->size * sizeof *s->weights,
                           "weights to measure with"));
        km_model_init_weights(run->model, s->weights, (uint64_t)run->config.run.seed);
    }
    KM_TRY(prepare(s, out->cores, out->direct));
    km_pool *pool = NULL;
    pthread_t watcher;
    KM_TRY(km_pool_create(&pool, out->cores));
    const bool shown = !told && km_thread_start(&watcher, show_progress, s) == 0;
    km_pool_run(pool, measure, s);
    atomic_store(&s->ended, true);
    if (shown) {
        pthread_join(watcher, NULL);
    }
    km_pool_destroy(pool);
    collect(out, s->measured, out->cores);
    out->measured = !told;
    return KM_OK;
}

km_status km_core_measure(km_core_rate *out, km_run *run, const km_plan_options *options) {
    core_measurement s = {.run = run, .count = KM_MIN(km_reader_micro_batches(run->reader), BATCHES)};
    *out = (km_core_rate){.cores = cores_here(run, options), .direct = km_process_readable()};
    km_reader_request(run->reader, 0, 0, s.count);
    KM_TRY(km_reader_take(run->reader, &s.batches, &s.count));
    for (int i = 0; i < s.count; i++) {
        out->flops += km_model_flops(run->model, &s.batches[i]) / s.count;
    }
    s.measured = km_new((size_t)out->cores, sizeof *s.measured);
    km_status status = run_measurement(out, &s, options->gflops > 0);
    clean_up(&s, out->cores);
    if (options->gflops > 0) {
        out->micro_batch = out->flops / (options->gflops * 1e9);
        return status;
    }
    return status == KM_OK ? KM_OK
                           : km_context(status, "no measurement here; give the compute node's rate with --gflops");
}
