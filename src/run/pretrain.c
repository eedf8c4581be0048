/* pretrain: the main loop. It makes steps, evaluates, logs and saves, and ends in order. */
#include "best.h"
#include "checkpoint.h"
#include "checkpoint_files.h"
#include "deadline.h"
#include "folder.h"
#include "metrics.h"
#include "save.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the steps since the last line of metrics.jsonl add up to. */
typedef struct step_totals {
    int64_t steps, masked;
    double loss, grad_norm, seconds, comm_seconds, flops; /* loss: of all masked tokens */
    double proposal_loss, proposal_correlation;
} step_totals;

typedef struct training {
    km_run *run;
    km_progress *progress;
    step_totals totals;
    double rate;          /* tokens a second, of the last line */
    km_deadline deadline; /* rank 0 */
    double first_eval,
        last_eval;    /* held-out losses before the first update and of the last evaluation; NaN: none */
    km_hash hash;     /* rank 0: of the weights that were saved last */
    bool stopping;    /* the step that is done was the last of this start */
    bool unevaluated; /* an evaluation was broken off */
    bool is_best;     /* the last evaluation was the best so far */
} training;

static bool is_root(const training *t) {
    return km_comm_rank(t->run->comm) == 0;
}

static double step_tokens(const km_run *run) {
    return (double)km_reader_views(run->reader) * (double)run->config.data.length;
}

/* ---- Stopping in time ---- */

static bool evaluates_at(const km_run *run, int64_t step) {
    const km_config *config = &run->config;
    return run->eval_corpus != NULL &&
           (step == config->train.steps || (config->eval.every > 0 && step % config->eval.every == 0));
}

/* Whether the step or evaluation that begins now must be the last. The clock of rank 0 decides. */
static bool time_is_up(training *t, bool evaluates) {
    if (!is_root(t)) {
        return false;
    }
    double save = t->run->saver != NULL ? km_saver_seconds(t->run->saver) : 0;
    if (save > 0) {
        km_deadline_add_save(&t->deadline, save);
    }
    return km_deadline_reached(&t->deadline, km_seconds(), evaluates);
}

static bool wants_stop(void *payload) {
    return km_signals_stop() || time_is_up(payload, false);
}

static const char *why_stopped(const training *t) {
    if (km_signals_stop()) {
        return km_signals_name();
    }
    return km_deadline_reached(&t->deadline, km_seconds(), true) ? t->deadline.what : "a signal to another rank";
}

/* ---- Evaluation ---- */

/* Evaluates the weights that `step` has left. KM_STOPPED where the evaluation was broken off. */
static km_status evaluate(training *t, const float *weights, int64_t step, km_eval_result *result) {
    km_run *run = t->run;
    km_eval_options options;
    KM_TRY(km_config_evaluation(&options, &run->config));
    options.stop = wants_stop;
    options.payload = t;
    double start = km_seconds();
    KM_TRY(km_fault("train.evaluate"));
    km_status status = km_evaluate(run->comm, run->model, weights, run->eval_corpus, &options,
                                   (int)run->config.parallel.threads, result);
    if (t->progress != NULL) {
        km_progress_clear(t->progress);
    }
    if (status == KM_STOPPED) {
        km_log("step %lld: the evaluation is broken off by %s; whoever goes on begins with it", (long long)step,
               why_stopped(t));
        t->unevaluated = t->stopping = true;
    }
    KM_TRY(status);
    km_deadline_add_evaluation(&t->deadline, km_seconds() - start);
    t->last_eval = result->loss;
    t->is_best = km_best_add(&run->best, step, result);
    if (step == 0) {
        t->first_eval = result->loss;
    }
    km_log("step %lld: held-out loss %.4f, accuracy %.2f %% (%lld masked tokens; unigram entropy %.4f)",
           (long long)step, result->loss, 100.0 * result->accuracy, (long long)result->masked,
           result->unigram_entropy);
    if (step >= run->config.train.steps && is_root(t)) {
        km_evaluation_warn(result);
    }
    return KM_OK;
}

/* The weights that a run starts from may be its best. They have a checkpoint where it was resumed; else one is made. */
static void keep_start(training *t, int64_t step) {
    km_run *run = t->run;
    if (!t->is_best || !run->config.checkpoint.best) {
        return;
    }
    if (run->resume_step < 0) {
        const km_parameters *p = run->trainer->parameters;
        if (is_root(t)) {
            t->hash = km_table_hash(p->table, p->weights);
            km_saver_keep_best(run->saver);
        }
        km_saver_begin(run->saver, step, true, false, t->hash);
    } else if (is_root(t)) {
        km_best_catch_up(&run->best, run->config.run.dir);
    }
}

/* Makes up for the evaluation of the weights that the run starts from: the one before the first update, or one that was broken off. */
static km_status evaluate_start(training *t, const float *weights, int64_t step) {
    km_run *run = t->run;
    km_eval_result result = {0};
    KM_TRY(evaluate(t, weights, step, &result));
    KM_TRY(km_comm_agree(run->comm, is_root(t) ? km_metrics_add_eval(run->metrics, step, &result) : KM_OK));
    keep_start(t, step);
    return KM_OK;
}

/* Whether that evaluation is still missing in the log. Collective. */
static bool lacks_eval(const km_run *run, int64_t step) {
    bool lacks = false;
    if (km_comm_rank(run->comm) == 0) {
        lacks = (step == 0 || evaluates_at(run, step)) && run->eval_corpus != NULL &&
                km_metrics_lacks_eval(run->config.run.dir, step);
    }
    km_comm_broadcast(run->comm, &lacks, sizeof lacks);
    return lacks;
}

/* ---- Lines of the log ---- */

static void add_to_totals(training *t, const km_step_report *report) {
    step_totals *s = &t->totals;
    s->steps++;
    s->masked += report->masked;
    s->loss += report->loss * (double)report->masked;
    s->grad_norm += report->grad_norm;
    s->seconds += report->seconds;
    s->comm_seconds += report->comm_seconds;
    s->flops += report->flops;
    s->proposal_loss += report->proposal_loss;
    s->proposal_correlation += report->proposal_correlation;
}

static km_json *make_line(training *t, const km_step_report *report) {
    const km_run *run = t->run;
    const step_totals *s = &t->totals;
    double tokens = step_tokens(run), step = (double)run->trainer->step;
    t->rate = tokens * (double)s->steps / s->seconds;
    km_json *line = km_json_object();
    km_json_set_number(line, "step", step);
    km_json_set_number(line, "epoch",
                       step * (double)run->config.train.sequences / (double)km_rows_count(run->rows));
    km_json_set_number(line, "loss", s->loss / (double)KM_MAX(s->masked, 1));
    km_json_set_number(line, "lr", report->lr);
    km_json_set_number(line, "grad_norm", s->grad_norm / (double)s->steps);
    km_json_set_number(line, "tokens", step * tokens);
    km_json_set_number(line, "masked", (double)s->masked);
    km_json_set_number(line, "tokens_per_s", t->rate);
    km_json_set_number(line, "gflops", s->flops * 1e-9 / s->seconds);
    km_json_set_number(line, "seconds", s->seconds);
    km_json_set_number(line, "comm_seconds", s->comm_seconds);
    if (run->proposal != NULL) {
        km_json_set_number(line, "proposal_loss", s->proposal_loss / (double)s->steps);
        km_json_set_number(line, "proposal_correlation", s->proposal_correlation / (double)s->steps);
    }
    t->totals = (step_totals){0};
    return line;
}

static void show_progress(training *t, const km_step_report *report) {
    char rate[32];
    double now = t->totals.steps > 0 ? step_tokens(t->run) * (double)t->totals.steps / t->totals.seconds : t->rate;
    km_progress_update(t->progress, (uint64_t)t->run->trainer->step, "step %lld  loss %.4f  %s tokens/s",
                       (long long)t->run->trainer->step, report->loss, km_quantity(rate, now));
}

/* ---- Saving ---- */

/* The last save of this start. It is waited for and tried a few times, since no later one would make up for it. */
static km_status save_last(training *t, bool snapshot, bool best) {
    enum { TRIES = 4 };
    km_saver *saver = t->run->saver;
    km_status status = KM_OK;
    km_heartbeat_phase(t->run->comm, KM_SAVING);
    for (int i = 0; i < TRIES; i++) {
        if (best && is_root(t)) {
            km_saver_keep_best(saver);
        }
        km_saver_begin(saver, t->run->trainer->step, true, snapshot, t->hash);
        status = km_saver_confirm(saver);
        if (status == KM_OK || i + 1 == TRIES) {
            break;
        }
        if (km_fault("save.pause") == KM_OK) { /* tests do not wait */
            km_sleep((double)(1 << i));
        }
    }
    return status;
}

/* ---- After a step ---- */

/* What is due after the step that is done. */
typedef struct due {
    bool line; /* of metrics.jsonl */
    bool evaluation, checkpoint, snapshot;
    bool best; /* the checkpoint becomes best.h5 */
    bool last; /* the checkpoint is the last of this start */
} due;

static due due_after(const training *t, const km_step_report *report) {
    const km_config *config = &t->run->config;
    const int64_t step = t->run->trainer->step;
    due d = {.last = step == config->train.steps || t->stopping,
             .evaluation = evaluates_at(t->run, step),
             .snapshot = km_steps_has(&config->checkpoint.snapshots, step)};
    d.checkpoint = d.last || report->save > 0 || step % config->checkpoint.every == 0;
    d.line = d.checkpoint || d.snapshot || d.evaluation || step % config->log.every == 0;
    return d;
}

/* An evaluation that is broken off makes the checkpoint due, and the last; so does one that ends the run. The best one makes it due. */
static km_status add_evaluation(training *t, due *d, km_json *line) {
    km_eval_result result = {0};
    km_status status = evaluate(t, t->run->trainer->parameters->weights, t->run->trainer->step, &result);
    if (status == KM_STOPPED) {
        d->last = d->checkpoint = true;
        return KM_OK;
    }
    if (status == KM_OK) {
        km_metrics_set_eval(line, &result);
        d->best = t->is_best && t->run->config.checkpoint.best;
        d->last = d->last || km_best_ends(&t->run->best, &t->run->config);
        d->checkpoint = d->checkpoint || d->best || d->last;
    }
    return status;
}

static void add_hash(training *t, km_json *line) {
    const km_parameters *p = t->run->trainer->parameters;
    char text[33];
    t->hash = km_table_hash(p->table, p->weights);
    km_hash_text(text, t->hash);
    km_json_set_string(line, "weights_hash", text);
}

/* The line is handed to the log before the checkpoint begins: after a crash every step up to a checkpoint has its line. */
static km_status log_and_save(training *t, const km_step_report *report) {
    due d = due_after(t, report);
    if (!d.line) {
        return KM_OK;
    }
    km_json *line = make_line(t, report);
    km_status status = d.evaluation ? add_evaluation(t, &d, line) : KM_OK;
    if (is_root(t)) {
        if (d.checkpoint || d.snapshot) {
            add_hash(t, line);
        }
        km_metrics_add(t->run->metrics, line);
    } else {
        km_json_destroy(line);
    }
    KM_TRY(status);
    if (d.last) {
        return save_last(t, d.snapshot, d.best);
    }
    if (d.best && is_root(t)) {
        km_saver_keep_best(t->run->saver);
    }
    if (d.checkpoint || d.snapshot) {
        km_saver_begin(t->run->saver, t->run->trainer->step, d.checkpoint, d.snapshot, t->hash);
    }
    return KM_OK;
}

/* ---- The loop ---- */

/* Adds to the message of a step that failed what the user can do. */
static km_status name_last_good(const training *t, km_status status) {
    char *path = NULL;
    int64_t step = -1;
    km_error error = {0};
    km_error_copy(&error, status);
    bool there =
        is_root(t) && km_checkpoint_find_newest(&path, &step, t->run->config.run.dir) == KM_OK && path != NULL;
    status = km_error_raise(&error); /* looking for a checkpoint may have failed */
    km_error_clear(&error);
    char *newest =
        there ? km_format("The last good checkpoint is %s", path) : km_strdup("There is no checkpoint yet");
    status = km_rephrase(status, "%s. %s; lower optimizer.lr or look at these rows with `kmask corpus show`.",
                         km_message(), newest);
    free(newest);
    free(path);
    return status;
}

static km_status one_step(training *t) {
    km_step_report report = {0};
    KM_TRY(km_fault("train.step"));
    const km_step_wish wish = {.stop = km_signals_stop() ||
                                       time_is_up(t, evaluates_at(t->run, t->run->trainer->step + 1)),
                               .save = t->run->saver != NULL && km_saver_wants_retry(t->run->saver)};
    km_status status = km_trainer_step(t->run->trainer, wish, &report);
    if (status != KM_OK) {
        km_saver_finish(t->run->saver); /* what is on its way may be the last good one */
        return name_last_good(t, status);
    }
    km_saver_after_step(t->run->saver);
    km_deadline_add_step(&t->deadline, report.seconds);
    t->stopping = report.stop > 0;
    add_to_totals(t, &report);
    KM_TRY(log_and_save(t, &report));
    show_progress(t, &report);
    return KM_OK;
}

/* Where the evaluation before the first update is broken off, the weights that a new run starts from are saved, so that it can go on. */
static km_status evaluate_first(training *t) {
    km_run *run = t->run;
    int64_t step = run->trainer->step;
    if (!lacks_eval(run, step)) {
        return KM_OK;
    }
    km_status status = evaluate_start(t, run->trainer->parameters->weights, step);
    if (status == KM_STOPPED) {
        t->hash = km_table_hash(run->trainer->parameters->table, run->trainer->parameters->weights);
        status = run->resume_step < 0 ? save_last(t, false, false) : KM_OK;
    }
    return status;
}

/* Logs what is trained, on what, and from where. */
static void announce(const km_run *run) {
    const km_config *c = &run->config;
    const km_table *table = km_model_table(run->model);
    char parameters[32], rows[32];
    km_memory memory;
    km_log("%s, %s parameters, vocabulary %lld", c->model.type, km_quantity(parameters, (double)table->elements),
           (long long)c->model.vocab_size);
    const km_mask_policy *policy = km_mask_policy_named(c->mask.policy);
    const bool salient = policy != NULL && policy->needs_spans;
    km_log("%s rows of up to %lld tokens (%llu %s, left out); %s masks, K = %lld, unit %s",
           km_quantity(rows, (double)km_rows_count(run->rows)), (long long)c->data.length,
           (unsigned long long)km_rows_left_out(run->rows),
           salient ? "with too few names, dates and numbers" : "too short", c->mask.policy,
           (long long)c->mask.splits, salient ? km_unit_name(KM_UNIT_SALIENT) : c->mask.unit);
    km_log("%d views a step in %d micro-batches on %d rank(s) x %lld thread(s)", km_reader_views(run->reader),
           km_reader_micro_batches(run->reader), km_comm_size(run->comm), (long long)c->parallel.threads);
    km_run_memory(&memory, run, km_comm_rank(run->comm), km_comm_size(run->comm));
    char *text = km_memory_print(&memory);
    km_log("%s", text);
    free(text);
    if (run->resume_step >= 0) {
        km_log("resumed from %s at step %lld of %lld", run->resume_path, (long long)run->resume_step,
               (long long)c->train.steps);
    } else {
        km_log("a new run of %lld steps in %s", (long long)c->train.steps, c->run.dir);
    }
}

static bool out_of_patience(const training *t) {
    return km_best_ends(&t->run->best, &t->run->config);
}

static bool ends_early(const training *t) {
    return t->unevaluated ||
           (t->stopping && t->run->trainer->step < t->run->config.train.steps && !out_of_patience(t));
}

/* Logs which evaluation was the best, and where its weights are. */
static void tell_best(const training *t) {
    const km_run *run = t->run;
    char *file = km_best_path(run->config.run.dir);
    if (run->best.step >= 0 && (run->config.checkpoint.best || run->config.eval.patience > 0)) {
        const bool there = run->config.checkpoint.best && km_file_exists(file);
        km_log("the lowest held-out loss was %.4f, at step %lld%s%s", run->best.loss, (long long)run->best.step,
               there ? ": " : "", there ? file : "");
    }
    if (out_of_patience(t)) {
        km_log(
            "%lld evaluations since then were not better, so that eval.patience = %lld ends the run; a higher one "
            "lets it go on",
            (long long)run->best.since, (long long)run->config.eval.patience);
    }
    free(file);
}

/* Logs how the run ended: the last checkpoint, both losses, and commands that come next. */
static void conclude(const training *t) {
    const km_run *run = t->run;
    char hash[33], *path = km_checkpoint_path(run->config.run.dir, run->trainer->step);
    if (run->trainer->step > run->resume_step) { /* else the checkpoint was there already */
        km_hash_text(hash, t->hash);
        km_log("saved %s, weights_hash %s", path, hash);
    }
    if (ends_early(t)) {
        km_log("stopped by %s at step %lld of %lld; run the same command again to go on", why_stopped(t),
               (long long)run->trainer->step, (long long)run->config.train.steps);
        km_log("it ends with status 75, which launchers may call an aborted job: nothing is lost");
    } else {
        if (!isnan(t->last_eval) && !isnan(t->first_eval)) {
            km_log("held-out loss: %.4f before the first update, %.4f now", t->first_eval, t->last_eval);
        }
        tell_best(t);
        if (run->config.data.eval[0] != '\0') {
            km_log("next: kmask eval %s --corpus %s", path, run->config.data.eval);
        }
        km_log("next: kmask fill %s \"a sentence with a [MASK] in it\"", path);
    }
    free(path);
}

static km_status train_on(training *t) {
    km_run *run = t->run;
    KM_TRY(evaluate_first(t));
    t->progress = km_progress_create("pretrain", (uint64_t)run->trainer->step, (uint64_t)run->config.train.steps);
    km_trainer_prepare(run->trainer);
    while (run->trainer->step < run->config.train.steps && !t->stopping && !out_of_patience(t)) {
        KM_TRY(one_step(t));
    }
    return KM_OK;
}

static training begin_training(km_run *run) {
    training t = {.run = run, .first_eval = NAN, .last_eval = NAN};
    if (run->metrics != NULL) {
        t.first_eval = km_metrics_first_eval(run->metrics);
    }
    if (is_root(&t)) {
        const km_state state = km_run_state(run);
        const double bytes = (double)km_state_elements(&state, false, 0, 1) * sizeof(float);
        km_deadline_start(&t.deadline, run->config.run.max_hours, run->started);
        km_deadline_expect_save(&t.deadline, bytes, 0);
    }
    return t;
}

/* Writes status.json and returns the status of the whole run. */
static km_status end_with(const training *t, km_status status, int64_t step) {
    bool early = status == KM_STOPPED;
    if (is_root(t)) {
        const char *end = out_of_patience(t) ? "finished: no lower held-out loss within eval.patience" : "finished";
        const char *reason = early ? why_stopped(t) : status != KM_OK ? km_message() : end;
        km_status_write(t->run->config.run.dir, status, reason, step, false);
        km_run_note_end(t->run->config.run.dir, status, step);
    }
    return early ? km_fail(KM_STOPPED, "stopped early, a checkpoint is saved") : status;
}

/* One process without a launcher on a machine of many cores is mostly not what was meant. */
static void hint_at_cores(const km_run *run) {
    static const char *const launchers[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    enum { MANY = 4 };
    km_cpus allowed, cores;
    km_cpus_allowed(&allowed);
    km_cpus_cores(&cores, &allowed);
    double quota = km_cpu_quota();
    int count = km_cpus_count(&cores);
    count = quota > 0 && quota < count ? (int)quota : count;
    bool alone = km_comm_size(run->comm) == 1 && run->config.parallel.threads == 1;
    for (size_t i = 0; i < KM_COUNT(launchers); i++) {
        alone = alone && getenv(launchers[i]) == NULL;
    }
    if (alone && count >= MANY) {
        km_log("this is one process on one of %d cores; `mpirun -n %d kmask pretrain ...` uses all of them, with "
               "the same result",
               count, KM_MIN(count, km_reader_micro_batches(run->reader)));
    }
}

static km_status train(km_run *run) {
    announce(run);
    if (km_comm_rank(run->comm) == 0) {
        hint_at_cores(run);
        km_run_note_start(run);
    }
    training t = begin_training(run);
    km_status status = train_on(&t);
    if (t.progress != NULL) {
        km_progress_destroy(t.progress);
    }
    if (status == KM_OK && is_root(&t)) {
        conclude(&t);
    }
    return end_with(&t, status == KM_OK && ends_early(&t) ? KM_STOPPED : status, run->trainer->step);
}

/* The weights of the run that is done, on all ranks, and its log. The caller frees. */
static km_status read_weights(km_run *run, const km_table *table, float **weights) {
    bool root = km_comm_rank(run->comm) == 0;
    size_t bytes = table->size * sizeof **weights;
    KM_TRY(km_comm_agree(run->comm, km_allocate((void **)weights, bytes, "the weights")));
    KM_TRY(km_comm_agree(run->comm, root ? km_weights_read(run->start_file, table, *weights) : KM_OK));
    km_comm_broadcast(run->comm, *weights, bytes);
    return km_comm_agree(run->comm,
                         root ? km_metrics_open(&run->metrics, run->config.run.dir, run->resume_step) : KM_OK);
}

/* A run whose steps are all done may still lack the evaluation of the last. */
static km_status end_finished(km_run *run) {
    km_log("the run in %s is finished: step %lld of %lld. Raise %s to go on.", run->config.run.dir,
           (long long)run->resume_step, (long long)run->config.train.steps,
           run->resume_step < run->config.train.steps ? "eval.patience, which has ended it," : "train.steps");
    if (!lacks_eval(run, run->resume_step)) {
        return KM_OK;
    }
    km_log("its last evaluation was broken off, or never asked for: it comes now");
    training t = begin_training(run);
    float *weights = NULL;
    km_status status = read_weights(run, km_model_table(run->model), &weights);
    if (status == KM_OK) {
        status = evaluate_start(&t, weights, run->resume_step);
    }
    free(weights);
    return end_with(&t, status, run->resume_step);
}

/* The exit hook of the heartbeat, which has ended the run. */
static void write_last_status(void *payload, const char *reason, int64_t step) {
    km_status_write(payload, KM_FAILED, reason, step, true);
}

km_status km_pretrain(km_comm *comm, const km_config *config) {
    km_run run;
    km_heartbeat_start(comm, config->parallel.timeout, write_last_status, (void *)(uintptr_t)config->run.dir);
    km_heartbeat_phase(comm, KM_READING);
    km_signals_catch(); /* a signal that comes while files are still being read also ends the run with a saved step */
    km_status status = km_run_setup(&run, comm, config);
    if (status == KM_OK && run.trainer == NULL) {
        status = end_finished(&run);
    } else if (status == KM_OK) {
        status = train(&run);
    }
    km_heartbeat_phase(comm, KM_ENDING);
    km_run_teardown(&run);
    km_heartbeat_stop(comm);
    return status;
}
