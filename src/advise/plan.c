/* plan: makes all checks of a run, then says what it takes: disk, memory, hours. It uses no MPI and changes nothing. */
#include "plan.h"

#include "kmask/kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- The checks ---- */

/* Makes the checks of an evaluation. *flops: what one computes; *bytes: what it takes on a rank. */
static km_status check_evaluation(const km_run *run, double *flops, double *bytes) {
    if (run->eval_corpus == NULL) {
        return KM_OK;
    }
    const km_config *config = &run->config;
    km_eval_options evaluation;
    KM_TRY(km_config_evaluation(&evaluation, config));
    const km_rows_options options = {
        .length = evaluation.length, .packing = evaluation.packing, .unit = evaluation.views.unit, .min_units = 1};
    km_rows *rows = NULL;
    km_eval_views *views = NULL;
    km_status status = km_rows_open(&rows, run->eval_corpus, &options, NULL);
    if (status == KM_OK) {
        status = km_eval_views_create(&views, rows, run->eval_corpus, &evaluation.views);
    }
    const km_batch *batch = NULL;
    if (status == KM_OK) {
        status = km_eval_views_make(views, 0, &batch);
    }
    if (status == KM_OK) { /* it has no backward, which is two thirds of the work */
        const km_work_options forward = {.limits = km_eval_views_limits(views)};
        *flops = km_model_flops(run->model, batch) / 3 * (double)km_rows_count(rows);
        *bytes = (double)km_work_bytes(run->model, &forward) * (double)config->parallel.threads;
    }
    km_eval_views_destroy(views);
    km_rows_close(rows);
    return status;
}

/* Whether pre-training could open metrics.jsonl. */
static km_status check_log(const km_run *run) {
    char *path = km_format("%s/metrics.jsonl", run->config.run.dir);
    struct stat info;
    km_status status = KM_OK;
    if (stat(path, &info) == 0) {
        if (access(path, R_OK | W_OK) != 0) {
            status = km_fail_errno(errno, "%s: cannot open", path);
        } else if (!S_ISREG(info.st_mode)) {
            status = km_fail(KM_FAILED, "%s: found a device or pipe, expected a file", path);
        }
    }
    free(path);
    return status;
}

static km_status check_folders(const km_run *run) {
    char *path = km_format("%s/checkpoints", run->config.run.dir);
    km_status status = km_folder_check(path);
    if (status == KM_OK && km_file_exists(path) && access(path, W_OK | X_OK) != 0) {
        status = km_fail_errno(errno, "%s/room.h5.tmp: cannot create", path);
    }
    free(path);
    return status;
}

static km_status check_all(km_run *run, int ranks, km_scaling *scaling) {
    const int64_t assumed = scaling->options->tokens;
    km_kernel_start();
    KM_TRY(km_threads_check(run->config.parallel.threads));
    KM_TRY(km_products_check("train.precision", &run->config.train, &run->config.parallel, false));
    KM_TRY(assumed > 0 ? KM_OK : km_check_corpora(run));
    KM_TRY(km_check_start(run));
    KM_TRY(assumed > 0 ? km_plan_assume_corpus(run) : KM_OK);
    KM_TRY(km_lock_check(run->config.run.dir, &km_lock_standard));
    KM_TRY(km_check_config(run));
    KM_TRY(km_model_create(&run->model, &run->config.model, KM_HEAD_TOKENS));
    KM_TRY(km_check_rows(run, false));
    KM_TRY(assumed > 0 ? KM_OK : km_check_marks(run));
    KM_TRY(km_check_reader(run, ranks));
    KM_TRY(km_check_weights(run));
    KM_TRY(check_folders(run));
    KM_TRY(check_log(run));
    return check_evaluation(run, &scaling->eval_flops, &scaling->spare);
}

/* ---- The disk ---- */

static int64_t snapshots_of(const km_config *config, int64_t from) {
    int64_t count = 0;
    const km_steps *steps = &config->checkpoint.snapshots;
    if (steps->every > 0) {
        return config->train.steps / steps->every - from / steps->every;
    }
    for (int i = 0; i < steps->count; i++) {
        count += steps->list[i] > from && steps->list[i] <= config->train.steps;
    }
    return count;
}

/* Free bytes of the file system that the run folder is on, or will be on. */
static double room_at(const char *dir) {
    struct statvfs info;
    char *path = km_strdup(dir);
    while (statvfs(path, &info) != 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL || slash == path) {
            snprintf(path, 2, "%s", slash == path ? "/" : ".");
            if (statvfs(path, &info) != 0) {
                info = (struct statvfs){0};
            }
            break;
        }
        *slash = '\0';
    }
    free(path);
    return (double)info.f_bavail * (double)info.f_frsize;
}

static km_status add_disk(const km_run *run, double rows, km_json *out) {
    const km_config *config = &run->config;
    const double line = 400; /* bytes of a line of metrics.jsonl */
    int64_t left = config->train.steps - KM_MAX(run->resume_step, 0);
    double one = km_run_file_bytes(run, false), snapshot = km_run_file_bytes(run, true),
           room = room_at(config->run.dir);
    int64_t due = 0;
    KM_TRY(km_run_checkpoints_due(&due, config));
    double snapshots = snapshot * (double)snapshots_of(config, KM_MAX(run->resume_step, 0));
    int64_t lines = left / config->log.every;
    double rest = 16.0 * rows + line * (double)lines;
    km_json_set_number(out, "checkpoint_bytes", one);
    km_json_set_number(out, "snapshot_bytes", snapshot);
    km_json_set_number(out, "disk_bytes", one * (double)km_run_checkpoints_most(config) + snapshots + rest);
    km_json_set_number(out, "disk_room", room);
    if (room < one * (double)due) { /* snapshots and the log grow later */
        char size[32], has[32];
        return km_fail(
            KM_FAILED,
            "%s/checkpoints: no room for %lld checkpoint(s) of %sB, which checkpoint.keep = %lld and the one "
            "being written need at once: %sB are free. Make room, lower checkpoint.keep, or use another "
            "run.dir.",
            config->run.dir, (long long)due, km_quantity(size, one), (long long)config->checkpoint.keep,
            km_quantity(has, room));
    }
    return KM_OK;
}

/* ---- The work ---- */

static void add_work(const km_run *run, double rows, km_json *out) {
    const km_config *config = &run->config;
    double steps = (double)config->train.steps;
    km_json_set_boolean(out, "finished", km_run_is_finished(run));
    km_json_set_number(out, "resume_step", (double)run->resume_step);
    km_json_set_number(out, "steps", steps);
    km_json_set_string(out, "model", config->model.type);
    km_json_set_number(out, "parameters", (double)km_model_table(run->model)->elements);
    km_json_set_number(out, "rows", rows);
    km_json_set_number(out, "rows_left_out", (double)km_rows_left_out(run->rows));
    km_json_set_number(out, "views", km_reader_views(run->reader));
    km_json_set_number(out, "micro_batches", km_reader_micro_batches(run->reader));
    km_json_set_number(out, "tokens_a_step", (double)km_reader_views(run->reader) * (double)config->data.length);
    km_json_set_number(out, "epochs", steps * (double)config->train.sequences / rows);
}

static void add_rates(const km_core_rate *core, const km_plan_options *options, km_json *out) {
    km_json *one = km_json_object(), *net = km_json_object();
    km_json_set_boolean(one, "measured", core->measured);
    km_json_set_number(one, "cores", core->cores);
    km_json_set_number(one, "gflops", core->flops / core->micro_batch * 1e-9);
    km_json_set_number(one, "micro_batch_seconds", core->micro_batch);
    km_json_set_number(one, "micro_batch_gflop", core->flops * 1e-9);
    km_json_set_boolean(one, "direct", core->direct);
    km_json_set_number(one, "add_gbyte_per_s", core->add * 1e-9);
    km_json_set(out, "core", one);
    km_json_set_number(net, "gbyte_per_s", options->network * 1e-9);
    km_json_set_number(net, "latency_us", options->latency * 1e6);
    km_json_set_number(net, "memory_gbyte_per_s", options->memory * 1e-9);
    km_json_set(out, "network", net);
}

/* What a learned policy takes to mark the rows: once, by all cores, before the first step. */
static void add_marks(const km_scaling *s, km_json *out) {
    const km_run *run = s->run;
    if (run->mark_flops > 0) {
        const double rate = s->core.flops / s->core.micro_batch, batches = km_reader_micro_batches(run->reader);
        const double seconds = run->mark_flops / rate;
        km_json *marks = km_json_object();
        km_json_set_number(marks, "gflop", run->mark_flops * 1e-9);
        km_json_set_number(marks, "core_seconds", seconds);
        km_json_set_number(marks, "share",
                           seconds / (seconds + batches * s->core.micro_batch * (double)run->config.train.steps));
        km_json_set(out, "marks", marks);
    }
}

static km_status plan(km_run *run, const km_plan_options *options, km_json *out) {
    int64_t asked = options->ranks;
    if (asked == 0 && options->nodes > 0) {
        asked = options->nodes * KM_MAX(options->cores / run->config.parallel.threads, 1);
    }
    km_scaling scaling = {.run = run, .options = options};
    KM_TRY(check_all(run, (int)KM_MAX(asked, 1), &scaling));
    const double program = 64e6; /* bytes of a process for code, MPI, BLAS and HDF5 */
    scaling.spare += program;
    double rows = (double)km_rows_count(run->rows);
    if (options->tokens > 0) {
        rows = km_plan_assumed_rows(run, options->tokens);
        km_json_set_number(out, "tokens_assumed", (double)options->tokens);
    }
    add_work(run, rows, out);
    if (km_run_is_finished(run)) {
        return KM_OK;
    }
    KM_TRY(add_disk(run, rows, out));
    if (options->gflops == 0) {
        km_log("measuring how fast the cores of this machine train, which takes some seconds; --gflops N leaves it "
               "out");
    }
    KM_TRY(km_core_measure(&scaling.core, run, options));
    add_rates(&scaling.core, options, out);
    add_marks(&scaling, out);
    km_scale(&scaling, out);
    return KM_OK;
}

km_status km_plan(const km_config *config, const km_plan_options *options, km_json **out) {
    km_run *run = km_new(1, sizeof *run);
    *run = (km_run){.config = *config, .resume_step = -1, .started = km_seconds()};
    km_json *found = km_json_object();
    km_status status = plan(run, options, found);
    if (status != KM_OK) {
        km_json_destroy(found);
        found = NULL;
    }
    *out = found;
    km_run_teardown(run);
    free(run);
    return status;
}
