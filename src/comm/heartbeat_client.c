/* heartbeat_client: the thread of every rank but 0. It sends heartbeats to rank 0, receives rank 0's, and ends the process when
 * rank 0 says so, or when rank 0 itself is silent or gone. */
#include "heartbeat_private.h"

#include <sys/socket.h>

typedef struct client {
    km_heartbeat *heartbeat;
    bool answered; /* rank 0 has answered, on the one connection that is left */
    double next;   /* when the next heartbeat is sent */
    double retry;  /* the earliest time of the next attempt to connect */
} client;

/* Called when connect has finished: greets the server; after an error the socket is dropped. */
static void finish_connect(km_heartbeat *heartbeat, int i) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(heartbeat->connections[i].fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        km_net_drop(heartbeat, i);
        return;
    }
    heartbeat->connections[i].connecting = false;
    km_net_greet(heartbeat, &heartbeat->connections[i]);
}

/* Closes the connections to rank 0's other addresses, once rank 0 has answered on this one. */
static void keep_only(client *c, int fd) {
    if (c->answered) {
        return;
    }
    c->answered = true;
    for (int i = c->heartbeat->connection_count - 1; i >= 0; i--) {
        if (c->heartbeat->connections[i].fd != fd) {
            km_net_drop(c->heartbeat, i);
        }
    }
}

/* Handles a packet from rank 0. False when connections were dropped, or when rank 0 leaves. */
static bool handle(client *c, const km_packet *packet, int fd, double now) {
    switch ((km_packet_kind)packet->kind) {
    case KM_PACKET_BEAT:
        km_detector_heard(&c->heartbeat->detector, 0, now, &packet->beat);
        keep_only(c, fd);
        return true;
    case KM_PACKET_LEAVE:
        km_detector_left(&c->heartbeat->detector, 0);
        return false;
    case KM_PACKET_END:
        km_heartbeat_end_as_told(c->heartbeat, packet);
    }
    return false;
}

/* Receives from connection i. False when connections were dropped, so that their numbers no longer match the polled ones. */
static bool receive(client *c, int i, double now) {
    km_heartbeat *heartbeat = c->heartbeat;
    km_packet packet;
    bool was_answered = c->answered;
    km_received got = km_net_receive(heartbeat, &heartbeat->connections[i], &packet);
    if (got == KM_RECEIVED_NONCE) {
        km_net_send(heartbeat, &heartbeat->connections[i], KM_PACKET_BEAT, -1);
    }
    if (got == KM_RECEIVED_PACKET) {
        return handle(c, &packet, heartbeat->connections[i].fd, now) && was_answered == c->answered;
    }
    if (got == KM_RECEIVED_CLOSE || got == KM_RECEIVED_ERROR) {
        km_net_drop(heartbeat, i);
        c->answered = false;
        c->retry = was_answered ? now : c->retry;
        if (was_answered && got == KM_RECEIVED_CLOSE) {
            km_detector_closed(&heartbeat->detector, 0, now);
        }
    }
    return true;
}

static void read_connections(client *c, double now) {
    const double patience = 5; /* seconds until rank 0 must have answered */
    km_heartbeat *heartbeat = c->heartbeat;
    for (int i = heartbeat->poll_count - KM_FIRST_CONNECTION - 1; i >= 0; i--) {
        short events = heartbeat->polls[KM_FIRST_CONNECTION + i].revents;
        if (events != 0 && heartbeat->connections[i].connecting) {
            finish_connect(heartbeat, i);
        } else if (events != 0) {
            if (!receive(c, i, now)) {
                return;
            }
        } else if (!c->answered && now - heartbeat->connections[i].since > patience) {
            km_net_drop(heartbeat, i);
        }
    }
}

static void keep_connected(client *c, double now) {
    km_heartbeat *heartbeat = c->heartbeat;
    const km_peer *server = &heartbeat->detector.peers[0];
    if (heartbeat->connection_count == 0 && server->link != KM_LINK_LEFT && now >= c->retry) {
        const double again = server->link == KM_LINK_CLOSED ? 0.1 : 2.0;
        km_net_connect(heartbeat);
        c->retry = now + again;
    }
}

/* Seconds until the next heartbeat is due, or until the server may have to be reported. */
static double seconds_to_wait(const client *c) {
    const km_peer *server = &c->heartbeat->detector.peers[0];
    double now = km_seconds(), until = c->next - now;
    if (server->link == KM_LINK_CLOSED) {
        until = KM_MIN(until, 0.002);
    } else if (server->link == KM_LINK_OPEN) { /* so that all clients notice its silence at the same moment */
        until = KM_MIN(until, server->heard + c->heartbeat->detector.limit - now);
    }
    return until;
}

/* Where rank 0 ran on this machine and its process has ended, its connection cannot be opened again: the time that it has for that
 * (grace) then ends at once. */
static void check_server(client *c, double now) {
    km_detector *detector = &c->heartbeat->detector;
    if (detector->peers[0].link == KM_LINK_CLOSED &&
        km_process_check(&c->heartbeat->processes[0]) == KM_PROCESS_GONE) {
        detector->peers[0].closed = now - detector->grace;
    }
    km_failure failure = km_detector_check(detector, now);
    if (failure.kind != KM_FAILURE_NONE) {
        km_heartbeat_end_alone(c->heartbeat, &failure);
    }
}

void *km_heartbeat_client(void *argument) {
    client c = {.heartbeat = argument, .next = km_seconds()};
    do {
        double now = km_seconds();
        if (now >= c.next) {
            km_heartbeat_note_bytes(c.heartbeat);
            if (c.answered) {
                km_net_send_all(c.heartbeat, KM_PACKET_BEAT, -1);
            }
            c.next = now + c.heartbeat->detector.interval;
        }
        keep_connected(&c, now);
        check_server(&c, now);
        if (!km_net_wait(c.heartbeat, seconds_to_wait(&c))) {
            break;
        }
        read_connections(&c, km_seconds());
    } while (true);
    km_net_send_all(c.heartbeat, KM_PACKET_LEAVE, -1);
    return NULL;
}
