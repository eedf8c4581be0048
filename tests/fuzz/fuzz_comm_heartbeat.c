/* Any bytes as what arrives on a heartbeat's connection, at rank 0 and at another rank: no packet in them is believed, since nobody
 * without the secret can prove one. The first byte says whose connection it is and in what pieces the bytes come. */
#include "heartbeat_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void receive_all(km_heartbeat *heartbeat, km_connection *connection) {
    km_packet packet;
    km_received got;
    do {
        got = km_net_receive(heartbeat, connection, &packet);
        if (got == KM_RECEIVED_PACKET) {
            abort();
        }
    } while (got == KM_RECEIVED_NONCE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int pair[2];
    if (size < 1 || size > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        return 0;
    }
    km_heartbeat heartbeat = {.rank = data[0] & 1, .size = 3};
    km_connection connection = {.fd = pair[0], .rank = heartbeat.rank == 0 ? -1 : 0};
    km_random_bytes(heartbeat.server.secret, sizeof heartbeat.server.secret);
    km_net_greet(&heartbeat, &connection);
    const size_t step = 1 + (size_t)(data[0] >> 1);
    for (size_t at = 1; at < size; at += step) {
        (void)!send(pair[1], data + at, KM_MIN(step, size - at), MSG_NOSIGNAL);
        receive_all(&heartbeat, &connection);
    }
    close(pair[0]);
    close(pair[1]);
    return 0;
}
