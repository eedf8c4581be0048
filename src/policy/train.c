/* train: the training of a policy, from its config to its file. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_root(const km_policy_training *t) {
    return km_comm_rank(t->comm) == 0;
}

static bool is_meta(const km_policy_training *t) {
    return strcmp(t->input->policy.kind, "meta") == 0;
}

size_t km_training_example(const km_policy_training *t, uint64_t place) {
    const uint64_t n = t->train.count;
    return (size_t)km_order(place % n, n, (uint64_t)t->input->run.seed, place / n);
}

/* ---- What it starts from ---- */

/* The whole vocabulary of a file: a folder with a tokenizer and without a model, or a model. */
static km_status open_init(km_policy_training *t) {
    const char *init = t->input->policy.init;
    km_status status = km_bundle_open(&t->bundle, init);
    if (status == KM_OK) {
        t->tokenizer = t->bundle->tokenizer;
        t->init_hash = t->bundle->weights_hash;
        return KM_OK;
    }
    char *message = km_strdup(km_message());
    if (!is_meta(t) && km_tokenizer_open(&t->tokenizer, init) == KM_OK) {
        t->init_hash = km_tokenizer_hash(t->tokenizer);
        km_log("%s is a tokenizer alone: embeddings are fresh, %lld wide", init, (long long)t->input->policy.width);
        free(message);
        return KM_OK;
    }
    status = km_rephrase(KM_USAGE, "policy.init: %s", message);
    free(message);
    return status;
}

static km_status check_specials(const km_policy_training *t) {
    KM_TRY(km_tokenizer_can_mask(t->tokenizer, t->input->policy.init));
    const int64_t longest = t->bundle != NULL ? km_model_longest(&t->bundle->shape) : INT32_MAX;
    if (is_meta(t) && t->input->policy.length > longest) {
        return km_fail(KM_USAGE, "policy.length: %lld is more than the %lld positions of the model",
                       (long long)t->input->policy.length, (long long)longest);
    }
    return KM_OK;
}

static km_status make_net(km_policy_training *t) {
    const km_policy_config *c = &t->input->policy;
    const km_param *words = t->bundle != NULL ? km_model_words(t->bundle->model) : NULL;
    if (t->bundle != NULL && words == NULL) {
        return km_fail(KM_USAGE, "policy.init: %s has no word embeddings", c->init);
    }
    const km_policy_shape shape = {.kind = is_meta(t) ? KM_POLICY_META : KM_POLICY_SUPERVISED,
                                   .V = words != NULL ? (int)words->dims[0] : km_tokenizer_size(t->tokenizer),
                                   .C = words != NULL ? (int)words->dims[1] : (int)c->width,
                                   .H = (int)c->hidden,
                                   .L = (int)c->layers,
                                   .K = (int)c->kernel,
                                   .M = (int)c->hidden};
    return km_policy_net_create(&t->net, &shape);
}

static void scale_to(float *values, size_t count, double deviation) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)values[i] * (double)values[i];
    }
    const double scale = sum > 0 ? deviation / sqrt(sum / (double)count) : 0;
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)((double)values[i] * scale);
    }
}

/* The embeddings are the model's, the rest is drawn. */
static void set_weights(km_policy_training *t) {
    float *weights = t->parameters->weights;
    const km_param *embed = km_table_find(km_policy_net_table(t->net), "embed.weight");
    km_policy_net_init(t->net, weights, (uint64_t)t->input->run.seed);
    if (t->bundle != NULL) {
        const km_param *words = km_model_words(t->bundle->model);
        memcpy(weights + embed->offset, t->bundle->weights + words->offset, words->count * sizeof *weights);
    }
    if (t->input->policy.embedding_std > 0) {
        scale_to(weights + embed->offset, embed->count, t->input->policy.embedding_std);
    }
}

/* ---- Examples ---- */

static km_status hash_file(km_hasher *hasher, const char *path) {
    char *text = NULL;
    size_t size = 0;
    KM_TRY(km_text_read(&text, &size, path, (size_t)1 << 34));
    km_hasher_add(hasher, text, size);
    free(text);
    return KM_OK;
}

static km_status hash_examples(km_policy_training *t) {
    const km_policy_config *c = &t->input->policy;
    km_hasher *hasher = km_hasher_create();
    km_status status = hash_file(hasher, c->examples);
    status = status == KM_OK && c->dev[0] != '\0' ? hash_file(hasher, c->dev) : status;
    t->examples_hash = km_hasher_end(hasher);
    return status;
}

static km_status read_examples(km_policy_training *t) {
    const km_policy_config *c = &t->input->policy;
    const double share = is_meta(t) || c->dev[0] != '\0' ? 0 : c->dev_share;
    km_triples_options options = {
        .tokenizer = t->tokenizer, .length = (int)c->length, .answers = !is_meta(t), .least = share, .most = 2};
    KM_TRY(hash_examples(t));
    KM_TRY(km_triples_read(&t->train, c->examples, &options));
    options.least = 0;
    options.most = c->dev[0] != '\0' ? 2 : share;
    KM_TRY(is_meta(t) ? KM_OK : km_triples_read(&t->dev, c->dev[0] != '\0' ? c->dev : c->examples, &options));
    if (t->train.count == 0) {
        return km_fail(KM_FAILED, "%s: no example to train on; %zu have no answer in their context", c->examples,
                       t->train.without_answer);
    }
    return KM_OK;
}

static void log_examples(const km_policy_training *t) {
    km_log("%zu examples to train on, %zu held out; %zu left out, whose answer is not in the context's first %lld "
           "tokens",
           t->train.count, t->dev.count, t->train.without_answer + t->dev.without_answer,
           (long long)t->input->policy.length);
    if (t->train.cut > 0) {
        km_log("%zu texts were cut to policy.length %lld", t->train.cut, (long long)t->input->policy.length);
    }
}

/* ---- Setting up ---- */

static km_status prepare(km_policy_training *t) {
    const km_policy_config *c = &t->input->policy;
    KM_TRY(km_threads_check(t->input->parallel.threads));
    KM_TRY(open_init(t));
    KM_TRY(check_specials(t));
    KM_TRY(read_examples(t));
    KM_TRY(make_net(t));
    KM_TRY(km_pool_create(&t->pool, (int)t->input->parallel.threads));
    t->epoch_steps = (int64_t)((t->train.count + (uint64_t)c->batch - 1) / (uint64_t)c->batch);
    t->steps = t->epoch_steps * c->epochs;
    return km_allocate((void **)&t->best, km_policy_net_table(t->net)->size * sizeof *t->best,
                       "the best epoch's weights");
}

static km_status take_folder(km_policy_training *t, km_lock **lock) {
    const char *dir = t->input->run.dir;
    KM_TRY(km_make_folder(dir));
    KM_TRY(km_lock_take(lock, dir, &km_lock_standard));
    char *checkpoints = km_format("%s/checkpoints", dir);
    km_status status = km_make_folder(checkpoints);
    free(checkpoints);
    km_run_remove_unfinished(dir);
    return status;
}

static km_status write_config(const km_policy_training *t) {
    char *path = km_format("%s/config.json", t->input->run.dir);
    char *text = km_schema_print(&km_policy_schema, t->input);
    km_status status = km_file_replace(path, text, strlen(text));
    free(text);
    free(path);
    return status;
}

static km_status set_up(km_policy_training *t, km_lock **lock, km_metrics **metrics) {
    KM_TRY(km_comm_agree(t->comm, prepare(t)));
    log_examples(t);
    KM_TRY(km_comm_agree(t->comm, is_root(t) ? take_folder(t, lock) : KM_OK));
    KM_TRY(km_parameters_create(&t->parameters, t->comm, km_policy_net_table(t->net), false));
    set_weights(t);
    KM_TRY(km_comm_agree(t->comm, t->kind->begin(t)));
    KM_TRY(km_training_resume(t));
    KM_TRY(km_comm_agree(t->comm, is_root(t) ? write_config(t) : KM_OK));
    return km_comm_agree(
        t->comm, is_root(t) ? km_metrics_open(metrics, t->input->run.dir, t->step > 0 ? t->step : -1) : KM_OK);
}

static void tear_down(km_policy_training *t) {
    if (t->own != NULL) {
        t->kind->end(t);
    }
    km_parameters_destroy(t->parameters);
    km_pool_destroy(t->pool);
    km_policy_net_destroy(t->net);
    km_triples_free(&t->train);
    km_triples_free(&t->dev);
    if (t->bundle == NULL && t->tokenizer != NULL) {
        km_tokenizer_destroy(t->tokenizer);
    }
    km_bundle_close(t->bundle);
    free(t->best);
}

/* ---- Steps ---- */

static bool asked_to_stop(const km_policy_training *t, double started) {
    const double hours = t->input->run.max_hours;
    int64_t wishes = km_signals_stop() || (hours > 0 && km_seconds() - started > hours * 3600);
    km_comm_sum(t->comm, &wishes, 1);
    return wishes > 0;
}

static km_status make_step(km_policy_training *t, km_metrics *metrics) {
    const double start = km_seconds();
    km_json *line = km_json_object();
    km_heartbeat_step(t->comm, t->step + 1);
    (void)km_heartbeat_phase(t->comm, KM_COMPUTING);
    km_json_set_number(line, "step", (double)t->step + 1);
    km_json_set_number(line, "epoch",
                       (double)(t->step + 1) * (double)t->input->policy.batch / (double)t->train.count);
    km_status status = t->kind->step(t, line);
    if (status == KM_OK && t->kind->evaluate != NULL && (t->step % t->epoch_steps == 0 || t->step == t->steps)) {
        status = t->kind->evaluate(t, line);
    }
    km_json_set_number(line, "seconds", km_seconds() - start);
    if (status == KM_OK && metrics != NULL) {
        km_metrics_add(metrics, line);
    } else {
        km_json_destroy(line);
    }
    return status == KM_OK ? KM_OK : km_context(status, "step %lld", (long long)t->step + 1);
}

/* Whether policy.patience epochs have brought no better loss. */
static bool is_stale(const km_policy_training *t) {
    const int64_t patience = t->input->policy.patience;
    return t->kind->has_best && patience > 0 && t->best_step > 0 &&
           t->step - t->best_step >= patience * t->epoch_steps;
}

static km_status make_steps(km_policy_training *t, km_metrics *metrics) {
    const double started = km_seconds();
    const int64_t every = t->input->checkpoint.every;
    while (t->step < t->steps && !is_stale(t)) {
        if (asked_to_stop(t, started)) {
            KM_TRY(km_training_save(t, metrics));
            return km_fail(KM_STOPPED, "stopped after step %lld of %lld, with a checkpoint; run it again to go on",
                           (long long)t->step, (long long)t->steps);
        }
        KM_TRY(make_step(t, metrics));
        if (t->step % every == 0 || t->step % t->epoch_steps == 0 || t->step == t->steps) {
            KM_TRY(km_training_save(t, metrics));
        }
    }
    return KM_OK;
}

/* ---- The result ---- */

static km_status write_policy(km_policy_training *t, km_json **out) {
    const bool best = t->kind->has_best && t->best_step > 0;
    const float *weights = best ? t->best : t->parameters->weights;
    const km_policy_facts facts = {t->input, t->tokenizer, best ? t->best_step : t->step};
    char hash[33], *path = km_format("%s/policy.h5", t->input->run.dir);
    km_status status = km_policy_save(path, t->net, weights, &facts);
    km_hash_text(hash, km_table_hash(km_policy_net_table(t->net), weights));
    *out = km_json_object();
    km_json_set_string(*out, "kind", t->input->policy.kind);
    km_json_set_string(*out, "policy", path);
    km_json_set_number(*out, "step", (double)facts.step);
    km_json_set_number(*out, "examples", (double)t->train.count);
    km_json_set_number(*out, "held_out", (double)t->dev.count);
    km_json_set_number(*out, "left_out", (double)(t->train.without_answer + t->dev.without_answer));
    km_json_set_number(*out, "eval_loss", best ? t->best_loss : NAN);
    km_json_set_string(*out, "weights_hash", hash);
    free(path);
    return status;
}

km_status km_policy_train(km_comm *comm, const km_policy_input *input, km_json **out) {
    km_policy_training t = {.comm = comm, .input = input};
    km_lock *lock = NULL;
    km_metrics *metrics = NULL;
    *out = NULL;
    km_kernel_start();
    t.kind = strcmp(input->policy.kind, "meta") == 0 ? &km_training_meta : &km_training_supervised;
    km_heartbeat_start(comm, input->parallel.timeout, NULL, NULL);
    km_status status = set_up(&t, &lock, &metrics);
    status = status == KM_OK ? make_steps(&t, metrics) : status;
    if (status == KM_OK) {
        status = km_comm_agree(comm, is_root(&t) ? write_policy(&t, out) : KM_OK);
    }
    if (lock != NULL) {
        km_status_write(input->run.dir, status, status == KM_OK ? "" : km_message(), t.step, false);
    }
    km_heartbeat_stop(comm);
    km_metrics_close(metrics);
    km_lock_release(lock);
    tear_down(&t);
    return status;
}
