/* run: one resumable run on a cluster. Pre-training and evaluation; the run folder with its checkpoints, log, status and lock;
 * signals and time limits; the checks before the first step. What is collective says so; all else is local. */
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
    double max_hours; /* 0 = none */
} km_run_config;
typedef struct km_checkpoint_config {
    uint64_t given;
    int64_t every, keep;
    km_steps snapshots;
} km_checkpoint_config;
typedef struct km_eval_config {
    uint64_t given;
    int64_t every;
    double ratio;
} km_eval_config;
typedef struct km_log_config {
    uint64_t given;
    int64_t every;
} km_log_config;
extern const km_section km_run_section, km_checkpoint_section, km_eval_section, km_log_section;

/* All of a run. Plain bytes without pointers: ranks broadcast it as it is. `kmask pretrain --help` lists the keys. */
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
} km_config;
extern const km_schema km_config_schema;

/* Reads a config and checks all of it. Then presets, defaults and what follows from other keys are filled in, except what comes
 * from tokenizer or model.init (0 or ""). `partial`: required keys may be missing. Every failure is KM_USAGE. */
km_status km_config_load(km_config *out, const km_config_source *source, bool partial) KM_NODISCARD;
/* The same, partial, from the text that a file holds (its attribute `config`), which may be another verb's config; `origin` heads
 * messages. */
km_status km_config_parse(km_config *out, const char *json, const char *origin) KM_NODISCARD;
/* What follows from other keys is filled in, and choices that must fit together are checked, once km_schema_fill has been called:
 * for the configs of other verbs that hold a km_config. */
km_status km_config_settle(km_config *config) KM_NODISCARD;
/* All of it as JSON. The caller frees. */
char *km_config_print(const km_config *config);
/* Whether `now` may continue a run that was started with `was`: KM_USAGE with key, old and new value and the way
 * out where it may not. What changed and may is added to `changes`, a line each. */
km_status km_config_continues(const km_config *was, const km_config *now, km_buffer *changes) KM_NODISCARD;
/* What a trainer has to know. */
km_trainer_options km_config_trainer(const km_config *config);

/* ---- Pre-training --------------------------------------------------------------------------------------------- */

/* Trains, or resumes what is in config->run.dir; section 6 of src/README.md lists the statuses. Collective. */
km_status km_pretrain(km_comm *comm, const km_config *config) KM_NODISCARD;

/* ---- Evaluation ----------------------------------------------------------------------------------------------- */

typedef struct km_eval_options {
    int length;
    km_packing packing;
    km_unit unit;
    double ratio; /* every maskable unit is masked once in ceil(1/ratio) parts */
    uint64_t seed;
    bool (*stop)(void *payload); /* asked now and then on every rank: break off? NULL: no */
    void *payload;
} km_eval_options;
typedef struct km_eval_result {
    double loss, perplexity, accuracy; /* means over masked tokens */
    int64_t masked;
    uint64_t rows;
    double unigram_entropy; /* nats: of the evaluated tokens under their own frequencies */
} km_eval_result;
/* Loss under frozen masks; the same bits on any number of ranks. KM_STOPPED, on all ranks, when `stop` said so on any.
 * Collective. */
km_status km_evaluate(km_comm *comm, const km_model *model, const float *weights, const km_corpus *corpus,
                      const km_eval_options *options, int threads, km_eval_result *out) KM_NODISCARD;

/* ---- Signals -------------------------------------------------------------------------------------------------- */

/* From now on SIGUSR1, SIGTERM and SIGINT ask km_pretrain to save and stop: to be called before MPI starts too, so that none
 * comes too early. A second SIGINT from a terminal ends the process at once. Local. */
void km_signals_catch(void);
bool km_signals_stop(void);        /* one of them has come */
const char *km_signals_name(void); /* which; "" when none */

/* ---- The lock of a run folder --------------------------------------------------------------------------------- */

/* One run, one owner. The lock dies with its process: it is fcntl's where the file system has it, else what stands in the file:
 * host, pid and its start, SLURM job and restart, and a heartbeat every few seconds. Called on rank 0. */
typedef struct km_lock km_lock;

typedef struct km_lock_options {
    double wait;                  /* seconds until a folder that stays taken is refused */
    double beat;                  /* seconds between beats */
    double stale;                 /* seconds without a beat after which another machine's owner is taken for dead */
    bool no_fcntl;                /* for tests: as on a file system without locks */
    bool (*go_on)(void *payload); /* asked while waiting: false gives up; may be NULL */
    void *payload;
    void (*lost)(const char *path); /* called from a thread when another run has taken the folder; may be NULL */
} km_lock_options;
extern const km_lock_options km_lock_standard; /* a minute, 3 s, 20 s */

/* Takes <dir>/lock; makes the folder where it is missing. A live owner is waited for, which is said once, then refused
 * (KM_FAILED). Not refused: an owner whose process is gone, of this SLURM job before it was requeued, or on another machine
 * and without a beat. */
km_status km_lock_take(km_lock **out, const char *dir, const km_lock_options *options) KM_NODISCARD;
/* What km_lock_take would say at once, with nothing made or changed: KM_FAILED where the file cannot be made, or where another
 * run is at work; one on another machine is watched until its beat moves or has gone stale. */
km_status km_lock_look(const char *dir, const km_lock_options *options) KM_NODISCARD;
/* Removes the file, and the folder if it was made by km_lock_take and nothing came into it. NULL is fine. */
void km_lock_release(km_lock *lock);
/* Another run has taken the folder over while this process was stopped or out of reach. */
bool km_lock_lost(const km_lock *lock);

/* ---- Deadlines ------------------------------------------------------------------------------------------------ */

/* When a run must begin its last save so that it ends by itself in time: from run.max_hours and, under SLURM, the job's end; from
 * the times that steps, evaluations and saves have taken. Called on rank 0. */
enum { KM_DEADLINE_RECENT = 8 };

/* The largest of the last few. */
typedef struct km_recent {
    double seconds[KM_DEADLINE_RECENT];
    int count;
} km_recent;

typedef struct km_deadline {
    double end;    /* by km_seconds; infinite: none */
    double margin; /* seconds before it for what nobody measures: the end of the processes, the launcher's */
    char what[96]; /* "run.max_hours" or "the end of SLURM job 12" */
    km_recent steps, saves, evaluations;
    double expected_save; /* seconds, until one was measured */
} km_deadline;

/* `started`: when the run began, by km_seconds. Reads SLURM_JOB_END_TIME, else asks squeue (15 s at most; what fails is said
 * once). max_hours 0: none. */
void km_deadline_start(km_deadline *deadline, double max_hours, double started);
/* Before the first save: `bytes` at `rate` bytes a second; rate 0: unknown, a slow disk's is taken. */
void km_deadline_expect_save(km_deadline *deadline, double bytes, double rate);
void km_deadline_add_step(km_deadline *deadline, double seconds);
void km_deadline_add_save(km_deadline *deadline, double seconds); /* the latest; the same again is no new one */
void km_deadline_add_evaluation(km_deadline *deadline, double seconds);
/* Whether the step that begins now must be the last: after it there is time for its save, but not for one step more.
 * `evaluates`: an evaluation comes before that save. */
bool km_deadline_reached(const km_deadline *deadline, double now, bool evaluates);

/* The job's end as seconds since 1970; false when unknown. `text`: squeue's %e, local time. */
bool km_deadline_parse(int64_t *end, const char *text);

/* ---- Checkpoints of a run folder ------------------------------------------------------------------------------ */

typedef struct km_generation {
    int64_t step;
    char *path;
} km_generation;
typedef struct km_generations {
    km_generation *items; /* newest first */
    int count;
} km_generations;
/* Files checkpoints/step-<number>.h5. A missing folder is an empty list. */
km_status km_generations_list(km_generations *out, const char *dir) KM_NODISCARD;
void km_generations_free(km_generations *generations);
char *km_checkpoint_path(const char *dir, int64_t step); /* the caller frees */
char *km_snapshot_path(const char *dir, int64_t step);   /* the caller frees */
/* The newest that verifies; the damaged ones before it are named in warnings. None exists: *step -1. Exist but none is
 * valid: KM_NO_CHECKPOINT. Nothing is changed. */
km_status km_newest_valid(char **path, int64_t *step, const char *dir) KM_NODISCARD;
/* The same, opened for reading, which verifies it: each file is read once. *newest is the last step that has a file, valid or
 * not (-1: none). The caller closes. [HDF5] */
km_status km_newest_open(km_store **store, int64_t *step, int64_t *newest, const char *dir) KM_NODISCARD;
/* Removes what is older than the `keep` newest valid ones up to step `until`, damaged ones not counted; returns how many went.
 * Those of later steps are none that the run has gone on from, and stay. The one of step `verified` (-1: none) is known to
 * be valid. Any thread. */
int km_generations_prune(const char *dir, int64_t keep, int64_t until, int64_t verified);
/* Removes files that a killed run was still writing. */
void km_remove_unfinished(const char *dir);
/* A damaged file where this step is about to be saved again is set aside as <name>.damaged. */
void km_set_damaged_aside(const char *path);

/* ---- A run, opened and checked before the first step ---------------------------------------------------------- */

typedef struct km_saver km_saver;     /* src/run/save.h */
typedef struct km_metrics km_metrics; /* src/run/metrics.h */
typedef struct km_run {
    km_comm *comm;
    km_config config; /* resolved: vocabulary and shape filled in from corpus, checkpoint or model.init */
    km_lock *lock;    /* rank 0; NULL: none */
    km_store *source; /* rank 0, during setup: the checkpoint to go on from, else model.init, else NULL */
    km_bundle
        *folder;  /* rank 0, during setup: model.init where it is a safetensors folder and nothing is resumed */
    char *resume; /* rank 0: the checkpoint's path; NULL on others and for a fresh start */
    int64_t resume_step;             /* -1: fresh */
    int64_t newest_step;             /* rank 0: of the newest checkpoint seen, damaged ones too; -1: none */
    km_corpus *corpus, *eval_corpus; /* eval_corpus NULL without data.eval */
    km_rows *rows;
    km_reader *reader;
    km_model *model;
    km_trainer *trainer;
    km_saver *saver;
    km_metrics *metrics; /* rank 0 */
    double started;
} km_run;

/* What fails is one sentence on all ranks; nothing of the run folder is touched before it is known that it may be.
 * A run that is finished already has resume_step >= train.steps. Collective. */
km_status km_run_setup(km_run *run, km_comm *comm, const km_config *config) KM_NODISCARD;
void km_run_teardown(km_run *run); /* Collective. */

/* What a config, a corpus, a model and a run folder may have wrong, found before the first step by one process, which changes
 * nothing. km_run_setup goes through these checks on all ranks or on rank 0, a plan on one process without MPI: what a plan lets
 * pass, pre-training does too. In this order; each fills in parts of the run. Local. */
km_status km_check_corpora(km_run *run) KM_NODISCARD;
/* The newest valid checkpoint of the run folder becomes run->source; the damaged ones are named. [HDF5] */
km_status km_check_newest(km_run *run) KM_NODISCARD;
/* The same; where there is none, model.init. Each file is read once: what is opened here is what config and weights come
 * from. [HDF5] */
km_status km_check_origin(km_run *run) KM_NODISCARD;
/* Fills in what comes from files and checks it against them: tokenizer, shape, what may not change on resume. */
km_status km_check_config(km_run *run) KM_NODISCARD;
/* The rows' file lies in the run folder; its name tells what it depends on. Not `make`: one that is there is used, else a
 * nameless one is made elsewhere. */
km_status km_check_rows(km_run *run, bool make) KM_NODISCARD;
/* The reader with its source, and whether there is work for so many ranks. */
km_status km_check_reader(km_run *run, int ranks) KM_NODISCARD;

/* Whether the file that the run goes on from, or begins with, holds every tensor that it takes from there, in the right shape: all
 * of a checkpoint's, or the weights of model.init's. */
km_status km_check_weights(const km_run *run) KM_NODISCARD;

/* Bytes of a rank with everything that a run keeps: km_memory_plan and the copy that is saved in the background. */
void km_run_memory(km_memory *out, const km_run *run, int rank, int ranks);
/* Bytes of a checkpoint, or of a snapshot (weights_only), of this run: from the file's directory of arrays, which is laid out in a
 * folder for temporary files and removed again. [HDF5] */
double km_run_file_bytes(const km_run *run, bool weights_only);

#endif
