/* run: one resumable run on a cluster. Its config; pre-training and evaluation; what stops a run in order; the lock of its
 * folder; and the run itself as it is opened and checked before the first step, which `plan` and `bench` use too. Checkpoints,
 * the log and the status file are private to src/run. Calls are local unless their comment ends with "Collective.". */
#ifndef KMASK_RUN_H
#define KMASK_RUN_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/data.h"
#include "kmask/model.h"
#include "kmask/modelfile.h"
#include "kmask/store.h"
#include "kmask/train.h"

/* ---- Config --------------------------------------------------------------------------------------------------- */

typedef struct km_run_config {
    uint64_t given;
    char dir[KM_PATH];
    int64_t seed;
    double max_hours; /* 0: no limit */
} km_run_config;
typedef struct km_checkpoint_config {
    uint64_t given;
    int64_t every, keep;
    bool best;
    km_steps snapshots;
} km_checkpoint_config;
typedef struct km_eval_config {
    uint64_t given;
    int64_t every, patience;
    double ratio;
} km_eval_config;
typedef struct km_log_config {
    uint64_t given;
    int64_t every;
} km_log_config;
extern const km_section km_run_section, km_checkpoint_section, km_eval_section, km_log_section;

/* The whole config of a run. It holds no pointers, so that ranks broadcast it as bytes. `kmask pretrain --help` lists the keys. */
typedef struct km_config {
    km_run_config run;
    km_model_config model;
    km_data_config data;
    km_mask_config mask;
    km_train_config train;
    km_optimizer_config optimizer;
    km_schedule_config schedule;
    km_checkpoint_config checkpoint;
    km_eval_config eval;
    km_parallel_config parallel;
    km_log_config log;
    km_proposal_config proposal;
} km_config;
extern const km_schema km_config_schema;

/* Reads a config and checks all of it, then fills in presets, defaults and values that follow from other keys. Values that come
 * from the tokenizer or model.init stay 0 or "". partial: required keys may be missing. Every failure is KM_USAGE. */
km_status km_config_load(km_config *out, const km_config_source *source, bool partial) KM_NODISCARD;
/* Does the same as km_config_load with partial = true, from the JSON text that a file holds as its attribute `config`. It may be
 * the config of another verb. Messages begin with `origin`. */
km_status km_config_parse(km_config *out, const char *json, const char *origin) KM_NODISCARD;
/* Fills in values that follow from other keys, and checks choices that must fit together. It is called after km_schema_fill, by
 * verbs whose config holds a km_config. */
km_status km_config_settle(km_config *config) KM_NODISCARD;
/* Does the part of it that depends on the model's type, for configs whose model was read from a file. */
km_status km_config_settle_target(km_config *config) KM_NODISCARD;
/* The whole config as JSON. The caller frees. */
char *km_config_print(const km_config *config);
/* Whether a run that was started with `was` may be resumed with `now`. If not, KM_USAGE, whose message has the key, the old and
 * the new value and what to do. Changes that are allowed are added to `changes`, one a line. */
km_status km_config_continues(const km_config *was, const km_config *now, km_buffer *changes) KM_NODISCARD;
/* The options that a trainer needs. */
km_trainer_options km_config_trainer(const km_config *config);

/* ---- Pre-training --------------------------------------------------------------------------------------------- */

/* Trains, or resumes what is in config->run.dir; section 6 of src/README.md lists the statuses. Collective. */
km_status km_pretrain(km_comm *comm, const km_config *config) KM_NODISCARD;

/* ---- Evaluation ----------------------------------------------------------------------------------------------- */

typedef struct km_eval_options {
    int length;
    km_packing packing;
    km_eval_views_options views;
    bool (*stop)(void *payload); /* called now and then on every rank; true ends the evaluation. May be NULL */
    void *payload;
} km_eval_options;
/* What a config says of evaluations of its model, whose type is known. */
km_status km_config_evaluation(km_eval_options *out, const km_config *config) KM_NODISCARD;
typedef struct km_eval_result {
    double loss, perplexity, accuracy; /* means over masked tokens */
    int64_t masked;                    /* tokens */
    uint64_t rows;
    double unigram_entropy; /* nats, of the evaluated tokens: the loss of the best model without context */
} km_eval_result;
/* The loss of `weights` on all rows of the corpus under masks that depend on the options alone. The result has the same bits on
 * any number of ranks and threads. KM_STOPPED on all ranks where `stop` said true on any. Collective. */
km_status km_evaluate(km_comm *comm, const km_model *model, const float *weights, const km_corpus *corpus,
                      const km_eval_options *options, int threads, km_eval_result *out) KM_NODISCARD;

/* Warns where the loss is not below the unigram entropy, with what to try: such a model knows no more than frequencies. */
void km_evaluation_warn(const km_eval_result *result);

/* ---- Generation ----------------------------------------------------------------------------------------------- */

/* Texts to be answered, as ids. */
typedef struct km_sources {
    uint64_t count;
    uint64_t *starts; /* (count+1) source i is ids[starts[i]] to ids[starts[i + 1] - 1] */
    int32_t *ids;     /* with what begins and ends a sequence; pad tokens are read, and no token attends to them */
} km_sources;
/* Reads sources from a file, or from standard input where `path` is "-": lines of text, of which each is encoded with <s> and </s>
 * around it, an empty one too; or JSON objects, a line each, with "source", a text, or else "input_ids", ids as they are. It is JSON
 * where the name ends with .jsonl, .ndjson or .json, or the first line is an object with one of the two keys; then blank lines are
 * passed over. With `truncate` sources that are longer than the model's positions are cut to them, and keep their last token; else
 * they are KM_FAILED, as are ids that are not the model's. The caller frees, also after errors. Local. */
km_status km_sources_read(km_sources *out, const km_bundle *bundle, const char *path, bool truncate) KM_NODISCARD;
void km_sources_free(km_sources *sources);

/* Called for one source after the other, in their order. */
typedef km_status km_answer_hook(void *payload, const int32_t *ids, int count, float score);
/* Answers rank 0's sources; those of the other ranks are not read. Sources are sorted by their length and cut into groups, which are
 * decoded together; the ranks share the groups. What is in a group depends on the sources and the options alone, so answers have the
 * same bits on any number of ranks. `answer` is called on rank 0, which with `show_progress` shows how far it is. Collective. */
km_status km_generate(km_comm *comm, const km_bundle *bundle, const km_sources *sources,
                      const km_generate_options *options, bool show_progress, km_answer_hook *answer,
                      void *payload) KM_NODISCARD;

/* ---- Marks ---------------------------------------------------------------------------------------------------- */

/* Policies that were learned draw their masks from marks of the rows, which a program above this folder makes (src/policy). It is named
 * once, at the start of the process; without one a run with such a policy is refused. A marker opens the marks of the request, and makes
 * them where they are not there yet; with comm NULL it only checks whether it could. Collective. */
typedef km_status km_marker(km_comm *comm, const km_mark_request *request, km_marks **out);
void km_run_set_marker(km_marker *marker);
/* The marks of the rows for a masking, through that function; *out is NULL where the policy needs none. The caller closes. Collective. */
km_status km_run_mark(km_marks **out, km_comm *comm, const km_mask_config *mask,
                      const km_mark_request *request) KM_NODISCARD;

/* ---- Stopping in order ---------------------------------------------------------------------------------------- */

/* From now on SIGUSR1, SIGTERM and SIGINT ask the run to save and stop. To be called before MPI starts too, so that no signal comes
 * too early. A second SIGINT from a terminal ends the process at once. */
void km_signals_catch(void);
bool km_signals_stop(void);        /* whether one of them has come */
const char *km_signals_name(void); /* which; "" when none has */

/* Seconds until the end of the SLURM job that this process belongs to, which is logged; infinite where it belongs to none, or where
 * neither SLURM_JOB_END_TIME nor squeue (which is given 15 seconds) tells the end. */
double km_slurm_seconds_left(void);

/* ---- The lock of a run folder --------------------------------------------------------------------------------- */

/* A run folder has one owner at a time. The lock ends with its process: it is an fcntl lock where the file system has them;
 * and the file <dir>/lock says who owns the folder (host, pid and start of the process, SLURM job and restart), and is refreshed
 * by its owner every few seconds. All calls are made on rank 0. */
typedef struct km_lock km_lock;

typedef struct km_lock_options {
    double wait;    /* seconds until a folder that stays taken is refused */
    double refresh; /* seconds between refreshes of the file */
    double stale;   /* seconds without a refresh after which an owner on another machine counts as dead */
    bool no_fcntl;  /* for tests: as on a file system without locks */
    bool (*go_on)(void *payload); /* called while waiting; false gives up. May be NULL */
    void *payload;
    void (*lost)(const char *path); /* called from a thread when another run takes the folder over. May be NULL */
} km_lock_options;
extern const km_lock_options km_lock_standard; /* a minute, 3 s, 20 s */

/* Takes <dir>/lock, and makes the folder where it is missing. A living owner is waited for, which is logged once; then the
 * folder is refused (KM_FAILED). The lock is taken from an owner whose process is gone, which belongs to this SLURM job before
 * it was requeued, or which is on another machine and no longer refreshes the file. */
km_status km_lock_take(km_lock **out, const char *dir, const km_lock_options *options) KM_NODISCARD;
/* What km_lock_take would answer at once, with nothing made or changed: KM_FAILED where the file cannot be made, or where
 * another run is at work. An owner on another machine is watched until it refreshes the file, or has not done so for
 * `stale` seconds. */
km_status km_lock_check(const char *dir, const km_lock_options *options) KM_NODISCARD;
/* Removes the file, and the folder too if km_lock_take made it and nothing has come into it. NULL is fine. */
void km_lock_release(km_lock *lock);
/* Whether another run has taken the folder over while this process was stopped or out of reach. */
bool km_lock_lost(const km_lock *lock);

/* ---- The files of a run folder -------------------------------------------------------------------------------- */
/* For all programs that train. <dir>/checkpoints/step-<number>.h5 are its checkpoints, <dir>/metrics.jsonl is its log, which has each
 * step once, whatever crashes came in between, and <dir>/status.json says how it ended. */

char *km_checkpoint_path(const char *dir, int64_t step); /* the caller frees */
/* Finds the newest valid file and opens it for reading; opening verifies a file, so that each is read once. *newest: the largest
 * step that has a file, valid or not; -1 where there is none. A file of a later version of kmask is an error. The caller closes.
 * [HDF5] */
km_status km_checkpoint_open_newest(km_store **store, int64_t *step, int64_t *newest, const char *dir) KM_NODISCARD;
/* Removes the files of steps up to `until` that are older than the `keep` newest valid ones among them; returns how many. Files
 * of later steps are not looked at: the run has not gone on from them. The file of step `verified` (-1: none) is known to be
 * valid. Any thread. */
int km_checkpoint_files_prune(const char *dir, int64_t keep, int64_t until, int64_t verified);
/* Renames a damaged file to <name>.damaged, so that the step can be saved again. */
void km_checkpoint_set_damaged_aside(const char *path);
/* Removes the temporary files of a run that was killed while it wrote them. */
void km_run_remove_unfinished(const char *dir);

typedef struct km_metrics km_metrics;
/* Opens the log for appending, after lines of steps beyond `step` and a torn last line have been cut off; step < 0 empties it. */
km_status km_metrics_open(km_metrics **out, const char *dir, int64_t step) KM_NODISCARD;
/* Appends a line, which becomes the log's own. Lines that the disk does not take are kept in memory and tried again with the next. */
void km_metrics_add(km_metrics *metrics, km_json *line);
/* Brings all lines to the disk: to be called before a checkpoint is committed. */
km_status km_metrics_sync(km_metrics *metrics) KM_NODISCARD;
void km_metrics_close(km_metrics *metrics);
/* How many steps are missing in a log before a line of it: for how many steps a line stands follows from its tokens, rate and seconds.
 * *last: the step of the line before (0 at first), which becomes the step of this line. */
int64_t km_metrics_missing(const km_json *line, int64_t *last);
/* Warns where the log of a run folder lacks steps; a folder without a log is fine. */
void km_metrics_warn_of_holes(const char *dir);
/* lost: a rank was killed, stopped or cut off, so that the same command may succeed when it is run again ("retry" in the file). */
void km_status_write(const char *dir, km_status status, const char *reason, int64_t step, bool lost);

/* ---- A run, opened and checked before the first step ---------------------------------------------------------- */

/* The best evaluation of a run so far. It is a function of the evaluations in metrics.jsonl. */
typedef struct km_best {
    int64_t step; /* -1: there was none */
    double loss;  /* held-out */
    double
        entropy; /* unigram_entropy: losses are compared where it is the same, which is on the same text under the same masks */
    int64_t since; /* evaluations after that one */
} km_best;

typedef struct km_saver km_saver; /* src/run/save.h */
typedef struct km_run {
    km_comm *comm;    /* NULL in a plan */
    km_config config; /* resolved: what corpus, checkpoint or model.init decide has been filled in */
    km_lock *lock;    /* rank 0 */
    double started;   /* by km_seconds */
    /* What the run starts from; the files are open during setup, on rank 0. */
    km_store *start_file;    /* the checkpoint that is resumed, else model.init, else NULL */
    km_bundle *start_folder; /* model.init where it is a safetensors folder and no checkpoint is resumed */
    char *resume_path;       /* rank 0: the path of the checkpoint; NULL for a new run */
    int64_t resume_step;     /* -1: a new run */
    int64_t newest_step;     /* rank 0: of the newest checkpoint file, damaged or not; -1: there is none */
    char *descent; /* rank 0: of a new run, the file that it starts from and what that was; NULL: random weights */
    km_best best;  /* of the evaluations up to resume_step, then of all */
    /* What a step needs. */
    km_corpus *corpus;
    km_corpus *eval_corpus; /* NULL without data.eval */
    km_rows *rows;
    km_marks *marks;   /* of the rows, for a policy that was learned; else NULL */
    double mark_flops; /* what it takes to make them, where they are not there yet */
    km_reader *reader;
    km_model *model;
    km_policy_net *proposal; /* the network of a live policy, which is trained beside the model; else NULL */
    km_trainer *trainer;     /* NULL where all steps are done */
    /* What is written. */
    km_saver *saver;
    km_metrics *metrics; /* rank 0 */
} km_run;

/* Opens everything in the one order in which nothing can be lost: nothing in the run folder is changed before all checks have
 * passed. A run that is finished has no trainer. km_run_teardown is called after a
 * failure too. Collective. */
km_status km_run_setup(km_run *run, km_comm *comm, const km_config *config) KM_NODISCARD;
/* Whether no step is left to make: all are done, or eval.patience has ended the run. Local. */
bool km_run_is_finished(const km_run *run);
void km_run_teardown(km_run *run); /* Collective; local in a plan, which has no communicator. */

/* The checks of km_run_setup, in the order in which they are made: there they are made on all ranks or on rank 0, in a plan by
 * one process without MPI, so that a config which passes a plan also passes the checks of pre-training. Each fills in parts of
 * the run; none changes anything in the run folder. */
km_status km_check_corpora(km_run *run) KM_NODISCARD;
/* Opens the newest valid checkpoint of the run folder as run->start_file; damaged ones are named in warnings. [HDF5] */
km_status km_check_resume(km_run *run) KM_NODISCARD;
/* The same, and where there is no checkpoint opens model.init. Config and weights are read from what is opened here, so each
 * file is read and verified once. [HDF5] */
km_status km_check_start(km_run *run) KM_NODISCARD;
/* Fills in what the opened file and the corpus decide, and checks the config against them: tokenizer, shape, and the keys that
 * may not change when a run is resumed. */
km_status km_check_config(km_run *run) KM_NODISCARD;
/* Opens the index of rows, which lies in the run folder under a name that tells what it depends on. make = false: an index that
 * is missing is made in a temporary file instead. */
km_status km_check_rows(km_run *run, bool make) KM_NODISCARD;
/* Opens the marks of the rows, where the policy needs such. Collective; local in a plan. */
km_status km_check_marks(km_run *run) KM_NODISCARD;
/* Makes the network of a live policy, and the reader with its source, and checks whether a step has work for so many ranks. */
km_status km_check_reader(km_run *run, int ranks) KM_NODISCARD;
/* Whether run->start_file holds every tensor that the run takes from it, in the right shape: all of a checkpoint, or the weights of
 * model.init. For a plan; setup finds out when it reads them. */
km_status km_check_weights(const km_run *run) KM_NODISCARD;

/* The options of the run's trainer. */
km_trainer_options km_run_trainer_options(const km_run *run);

/* ---- What a run takes ------------------------------------------------------------------------------------------ */

/* Memory of `rank` of `ranks` with everything that a run keeps: km_memory_plan, and the copy that is saved in the background. */
void km_run_memory(km_memory *out, const km_run *run, int rank, int ranks);
/* Bytes of a checkpoint, or of a snapshot (weights_only), of this run. They are measured: a file is laid out in a folder for
 * temporary files and removed again. [HDF5] */
double km_run_file_bytes(const km_run *run, bool weights_only);
/* How many checkpoints the disk holds at most: checkpoint.keep, the best one, and the one being written. */
int64_t km_run_checkpoints_most(const km_config *config);
/* How many the disk must still take: those, without those that are there; at least one. */
km_status km_run_checkpoints_due(int64_t *count, const km_config *config) KM_NODISCARD;

#endif
