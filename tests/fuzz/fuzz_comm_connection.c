/* Any bytes sent to the server of doctor's connection test: 32 of them are a challenge, which gets an answer of its own, and fewer get
 * none. The first byte says in what pieces the bytes go. The same bytes as a server's answer are not believed. */
#include "connection_test.h"
#include "kmask/comm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static km_connection_server *server;
static unsigned char public_key[KM_PUBLIC_KEY];
static struct sockaddr_in address; /* of no family where this machine has no IPv4 network */

static void leave(void) {
    km_connection_server_close(server);
}

static void enter(void) {
    if (km_connection_server_open(&server) != KM_OK) {
        abort();
    }
    atexit(leave);
    char *text = km_connection_server_print(server), name[64];
    int port = 0;
    if (!km_public_key_parse(public_key, text)) {
        abort();
    }
    if (sscanf(text, "%*s %63[0-9.]/%d", name, &port) == 2 && inet_pton(AF_INET, name, &address.sin_addr) == 1) {
        address.sin_family = AF_INET;
        address.sin_port = htons((uint16_t)port);
    }
    free(text);
}

/* Sends the bytes and reads the answer; its size, or -1 where a signal has interrupted that. */
static ssize_t ask(km_answer *answer, const uint8_t *data, size_t size, size_t step) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ssize_t got = -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        for (size_t at = 0; at < size; at += step) {
            (void)!send(fd, data + at, KM_MIN(step, size - at), MSG_NOSIGNAL);
        }
        (void)shutdown(fd, SHUT_WR);
        got = recv(fd, answer, sizeof *answer, MSG_WAITALL);
        got = got < 0 && errno == ECONNRESET ? 0 : got; /* the server closes without reading what is too much */
    }
    close(fd);
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    km_answer answer;
    if (server == NULL) {
        enter();
    }
    if (size < 1 || size > 4096) {
        return 0;
    }
    const uint8_t *bytes = data + 1;
    const size_t count = size - 1;
    if (count >= sizeof answer) {
        memcpy(&answer, bytes, sizeof answer);
        if (km_connection_believed(&answer, bytes, public_key)) {
            abort();
        }
    }
    if (address.sin_family == AF_INET) {
        const ssize_t got = ask(&answer, bytes, count, 1 + (size_t)data[0]);
        const bool whole = got == (ssize_t)sizeof answer;
        if ((whole && count < KM_CHALLENGE) || (got == 0 && count == KM_CHALLENGE) ||
            (whole && !km_connection_believed(&answer, bytes, public_key))) {
            abort();
        }
    }
    return 0;
}
