/* deadline: when a run must begin its last save so that it ends by itself in time. From run.max_hours and, under SLURM, the
 * job's end; from the times that steps, evaluations and saves have taken. Called on rank 0. */
#ifndef KMASK_TRAIN_DEADLINE_H
#define KMASK_TRAIN_DEADLINE_H

#include "kmask/base.h"

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

/* ---- For tests ---- */
/* The job's end as seconds since 1970; false when unknown. `text`: squeue's %e, local time. */
bool km_deadline_parse(int64_t *end, const char *text);

#endif
