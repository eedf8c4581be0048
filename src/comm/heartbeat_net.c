/* heartbeat_net: the heartbeat's sockets. They never block; a connection that breaks is dropped without a message. */
#include "heartbeat_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
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
        km_net_greet(heartbeat, &heartbeat->connections[heartbeat->connection_count - 1]);
    }
}

/* Whether to try an address of rank 0. Where both run on one machine its loopback addresses come first. */
static bool is_tried(const km_address *address, bool same_machine, km_reach least) {
    return same_machine ? address->loopback || least < KM_REACH_NEAR
                        : !address->loopback && km_address_reach(address) >= least;
}

static void connect_to(km_heartbeat *heartbeat, const km_address *address) {
    km_endpoint to;
    socklen_t size = km_endpoint_of(&to, address);
    int fd = km_socket_open(address->family);
    if (fd >= 0 && (connect(fd, &to.any, size) == 0 || errno == EINPROGRESS)) {
        add_connection(heartbeat, fd, true);
    } else if (fd >= 0) {
        close(fd);
    }
}

void km_net_connect(km_heartbeat *heartbeat) {
    const bool same_machine = heartbeat->processes[0].machine == heartbeat->processes[heartbeat->rank].machine;
    km_reach least = heartbeat->attempts++ == 0 ? KM_REACH_NEAR : KM_REACH_FAR;
    for (; heartbeat->connection_count == 0 && least >= KM_REACH_FAR; least--) {
        for (int i = 0; i < heartbeat->server.count; i++) {
            if (is_tried(&heartbeat->server.addresses[i], same_machine, least)) {
                connect_to(heartbeat, &heartbeat->server.addresses[i]);
            }
        }
    }
}

/* ---- Listening ---- */

void km_net_listen(km_heartbeat *heartbeat) {
    km_server_address *server = &heartbeat->server;
    bool one_machine = true;
    for (int rank = 1; rank < heartbeat->size; rank++) {
        one_machine = one_machine && heartbeat->processes[rank].machine == heartbeat->processes[0].machine;
    }
    km_random_bytes(server->secret, sizeof server->secret);
    server->count = km_listen(heartbeat->listeners, server->addresses, KM_ADDRESSES, one_machine);
}

/* ---- Packets ---- */

/* The keyed hash that goes with packet number `number` of one side. */
static void prove(unsigned char out[KM_PROOF], const km_heartbeat *heartbeat, const km_connection *connection,
                  bool from_server, uint64_t number, const km_packet *packet) {
    struct proved {
        unsigned char nonces[2][KM_NONCE];
        uint64_t from_server, number;
        km_packet packet;
    } proved;
    memset(&proved, 0, sizeof proved);
    memcpy(proved.nonces, connection->nonces, sizeof proved.nonces);
    proved.from_server = from_server;
    proved.number = number;
    proved.packet = *packet;
    memset(proved.packet.proof, 0, sizeof proved.packet.proof);
    km_prove(out, &proved, sizeof proved, heartbeat->server.secret);
}

void km_net_greet(km_heartbeat *heartbeat, km_connection *connection) {
    unsigned char *own = connection->nonces[heartbeat->rank == 0 ? 0 : 1];
    km_random_bytes(own, KM_NONCE);
    /* A new socket has room for it; where not, no packet of this side will be believed, and the connection is dropped. */
    (void)!send(connection->fd, own, KM_NONCE, MSG_NOSIGNAL);
}

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
    if (connection->connecting || !connection->greeted) {
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
    prove(packet.proof, heartbeat, connection, heartbeat->rank == 0, connection->sent, &packet);
    memcpy(connection->leaving, &packet, sizeof packet);
    connection->out = sizeof packet;
    size_t before = connection->out;
    send_some(connection);
    connection->sent += connection->out < before;
    connection->out = connection->out == before ? 0 : connection->out;
}

void km_net_send_all(km_heartbeat *heartbeat, km_packet_kind kind, int kill_rank) {
    for (int i = 0; i < heartbeat->connection_count; i++) {
        if (heartbeat->connections[i].rank >= 0) {
            km_net_send(heartbeat, &heartbeat->connections[i], kind, kill_rank);
        }
    }
}

/* Whether the packet is of this run, the next one, and makes sense. */
static bool is_ours(const km_heartbeat *heartbeat, const km_connection *connection, const km_packet *packet) {
    unsigned char proof[KM_PROOF];
    prove(proof, heartbeat, connection, heartbeat->rank != 0, connection->received, packet);
    return km_same_bytes(proof, packet->proof, sizeof proof) && packet->rank >= 0 &&
           packet->rank < heartbeat->size && (connection->rank < 0 || connection->rank == packet->rank) &&
           packet->beat.phase >= 0 && packet->beat.phase < KM_PHASES;
}

/* Takes what has arrived in full: the nonce, or after it a packet. */
static km_received take(km_heartbeat *heartbeat, km_connection *connection, km_packet *packet) {
    connection->in = 0;
    if (!connection->greeted) {
        memcpy(connection->nonces[heartbeat->rank == 0 ? 1 : 0], connection->arriving, KM_NONCE);
        connection->greeted = true;
        return KM_RECEIVED_NONCE;
    }
    memcpy(packet, connection->arriving, sizeof *packet);
    if (!is_ours(heartbeat, connection, packet)) {
        return KM_RECEIVED_ERROR;
    }
    connection->received++;
    return KM_RECEIVED_PACKET;
}

km_received km_net_receive(km_heartbeat *heartbeat, km_connection *connection, km_packet *packet) {
    const size_t whole = connection->greeted ? sizeof connection->arriving : KM_NONCE;
    ssize_t got = recv(connection->fd, connection->arriving + connection->in, whole - connection->in, 0);
    if (got == 0) {
        return KM_RECEIVED_CLOSE;
    }
    if (got < 0) {
        bool later = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        return later ? KM_RECEIVED_NOTHING : errno == ECONNRESET ? KM_RECEIVED_CLOSE : KM_RECEIVED_ERROR;
    }
    connection->in += (size_t)got;
    return connection->in < whole ? KM_RECEIVED_NOTHING : take(heartbeat, connection, packet);
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
