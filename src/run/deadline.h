/* deadline: when a run must begin its last save, so that it ends by itself before run.max_hours are over or its SLURM job ends. It follows
 * from the times that steps, evaluations and saves have taken. Called on rank 0. */
#ifndef KMASK_RUN_DEADLINE_H
#define KMASK_RUN_DEADLINE_H

#include "kmask/base.h"

enum { KM_DEADLINE_RECENT = 8 };

/* The last few of a series of times, of which the largest counts. */
typedef struct km_recent {
    double seconds[KM_DEADLINE_RECENT];
    int count; /* of the whole series */
} km_recent;

typedef struct km_deadline {
    double end;    /* by km_seconds; infinite: there is none */
    double margin; /* seconds before the end, for the end of the processes and of the launcher */
    char what[96]; /* "run.max_hours" or "the end of SLURM job 12" */
    km_recent steps, saves, evaluations;
    double expected_save; /* seconds, until a save has been measured */
} km_deadline;

/* `started`: when the run began, by km_seconds. max_hours 0: no limit of its own. The end of the job is what SLURM_JOB_END_TIME says, else
 * squeue, which is given 15 seconds; a failure is logged. */
void km_deadline_start(km_deadline *deadline, double max_hours, double started);
/* Before the first save: it is expected to write `bytes` at `rate` bytes a second. rate 0: unknown; that of a slow disk is taken. */
void km_deadline_expect_save(km_deadline *deadline, double bytes, double rate);
void km_deadline_add_step(km_deadline *deadline, double seconds);
/* The time of the latest save. The same time again is taken for the same save. */
void km_deadline_add_save(km_deadline *deadline, double seconds);
void km_deadline_add_evaluation(km_deadline *deadline, double seconds);
/* Whether the step that begins now must be the last: after it there is time for its save, but not for another step and its save.
 * evaluates: an evaluation comes before that save. */
bool km_deadline_reached(const km_deadline *deadline, double now, bool evaluates);

/* Reads the end of a job, local time as squeue's %e prints it, as seconds since 1970. False where it is not known. */
bool km_deadline_parse(int64_t *end, const char *text);

#endif
