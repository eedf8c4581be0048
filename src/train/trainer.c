#include "trainer.h"

#include "save.h"

#include <stdlib.h>

/* Elements of a bucket: long enough for the network, short enough that several are on their way during backward. */
enum { BUCKET = 1 << 22 };

static km_status allocate(km_trainer *t) {
    size_t size = t->table->size, owned = km_exchange_owned(t->exchange, km_comm_rank(t->comm));
    KM_TRY(km_allocate((void **)&t->weights, size * sizeof *t->weights, "the weights"));
    KM_TRY(km_allocate((void **)&t->sum, size * sizeof *t->sum, "the gradient sum"));
    KM_TRY(km_allocate((void **)&t->m, owned * sizeof *t->m, "the first moments"));
    KM_TRY(km_allocate((void **)&t->v, owned * sizeof *t->v, "the second moments"));
    return km_allocate((void **)&t->blocks, size / KM_BLOCK * sizeof *t->blocks, "the gradient's norm");
}

static km_work_options work_options(const km_trainer *t) {
    km_work_options options = {.backward = true, .recompute = t->config->train.recompute};
    km_loader_limits(t->loader, &options.views, &options.tokens, &options.labelled, &options.longest);
    return options;
}

static km_status make_workers(km_trainer *t) {
    int workers = (int)KM_MIN((uint64_t)t->config->parallel.threads, KM_MAX(t->batches, 1));
    KM_TRY(km_pool_create(&t->pool, workers));
    t->works = km_new((size_t)workers, sizeof(km_work *));
    km_work_options options = work_options(t);
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
    km_status status = km_exchange_create(&t->exchange, comm, t->table->size, BUCKET);
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

void km_trainer_memory(km_memory *out, const km_trainer *t) {
    km_work_options options = work_options(t);
    size_t owned = km_exchange_owned(t->exchange, km_comm_rank(t->comm)), size = t->table->size;
    *out = (km_memory){.parameters = size,
                       .weights = size * sizeof *t->weights,
                       .sum = size * sizeof *t->sum,
                       .moments = owned * (sizeof *t->m + sizeof *t->v),
                       .exchange = km_exchange_bytes(t->exchange),
                       .saved = t->saver != NULL ? km_saver_bytes(t) : 0,
                       .activations = km_work_bytes(t->model, &options),
                       .tokens = (size_t)options.tokens,
                       .threads = km_pool_workers(t->pool)};
    out->total = out->weights + out->sum + out->moments + out->exchange + out->saved +
                 (size_t)out->threads * out->activations;
}

char *km_memory_print(const km_memory *m) {
    char total[32], token[32];
    const double n = (double)m->parameters;
    size_t state = m->weights + m->sum + m->moments + m->exchange + m->saved;
    return km_format("a rank takes %sB: %.1f bytes a parameter (weights %.1f, gradient sum %.1f, moments %.1f, "
                     "exchange %.1f, copy to save %.1f) and %sB a token in each thread's micro-batch of %zu, %d "
                     "thread(s)",
                     km_quantity(total, (double)m->total), (double)state / n, (double)m->weights / n,
                     (double)m->sum / n, (double)m->moments / n, (double)m->exchange / n, (double)m->saved / n,
                     km_quantity(token, (double)m->activations / (double)m->tokens), m->tokens, m->threads);
}

void km_trainer_prepare(km_trainer *t) {
    km_loader_request(t->loader, (uint64_t)t->step, (int)t->first_batch, (int)t->batches);
}
