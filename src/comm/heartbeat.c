/* heartbeat: the state that a rank reports, and starting and stopping the thread that reports it. */
#include "heartbeat_private.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *km_phase_name(km_phase phase) {
    static const char *const names[KM_PHASES] = {"starting", "reading",    "computing", "summing",
                                                 "updating", "evaluating", "saving",    "ending"};
    return phase >= 0 && phase < KM_PHASES ? names[phase] : "?";
}

/* ---- The state of this rank ---- */

km_phase km_heartbeat_phase(km_comm *comm, km_phase phase) {
    km_heartbeat_progress(comm);
    return (km_phase)atomic_exchange_explicit(&km_comm_state(comm)->phase, (int)phase, memory_order_relaxed);
}

void km_heartbeat_step(km_comm *comm, int64_t step) {
    atomic_store_explicit(&km_comm_state(comm)->step, step, memory_order_relaxed);
    km_heartbeat_progress(comm);
}

void km_heartbeat_progress(km_comm *comm) {
    atomic_fetch_add_explicit(&km_comm_state(comm)->progress, 1, memory_order_relaxed);
}

void km_heartbeat_pace(km_comm *comm, double seconds) {
    const double share = 0.1; /* of the new value in the moving average */
    double old = atomic_load_explicit(&km_comm_state(comm)->pace, memory_order_relaxed);
    double mean = old > 0 ? old + share * (seconds - old) : seconds;
    atomic_store_explicit(&km_comm_state(comm)->pace, mean, memory_order_relaxed);
}

km_beat km_heartbeat_own_beat(km_heartbeat *heartbeat) {
    const km_rank_state *self = heartbeat->state;
    return (km_beat){.step = atomic_load(&self->step),
                     .progress = atomic_load(&self->progress),
                     .pace = atomic_load(&self->pace),
                     .phase = atomic_load(&self->phase),
                     .waiting = atomic_load(&self->waiting) > 0};
}

/* Counts bytes that were read or written as progress, by the kernel's counters: code that reads a long file does not call
 * km_heartbeat_progress. */
void km_heartbeat_note_bytes(km_heartbeat *heartbeat) {
    /* Bytes that do not count as progress, since reading /proc/self/io adds to the counters too. */
    enum { LITTLE = 4096 };
    char text[256];
    unsigned long long read_bytes = 0, written = 0;
    int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[got > 0 ? got : 0] = '\0';
    const char *in = strstr(text, "rchar: "), *out = strstr(text, "wchar: ");
    if (in != NULL && out != NULL) {
        read_bytes = strtoull(in + strlen("rchar: "), NULL, 10);
        written = strtoull(out + strlen("wchar: "), NULL, 10);
    }
    if (read_bytes + written > heartbeat->bytes + LITTLE) {
        atomic_fetch_add(&heartbeat->state->progress, 1);
    }
    heartbeat->bytes = read_bytes + written;
}

/* ---- Start and stop ---- */

/* Tells all ranks the processes of all ranks, and where rank 0 listens. */
static void exchange_addresses(km_comm *comm, km_heartbeat *heartbeat) {
    heartbeat->processes = km_new((size_t)comm->size, sizeof *heartbeat->processes);
    km_process self = km_process_self();
    MPI_Allgather(&self, (int)sizeof self, MPI_BYTE, heartbeat->processes, (int)sizeof self, MPI_BYTE, comm->mpi);
    if (comm->rank == 0 && comm->size > 1) {
        km_allow_files(2 * comm->size); /* rank 0 has a connection to each rank */
        km_net_listen(heartbeat);
    }
    MPI_Bcast(&heartbeat->server, (int)sizeof heartbeat->server, MPI_BYTE, 0, comm->mpi);
}

static bool start_thread(km_heartbeat *heartbeat) {
    int failed = km_thread_start(&heartbeat->thread,
                                 heartbeat->rank == 0 ? km_heartbeat_server : km_heartbeat_client, heartbeat);
    if (!failed) {
        (void)pthread_setname_np(heartbeat->thread, "kmask-heartbeat"); /* for top -H */
    }
    return failed == 0;
}

static void destroy(km_heartbeat *heartbeat) {
    km_net_close(heartbeat);
    km_detector_destroy(&heartbeat->detector);
    for (int i = 0; i < 2; i++) {
        if (heartbeat->wake[i] >= 0) {
            close(heartbeat->wake[i]);
        }
    }
    free(heartbeat->processes);
    free(heartbeat);
}

void km_heartbeat_start(km_comm *comm, double timeout, km_exit_hook *exit_hook, void *payload) {
    km_heartbeat_stop(comm);
    if (timeout <= 0) {
        return;
    }
    km_heartbeat *heartbeat = km_new(1, sizeof *heartbeat);
    *heartbeat = (km_heartbeat){.rank = comm->rank,
                                .size = comm->size,
                                .timeout = timeout,
                                .started = km_seconds(),
                                .state = km_comm_state(comm),
                                .listeners = {-1, -1},
                                .wake = {-1, -1},
                                .exit_hook = exit_hook,
                                .payload = payload};
    exchange_addresses(comm, heartbeat);
    km_detector_create(&heartbeat->detector, comm->rank == 0 ? comm->size : 1, timeout, heartbeat->started);
    heartbeat->detector.judges_progress = comm->rank == 0;
    if (pipe2(heartbeat->wake, O_CLOEXEC) != 0 || !start_thread(heartbeat)) {
        km_warn("no thread for signs of life: a rank that stops or is cut off may let the run hang");
        destroy(heartbeat);
        return;
    }
    comm->heartbeat = heartbeat;
}

void km_heartbeat_stop(km_comm *comm) {
    km_heartbeat *heartbeat = comm->heartbeat;
    if (heartbeat == NULL) {
        return;
    }
    comm->heartbeat = NULL;
    (void)!write(heartbeat->wake[1], "", 1);
    pthread_join(heartbeat->thread, NULL);
    destroy(heartbeat);
}
