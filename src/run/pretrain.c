/* pretrain: the main loop around km_trainer_step. */
#include "checkpoint.h"
#include "metrics.h"
#include "save.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What has gathered since the last line of metrics.jsonl. */
typedef struct span {
    int64_t steps, masked;
    double loss, grad_norm, seconds, comm_seconds, flops;
} span;

typedef struct loop {
    km_run *run;
    km_progress *progress;
    span line;
    double rate;                  /* tokens a second, of the last line or step */
    km_deadline deadline;         /* rank 0 */
    double first_eval, last_eval; /* NaN: none */
    km_hash hash;
    bool stopping;
    bool unevaluated; /* an evaluation was broken off */
} loop;

static bool is_root(const loop *l) {
    return km_comm_rank(l->run->comm) == 0;
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

/* Whether what begins now must be the last; rank 0's clock counts. */
static bool time_is_up(loop *l, bool evaluates) {
    if (!is_root(l)) {
        return false;
    }
    double save = l->run->saver != NULL ? km_saver_seconds(l->run->saver) : 0;
    if (save > 0) {
        km_deadline_add_save(&l->deadline, save);
    }
    return km_deadline_reached(&l->deadline, km_seconds(), evaluates);
}

static bool wants_stop(void *payload) {
    return km_signals_stop() || time_is_up(payload, false);
}

static const char *why_stopped(const loop *l) {
    if (km_signals_stop()) {
        return km_signals_name();
    }
    return km_deadline_reached(&l->deadline, km_seconds(), true) ? l->deadline.what : "a signal to another rank";
}

/* ---- Evaluation ---- */

/* `step`: whose weights they are. KM_STOPPED: broken off. */
static km_status evaluate(loop *l, const float *weights, int64_t step, km_eval_result *result) {
    km_run *run = l->run;
    km_eval_options options = {.length = (int)run->config.data.length,
                               .ratio = run->config.eval.ratio,
                               .stop = wants_stop,
                               .payload = l,
                               .seed = (uint64_t)run->config.run.seed};
    if (!km_packing_named(&options.packing, run->config.data.packing) ||
        !km_unit_named(&options.unit, run->config.mask.unit)) {
        return km_fail(KM_USAGE, "data.packing or mask.unit: unknown name");
    }
    double start = km_seconds();
    KM_TRY(km_fault("train.evaluate"));
    km_status status = km_evaluate(run->comm, run->model, weights, run->eval_corpus, &options,
                                   (int)run->config.parallel.threads, result);
    if (l->progress != NULL) {
        km_progress_clear(l->progress);
    }
    if (status == KM_STOPPED) {
        km_log("step %lld: the evaluation is broken off by %s; whoever goes on begins with it", (long long)step,
               why_stopped(l));
        l->unevaluated = l->stopping = true;
    }
    KM_TRY(status);
    km_deadline_add_evaluation(&l->deadline, km_seconds() - start);
    l->last_eval = result->loss;
    if (step == 0) {
        l->first_eval = result->loss;
    }
    km_log("step %lld: held-out loss %.4f, accuracy %.2f %% (%lld masked tokens; unigram entropy %.4f)",
           (long long)step, result->loss, 100.0 * result->accuracy, (long long)result->masked,
           result->unigram_entropy);
    return KM_OK;
}

/* The evaluation that belongs to the weights that a run starts from, where the log lacks it: before the first update, or one
 * that was broken off. */
static km_status evaluate_late(loop *l, const float *weights, int64_t step) {
    km_run *run = l->run;
    km_eval_result result = {0};
    KM_TRY(evaluate(l, weights, step, &result));
    return km_comm_agree(
        run->comm, is_root(l) ? km_metrics_add_eval(run->metrics, step, result.loss, result.accuracy) : KM_OK);
}

static bool lacks_eval(const km_run *run, int64_t step) {
    bool lacks = false;
    if (km_comm_rank(run->comm) == 0) {
        lacks = (step == 0 || evaluates_at(run, step)) && run->eval_corpus != NULL &&
                km_log_lacks_eval(run->config.run.dir, step);
    }
    km_comm_broadcast(run->comm, &lacks, sizeof lacks);
    return lacks;
}

/* ---- Lines ---- */

static void gather(loop *l, const km_step_report *report) {
    span *s = &l->line;
    s->steps++;
    s->masked += report->masked;
    s->loss += report->loss * (double)report->masked;
    s->grad_norm += report->grad_norm;
    s->seconds += report->seconds;
    s->comm_seconds += report->comm_seconds;
    s->flops += report->flops;
}

static km_json *make_line(loop *l, const km_step_report *report) {
    const km_run *run = l->run;
    const span *s = &l->line;
    double tokens = step_tokens(run), step = (double)run->trainer->step;
    l->rate = tokens * (double)s->steps / s->seconds;
    km_json *line = km_json_object();
    km_json_set_number(line, "step", step);
    km_json_set_number(line, "epoch",
                       step * (double)run->config.train.sequences / (double)km_rows_count(run->rows));
    km_json_set_number(line, "loss", s->loss / (double)KM_MAX(s->masked, 1));
    km_json_set_number(line, "lr", report->lr);
    km_json_set_number(line, "grad_norm", s->grad_norm / (double)s->steps);
    km_json_set_number(line, "tokens", step * tokens);
    km_json_set_number(line, "masked", (double)s->masked);
    km_json_set_number(line, "tokens_per_s", l->rate);
    km_json_set_number(line, "gflops", s->flops * 1e-9 / s->seconds);
    km_json_set_number(line, "seconds", s->seconds);
    km_json_set_number(line, "comm_seconds", s->comm_seconds);
    l->line = (span){0};
    return line;
}

static void show_progress(loop *l, const km_step_report *report) {
    char rate[32];
    double now = l->line.steps > 0 ? step_tokens(l->run) * (double)l->line.steps / l->line.seconds : l->rate;
    km_progress_update(l->progress, (uint64_t)l->run->trainer->step, "step %lld  loss %.4f  %s tokens/s",
                       (long long)l->run->trainer->step, report->loss, km_quantity(rate, now));
}

/* ---- Saving ---- */

/* The last save is waited for, and tried a few times: nobody comes after it to make up for it. */
static km_status save_last(loop *l, bool snapshot) {
    enum { TRIES = 4 };
    km_saver *saver = l->run->saver;
    km_status status = KM_OK;
    km_heartbeat_phase(l->run->comm, KM_SAVING);
    for (int i = 0; i < TRIES; i++) {
        km_saver_begin(saver, l->run->trainer->step, true, snapshot, l->hash);
        status = km_saver_end(saver);
        if (status == KM_OK || i + 1 == TRIES) {
            break;
        }
        if (km_fault("save.pause") == KM_OK) { /* for tests that do not wait */
            km_sleep((double)(1 << i));
        }
    }
    return status;
}

/* The line goes to the disk before the checkpoint is committed: after a crash every step up to it has its line. */
static km_status record(loop *l, const km_step_report *report) {
    const km_config *config = &l->run->config;
    int64_t step = l->run->trainer->step;
    bool last = step == config->train.steps || l->stopping;
    bool checkpoint = last || report->save > 0 || step % config->checkpoint.every == 0;
    bool snapshot = km_steps_has(&config->checkpoint.snapshots, step);
    bool evaluates = evaluates_at(l->run, step);
    if (!checkpoint && !snapshot && !evaluates && step % config->log.every != 0) {
        return KM_OK;
    }
    km_json *line = make_line(l, report);
    km_eval_result result = {0};
    km_status status = evaluates ? evaluate(l, l->run->trainer->parameters->weights, step, &result) : KM_OK;
    if (status == KM_STOPPED) {
        status = KM_OK;
        last = checkpoint = true;
    } else if (status == KM_OK && evaluates) {
        km_json_set_number(line, "eval_loss", result.loss);
        km_json_set_number(line, "eval_accuracy", result.accuracy);
    }
    if (is_root(l)) {
        if (checkpoint || snapshot) {
            char text[33];
            l->hash = km_table_hash(l->run->trainer->parameters->table, l->run->trainer->parameters->weights);
            km_hash_text(text, l->hash);
            km_json_set_string(line, "weights_hash", text);
        }
        km_metrics_add(l->run->metrics, line);
    } else {
        km_json_destroy(line);
    }
    KM_TRY(status);
    if (!checkpoint && !snapshot) {
        return KM_OK;
    }
    if (last) {
        return save_last(l, snapshot);
    }
    km_saver_begin(l->run->saver, step, checkpoint, snapshot, l->hash);
    return KM_OK;
}

/* ---- The loop ---- */

static km_status name_last_good(const loop *l, km_status status) {
    char *path = NULL;
    int64_t step = -1;
    km_error error = {0};
    km_error_copy(&error, status);
    bool there = is_root(l) && km_newest_valid(&path, &step, l->run->config.run.dir) == KM_OK && path != NULL;
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

static km_status one_step(loop *l) {
    km_step_report report = {0};
    KM_TRY(km_fault("train.step"));
    const km_step_wish wish = {.stop = km_signals_stop() ||
                                       time_is_up(l, evaluates_at(l->run, l->run->trainer->step + 1)),
                               .save = l->run->saver != NULL && km_saver_wants(l->run->saver)};
    km_status status = km_trainer_step(l->run->trainer, wish, &report);
    if (status != KM_OK) {
        km_saver_settle(l->run->saver); /* what is on its way may be the last good one */
        return name_last_good(l, status);
    }
    km_saver_step(l->run->saver);
    km_deadline_add_step(&l->deadline, report.seconds);
    l->stopping = report.stop > 0;
    gather(l, &report);
    KM_TRY(record(l, &report));
    show_progress(l, &report);
    return KM_OK;
}

/* Broken off before the first save, the first weights are saved. */
static km_status evaluate_first(loop *l) {
    km_run *run = l->run;
    int64_t step = run->trainer->step;
    if (!lacks_eval(run, step)) {
        return KM_OK;
    }
    km_status status = evaluate_late(l, run->trainer->parameters->weights, step);
    if (status == KM_STOPPED) {
        l->hash = km_table_hash(run->trainer->parameters->table, run->trainer->parameters->weights);
        status = run->resume_step < 0 ? save_last(l, false) : KM_OK;
    }
    return status;
}

static void announce(const km_run *run) {
    const km_config *c = &run->config;
    const km_table *table = km_model_table(run->model);
    char parameters[32], rows[32];
    km_memory memory;
    km_log("%s, %s parameters, vocabulary %lld", c->model.type, km_quantity(parameters, (double)table->elements),
           (long long)c->model.vocab_size);
    km_log("%s rows of up to %lld tokens (%llu too short, left out); %s masks, K = %lld, unit %s",
           km_quantity(rows, (double)km_rows_count(run->rows)), (long long)c->data.length,
           (unsigned long long)km_rows_left_out(run->rows), c->mask.policy, (long long)c->mask.splits,
           c->mask.unit);
    km_log("%d views a step in %d micro-batches on %d rank(s) x %lld thread(s)", km_reader_views(run->reader),
           km_reader_micro_batches(run->reader), km_comm_size(run->comm), (long long)c->parallel.threads);
    km_run_memory(&memory, run, km_comm_rank(run->comm), km_comm_size(run->comm));
    char *text = km_memory_print(&memory);
    km_log("%s", text);
    free(text);
    if (run->resume_step >= 0) {
        km_log("resumed from %s at step %lld of %lld", run->resume, (long long)run->resume_step,
               (long long)c->train.steps);
    } else {
        km_log("a new run of %lld steps in %s", (long long)c->train.steps, c->run.dir);
    }
}

static bool ends_early(const loop *l) {
    return l->unevaluated || (l->stopping && l->run->trainer->step < l->run->config.train.steps);
}

/* The last lines: both losses, the file, the next commands. */
static void conclude(const loop *l) {
    const km_run *run = l->run;
    char hash[33], *path = km_checkpoint_path(run->config.run.dir, run->trainer->step);
    km_hash_text(hash, l->hash);
    km_log("saved %s, weights_hash %s", path, hash);
    if (ends_early(l)) {
        km_log("stopped by %s at step %lld of %lld; run the same command again to go on", why_stopped(l),
               (long long)run->trainer->step, (long long)run->config.train.steps);
    } else {
        if (!isnan(l->last_eval) && !isnan(l->first_eval)) {
            km_log("held-out loss: %.4f before the first update, %.4f now", l->first_eval, l->last_eval);
        }
        if (run->config.data.eval[0] != '\0') {
            km_log("next: kmask eval %s --corpus %s", path, run->config.data.eval);
        }
        km_log("next: kmask fill %s \"a sentence with a [MASK] in it\"", path);
    }
    free(path);
}

static km_status loop_on(loop *l) {
    km_run *run = l->run;
    KM_TRY(evaluate_first(l));
    l->progress = km_progress_create("pretrain", (uint64_t)run->trainer->step, (uint64_t)run->config.train.steps);
    km_trainer_prepare(run->trainer);
    while (run->trainer->step < run->config.train.steps && !l->stopping) {
        KM_TRY(one_step(l));
    }
    return KM_OK;
}

static loop make_loop(km_run *run) {
    loop l = {.run = run, .first_eval = NAN, .last_eval = NAN};
    if (run->metrics != NULL) {
        l.first_eval = km_metrics_first_eval(run->metrics);
    }
    if (is_root(&l)) {
        const double bytes = 3 * sizeof(float); /* a parameter's */
        km_deadline_start(&l.deadline, run->config.run.max_hours, run->started);
        km_deadline_expect_save(&l.deadline, bytes * (double)km_model_table(run->model)->size, 0);
    }
    return l;
}

/* With status.json. */
static km_status end_with(const loop *l, km_status status, int64_t step) {
    bool early = status == KM_STOPPED;
    if (is_root(l)) {
        const char *reason = early ? why_stopped(l) : status != KM_OK ? km_message() : "finished";
        km_status_write(l->run->config.run.dir, status, reason, step, false);
    }
    return early ? km_fail(KM_STOPPED, "stopped early, a checkpoint is saved") : status;
}

static km_status train(km_run *run) {
    announce(run);
    loop l = make_loop(run);
    km_status status = loop_on(&l);
    if (l.progress != NULL) {
        km_progress_destroy(l.progress);
    }
    if (status == KM_OK && is_root(&l)) {
        conclude(&l);
    }
    return end_with(&l, status == KM_OK && ends_early(&l) ? KM_STOPPED : status, run->trainer->step);
}

static km_status read_weights(km_run *run, const km_table *table, float **weights) {
    bool root = km_comm_rank(run->comm) == 0;
    size_t bytes = table->size * sizeof **weights;
    KM_TRY(km_comm_agree(run->comm, km_allocate((void **)weights, bytes, "the weights")));
    KM_TRY(km_comm_agree(run->comm, root ? km_weights_read(run->source, table, *weights) : KM_OK));
    km_comm_broadcast(run->comm, *weights, bytes);
    return km_comm_agree(run->comm,
                         root ? km_metrics_open(&run->metrics, run->config.run.dir, run->resume_step) : KM_OK);
}

/* All steps are done; what may be missing is the evaluation of the last. */
static km_status end_finished(km_run *run) {
    km_log("the run in %s is finished: step %lld of %lld. Raise train.steps to go on.", run->config.run.dir,
           (long long)run->resume_step, (long long)run->config.train.steps);
    if (!lacks_eval(run, run->resume_step)) {
        return KM_OK;
    }
    km_log("its last evaluation was broken off, or never asked for: it comes now");
    loop l = make_loop(run);
    float *weights = NULL;
    km_status status = read_weights(run, km_model_table(run->model), &weights);
    if (status == KM_OK) {
        status = evaluate_late(&l, weights, run->resume_step);
    }
    free(weights);
    return end_with(&l, status, run->resume_step);
}

/* The exit hook of the heartbeat, which has ended the run. */
static void write_last_status(void *payload, const char *reason, int64_t step) {
    km_status_write(payload, KM_FAILED, reason, step, true);
}

km_status km_pretrain(km_comm *comm, const km_config *config) {
    km_run run;
    km_heartbeat_start(comm, config->parallel.timeout, write_last_status, (void *)(uintptr_t)config->run.dir);
    km_heartbeat_phase(comm, KM_READING);
    km_signals_catch(); /* also what comes while files are read ends with a saved step */
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
