/* check: the checks before the first step, which pre-training and a plan share. */
#include "best.h"
#include "checkpoint_files.h"
#include "kmask/run.h"

#include "checkpoint.h"
#include "folder.h"

#include <stdlib.h>
#include <string.h>

/* ---- What the run starts from ---- */

km_status km_check_resume(km_run *run) {
    km_store_close(run->start_file);
    free(run->resume_path);
    run->resume_path = NULL;
    KM_TRY(km_checkpoint_open_newest(&run->start_file, &run->resume_step, &run->newest_step, run->config.run.dir));
    run->resume_path = run->start_file != NULL ? km_strdup(km_store_path(run->start_file)) : NULL;
    km_best_read(&run->best, &run->config, run->resume_step);
    return KM_OK;
}

/* Opens model.init. */
static km_status open_init(km_run *run, const char *path) {
    KM_TRY(km_model_path_check(path));
    return km_import_is_folder(path) ? km_import_open(&run->start_folder, path, (uint64_t)run->config.run.seed)
                                     : km_store_open(&run->start_file, path);
}

/* What a new run starts from, for its log: the file, and the run and step that the file is of. */
static char *describe_init(const km_run *run, const char *path) {
    const km_store *store = run->start_file;
    const char *hash = store != NULL ? km_store_text(store, "weights_hash") : NULL;
    const char *config = store != NULL ? km_store_text(store, "config") : NULL;
    int64_t step = 0;
    if (store == NULL || hash == NULL || config == NULL || !km_store_number(store, "step", &step)) {
        return km_strdup(path);
    }
    km_config *was = km_new(1, sizeof *was);
    const bool of_run = km_config_parse(was, config, path) == KM_OK && was->run.dir[0] != '\0';
    char *text = of_run ? km_format("%s (step %lld of the run in %s, weights_hash %s)", path, (long long)step,
                                    was->run.dir, hash)
                        : km_format("%s (step %lld, weights_hash %s)", path, (long long)step, hash);
    free(was);
    return text;
}

km_status km_check_start(km_run *run) {
    KM_TRY(km_run_folder_check(run->config.run.dir));
    KM_TRY(km_check_resume(run));
    KM_TRY(run->start_file == NULL ? km_check_not_lost(run) : KM_OK);
    if (run->start_file != NULL || run->config.model.init[0] == '\0') {
        return KM_OK;
    }
    char *init = km_bundle_file_of(run->config.model.init);
    km_status status = open_init(run, init);
    if (status == KM_OK) {
        run->descent = describe_init(run, init);
    }
    free(init);
    return status;
}

/* ---- The config against that file ---- */

/* What the file that the run starts from says of itself. */
typedef struct start_facts {
    km_config config;
    char tokenizer_hash[33], corpus_hash[33];
} start_facts;

static void take_folder_facts(start_facts *out, const km_bundle *folder) {
    out->config.model = folder->shape;
    km_hash_text(out->tokenizer_hash, km_tokenizer_hash(folder->tokenizer));
}

static km_status read_facts(start_facts *out, const km_store *store) {
    const char *config = km_store_text(store, "config"), *hash = km_store_text(store, "tokenizer_hash");
    const char *corpus = km_store_text(store, "corpus_hash"), *path = km_store_path(store);
    if (config == NULL || hash == NULL) {
        return km_fail(KM_FAILED, "%s: found no config in it, expected a model or checkpoint", path);
    }
    snprintf(out->tokenizer_hash, sizeof out->tokenizer_hash, "%s", hash);
    snprintf(out->corpus_hash, sizeof out->corpus_hash, "%s", corpus == NULL ? "" : corpus);
    return km_config_parse(&out->config, config, path);
}

/* Takes over the section `model` of the file that the run starts from, apart from dropout where the run's own config gives it. */
static km_status adopt_shape(km_config *config, const km_config *from) {
    km_model_config given = config->model;
    config->model = from->model;
    memcpy(config->model.init, given.init, sizeof given.init);
    memcpy(config->model.preset, given.preset, sizeof given.preset);
    config->model.given = given.given;
    return km_model_take_dropout(&config->model, &given);
}

static km_status check_tokenizer(const km_corpus *corpus, const start_facts *from, const char *path) {
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

static km_status check_resume(km_run *run, const start_facts *from) {
    char hash[33];
    km_hash_text(hash, km_corpus_hash(run->corpus));
    km_buffer changes = {0};
    km_status status = km_config_continues(&from->config, &run->config, &changes);
    if (status == KM_OK && strcmp(hash, from->corpus_hash) != 0) {
        status =
            km_fail(KM_USAGE,
                    "data.train: %s has other content (%s) than the corpus that the run in %s was started with "
                    "(%s). Give the same corpus, or a new run.dir with model.init = %s.",
                    km_corpus_path(run->corpus), hash, run->config.run.dir, from->corpus_hash, run->resume_path);
    }
    if (status == KM_OK && changes.size > 0) {
        km_log("changed since the run was started:\n%.*s", (int)changes.size - 1, changes.data); /* ends a line */
    }
    km_buffer_free(&changes);
    if (status == KM_OK && run->comm != NULL) { /* a plan need not run on the machine that will compute */
        km_buffer other = {0};
        km_checkpoint_compare_machine(&other, run->start_file, &run->config);
        if (other.size > 0) {
            km_log("computed until now with %s: the bits may differ from those of an uninterrupted run",
                   other.data);
        }
        km_buffer_free(&other);
    }
    return status;
}

/* The documents of a held-out corpus must not be trained on. Two corpora that were split from each other share none by text, and so
 * few by ids that these are no sign of another origin. */
static km_status check_held_out(const km_run *run) {
    enum {
        LEAST = 16 /* tokens: shorter documents are alike by chance */,
        MOST = 100 /* one in so many */,
        MOST_SHORT = 2
    };
    uint64_t shared = 0, documents = 0, most = MOST;
    if (run->eval_corpus == NULL) {
        return KM_OK;
    }
    KM_TRY(km_corpus_shared(run->eval_corpus, run->corpus, LEAST, &shared, &documents));
    if (documents == 0) { /* all are short */
        KM_TRY(km_corpus_shared(run->eval_corpus, run->corpus, 1, &shared, &documents));
        most = MOST_SHORT;
    }
    if (shared * most > documents) {
        return km_fail(
            KM_USAGE,
            "data.eval: %llu of the %llu documents of %s are in data.train, %s, too: they are not held out. "
            "Build both in one go with `kmask corpus build --holdout`.",
            (unsigned long long)shared, (unsigned long long)documents, run->config.data.eval,
            run->config.data.train);
    }
    if (shared > 0) {
        km_warn("data.eval: %llu of the %llu documents of %s have the ids of documents in %s",
                (unsigned long long)shared, (unsigned long long)documents, run->config.data.eval,
                run->config.data.train);
    }
    return KM_OK;
}

/* Whether the file that a new run with optimizer.init starts from has moments. */
static km_status check_moments(const km_run *run, const start_facts *from) {
    const char *kind = run->start_file != NULL ? km_store_text(run->start_file, "kind") : NULL;
    if (kind == NULL || strcmp(kind, "checkpoint") != 0) {
        return km_fail(
            KM_USAGE,
            "optimizer.init: %s holds weights without AdamW's moments, expected a checkpoint "
            "(checkpoints/step-<number>.h5 of a run). Name one in model.init, or leave optimizer.init out.",
            run->start_file != NULL ? km_store_path(run->start_file) : run->config.model.init);
    }
    if (strcmp(from->config.train.loss_norm, run->config.train.loss_norm) != 0) {
        km_warn("optimizer.init: the moments are of gradients with train.loss_norm = %s, which are of another size "
                "than "
                "those with %s",
                from->config.train.loss_norm, run->config.train.loss_norm);
    }
    return KM_OK;
}

/* Logs what a new run descends from. */
static void log_descent(const km_run *run) {
    if (run->comm == NULL || run->descent == NULL) {
        return;
    }
    if (!run->config.optimizer.init) {
        km_log("the run in %s starts from the weights of %s; its moments are new, and its steps begin at 0",
               run->config.run.dir, run->descent);
        return;
    }
    int64_t step = 0;
    (void)km_store_number(run->start_file, "step", &step);
    km_log(
        "the run in %s starts from the weights and moments of %s; Adam's step count goes on from %lld, while the "
        "schedule and the order of rows begin at step 0",
        run->config.run.dir, run->descent, (long long)(km_state_earlier_updates(run->start_file) + step));
}

km_status km_check_config(km_run *run) {
    km_config *config = &run->config;
    const km_tokenizer *tokenizer = km_corpus_tokenizer(run->corpus);
    start_facts from;
    memset(&from, 0, sizeof from);
    if (run->start_file != NULL) {
        KM_TRY(read_facts(&from, run->start_file));
        KM_TRY(check_tokenizer(run->corpus, &from, km_store_path(run->start_file)));
    } else if (run->start_folder != NULL) {
        take_folder_facts(&from, run->start_folder);
        KM_TRY(check_tokenizer(run->corpus, &from, config->model.init));
    }
    const km_specials specials = km_tokenizer_specials(tokenizer); /* a config alone does not know them */
    km_model_take_tokens(&from.config.model, specials.pad, specials.sep);
    km_model_take_tokens(&config->model, specials.pad, specials.sep);
    if (config->model.init[0] != '\0') {
        KM_TRY(adopt_shape(config, &from.config));
    }
    KM_TRY(km_config_settle_target(config));
    if (config->model.vocab_size == 0) {
        config->model.vocab_size = km_tokenizer_size(tokenizer);
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
    if (run->resume_path != NULL) {
        KM_TRY(check_resume(run, &from));
        return strcmp(from.config.data.eval, config->data.eval) != 0 ? check_held_out(run) : KM_OK;
    }
    KM_TRY(config->optimizer.init ? check_moments(run, &from) : KM_OK);
    log_descent(run);
    return check_held_out(run);
}

/* ---- Data ---- */

km_status km_check_corpora(km_run *run) {
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

km_status km_check_rows(km_run *run, bool make) {
    const km_config *config = &run->config;
    km_masking masking;
    KM_TRY(km_masking_of(&masking, &config->mask, -1));
    km_rows_options options = {.length = (int)config->data.length,
                               .unit = km_masking_unit(&masking),
                               .min_units = masking.spec.splits,
                               .read_only = !make};
    if (!km_packing_named(&options.packing, config->data.packing)) {
        return km_fail(KM_USAGE, "data.packing: unknown name");
    }
    char *file = km_format("%s/rows-%s-%s-%d-%d.idx", config->run.dir, config->data.packing,
                           km_unit_name(options.unit), options.length, options.min_units);
    km_status status = km_rows_open(&run->rows, run->corpus, &options, file);
    free(file);
    return status;
}

km_status km_check_marks(km_run *run) {
    const km_config *config = &run->config;
    const km_mark_request request = {.flops = &run->mark_flops,
                                     .corpus = run->corpus,
                                     .rows = run->rows,
                                     .count = km_rows_count(run->rows),
                                     .folder = config->run.dir,
                                     .threads = (int)config->parallel.threads};
    return km_run_mark(&run->marks, run->comm, &config->mask, &request);
}

static km_status check_work(const km_run *run, int ranks) {
    enum { MOST = 8192 }; /* what the 64 bits of the gradient sum allow: see KM_FIXED_LIMIT */
    int batches = km_reader_micro_batches(run->reader), views = km_reader_views(run->reader);
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
    int64_t workers = (int64_t)ranks * run->config.parallel.threads, rounds = (batches + workers - 1) / workers;
    if (batches % workers != 0 && run->comm != NULL) {
        km_log("%d micro-batches on %d rank(s) x %lld thread(s) do not come out even: at most %.0f %% of the cores "
               "are "
               "at work",
               batches, ranks, (long long)run->config.parallel.threads,
               100.0 * (double)batches / (double)(rounds * workers));
    }
    return KM_OK;
}

km_status km_check_reader(km_run *run, int ranks) {
    const km_config *config = &run->config;
    km_masking masking;
    KM_TRY(km_masking_of(&masking, &config->mask, km_model_decoder_start(&config->model)));
    const int64_t views = config->train.sequences * (masking.over_epochs ? 1 : config->mask.splits);
    masking.spec.marks = run->marks;
    if (masking.policy->live) {
        KM_TRY(km_proposal_net_create(&run->proposal, &config->proposal, (int)config->model.vocab_size));
    }
    if (run->comm == NULL && (masking.policy->needs_model || masking.policy->live)) {
        /* A plan makes no marks and no scores: it counts the work of random masks, which hide as much as those of a live policy, and at
         * least as much as those from marks. */
        masking.spec.ratio = masking.policy->live ? masking.spec.ratio : 0.3;
        masking.policy = km_mask_policy_named("random");
    }
    km_source *source = NULL;
    KM_TRY(km_source_rows_create(&source, run->rows, run->corpus, &masking, (uint64_t)config->run.seed));
    KM_TRY(km_reader_create(&run->reader, source, views, config->train.micro_batch));
    return check_work(run, ranks);
}

/* ---- Weights ---- */

km_status km_check_weights(const km_run *run) {
    km_state state = km_run_state(run);
    if (run->start_file == NULL) {
        return KM_OK;
    }
    if (run->resume_path == NULL) {
        state.count = 1;
        state.networks[0].network.groups = run->config.optimizer.init ? KM_GROUPS : 1;
    }
    return km_state_check(&state, run->start_file);
}
