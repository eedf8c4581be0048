/* evaluate: the loss under masks that are the same at every evaluation. The loss of a row depends on the row alone, and losses
 * are added as integers, so the result has the same bits on any number of ranks and threads. */
#include "kmask/run.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { LOSS_BITS = 24 };

typedef struct evaluation {
    km_comm *comm;
    const km_model *model;
    const float *weights;
    uint64_t first, number; /* this rank's rows */
    uint64_t until;         /* the first of these rows that is left to a later round */
    atomic_ullong next;     /* the next one that a worker takes */
    km_eval_views **views;  /* one a worker */
    km_work **works;
    int32_t vocabulary;
    atomic_llong *frequency; /* (V) how often each token is a label */
    atomic_llong loss, masked, correct;
    atomic_int failed;
    km_error error; /* the first failure */
} evaluation;

static void add_row(evaluation *e, const km_batch *batch, const km_loss_sum *sum) {
    atomic_fetch_add(&e->loss, isfinite(sum->loss) ? llrint(sum->loss * (double)(1 << LOSS_BITS)) : 0);
    atomic_fetch_add(&e->masked, sum->masked);
    atomic_fetch_add(&e->correct, sum->correct);
    for (int i = 0; i < batch->labelled; i++) {
        atomic_fetch_add_explicit(&e->frequency[batch->labels[i]], 1, memory_order_relaxed);
    }
}

static km_status not_finite(uint64_t row) {
    return km_fail(
        KM_FAILED,
        "the evaluation's loss is not finite at row %llu; the weights are damaged or training has diverged",
        (unsigned long long)row);
}

static void work(void *payload, int worker) {
    evaluation *e = payload;
    while (!atomic_load(&e->failed)) {
        uint64_t i = atomic_fetch_add(&e->next, 1);
        if (i >= e->until) {
            break;
        }
        km_heartbeat_progress(e->comm);
        const km_batch *batch = NULL;
        km_loss_sum sum = {0};
        km_status status = km_eval_views_make(e->views[worker], e->first + i, &batch);
        if (status == KM_OK) {
            km_model_forward(e->model, e->weights, batch, e->works[worker], &sum, NULL);
        }
        if (batch != NULL && isfinite(sum.loss)) {
            add_row(e, batch, &sum);
        } else if (!atomic_exchange(&e->failed, 1)) {
            km_error_copy(&e->error, batch == NULL ? status : not_finite(e->first + i));
        }
    }
}

static km_status make_workers(evaluation *e, const km_rows *rows, const km_corpus *corpus,
                              const km_eval_options *options, const km_pool *pool) {
    for (int i = 0; i < km_pool_workers(pool); i++) {
        KM_TRY(km_eval_views_create(&e->views[i], rows, corpus, &options->views));
        km_work_options limits = {.backward = false};
        limits.limits = km_eval_views_limits(e->views[i]);
        KM_TRY(km_work_create(&e->works[i], e->model, &limits));
    }
    return KM_OK;
}

/* Evaluates the rows in rounds, between which the ranks agree on whether to go on. rows: the number of rows of all ranks
 * together. */
static km_status run(evaluation *e, uint64_t rows, const km_eval_options *options, km_pool *pool) {
    enum { MOST = 100, LEAST = 16 }; /* most rounds; least rows of a worker in a round */
    uint64_t each = (uint64_t)km_comm_size(e->comm) * (uint64_t)km_pool_workers(pool) * LEAST;
    uint64_t rounds = KM_MIN(rows / each + 1, (uint64_t)MOST);
    for (uint64_t round = 1; round <= rounds; round++) {
        atomic_store(&e->next, e->until);
        e->until = e->number * round / rounds;
        km_pool_run(pool, work, e);
        int64_t ends[2] = {atomic_load(&e->failed), options->stop != NULL && options->stop(options->payload)};
        km_comm_sum(e->comm, ends, 2);
        if (ends[0] > 0) {
            return km_comm_agree(e->comm, km_error_raise(&e->error));
        }
        if (ends[1] > 0 && round < rounds) {
            return km_fail(KM_STOPPED, "the evaluation was asked to stop");
        }
    }
    return KM_OK;
}

/* The entropy of the frequencies, in nats. */
static double entropy(const int64_t *frequency, int32_t count, int64_t total) {
    double sum = 0;
    for (int32_t i = 0; i < count; i++) {
        if (frequency[i] > 0) {
            double p = (double)frequency[i] / (double)total;
            sum -= p * log(p);
        }
    }
    return sum;
}

static void gather(km_comm *comm, evaluation *e, km_eval_result *out) {
    int64_t totals[3] = {atomic_load(&e->loss), atomic_load(&e->masked), atomic_load(&e->correct)};
    km_comm_sum(comm, totals, 3);
    int64_t *frequency = km_new((size_t)e->vocabulary, sizeof *frequency);
    for (int32_t i = 0; i < e->vocabulary; i++) {
        frequency[i] = atomic_load(&e->frequency[i]);
    }
    km_comm_sum(comm, frequency, e->vocabulary);
    double masked = (double)KM_MAX(totals[1], 1);
    out->loss = (double)totals[0] / (double)(1 << LOSS_BITS) / masked;
    out->perplexity = exp(out->loss);
    out->accuracy = (double)totals[2] / masked;
    out->masked = totals[1];
    out->unigram_entropy = entropy(frequency, e->vocabulary, KM_MAX(totals[1], 1));
    free(frequency);
}

static km_status with_workers(evaluation *e, const km_rows *rows, const km_corpus *corpus,
                              const km_eval_options *options, int threads) {
    km_pool *pool = NULL;
    km_status status = km_pool_create(&pool, threads);
    if (status == KM_OK) {
        status = make_workers(e, rows, corpus, options, pool);
    }
    status = km_comm_agree(e->comm, status);
    if (status == KM_OK) {
        status = run(e, km_rows_count(rows), options, pool);
    }
    for (int i = 0; i < threads; i++) {
        km_work_destroy(e->works[i]);
        km_eval_views_destroy(e->views[i]);
    }
    km_pool_destroy(pool);
    return status;
}

static km_status evaluate_rows(km_comm *comm, const km_model *model, const float *weights, const km_rows *rows,
                               const km_corpus *corpus, const km_eval_options *options, int threads,
                               km_eval_result *out) {
    evaluation e = {.comm = comm,
                    .model = model,
                    .weights = weights,
                    .vocabulary = km_tokenizer_size(km_corpus_tokenizer(corpus))};
    e.frequency = km_new((size_t)e.vocabulary, sizeof *e.frequency);
    e.views = km_new((size_t)threads, sizeof(km_eval_views *));
    e.works = km_new((size_t)threads, sizeof(km_work *));
    out->rows = km_rows_count(rows);
    km_share(&e.first, &e.number, out->rows, km_comm_rank(comm), km_comm_size(comm));
    km_status status = with_workers(&e, rows, corpus, options, threads);
    if (status == KM_OK) {
        gather(comm, &e, out);
    }
    km_error_clear(&e.error);
    free(e.views);
    free(e.works);
    free(e.frequency);
    return status;
}

km_status km_evaluate(km_comm *comm, const km_model *model, const float *weights, const km_corpus *corpus,
                      const km_eval_options *options, int threads, km_eval_result *out) {
    *out = (km_eval_result){0};
    km_phase before = km_heartbeat_phase(comm, KM_EVALUATING);
    km_rows *rows = NULL;
    const km_rows_options packing = {
        .length = options->length, .packing = options->packing, .unit = options->views.unit, .min_units = 1};
    km_status status = km_comm_agree(comm, km_rows_open(&rows, corpus, &packing, NULL));
    if (status == KM_OK) {
        status = evaluate_rows(comm, model, weights, rows, corpus, options, threads, out);
    }
    km_rows_close(rows); /* this rank's rows are open also where another rank could not open its own */
    km_heartbeat_phase(comm, before);
    return status;
}

void km_evaluation_warn(const km_eval_result *result) {
    if (result->masked > 0 && !(result->loss < result->unigram_entropy)) {
        km_warn("the held-out loss %.4f is not below the unigram entropy %.4f: the model knows no more of this "
                "text than "
                "how frequent each token is. What helps a small or young model: shorter rows (data.length 32), "
                "more steps "
                "(train.steps), warmup (schedule.warmup 300), a lower optimizer.lr, larger initial weights "
                "(model.initializer_range 0.08), no dropout (model.hidden_dropout_prob and "
                "model.attention_probs_dropout_prob 0)",
                result->loss, result->unigram_entropy);
    }
}
