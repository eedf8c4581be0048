/* heartbeat_server: rank 0's thread. It receives the heartbeats of all ranks, sends its own to all of them, and asks the failure
 * detector whether a rank has failed. */
#include "heartbeat_private.h"

static void receive(km_heartbeat *heartbeat, int i, double now) {
    km_connection *connection = &heartbeat->connections[i];
    km_packet packet;
    switch (km_net_receive(heartbeat, connection, &packet)) {
    case KM_RECEIVED_NOTHING:
    case KM_RECEIVED_NONCE:
        return;
    case KM_RECEIVED_PACKET:
        if (packet.kind == KM_PACKET_LEAVE) {
            km_detector_left(&heartbeat->detector, packet.rank);
        } else {
            km_detector_heard(&heartbeat->detector, packet.rank, now, &packet.beat);
        }
        if (connection->rank < 0) { /* the first answer tells the client that this address can be used */
            connection->rank = packet.rank;
            km_net_send(heartbeat, connection, KM_PACKET_BEAT, -1);
        }
        return;
    case KM_RECEIVED_CLOSE: {
        int rank = connection->rank, left = 0;
        km_net_drop(heartbeat, i);
        for (int j = 0; j < heartbeat->connection_count; j++) {
            left += heartbeat->connections[j].rank == rank;
        }
        if (rank >= 0 && left == 0) {
            km_detector_closed(&heartbeat->detector, rank, now);
        }
        return;
    }
    case KM_RECEIVED_ERROR:
        km_net_drop(heartbeat, i);
    }
}

static void read_connections(km_heartbeat *heartbeat, double now) {
    const double patience = 5; /* seconds until a connection must have sent its first packet */
    int count = heartbeat->poll_count - KM_FIRST_CONNECTION;
    for (int i = count - 1; i >= 0;
         i--) { /* backwards: the connection that takes a dropped one's place has been read */
        if (heartbeat->polls[KM_FIRST_CONNECTION + i].revents != 0) {
            receive(heartbeat, i, now);
        } else if (heartbeat->connections[i].rank < 0 && now - heartbeat->connections[i].since > patience) {
            km_net_drop(heartbeat, i);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (heartbeat->polls[1 + i].revents != 0) {
            km_net_accept(heartbeat, i);
        }
    }
}

/* Whether some connection is closed. Where the process on the other side was on this machine and has ended, its connection
 * cannot be opened again: the time that it has for that (grace) then ends at once. */
static bool check_closed(km_heartbeat *heartbeat, double now) {
    bool any = false;
    for (int rank = 1; rank < heartbeat->size; rank++) {
        km_peer *peer = &heartbeat->detector.peers[rank];
        if (peer->link == KM_LINK_CLOSED) {
            any = true;
            if (km_process_check(&heartbeat->processes[rank]) == KM_PROCESS_GONE) {
                peer->closed = now - heartbeat->detector.grace;
            }
        }
    }
    return any;
}

/* Warns once, some time after the start, of ranks from which no heartbeat has come. */
static void warn_of_unheard(km_heartbeat *heartbeat, double now) {
    double patience = KM_MIN(30.0, heartbeat->detector.limit / 2);
    if (heartbeat->warned || now - heartbeat->started < patience) {
        return;
    }
    heartbeat->warned = true;
    int unheard = 0, first = 0;
    for (int rank = heartbeat->size - 1; rank > 0; rank--) {
        if (heartbeat->detector.peers[rank].link == KM_LINK_NONE) {
            unheard++;
            first = rank;
        }
    }
    if (unheard > 0) {
        km_warn(
            "%d of %d ranks (the first: rank %d on %s) cannot open a TCP connection to rank 0 on %s: should one of "
            "them stop or be cut off, the run may hang. A firewall between the hosts?",
            unheard, heartbeat->size, first, heartbeat->processes[first].host, heartbeat->processes[0].host);
    }
}

static void report_stragglers(km_heartbeat *heartbeat) {
    int rank = 0;
    double ratio = 1;
    for (;;) {
        km_straggler_change change = km_detector_straggler(&heartbeat->detector, &rank, &ratio);
        const km_peer *peer = &heartbeat->detector.peers[rank];
        if (change == KM_STRAGGLER_NONE) {
            return;
        }
        if (change == KM_STRAGGLER_NEW) {
            km_warn(
                "step %lld: rank %d on %s (pid %lld) takes %.1f times as long for a micro-batch as the median rank "
                "(%.3g s), and every step waits for it",
                (long long)peer->beat.step, rank, heartbeat->processes[rank].host,
                (long long)heartbeat->processes[rank].pid, ratio, peer->beat.pace);
        } else {
            km_log("step %lld: rank %d on %s keeps up with the others again", (long long)peer->beat.step, rank,
                   heartbeat->processes[rank].host);
        }
    }
}

static void send_beat(km_heartbeat *heartbeat, double now) {
    km_heartbeat_note_bytes(heartbeat);
    km_beat own = km_heartbeat_own_beat(heartbeat);
    km_detector_heard(&heartbeat->detector, 0, now, &own);
    km_net_send_all(heartbeat, KM_PACKET_BEAT, -1);
    warn_of_unheard(heartbeat, now);
    report_stragglers(heartbeat);
}

void *km_heartbeat_server(void *argument) {
    km_heartbeat *heartbeat = argument;
    double next = km_seconds();
    const double often = 0.002; /* seconds between checks while a connection is closed */
    bool closed = false;
    while (km_net_wait(heartbeat, closed ? often : next - km_seconds())) {
        double now = km_seconds();
        read_connections(heartbeat, now);
        if (now >= next) {
            send_beat(heartbeat, now);
            next = now + heartbeat->detector.interval;
        }
        closed = check_closed(heartbeat, now);
        km_failure failure = km_detector_check(&heartbeat->detector, now);
        if (failure.kind != KM_FAILURE_NONE) {
            km_heartbeat_end_all(heartbeat, &failure);
        }
        km_sleep(closed ? 0 : 0.01); /* so that the heartbeats of many ranks are read at once */
    }
    km_net_send_all(heartbeat, KM_PACKET_LEAVE, -1);
    return NULL;
}
