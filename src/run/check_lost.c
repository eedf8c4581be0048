/* check_lost: a run folder whose checkpoints are gone although steps had been saved, so that a new start would overwrite what is left. */
#include "best.h"
#include "checkpoint_files.h"
#include "kmask/run.h"

#include "checkpoint.h"

#include <stdlib.h>
#include <string.h>

enum { STATUS_BYTES = 1 << 16, LINE_BYTES = 1 << 16 };

/* The step of status.json where it says that a start ended in order, with everything saved; else 0. */
static int64_t finished_step(const char *dir) {
    char *path = km_format("%s/status.json", dir);
    km_json *json = NULL;
    double status = -1, step = 0;
    if (km_file_exists(path) && km_json_load(&json, path, STATUS_BYTES) == KM_OK) {
        status = km_json_number_or(json, "status", -1);
        step = km_json_number_or(json, "step", 0);
    }
    const bool saved = (int)status == KM_OK || (int)status == KM_STOPPED;
    km_json_destroy(json);
    free(path);
    return saved && step > 0 ? (int64_t)step : 0;
}

/* The last step but two of which metrics.jsonl has a save; 0: none. A save's line is written first, then the save before it is waited
 * for, and then it begins: the last two may never have ended. */
static int64_t logged_step(const char *dir) {
    static const char key[] = "\"step\":";
    char *path = km_format("%s/metrics.jsonl", dir), *line = km_new(LINE_BYTES, 1);
    FILE *file = km_file_stream(path);
    int64_t saves[3] = {0}; /* the last three, the latest first */
    while (file != NULL && fgets(line, LINE_BYTES, file) != NULL) {
        const char *step = strstr(line, key);
        if (step != NULL && strstr(line, "\"weights_hash\":\"") != NULL) {
            saves[2] = saves[1];
            saves[1] = saves[0];
            saves[0] = strtoll(step + sizeof key - 1, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    free(line);
    free(path);
    return saves[2];
}

/* Whether a snapshot is one that this very run would write again: it was taken before the first checkpoint was due, and its config
 * can be continued by this one. */
static bool is_own(const km_config *config, const km_checkpoint_file *snapshot) {
    km_store *store = NULL;
    km_config *was = km_new(1, sizeof *was), *now = km_new(1, sizeof *now);
    *now = *config;
    bool own = snapshot->step < config->checkpoint.every && km_store_open(&store, snapshot->path) == KM_OK;
    if (own) {
        const char *text = km_store_text(store, "config");
        km_buffer changes = {0};
        own = text != NULL && km_config_parse(was, text, snapshot->path) == KM_OK;
        now->model = was->model; /* which is not yet filled in here */
        own = own && km_config_continues(was, now, &changes) == KM_OK;
        km_buffer_free(&changes);
    }
    km_store_close(store);
    free(was);
    free(now);
    return own;
}

static km_status refuse(const char *dir, int64_t step, const char *witness, const char *snapshot) {
    const char *hint = snapshot != NULL ? snapshot : "a model file that you have kept";
    return km_fail(
        KM_NO_CHECKPOINT,
        "%s: %s shows that step %lld was saved, but there is no file in %s/checkpoints: they were removed. "
        "Nothing was changed. Restore one; or name another run.dir, with model.init = %s to go on from there.",
        dir, witness, (long long)step, dir, hint);
}

km_status km_check_not_lost(const km_run *run) {
    const char *dir = run->config.run.dir;
    const int64_t finished = finished_step(dir), logged = logged_step(dir);
    km_checkpoint_files snapshots;
    KM_TRY(km_snapshot_files_list(&snapshots, dir));
    const km_checkpoint_file *newest = snapshots.count > 0 ? &snapshots.items[0] : NULL;
    char *best = km_best_path(dir);
    const bool has_best = km_file_exists(best);
    const char *path = has_best ? best : newest != NULL ? newest->path : NULL;
    km_status status = KM_OK;
    if (finished > 0) {
        status = refuse(dir, finished, "status.json", path);
    } else if (logged > 0) {
        status = refuse(dir, logged, "metrics.jsonl", path);
    } else if (newest != NULL && !is_own(&run->config, newest)) {
        status = refuse(dir, newest->step, "a snapshot", path);
    } else if (has_best) {
        status = km_fail(
            KM_NO_CHECKPOINT,
            "%s: the best checkpoint of a run is there, and no other: they were removed. Nothing was changed. "
            "Restore one; or name another run.dir, with model.init = %s to go on from there.",
            dir, best);
    }
    free(best);
    km_checkpoint_files_free(&snapshots);
    return status;
}
