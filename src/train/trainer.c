/* trainer: creating a trainer, and how much memory it takes on a rank. */
#include "proposal.h"

#include <stdlib.h>

static km_work_options work_options(const km_trainer_options *trainer, const km_reader *reader) {
    const km_train_config *train = &trainer->train;
    km_work_options options = {.backward = true,
                               .recompute = train->recompute,
                               .bf16 = km_is_bf16(train),
                               .norms = trainer->proposal != NULL,
                               .smoothing = trainer->smoothing};
    options.limits = km_reader_limits(reader);
    return options;
}

/* How many threads compute: those of the config, but no more than a rank has micro-batches in a step. */
static int workers_of(const km_parallel_config *parallel, uint64_t batches) {
    return (int)KM_MIN((uint64_t)parallel->threads, KM_MAX(batches, 1));
}

static km_status make_workers(km_trainer *t) {
    int workers = workers_of(&t->options.parallel, t->batches);
    KM_TRY(km_pool_create(&t->pool, workers));
    t->works = km_new((size_t)workers, sizeof(km_work *));
    km_work_options options = work_options(&t->options, t->reader);
    options.rounded = t->parameters->rounded;
    for (int i = 0; i < workers; i++) {
        KM_TRY(km_work_create(&t->works[i], t->model, &options));
    }
    return KM_OK;
}

km_status km_trainer_create(km_trainer **out, km_comm *comm, const km_trainer_options *options,
                            const km_model *model, km_reader *reader) {
    km_trainer *t = km_new(1, sizeof *t);
    *out = t;
    t->comm = comm;
    t->options = *options;
    t->model = model;
    t->reader = reader;
    km_share(&t->first_batch, &t->batches, (uint64_t)km_reader_micro_batches(reader), km_comm_rank(comm),
             km_comm_size(comm));
    km_status status =
        km_parameters_create(&t->parameters, comm, km_model_table(model), km_is_bf16(&options->train));
    if (status == KM_OK) {
        status = km_comm_agree(comm, make_workers(t));
    }
    if (status == KM_OK && options->proposal != NULL) {
        const km_batch_limits limits = km_reader_limits(reader);
        status = km_proposal_create(&t->proposal, comm, options, km_pool_workers(t->pool), &limits);
    }
    if (status == KM_OK && t->proposal != NULL) {
        km_reader_set_scorer(reader, km_proposal_scorer(t->proposal));
    }
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
    km_proposal_destroy(t->proposal);
    km_pool_destroy(t->pool);
    km_parameters_destroy(t->parameters);
    free(t);
}

km_parameters *km_trainer_proposal(const km_trainer *t) {
    return t != NULL && t->proposal != NULL ? km_proposal_parameters(t->proposal) : NULL;
}

void km_trainer_prepare(km_trainer *t) {
    km_reader_request(t->reader, (uint64_t)t->step, (int)t->first_batch, (int)t->batches);
}

void km_trainer_set_poll(km_trainer *t, void (*poll)(void *payload), void *payload) {
    t->poll = poll;
    t->poll_payload = payload;
}

/* ---- Memory ---- */

void km_memory_add_parameters(km_memory *memory, const km_table *table, bool bf16, int rank, int ranks) {
    size_t owned = 0;
    const size_t exchange = km_exchange_bytes(&owned, table->size, KM_BUCKET, rank, ranks);
    const size_t weights = table->size * (sizeof(float) + (bf16 ? sizeof(km_bf16) : 0));
    const size_t sum = table->size * sizeof(int64_t), moments = owned * 2 * sizeof(float);
    memory->parameters += table->size;
    memory->weights += weights;
    memory->sum += sum;
    memory->moments += moments;
    memory->exchange += exchange;
    memory->total += weights + sum + moments + exchange;
}

void km_memory_add_saved(km_memory *memory, size_t bytes) {
    memory->saved += bytes;
    memory->total += bytes;
}

void km_memory_plan(km_memory *out, const km_trainer_options *options, const km_model *model,
                    const km_reader *reader, int rank, int ranks) {
    uint64_t first = 0, batches = 0;
    km_share(&first, &batches, (uint64_t)km_reader_micro_batches(reader), rank, ranks);
    const km_work_options work = work_options(options, reader);
    *out = (km_memory){.activations = km_work_bytes(model, &work),
                       .tokens = (size_t)work.limits.tokens,
                       .threads = workers_of(&options->parallel, batches)};
    out->total = (size_t)out->threads * out->activations;
    km_memory_add_parameters(out, km_model_table(model), work.bf16, rank, ranks);
    if (options->proposal != NULL) {
        const size_t beside = km_proposal_work_bytes(options->proposal, &work.limits);
        out->activations += beside;
        out->total += (size_t)out->threads * beside;
        km_memory_add_parameters(out, km_policy_net_table(options->proposal), false, rank, ranks);
    }
}

void km_trainer_memory(km_memory *out, const km_trainer *t) {
    km_memory_plan(out, &t->options, t->model, t->reader, km_comm_rank(t->comm), km_comm_size(t->comm));
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
