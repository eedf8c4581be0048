/* finetune: a search from its config to its results. */
#include "search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The chosen model ---- */

/* Whether the file is a model with these weights. */
static bool holds(const char *path, const char *hash) {
    km_store *store = NULL;
    if (!km_file_exists(path) || km_store_open(&store, path) != KM_OK) {
        return false;
    }
    const char *own = km_store_text(store, "weights_hash");
    const bool same = own != NULL && strcmp(own, hash) == 0;
    km_store_close(store);
    return same;
}

/* model.h5 becomes the chosen run's; *missing where neither it nor the run's own file is there. Other runs' models go. */
static km_status place_model(const km_search *search, size_t chosen, const char *hash, bool *missing) {
    char *model = km_format("%s/model.h5", search->input->run.dir);
    char *own = km_tuning_path(search, &search->runs[chosen], ".h5");
    km_status status = KM_OK;
    *missing = false;
    if (!holds(model, hash)) {
        *missing = !holds(own, hash);
        status = *missing ? KM_OK : km_file_commit(own, model);
    }
    for (size_t i = 0; i < search->count && status == KM_OK && !*missing; i++) {
        char *other = km_tuning_path(search, &search->runs[i], ".h5");
        unlink(other);
        free(other);
    }
    free(own);
    free(model);
    return status;
}

/* ---- Predictions ---- */

static km_status write_predictions(const km_search *search, int split, const km_outputs *outputs) {
    const km_task_kind *kind = search->task->kind;
    km_buffer text = {0};
    km_buffer_print(&text, "%s", kind->heading);
    for (size_t i = 0; i < outputs->count; i++) {
        kind->print(&text, search->task, split, i, outputs);
    }
    char *path = km_format("%s/predictions/%s%s", search->input->run.dir, km_split_names[split], kind->ending);
    km_status status = km_file_replace(path, text.data, text.size);
    free(path);
    km_buffer_free(&text);
    return status;
}

static km_status predict_split(const km_search *search, const km_tuner *tuner, int split) {
    km_outputs outputs;
    km_status status = km_tuner_predict(tuner, tuner->bundle->weights, split, &outputs);
    const bool writes = outputs.count > 0 && km_comm_rank(search->comm) == 0;
    if (status == KM_OK) {
        status = km_comm_agree(search->comm, writes ? write_predictions(search, split, &outputs) : KM_OK);
    }
    km_outputs_free(&outputs);
    return status;
}

/* Of the chosen model, by all ranks. */
static km_status predict(const km_search *search) {
    char *path = km_format("%s/model.h5", search->input->run.dir);
    km_tuner tuner = {0};
    km_status status = km_comm_agree(
        search->comm, km_tuner_open(&tuner, search->comm, search->task, search->input, path, KM_FRESH_SEED));
    for (int split = KM_DEV; split < KM_SPLITS && status == KM_OK; split++) {
        status = predict_split(search, &tuner, split);
    }
    km_tuner_close(&tuner);
    free(path);
    return status;
}

/* ---- Results ---- */

static km_status write_results(const km_search *search, km_json **out, size_t *chosen, bool *missing) {
    *out = km_results_make(search, chosen);
    const char *hash = km_json_text(km_json_get(*out, "chosen"), "weights_hash");
    if (*chosen < search->count) {
        KM_TRY(place_model(search, *chosen, hash, missing));
    }
    if (*missing) {
        km_json_destroy(*out);
        *out = NULL;
        return KM_OK;
    }
    char *text = km_json_print(*out, true), *line = km_format("%s\n", text);
    char *path = km_format("%s/results.json", search->input->run.dir);
    km_status status = km_file_replace(path, line, strlen(line));
    free(path);
    free(line);
    free(text);
    return status;
}

/* A model that somebody removed, or that another choice did not need before, is made once more. */
static km_status conclude(km_search *search, km_json **out) {
    for (int tries = 0; tries < 2; tries++) {
        uint64_t found[2] = {0, 0}; /* the chosen run; whether its model is missing */
        km_status status = KM_OK;
        if (km_comm_rank(search->comm) == 0) {
            size_t chosen = 0;
            bool missing = false;
            status = write_results(search, out, &chosen, &missing);
            found[0] = chosen;
            found[1] = missing;
        }
        KM_TRY(km_comm_agree(search->comm, status));
        km_comm_broadcast(search->comm, found, sizeof found);
        if (found[0] == search->count) {
            km_json_destroy(*out);
            *out = NULL;
            return km_fail(KM_FAILED,
                           "%s/results.json: all %zu runs diverged; expected one that ends. Lower finetune.lr, "
                           "or try finetune.warmup or finetune.clip.",
                           search->input->run.dir, search->count);
        }
        if (found[1] == 0) {
            return predict(search);
        }
        KM_TRY(km_search_repeat(search, (size_t)found[0]));
    }
    return km_fail(KM_FAILED, "%s/runs: the chosen run's model is not there although it was made",
                   search->input->run.dir);
}

static km_status make_folders(const km_finetune_input *input) {
    static const char *const names[] = {"runs", "predictions"};
    km_status status = KM_OK;
    for (size_t i = 0; i < KM_COUNT(names) && status == KM_OK; i++) {
        char *path = km_format("%s/%s", input->run.dir, names[i]);
        status = km_make_folder(path);
        free(path);
    }
    return status;
}

static km_status write_config(const km_finetune_input *input) {
    char *text = km_schema_print(&km_finetune_schema, input);
    char *path = km_format("%s/config.json", input->run.dir);
    km_status status = km_file_replace(path, text, strlen(text));
    free(path);
    free(text);
    return status;
}

/* Rank 0: the folder is this search's alone. */
static km_status take_folder(km_lock **lock, const km_finetune_input *input) {
    KM_TRY(km_make_folder(input->run.dir));
    KM_TRY(km_lock_take(lock, input->run.dir, &km_lock_standard));
    KM_TRY(make_folders(input));
    return write_config(input);
}

km_status km_finetune(km_comm *comm, const km_finetune_input *input, km_json **out) {
    km_task task = {0};
    km_lock *lock = NULL;
    *out = NULL;
    km_search search = {.input = input, .task = &task, .comm = comm, .started = km_seconds()};
    km_status status = km_comm_agree(comm, km_task_open(&task, &input->task));
    if (status == KM_OK) {
        status = km_comm_agree(comm, km_comm_rank(comm) == 0 ? take_folder(&lock, input) : KM_OK);
    }
    if (status == KM_OK) {
        km_heartbeat_start(comm, input->parallel.timeout, NULL, NULL);
        status = km_search_run(&search);
        status = status == KM_OK ? conclude(&search, out) : status;
        km_heartbeat_stop(comm);
    }
    km_lock_release(lock);
    km_task_free(&task);
    free(search.runs);
    free(search.origins);
    return status;
}
