#include "optimizer.h"

#include "timed.h"

#include "kmask/kernel.h"

#include <math.h>

typedef struct update {
    km_trainer *trainer;
    const int64_t *sums;
    double scale;
    km_adamw options;
    size_t table_first, local_first; /* of the part at hand */
} update;

/* Calls part(job, first, count, local) for this worker's share of the owned parts. */
static void each_part(update *job, int worker, void (*part)(update *, size_t, size_t, size_t)) {
    const km_trainer *t = job->trainer;
    update own = *job; /* workers write to table_first and local_first */
    for (int b = worker; b < km_exchange_buckets(t->exchange); b += km_pool_workers(t->pool)) {
        size_t first = 0, count = 0, local = 0;
        km_exchange_part(t->exchange, b, km_comm_rank(t->comm), &first, &count, &local);
        if (count > 0) {
            part(&own, first, count, local);
        }
    }
}

static void square_part(update *job, size_t first, size_t count, size_t local) {
    for (size_t i = 0; i < count; i += KM_BLOCK) {
        job->trainer->blocks[(first + i) / KM_BLOCK] =
            km_fixed_squares(job->sums + local + i, job->scale, KM_BLOCK);
    }
}

static void square_job(void *payload, int worker) {
    each_part(payload, worker, square_part);
}

double km_gradient_norm(km_trainer *t, const int64_t *sums, double divisor) {
    update job = {.trainer = t, .sums = sums, .scale = ldexp(1.0, -KM_FIXED_BITS) / divisor};
    km_pool_run(t->pool, square_job, &job);
    km_exchange_gather_blocks(t->exchange, t->blocks);
    double squares = 0;
    for (size_t i = 0; i < t->table->size / KM_BLOCK; i++) {
        squares += t->blocks[i];
    }
    return sqrt(squares);
}

static km_status update_overlap(void *payload, const km_param *param, size_t first, size_t count) {
    update *job = payload;
    km_trainer *t = job->trainer;
    km_adamw options = job->options;
    if (!param->decay) {
        options.weight_decay = 0;
    }
    size_t local = job->local_first + (first - job->table_first);
    km_adamw_update(t->weights + first, t->m + local, t->v + local, job->sums + local, job->scale, &options, count);
    return KM_OK;
}

static void update_part(update *job, size_t first, size_t count, size_t local) {
    job->table_first = first;
    job->local_first = local;
    (void)km_table_walk(job->trainer->table, first, count, update_overlap, job);
}

static void update_job(void *payload, int worker) {
    each_part(payload, worker, update_part);
}

void km_optimizer_update(km_trainer *t, const int64_t *sums, double divisor, double norm, double lr) {
    double clip = t->config->optimizer.clip;
    double shrink = clip > 0 && norm > clip ? clip / norm : 1.0;
    double step = (double)(t->step + 1);
    update job = {.trainer = t, .sums = sums, .scale = ldexp(1.0, -KM_FIXED_BITS) / divisor * shrink};
    job.options = (km_adamw){
        .lr = (float)lr,
        .beta1 = (float)t->config->optimizer.beta1,
        .beta2 = (float)t->config->optimizer.beta2,
        .eps = (float)t->config->optimizer.eps,
        .weight_decay = (float)t->config->optimizer.weight_decay,
        .correction1 = (float)(1.0 - pow(t->config->optimizer.beta1, step)),
        .correction2 = (float)(1.0 - pow(t->config->optimizer.beta2, step)),
    };
    km_pool_run(t->pool, update_job, &job);
    km_exchange_gather(t->exchange, t->weights);
}
