/* text_server: the text server on rank 0's host, and how the other ranks use it. The server's thread serves many connections at once,
 * each within a time limit, so that neither slow nor silent ones hold up the others; from who has not proved that he knows the step's
 * secret it reads one head of fixed size and no more. */
#include "text_server.h"

#include "address.h"
#include "text_protocol.h"
#include "text_secret.h"

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

static const double patience = 3; /* seconds that a connection, and each transfer over it, may take */
enum { PEERS = 256, FIRST_PEER = 2 };

typedef struct entry {
    int round, rank;
    char *text;
} entry;

/* A connection to the server. It reads the head, after a PUT the text, and then writes the answer. */
typedef struct peer {
    int fd;
    double until; /* when it is closed, finished or not */
    bool proved;  /* its head is right */
    unsigned char nonce[KM_TEXT_NONCE];
    km_text_head head;
    size_t in;      /* bytes read of head and text */
    char *text;     /* of a PUT, with its proof behind it */
    km_buffer left; /* to write */
    size_t out;     /* bytes written of it */
} peer;

struct km_text_server {
    char host[256], *folder; /* where rank 0 listens, and where its file is */
    int size;
    km_text_secret secret;
    /* The rest is used on rank 0 only. */
    char *path; /* of its file */
    int listener, wake[2];
    pthread_t thread;
    bool started;
    peer peers[PEERS];
    int peer_count;
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
    return is && id >= 0 && id < tasks && tasks <= INT32_MAX && getenv("PMIX_RANK") != NULL;
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

/* ---- Rank 0: the texts ---- */

static entry *find_entry(km_text_server *server, int round, int rank) {
    for (size_t i = 0; i < server->count; i++) {
        if (server->entries[i].round == round && server->entries[i].rank == rank) {
            return &server->entries[i];
        }
    }
    return NULL;
}

/* Takes ownership of the text. A rank that puts a text again, after an answer that it did not get, replaces the first. */
static void put_entry(km_text_server *server, int round, int rank, char *text) {
    pthread_mutex_lock(&server->mutex);
    entry *old = find_entry(server, round, rank);
    if (old != NULL) {
        free(old->text);
        old->text = text;
    } else {
        server->entries = km_grow(server->entries, server->count + 1, sizeof *server->entries);
        server->entries[server->count++] = (entry){round, rank, text};
    }
    pthread_mutex_unlock(&server->mutex);
}

static char *copy_entry(km_text_server *server, int round, int rank) {
    pthread_mutex_lock(&server->mutex);
    const entry *found = find_entry(server, round, rank);
    char *text = found != NULL ? km_strdup(found->text) : NULL;
    pthread_mutex_unlock(&server->mutex);
    return text;
}

/* ---- Rank 0: connections ---- */

static void drop(km_text_server *server, int i) {
    close(server->peers[i].fd);
    free(server->peers[i].text);
    km_buffer_free(&server->peers[i].left);
    server->peers[i] = server->peers[--server->peer_count];
}

/* The connection that has waited longest without a proof; -1 where there is none. */
static int oldest_stranger(const km_text_server *server) {
    int oldest = -1;
    for (int i = 0; i < server->peer_count; i++) {
        const peer *p = &server->peers[i];
        if (!p->proved && (oldest < 0 || p->until < server->peers[oldest].until)) {
            oldest = i;
        }
    }
    return oldest;
}

/* Accepts a connection and sends its nonce. Where there is no room, the oldest stranger makes it. */
static void accept_peer(km_text_server *server) {
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    const int oldest = server->peer_count == PEERS ? oldest_stranger(server) : -1;
    if (oldest >= 0) {
        drop(server, oldest);
    }
    if (server->peer_count == PEERS) {
        close(fd);
        return;
    }
    peer *p = &server->peers[server->peer_count++];
    *p = (peer){.fd = fd, .until = km_seconds() + patience};
    km_random_bytes(p->nonce, sizeof p->nonce);
    (void)!send(fd, p->nonce, sizeof p->nonce, MSG_NOSIGNAL); /* a new socket has room for it */
}

static bool check_head(const km_text_server *server, const peer *p) {
    unsigned char proof[KM_PROOF];
    const km_text_head *head = &p->head;
    km_text_prove_head(proof, server->secret.secret, p->nonce, head);
    return km_same_bytes(proof, head->proof, sizeof proof) && head->rank >= 0 && head->rank < server->size &&
           head->round >= 0 && head->round < KM_TEXT_ROUNDS &&
           ((head->kind == KM_TEXT_PUT && head->length <= KM_TEXT_LONGEST) ||
            (head->kind == KM_TEXT_GET && head->length == 0));
}

/* Takes the text of a PUT; false where its proof is wrong. */
static bool take_text(km_text_server *server, peer *p) {
    unsigned char proof[KM_PROOF];
    km_text_prove_put(proof, server->secret.secret, p->nonce, &p->head, p->text);
    if (!km_same_bytes(proof, p->text + p->head.length, sizeof proof)) {
        return false;
    }
    p->text[p->head.length] = '\0';
    put_entry(server, p->head.round, p->head.rank, p->text);
    p->text = NULL;
    return true;
}

static void answer(km_text_server *server, peer *p) {
    char *text = p->head.kind == KM_TEXT_GET ? copy_entry(server, p->head.round, p->head.rank) : NULL;
    km_text_answer said = {.length = p->head.kind == KM_TEXT_PUT ? 0 : text != NULL ? strlen(text) : KM_TEXT_NO};
    km_text_prove_answer(said.proof, server->secret.secret, p->nonce, &p->head, said.length, text);
    km_buffer_add(&p->left, &said, sizeof said);
    if (text != NULL) {
        km_buffer_add(&p->left, text, strlen(text));
    }
    free(text);
}

/* Bytes that the peer is to send before it gets its answer. */
static size_t whole_of(const peer *p) {
    return sizeof p->head + (p->proved && p->head.kind == KM_TEXT_PUT ? (size_t)p->head.length + KM_PROOF : 0);
}

/* What comes next when all that was expected is there; false where the peer is to be dropped. */
static bool take_whole(km_text_server *server, peer *p) {
    if (!p->proved) {
        if (!check_head(server, p)) {
            return false;
        }
        p->proved = true;
        if (p->head.kind == KM_TEXT_PUT) {
            p->text = km_new((size_t)p->head.length + KM_PROOF + 1, 1);
            return true;
        }
    } else if (!take_text(server, p)) {
        return false;
    }
    answer(server, p);
    return true;
}

static bool would_wait(ssize_t count) {
    return count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* Reads what is there; false where the peer is to be dropped. */
static bool read_peer(km_text_server *server, peer *p) {
    const size_t whole = whole_of(p);
    char *to = p->in < sizeof p->head ? (char *)&p->head + p->in : p->text + (p->in - sizeof p->head);
    ssize_t got = recv(p->fd, to, whole - p->in, 0);
    if (got <= 0) {
        return would_wait(got);
    }
    p->in += (size_t)got;
    return p->in < whole || take_whole(server, p);
}

/* Writes what the socket takes; false when the answer is complete or the peer is gone. */
static bool write_peer(peer *p) {
    ssize_t put = send(p->fd, p->left.data + p->out, p->left.size - p->out, MSG_NOSIGNAL);
    if (put <= 0) {
        return would_wait(put);
    }
    p->out += (size_t)put;
    return p->out < p->left.size;
}

static void serve_peers(km_text_server *server, const struct pollfd *polls, int count) {
    const double now = km_seconds();
    for (int i = count - 1; i >= 0;
         i--) { /* backwards: the peer that takes a dropped one's place has been served */
        peer *p = &server->peers[i];
        const bool ready = polls[FIRST_PEER + i].revents != 0;
        bool stays = now < p->until;
        if (stays && ready) {
            stays = p->left.size > 0 ? write_peer(p) : read_peer(server, p);
        }
        if (!stays) {
            drop(server, i);
        }
    }
}

static void *serve(void *payload) {
    km_text_server *server = payload;
    for (;;) {
        struct pollfd polls[FIRST_PEER + PEERS] = {{.fd = server->wake[0], .events = POLLIN},
                                                   {.fd = server->listener, .events = POLLIN}};
        const int count = server->peer_count;
        for (int i = 0; i < count; i++) {
            const short events = server->peers[i].left.size > 0 ? POLLOUT : POLLIN;
            polls[FIRST_PEER + i] = (struct pollfd){.fd = server->peers[i].fd, .events = events};
        }
        if ((poll(polls, (nfds_t)(FIRST_PEER + count), count > 0 ? 100 : -1) < 0 && errno != EINTR) ||
            polls[0].revents != 0) {
            return NULL;
        }
        serve_peers(server, polls, count);
        if (polls[1].revents != 0) {
            accept_peer(server);
        }
    }
}

/* ---- Open, close ---- */

/* Listens on a port that the system chooses. */
static bool start(km_text_server *server) {
    struct sockaddr_in here = {.sin_family = AF_INET};
    socklen_t size = sizeof here;
    server->listener = km_socket_open(AF_INET);
    if (server->listener < 0 || bind(server->listener, (struct sockaddr *)&here, sizeof here) != 0 ||
        listen(server->listener, SOMAXCONN) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&here, &size) != 0 ||
        pipe2(server->wake, O_CLOEXEC) != 0) {
        return false;
    }
    server->secret.port = ntohs(here.sin_port);
    server->started = km_thread_start(&server->thread, serve, server) == 0;
    return server->started;
}

static km_status start_rank_0(km_text_server *server) {
    km_random_bytes(server->secret.secret, KM_SECRET);
    if (!start(server)) {
        return km_fail_errno(errno, "no port to listen on for the other ranks");
    }
    return km_text_secret_write(&server->path, &server->secret, server->folder);
}

km_status km_text_server_open(km_text_server **out, int rank, int size, const char *folder) {
    km_text_server *server = km_new(1, sizeof *server);
    const char *hosts = getenv("SLURM_STEP_NODELIST");
    server->listener = server->wake[0] = server->wake[1] = -1;
    server->size = size;
    server->folder = km_strdup(folder);
    pthread_mutex_init(&server->mutex, NULL);
    first_host(server->host, sizeof server->host, hosts != NULL ? hosts : "localhost");
    km_status status = rank == 0 ? start_rank_0(server) : KM_OK;
    if (status != KM_OK) {
        km_text_server_close(server);
        server = NULL;
    }
    *out = server;
    return status;
}

static void stop(km_text_server *server) {
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
    while (server->peer_count > 0) {
        drop(server, server->peer_count - 1);
    }
}

void km_text_server_close(km_text_server *server) {
    if (server == NULL) {
        return;
    }
    stop(server);
    if (server->path != NULL) {
        unlink(server->path);
    }
    for (size_t i = 0; i < server->count; i++) {
        free(server->entries[i].text);
    }
    free(server->entries);
    free(server->path);
    free(server->folder);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

/* ---- The other ranks: one connection for each request ---- */

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

static int connect_to_server(const km_text_server *server) {
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[16];
    int fd = -1;
    snprintf(port, sizeof port, "%d", server->secret.port);
    if (getaddrinfo(server->host, port, &hints, &found) != 0) {
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

/* Sends a request with its proofs. */
static bool send_request(int fd, const km_text_server *server, const unsigned char *nonce, km_text_head *head,
                         const char *text) {
    unsigned char proof[KM_PROOF];
    km_random_bytes(head->nonce, sizeof head->nonce);
    km_text_prove_head(head->proof, server->secret.secret, nonce, head);
    km_text_prove_put(proof, server->secret.secret, nonce, head, text);
    return send_all(fd, head, sizeof *head) &&
           (head->kind == KM_TEXT_GET ||
            (send_all(fd, text, (size_t)head->length) && send_all(fd, proof, sizeof proof)));
}

/* Receives the answer. NULL where it is "no", or is not the server's. */
static char *receive_answer(int fd, const km_text_server *server, const unsigned char *nonce,
                            const km_text_head *head) {
    km_text_answer said;
    unsigned char proof[KM_PROOF];
    if (!receive_all(fd, &said, sizeof said) || said.length > KM_TEXT_LONGEST) {
        return NULL;
    }
    char *text = km_new((size_t)said.length + 1, 1);
    if (receive_all(fd, text, (size_t)said.length)) {
        const bool whole = head->kind == KM_TEXT_GET;
        km_text_prove_answer(proof, server->secret.secret, nonce, head, said.length, whole ? text : NULL);
        if (km_same_bytes(proof, said.proof, sizeof proof)) {
            return text;
        }
    }
    free(text);
    return NULL;
}

/* Makes a request; NULL where rank 0's host did not take it, or has no such text. */
static char *ask(km_text_server *server, int kind, int round, int rank, const char *text) {
    unsigned char nonce[KM_TEXT_NONCE];
    km_text_head head = {.kind = kind, .round = round, .rank = rank, .length = strlen(text)};
    char *got = NULL;
    if (!km_text_secret_read(&server->secret, server->folder)) {
        return NULL; /* rank 0 may start later */
    }
    int fd = connect_to_server(server);
    if (fd >= 0 && receive_all(fd, nonce, sizeof nonce) && send_request(fd, server, nonce, &head, text)) {
        got = receive_answer(fd, server, nonce, &head);
    }
    if (fd >= 0) {
        close(fd);
    }
    return got;
}

bool km_text_server_put(km_text_server *server, int round, int rank, const char *text) {
    if (server->started) {
        put_entry(server, round, rank, km_strdup(text));
        return true;
    }
    char *got = ask(server, KM_TEXT_PUT, round, rank, text);
    free(got);
    return got != NULL;
}

char *km_text_server_get(km_text_server *server, int round, int rank) {
    return server->started ? copy_entry(server, round, rank) : ask(server, KM_TEXT_GET, round, rank, "");
}
