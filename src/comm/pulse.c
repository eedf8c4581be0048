/* The pulse: what a rank says of itself, and the thread that says it. */
#include "pulse_private.h"

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

/* ---- What a rank says of itself ---- */

km_phase km_pulse_phase(km_comm *comm, km_phase phase) {
    km_pulse_tick(comm);
    return (km_phase)atomic_exchange_explicit(&comm->self.phase, (int)phase, memory_order_relaxed);
}

void km_pulse_step(km_comm *comm, int64_t step) {
    atomic_store_explicit(&comm->self.step, step, memory_order_relaxed);
    km_pulse_tick(comm);
}

void km_pulse_tick(km_comm *comm) {
    atomic_fetch_add_explicit(&comm->self.ticks, 1, memory_order_relaxed);
}

void km_pulse_pace(km_comm *comm, double seconds) {
    const double share = 0.1; /* of a new value in the mean */
    double old = atomic_load_explicit(&comm->self.pace, memory_order_relaxed);
    double mean = old > 0 ? old + share * (seconds - old) : seconds;
    atomic_store_explicit(&comm->self.pace, mean, memory_order_relaxed);
}

km_beat km_pulse_beat(km_pulse *pulse) {
    const km_self *self = pulse->self;
    return (km_beat){.step = atomic_load(&self->step),
                     .ticks = atomic_load(&self->ticks),
                     .pace = atomic_load(&self->pace),
                     .phase = atomic_load(&self->phase),
                     .waiting = atomic_load(&self->waiting) > 0};
}

/* Bytes that the process reads and writes are progress wherever it is: a long file is read without a word. */
void km_pulse_note_bytes(km_pulse *pulse) {
    enum { LITTLE = 4096 }; /* this file is itself read */
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
    if (read_bytes + written > pulse->disk_bytes + LITTLE) {
        atomic_fetch_add(&pulse->self->ticks, 1);
    }
    pulse->disk_bytes = read_bytes + written;
}

/* ---- Start and stop ---- */

/* Everyone learns who the others are and where rank 0 listens. */
static void introduce(km_comm *comm, km_pulse *pulse) {
    pulse->peers = km_new((size_t)comm->size, sizeof *pulse->peers);
    km_process self = km_process_self();
    MPI_Allgather(&self, (int)sizeof self, MPI_BYTE, pulse->peers, (int)sizeof self, MPI_BYTE, comm->mpi);
    if (comm->rank == 0 && comm->size > 1) {
        km_allow_files(2 * comm->size); /* rank 0 has a connection to each rank */
        km_net_listen(pulse);
    }
    MPI_Bcast(&pulse->meeting, (int)sizeof pulse->meeting, MPI_BYTE, 0, comm->mpi);
}

/* Signals are for the main thread. */
static bool start_thread(km_pulse *pulse) {
    int failed = km_thread_start(&pulse->thread, pulse->rank == 0 ? km_pulse_hub : km_pulse_spoke, pulse);
    if (!failed) {
        (void)pthread_setname_np(pulse->thread, "kmask-pulse"); /* for top -H */
    }
    return failed == 0;
}

static void destroy(km_pulse *pulse) {
    km_net_close(pulse);
    km_watch_destroy(&pulse->watch);
    for (int i = 0; i < 2; i++) {
        if (pulse->wake[i] >= 0) {
            close(pulse->wake[i]);
        }
    }
    free(pulse->peers);
    free(pulse);
}

void km_pulse_start(km_comm *comm, double timeout, km_last_act *act, void *payload) {
    km_pulse_stop(comm);
    if (timeout <= 0) {
        return;
    }
    km_pulse *pulse = km_new(1, sizeof *pulse);
    *pulse = (km_pulse){.rank = comm->rank,
                        .size = comm->size,
                        .timeout = timeout,
                        .started = km_seconds(),
                        .self = &comm->self,
                        .listeners = {-1, -1},
                        .wake = {-1, -1},
                        .last_act = act,
                        .payload = payload};
    introduce(comm, pulse);
    km_watch_create(&pulse->watch, comm->rank == 0 ? comm->size : 1, timeout, pulse->started);
    pulse->watch.stalls = comm->rank == 0;
    if (pipe2(pulse->wake, O_CLOEXEC) != 0 || !start_thread(pulse)) {
        km_warn("no thread for signs of life: a rank that stops or is cut off may let the run hang");
        destroy(pulse);
        return;
    }
    comm->pulse = pulse;
}

void km_pulse_stop(km_comm *comm) {
    km_pulse *pulse = comm->pulse;
    if (pulse == NULL) {
        return;
    }
    comm->pulse = NULL;
    (void)!write(pulse->wake[1], "", 1);
    pthread_join(pulse->thread, NULL);
    destroy(pulse);
}
