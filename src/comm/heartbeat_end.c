/* heartbeat_end: the report of a failure, and the end of the process. Ranks may be inside MPI calls that never return, so the
 * heartbeat's thread ends its process by _exit, without MPI_Finalize. */
#include "heartbeat_private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The report: one sentence ---- */

static void add_rank(km_buffer *text, const km_heartbeat *heartbeat, int rank) {
    const km_process *process = &heartbeat->processes[rank];
    km_buffer_print(text, "rank %d on %s (pid %lld)", rank, process->host, (long long)process->pid);
}

static void add_place(km_buffer *text, const km_beat *beat) {
    if (beat->step > 0) {
        km_buffer_print(text, "at step %lld, ", (long long)beat->step);
    }
    km_buffer_print(text, "%s", km_phase_name((km_phase)beat->phase));
}

static void describe_silent(km_buffer *text, const km_heartbeat *heartbeat, const km_failure *failure) {
    add_rank(text, heartbeat, failure->rank);
    if (failure->others > 0) {
        km_buffer_print(text, " and %d more rank(s)", failure->others);
    }
    km_buffer_print(text, " gave no sign of life for %.1f s, the last ", failure->seconds);
    add_place(text, &heartbeat->detector.peers[failure->rank].beat);
    bool stopped = km_process_check(&heartbeat->processes[failure->rank]) == KM_PROCESS_STOPPED;
    km_buffer_print(text, ": %s",
                    stopped ? "it is stopped (by a signal or a debugger)"
                            : "it is stopped or cut off, or its host is down");
}

static void describe_gone(km_buffer *text, const km_heartbeat *heartbeat, const km_failure *failure) {
    add_rank(text, heartbeat, failure->rank);
    km_buffer_print(text, " is gone, last seen ");
    add_place(text, &heartbeat->detector.peers[failure->rank].beat);
    km_buffer_print(text, ": its process was killed, crashed, or its host ran out of memory (dmesg on %s may tell)",
                    heartbeat->processes[failure->rank].host);
}

/* Adds the ranks that are in `phase`, and that wait for other ranks (waiting 1) or do not (0), as "0-3, 7". Returns how many
 * there are; `text` may be NULL. */
static int list_ranks(km_buffer *text, const km_heartbeat *heartbeat, int phase, int waiting) {
    int count = 0, last = -2, run = 0;
    for (int rank = 0; rank <= heartbeat->size; rank++) {
        const km_peer *peer = rank < heartbeat->size ? &heartbeat->detector.peers[rank] : NULL;
        bool in = peer != NULL && peer->link != KM_LINK_NONE && peer->beat.phase == phase &&
                  peer->beat.waiting == waiting;
        if (!in) {
            if (run > 1 && text != NULL) {
                km_buffer_print(text, "-%d", last);
            }
            run = 0;
            continue;
        }
        if (run == 0 && text != NULL) {
            km_buffer_print(text, "%s%d", count > 0 ? ", " : "", rank);
        }
        count++;
        run++;
        last = rank;
    }
    return count;
}

/* Describes what the ranks are doing. Ranks that do not wait for other ranks come first: one of them is probably the cause. */
static void describe_stalled(km_buffer *text, const km_heartbeat *heartbeat, const km_failure *failure) {
    km_buffer_print(text, "no rank has made progress for %.1f s: ", failure->seconds);
    const char *between = "";
    for (int waiting = 0; waiting <= 1; waiting++) {
        for (int phase = 0; phase < KM_PHASES; phase++) {
            int count = list_ranks(NULL, heartbeat, phase, waiting);
            if (count == 0) {
                continue;
            }
            km_buffer_print(text, "%srank%s ", between, count > 1 ? "s" : "");
            (void)list_ranks(text, heartbeat, phase, waiting);
            km_buffer_print(text, " %s%s", km_phase_name((km_phase)phase), waiting ? ", waiting for others" : "");
            between = "; ";
        }
    }
    km_buffer_print(text, " (step %lld). A deadlock, a disk that hangs, or a link between two hosts that is cut",
                    (long long)atomic_load(&heartbeat->state->step));
}

static char *sentence(const km_heartbeat *heartbeat, const km_failure *failure) {
    km_buffer text = {0};
    switch (failure->kind) {
    case KM_FAILURE_SILENT:
        describe_silent(&text, heartbeat, failure);
        break;
    case KM_FAILURE_GONE:
        describe_gone(&text, heartbeat, failure);
        break;
    case KM_FAILURE_STALLED:
    case KM_FAILURE_NONE:
        describe_stalled(&text, heartbeat, failure);
    }
    km_buffer_print(&text,
                    ". All ranks end now (parallel.timeout is %g s); the same command goes on from the newest "
                    "checkpoint.",
                    heartbeat->timeout);
    return text.data;
}

/* ---- The exit hook ---- */

typedef struct hook_call {
    const km_heartbeat *heartbeat;
    const char *reason;
} hook_call;

static void *call_hook(void *payload) {
    const hook_call *call = payload;
    const km_heartbeat *heartbeat = call->heartbeat;
    heartbeat->exit_hook(heartbeat->payload, call->reason, atomic_load(&heartbeat->state->step));
    return NULL;
}

/* Runs the exit hook in a thread of its own and with a time limit, so that a disk that hangs does not keep the process from
 * ending. */
static void run_hook(const km_heartbeat *heartbeat, const char *reason) {
    double seconds = KM_MIN(2.0, (heartbeat->timeout - heartbeat->detector.limit) / 2);
    hook_call call = {heartbeat, reason};
    pthread_t thread;
    if (heartbeat->exit_hook == NULL || pthread_create(&thread, NULL, call_hook, &call) != 0) {
        return;
    }
    struct timespec until = km_clock_after(CLOCK_REALTIME, seconds);
    (void)pthread_timedjoin_np(thread, NULL, &until);
}

/* Kills `kill_rank` and all stopped ranks of this host. A stopped process does not end by itself, and its launcher waits for it. */
static void kill_stopped(const km_heartbeat *heartbeat, int kill_rank) {
    for (int rank = 0; rank < heartbeat->size; rank++) {
        if (rank != heartbeat->rank &&
            (rank == kill_rank || km_process_check(&heartbeat->processes[rank]) == KM_PROCESS_STOPPED)) {
            km_process_kill(&heartbeat->processes[rank]);
        }
    }
}

static void report(const km_heartbeat *heartbeat, const km_failure *failure, bool with_hook) {
    char *text = sentence(heartbeat, failure);
    km_log_mute(false);
    km_log("kmask: %s", text);
    if (with_hook) {
        run_hook(heartbeat, text);
    }
}

/* ---- Ends ---- */

void km_heartbeat_end_all(km_heartbeat *heartbeat, const km_failure *failure) {
    const double delivery = 0.05; /* seconds for the packets to be sent */
    int kill_rank = failure->kind == KM_FAILURE_SILENT ? failure->rank : -1;
    /* If this process itself was stopped until a moment ago, the other ranks have reported it and ended. It then reports
     * nothing. */
    const double shortly = 10;
    if (failure->kind == KM_FAILURE_GONE && heartbeat->detector.overslept > 0 &&
        km_seconds() - heartbeat->detector.overslept < shortly) {
        _exit(KM_FAILED);
    }
    report(heartbeat, failure, true);
    km_net_send_all(heartbeat, KM_PACKET_END, kill_rank);
    km_sleep(delivery);
    kill_stopped(heartbeat, kill_rank);
    _exit(KM_FAILED);
}

/* Whether this is the lowest rank that is alive on this machine. Without rank 0, clients cannot agree on which of them reports
 * that it is lost, so on each machine the lowest rank does. */
static bool is_first_on_machine(const km_heartbeat *heartbeat) {
    for (int rank = 1; rank < heartbeat->rank; rank++) {
        if (km_process_check(&heartbeat->processes[rank]) == KM_PROCESS_ALIVE) {
            return false;
        }
    }
    return true;
}

/* Rank 1's machine reports first; on other machines the launcher has usually ended the job before they report the same. The rank
 * that has reported lives on for a moment, so that ranks of its machine that notice later still see it and keep quiet. */
void km_heartbeat_end_alone(km_heartbeat *heartbeat, const km_failure *failure) {
    double moment = heartbeat->detector.interval / 2;
    if (!is_first_on_machine(heartbeat)) {
        km_sleep(2 * moment);
        _exit(KM_FAILED);
    }
    bool beside_rank_1 = heartbeat->processes[1].machine == heartbeat->processes[heartbeat->rank].machine;
    km_sleep(beside_rank_1 ? 0 : moment);
    bool same_machine = km_process_check(&heartbeat->processes[0]) != KM_PROCESS_ELSEWHERE;
    report(heartbeat, failure, same_machine || failure->kind == KM_FAILURE_GONE);
    kill_stopped(heartbeat, 0);
    km_sleep(2 * moment);
    _exit(KM_FAILED);
}

void km_heartbeat_end_as_told(km_heartbeat *heartbeat, const km_packet *packet) {
    if (packet->kill_rank >= 0 && packet->kill_rank < heartbeat->size) {
        kill_stopped(heartbeat, packet->kill_rank);
    }
    _exit(KM_FAILED);
}
