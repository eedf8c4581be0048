/* variance: the measurement. One model is measured after the other: its items are shared among ranks and threads, and their
 * results are sent to rank 0. */
#include "variance.h"
#include "outputs.h"

#include "kmask/kernel.h"
#include "kmask/run.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct measurement {
    km_comm *comm;
    km_variance_plan plan;
    const char *folder; /* NULL: nothing is kept */
    km_lock *lock;      /* rank 0; NULL: none */
    km_item_store *store;
    km_pool *pool;
    km_findings *findings; /* rank 0, one a model */
    int models;
    double started;
} measurement;

/* The work on one model. */
typedef struct round {
    measurement *all;
    const km_variance_model *measured;
    km_variance_worker **workers; /* (workers of the pool) */
    km_item_result *results;      /* (items) */
    int *mine, count;             /* this rank's items that are not done yet */
    atomic_int next, failed;
    km_error error; /* of the first worker that failed */
    atomic_ullong gradients;
    km_progress *progress; /* rank 0; worker 0 draws it */
} round;

static bool is_root(const measurement *all) {
    return km_comm_rank(all->comm) == 0;
}

/* ---- Workers -------------------------------------------------------------------------------------------------------- */

static bool must_stop(void *payload) {
    round *r = payload;
    double hours = r->all->plan.config->run.max_hours;
    return km_signals_stop() || atomic_load(&r->failed) != 0 ||
           (hours > 0 && km_seconds() - r->all->started >= hours * 3600);
}

static void count_gradient(void *payload) {
    round *r = payload;
    atomic_fetch_add(&r->gradients, 1);
}

/* For the main thread, which alone may draw the progress line. */
static void count_and_show(void *payload) {
    round *r = payload;
    uint64_t done = atomic_fetch_add(&r->gradients, 1) + 1;
    if (r->progress != NULL) {
        km_progress_update(r->progress, done, "%s  %llu gradients", r->measured->name, (unsigned long long)done);
    }
}

static void work(void *payload, int worker) {
    round *r = payload;
    for (;;) {
        int i = atomic_fetch_add(&r->next, 1);
        if (i >= r->count || must_stop(r)) {
            break;
        }
        int item = r->mine[i];
        km_item_result result = {0};
        km_status status = km_variance_item(r->workers[worker], item, &result);
        if (status == KM_OK) {
            km_item_store_add(r->all->store, r->measured->key, item, &result);
            r->results[item] = result;
            continue;
        }
        free(result.values);
        if (status != KM_STOPPED && !atomic_exchange(&r->failed, 1)) {
            km_error_copy(&r->error, status);
        }
        break;
    }
}

/* ---- One model ------------------------------------------------------------------------------------------------------ */

/* Rank 0 knows which items an earlier start has finished; the ranks take the others in turns. */
static km_status share_items(round *r) {
    measurement *all = r->all;
    int items = km_variance_items(&all->plan), rank = km_comm_rank(all->comm), left = 0;
    uint8_t *done = km_new((size_t)items, 1);
    km_status status = KM_OK;
    if (is_root(all) && all->folder != NULL) {
        status = km_item_store_load(all->folder, all->plan.key, r->measured->key, r->results, items);
    }
    for (int i = 0; i < items; i++) {
        done[i] = r->results[i].values != NULL;
    }
    km_comm_broadcast(all->comm, done, (size_t)items);
    r->mine = km_new((size_t)items, sizeof *r->mine);
    double gradients = 0;
    for (int i = 0; i < items; i++) {
        if (!done[i] && left++ % km_comm_size(all->comm) == rank) {
            r->mine[r->count++] = i;
            gradients += km_variance_work(&all->plan, i);
        }
    }
    if (left < items) {
        km_log("%s: %d of %d parts of the measurement were there already", r->measured->name, items - left, items);
    }
    if (is_root(all) && r->count > 0) {
        r->progress = km_progress_create("variance", 0, (uint64_t)gradients);
    }
    free(done);
    return km_comm_agree(all->comm, status);
}

static km_status make_workers(round *r) {
    int workers = km_pool_workers(r->all->pool);
    r->workers = km_new((size_t)workers, sizeof(km_variance_worker *));
    for (int w = 0; w < workers; w++) {
        KM_TRY(km_variance_worker_create(&r->workers[w], &r->all->plan, r->measured));
        r->workers[w]->payload = r;
        r->workers[w]->stop = must_stop;
        r->workers[w]->tick = w == 0 ? count_and_show : count_gradient;
    }
    return KM_OK;
}

/* Sends the results of all ranks to rank 0: of each item its number, how many values it has, and the values. */
static void gather(round *r) {
    km_comm *comm = r->all->comm;
    int items = km_variance_items(&r->all->plan);
    if (!is_root(r->all)) {
        for (int i = 0; i < r->count; i++) {
            const km_item_result *result = &r->results[r->mine[i]];
            uint64_t head[2] = {(uint64_t)r->mine[i], result->values != NULL ? result->count : 0};
            km_comm_send(comm, head, sizeof head, 0);
            km_comm_send(comm, result->values, head[1] * sizeof(double), 0);
        }
        uint64_t end[2] = {(uint64_t)items, 0};
        km_comm_send(comm, end, sizeof end, 0);
        return;
    }
    for (int rank = 1; rank < km_comm_size(comm); rank++) {
        for (;;) {
            uint64_t head[2];
            km_comm_receive(comm, head, sizeof head, rank);
            if (head[0] >= (uint64_t)items) {
                break;
            }
            km_item_result *result = &r->results[head[0]];
            result->values = head[1] > 0 ? km_new(head[1], sizeof(double)) : NULL;
            result->count = result->room = head[1];
            km_comm_receive(comm, result->values, head[1] * sizeof(double), rank);
        }
    }
}

static km_status check_complete(const round *r) {
    int items = km_variance_items(&r->all->plan), there = 0;
    for (int i = 0; i < items; i++) {
        there += r->results[i].values != NULL;
    }
    if (there == items) {
        return KM_OK;
    }
    return km_fail(KM_STOPPED, "stopped early by %s with %d of %d parts of %s measured%s", km_signals_name(), there,
                   items, r->measured->name, r->all->folder != NULL ? "; run the same command again to go on" : "");
}

static km_status measure(round *r, km_findings *findings) {
    measurement *all = r->all;
    KM_TRY(share_items(r));
    KM_TRY(km_comm_agree(all->comm, make_workers(r)));
    km_pool_run(all->pool, work, r);
    if (r->progress != NULL) {
        km_progress_destroy(r->progress);
        r->progress = NULL;
    }
    KM_TRY(km_comm_agree(all->comm, km_error_raise(&r->error)));
    gather(r);
    KM_TRY(km_comm_agree(all->comm, is_root(all) ? check_complete(r) : KM_OK));
    if (is_root(all)) {
        km_findings_make(findings, &all->plan, r->measured, r->results);
    }
    return KM_OK;
}

static km_status measure_model(measurement *all, int index) {
    km_variance_model *measured = NULL;
    KM_TRY(km_comm_agree(all->comm, km_variance_model_open(&measured, &all->plan, index)));
    int items = km_variance_items(&all->plan);
    round r = {.all = all, .measured = measured};
    r.results = km_new((size_t)items, sizeof *r.results);
    km_status status = measure(&r, &all->findings[index]);
    if (r.progress != NULL) {
        km_progress_destroy(r.progress);
    }
    for (int i = 0; i < items; i++) {
        free(r.results[i].values);
    }
    for (int w = 0; r.workers != NULL && w < km_pool_workers(all->pool); w++) {
        km_variance_worker_destroy(r.workers[w]);
    }
    free(r.workers);
    free(r.results);
    free(r.mine);
    km_error_clear(&r.error);
    km_variance_model_close(measured);
    return status;
}

/* ---- The whole -------------------------------------------------------------------------------------------------------- */

/* Rank 0 makes the folder and the index of rows, where the other ranks then find them. */
static km_status prepare(measurement *all, const km_variance_input *input) {
    const km_parallel_config *parallel = &input->config.parallel;
    bool root = is_root(all);
    km_comm *comm = all->comm;
    KM_TRY(km_comm_agree(comm, km_threads_check(parallel->threads)));
    if (all->folder != NULL) {
        KM_TRY(km_comm_agree(comm, root ? km_lock_take(&all->lock, all->folder, &km_lock_standard) : KM_OK));
        KM_TRY(km_comm_agree(comm, root ? km_outputs_check(all->folder, "variance") : KM_OK));
    }
    KM_TRY(km_comm_agree(comm, root ? km_variance_plan_make(&all->plan, input, all->folder) : KM_OK));
    KM_TRY(km_comm_agree(comm, root ? KM_OK : km_variance_plan_make(&all->plan, input, all->folder)));
    if (all->folder != NULL) {
        KM_TRY(km_comm_agree(comm, root ? km_item_store_clean(all->folder, all->plan.key) : KM_OK));
    }
    KM_TRY(km_comm_agree(comm, km_item_store_open(&all->store, all->folder, km_comm_rank(comm), all->plan.key)));
    return km_comm_agree(comm, km_pool_create(&all->pool, (int)parallel->threads));
}

/* Rank 0 opens the models that are not the first, so that one that cannot be measured is known before hours of work. */
static km_status check_models(const measurement *all) {
    for (int m = 1; m < all->models; m++) {
        km_variance_model *measured = NULL;
        KM_TRY(km_variance_model_open(&measured, &all->plan, m));
        km_variance_model_close(measured);
    }
    return KM_OK;
}

static void announce(const measurement *all) {
    const km_variance_plan *plan = &all->plan;
    double gradients = 0;
    char total[32];
    for (int i = 0; i < km_variance_items(plan); i++) {
        gradients += km_variance_work(plan, i);
    }
    km_log(
        "variance over %d row(s), mini-batches of %d; %d combination(s) of unit and K; %s gradients for each of %d "
        "model(s), on %d rank(s) x %lld thread(s)",
        plan->row_count, plan->sequences, plan->cell_count, km_quantity(total, gradients), all->models,
        km_comm_size(all->comm), (long long)plan->config->parallel.threads);
}

static km_status run(measurement *all, const km_variance_input *input, km_json **out) {
    KM_TRY(prepare(all, input));
    all->models = KM_MAX(1, all->plan.models.count);
    all->findings = km_new((size_t)all->models, sizeof *all->findings);
    KM_TRY(km_comm_agree(all->comm, is_root(all) ? check_models(all) : KM_OK));
    announce(all);
    for (int m = 0; m < all->models; m++) {
        KM_TRY(measure_model(all, m));
    }
    km_status status = KM_OK;
    if (is_root(all) && all->folder != NULL) {
        status = km_variance_write(&all->plan, all->findings, all->models, all->folder);
    }
    KM_TRY(km_comm_agree(all->comm, status));
    if (is_root(all)) {
        *out = km_variance_json(&all->plan, all->findings, all->models, false);
    }
    return KM_OK;
}

km_status km_variance(km_comm *comm, const km_variance_input *input, const char *folder, km_json **out) {
    measurement all = {.comm = comm, .folder = folder, .started = km_seconds()};
    *out = NULL;
    km_signals_catch();
    km_kernel_start();
    km_status status = run(&all, input, out);
    for (int m = 0; all.findings != NULL && m < all.models; m++) {
        km_findings_free(&all.findings[m]);
    }
    free(all.findings);
    km_pool_destroy(all.pool);
    km_item_store_close(all.store);
    km_variance_plan_free(&all.plan);
    km_lock_release(all.lock);
    return status;
}
