/* setup: a run is opened, its folder locked and its weights set, in the one order in which nothing can be lost. */
#include "best.h"
#include "checkpoint.h"
#include "checkpoint_files.h"
#include "kmask/kernel.h"
#include "metrics.h"
#include "save.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_root(const km_run *run) {
    return km_comm_rank(run->comm) == 0;
}

/* ---- The run folder ---- */

/* Logs that an earlier start was interrupted before its first save, which is so where there is a log and no checkpoint. */
static void log_lost_start(const km_run *run) {
    char *path = km_format("%s/metrics.jsonl", run->config.run.dir);
    if (run->resume_path == NULL && km_file_exists(path)) {
        km_log("the run in %s was interrupted before its first save: it starts at step 0 again",
               run->config.run.dir);
    }
    free(path);
}

static bool go_on_waiting(void *comm) {
    km_heartbeat_progress(comm);
    return !km_signals_stop();
}

/* The folder belongs to another run now, so nothing more may be written there, not even the status. */
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

/* Opens what the run starts from and locks the folder, in this order: a folder whose checkpoints are all damaged is left exactly
 * as it is, and no folder is made for a run that cannot start. */
static km_status open_folder(km_run *run) {
    const char *dir = run->config.run.dir;
    KM_TRY(km_check_start(run));
    KM_TRY(lock_folder(run));
    km_checkpoint_files now;
    KM_TRY(km_checkpoint_files_list(&now, dir));
    int64_t newest = now.count > 0 ? now.items[0].step : -1;
    km_checkpoint_files_free(&now);
    if (newest > run->newest_step) { /* another run has held the lock until now, and has saved meanwhile */
        KM_TRY(km_check_resume(run));
    }
    log_lost_start(run);
    km_run_remove_unfinished(dir);
    return KM_OK;
}

/* ---- Data and weights ---- */

/* Rank 0 makes the index of rows, where the other ranks then find it. */
static km_status open_rows(km_run *run) {
    KM_TRY(km_comm_agree(run->comm, is_root(run) ? km_check_rows(run, true) : KM_OK));
    return km_comm_agree(run->comm, is_root(run) ? KM_OK : km_check_rows(run, true));
}

static km_status first_weights(km_run *run) {
    km_parameters *p = run->trainer->parameters;
    if (run->start_file != NULL) {
        return km_weights_read(run->start_file, p->table, p->weights);
    }
    if (run->start_folder != NULL) {
        memcpy(p->weights, run->start_folder->weights, p->table->size * sizeof *p->weights);
        return KM_OK;
    }
    km_model_init_weights(run->model, p->weights, (uint64_t)run->config.run.seed);
    return KM_OK;
}

/* Sets weights and moments. A run that begins with the moments of another one has its own steps, but counts all updates of the moments. */
static km_status set_state(km_run *run) {
    km_state state = km_run_state(run);
    const bool resumes = run->resume_step >= 0;
    state.count = resumes ? state.count : 1; /* networks beside the model begin anew */
    int64_t step = 0, earlier = is_root(run) ? km_state_earlier_updates(run->start_file) : 0;
    KM_TRY(km_state_load(&state, &step, run->comm, run->start_file));
    km_comm_broadcast(run->comm, &earlier, sizeof earlier);
    run->trainer->step = resumes ? step : 0;
    run->trainer->earlier_updates = resumes ? earlier : earlier + step;
    return KM_OK;
}

static km_status set_weights(km_run *run) {
    km_parameters *p = run->trainer->parameters;
    if (run->resume_step >= 0 || run->config.optimizer.init) {
        KM_TRY(set_state(run));
    } else {
        KM_TRY(km_comm_agree(run->comm, is_root(run) ? first_weights(run) : KM_OK));
        km_comm_broadcast(run->comm, p->weights, p->table->size * sizeof *p->weights);
    }
    km_store_close(run->start_file);
    km_bundle_close(run->start_folder);
    run->start_file = NULL;
    run->start_folder = NULL;
    return KM_OK;
}

/* The saver saves the run's state, and advances while the trainer computes. */
static km_status make_saver(km_run *run) {
    const km_saver_options options = {.comm = run->comm,
                                      .pool = run->trainer->pool,
                                      .config = &run->config,
                                      .corpus = run->corpus,
                                      .state = km_run_state(run)};
    KM_TRY(km_saver_create(&run->saver, &options));
    km_trainer_set_poll(run->trainer, km_saver_poll, run->saver);
    return KM_OK;
}

static km_status write_config(const km_run *run) {
    char *path = km_format("%s/config.json", run->config.run.dir), *text = km_config_print(&run->config);
    km_status status = km_file_replace(path, text, strlen(text));
    free(text);
    free(path);
    return status;
}

static void note_use(const km_run *run) {
    km_corpus_note_use(run->corpus, run->config.run.dir);
    if (run->eval_corpus != NULL) {
        km_corpus_note_use(run->eval_corpus, run->config.run.dir);
    }
}

km_status km_run_setup(km_run *run, km_comm *comm, const km_config *config) {
    *run = (km_run){.comm = comm, .config = *config, .resume_step = -1, .started = km_seconds()};
    km_kernel_start();
    KM_TRY(km_comm_agree(comm, km_threads_check(config->parallel.threads)));
    KM_TRY(km_comm_agree(comm, km_products_check("train.precision", &config->train, &config->parallel, true)));
    KM_TRY(km_comm_agree(comm, km_check_corpora(run)));
    KM_TRY(km_comm_agree(comm, is_root(run) ? open_folder(run) : KM_OK));
    km_comm_broadcast(comm, &run->resume_step, sizeof run->resume_step);
    km_comm_broadcast(comm, &run->best, sizeof run->best);
    KM_TRY(km_comm_agree(comm, is_root(run) ? km_check_config(run) : KM_OK));
    km_comm_broadcast(comm, &run->config, sizeof run->config);
    KM_TRY(km_comm_agree(comm, km_model_create(&run->model, &run->config.model, KM_HEAD_TOKENS)));
    KM_TRY(open_rows(run));
    KM_TRY(km_check_marks(run));
    KM_TRY(km_comm_agree(comm, km_check_reader(run, km_comm_size(comm))));
    if (is_root(run) && run->config.checkpoint.best) {
        km_best_catch_up(&run->best, run->config.run.dir);
    }
    if (km_run_is_finished(run)) {
        return KM_OK;
    }
    const km_trainer_options options = km_run_trainer_options(run);
    KM_TRY(km_trainer_create(&run->trainer, comm, &options, run->model, run->reader));
    KM_TRY(set_weights(run));
    KM_TRY(make_saver(run));
    KM_TRY(km_comm_agree(comm, is_root(run) ? km_saver_prove_room(run->saver) : KM_OK));
    KM_TRY(km_comm_agree(comm, is_root(run) ? write_config(run) : KM_OK));
    KM_TRY(km_comm_agree(comm, is_root(run) ? km_metrics_open(&run->metrics, run->config.run.dir, run->resume_step)
                                            : KM_OK));
    km_saver_set_metrics(run->saver, run->metrics);
    if (is_root(run)) {
        km_metrics_warn_of_holes(run->config.run.dir);
        note_use(run);
    }
    return KM_OK;
}

km_trainer_options km_run_trainer_options(const km_run *run) {
    km_trainer_options options = km_config_trainer(&run->config);
    options.proposal = run->proposal;
    return options;
}

bool km_run_is_finished(const km_run *run) {
    return run->resume_step >= run->config.train.steps ||
           (run->resume_step >= 0 && km_best_ends(&run->best, &run->config));
}

void km_run_memory(km_memory *out, const km_run *run, int rank, int ranks) {
    const km_trainer_options options = km_run_trainer_options(run);
    const km_state state = km_run_state(run);
    km_memory_plan(out, &options, run->model, run->reader, rank, ranks);
    km_memory_add_saved(out, km_saver_bytes(&state, rank, ranks));
}

void km_run_teardown(km_run *run) {
    km_saver_destroy(run->saver);
    km_metrics_close(run->metrics);
    km_store_close(run->start_file);
    km_bundle_close(run->start_folder);
    km_trainer_destroy(run->trainer);
    if (run->reader != NULL) {
        km_reader_destroy(run->reader);
    }
    if (run->model != NULL) {
        km_model_destroy(run->model);
    }
    km_policy_net_destroy(run->proposal);
    km_marks_close(run->marks);
    if (run->rows != NULL) {
        km_rows_close(run->rows);
    }
    if (run->eval_corpus != NULL) {
        km_corpus_close(run->eval_corpus);
    }
    if (run->corpus != NULL) {
        km_corpus_close(run->corpus);
    }
    free(run->resume_path);
    free(run->descent);
    km_lock_release(run->lock);
}
