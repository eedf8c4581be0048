/* advise: what a user wants to know before a job: how fast this machine trains, whether its hosts are well, what a run will
 * take. */
#ifndef KMASK_ADVISE_H
#define KMASK_ADVISE_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/run.h"

/* ---- Measuring ------------------------------------------------------------------------------------------------- */

/* Trains on random tokens for `repeat` steps, after one that is not counted, and measures how fast that is. bare: after each
 * step the matrix products of the same shapes are computed alone and measured too (src/advise/bench.c says how work is counted).
 * Nothing is kept. Of the config's model and data only the shapes matter; model.vocab_size must be given. On rank 0 *out is the
 * result, which the caller destroys; NULL elsewhere. Collective. */
km_status km_bench(km_comm *comm, const km_config *config, int repeat, bool bare, km_json **out) KM_NODISCARD;

/* ---- Before a job -------------------------------------------------------------------------------------------- */

typedef struct km_doctor_options {
    const km_config *config; /* NULL: none */
    const char *wrong;       /* why the config that was asked for cannot be used; else NULL */
    const char *folder;      /* where a run would write: run.dir of the config, or the current folder */
    int threads;             /* of a rank */
} km_doctor_options;
/* Checks the hosts of all ranks and the connections between them. All of it has time limits, so that it does not hang where
 * hosts do not reach each other. Starts MPI and ends it. On rank 0 `show` is called with the report before any rank ends:
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
    int64_t nodes, ranks; /* 0: not given; ranks: on all nodes together */
    int64_t cores;        /* of a node */
    int64_t tokens; /* of a corpus that is not there yet, which random tokens stand for; 0: data.train is there */
    double gflops;  /* of a core in training; 0: it is measured here */
    double network; /* bytes a second of a node, each way */
    double latency; /* seconds of a small message between nodes */
    double memory;  /* bytes a second of a node's memory */
} km_plan_options;
/* Makes every check that km_pretrain makes before its first step, with the same messages, and then says what the run will take.
 * It changes nothing: it uses no MPI, takes no lock and writes nothing to the run folder. *out, which the caller destroys:
 *
 *   {"finished", "resume_step", "steps", "parameters", "tokens_assumed", "rows", "rows_left_out", "views", "micro_batches", "tokens_a_step",
 *    "epochs", "checkpoint_bytes", "snapshot_bytes", "disk_bytes", "disk_room",
 *    "core": {"measured", "cores", "gflops", "micro_batch_seconds", "micro_batch_gflop", "direct", "add_gbyte_per_s"},
 *    "network": {"gbyte_per_s", "latency_us", "memory_gbyte_per_s"},
 *    "nodes": [{"nodes", "ranks", "threads", "step_seconds", "hours", "efficiency", "tokens_per_s", "rank_bytes", "node_bytes",
 *               "arithmetic", "uneven", "update", "node_sum", "network_sum", "gather", "waits", "bottleneck"}],
 *    "days", "shorter": [text],    where the job below takes more than a month: how long, and what shortens it
 *    "sbatch": {"nodes", "ntasks_per_node", "cpus_per_task", "mem_mib", "time", "jobs"}}
 *
 * "tokens_assumed" is there with options->tokens alone: evaluations are not counted then. Seconds are those of a step; hours are those of the steps that are left, with their evaluations. Local. */
km_status km_plan(const km_config *config, const km_plan_options *options, km_json **out) KM_NODISCARD;

#endif
