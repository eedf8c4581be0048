/* Sockets of the pulse: never blocking, and a line that breaks is dropped without a word. */
#include "pulse_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

typedef union endpoint {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} endpoint;

static socklen_t fill_endpoint(endpoint *out, int family, uint16_t port, const void *bytes) {
    memset(out, 0, sizeof *out);
    out->any.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        out->v4.sin_port = port;
        memcpy(&out->v4.sin_addr, bytes, sizeof out->v4.sin_addr);
        return sizeof out->v4;
    }
    out->v6.sin6_port = port;
    memcpy(&out->v6.sin6_addr, bytes, sizeof out->v6.sin6_addr);
    return sizeof out->v6;
}

static int open_socket(int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (family == AF_INET6) {
            (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        }
    }
    return fd;
}

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
        int fd = address->loopback && !neighbours ? -1 : open_socket(address->family);
        if (fd < 0) {
            continue;
        }
        endpoint to;
        socklen_t size = fill_endpoint(&to, address->family, address->port, address->bytes);
        if (connect(fd, &to.any, size) == 0 || errno == EINPROGRESS) {
            add_line(pulse, fd, true);
        } else {
            close(fd);
        }
    }
}

/* ---- Listening ---- */

static int listen_on(int family, uint16_t *port) {
    static const uint8_t any[16];
    endpoint here;
    socklen_t size = fill_endpoint(&here, family, 0, any);
    int fd = open_socket(family);
    if (fd >= 0 &&
        (bind(fd, &here.any, size) != 0 || listen(fd, SOMAXCONN) != 0 || getsockname(fd, &here.any, &size) != 0)) {
        close(fd);
        fd = -1;
    }
    *port = family == AF_INET ? here.v4.sin_port : here.v6.sin6_port;
    return fd;
}

static void add_address(km_meeting *meeting, const struct ifaddrs *interface, const uint16_t *ports) {
    const struct sockaddr *at = interface->ifa_addr;
    bool v4 = at != NULL && at->sa_family == AF_INET, v6 = at != NULL && at->sa_family == AF_INET6;
    uint16_t port = v4 ? ports[0] : ports[1];
    if (!(v4 || v6) || port == 0 || !(interface->ifa_flags & IFF_UP) || meeting->count == KM_ADDRESSES) {
        return;
    }
    km_address *address = &meeting->addresses[meeting->count];
    *address = (km_address){.family = at->sa_family, .port = port};
    address->loopback = (interface->ifa_flags & IFF_LOOPBACK) != 0;
    if (v4) {
        memcpy(address->bytes, &((const struct sockaddr_in *)(const void *)at)->sin_addr, 4);
    } else {
        const struct in6_addr *bytes = &((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;
        if (IN6_IS_ADDR_LINKLOCAL(bytes)) { /* means nothing on another host */
            return;
        }
        memcpy(address->bytes, bytes, 16);
    }
    meeting->count++;
}

void km_net_listen(km_pulse *pulse) {
    km_meeting *meeting = &pulse->meeting;
    struct ifaddrs *interfaces = NULL;
    uint16_t ports[2] = {0, 0};
    if (getrandom(meeting->token, sizeof meeting->token, 0) != (ssize_t)sizeof meeting->token ||
        getifaddrs(&interfaces) != 0) {
        return;
    }
    const int families[2] = {AF_INET, AF_INET6};
    for (int i = 0; i < 2; i++) {
        pulse->listeners[i] = listen_on(families[i], &ports[i]);
        ports[i] = pulse->listeners[i] >= 0 ? ports[i] : 0;
    }
    for (const struct ifaddrs *i = interfaces; i != NULL; i = i->ifa_next) {
        add_address(meeting, i, ports);
    }
    freeifaddrs(interfaces);
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
