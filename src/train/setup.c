#include "setup.h"

#include "checkpoint.h"
#include "import.h"
#include "kmask/kernel.h"
#include "signals.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_root(const km_run *run) {
    return km_comm_rank(run->comm) == 0;
}

/* ---- The run folder ---- */

static km_status open_newest(km_run *run) {
    km_store_close(run->source);
    free(run->resume);
    run->resume = NULL;
    KM_TRY(km_newest_open(&run->source, &run->resume_step, run->config.run.dir));
    run->resume = run->source != NULL ? km_strdup(km_store_path(run->source)) : NULL;
    return KM_OK;
}

/* A log without a checkpoint: its run was interrupted before the first save. */
static void tell_of_lost_start(const km_run *run) {
    char *path = km_format("%s/metrics.jsonl", run->config.run.dir);
    if (run->resume == NULL && km_file_exists(path)) {
        km_log("the run in %s was interrupted before its first save: it starts at step 0 again",
               run->config.run.dir);
    }
    free(path);
}

static bool go_on_waiting(void *comm) {
    km_pulse_tick(comm);
    return !km_signals_stop();
}

/* Nothing more may be written: not even how it ended. */
static void end_at_once(const char *path) {
    km_log(
        "kmask: %s: another run has taken this run folder over while this process was stopped or out of reach; it "
        "ends now",
        path);
    _exit(KM_FAILED);
}

static km_status lock_folder(km_run *run) {
    km_lock_options options = km_lock_standard;
    options.go_on = go_on_waiting;
    options.payload = run->comm;
    options.lost = end_at_once;
    return km_lock_take(&run->lock, run->config.run.dir, &options);
}

/* Looks before it locks: a folder whose checkpoints are all damaged is left exactly as it is, and none is made for a
 * run that cannot start. Each file is read once: what is opened here is what config and weights come from. */
static km_status claim_folder(km_run *run) {
    const char *dir = run->config.run.dir;
    KM_TRY(open_newest(run));
    if (run->source == NULL && run->config.model.init[0] != '\0') {
        const char *init = run->config.model.init;
        KM_TRY(km_import_is_folder(init) ? km_import_open(&run->folder, init, (uint64_t)run->config.run.seed)
                                         : km_store_open(&run->source, init));
    }
    KM_TRY(lock_folder(run));
    km_generations now;
    KM_TRY(km_generations_list(&now, dir));
    int64_t newest = now.count > 0 ? now.items[0].step : -1;
    km_generations_free(&now);
    if (newest > run->resume_step) { /* the run that held the lock before us has gone on meanwhile, or damage */
        KM_TRY(open_newest(run));
    }
    tell_of_lost_start(run);
    km_remove_unfinished(dir);
    return KM_OK;
}

/* ---- Shapes and tokenizers from files ---- */

/* What a checkpoint or model.init says: its config and its tokenizer's hash. */
typedef struct origin {
    km_config config;
    char tokenizer_hash[33], corpus_hash[33];
} origin;

static void take_folder(origin *out, const km_bundle *folder) {
    out->config = folder->config;
    km_hash_text(out->tokenizer_hash, km_tokenizer_hash(folder->tokenizer));
}

static km_status read_origin(origin *out, const km_store *store) {
    const char *config = km_store_text(store, "config"), *hash = km_store_text(store, "tokenizer_hash");
    const char *corpus = km_store_text(store, "corpus_hash"), *path = km_store_path(store);
    if (config == NULL || hash == NULL) {
        return km_fail(KM_FAILED, "%s: found no config in it, expected a model or checkpoint", path);
    }
    snprintf(out->tokenizer_hash, sizeof out->tokenizer_hash, "%s", hash);
    snprintf(out->corpus_hash, sizeof out->corpus_hash, "%s", corpus == NULL ? "" : corpus);
    return km_config_parse(&out->config, config, path);
}

/* The model section becomes the origin's; dropout may be overridden where it was given. */
static void adopt_shape(km_config *config, const km_config *from) {
    km_model_config given = config->model;
    config->model = from->model;
    memcpy(config->model.init, given.init, sizeof given.init);
    memcpy(config->model.preset, given.preset, sizeof given.preset);
    if (km_config_given(config, "model.hidden_dropout_prob")) {
        config->model.hidden_dropout_prob = given.hidden_dropout_prob;
    }
    if (km_config_given(config, "model.attention_probs_dropout_prob")) {
        config->model.attention_probs_dropout_prob = given.attention_probs_dropout_prob;
    }
}

static km_status check_tokenizer(const km_corpus *corpus, const origin *from, const char *path) {
    char hash[33];
    km_hash_text(hash, km_tokenizer_hash(km_corpus_tokenizer(corpus)));
    if (strcmp(hash, from->tokenizer_hash) != 0) {
        return km_fail(
            KM_USAGE,
            "%s: built with another tokenizer (%s) than the model %s (%s). Build the corpus again with the "
            "model's tokenizer.",
            km_corpus_path(corpus), hash, path, from->tokenizer_hash);
    }
    return KM_OK;
}

static km_status check_resume(km_run *run, const origin *from) {
    char hash[33];
    km_hash_text(hash, km_corpus_hash(run->corpus));
    km_buffer changes = {0};
    km_status status = km_config_continues(&from->config, &run->config, &changes);
    if (status == KM_OK && strcmp(hash, from->corpus_hash) != 0) {
        status =
            km_fail(KM_USAGE,
                    "data.train: %s has other content (%s) than the corpus that the run in %s was started with "
                    "(%s). Give the same corpus, or a new run.dir with model.init = %s.",
                    km_corpus_path(run->corpus), hash, run->config.run.dir, from->corpus_hash, run->resume);
    }
    if (status == KM_OK && changes.size > 0) {
        km_log("changed since the run was started:\n%.*s", (int)changes.size - 1, changes.data); /* ends a line */
    }
    km_buffer_free(&changes);
    if (status == KM_OK) {
        km_buffer other = {0};
        km_checkpoint_compare_machine(&other, run->source);
        if (other.size > 0) {
            km_log("computed until now with %s: the bits may differ from those of an uninterrupted run",
                   other.data);
        }
        km_buffer_free(&other);
    }
    return status;
}

/* Rank 0: fills in what comes from files and checks it against them. */
static km_status resolve(km_run *run) {
    km_config *config = &run->config;
    const km_tokenizer *tokenizer = km_corpus_tokenizer(run->corpus);
    origin from;
    memset(&from, 0, sizeof from);
    if (run->source != NULL) {
        KM_TRY(read_origin(&from, run->source));
        KM_TRY(check_tokenizer(run->corpus, &from, km_store_path(run->source)));
    } else if (run->folder != NULL) {
        take_folder(&from, run->folder);
        KM_TRY(check_tokenizer(run->corpus, &from, config->model.init));
    }
    if (config->model.init[0] != '\0') {
        adopt_shape(config, &from.config);
    }
    if (config->model.vocab_size == 0) {
        config->model.vocab_size = km_tokenizer_size(tokenizer);
    }
    bool told =
        km_config_given(run->source != NULL || run->folder != NULL ? &from.config : config, "model.pad_token_id");
    if (!told) {
        config->model.pad_token_id = km_tokenizer_specials(tokenizer).pad;
    }
    if (config->model.vocab_size < km_tokenizer_size(tokenizer)) {
        return km_fail(KM_USAGE, "model.vocab_size: %lld is less than the %d pieces of the corpus' tokenizer",
                       (long long)config->model.vocab_size, km_tokenizer_size(tokenizer));
    }
    int64_t room = km_model_longest(&config->model);
    if (config->data.length > room) {
        return km_fail(KM_USAGE, "data.length: %lld is more than the %lld positions of the model",
                       (long long)config->data.length, (long long)room);
    }
    return run->resume != NULL ? check_resume(run, &from) : KM_OK;
}

/* ---- Data ---- */

static km_status open_corpora(km_run *run) {
    KM_TRY(km_corpus_open(&run->corpus, run->config.data.train));
    if (run->config.data.eval[0] == '\0') {
        return KM_OK;
    }
    KM_TRY(km_corpus_open(&run->eval_corpus, run->config.data.eval));
    if (!km_hash_equal(km_tokenizer_hash(km_corpus_tokenizer(run->corpus)),
                       km_tokenizer_hash(km_corpus_tokenizer(run->eval_corpus)))) {
        return km_fail(KM_USAGE, "data.eval: %s was built with another tokenizer than data.train: %s",
                       run->config.data.eval, run->config.data.train);
    }
    return KM_OK;
}

/* The rows' file lies in the run folder; its name tells what it depends on. */
static km_status open_rows(km_run *run) {
    const km_config *config = &run->config;
    km_rows_options options = {.length = (int)config->data.length, .min_units = (int)config->mask.splits};
    if (!km_packing_named(&options.packing, config->data.packing) ||
        !km_unit_named(&options.unit, config->mask.unit)) {
        return km_fail(KM_USAGE, "data.packing or mask.unit: unknown name");
    }
    char *file = km_format("%s/rows-%s-%s-%lld-%lld.idx", config->run.dir, config->data.packing, config->mask.unit,
                           (long long)config->data.length, (long long)config->mask.splits);
    km_status status = km_rows_open(&run->rows, run->corpus, &options, file);
    free(file);
    return status;
}

/* Rank 0 makes the file, the others find it. */
static km_status share_rows(km_run *run) {
    KM_TRY(km_comm_agree(run->comm, is_root(run) ? open_rows(run) : KM_OK));
    return km_comm_agree(run->comm, is_root(run) ? KM_OK : open_rows(run));
}

static km_status check_work(const km_run *run) {
    enum { MOST = 8192 }; /* see KM_FIXED_LIMIT */
    int batches = km_loader_micro_batches(run->loader), views = km_loader_views(run->loader);
    int ranks = km_comm_size(run->comm);
    if (batches < ranks) {
        return km_fail(
            KM_USAGE,
            "%d views a step in micro-batches of %lld are %d micro-batches, fewer than the %d ranks. Start "
            "at most %d ranks, raise train.sequences, or lower train.micro_batch in a new run.",
            views, (long long)run->config.train.micro_batch, batches, ranks, batches);
    }
    if (batches > MOST) {
        return km_fail(KM_USAGE,
                       "%d micro-batches a step are more than the %d that the gradient sum is made for. Raise "
                       "train.micro_batch.",
                       batches, MOST);
    }
    int64_t lanes = (int64_t)ranks * run->config.parallel.threads, rounds = (batches + lanes - 1) / lanes;
    if (batches % lanes != 0) {
        km_log("%d micro-batches on %d rank(s) x %lld thread(s) do not come out even: at most %.0f %% of the cores "
               "are "
               "at work",
               batches, ranks, (long long)run->config.parallel.threads,
               100.0 * (double)batches / (double)(rounds * lanes));
    }
    return KM_OK;
}

km_status km_run_make_loader(km_run *run) {
    const km_config *config = &run->config;
    km_loader_options options = {
        .seed = (uint64_t)config->run.seed,
        .sequences = (int)config->train.sequences,
        .micro_batch = (int)config->train.micro_batch,
        .mask = {.splits = (int)config->mask.splits, .ratio = config->mask.ratio},
        .policy = km_mask_policy_named(config->mask.policy),
        .over_epochs = strcmp(config->mask.over, "epochs") == 0,
        .replace_mask = config->mask.replace_mask,
        .replace_random = config->mask.replace_random,
    };
    if (options.policy == NULL || !km_unit_named(&options.mask.unit, config->mask.unit)) {
        return km_fail(KM_USAGE, "mask.policy or mask.unit: unknown name");
    }
    KM_TRY(km_loader_create(&run->loader, run->rows, run->corpus, &options));
    return check_work(run);
}

/* ---- Weights ---- */

static km_status first_weights(km_run *run) {
    km_trainer *t = run->trainer;
    if (run->source != NULL) {
        return km_weights_read(run->source, t->table, t->weights);
    }
    if (run->folder != NULL) {
        memcpy(t->weights, run->folder->weights, t->table->size * sizeof *t->weights);
        return KM_OK;
    }
    km_model_init_weights(run->model, t->weights, (uint64_t)run->config.run.seed);
    return KM_OK;
}

static km_status set_weights(km_run *run) {
    km_trainer *t = run->trainer;
    if (run->resume_step >= 0) {
        KM_TRY(km_checkpoint_load(t, run->source));
    } else {
        KM_TRY(km_comm_agree(run->comm, is_root(run) ? first_weights(run) : KM_OK));
        km_comm_broadcast(run->comm, t->weights, t->table->size * sizeof *t->weights);
    }
    km_store_close(run->source);
    km_bundle_close(run->folder);
    run->source = NULL;
    run->folder = NULL;
    return KM_OK;
}

static km_status write_config(const km_run *run) {
    char *path = km_format("%s/config.json", run->config.run.dir), *text = km_config_print(&run->config);
    km_status status = km_file_replace(path, text, strlen(text));
    free(text);
    free(path);
    return status;
}

km_status km_run_setup(km_run *run, km_comm *comm, const km_config *config) {
    *run = (km_run){.comm = comm, .config = *config, .resume_step = -1, .started = km_seconds()};
    km_kernel_start();
    KM_TRY(km_comm_agree(comm, km_threads_check(config->parallel.threads)));
    KM_TRY(km_comm_agree(comm, open_corpora(run)));
    KM_TRY(km_comm_agree(comm, is_root(run) ? claim_folder(run) : KM_OK));
    km_comm_broadcast(comm, &run->resume_step, sizeof run->resume_step);
    KM_TRY(km_comm_agree(comm, is_root(run) ? resolve(run) : KM_OK));
    km_comm_broadcast(comm, &run->config, sizeof run->config);
    KM_TRY(km_comm_agree(comm, km_model_create(&run->model, &run->config.model)));
    KM_TRY(share_rows(run));
    KM_TRY(km_comm_agree(comm, km_run_make_loader(run)));
    if (run->resume_step >= run->config.train.steps) {
        return KM_OK;
    }
    KM_TRY(km_trainer_create(&run->trainer, comm, &run->config, run->model, run->loader));
    KM_TRY(set_weights(run));
    KM_TRY(km_saver_create(&run->saver, run->trainer, run->corpus));
    KM_TRY(km_comm_agree(comm, is_root(run) ? km_saver_prove(run->saver) : KM_OK));
    KM_TRY(km_comm_agree(comm, is_root(run) ? write_config(run) : KM_OK));
    KM_TRY(km_comm_agree(comm, is_root(run) ? km_metrics_open(&run->metrics, run->config.run.dir, run->resume_step)
                                            : KM_OK));
    km_saver_set_metrics(run->saver, run->metrics);
    return KM_OK;
}

void km_run_teardown(km_run *run) {
    km_saver_destroy(run->saver);
    km_metrics_close(run->metrics);
    km_store_close(run->source);
    km_bundle_close(run->folder);
    km_trainer_destroy(run->trainer);
    if (run->loader != NULL) {
        km_loader_destroy(run->loader);
    }
    if (run->model != NULL) {
        km_model_destroy(run->model);
    }
    if (run->rows != NULL) {
        km_rows_close(run->rows);
    }
    if (run->eval_corpus != NULL) {
        km_corpus_close(run->eval_corpus);
    }
    if (run->corpus != NULL) {
        km_corpus_close(run->corpus);
    }
    free(run->resume);
    km_lock_release(run->lock);
}
