/* The other ranks' thread: beats to rank 0, hears its answers, and ends the process when told, or when rank 0 is silent. */
#include "pulse_private.h"

#include <sys/socket.h>

typedef struct spoke {
    km_pulse *pulse;
    bool joined; /* rank 0 has answered on the one line that is left */
    double next, retry;
} spoke;

/* A line that was being connected is made, or is given up. */
static void finish_connect(km_pulse *pulse, int i) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(pulse->lines[i].fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        km_net_drop(pulse, i);
        return;
    }
    pulse->lines[i].connecting = false;
    km_net_send(pulse, &pulse->lines[i], KM_PACKET_BEAT, -1);
}

/* The first address at which rank 0 answers is kept. */
static void join(spoke *s, int fd) {
    if (s->joined) {
        return;
    }
    s->joined = true;
    for (int i = s->pulse->line_count - 1; i >= 0; i--) {
        if (s->pulse->lines[i].fd != fd) {
            km_net_drop(s->pulse, i);
        }
    }
}

static bool take(spoke *s, const km_packet *packet, int fd, double now) {
    switch ((km_packet_kind)packet->kind) {
    case KM_PACKET_BEAT:
        km_watch_heard(&s->pulse->watch, 0, now, &packet->beat);
        join(s, fd);
        return true;
    case KM_PACKET_LEAVE:
        km_watch_left(&s->pulse->watch, 0);
        return false;
    case KM_PACKET_END:
        km_pulse_end_as_told(s->pulse, packet);
    }
    return false;
}

/* True while lines may be looked at in the old order. */
static bool hear(spoke *s, int i, double now) {
    km_pulse *pulse = s->pulse;
    km_packet packet;
    bool was_joined = s->joined;
    km_got got = km_net_receive(pulse, &pulse->lines[i], &packet);
    if (got == KM_GOT_PACKET) {
        return take(s, &packet, pulse->lines[i].fd, now) && was_joined == s->joined;
    }
    if (got == KM_GOT_END || got == KM_GOT_ERROR) {
        km_net_drop(pulse, i);
        s->joined = false;
        s->retry = was_joined ? now : s->retry;
        if (was_joined && got == KM_GOT_END) {
            km_watch_closed(&pulse->watch, 0, now);
        }
    }
    return true;
}

static void read_lines(spoke *s, double now) {
    enum { FIRST = 3 };
    const double patience = 5; /* seconds for rank 0's first answer */
    km_pulse *pulse = s->pulse;
    for (int i = pulse->poll_count - FIRST - 1; i >= 0; i--) {
        short events = pulse->polls[FIRST + i].revents;
        if (events != 0 && pulse->lines[i].connecting) {
            finish_connect(pulse, i);
        } else if (events != 0) {
            if (!hear(s, i, now)) {
                return;
            }
        } else if (!s->joined && now - pulse->lines[i].since > patience) {
            km_net_drop(pulse, i);
        }
    }
}

static void keep_connected(spoke *s, double now) {
    km_pulse *pulse = s->pulse;
    const km_sign *hub = &pulse->watch.signs[0];
    if (pulse->line_count == 0 && hub->link != KM_LINK_LEFT && now >= s->retry) {
        const double again = hub->link == KM_LINK_CLOSED ? 0.1 : 2.0;
        km_net_connect(pulse);
        s->retry = now + again;
    }
}

static double wait_for(const spoke *s) {
    const km_sign *hub = &s->pulse->watch.signs[0];
    double now = km_seconds(), until = s->next - now;
    if (hub->link == KM_LINK_CLOSED) {
        until = KM_MIN(until, 0.002);
    } else if (hub->link == KM_LINK_OPEN) { /* all spokes notice its silence at the same moment */
        until = KM_MIN(until, hub->heard + s->pulse->watch.limit - now);
    }
    return until;
}

static void judge(spoke *s, double now) {
    km_watch *watch = &s->pulse->watch;
    if (watch->signs[0].link == KM_LINK_CLOSED && km_process_look(&s->pulse->peers[0]) == KM_PROCESS_GONE) {
        watch->signs[0].closed = now - watch->grace;
    }
    km_verdict verdict = km_watch_judge(watch, now);
    if (verdict.kind != KM_WELL) {
        km_pulse_end_alone(s->pulse, &verdict);
    }
}

void *km_pulse_spoke(void *argument) {
    spoke s = {.pulse = argument, .next = km_seconds()};
    do {
        double now = km_seconds();
        if (now >= s.next) {
            km_pulse_note_bytes(s.pulse);
            if (s.joined) {
                km_net_send_all(s.pulse, KM_PACKET_BEAT, -1);
            }
            s.next = now + s.pulse->watch.beat;
        }
        keep_connected(&s, now);
        judge(&s, now);
        if (!km_net_wait(s.pulse, wait_for(&s))) {
            break;
        }
        read_lines(&s, km_seconds());
    } while (true);
    km_net_send_all(s.pulse, KM_PACKET_LEAVE, -1);
    return NULL;
}
