/* parameters: allocating a set of parameters, and rounding its weights for products in bf16. */
#include "kmask/train.h"

#include <stdlib.h>

static km_status allocate(km_parameters *p, bool bf16) {
    const size_t size = p->table->size;
    KM_TRY(km_allocate((void **)&p->weights, size * sizeof *p->weights, "the weights"));
    if (bf16) {
        KM_TRY(km_allocate((void **)&p->rounded, size * sizeof *p->rounded, "the weights in bf16"));
    }
    KM_TRY(km_allocate((void **)&p->sum, size * sizeof *p->sum, "the gradient sum"));
    KM_TRY(km_allocate((void **)&p->m, p->owned * sizeof *p->m, "the first moments"));
    KM_TRY(km_allocate((void **)&p->v, p->owned * sizeof *p->v, "the second moments"));
    return km_allocate((void **)&p->blocks, size / KM_BLOCK * sizeof *p->blocks, "the gradient's norm");
}

km_status km_parameters_create(km_parameters **out, km_comm *comm, const km_table *table, bool bf16) {
    km_parameters *p = *out = km_new(1, sizeof *p);
    p->comm = comm;
    p->table = table;
    km_status status = km_exchange_create(&p->exchange, comm, table->size, KM_BUCKET);
    if (status == KM_OK) {
        p->owned = km_exchange_owned(p->exchange, km_comm_rank(comm));
        status = allocate(p, bf16);
    }
    status = km_comm_agree(comm, status);
    if (status != KM_OK) {
        km_parameters_destroy(p);
        *out = NULL;
    }
    return status;
}

void km_parameters_destroy(km_parameters *p) {
    if (p == NULL) {
        return;
    }
    if (p->exchange != NULL) {
        km_exchange_destroy(p->exchange);
    }
    free(p->weights);
    free(p->rounded);
    free(p->sum);
    free(p->m);
    free(p->v);
    free(p->blocks);
    free(p);
}

size_t km_parameters_owned(const km_table *table, int rank, int ranks) {
    size_t owned = 0;
    (void)km_exchange_bytes(&owned, table->size, KM_BUCKET, rank, ranks);
    return owned;
}

/* ---- Rounding ---- */

typedef struct rounding {
    km_parameters *parameters;
    int workers;
} rounding;

/* Rounds one worker's share of the weights. */
static void round_share(void *payload, int worker) {
    const rounding *job = payload;
    const km_parameters *p = job->parameters;
    const size_t blocks = p->table->size / KM_BLOCK, workers = (size_t)job->workers, w = (size_t)worker;
    const size_t first = blocks * w / workers * KM_BLOCK, end = blocks * (w + 1) / workers * KM_BLOCK;
    KM_TIMED(KM_OP_ROUNDING, km_bf16_round(p->rounded + first, p->weights + first, end - first));
}

void km_parameters_round(km_parameters *p, km_pool *pool) {
    if (p->rounded != NULL) {
        rounding job = {p, km_pool_workers(pool)};
        km_pool_run(pool, round_share, &job);
    }
}
