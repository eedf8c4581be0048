/* The last words of a run, and its end. Ranks may sit in MPI, which returns for no one: processes end as they are. */
#include "pulse_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void pause_for(double seconds) {
    struct timespec time = {.tv_sec = (time_t)seconds};
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    (void)nanosleep(&time, NULL);
}

/* ---- Sentences ---- */

static void add_who(km_buffer *text, const km_pulse *pulse, int rank) {
    const km_process *peer = &pulse->peers[rank];
    km_buffer_print(text, "rank %d on %s (pid %lld)", rank, peer->host, (long long)peer->pid);
}

static void add_last(km_buffer *text, const km_beat *beat) {
    if (beat->step > 0) {
        km_buffer_print(text, "at step %lld, ", (long long)beat->step);
    }
    km_buffer_print(text, "%s", km_phase_name((km_phase)beat->phase));
}

static void describe_silent(km_buffer *text, const km_pulse *pulse, const km_verdict *verdict) {
    add_who(text, pulse, verdict->rank);
    if (verdict->others > 0) {
        km_buffer_print(text, " and %d more rank(s)", verdict->others);
    }
    km_buffer_print(text, " gave no sign of life for %.1f s, the last ", verdict->seconds);
    add_last(text, &pulse->watch.signs[verdict->rank].beat);
    bool stopped = km_process_look(&pulse->peers[verdict->rank]) == KM_PROCESS_STOPPED;
    km_buffer_print(text, ": %s",
                    stopped ? "it is stopped (by a signal or a debugger)"
                            : "it is stopped or cut off, or its host is down");
}

static void describe_gone(km_buffer *text, const km_pulse *pulse, const km_verdict *verdict) {
    add_who(text, pulse, verdict->rank);
    km_buffer_print(text, " is gone, last seen ");
    add_last(text, &pulse->watch.signs[verdict->rank].beat);
    km_buffer_print(text, ": its process was killed, crashed, or its host ran out of memory (dmesg on %s may tell)",
                    pulse->peers[verdict->rank].host);
}

/* "0-3, 7": the ranks that are in this phase, waiting or not. Their number; with `text` NULL only that. */
static int list_ranks(km_buffer *text, const km_pulse *pulse, int phase, int waiting) {
    int count = 0, last = -2, run = 0;
    for (int rank = 0; rank <= pulse->size; rank++) {
        const km_sign *sign = rank < pulse->size ? &pulse->watch.signs[rank] : NULL;
        bool in = sign != NULL && sign->link != KM_LINK_NONE && sign->beat.phase == phase &&
                  sign->beat.waiting == waiting;
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

/* Those that wait for nobody are the suspects: they come first, with their hosts. */
static void describe_stalled(km_buffer *text, const km_pulse *pulse, const km_verdict *verdict) {
    km_buffer_print(text, "no rank has made progress for %.1f s: ", verdict->seconds);
    const char *between = "";
    for (int waiting = 0; waiting <= 1; waiting++) {
        for (int phase = 0; phase < KM_PHASES; phase++) {
            int count = list_ranks(NULL, pulse, phase, waiting);
            if (count == 0) {
                continue;
            }
            km_buffer_print(text, "%srank%s ", between, count > 1 ? "s" : "");
            (void)list_ranks(text, pulse, phase, waiting);
            km_buffer_print(text, " %s%s", km_phase_name((km_phase)phase), waiting ? ", waiting for others" : "");
            between = "; ";
        }
    }
    km_buffer_print(text, " (step %lld). A deadlock, a disk that hangs, or a link between two hosts that is cut",
                    (long long)atomic_load(&pulse->self->step));
}

static char *sentence(const km_pulse *pulse, const km_verdict *verdict) {
    km_buffer text = {0};
    switch (verdict->kind) {
    case KM_SILENT:
        describe_silent(&text, pulse, verdict);
        break;
    case KM_GONE:
        describe_gone(&text, pulse, verdict);
        break;
    case KM_STALLED:
    case KM_WELL:
        describe_stalled(&text, pulse, verdict);
    }
    km_buffer_print(&text,
                    ". All ranks end now (parallel.timeout is %g s); the same command goes on from the newest "
                    "checkpoint.",
                    pulse->timeout);
    return text.data;
}

/* ---- The last act ---- */

typedef struct act {
    const km_pulse *pulse;
    const char *reason;
} act;

static void *perform(void *payload) {
    const act *a = payload;
    a->pulse->last_act(a->pulse->payload, a->reason, atomic_load(&a->pulse->self->step));
    return NULL;
}

/* In a thread of its own: a disk that hangs must not keep the process. */
static void last_act(const km_pulse *pulse, const char *reason) {
    double seconds = KM_MIN(2.0, (pulse->timeout - pulse->watch.limit) / 2);
    act a = {pulse, reason};
    pthread_t thread;
    struct timespec until;
    if (pulse->last_act == NULL || pthread_create(&thread, NULL, perform, &a) != 0) {
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t nanoseconds = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += (time_t)(nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    (void)pthread_timedjoin_np(thread, NULL, &until);
}

/* A stopped neighbour would stay for ever: its launcher waits for it. */
static void kill_neighbours(const km_pulse *pulse, int culprit) {
    for (int rank = 0; rank < pulse->size; rank++) {
        if (rank != pulse->rank &&
            (rank == culprit || km_process_look(&pulse->peers[rank]) == KM_PROCESS_STOPPED)) {
            km_process_kill(&pulse->peers[rank]);
        }
    }
}

static void speak(const km_pulse *pulse, const km_verdict *verdict, bool act_too) {
    char *text = sentence(pulse, verdict);
    km_log_mute(false);
    km_log("kmask: %s", text);
    if (act_too) {
        last_act(pulse, text);
    }
}

/* ---- Ends ---- */

void km_pulse_end_all(km_pulse *pulse, const km_verdict *verdict) {
    const double delivery = 0.05; /* seconds for the packets to leave */
    int culprit = verdict->kind == KM_SILENT ? verdict->rank : -1;
    /* Stopped itself, and awake again: those who are gone have named this rank. */
    const double shortly = 10;
    if (verdict->kind == KM_GONE && pulse->watch.overslept > 0 && km_seconds() - pulse->watch.overslept < shortly) {
        _exit(KM_FAILED);
    }
    speak(pulse, verdict, true);
    km_net_send_all(pulse, KM_PACKET_END, culprit);
    pause_for(delivery);
    kill_neighbours(pulse, culprit);
    _exit(KM_FAILED);
}

/* The lowest rank of a machine speaks for it; machines without the lowest rank of all wait for its words to end the job. */
static bool speaks_for_machine(const km_pulse *pulse) {
    for (int rank = 1; rank < pulse->rank; rank++) {
        if (km_process_look(&pulse->peers[rank]) == KM_PROCESS_ALIVE) {
            return false;
        }
    }
    return true;
}

/* Who has spoken stays a moment: whoever notices later, on a machine at work, then sees that somebody speaks. */
void km_pulse_end_alone(km_pulse *pulse, const km_verdict *verdict) {
    double moment = pulse->watch.beat / 2;
    if (!speaks_for_machine(pulse)) {
        pause_for(2 * moment);
        _exit(KM_FAILED);
    }
    bool first = pulse->peers[1].machine == pulse->peers[pulse->rank].machine;
    pause_for(first ? 0 : moment);
    bool near = km_process_look(&pulse->peers[0]) != KM_PROCESS_ELSEWHERE;
    speak(pulse, verdict, near || verdict->kind == KM_GONE);
    kill_neighbours(pulse, 0);
    pause_for(2 * moment);
    _exit(KM_FAILED);
}

void km_pulse_end_as_told(km_pulse *pulse, const km_packet *packet) {
    if (packet->culprit >= 0 && packet->culprit < pulse->size) {
        kill_neighbours(pulse, packet->culprit);
    }
    _exit(KM_FAILED);
}
