/* Whether another host answers: a thread that greets all comers, and calls on others' threads. */
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
#include <time.h>
#include <unistd.h>

/* What a door says. The token tells it from another host's that has the same private address. */
typedef struct greeting {
    uint64_t token;
    double clock; /* seconds since 1970 */
} greeting;

struct km_door {
    uint64_t token;
    int listeners[2], wake[2];
    km_address addresses[KM_ADDRESSES];
    int count;
    pthread_t thread;
    bool started;
};

static double clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- The door ---- */

static void greet(const km_door *door, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        greeting words = {door->token, clock_now()};
        (void)!send(fd, &words, sizeof words, MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_WR);
        close(fd);
    }
}

static void *attend(void *payload) {
    const km_door *door = payload;
    for (;;) {
        struct pollfd polls[3] = {{.fd = door->wake[0], .events = POLLIN},
                                  {.fd = door->listeners[0], .events = POLLIN},
                                  {.fd = door->listeners[1], .events = POLLIN}};
        if (poll(polls, 3, -1) < 0 && errno != EINTR) {
            return NULL;
        }
        if (polls[0].revents != 0) {
            return NULL;
        }
        for (int i = 0; i < 2; i++) {
            if (polls[i + 1].revents != 0) {
                greet(door, door->listeners[i]);
            }
        }
    }
}

km_status km_door_open(km_door **out) {
    km_door *door = km_new(1, sizeof *door);
    *door = (km_door){.listeners = {-1, -1}, .wake = {-1, -1}};
    *out = door;
    if (getrandom(&door->token, sizeof door->token, 0) != (ssize_t)sizeof door->token ||
        pipe2(door->wake, 0) != 0) {
        return km_fail_errno(errno, "no random numbers or no pipe");
    }
    door->token >>= 1;
    door->count = km_listen(door->listeners, door->addresses, KM_ADDRESSES);
    if (door->count == 0) {
        return km_fail(KM_FAILED, "no network address to listen on");
    }
    door->started = km_thread_start(&door->thread, attend, door) == 0;
    return door->started ? KM_OK : km_fail(KM_FAILED, "no thread to answer other hosts");
}

void km_door_close(km_door *door) {
    if (door == NULL) {
        return;
    }
    if (door->started) {
        (void)!write(door->wake[1], "", 1);
        pthread_join(door->thread, NULL);
    }
    for (int i = 0; i < 2; i++) {
        if (door->listeners[i] >= 0) {
            close(door->listeners[i]);
        }
        if (door->wake[i] >= 0) {
            close(door->wake[i]);
        }
    }
    free(door);
}

/* "token address/port address/port ..." without loopback. */
char *km_door_print(const km_door *door) {
    km_buffer text = {0};
    km_buffer_print(&text, "%llx", (unsigned long long)door->token);
    for (int i = 0; i < door->count; i++) {
        const km_address *a = &door->addresses[i];
        char name[INET6_ADDRSTRLEN];
        if (!a->loopback && inet_ntop(a->family, a->bytes, name, sizeof name) != NULL) {
            km_buffer_print(&text, " %s/%d", name, ntohs(a->port));
        }
    }
    return text.data;
}

/* ---- Visits ---- */

typedef struct call {
    int fd;
    km_visit *visit;
    uint64_t token;
    bool connected;
    double since; /* began to connect */
    char address[64];
} call;

typedef struct calls {
    call *items;
    int count;
} calls;

static void dial(calls *all, km_visit *visit, uint64_t token, const char *text) {
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
    double since = clock_now();
    if (fd < 0 || (connect(fd, &to.any, size) != 0 && errno != EINPROGRESS)) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    all->items = km_grow(all->items, (size_t)all->count + 1, sizeof *all->items);
    call *c = &all->items[all->count++];
    *c = (call){.fd = fd, .visit = visit, .token = token, .since = since};
    snprintf(c->address, sizeof c->address, "%s", name);
}

static void dial_all(calls *all, km_visit *visits, int count) {
    for (int i = 0; i < count; i++) {
        char *text = km_strdup(visits[i].door), *rest = NULL;
        char *word = strtok_r(text, " ", &rest);
        uint64_t token = word != NULL ? strtoull(word, NULL, 16) : 0;
        while (word != NULL && (word = strtok_r(NULL, " ", &rest)) != NULL) {
            dial(all, &visits[i], token, word);
        }
        free(text);
    }
}

/* The other clock was read between the beginning of the call and now. */
static void note(call *c, const greeting *words) {
    double now = clock_now();
    if (words->token == c->token && !c->visit->reached) {
        c->visit->reached = true;
        c->visit->round_trip = now - c->since;
        c->visit->clock_offset = words->clock - (c->since + now) / 2;
        snprintf(c->visit->address, sizeof c->visit->address, "%s", c->address);
    }
}

/* False when the call is over. */
static bool proceed(call *c) {
    greeting words;
    if (!c->connected) {
        int error = 0;
        socklen_t size = sizeof error;
        c->connected = getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
        return c->connected;
    }
    ssize_t got = recv(c->fd, &words, sizeof words, 0);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (got == (ssize_t)sizeof words) {
        note(c, &words);
    }
    return false;
}

static void drop(calls *all, int i) {
    close(all->items[i].fd);
    all->items[i] = all->items[--all->count];
}

void km_door_visit(km_visit *visits, int count, double seconds) {
    calls all = {0};
    double until = km_seconds() + seconds;
    km_allow_files(count * 4); /* a host has a few addresses */
    dial_all(&all, visits, count);
    struct pollfd *polls = km_new((size_t)all.count + 1, sizeof *polls);
    while (all.count > 0 && km_seconds() < until) {
        for (int i = 0; i < all.count; i++) {
            polls[i] = (struct pollfd){.fd = all.items[i].fd, .events = all.items[i].connected ? POLLIN : POLLOUT};
        }
        int left = (int)((until - km_seconds()) * 1000) + 1;
        if (poll(polls, (nfds_t)all.count, left) <= 0) {
            continue;
        }
        for (int i = all.count - 1; i >= 0; i--) { /* backwards: the last call takes a dropped one's place */
            if (all.items[i].visit->reached || (polls[i].revents != 0 && !proceed(&all.items[i]))) {
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
