/* text_server: the text server on rank 0's host, and how the other ranks use it. */
#include "text_server.h"

#include "address.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { PUT = 1, GET = 2, LONGEST = 1 << 24 };
static const double patience = 3; /* seconds that a connection, and each transfer over it, may take */

typedef struct request {
    uint64_t token; /* identifies this SLURM step: requests with another token are refused */
    int32_t kind, round, rank, reserved;
    uint64_t length; /* bytes of the text that follows; 0 in a GET */
} request;

typedef struct entry {
    int round, rank;
    char *text;
} entry;

struct km_text_server {
    uint64_t token;
    char host[256], port[16]; /* where rank 0 listens */
    /* The rest is used on rank 0 only. */
    int listener, wake[2];
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards entries and count */
    entry *entries;
    size_t count;
};

/* ---- The SLURM step ---- */

static bool number_of(const char *name, int64_t *out) {
    const char *text = getenv(name);
    char *end = NULL;
    *out = text != NULL ? strtoll(text, &end, 10) : 0;
    return text != NULL && end != text;
}

bool km_srun_task(int *rank, int *size) {
    int64_t id = 0, tasks = 0, step = 0;
    bool is = getenv("OMPI_COMM_WORLD_RANK") == NULL && getenv("SLURM_STEP_NODELIST") != NULL &&
              number_of("SLURM_PROCID", &id) && number_of("SLURM_STEP_ID", &step) &&
              (number_of("SLURM_STEP_NUM_TASKS", &tasks) || number_of("SLURM_NTASKS", &tasks));
    *rank = (int)id;
    *size = (int)tasks;
    return is && id >= 0 && id < tasks && getenv("PMIX_RANK") != NULL;
}

/* The first host of a SLURM node list: "host1" of "host[1-3,7],other". Rank 0 runs there. */
static void first_host(char *out, size_t room, const char *list) {
    const char *open = list + strcspn(list, "[,");
    if (*open == '[') {
        snprintf(out, room, "%.*s%.*s", (int)(open - list), list, (int)strcspn(open + 1, "-,]"), open + 1);
    } else {
        snprintf(out, room, "%.*s", (int)(open - list), list);
    }
}

/* Computes the server's host, port and token from the SLURM step's environment, so that every rank finds the same. */
static void find_server(km_text_server *server) {
    enum { FIRST = 20000, PORTS = 10000 }; /* below the ports that Linux gives to sockets that ask for none */
    int64_t job = 0, step = 0;
    (void)number_of("SLURM_JOB_ID", &job);
    (void)number_of("SLURM_STEP_ID", &step);
    server->token = km_mix64(km_mix64((uint64_t)job) + (uint64_t)step);
    first_host(server->host, sizeof server->host, getenv("SLURM_STEP_NODELIST"));
    snprintf(server->port, sizeof server->port, "%d", FIRST + (int)(server->token % PORTS));
}

/* ---- Transfers with a time limit ---- */

static void set_limit(int fd) {
    struct timeval limit = {.tv_sec = (time_t)patience};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static bool send_all(int fd, const void *bytes, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t sent = send(fd, (const char *)bytes + done, count - done, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        done += (size_t)sent;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t got = recv(fd, (char *)bytes + done, count - done, 0);
        if (got <= 0) {
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

static char *receive_text(int fd, uint64_t length) {
    char *text = length <= LONGEST ? km_new((size_t)length + 1, 1) : NULL;
    if (text != NULL && !receive_all(fd, text, (size_t)length)) {
        free(text);
        text = NULL;
    }
    return text;
}

/* ---- Rank 0: the texts, and the thread that answers requests ---- */

static void add_entry(km_text_server *server, int round, int rank, char *text) {
    pthread_mutex_lock(&server->mutex);
    server->entries = km_grow(server->entries, server->count + 1, sizeof *server->entries);
    server->entries[server->count++] = (entry){round, rank, text};
    pthread_mutex_unlock(&server->mutex);
}

/* The text that was put by a rank in a round, the last one where there are several; NULL where there is none. */
static char *find_entry(km_text_server *server, int round, int rank) {
    char *text = NULL;
    pthread_mutex_lock(&server->mutex);
    for (size_t i = server->count; i > 0 && text == NULL; i--) {
        if (server->entries[i - 1].round == round && server->entries[i - 1].rank == rank) {
            text = km_strdup(server->entries[i - 1].text);
        }
    }
    pthread_mutex_unlock(&server->mutex);
    return text;
}

/* Receives a request and answers it. The answer is a length, with UINT64_MAX for "no"; after a GET the text follows. */
static void answer(km_text_server *server, int fd) {
    request asked;
    uint64_t length = UINT64_MAX; /* no */
    if (!receive_all(fd, &asked, sizeof asked) || asked.token != server->token) {
        return;
    }
    if (asked.kind == PUT) {
        char *text = receive_text(fd, asked.length);
        if (text != NULL) {
            add_entry(server, asked.round, asked.rank, text);
            length = 0;
        }
        (void)send_all(fd, &length, sizeof length);
        return;
    }
    char *text = find_entry(server, asked.round, asked.rank);
    length = text != NULL ? strlen(text) : length;
    if (send_all(fd, &length, sizeof length) && text != NULL) {
        (void)send_all(fd, text, (size_t)length);
    }
    free(text);
}

static void *serve(void *payload) {
    km_text_server *server = payload;
    for (;;) {
        struct pollfd polls[2] = {{.fd = server->wake[0], .events = POLLIN},
                                  {.fd = server->listener, .events = POLLIN}};
        if ((poll(polls, 2, -1) < 0 && errno != EINTR) || polls[0].revents != 0) {
            return NULL;
        }
        int fd = polls[1].revents != 0 ? accept4(server->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0) {
            set_limit(fd);
            answer(server, fd);
            close(fd);
        }
    }
}

static bool start(km_text_server *server) {
    int on = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtol(server->port, NULL, 10))};
    server->listener = km_socket_open(AF_INET);
    (void)setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (server->listener < 0 || bind(server->listener, (struct sockaddr *)&here, sizeof here) != 0 ||
        listen(server->listener, SOMAXCONN) != 0 || pipe2(server->wake, O_CLOEXEC) != 0) {
        return false;
    }
    server->started = km_thread_start(&server->thread, serve, server) == 0;
    return server->started;
}

km_text_server *km_text_server_open(int rank) {
    km_text_server *server = km_new(1, sizeof *server);
    server->listener = server->wake[0] = server->wake[1] = -1;
    pthread_mutex_init(&server->mutex, NULL);
    find_server(server);
    if (rank == 0 && !start(server)) {
        km_text_server_close(server);
        return NULL;
    }
    return server;
}

void km_text_server_close(km_text_server *server) {
    if (server == NULL) {
        return;
    }
    if (server->started) {
        (void)!write(server->wake[1], "", 1);
        pthread_join(server->thread, NULL);
    }
    const int files[] = {server->listener, server->wake[0], server->wake[1]};
    for (size_t i = 0; i < KM_COUNT(files); i++) {
        if (files[i] >= 0) {
            close(files[i]);
        }
    }
    for (size_t i = 0; i < server->count; i++) {
        free(server->entries[i].text);
    }
    free(server->entries);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

/* ---- The other ranks: one connection for each request ---- */

static int connect_to_server(const km_text_server *server) {
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int fd = -1;
    if (getaddrinfo(server->host, server->port, &hints, &found) != 0) {
        return -1;
    }
    for (const struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) {
            set_limit(fd); /* it limits connect too */
            if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
                close(fd);
                fd = -1;
            }
        }
    }
    freeaddrinfo(found);
    return fd;
}

static bool send_request(int fd, const km_text_server *server, int kind, int round, int rank, const char *text,
                         uint64_t *length) {
    request asked = {.token = server->token, .kind = kind, .round = round, .rank = rank, .length = strlen(text)};
    return send_all(fd, &asked, sizeof asked) && send_all(fd, text, strlen(text)) &&
           receive_all(fd, length, sizeof *length) && *length != UINT64_MAX;
}

bool km_text_server_put(km_text_server *server, int round, int rank, const char *text) {
    if (server->started) {
        add_entry(server, round, rank, km_strdup(text));
        return true;
    }
    uint64_t length = 0;
    int fd = connect_to_server(server);
    bool good = fd >= 0 && send_request(fd, server, PUT, round, rank, text, &length);
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

char *km_text_server_get(km_text_server *server, int round, int rank) {
    if (server->started) {
        return find_entry(server, round, rank);
    }
    uint64_t length = 0;
    int fd = connect_to_server(server);
    char *text =
        fd >= 0 && send_request(fd, server, GET, round, rank, "", &length) ? receive_text(fd, length) : NULL;
    if (fd >= 0) {
        close(fd);
    }
    return text;
}
