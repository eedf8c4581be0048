/* deadline: the end of a run, from run.max_hours and SLURM, and whether it is near. */
#include "deadline.h"

#include "kmask/run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ---- squeue ---- */

bool km_deadline_parse(int64_t *end, const char *text) {
    struct tm parts = {.tm_isdst = -1};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest == NULL || rest[strspn(rest, " \n")] != '\0') {
        return false; /* squeue prints NONE, N/A or Unknown where there is no end */
    }
    time_t seconds = mktime(&parts);
    *end = (int64_t)seconds;
    return seconds > 0;
}

/* Runs a program and returns what it writes within `patience` seconds, after which it is killed. The caller frees; NULL when it
 * cannot be run. */
static char *output_of(char *const *command, double patience) {
    int ends[2];
    pid_t child = 0;
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return NULL;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int failed = posix_spawnp(&child, command[0], &actions, NULL, command, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    km_buffer text = {0};
    double until = km_seconds() + patience;
    while (!failed) {
        struct pollfd readable = {.fd = ends[0], .events = POLLIN};
        char piece[256];
        double left = until - km_seconds();
        int ready = left > 0 ? poll(&readable, 1, (int)(left * 1000) + 1) : 0;
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        ssize_t got = ready > 0 ? read(ends[0], piece, sizeof piece) : 0;
        if (got <= 0 || text.size > 4096) {
            break;
        }
        km_buffer_add(&text, piece, (size_t)got);
    }
    close(ends[0]);
    if (!failed) {
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
    }
    return text.data;
}

static bool ask_squeue(int64_t *end, const char *job) {
    const double patience = 15;
    char *name = km_strdup(job);
    char program[] = "squeue", no_header[] = "-h", of[] = "-j", format[] = "-o", field[] = "%e";
    char *command[] = {program, no_header, of, name, format, field, NULL};
    char *text = output_of(command, patience);
    bool known = text != NULL && km_deadline_parse(end, text);
    free(text);
    free(name);
    return known;
}

/* Finds the end of the job that this process belongs to; false where there is no job, or its end is not known. */
static bool job_end(int64_t *end, const char *job) {
    const char *given = getenv("SLURM_JOB_END_TIME");
    char *rest = NULL;
    if (given != NULL) {
        *end = strtoll(given, &rest, 10);
        if (rest != given && *rest == '\0' && *end > 0) {
            return true;
        }
    }
    return ask_squeue(end, job);
}

/* ---- Measured times ---- */

static void add(km_recent *recent, double seconds) {
    recent->seconds[recent->count++ % KM_DEADLINE_RECENT] = seconds;
}

static double largest(const km_recent *recent) {
    double most = 0;
    for (int i = 0; i < KM_MIN(recent->count, KM_DEADLINE_RECENT); i++) {
        most = KM_MAX(most, recent->seconds[i]);
    }
    return most;
}

/* ---- Public ---- */

static void end_by(km_deadline *deadline, double end, double margin, const char *what, const char *detail) {
    if (end - margin < deadline->end - deadline->margin) {
        deadline->end = end;
        deadline->margin = margin;
        snprintf(deadline->what, sizeof deadline->what, "%s%s", what, detail);
    }
}

void km_deadline_start(km_deadline *deadline, double max_hours, double started) {
    *deadline = (km_deadline){.end = INFINITY};
    if (max_hours > 0) {
        end_by(deadline, started + max_hours * 3600, 0, "run.max_hours", "");
    }
    const char *job = getenv("SLURM_JOB_ID");
    if (job == NULL || job[0] == '\0') {
        return;
    }
    int64_t end = 0;
    if (!job_end(&end, job)) {
        km_log("SLURM job %.40s: its end is not known (no SLURM_JOB_END_TIME, and squeue names none): the run does "
               "not "
               "stop by itself before it; run.max_hours or #SBATCH --signal=USR1@300 does that",
               job);
        return;
    }
    const double most = 15, share = 0.05;
    double left = (double)end - (double)time(NULL);
    char of[48], text[32];
    snprintf(of, sizeof of, "%.40s", job);
    end_by(deadline, km_seconds() + left, KM_MIN(most, share * KM_MAX(left, 0)), "the end of SLURM job ", of);
    km_log("SLURM job %s ends in %s: the run saves and stops by itself before that", of,
           km_duration(text, KM_MAX(left, 0)));
}

double km_slurm_seconds_left(void) {
    km_deadline deadline;
    km_deadline_start(&deadline, 0, km_seconds());
    return deadline.end - km_seconds();
}

void km_deadline_expect_save(km_deadline *deadline, double bytes, double rate) {
    const double slow = 50e6; /* bytes a second: a loaded network file system */
    deadline->expected_save = bytes / (rate > 0 ? rate : slow);
}

void km_deadline_add_step(km_deadline *deadline, double seconds) {
    add(&deadline->steps, seconds);
}

void km_deadline_add_save(km_deadline *deadline, double seconds) {
    const km_recent *saves = &deadline->saves;
    if (saves->count == 0 || saves->seconds[(saves->count - 1) % KM_DEADLINE_RECENT] != seconds) {
        add(&deadline->saves, seconds);
    }
}

void km_deadline_add_evaluation(km_deadline *deadline, double seconds) {
    add(&deadline->evaluations, seconds);
}

bool km_deadline_reached(const km_deadline *deadline, double now, bool evaluates) {
    const double spare = 1.5; /* a save may take longer than those before it: others use the disk too */
    double save = deadline->saves.count > 0 ? largest(&deadline->saves) : deadline->expected_save;
    double needed = 2 * largest(&deadline->steps) + spare * save + deadline->margin;
    needed += evaluates ? largest(&deadline->evaluations) : 0;
    return now + needed >= deadline->end;
}
