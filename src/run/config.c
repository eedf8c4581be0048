/* config: the sections that a run reads, values that follow from other keys, and checks of keys that must fit together. */
#include "kmask/run.h"

#include <string.h>

/* ---- Sections of its own ------------------------------------------------------------------------------------ */

#define AT(member) offsetof(km_run_config, member)
static const km_option run_options[] = {
    {"dir", KM_FILE, AT(dir), NULL, KM_REQUIRED, KM_MAY_CHANGE, .help = "the run folder; what is in it is resumed",
     .also = "output_dir|out_dir|outdir|save_dir|output|logging_dir|run_dir|default_root_dir"},
    {"seed", KM_INT, AT(seed), "0..9007199254740992", "1", KM_FIXED, .help = "of all randomness",
     .also = "random_seed|random_state|data_seed"},
    {"max_hours", KM_DOUBLE, AT(max_hours), ">0..", NULL, KM_MAY_CHANGE,
     .help = "stop in order, with a checkpoint, before this is over (status 75)",
     .also = "max_time|time_limit|stop_time_hours"},
};
#undef AT
KM_SECTION(km_run_section, "run", km_run_config, run_options);

#define AT(member) offsetof(km_checkpoint_config, member)
static const km_option checkpoint_options[] = {
    {"every", KM_INT, AT(every), "1..1e9", "1000", KM_MAY_CHANGE,
     .help = "steps between checkpoints; the last step is always saved",
     .also = "save_steps|save_interval|save_every|save_interval_updates|save_checkpoints_steps|checkpoint_every|"
             "checkpoint_interval"},
    {"keep", KM_INT, AT(keep), "1..1000", "2", KM_MAY_CHANGE, .help = "newest checkpoints that stay",
     .also = "save_total_limit|keep_last|keep_last_n|keep_interval_updates|keep_checkpoint_max"},
    {"best", KM_FLAG, AT(best), NULL, "false", KM_MAY_CHANGE,
     .help =
         "checkpoints/best.h5 is the checkpoint with the lowest held-out loss; it stays until a lower one comes",
     .also = "load_best_model_at_end|save_best|keep_best|save_top_k"},
    {"snapshots", KM_EVERY, AT(snapshots), "1..1e9", NULL, KM_MAY_CHANGE,
     .help = "weights that stay for good: every so many steps, or at these"},
};
#undef AT
KM_SECTION(km_checkpoint_section, "checkpoint", km_checkpoint_config, checkpoint_options);

#define AT(member) offsetof(km_eval_config, member)
static const km_option eval_options[] = {
    {"every", KM_INT, AT(every), "0..1e9", "0", KM_MAY_CHANGE,
     .help = "steps between evaluations on data.eval; 0: only at the last",
     .also = "eval_steps|eval_interval|evaluation_steps|validate_interval|evaluate_every|eval_strategy|evaluation_"
             "strategy|eval_every"},
    {"patience", KM_INT, AT(patience), "0..1e9", "0", KM_MAY_CHANGE,
     .help = "end the run after so many evaluations without a new lowest held-out loss; 0: never",
     .also = "early_stopping_patience|early_stopping|early_stop"},
    {"ratio", KM_DOUBLE, AT(ratio), "0.001..1", "0.15", KM_MAY_CHANGE,
     .help = "every token is masked once in ceil(1/ratio) parts"},
};
#undef AT
KM_SECTION(km_eval_section, "eval", km_eval_config, eval_options);

#define AT(member) offsetof(km_log_config, member)
static const km_option log_options[] = {
    {"every", KM_INT, AT(every), "1..1e9", "1", KM_MAY_CHANGE, .help = "steps between lines of metrics.jsonl",
     .also = "logging_steps|log_interval|log_steps|log_every|log_every_n_steps|report_to"},
};
#undef AT
KM_SECTION(km_log_section, "log", km_log_config, log_options);

/* ---- All sections, in the order in which they are printed --------------------------------------------------- */

static const km_part parts[] = {
    {&km_run_section, offsetof(km_config, run)},
    {&km_model_section, offsetof(km_config, model)},
    {&km_data_section, offsetof(km_config, data)},
    {&km_mask_section, offsetof(km_config, mask)},
    {&km_train_section, offsetof(km_config, train)},
    {&km_optimizer_section, offsetof(km_config, optimizer)},
    {&km_schedule_section, offsetof(km_config, schedule)},
    {&km_checkpoint_section, offsetof(km_config, checkpoint)},
    {&km_eval_section, offsetof(km_config, eval)},
    {&km_parallel_section, offsetof(km_config, parallel)},
    {&km_log_section, offsetof(km_config, log)},
    {&km_proposal_section, offsetof(km_config, proposal)},
};
const km_schema km_config_schema = {
    .verb = "pretrain", .size = sizeof(km_config), .parts = parts, .count = KM_COUNT(parts)};

/* ---- Reading ------------------------------------------------------------------------------------------------ */

km_status km_config_settle_target(km_config *config) {
    char model[KM_WORD + 16];
    snprintf(model, sizeof model, "model.type %s", config->model.type);
    return km_mask_resolve_target(&config->mask, model, km_model_decoder_start(&config->model) >= 0);
}

km_status km_config_settle(km_config *config) {
    km_model_resolve(&config->model);
    km_train_resolve(&config->train, &config->optimizer, config->data.length);
    km_mask_resolve(&config->mask);
    if (km_architecture_named(config->model.type) != NULL) {
        KM_TRY(km_config_settle_target(config));
    }
    KM_TRY(km_mask_config_check(&config->mask));
    KM_TRY(km_model_config_check(&config->model, config->data.length));
    KM_TRY(km_schedule_check(&config->schedule, &config->train));
    if (config->proposal.kernel % 2 == 0 && config->proposal.kernel > 0) {
        return km_fail(KM_USAGE,
                       "proposal.kernel: found %lld, expected an odd number: a token and as many on either side",
                       (long long)config->proposal.kernel);
    }
    if (config->eval.every > 0 && config->data.eval[0] == '\0') {
        return km_fail(KM_USAGE, "eval.every: found %lld without data.eval. Give a corpus to evaluate on.",
                       (long long)config->eval.every);
    }
    if (config->eval.patience > 0 && config->eval.every == 0) {
        return km_fail(KM_USAGE, "eval.patience: found %lld without eval.every. Say how often to evaluate.",
                       (long long)config->eval.patience);
    }
    if (config->checkpoint.best && config->data.eval[0] == '\0') {
        return km_fail(KM_USAGE, "checkpoint.best: found true without data.eval. Give a corpus to evaluate on.");
    }
    if (config->optimizer.init && config->model.init[0] == '\0') {
        return km_fail(
            KM_USAGE,
            "optimizer.init: found true without model.init. Name the checkpoint whose moments are taken.");
    }
    return KM_OK;
}

static km_status finish(km_config *config, bool partial) {
    if (!partial) {
        KM_TRY(km_schema_require(&km_config_schema, config, NULL));
        KM_TRY(km_model_config_check_given(&config->model));
    }
    KM_TRY(km_schema_fill(&km_config_schema, config));
    return km_config_settle(config);
}

km_status km_config_load(km_config *out, const km_config_source *source, bool partial) {
    KM_TRY(km_schema_read(&km_config_schema, out, source));
    km_status status = finish(out, partial);
    return status == KM_OK || source->path == NULL ? status : km_context(status, "%s", source->path);
}

km_status km_config_parse(km_config *out, const char *json, const char *origin) {
    KM_TRY(km_schema_parse(&km_config_schema, out, json, origin));
    km_status status = finish(out, true);
    return status == KM_OK ? KM_OK : km_context(status, "%s", origin);
}

char *km_config_print(const km_config *config) {
    return km_schema_print(&km_config_schema, config);
}

/* ---- Resuming ----------------------------------------------------------------------------------------------- */

km_status km_config_continues(const km_config *was, const km_config *now, km_buffer *changes) {
    km_buffer refused = {0};
    km_status status = KM_OK;
    km_schema_compare(&km_config_schema, was, now, &refused, changes);
    if (refused.size > 0) {
        status =
            km_fail(KM_USAGE,
                    "%s: the run in %s cannot go on with other values than it was started with. Set them back, "
                    "or start a new run.dir with model.init = its newest checkpoint.",
                    refused.data, now->run.dir);
    }
    km_buffer_free(&refused);
    return status;
}

km_status km_config_evaluation(km_eval_options *out, const km_config *config) {
    km_masking masking;
    KM_TRY(km_masking_of(&masking, &config->mask, km_model_decoder_start(&config->model)));
    *out = (km_eval_options){.length = (int)config->data.length,
                             .views = {.ratio = config->eval.ratio,
                                       .unit = masking.spec.unit,
                                       .seed = (uint64_t)config->run.seed,
                                       .target = masking.view.target,
                                       .decoder_start = masking.view.decoder_start}};
    return km_packing_named(&out->packing, config->data.packing) ? KM_OK
                                                                 : km_fail(KM_USAGE, "data.packing: unknown name");
}

km_trainer_options km_config_trainer(const km_config *config) {
    return (km_trainer_options){.seed = (uint64_t)config->run.seed,
                                .train = config->train,
                                .optimizer = config->optimizer,
                                .schedule = config->schedule,
                                .parallel = config->parallel,
                                .proposal_lr = config->proposal.lr};
}
