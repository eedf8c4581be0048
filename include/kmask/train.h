/* train: the main job. One step, pre-training with checkpoints, evaluation, filling blanks. */
#ifndef KMASK_TRAIN_H
#define KMASK_TRAIN_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/data.h"
#include "kmask/model.h"
#include "kmask/text.h"

/* ---- Model files --------------------------------------------------------------------------------------------- */

/* What a model file or checkpoint holds, ready for use. */
typedef struct km_bundle {
    km_config config;
    km_tokenizer *tokenizer;
    km_model *model;
    float *weights;
    int64_t step;
    km_hash weights_hash;
    char *source; /* JSON: what an imported model brought along that the table has no place for; else NULL */
} km_bundle;
/* Verifies the file and reads all but the optimizer's state; also takes a safetensors folder. The caller closes. */
km_status km_bundle_open(km_bundle **out, const char *path) KM_NODISCARD;
void km_bundle_close(km_bundle *bundle);

/* KM_USAGE where `threads` are more than one and this machine's OpenBLAS is its serial build, which is not safe for them. */
km_status km_threads_check(int64_t threads) KM_NODISCARD;
/* Whether products in bf16 can be made: KM_USAGE says what is missing. Not `computes`: they are made elsewhere; what this CPU lacks is
 * only said. */
km_status km_bf16_check(bool computes) KM_NODISCARD;

/* ---- Other programs' files -------------------------------------------------------------------------------------- */

enum { KM_FRESH_SEED = 1 };
typedef struct km_import_options {
    const char *tokenizer; /* its folder; NULL: the model's */
    const char *out;       /* the model file to write; NULL: only the account is given */
    uint64_t seed;         /* of what the folder does not hold: KM_FRESH_SEED unless wanted otherwise */
} km_import_options;
/* A folder of model.safetensors (or shards), config.json and tokenizer becomes a model file. *account: {"model_type",
 * "weights_hash", "used": [{"name", "from", "dtype", "shape"}], "ignored": [{"name", "why", ...}], "fresh": [names],
 * "config"}; the caller destroys. Tensors that are ignored travel in the file, for km_export. */
km_status km_import(const char *folder, const km_import_options *options, km_json **account) KM_NODISCARD;

typedef struct km_export_options {
    const char *dtype; /* "f32", "f16" or "bf16" */
    bool extras;       /* also what an import ignored, under the architecture that it came with */
    bool force;        /* `folder` may hold files: those of the same names are replaced */
} km_export_options;
/* A model file, checkpoint or folder becomes model.safetensors, config.json and the tokenizer's files. A new folder is
 * complete or absent. *account: {"weights_hash", "tensors", "left_out": [names]}; the caller destroys. */
km_status km_export(const char *model, const char *folder, const km_export_options *options,
                    km_json **account) KM_NODISCARD;

/* ---- Pre-training ---------------------------------------------------------------------------------------------- */

/* From now on SIGUSR1, SIGTERM and SIGINT ask km_pretrain to save and stop: to be called before MPI starts too, so that none
 * comes too early. A second SIGINT from a terminal ends the process at once. Local. */
void km_signals_catch(void);

/* Trains, or resumes what is in config->run.dir; status as DESIGN section 6 has it. Collective. */
km_status km_pretrain(km_comm *comm, const km_config *config) KM_NODISCARD;

/* ---- Measuring ------------------------------------------------------------------------------------------------- */

/* Trains on random tokens, `repeat` steps after one that warms up, with `bare` each in turns with OpenBLAS's bare products of
 * the same shapes, and says how fast both were (src/train/bench.c says what is counted). Nothing is kept. config: of model
 * and data the shapes count; vocab_size must be given. On rank 0 *out is the result, the caller's; NULL elsewhere.
 * Collective. */
km_status km_bench(km_comm *comm, const km_config *config, int repeat, bool bare, km_json **out) KM_NODISCARD;

/* ---- Before a job -------------------------------------------------------------------------------------------- */

typedef struct km_doctor_options {
    const km_config *config; /* NULL: none */
    const char *wrong;       /* why there is none though one was asked for; NULL */
    const char *folder;      /* where a run would write: config's run.dir, or the current one */
    int threads;             /* of a rank */
} km_doctor_options;
/* Looks at the hosts of all ranks, and at what is between them; nothing in it hangs (comm.h). Starts MPI and ends it. On rank 0
 * `show` is called with the report before any rank leaves:
 *
 *   {"well", "problems": [{"what", "cure"}], "notes": [text], "transport",
 *    "hosts": [{"host", "cpu", "cores", "blas", "kernel", "loops", "bf16", "memory_room", "clock_offset"}],
 *    "ranks": [{"rank", "host", "pid", "cpus", "cores", "threads", "gemm_gflops"}],
 *    "links": [{"from", "to", "reached", "address", "round_trip_us", "latency_us", "gbyte_per_s"}],
 *    "folder": {"path", "mbyte_per_s", "sync_seconds", "room", "flock", "fcntl"}, "memory": {...}, "job_ends_in"}
 *
 * KM_FAILED, on rank 0, where there are problems. Collective. */
typedef void km_doctor_show(void *payload, const km_json *report);
km_status km_doctor(int *argc, char ***argv, const km_doctor_options *options, km_doctor_show *show,
                    void *payload) KM_NODISCARD;

typedef struct km_plan_options {
    int64_t nodes, ranks; /* 0: not given; ranks: of all nodes */
    int64_t cores;        /* of a node */
    double gflops;        /* of a core in training; 0: measured here */
    double network;       /* bytes a second of a node, each way */
    double latency;       /* seconds of a small message between nodes */
    double memory;        /* bytes a second of a node's memory */
} km_plan_options;
/* Makes every check that km_pretrain makes before its first step, with the same sentences, and changes nothing: no MPI, no lock,
 * nothing in the run folder. Then what the run will take: *out, the caller's:
 *
 *   {"finished", "resume_step", "steps", "parameters", "rows", "rows_left_out", "views", "micro_batches", "tokens_a_step",
 *    "epochs", "checkpoint_bytes", "snapshot_bytes", "disk_bytes", "disk_room",
 *    "core": {"measured", "cores", "gflops", "micro_batch_seconds", "micro_batch_gflop", "direct", "add_gbyte_per_s"},
 *    "network": {"gbyte_per_s", "latency_us", "memory_gbyte_per_s"},
 *    "nodes": [{"nodes", "ranks", "threads", "step_seconds", "hours", "efficiency", "tokens_per_s", "rank_bytes", "node_bytes",
 *               "arithmetic", "uneven", "update", "node_sum", "network_sum", "gather", "waits", "bottleneck"}],
 *    "sbatch": {"nodes", "ntasks_per_node", "cpus_per_task", "mem_mib", "time", "jobs"}}
 *
 * Seconds are of a step, hours of the steps that are left, with evaluations. Local. */
km_status km_plan(const km_config *config, const km_plan_options *options, km_json **out) KM_NODISCARD;

/* ---- Evaluation -------------------------------------------------------------------------------------------------- */

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

/* ---- Gradient variance -------------------------------------------------------------------------------------------- */

/* Measures what config->variance asks for (Zheng et al. 2020, Theorem 1, Eq. 5, Figures 2 and 3; src/train/variance.h says what
 * exactly). `folder`: where results and finished parts are kept; NULL: nowhere. On rank 0 *out is the result, the
 * caller's; NULL elsewhere. KM_STOPPED after a signal or run.max_hours: call again to go on. The same numbers on any
 * number of ranks and threads. Collective. */
km_status km_variance(km_comm *comm, const km_config *config, const char *folder, km_json **out) KM_NODISCARD;

/* ---- Filling blanks ------------------------------------------------------------------------------------------------ */

typedef struct km_candidate {
    int32_t id;
    float p;
} km_candidate;
/* The `top` likeliest fillers for each [MASK] (or <mask>) of the text: candidates[blank * top + i], best first; the
 * caller frees. A text without a blank, or too long for the model, is KM_USAGE. */
km_status km_fill_blanks(const km_bundle *bundle, const char *text, int top, km_candidate **candidates,
                         int *blanks) KM_NODISCARD;

/* ---- Probing ------------------------------------------------------------------------------------------------------- */

typedef struct km_probe_result {
    int64_t rows, length;  /* B, T: the longest row */
    int64_t labelled;      /* 0: no loss and no gradient */
    double loss, accuracy; /* means over labelled positions */
} km_probe_result;
/* Computes what the JSON file `input` asks for, dropout off, and writes it to the HDF5 file `output`:
 *
 *   {"input_ids": [[...]], "attention_mask": [[...]], "token_type_ids": [[...]], "labels": [[...]]}
 *
 *   /logits                  (B,T,V)
 *   /hidden_states/<layer>   (B,T,C)  0: the embeddings', l: layer l's
 *   /loss                    scalar   mean over labelled positions; label -100: none
 *   /grad/<tensor name>      the tensor's shape: gradient of /loss
 *
 * Only input_ids must be there; the others default to 1, 0 and -100. Positions with mask 0 may be anywhere: they count
 * as positions, no token attends to them, and what the model makes of them is written (and learned from where they have a
 * label), all as in HuggingFace transformers. Rows shorter than T are padded at their end with the pad token and mask 0.
 * Without labels there are no /loss and /grad. Memory: 8 bytes a parameter beside the model, and the logits of some
 * rows. `bf16`: with products as in a run of that train.precision. KM_FAILED names what in the file does not fit. */
km_status km_probe(const km_bundle *bundle, const char *input, const char *output, bool bf16,
                   km_probe_result *out) KM_NODISCARD;

#endif
