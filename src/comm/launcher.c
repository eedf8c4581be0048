/* launcher: how many tasks the launcher of this process says that it started. Where MPI has fewer ranks, the launcher and the MPI
 * library do not speak the same protocol, and each task would take itself for the only one. */
#include <stdlib.h>

#include "comm_private.h"

typedef struct launcher {
    const char *tasks,
        *task; /* environment variables: the number of tasks, and this task's number, which must be there too */
    const char *name;
} launcher;

/* The first whose variables are set counts: mpirun inside a SLURM step has those of both, and its own are right. SLURM_NTASKS alone
 * says nothing: a batch script has it too. */
static const launcher launchers[] = {
    {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "mpirun of Open MPI"},
    {"MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "mpirun of MVAPICH"},
    {"PMI_SIZE", "PMI_RANK", "a launcher of PMI (mpiexec of MPICH, or srun)"},
    {"FLUX_JOB_SIZE", "FLUX_TASK_RANK", "flux run"},
    {"PALS_NRANKS", "PALS_RANKID", "mpiexec of PALS"},
    {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "srun"},
};

/* A whole number from 1 in an environment variable; 0 where there is none. */
static long number_of(const char *name) {
    const char *text = getenv(name);
    char *end = NULL;
    const long value = text != NULL ? strtol(text, &end, 10) : 0;
    return text != NULL && end != text && *end == '\0' && value > 0 ? value : 0;
}

km_status km_launcher_check(int ranks) {
    for (size_t i = 0; i < KM_COUNT(launchers); i++) {
        const long tasks = number_of(launchers[i].tasks);
        if (tasks == 0 || getenv(launchers[i].task) == NULL) {
            continue;
        }
        return tasks <= ranks
                   ? KM_OK
                   : km_fail(
                         KM_USAGE,
                         "%s started %ld tasks (%s), but MPI has %d rank(s): each task would work alone. Start it "
                         "with `srun --mpi=pmix`, or with the mpirun of the MPI that kmask was built with; `kmask "
                         "doctor` looks further.",
                         launchers[i].name, tasks, launchers[i].tasks, ranks);
    }
    return KM_OK;
}
