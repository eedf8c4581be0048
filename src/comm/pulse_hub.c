/* Rank 0's thread: hears everyone, answers everyone, judges. */
#include "pulse_private.h"

#include <unistd.h>

static void hear(km_pulse *pulse, int i, double now) {
    km_line *line = &pulse->lines[i];
    km_packet packet;
    switch (km_net_receive(pulse, line, &packet)) {
    case KM_GOT_NOTHING:
        return;
    case KM_GOT_PACKET:
        if (packet.kind == KM_PACKET_LEAVE) {
            km_watch_left(&pulse->watch, packet.rank);
        } else {
            km_watch_heard(&pulse->watch, packet.rank, now, &packet.beat);
        }
        if (line->rank < 0) { /* the answer tells the other side that this address is good */
            line->rank = packet.rank;
            km_net_send(pulse, line, KM_PACKET_BEAT, -1);
        }
        return;
    case KM_GOT_END: {
        int rank = line->rank, left = 0;
        km_net_drop(pulse, i);
        for (int j = 0; j < pulse->line_count; j++) {
            left += pulse->lines[j].rank == rank;
        }
        if (rank >= 0 && left == 0) {
            km_watch_closed(&pulse->watch, rank, now);
        }
        return;
    }
    case KM_GOT_ERROR:
        km_net_drop(pulse, i);
    }
}

static void read_lines(km_pulse *pulse, double now) {
    const double patience = 5; /* seconds for a stranger's first packet */
    enum { FIRST = 3 };        /* polls before those of lines */
    int count = pulse->poll_count - FIRST;
    for (int i = count - 1; i >= 0; i--) { /* backwards: what takes a dropped line's place was looked at */
        if (pulse->polls[FIRST + i].revents != 0) {
            hear(pulse, i, now);
        } else if (pulse->lines[i].rank < 0 && now - pulse->lines[i].since > patience) {
            km_net_drop(pulse, i);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (pulse->polls[1 + i].revents != 0) {
            km_net_accept(pulse, i);
        }
    }
}

/* A neighbour whose line has closed and whose process is gone need not be waited for. True when some line is closed. */
static bool look_at_closed(km_pulse *pulse, double now) {
    bool any = false;
    for (int rank = 1; rank < pulse->size; rank++) {
        km_sign *sign = &pulse->watch.signs[rank];
        if (sign->link == KM_LINK_CLOSED) {
            any = true;
            if (km_process_look(&pulse->peers[rank]) == KM_PROCESS_GONE) {
                sign->closed = now - pulse->watch.grace;
            }
        }
    }
    return any;
}

static void warn_of_unheard(km_pulse *pulse, double now) {
    double patience = KM_MIN(30.0, pulse->watch.limit / 2);
    if (pulse->warned || now - pulse->started < patience) {
        return;
    }
    pulse->warned = true;
    int unheard = 0, first = 0;
    for (int rank = pulse->size - 1; rank > 0; rank--) {
        if (pulse->watch.signs[rank].link == KM_LINK_NONE) {
            unheard++;
            first = rank;
        }
    }
    if (unheard > 0) {
        km_warn(
            "%d of %d ranks (the first: rank %d on %s) cannot open a TCP connection to rank 0 on %s: should one of "
            "them stop or be cut off, the run may hang. A firewall between the hosts?",
            unheard, pulse->size, first, pulse->peers[first].host, pulse->peers[0].host);
    }
}

static void name_stragglers(km_pulse *pulse) {
    int rank = 0;
    double ratio = 1;
    for (;;) {
        km_pace_change change = km_watch_pace(&pulse->watch, &rank, &ratio);
        const km_sign *sign = &pulse->watch.signs[rank];
        if (change == KM_PACE_SAME) {
            return;
        }
        if (change == KM_PACE_SLOW) {
            km_warn(
                "step %lld: rank %d on %s (pid %lld) takes %.1f times as long for a micro-batch as the median rank "
                "(%.3g s), and every step waits for it",
                (long long)sign->beat.step, rank, pulse->peers[rank].host, (long long)pulse->peers[rank].pid, ratio,
                sign->beat.pace);
        } else {
            km_log("step %lld: rank %d on %s keeps up with the others again", (long long)sign->beat.step, rank,
                   pulse->peers[rank].host);
        }
    }
}

static void beat(km_pulse *pulse, double now) {
    km_pulse_note_bytes(pulse);
    km_beat own = km_pulse_beat(pulse);
    km_watch_heard(&pulse->watch, 0, now, &own);
    km_net_send_all(pulse, KM_PACKET_BEAT, -1);
    warn_of_unheard(pulse, now);
    name_stragglers(pulse);
}

void *km_pulse_hub(void *argument) {
    km_pulse *pulse = argument;
    double next = km_seconds();
    const double hurried = 0.002;
    bool closed = false;
    while (km_net_wait(pulse, closed ? hurried : next - km_seconds())) {
        double now = km_seconds();
        read_lines(pulse, now);
        if (now >= next) {
            beat(pulse, now);
            next = now + pulse->watch.beat;
        }
        closed = look_at_closed(pulse, now);
        km_verdict verdict = km_watch_judge(&pulse->watch, now);
        if (verdict.kind != KM_WELL) {
            km_pulse_end_all(pulse, &verdict);
        }
        usleep(closed ? 0 : 10000); /* beats of many ranks are read together */
    }
    km_net_send_all(pulse, KM_PACKET_LEAVE, -1);
    return NULL;
}
