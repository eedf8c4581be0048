/* plan: what the files of `kmask plan` share. plan.c makes the checks, plan_measure.c measures a core, plan_cost.c knows what a step's
 * communication costs, plan_scale.c puts them together for any number of nodes, plan_corpus.c stands for a corpus that is not there
 * yet. */
#ifndef KMASK_ADVISE_PLAN_H
#define KMASK_ADVISE_PLAN_H

#include "kmask/advise.h"
#include "kmask/run.h"
#include "plan_cost.h"

/* What one core does while the other cores of its node are at work too, as measured on this host. */
typedef struct km_core_rate {
    bool measured;      /* whether micro_batch was measured; else it follows from km_plan_options.gflops */
    int cores;          /* how many cores were measured at once */
    bool direct;        /* whether ranks of a node may read each other's memory, as on this host */
    double micro_batch; /* seconds, with adding its gradient to the sum */
    double flops;       /* of a micro-batch */
    double update;      /* seconds an element, for norm and AdamW */
    double add;         /* bytes a second that are fetched from another rank of the node and added */
    double copy;        /* bytes a second that are only fetched */
} km_core_rate;

/* Computes the run's own micro-batches for a few seconds on as many cores as its ranks would use. With options->gflops only what moves memory is
 * measured. */
km_status km_core_measure(km_core_rate *out, km_run *run, const km_plan_options *options) KM_NODISCARD;

typedef struct km_scaling {
    const km_run *run;
    const km_plan_options *options;
    km_core_rate core;
    double eval_flops; /* of one evaluation; 0: there is none */
    double spare;      /* bytes of a rank that km_run_memory does not count */
} km_scaling;
/* Adds "nodes" (steps and hours on so many nodes) and "sbatch" (a job to ask for) to `out`. */
void km_scale(const km_scaling *scaling, km_json *out);

/* Makes the run's corpus one of random tokens, with the tokenizer of what the run starts from, or with a vocabulary of the
 * model's size. Packing becomes `stream`, and a policy that needs names and dates becomes `random`. Called after km_check_start. */
km_status km_plan_assume_corpus(km_run *run) KM_NODISCARD;
/* The rows into which so many tokens are cut. */
double km_plan_assumed_rows(const km_run *run, int64_t tokens);

#endif
