#include "star_hub.h"

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
static const double patience = 3; /* seconds for a connection, and for each piece over it */

typedef struct request {
    uint64_t token; /* of this step */
    int32_t kind, phase, rank, reserved;
    uint64_t length; /* of the text that follows */
} request;

typedef struct note {
    int phase, rank;
    char *text;
} note;

struct km_hub {
    uint64_t token;
    char host[256], port[16]; /* rank 0's */
    /* Rank 0's: */
    int listener, wake[2];
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards the notes */
    note *notes;
    size_t count;
};

/* ---- The step ---- */

static bool number_of(const char *name, int64_t *out) {
    const char *text = getenv(name);
    char *end = NULL;
    *out = text != NULL ? strtoll(text, &end, 10) : 0;
    return text != NULL && end != text;
}

bool km_hub_step(int *rank, int *size) {
    int64_t id = 0, tasks = 0, step = 0;
    bool is = getenv("OMPI_COMM_WORLD_RANK") == NULL && getenv("SLURM_STEP_NODELIST") != NULL &&
              number_of("SLURM_PROCID", &id) && number_of("SLURM_STEP_ID", &step) &&
              (number_of("SLURM_STEP_NUM_TASKS", &tasks) || number_of("SLURM_NTASKS", &tasks));
    *rank = (int)id;
    *size = (int)tasks;
    return is && id >= 0 && id < tasks && getenv("PMIX_RANK") != NULL;
}

/* The first of "host[1-3,7],other". */
static void first_host(char *out, size_t room, const char *list) {
    const char *open = list + strcspn(list, "[,");
    if (*open == '[') {
        snprintf(out, room, "%.*s%.*s", (int)(open - list), list, (int)strcspn(open + 1, "-,]"), open + 1);
    } else {
        snprintf(out, room, "%.*s", (int)(open - list), list);
    }
}

static void find_meeting(km_hub *hub) {
    enum { FIRST = 20000, PORTS = 10000 }; /* below those that the system gives away */
    int64_t job = 0, step = 0;
    (void)number_of("SLURM_JOB_ID", &job);
    (void)number_of("SLURM_STEP_ID", &step);
    hub->token = km_mix64(km_mix64((uint64_t)job) + (uint64_t)step);
    first_host(hub->host, sizeof hub->host, getenv("SLURM_STEP_NODELIST"));
    snprintf(hub->port, sizeof hub->port, "%d", FIRST + (int)(hub->token % PORTS));
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

/* ---- Rank 0: the notes, and the thread that takes and gives them ---- */

static void keep(km_hub *hub, int phase, int rank, char *text) {
    pthread_mutex_lock(&hub->mutex);
    hub->notes = km_grow(hub->notes, hub->count + 1, sizeof *hub->notes);
    hub->notes[hub->count++] = (note){phase, rank, text};
    pthread_mutex_unlock(&hub->mutex);
}

static char *find(km_hub *hub, int phase, int rank) {
    char *text = NULL;
    pthread_mutex_lock(&hub->mutex);
    for (size_t i = hub->count; i > 0 && text == NULL; i--) {
        if (hub->notes[i - 1].phase == phase && hub->notes[i - 1].rank == rank) {
            text = km_strdup(hub->notes[i - 1].text);
        }
    }
    pthread_mutex_unlock(&hub->mutex);
    return text;
}

static void answer(km_hub *hub, int fd) {
    request asked;
    uint64_t length = UINT64_MAX; /* nothing */
    if (!receive_all(fd, &asked, sizeof asked) || asked.token != hub->token) {
        return;
    }
    if (asked.kind == PUT) {
        char *text = receive_text(fd, asked.length);
        if (text != NULL) {
            keep(hub, asked.phase, asked.rank, text);
            length = 0;
        }
        (void)send_all(fd, &length, sizeof length);
        return;
    }
    char *text = find(hub, asked.phase, asked.rank);
    length = text != NULL ? strlen(text) : length;
    if (send_all(fd, &length, sizeof length) && text != NULL) {
        (void)send_all(fd, text, (size_t)length);
    }
    free(text);
}

static void *serve(void *payload) {
    km_hub *hub = payload;
    for (;;) {
        struct pollfd polls[2] = {{.fd = hub->wake[0], .events = POLLIN}, {.fd = hub->listener, .events = POLLIN}};
        if ((poll(polls, 2, -1) < 0 && errno != EINTR) || polls[0].revents != 0) {
            return NULL;
        }
        int fd = polls[1].revents != 0 ? accept4(hub->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0) {
            set_limit(fd);
            answer(hub, fd);
            close(fd);
        }
    }
}

static bool start(km_hub *hub) {
    int on = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtol(hub->port, NULL, 10))};
    hub->listener = km_socket_open(AF_INET);
    (void)setsockopt(hub->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (hub->listener < 0 || bind(hub->listener, (struct sockaddr *)&here, sizeof here) != 0 ||
        listen(hub->listener, SOMAXCONN) != 0 || pipe2(hub->wake, O_CLOEXEC) != 0) {
        return false;
    }
    hub->started = km_thread_start(&hub->thread, serve, hub) == 0;
    return hub->started;
}

km_hub *km_hub_open(int rank) {
    km_hub *hub = km_new(1, sizeof *hub);
    hub->listener = hub->wake[0] = hub->wake[1] = -1;
    pthread_mutex_init(&hub->mutex, NULL);
    find_meeting(hub);
    if (rank == 0 && !start(hub)) {
        km_hub_close(hub);
        return NULL;
    }
    return hub;
}

void km_hub_close(km_hub *hub) {
    if (hub == NULL) {
        return;
    }
    if (hub->started) {
        (void)!write(hub->wake[1], "", 1);
        pthread_join(hub->thread, NULL);
    }
    const int files[] = {hub->listener, hub->wake[0], hub->wake[1]};
    for (size_t i = 0; i < KM_COUNT(files); i++) {
        if (files[i] >= 0) {
            close(files[i]);
        }
    }
    for (size_t i = 0; i < hub->count; i++) {
        free(hub->notes[i].text);
    }
    free(hub->notes);
    pthread_mutex_destroy(&hub->mutex);
    free(hub);
}

/* ---- The other ranks: a connection for each text ---- */

static int reach(const km_hub *hub) {
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int fd = -1;
    if (getaddrinfo(hub->host, hub->port, &hints, &found) != 0) {
        return -1;
    }
    for (const struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) {
            set_limit(fd); /* of connect too */
            if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
                close(fd);
                fd = -1;
            }
        }
    }
    freeaddrinfo(found);
    return fd;
}

static bool ask(int fd, const km_hub *hub, int kind, int phase, int rank, const char *text, uint64_t *length) {
    request asked = {.token = hub->token, .kind = kind, .phase = phase, .rank = rank, .length = strlen(text)};
    return send_all(fd, &asked, sizeof asked) && send_all(fd, text, strlen(text)) &&
           receive_all(fd, length, sizeof *length) && *length != UINT64_MAX;
}

bool km_hub_put(km_hub *hub, int phase, int rank, const char *text) {
    if (hub->started) {
        keep(hub, phase, rank, km_strdup(text));
        return true;
    }
    uint64_t length = 0;
    int fd = reach(hub);
    bool good = fd >= 0 && ask(fd, hub, PUT, phase, rank, text, &length);
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

char *km_hub_get(km_hub *hub, int phase, int rank) {
    if (hub->started) {
        return find(hub, phase, rank);
    }
    uint64_t length = 0;
    int fd = reach(hub);
    char *text = fd >= 0 && ask(fd, hub, GET, phase, rank, "", &length) ? receive_text(fd, length) : NULL;
    if (fd >= 0) {
        close(fd);
    }
    return text;
}
