/* connection_test: whether this host and another one reach each other over TCP. The test connects to all addresses of the other hosts at
 * the same time and sends each a random challenge; a thread answers with its clock and a signature. So the answer is of that very host,
 * also where hosts of two networks have the same private address, and nothing that goes over the network helps anyone to forge one. */
#include "connection_test.h"
#include "address.h"
#include "kmask/comm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CALLERS = 1024, FIRST_CALLER = 3 };
static const double patience = 3; /* seconds that a connection to the server may take */

/* A connection to the server, whose challenge arrives. */
typedef struct caller {
    int fd;
    double until;
    size_t in; /* bytes of the challenge */
    unsigned char challenge[KM_CHALLENGE];
} caller;

struct km_connection_server {
    unsigned char public_key[KM_PUBLIC_KEY], private_key[KM_PRIVATE_KEY];
    int listeners[2], wake[2];
    km_address addresses[KM_ADDRESSES];
    int count;
    caller *callers; /* (CALLERS) in the order in which they came */
    int caller_count;
    pthread_t thread;
    bool started;
};

static double wall_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- The server ---- */

void km_connection_answer(km_answer *out, const unsigned char challenge[KM_CHALLENGE],
                          const unsigned char private_key[KM_PRIVATE_KEY]) {
    unsigned char bytes[KM_CHALLENGE + sizeof out->clock];
    out->clock = wall_clock();
    memcpy(bytes, challenge, KM_CHALLENGE);
    memcpy(bytes + KM_CHALLENGE, &out->clock, sizeof out->clock);
    km_sign(out->signature, bytes, sizeof bytes, private_key);
}

bool km_connection_believed(const km_answer *answer, const unsigned char challenge[KM_CHALLENGE],
                            const unsigned char public_key[KM_PUBLIC_KEY]) {
    unsigned char bytes[KM_CHALLENGE + sizeof answer->clock];
    memcpy(bytes, challenge, KM_CHALLENGE);
    memcpy(bytes + KM_CHALLENGE, &answer->clock, sizeof answer->clock);
    return km_signed(answer->signature, bytes, sizeof bytes, public_key);
}

static void hang_up(km_connection_server *server, int i) {
    close(server->callers[i].fd);
    server->caller_count--;
    memmove(&server->callers[i], &server->callers[i + 1],
            (size_t)(server->caller_count - i) * sizeof *server->callers);
}

/* Where there is no room, the caller that has waited longest makes it. */
static void accept_callers(km_connection_server *server, int listener) {
    int fd = -1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        if (server->caller_count == CALLERS) {
            hang_up(server, 0);
        }
        server->callers[server->caller_count++] = (caller){.fd = fd, .until = km_seconds() + patience};
    }
}

/* Reads of the challenge what is there, and answers it when it is whole. False when the connection is over. */
static bool hear(const km_connection_server *server, caller *c) {
    const ssize_t got = recv(c->fd, c->challenge + c->in, KM_CHALLENGE - c->in, 0);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    c->in += (size_t)got;
    if (c->in == KM_CHALLENGE) {
        km_answer answer;
        km_connection_answer(&answer, c->challenge, server->private_key);
        (void)!send(c->fd, &answer, sizeof answer, MSG_NOSIGNAL); /* a new socket has room for it */
    }
    return got > 0 && c->in < KM_CHALLENGE;
}

static void add_polls(struct pollfd *polls, const km_connection_server *server) {
    polls[0] = (struct pollfd){.fd = server->wake[0], .events = POLLIN};
    polls[1] = (struct pollfd){.fd = server->listeners[0], .events = POLLIN}; /* poll ignores -1 */
    polls[2] = (struct pollfd){.fd = server->listeners[1], .events = POLLIN};
    for (int i = 0; i < server->caller_count; i++) {
        polls[FIRST_CALLER + i] = (struct pollfd){.fd = server->callers[i].fd, .events = POLLIN};
    }
}

static void *serve(void *payload) {
    km_connection_server *server = payload;
    struct pollfd polls[FIRST_CALLER + CALLERS];
    for (;;) {
        const int count = server->caller_count;
        add_polls(polls, server);
        if (poll(polls, (nfds_t)(FIRST_CALLER + count), count > 0 ? 100 : -1) < 0) {
            if (errno != EINTR) {
                return NULL;
            }
            continue;
        }
        if (polls[0].revents != 0) {
            return NULL;
        }
        const double now = km_seconds();
        for (int i = count - 1; i >= 0; i--) { /* backwards: those before have the places that they had */
            const bool heard = polls[FIRST_CALLER + i].revents != 0;
            if (heard ? !hear(server, &server->callers[i]) : now > server->callers[i].until) {
                hang_up(server, i);
            }
        }
        for (int i = 0; i < 2; i++) {
            if (polls[1 + i].revents != 0) {
                accept_callers(server, server->listeners[i]);
            }
        }
    }
}

km_status km_connection_server_open(km_connection_server **out) {
    km_connection_server *server = km_new(1, sizeof *server);
    *server = (km_connection_server){.listeners = {-1, -1}, .wake = {-1, -1}};
    *out = server;
    if (pipe2(server->wake, O_CLOEXEC) != 0) {
        return km_fail_errno(errno, "no pipe");
    }
    km_sign_keys(server->public_key, server->private_key);
    server->callers = km_new(CALLERS, sizeof *server->callers);
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
    while (server->caller_count > 0) {
        hang_up(server, server->caller_count - 1);
    }
    for (int i = 0; i < 2; i++) {
        if (server->listeners[i] >= 0) {
            close(server->listeners[i]);
        }
        if (server->wake[i] >= 0) {
            close(server->wake[i]);
        }
    }
    free(server->callers);
    free(server);
}

/* Prints "key address/port address/port ...", without loopback addresses. */
char *km_connection_server_print(const km_connection_server *server) {
    km_buffer text = {0};
    char key[KM_PUBLIC_KEY_TEXT];
    km_public_key_print(key, server->public_key);
    km_buffer_print(&text, "%s", key);
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
    unsigned char public_key[KM_PUBLIC_KEY], challenge[KM_CHALLENGE];
    bool connected;
    double since; /* when the challenge was sent (wall_clock) */
    size_t in;    /* bytes of the answer */
    unsigned char answer[sizeof(km_answer)];
    char address[64];
} attempt;

typedef struct attempts {
    attempt *items;
    int count;
} attempts;

static void begin_attempt(attempts *all, km_connection_result *result,
                          const unsigned char public_key[KM_PUBLIC_KEY], const char *text) {
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
    if (fd < 0 || (connect(fd, &to.any, size) != 0 && errno != EINPROGRESS)) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    all->items = km_grow(all->items, (size_t)all->count + 1, sizeof *all->items);
    attempt *a = &all->items[all->count++];
    *a = (attempt){.fd = fd, .result = result};
    memcpy(a->public_key, public_key, sizeof a->public_key);
    km_random_bytes(a->challenge, sizeof a->challenge);
    snprintf(a->address, sizeof a->address, "%s", name);
}

static void begin_all(attempts *all, km_connection_result *results, int count) {
    for (int i = 0; i < count; i++) {
        char *text = km_strdup(results[i].server), *rest = NULL;
        char *word = strtok_r(text, " ", &rest);
        unsigned char public_key[KM_PUBLIC_KEY];
        const bool known = word != NULL && km_public_key_parse(public_key, word);
        while (known && (word = strtok_r(NULL, " ", &rest)) != NULL) {
            begin_attempt(all, &results[i], public_key, word);
        }
        free(text);
    }
}

/* Records an answer. The other host has read its clock between the challenge and now: the offset is computed against the middle of
 * the two. */
static void record(attempt *a) {
    km_answer answer;
    const double now = wall_clock();
    memcpy(&answer, a->answer, sizeof answer);
    if (!a->result->reached && km_connection_believed(&answer, a->challenge, a->public_key)) {
        a->result->reached = true;
        a->result->round_trip = now - a->since;
        a->result->clock_offset = answer.clock - (a->since + now) / 2;
        snprintf(a->result->address, sizeof a->result->address, "%s", a->address);
    }
}

/* Sends the challenge over a connection that has been made; false where none was. */
static bool challenge(attempt *a) {
    int error = 0;
    socklen_t size = sizeof error;
    a->connected = getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
    a->since = wall_clock();
    return a->connected &&
           send(a->fd, a->challenge, sizeof a->challenge, MSG_NOSIGNAL) == (ssize_t)sizeof a->challenge;
}

/* Goes on with an attempt whose socket is ready. False when the attempt is over. */
static bool proceed(attempt *a) {
    if (!a->connected) {
        return challenge(a);
    }
    const ssize_t got = recv(a->fd, a->answer + a->in, sizeof a->answer - a->in, 0);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    a->in += (size_t)got;
    if (a->in == sizeof a->answer) {
        record(a);
    }
    return got > 0 && a->in < sizeof a->answer;
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
