/* plan: what its files share. */
#ifndef KMASK_ADVISE_PLAN_H
#define KMASK_ADVISE_PLAN_H

#include "kmask/advise.h"
#include "kmask/run.h"
#include "plan_cost.h"

/* What one core does while the others of a node are at work too: measured here, or told. */
typedef struct km_core_rate {
    bool measured;      /* the micro-batch: on so many cores at once */
    int cores;          /* of those that a node's ranks use, as many as are here */
    bool direct;        /* ranks of a node may read each other's memory, as far as this host shows */
    double micro_batch; /* seconds of one, with adding its gradient to the sum */
    double flops;       /* of one */
    double update;      /* seconds an element: norm and AdamW */
    double add;         /* bytes a second: brought over from a mate and added */
    double copy;        /* bytes a second: brought over */
} km_core_rate;

/* plan_measure.c: a few seconds of this host's cores at the run's own micro-batches; with options->gflops only what moves memory. */
km_status km_core_measure(km_core_rate *out, km_run *run, const km_plan_options *options) KM_NODISCARD;

/* plan_scale.c: nodes and hours, and the lines for a job, into `out`. */
typedef struct km_scaling {
    const km_run *run;
    const km_plan_options *options;
    km_core_rate core;
    double eval_flops; /* of one evaluation; 0: none */
    double spare;      /* bytes of a rank beside what km_memory_plan counts */
} km_scaling;
void km_scale(const km_scaling *scaling, km_json *out);

#endif
