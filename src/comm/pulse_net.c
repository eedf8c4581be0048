/* Sockets of the pulse: never blocking, and a line that breaks is dropped without a word. */
#include "pulse_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Lines ---- */

static void add_line(km_pulse *pulse, int fd, bool connecting) {
    size_t count = (size_t)pulse->line_count + 1;
    pulse->lines = km_grow(pulse->lines, count, sizeof *pulse->lines);
    pulse->lines[pulse->line_count++] =
        (km_line){.fd = fd, .rank = pulse->rank == 0 ? -1 : 0, .connecting = connecting, .since = km_seconds()};
}

void km_net_drop(km_pulse *pulse, int line) {
    close(pulse->lines[line].fd);
    pulse->lines[line] = pulse->lines[--pulse->line_count];
}

void km_net_accept(km_pulse *pulse, int listener) {
    int on = 1, most = 2 * pulse->size + 64; /* strangers do not use up the process' files */
    for (;;) {
        int fd = accept4(pulse->listeners[listener], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        if (pulse->line_count >= most) {
            close(fd);
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        add_line(pulse, fd, false);
    }
}

void km_net_connect(km_pulse *pulse) {
    bool neighbours = pulse->peers[0].machine == pulse->peers[pulse->rank].machine;
    for (int i = 0; i < pulse->meeting.count; i++) {
        const km_address *address = &pulse->meeting.addresses[i];
        int fd = address->loopback && !neighbours ? -1 : km_socket_open(address->family);
        if (fd < 0) {
            continue;
        }
        km_endpoint to;
        socklen_t size = km_endpoint_of(&to, address);
        if (connect(fd, &to.any, size) == 0 || errno == EINPROGRESS) {
            add_line(pulse, fd, true);
        } else {
            close(fd);
        }
    }
}

/* ---- Listening ---- */

void km_net_listen(km_pulse *pulse) {
    km_meeting *meeting = &pulse->meeting;
    if (getrandom(meeting->token, sizeof meeting->token, 0) == (ssize_t)sizeof meeting->token) {
        meeting->count = km_listen(pulse->listeners, meeting->addresses, KM_ADDRESSES);
    }
}

/* ---- Packets ---- */

/* What does not fit at all is left out: the other side has not read for long. What fits in part is completed first. */
static void push(km_line *line) {
    if (line->out > 0) {
        ssize_t sent = send(line->fd, line->leaving + sizeof line->leaving - line->out, line->out, MSG_NOSIGNAL);
        line->out -= sent > 0 ? (size_t)sent : 0;
    }
}

void km_net_send(km_pulse *pulse, km_line *line, km_packet_kind kind, int culprit) {
    if (line->connecting) {
        return;
    }
    push(line);
    if (line->out > 0) {
        return;
    }
    km_packet packet = {
        .kind = (int32_t)kind, .rank = pulse->rank, .culprit = culprit, .beat = km_pulse_beat(pulse)};
    memcpy(packet.token, pulse->meeting.token, sizeof packet.token);
    memcpy(line->leaving, &packet, sizeof packet);
    line->out = sizeof packet;
    size_t before = line->out;
    push(line);
    line->out = line->out == before ? 0 : line->out;
}

void km_net_send_all(km_pulse *pulse, km_packet_kind kind, int culprit) {
    for (int i = 0; i < pulse->line_count; i++) {
        if (pulse->lines[i].rank >= 0) {
            km_net_send(pulse, &pulse->lines[i], kind, culprit);
        }
    }
}

static bool is_ours(const km_pulse *pulse, const km_line *line, const km_packet *packet) {
    return memcmp(packet->token, pulse->meeting.token, sizeof packet->token) == 0 && packet->rank >= 0 &&
           packet->rank < pulse->size && (line->rank < 0 || line->rank == packet->rank) &&
           packet->beat.phase >= 0 && packet->beat.phase < KM_PHASES;
}

km_got km_net_receive(km_pulse *pulse, km_line *line, km_packet *packet) {
    ssize_t got = recv(line->fd, line->arriving + line->in, sizeof line->arriving - line->in, 0);
    if (got == 0) {
        return KM_GOT_END;
    }
    if (got < 0) {
        bool later = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        return later ? KM_GOT_NOTHING : errno == ECONNRESET ? KM_GOT_END : KM_GOT_ERROR;
    }
    line->in += (size_t)got;
    if (line->in < sizeof line->arriving) {
        return KM_GOT_NOTHING;
    }
    line->in = 0;
    memcpy(packet, line->arriving, sizeof *packet);
    return is_ours(pulse, line, packet) ? KM_GOT_PACKET : KM_GOT_ERROR;
}

/* ---- Waiting ---- */

static void want(km_pulse *pulse, int fd, short events) {
    pulse->polls[pulse->poll_count++] = (struct pollfd){.fd = fd, .events = events};
}

bool km_net_wait(km_pulse *pulse, double seconds) {
    pulse->polls = km_grow(pulse->polls, (size_t)pulse->line_count + 3, sizeof *pulse->polls);
    pulse->poll_count = 0;
    want(pulse, pulse->wake[0], POLLIN);
    for (int i = 0; i < 2; i++) {
        want(pulse, pulse->listeners[i], POLLIN); /* -1 is passed over */
    }
    for (int i = 0; i < pulse->line_count; i++) {
        want(pulse, pulse->lines[i].fd, pulse->lines[i].connecting ? POLLOUT : POLLIN);
    }
    (void)poll(pulse->polls, (nfds_t)pulse->poll_count, (int)(KM_MAX(seconds, 0) * 1000) + 1);
    return pulse->polls[0].revents == 0;
}

void km_net_close(km_pulse *pulse) {
    while (pulse->line_count > 0) {
        km_net_drop(pulse, pulse->line_count - 1);
    }
    for (int i = 0; i < 2; i++) {
        if (pulse->listeners[i] >= 0) {
            close(pulse->listeners[i]);
        }
    }
    free(pulse->lines);
    free(pulse->polls);
}
