/* Any bytes sent to the text server: it reads a head and closes, and its ranks' texts stay what they are. With a first byte of 1 the
 * head gets its right proof, as a rank's has: then what it asks for is still within bounds. */
#include "folder.h"
#include "text_protocol.h"
#include "text_secret.h"
#include "text_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE = 3 };
static char folder[FUZZ_PATH];
static km_text_server *server;
static km_text_secret secret;

static void leave(void) {
    km_text_server_close(server);
    rmdir(folder);
}

static void enter(void) {
    fuzz_folder(folder, "texts");
    setenv("SLURM_STEP_NODELIST", "localhost", 1);
    if (km_text_server_open(&server, 0, SIZE, folder) != KM_OK || !km_text_secret_read(&secret, folder)) {
        abort();
    }
    atexit(leave);
}

/* A connection with its nonce; -1 where a signal has interrupted the attempt: libFuzzer's alarm comes every few minutes. */
static int try_to_connect(unsigned char nonce[KM_TEXT_NONCE]) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(secret.port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        recv(fd, nonce, KM_TEXT_NONCE, MSG_WAITALL) != KM_TEXT_NONCE) {
        if (errno != EINTR) {
            abort();
        }
        close(fd);
        return -1;
    }
    return fd;
}

static int connect_to_server(unsigned char nonce[KM_TEXT_NONCE]) {
    int fd = -1;
    do {
        errno = 0;
        fd = try_to_connect(nonce);
    } while (fd < 0);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    km_text_head head = {0};
    unsigned char nonce[KM_TEXT_NONCE];
    char answer[4096];
    if (server == NULL) {
        enter();
    }
    if (size < 1) {
        return 0;
    }
    const bool proves = data[0] == 1;
    const size_t own = KM_MIN(size - 1, sizeof head);
    memcpy(&head, data + 1, own);
    int fd = connect_to_server(nonce);
    if (proves) {
        km_text_prove_head(head.proof, secret.secret, nonce, &head);
    }
    (void)!send(fd, &head, proves ? sizeof head : own, MSG_NOSIGNAL);
    (void)!send(fd, data + 1 + own, size - 1 - own, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    ssize_t got = recv(fd, answer, sizeof answer, MSG_WAITALL);
    close(fd);
    if (got > 0 && (!proves || head.rank < 0 || head.rank >= SIZE)) {
        abort(); /* an answer to somebody who proved nothing, or about a rank that is not there */
    }
    return 0;
}
