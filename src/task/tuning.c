/* tuning: one run of fine-tuning: steps, evaluations on dev, the best step, and test once. */
#include "search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct training {
    km_search *search;
    const km_tuning *run;
    km_tuner *tuner;
    km_reader *reader;
    km_trainer *trainer;
    float *best; /* the weights of the best step */
    int64_t best_step, every;
    double best_score;
    int64_t since_best; /* evaluations */
    int64_t diverged;   /* the step in which something was not finite; 0: none yet */
    km_json *losses, *evaluations, *dev;
} training;

/* ---- What a trainer has to know ---- */

static int64_t warmup_steps(double warmup, int64_t steps) {
    const double wanted = warmup < 1 ? ceil(warmup * (double)steps) : warmup;
    return (int64_t)KM_MIN(wanted, (double)steps);
}

static km_trainer_options options_of(const training *t) {
    const km_finetune_input *in = t->search->input;
    const km_finetune_config *f = &in->finetune;
    km_trainer_options options = {
        .seed = (uint64_t)t->run->seed,
        .parallel = in->parallel,
        .smoothing = {.share = f->label_smoothing, .among_others = strcmp(f->smoothing_form, "fairseq") == 0}};
    options.train = (km_train_config){.steps = t->run->steps,
                                      .sequences = t->run->batch,
                                      .micro_batch = t->run->micro_batch,
                                      .loss_norm = "tokens"};
    snprintf(options.train.precision, KM_WORD, "%s", f->precision);
    options.optimizer = (km_optimizer_config){.lr = t->run->lr,
                                              .beta1 = f->beta1,
                                              .beta2 = f->beta2,
                                              .eps = f->eps,
                                              .weight_decay = f->weight_decay,
                                              .clip = f->clip};
    options.schedule.warmup = warmup_steps(f->warmup, t->run->steps);
    snprintf(options.schedule.name, KM_WORD, "%s", f->schedule);
    return options;
}

static km_status make_reader(training *t) {
    km_source *source = NULL;
    KM_TRY(t->tuner->task->kind->make_source(&source, t->tuner, (uint64_t)t->run->seed));
    return km_reader_create(&t->reader, source, t->run->batch, t->run->micro_batch);
}

/* Updates between evaluations. */
static int64_t interval_of(const training *t) {
    const km_finetune_config *f = &t->search->input->finetune;
    const double updates = (double)t->tuner->examples[KM_TRAIN].count / (double)t->run->batch;
    return f->evaluate_every > 0    ? f->evaluate_every
           : f->evaluate_epochs > 0 ? (int64_t)KM_MAX(llrint(f->evaluate_epochs * updates), 1)
                                    : (int64_t)ceil(updates - KM_ROUNDING);
}

static km_status set_up(training *t) {
    km_bundle *bundle = t->tuner->bundle;
    const km_table *table = km_model_table(bundle->model);
    const km_trainer_options options = options_of(t);
    km_status status = make_reader(t);
    if (status == KM_OK) {
        status = km_products_check("finetune.precision", &options.train, &options.parallel, true);
    }
    if (status == KM_OK) {
        status = km_allocate((void **)&t->best, table->size * sizeof *t->best, "the weights of the best step");
    }
    KM_TRY(km_comm_agree(t->tuner->comm, status));
    KM_TRY(km_trainer_create(&t->trainer, t->tuner->comm, &options, bundle->model, t->reader));
    memcpy(t->trainer->parameters->weights, bundle->weights, table->size * sizeof(float));
    t->every = interval_of(t);
    t->best_score = NAN;
    return KM_OK;
}

static void tear_down(training *t) {
    km_trainer_destroy(t->trainer);
    km_reader_destroy(t->reader);
    km_json_destroy(t->losses);
    km_json_destroy(t->evaluations);
    km_json_destroy(t->dev);
    free(t->best);
}

/* ---- Steps ---- */

static bool all_finite(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return false;
        }
    }
    return true;
}

/* What the model says of dev becomes a line of the record, and its weights the best where no others were better. */
static void judge(training *t, const km_outputs *outputs) {
    const km_task *task = t->tuner->task;
    const double score = task->kind->score(task, KM_DEV, task->metrics[0], outputs);
    km_json *evaluation = km_json_object();
    km_json_set_number(evaluation, "step", (double)t->trainer->step);
    km_json_set(evaluation, "dev", km_tuner_scores(t->tuner, KM_DEV, outputs));
    km_json_push(t->evaluations, evaluation);
    t->since_best++;
    if (t->best_step == 0 || km_score_better(score, t->best_score)) {
        memcpy(t->best, t->trainer->parameters->weights,
               km_model_table(t->tuner->bundle->model)->size * sizeof *t->best);
        t->best_step = t->trainer->step;
        t->best_score = score;
        t->since_best = 0;
        km_json_destroy(t->dev);
        t->dev = km_tuner_scores(t->tuner, KM_DEV, outputs);
    }
}

static km_status evaluate(training *t) {
    km_outputs outputs;
    km_status status = km_tuner_predict(t->tuner, t->trainer->parameters->weights, KM_DEV, &outputs);
    if (status == KM_OK && all_finite(outputs.values, outputs.count * (size_t)outputs.width)) {
        judge(t, &outputs);
    } else if (status == KM_OK) {
        t->diverged = t->trainer->step;
    }
    km_outputs_free(&outputs);
    return status;
}

/* Whether this rank was asked to stop: by a signal, or because the time is up. */
static bool asked_to_stop(const km_search *search) {
    const double hours = search->input->run.max_hours;
    return km_signals_stop() || (hours > 0 && km_seconds() - search->started > hours * 3600);
}

static km_status train(training *t) {
    const int64_t patience = t->search->input->finetune.patience;
    km_trainer_prepare(t->trainer);
    while (t->trainer->step < t->run->steps) {
        km_step_report report = {0};
        const km_step_wish wish = {.stop = asked_to_stop(t->search)};
        const km_status status = km_trainer_step(t->trainer, wish, &report);
        if (report.diverged) {
            t->diverged = t->trainer->step + 1;
            return KM_OK;
        }
        KM_TRY(status);
        km_json_push_number(t->losses, report.loss);
        if (report.stop > 0) {
            return km_fail(KM_STOPPED,
                           "stopped in a run, which is made again from its start when the same command goes on; "
                           "runs that have finished are kept");
        }
        if (t->trainer->step % t->every == 0 || t->trainer->step == t->run->steps) {
            KM_TRY(evaluate(t));
            if (t->diverged > 0 || (patience > 0 && t->since_best >= patience)) {
                break;
            }
        }
    }
    return KM_OK;
}

/* ---- What it found ---- */

/* The best step's scores of a split; NULL where nothing is known of it. */
static km_status score_split(training *t, int split, km_json **out) {
    *out = NULL;
    if (t->tuner->examples[split].count == 0 || !t->tuner->task->labelled[split]) {
        return KM_OK;
    }
    km_outputs outputs;
    km_status status = km_tuner_predict(t->tuner, t->best, split, &outputs);
    *out = status == KM_OK ? km_tuner_scores(t->tuner, split, &outputs) : NULL;
    km_outputs_free(&outputs);
    return status;
}

/* The bundle's weights become those of the best step. */
static void take_best(training *t) {
    km_bundle *bundle = t->tuner->bundle;
    const km_table *table = km_model_table(bundle->model);
    memcpy(bundle->weights, t->best, table->size * sizeof(float));
    bundle->weights_hash = km_table_hash(table, bundle->weights);
    bundle->step = t->best_step;
}

static km_json *name_run(const training *t) {
    const km_tuning *run = t->run;
    km_json *record = km_json_object();
    km_json_set_string(record, "identity", run->identity);
    km_json_set_string(record, "init", km_texts_at(&t->search->input->finetune.init, run->init));
    km_json_set_number(record, "seed", (double)run->seed);
    km_json_set_number(record, "lr", run->lr);
    km_json_set_number(record, "batch", (double)run->batch);
    return record;
}

/* Scores of the splits that are scored once, by the best step. */
static km_status add_final_scores(km_json *record, training *t) {
    for (int split = KM_TEST; split < KM_SPLITS; split++) {
        km_json *scores = NULL;
        KM_TRY(score_split(t, split, &scores));
        if (scores != NULL) {
            km_json_set(record, km_split_names[split], scores);
        }
    }
    return KM_OK;
}

static void add_best(km_json *record, training *t) {
    char hash[33];
    km_hash_text(hash, t->tuner->bundle->weights_hash);
    km_json_set_number(record, "best_step", (double)t->best_step);
    km_json_set(record, "dev", t->dev);
    km_json_set_string(record, "weights_hash", hash);
    km_json_set_number(record, "score", t->best_score);
    t->dev = NULL; /* the record's now */
}

static km_status make_record(training *t, km_json **record) {
    *record = name_run(t);
    if (t->diverged > 0) {
        km_json_set_number(*record, "diverged", (double)t->diverged);
    } else {
        KM_TRY(add_final_scores(*record, t));
        take_best(t);
        add_best(*record, t);
    }
    km_json_set(*record, "evaluations", t->evaluations);
    km_json_set(*record, "losses", t->losses);
    t->evaluations = t->losses = NULL; /* the record's now */
    return KM_OK;
}

km_status km_tuning_train(km_search *search, const km_tuning *run, km_tuner *tuner, km_json **record) {
    training t = {
        .search = search, .run = run, .tuner = tuner, .losses = km_json_array(), .evaluations = km_json_array()};
    *record = NULL;
    km_status status = set_up(&t);
    status = status == KM_OK ? train(&t) : status;
    status = status == KM_OK ? make_record(&t, record) : status;
    tear_down(&t);
    return status == KM_OK || status == KM_STOPPED
               ? status
               : km_context(status, "run with lr %g, batch %lld, seed %lld of %s", run->lr, (long long)run->batch,
                            (long long)run->seed, km_texts_at(&search->input->finetune.init, run->init));
}
