/* connection_test: whether this host and another one reach each other over TCP. A thread answers every connection with a
 * greeting (token and clock). The test connects to all addresses of the other hosts at the same time, and waits for their
 * greetings. */
#include "address.h"
#include "kmask/comm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* What a server sends. Its token is compared with the expected one, since hosts of two networks may have the same private
 * address. */
typedef struct greeting {
    uint64_t token;
    double clock; /* the server's, in seconds since 1970 */
} greeting;

struct km_connection_server {
    uint64_t token;
    int listeners[2], wake[2];
    km_address addresses[KM_ADDRESSES];
    int count;
    pthread_t thread;
    bool started;
};

static double wall_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- The server ---- */

static void greet(const km_connection_server *server, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        greeting message = {server->token, wall_clock()};
        (void)!send(fd, &message, sizeof message, MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_WR);
        close(fd);
    }
}

static void *serve(void *payload) {
    const km_connection_server *server = payload;
    for (;;) {
        struct pollfd polls[3] = {{.fd = server->wake[0], .events = POLLIN},
                                  {.fd = server->listeners[0], .events = POLLIN},
                                  {.fd = server->listeners[1], .events = POLLIN}};
        if (poll(polls, 3, -1) < 0 && errno != EINTR) {
            return NULL;
        }
        if (polls[0].revents != 0) {
            return NULL;
        }
        for (int i = 0; i < 2; i++) {
            if (polls[i + 1].revents != 0) {
                greet(server, server->listeners[i]);
            }
        }
    }
}

km_status km_connection_server_open(km_connection_server **out) {
    km_connection_server *server = km_new(1, sizeof *server);
    *server = (km_connection_server){.listeners = {-1, -1}, .wake = {-1, -1}};
    *out = server;
    if (getrandom(&server->token, sizeof server->token, 0) != (ssize_t)sizeof server->token ||
        pipe2(server->wake, 0) != 0) {
        return km_fail_errno(errno, "no random numbers or no pipe");
    }
    server->token >>= 1;
    server->count = km_listen(server->listeners, server->addresses, KM_ADDRESSES, false);
    if (server->count == 0) {
        return km_fail(KM_FAILED, "no network address to listen on");
    }
    server->started = km_thread_start(&server->thread, serve, server) == 0;
    return server->started ? KM_OK : km_fail(KM_FAILED, "no thread to answer other hosts");
}

void km_connection_server_close(km_connection_server *server) {
    if (server == NULL) {
        return;
    }
    if (server->started) {
        (void)!write(server->wake[1], "", 1);
        pthread_join(server->thread, NULL);
    }
    for (int i = 0; i < 2; i++) {
        if (server->listeners[i] >= 0) {
            close(server->listeners[i]);
        }
        if (server->wake[i] >= 0) {
            close(server->wake[i]);
        }
    }
    free(server);
}

/* Prints "token address/port address/port ...", without loopback addresses. */
char *km_connection_server_print(const km_connection_server *server) {
    km_buffer text = {0};
    km_buffer_print(&text, "%llx", (unsigned long long)server->token);
    for (int i = 0; i < server->count; i++) {
        const km_address *a = &server->addresses[i];
        char name[INET6_ADDRSTRLEN];
        if (!a->loopback && inet_ntop(a->family, a->bytes, name, sizeof name) != NULL) {
            km_buffer_print(&text, " %s/%d", name, ntohs(a->port));
        }
    }
    return text.data;
}

/* ---- The test ---- */

/* One connection to one address. */
typedef struct attempt {
    int fd;
    km_connection_result *result;
    uint64_t token;
    bool connected;
    double since; /* when connect was called (km_seconds) */
    char address[64];
} attempt;

typedef struct attempts {
    attempt *items;
    int count;
} attempts;

static void begin_attempt(attempts *all, km_connection_result *result, uint64_t token, const char *text) {
    km_address address = {.family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET};
    char name[INET6_ADDRSTRLEN];
    int port = 0;
    if (sscanf(text, "%45[^/]/%d", name, &port) != 2 || inet_pton(address.family, name, address.bytes) != 1) {
        return;
    }
    address.port = htons((uint16_t)port);
    km_endpoint to;
    socklen_t size = km_endpoint_of(&to, &address);
    int fd = km_socket_open(address.family);
    double since = wall_clock();
    if (fd < 0 || (connect(fd, &to.any, size) != 0 && errno != EINPROGRESS)) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    all->items = km_grow(all->items, (size_t)all->count + 1, sizeof *all->items);
    attempt *a = &all->items[all->count++];
    *a = (attempt){.fd = fd, .result = result, .token = token, .since = since};
    snprintf(a->address, sizeof a->address, "%s", name);
}

static void begin_all(attempts *all, km_connection_result *results, int count) {
    for (int i = 0; i < count; i++) {
        char *text = km_strdup(results[i].server), *rest = NULL;
        char *word = strtok_r(text, " ", &rest);
        uint64_t token = word != NULL ? strtoull(word, NULL, 16) : 0;
        while (word != NULL && (word = strtok_r(NULL, " ", &rest)) != NULL) {
            begin_attempt(all, &results[i], token, word);
        }
        free(text);
    }
}

/* Records a greeting. The other host has read its clock between the beginning of the attempt and now: the offset is computed
 * against the middle of the two. */
static void record(attempt *a, const greeting *message) {
    double now = wall_clock();
    if (message->token == a->token && !a->result->reached) {
        a->result->reached = true;
        a->result->round_trip = now - a->since;
        a->result->clock_offset = message->clock - (a->since + now) / 2;
        snprintf(a->result->address, sizeof a->result->address, "%s", a->address);
    }
}

/* Goes on with an attempt whose socket is ready. False when the attempt is over. */
static bool proceed(attempt *a) {
    greeting message;
    if (!a->connected) {
        int error = 0;
        socklen_t size = sizeof error;
        a->connected = getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
        return a->connected;
    }
    ssize_t got = recv(a->fd, &message, sizeof message, 0);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (got == (ssize_t)sizeof message) {
        record(a, &message);
    }
    return false;
}

static void drop(attempts *all, int i) {
    close(all->items[i].fd);
    all->items[i] = all->items[--all->count];
}

void km_connection_test(km_connection_result *results, int count, double seconds) {
    attempts all = {0};
    double until = km_seconds() + seconds;
    km_allow_files(count * 4); /* a host has a few addresses */
    begin_all(&all, results, count);
    struct pollfd *polls = km_new((size_t)all.count + 1, sizeof *polls);
    while (all.count > 0 && km_seconds() < until) {
        for (int i = 0; i < all.count; i++) {
            polls[i] = (struct pollfd){.fd = all.items[i].fd, .events = all.items[i].connected ? POLLIN : POLLOUT};
        }
        int left = (int)((until - km_seconds()) * 1000) + 1;
        if (poll(polls, (nfds_t)all.count, left) <= 0) {
            continue;
        }
        for (int i = all.count - 1; i >= 0;
             i--) { /* backwards: the attempt that takes a dropped one's place has been looked at */
            if (all.items[i].result->reached || (polls[i].revents != 0 && !proceed(&all.items[i]))) {
                drop(&all, i);
            }
        }
    }
    while (all.count > 0) {
        drop(&all, 0);
    }
    free(polls);
    free(all.items);
}
