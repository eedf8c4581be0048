/* What one core does, at the run's own work. */
#include "plan.h"

#include "kmask/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCHES = 4, PIECE = 1 << 22 };              /* micro-batches looked at; elements, beyond what caches hold */
static const double long_enough = 2, too_long = 20; /* seconds */

/* This thread's own time: a login node is shared. */
static double cpu_seconds(void) {
    struct timespec cpu;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec;
}

typedef struct bench {
    int64_t *sum;
    bool good;
} bench;

static void take_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    bench *b = payload;
    b->good = km_fixed_add(b->sum + offset, gradient, count) && b->good;
}

static void finish_slices(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

/* Forward, backward and adding, until there is enough of it; the first one is not counted. */
static km_status time_gradient(km_core_rate *out, km_run *run, const km_batch *batches, int count) {
    const km_table *table = km_model_table(run->model);
    km_work_options options = {
        .backward = true, .recompute = run->config.train.recompute, .bf16 = km_is_bf16(&run->config)};
    km_loader_limits(run->loader, &options.views, &options.tokens, &options.labelled, &options.longest);
    bench b = {.good = true};
    km_work *work = NULL;
    float *weights = NULL;
    km_status status = km_allocate((void **)&weights, table->size * sizeof *weights, "weights to measure with");
    if (status == KM_OK) {
        status = km_allocate((void **)&b.sum, table->size * sizeof *b.sum, "a sum to measure with");
    }
    if (status == KM_OK) {
        status = km_work_create(&work, run->model, &options);
    }
    if (status != KM_OK) {
        status = km_context(status, "no measurement here; give the compute node's rate with --gflops");
    } else {
        km_sink sink = {&b, take_slice, finish_slices};
        km_loss_sum loss;
        km_model_init_weights(run->model, weights, (uint64_t)run->config.run.seed);
        double start = 0, took = 0, begun = km_seconds();
        int done = -1;
        for (; done < 1 || (took < long_enough && km_seconds() - begun < too_long); done++) {
            start = done == 0 ? cpu_seconds() : start;
            km_model_gradient(run->model, weights, &batches[(done + 1) % count], (uint64_t)run->config.run.seed,
                              true, work, &sink, &loss);
            took = done >= 0 ? cpu_seconds() - start : 0;
        }
        out->micro_batch = took / done;
        out->measured = true;
    }
    km_work_destroy(work);
    free(b.sum);
    free(weights);
    return status;
}

typedef struct pieces {
    int64_t *sum, *landing;
    float *w, *m, *v;
    double norm;
} pieces;

static void update(pieces *p) {
    const km_adamw adamw = {1e-4f, 0.9f, 0.999f, 1e-6f, 0.01f, 0.1f, 0.001f};
    p->norm += km_fixed_squares(p->sum, 1e-9, PIECE);
    km_adamw_update(p->w, p->m, p->v, p->sum, 1e-9, &adamw, PIECE);
}

static void clear(pieces *p) {
    memset(p->sum, 0, PIECE * sizeof *p->sum);
}

static void copy(pieces *p) {
    memcpy(p->landing, p->sum, PIECE * sizeof *p->sum);
}

static void copy_and_add(pieces *p) {
    copy(p);
    for (size_t i = 0; i < PIECE; i++) {
        p->sum[i] += p->landing[i];
    }
}

/* Seconds of one run of `what`, the best of a few. */
static double best_of(pieces *p, void (*what)(pieces *)) {
    enum { TIMES = 5 };
    double best = INFINITY;
    for (int i = 0; i < TIMES; i++) {
        double start = cpu_seconds();
        what(p);
        best = fmin(best, cpu_seconds() - start);
    }
    return best;
}

static km_status time_memory(km_core_rate *out) {
    pieces p = {0};
    const struct {
        void **to;
        size_t bytes;
    } blocks[] = {{(void **)&p.sum, PIECE * sizeof *p.sum},
                  {(void **)&p.landing, PIECE * sizeof *p.landing},
                  {(void **)&p.w, PIECE * sizeof *p.w},
                  {(void **)&p.m, PIECE * sizeof *p.m},
                  {(void **)&p.v, PIECE * sizeof *p.v}};
    km_status status = KM_OK;
    for (size_t i = 0; i < KM_COUNT(blocks) && status == KM_OK; i++) {
        status = km_allocate(blocks[i].to, blocks[i].bytes, "numbers to measure with");
    }
    if (status == KM_OK) {
        const double bytes = PIECE * sizeof(int64_t);
        out->update = best_of(&p, update) / PIECE;
        out->clear = best_of(&p, clear) / PIECE;
        out->copy = bytes / best_of(&p, copy);
        out->add = bytes / best_of(&p, copy_and_add);
    }
    for (size_t i = 0; i < KM_COUNT(blocks); i++) {
        free(*blocks[i].to);
    }
    return status;
}

km_status km_core_measure(km_core_rate *out, km_run *run, const km_plan_options *options) {
    const km_batch *batches = NULL;
    int count = KM_MIN(km_loader_micro_batches(run->loader), BATCHES);
    *out = (km_core_rate){0};
    km_loader_request(run->loader, 0, 0, count);
    KM_TRY(km_loader_take(run->loader, &batches, &count));
    for (int i = 0; i < count; i++) {
        out->flops += km_model_flops(run->model, &batches[i]) / count;
    }
    KM_TRY(time_memory(out));
    if (options->gflops > 0) {
        out->micro_batch = out->flops / (options->gflops * 1e9);
        return KM_OK;
    }
    return time_gradient(out, run, batches, count);
}
