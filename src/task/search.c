/* search: which runs a config asks for, and the groups of ranks that work on them side by side. */
#include "search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOKENS = 1024, RECORD = 1 << 28 };

/* ---- Files ---- */

char *km_tuning_path(const km_search *search, const km_tuning *run, const char *ending) {
    return km_format("%s/runs/%s%s", search->input->run.dir, run->identity, ending);
}

km_json *km_tuning_record(const km_search *search, const km_tuning *run) {
    char *path = km_tuning_path(search, run, ".json");
    km_json *record = NULL;
    if (km_file_exists(path) && km_json_load(&record, path, RECORD) != KM_OK) {
        km_warn("%s The run is repeated.", km_message());
    }
    free(path);
    return record;
}

static km_status write_json(const char *path, const km_json *json, bool indented) {
    char *text = km_json_print(json, indented), *line = km_format("%s\n", text);
    km_status status = km_file_replace(path, line, strlen(line));
    free(line);
    free(text);
    return status;
}

bool km_tuning_is_best(const km_search *search, const km_tuning *run) {
    for (size_t i = 0; i < search->count; i++) {
        const km_tuning *other = &search->runs[i];
        if (other == run || other->diverged || other->init != run->init || other->lr != run->lr ||
            other->batch != run->batch) {
            continue;
        }
        km_json *record = km_tuning_record(search, other);
        const double score = km_json_number_or(record, "score", NAN);
        const bool has_model = record != NULL && km_json_get(record, "diverged") == NULL;
        const bool beaten =
            has_model && !km_score_better(run->score, score) && (km_score_better(score, run->score) || other < run);
        km_json_destroy(record);
        if (beaten) {
            return false;
        }
    }
    return true;
}

/* ---- What a run is ---- */

static void add_examples(km_hasher *hasher, const km_examples *examples) {
    km_hasher_add(hasher, examples->ids, examples->tokens * sizeof *examples->ids);
    for (size_t i = 0; examples->pairs != NULL && i < examples->count; i++) {
        const int32_t numbers[] = {examples->pairs[i].length, examples->pairs[i].target_length};
        km_hasher_add(hasher, numbers, sizeof numbers);
    }
    for (size_t i = 0; examples->items != NULL && i < examples->count; i++) {
        const km_example *e = &examples->items[i];
        const int32_t numbers[] = {e->length, e->second, e->label};
        km_hasher_add(hasher, numbers, sizeof numbers);
        km_hasher_add(hasher, &e->number, sizeof e->number);
    }
}

/* The masks that the model was pre-trained with, where its config says so; a safetensors folder has none. */
static void note_masks(km_origin *out, const km_bundle *bundle) {
    km_json *config = NULL;
    if (bundle->config != NULL &&
        km_json_parse(&config, bundle->config, strlen(bundle->config), "config") == KM_OK) {
        const km_json *mask = km_json_get(config, "mask");
        out->splits = (int64_t)km_json_number_or(mask, "splits", 0);
        snprintf(out->policy, sizeof out->policy, "%s", km_json_text(mask, "policy"));
        snprintf(out->unit, sizeof out->unit, "%s", km_json_text(mask, "unit"));
    }
    km_json_destroy(config);
    out->step = bundle->step;
}

static void add_texts(km_hasher *hasher, const char *const *texts, int count) {
    for (int i = 0; i < count; i++) {
        km_hasher_add(hasher, texts[i], strlen(texts[i]) + 1);
    }
}

/* What a model reads of a split, and by what it is scored. */
static void add_split(km_hasher *hasher, const km_tuner *tuner, int split) {
    const km_records *records = &tuner->task->records[split];
    add_examples(hasher, &tuner->examples[split]);
    for (size_t i = 0; i < records->count; i++) {
        add_texts(hasher, records->items[i].accepted, records->items[i].accepted_count);
        add_texts(hasher, records->items[i].options, records->items[i].option_count);
    }
}

static void add_model(km_hasher *hasher, const km_bundle *bundle) {
    const km_model_config *shape = &bundle->shape;
    const double dropout[] = {shape->hidden_dropout_prob, shape->attention_probs_dropout_prob};
    const double with_decoder[] = {shape->dropout, shape->attention_dropout, shape->activation_dropout};
    km_hasher_add(hasher, &bundle->weights_hash, sizeof bundle->weights_hash);
    km_hasher_add(hasher, dropout, sizeof dropout);
    if (bundle->classifier != NULL) {
        km_hasher_add(hasher, bundle->classifier, strlen(bundle->classifier));
    } else {
        km_hasher_add(hasher, with_decoder, sizeof with_decoder);
    }
}

static km_status find_origin(km_origin *out, const km_search *search, int init) {
    km_tuner tuner;
    const char *path = km_texts_at(&search->input->finetune.init, init);
    km_status status = km_tuner_open(&tuner, search->comm, search->task, search->input, path, KM_FRESH_SEED);
    if (status == KM_OK) {
        const km_examples *train = &tuner.examples[KM_TRAIN];
        km_hasher *hasher = km_hasher_create();
        add_model(hasher, tuner.bundle);
        for (int split = 0; split < KM_SPLITS; split++) {
            add_split(hasher, &tuner, split);
        }
        km_hash_text(out->hash, km_hasher_end(hasher));
        note_masks(out, tuner.bundle);
        out->mean = KM_MAX(train->tokens / train->count, 1);
        if (train->count > 0 && train->cut > 0) {
            km_log("%s: %llu of %zu training examples are longer than %lld tokens and cut", path,
                   (unsigned long long)train->cut, train->count, (long long)search->input->task.length);
        }
    }
    km_tuner_close(&tuner);
    return status;
}

static void complete(const km_search *search, km_tuning *run) {
    const km_origin *from = &search->origins[run->init];
    const km_finetune_config *f = &search->input->finetune;
    const double examples = (double)search->task->records[KM_TRAIN].count;
    run->steps = f->steps > 0 ? f->steps : (int64_t)ceil(f->epochs * examples / (double)run->batch - KM_ROUNDING);
    const int64_t fitting = (int64_t)KM_MAX(TOKENS / from->mean, 1), quarter = (run->batch + 3) / 4;
    run->micro_batch = KM_MIN(f->micro_batch > 0 ? f->micro_batch : KM_MIN(fitting, quarter), run->batch);
    km_buffer text = {0};
    km_buffer_print(&text, "1 %s %lld %.17g %lld %lld %lld", from->hash, (long long)run->seed, run->lr,
                    (long long)run->batch, (long long)run->steps, (long long)run->micro_batch);
    km_buffer_print(&text, " %s %.17g %.17g %.17g %.17g %.17g %.17g %lld %lld", f->schedule, f->warmup,
                    f->weight_decay, f->beta1, f->beta2, f->eps, f->clip, (long long)f->patience,
                    (long long)f->evaluate_every);
    for (int i = 0; i < search->task->metric_count; i++) {
        km_buffer_print(&text, " %s", km_metric_name(search->task->metrics[i]));
    }
    if (f->evaluate_epochs > 0) {
        km_buffer_print(&text, " %.17g", f->evaluate_epochs);
    }
    if (strcmp(f->precision, "fp32") != 0) {
        km_buffer_print(&text, " %s", f->precision);
    }
    if (search->task->kind->identify != NULL) {
        search->task->kind->identify(&text, search->input);
    }
    km_hash_text(run->identity, km_hash_bytes(text.data, text.size));
    km_buffer_free(&text);
}

static void add_runs(km_search *search, int init, double lr, int64_t batch) {
    const km_numbers *seeds = &search->input->finetune.seeds;
    search->runs = km_grow(search->runs, search->count + (size_t)seeds->count, sizeof *search->runs);
    for (int i = 0; i < seeds->count; i++) {
        search->runs[search->count++] =
            (km_tuning){.init = init, .seed = seeds->list[i], .lr = lr, .batch = batch, .score = NAN};
    }
}

/* ---- Which are finished ---- */

static void look_for_finished(km_search *search) {
    for (size_t i = 0; i < search->count; i++) {
        km_json *record = km_tuning_record(search, &search->runs[i]);
        search->runs[i].finished = record != NULL;
        search->runs[i].score = km_json_number_or(record, "score", NAN);
        search->runs[i].diverged = km_json_get(record, "diverged") != NULL;
        km_json_destroy(record);
    }
}

static void share_finished(km_search *search) {
    if (km_comm_rank(search->comm) == 0) {
        look_for_finished(search);
    }
    km_comm_broadcast(search->comm, search->runs, search->count * sizeof *search->runs);
}

/* ---- Groups ---- */

/* Which group makes which run, and who is in which group. */
typedef struct division {
    int groups, ranks_per_run;
    int *of_run; /* (count) -1: finished already, or found by an earlier run that is the same */
} division;

static int most_ranks(const km_search *search) {
    int64_t most = INT64_MAX;
    for (size_t i = 0; i < search->count; i++) {
        const km_tuning *run = &search->runs[i];
        most = KM_MIN(most, (run->batch + run->micro_batch - 1) / run->micro_batch);
    }
    return (int)KM_MIN(most, (int64_t)km_comm_size(search->comm));
}

/* The longest runs first, each to the group that has the least to do. */
static void assign(division *d, const km_search *search) {
    double *load = km_new((size_t)d->groups, sizeof *load);
    for (size_t done = 0; done < search->count; done++) {
        const km_tuning *longest = NULL;
        for (size_t i = 0; i < search->count; i++) {
            const km_tuning *run = &search->runs[i];
            if (d->of_run[i] == -2 &&
                (longest == NULL || run->steps * run->batch > longest->steps * longest->batch)) {
                longest = run;
            }
        }
        if (longest == NULL) {
            break;
        }
        int least = 0;
        for (int group = 1; group < d->groups; group++) {
            least = load[group] < load[least] ? group : least;
        }
        load[least] += (double)longest->steps * (double)longest->batch;
        d->of_run[longest - search->runs] = least;
    }
    free(load);
}

/* Whether an earlier run finds the same, as with two inits of equal weights. They share a record, which only one group may write. */
static bool is_repeated(const km_search *search, size_t run) {
    for (size_t i = 0; i < run; i++) {
        if (strcmp(search->runs[i].identity, search->runs[run].identity) == 0) {
            return true;
        }
    }
    return false;
}

static km_status divide(division *d, const km_search *search) {
    const int ranks = km_comm_size(search->comm), most = most_ranks(search);
    const int64_t wanted = search->input->finetune.ranks_per_run;
    size_t open = 0;
    d->of_run = km_new(search->count, sizeof *d->of_run);
    for (size_t i = 0; i < search->count; i++) {
        const bool done = search->runs[i].finished || is_repeated(search, i);
        d->of_run[i] = done ? -1 : -2; /* -2: not assigned yet */
        open += !done;
    }
    if (wanted > most) {
        return km_fail(
            KM_USAGE,
            "finetune.ranks_per_run: found %lld, expected at most %d: the ranks, and a run's micro-batches of "
            "a step. Lower finetune.micro_batch for more of these.",
            (long long)wanted, most);
    }
    d->ranks_per_run = wanted > 0 ? (int)wanted : KM_MAX(1, KM_MIN(most, ranks / (int)KM_MAX(open, 1)));
    d->groups = KM_MAX(1, ranks / d->ranks_per_run);
    assign(d, search);
    if (open > 0 && d->groups * d->ranks_per_run < ranks) {
        km_log("%d of %d ranks have nothing to do: %d groups of %d work on runs",
               ranks - d->groups * d->ranks_per_run, ranks, d->groups, d->ranks_per_run);
    }
    return KM_OK;
}

/* ---- Making runs ---- */

/* The model first, so that a record is never without the model that it may need. */
static km_status keep(const km_search *search, const km_tuning *run, const km_tuner *tuner, const km_json *record) {
    char *model = km_tuning_path(search, run, ".h5"), *path = km_tuning_path(search, run, ".json");
    const bool saves = !run->diverged && km_tuning_is_best(search, run);
    km_status status = saves ? km_bundle_save(tuner->bundle, model) : KM_OK;
    status = status == KM_OK ? write_json(path, record, false) : status;
    free(path);
    free(model);
    return status;
}

static void say(const km_search *search, const km_tuning *run, const km_json *record) {
    const char *init = km_texts_at(&search->input->finetune.init, run->init);
    char *name =
        km_format("%s, lr %g, batch %lld, seed %lld", init, run->lr, (long long)run->batch, (long long)run->seed);
    if (run->diverged) {
        km_warn("%s: diverged at step %.0f of %lld", name, km_json_number_or(record, "diverged", 0),
                (long long)run->steps);
    } else {
        km_log("%s: dev %s %.4f at step %.0f", name, km_metric_name(search->task->metrics[0]), run->score,
               km_json_number_or(record, "best_step", 0));
    }
    free(name);
}

static km_status make_run(km_search *search, km_comm *group, km_tuning *run) {
    const char *init = km_texts_at(&search->input->finetune.init, run->init);
    km_tuner tuner = {0};
    km_json *record = NULL;
    km_status status =
        km_comm_agree(group, km_tuner_open(&tuner, group, search->task, search->input, init, (uint64_t)run->seed));
    status = status == KM_OK ? km_tuning_train(search, run, &tuner, &record) : status;
    if (status == KM_OK) {
        run->score = km_json_number_or(record, "score", NAN);
        run->diverged = km_json_get(record, "diverged") != NULL;
        status = km_comm_agree(group, km_comm_rank(group) == 0 ? keep(search, run, &tuner, record) : KM_OK);
    }
    if (status == KM_OK) {
        say(search, run, record);
    }
    km_json_destroy(record);
    km_tuner_close(&tuner);
    return status;
}

static km_status work(km_search *search, const division *d) {
    const int rank = km_comm_rank(search->comm), mine = rank / KM_MAX(d->ranks_per_run, 1);
    km_comm *group = km_comm_split(search->comm, mine);
    km_status status = KM_OK;
    for (size_t i = 0; i < search->count && status == KM_OK; i++) {
        if (d->of_run[i] == mine) {
            status = make_run(search, group, &search->runs[i]);
        }
    }
    km_comm_close(group);
    return status;
}

/* Makes the runs that are not finished. Collective. */
static km_status make_all(km_search *search) {
    division d = {0};
    share_finished(search);
    km_status status = km_comm_agree(search->comm, divide(&d, search));
    if (status == KM_OK) {
        status = km_comm_agree(search->comm, work(search, &d));
    }
    free(d.of_run);
    if (status == KM_OK) {
        share_finished(search);
    }
    return status;
}

/* ---- The search ---- */

static void complete_all(km_search *search) {
    for (size_t i = 0; i < search->count; i++) {
        complete(search, &search->runs[i]);
    }
}

static void add_grid(km_search *search, int init) {
    const km_finetune_config *f = &search->input->finetune;
    const bool all = strcmp(f->search, "grid") == 0;
    for (int lr = 0; lr < f->lr.count; lr++) {
        for (int batch = 0; batch < (all ? f->batch.count : 1); batch++) {
            add_runs(search, init, f->lr.list[lr], f->batch.list[batch]);
        }
    }
}

/* The other batches, with the learning rate that was best on dev with the first one. */
static void add_batches(km_search *search, int init) {
    const km_finetune_config *f = &search->input->finetune;
    const km_tuning *best = NULL;
    for (size_t i = 0; i < search->count; i++) {
        const km_tuning *run = &search->runs[i];
        if (run->init == init && (best == NULL || km_results_better(search, run, best))) {
            best = run;
        }
    }
    const double lr = best->lr;
    for (int batch = 1; batch < f->batch.count; batch++) {
        add_runs(search, init, lr, f->batch.list[batch]);
    }
}

static km_status find_origins(km_search *search) {
    const int count = search->input->finetune.init.count;
    km_status status = KM_OK;
    for (int i = 0; i < count && status == KM_OK; i++) {
        status = km_comm_agree(
            search->comm, km_comm_rank(search->comm) == 0 ? find_origin(&search->origins[i], search, i) : KM_OK);
    }
    km_comm_broadcast(search->comm, search->origins, (size_t)count * sizeof *search->origins);
    return status;
}

static km_status run_search(km_search *search) {
    const km_finetune_config *f = &search->input->finetune;
    for (int init = 0; init < f->init.count; init++) {
        add_grid(search, init);
    }
    complete_all(search);
    KM_TRY(make_all(search));
    if (strcmp(f->search, "lr_then_batch") == 0 && f->batch.count > 1) {
        for (int init = 0; init < f->init.count; init++) {
            add_batches(search, init);
        }
        complete_all(search);
        KM_TRY(make_all(search));
    }
    return KM_OK;
}

km_status km_search_run(km_search *search) {
    search->origins = km_new((size_t)search->input->finetune.init.count, sizeof *search->origins);
    KM_TRY(find_origins(search));
    return run_search(search);
}

km_status km_search_repeat(km_search *search, size_t run) {
    if (km_comm_rank(search->comm) == 0) {
        char *path = km_tuning_path(search, &search->runs[run], ".json");
        unlink(path);
        free(path);
    }
    return make_all(search);
}
