#include "trainer.h"

#include "save.h"

#include <stdlib.h>

static km_status allocate(km_trainer *t) {
    size_t size = t->table->size, owned = km_exchange_owned(t->exchange, km_comm_rank(t->comm));
    KM_TRY(km_allocate((void **)&t->weights, size * sizeof *t->weights, "the weights"));
    KM_TRY(km_allocate((void **)&t->sum, size * sizeof *t->sum, "the gradient sum"));
    KM_TRY(km_allocate((void **)&t->m, owned * sizeof *t->m, "the first moments"));
    KM_TRY(km_allocate((void **)&t->v, owned * sizeof *t->v, "the second moments"));
    return km_allocate((void **)&t->blocks, size / KM_BLOCK * sizeof *t->blocks, "the gradient's norm");
}

static km_work_options work_options(const km_config *config, const km_loader *loader) {
    km_work_options options = {.backward = true, .recompute = config->train.recompute};
    km_loader_limits(loader, &options.views, &options.tokens, &options.labelled, &options.longest);
    return options;
}

/* Threads without a micro-batch are not started. */
static int workers_of(const km_config *config, uint64_t batches) {
    return (int)KM_MIN((uint64_t)config->parallel.threads, KM_MAX(batches, 1));
}

static km_status make_workers(km_trainer *t) {
    int workers = workers_of(t->config, t->batches);
    KM_TRY(km_pool_create(&t->pool, workers));
    t->works = km_new((size_t)workers, sizeof(km_work *));
    km_work_options options = work_options(t->config, t->loader);
    for (int i = 0; i < workers; i++) {
        KM_TRY(km_work_create(&t->works[i], t->model, &options));
    }
    return KM_OK;
}

km_status km_trainer_create(km_trainer **out, km_comm *comm, const km_config *config, const km_model *model,
                            km_loader *loader) {
    km_trainer *t = km_new(1, sizeof *t);
    *out = t;
    t->comm = comm;
    t->config = config;
    t->model = model;
    t->table = km_model_table(model);
    t->loader = loader;
    km_share(&t->first_batch, &t->batches, (uint64_t)km_loader_micro_batches(loader), km_comm_rank(comm),
             km_comm_size(comm));
    km_status status = km_exchange_create(&t->exchange, comm, t->table->size, KM_BUCKET);
    if (status == KM_OK) {
        status = allocate(t);
    }
    if (status == KM_OK) {
        status = make_workers(t);
    }
    status = km_comm_agree(comm, status);
    if (status != KM_OK) {
        km_trainer_destroy(t);
        *out = NULL;
    }
    return status;
}

void km_trainer_destroy(km_trainer *t) {
    if (t == NULL) {
        return;
    }
    for (int i = 0; t->works != NULL && i < km_pool_workers(t->pool); i++) {
        km_work_destroy(t->works[i]);
    }
    free(t->works);
    km_pool_destroy(t->pool);
    if (t->exchange != NULL) {
        km_exchange_destroy(t->exchange);
    }
    free(t->weights);
    free(t->sum);
    free(t->m);
    free(t->v);
    free(t->blocks);
    free(t);
}

size_t km_trainer_need(const km_config *config, const km_model *model, const km_loader *loader, int rank,
                       int ranks) {
    size_t size = km_model_table(model)->size, owned = 0;
    size_t sums = km_exchange_bytes(&owned, size, KM_BUCKET, rank, ranks);
    uint64_t first = 0, batches = 0;
    km_share(&first, &batches, (uint64_t)km_loader_micro_batches(loader), rank, ranks);
    km_work_options options = work_options(config, loader);
    return size * (sizeof(float) + sizeof(int64_t)) + size / KM_BLOCK * sizeof(double) + sums +
           owned * 2 * sizeof(float) + km_saver_bytes(owned, rank, ranks) +
           (size_t)workers_of(config, batches) * km_work_bytes(model, &options);
}

size_t km_trainer_bytes(const km_trainer *t) {
    return km_trainer_need(t->config, t->model, t->loader, km_comm_rank(t->comm), km_comm_size(t->comm));
}

void km_trainer_prepare(km_trainer *t) {
    km_loader_request(t->loader, (uint64_t)t->step, (int)t->first_batch, (int)t->batches);
}
