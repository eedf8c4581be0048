/* heartbeat_net: the heartbeat's sockets. They never block; a connection that breaks is dropped without a message. */
#include "heartbeat_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Connections ---- */

static void add_connection(km_heartbeat *heartbeat, int fd, bool connecting) {
    size_t count = (size_t)heartbeat->connection_count + 1;
    heartbeat->connections = km_grow(heartbeat->connections, count, sizeof *heartbeat->connections);
    heartbeat->connections[heartbeat->connection_count++] = (km_connection){
        .fd = fd, .rank = heartbeat->rank == 0 ? -1 : 0, .connecting = connecting, .since = km_seconds()};
}

void km_net_drop(km_heartbeat *heartbeat, int connection) {
    close(heartbeat->connections[connection].fd);
    heartbeat->connections[connection] = heartbeat->connections[--heartbeat->connection_count];
}

void km_net_accept(km_heartbeat *heartbeat, int listener) {
    int on = 1,
        most = 2 * heartbeat->size + 64; /* other programs that connect must not use up this process' files */
    for (;;) {
        int fd = accept4(heartbeat->listeners[listener], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        if (heartbeat->connection_count >= most) {
            close(fd);
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        add_connection(heartbeat, fd, false);
    }
}

void km_net_connect(km_heartbeat *heartbeat) {
    bool same_machine = heartbeat->processes[0].machine == heartbeat->processes[heartbeat->rank].machine;
    for (int i = 0; i < heartbeat->server.count; i++) {
        const km_address *address = &heartbeat->server.addresses[i];
        int fd = address->loopback && !same_machine ? -1 : km_socket_open(address->family);
        if (fd < 0) {
            continue;
        }
        km_endpoint to;
        socklen_t size = km_endpoint_of(&to, address);
        if (connect(fd, &to.any, size) == 0 || errno == EINPROGRESS) {
            add_connection(heartbeat, fd, true);
        } else {
            close(fd);
        }
    }
}

/* ---- Listening ---- */

void km_net_listen(km_heartbeat *heartbeat) {
    km_server_address *server = &heartbeat->server;
    if (getrandom(server->token, sizeof server->token, 0) == (ssize_t)sizeof server->token) {
        server->count = km_listen(heartbeat->listeners, server->addresses, KM_ADDRESSES);
    }
}

/* ---- Packets ---- */

/* Sends as much of the packet in `leaving` as the socket takes. */
static void send_some(km_connection *connection) {
    if (connection->out > 0) {
        ssize_t sent = send(connection->fd, connection->leaving + sizeof connection->leaving - connection->out,
                            connection->out, MSG_NOSIGNAL);
        connection->out -= sent > 0 ? (size_t)sent : 0;
    }
}

/* A packet of which the socket takes nothing is dropped: the other side has not read for a long time, and a later heartbeat will
 * hold newer state. A packet that the socket has taken in part is completed before the next one is begun. */
void km_net_send(km_heartbeat *heartbeat, km_connection *connection, km_packet_kind kind, int kill_rank) {
    if (connection->connecting) {
        return;
    }
    send_some(connection);
    if (connection->out > 0) {
        return;
    }
    km_packet packet = {.kind = (int32_t)kind,
                        .rank = heartbeat->rank,
                        .kill_rank = kill_rank,
                        .beat = km_heartbeat_own_beat(heartbeat)};
    memcpy(packet.token, heartbeat->server.token, sizeof packet.token);
    memcpy(connection->leaving, &packet, sizeof packet);
    connection->out = sizeof packet;
    size_t before = connection->out;
    send_some(connection);
    connection->out = connection->out == before ? 0 : connection->out;
}

void km_net_send_all(km_heartbeat *heartbeat, km_packet_kind kind, int kill_rank) {
    for (int i = 0; i < heartbeat->connection_count; i++) {
        if (heartbeat->connections[i].rank >= 0) {
            km_net_send(heartbeat, &heartbeat->connections[i], kind, kill_rank);
        }
    }
}

/* Whether the packet is of this run and makes sense: any program on the network may connect. */
static bool is_ours(const km_heartbeat *heartbeat, const km_connection *connection, const km_packet *packet) {
    return memcmp(packet->token, heartbeat->server.token, sizeof packet->token) == 0 && packet->rank >= 0 &&
           packet->rank < heartbeat->size && (connection->rank < 0 || connection->rank == packet->rank) &&
           packet->beat.phase >= 0 && packet->beat.phase < KM_PHASES;
}

km_received km_net_receive(km_heartbeat *heartbeat, km_connection *connection, km_packet *packet) {
    ssize_t got = recv(connection->fd, connection->arriving + connection->in,
                       sizeof connection->arriving - connection->in, 0);
    if (got == 0) {
        return KM_RECEIVED_CLOSE;
    }
    if (got < 0) {
        bool later = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        return later ? KM_RECEIVED_NOTHING : errno == ECONNRESET ? KM_RECEIVED_CLOSE : KM_RECEIVED_ERROR;
    }
    connection->in += (size_t)got;
    if (connection->in < sizeof connection->arriving) {
        return KM_RECEIVED_NOTHING;
    }
    connection->in = 0;
    memcpy(packet, connection->arriving, sizeof *packet);
    return is_ours(heartbeat, connection, packet) ? KM_RECEIVED_PACKET : KM_RECEIVED_ERROR;
}

/* ---- Waiting ---- */

static void add_poll(km_heartbeat *heartbeat, int fd, short events) {
    heartbeat->polls[heartbeat->poll_count++] = (struct pollfd){.fd = fd, .events = events};
}

bool km_net_wait(km_heartbeat *heartbeat, double seconds) {
    heartbeat->polls = km_grow(heartbeat->polls, (size_t)heartbeat->connection_count + KM_FIRST_CONNECTION,
                               sizeof *heartbeat->polls);
    heartbeat->poll_count = 0;
    add_poll(heartbeat, heartbeat->wake[0], POLLIN);
    for (int i = 0; i < 2; i++) {
        add_poll(heartbeat, heartbeat->listeners[i], POLLIN); /* poll ignores -1 */
    }
    for (int i = 0; i < heartbeat->connection_count; i++) {
        add_poll(heartbeat, heartbeat->connections[i].fd, heartbeat->connections[i].connecting ? POLLOUT : POLLIN);
    }
    (void)poll(heartbeat->polls, (nfds_t)heartbeat->poll_count, (int)(KM_MAX(seconds, 0) * 1000) + 1);
    return heartbeat->polls[0].revents == 0;
}

void km_net_close(km_heartbeat *heartbeat) {
    while (heartbeat->connection_count > 0) {
        km_net_drop(heartbeat, heartbeat->connection_count - 1);
    }
    for (int i = 0; i < 2; i++) {
        if (heartbeat->listeners[i] >= 0) {
            close(heartbeat->listeners[i]);
        }
    }
    free(heartbeat->connections);
    free(heartbeat->polls);
}
