/* rendezvous: texts between rank 0 and the other ranks, and timed messages between two ranks. Everything has a time limit. */
#include "comm_private.h"
#include "text_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct km_rendezvous {
    int rank, size;
    bool opened_mpi;
    bool name_service; /* texts go by the launcher's name service (MPI_Publish_name) */
    km_text_server
        *server;     /* not NULL: texts go by this server, and MPI need not have started; else by MPI messages */
    bool unfinished; /* an MPI message has not finished in time: no other MPI call is made */
    bool *absent;    /* (size) on rank 0: ranks that sent nothing in time; no MPI message is sent to them */
    int round;       /* how many gathers and broadcasts there were; it is a part of the texts' names */
};

/* PAGE: characters of a text in one published name; before them stands how many pages there are. */
enum { TAG_TEXT = 100, TAG_PING = 1 << 14, PAGE = MPI_MAX_PORT_NAME - 32 };

/* ---- Texts by MPI's name service: a published name's "port" is a page of a text ---- */

static void page_name(char out[128], int round, int rank, int page) {
    const char *job = getenv("PMIX_NAMESPACE");
    snprintf(out, 128, "kmask-%.60s-%d-%d-%d", job != NULL ? job : "", round, rank, page);
}

static bool publish_text(int round, int rank, const char *text) {
    size_t length = strlen(text);
    int pages = (int)(length / PAGE) + 1;
    bool good = true;
    for (int page = pages - 1; page >= 0 && good;
         page--) { /* the first page is published last: a reader that finds it finds all others too */
        char name[128], content[MPI_MAX_PORT_NAME];
        page_name(name, round, rank, page);
        snprintf(content, sizeof content, "%d %.*s", pages, PAGE, text + (size_t)page * PAGE);
        good = MPI_Publish_name(name, MPI_INFO_NULL, content) == MPI_SUCCESS;
    }
    return good;
}

static bool look_up_page(int round, int rank, int page, int *pages, km_buffer *text) {
    char name[128], content[MPI_MAX_PORT_NAME] = "";
    int used = 0;
    page_name(name, round, rank, page);
    if (MPI_Lookup_name(name, MPI_INFO_NULL, content) != MPI_SUCCESS ||
        sscanf(content, "%d%n", pages, &used) != 1) {
        return false;
    }
    km_buffer_add(text, content + used + 1, strlen(content + used + 1));
    return true;
}

/* Returns a text that another rank has published; NULL where it is not there yet. The caller frees. */
static char *look_up_text(int round, int rank) {
    km_buffer text = {0};
    int pages = 1;
    for (int page = 0; page < pages; page++) {
        if (!look_up_page(round, rank, page, &pages, &text)) {
            km_buffer_free(&text);
            return NULL;
        }
    }
    return text.data;
}

/* Seconds until a rank asks again for a text that was not there. They grow with the number of ranks, which all ask one launcher or
 * server. */
static double pause_after(const km_rendezvous *rendezvous, int tries) {
    const double most = 0.5;
    return KM_MIN(most, 0.01 * (1 + (double)rendezvous->size / 64) * (1 + tries));
}

/* ---- Texts by MPI messages ---- */

/* Waits for the requests until they have finished, or until the time `until`. */
static bool finish(km_rendezvous *rendezvous, MPI_Request *requests, int count, double until) {
    int done = 0;
    do {
        MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE);
    } while (!done && km_seconds() < until);
    rendezvous->unfinished = rendezvous->unfinished || !done;
    return done != 0;
}

/* Sends a copy of the text. A copy that is not sent in time is never freed, since MPI may still read it. */
static bool send_text(km_rendezvous *rendezvous, const char *text, int to, double until) {
    char *copy = km_strdup(text);
    MPI_Request request;
    MPI_Isend(copy, (int)strlen(text) + 1, MPI_CHAR, to, TAG_TEXT + rendezvous->round, MPI_COMM_WORLD, &request);
    bool sent = finish(rendezvous, &request, 1, until);
    if (sent) {
        free(copy);
    }
    return sent;
}

static char *receive_text(int round, int from) {
    int there = 0, size = 0;
    MPI_Status status;
    MPI_Message message;
    MPI_Improbe(from, TAG_TEXT + round, MPI_COMM_WORLD, &there, &message, &status);
    if (!there) {
        return NULL;
    }
    MPI_Get_count(&status, MPI_CHAR, &size);
    char *text = km_new((size_t)size + 1, 1);
    MPI_Mrecv(text, size, MPI_CHAR, &message, MPI_STATUS_IGNORE);
    return text;
}

/* ---- Open, close ---- */

km_status km_rendezvous_start_mpi(km_rendezvous *rendezvous, int *argc, char ***argv) {
    int ready = 0, provided = 0;
    MPI_Initialized(&ready);
    if (!ready && MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
        return km_fail(KM_FAILED, "MPI did not start; `mpirun -n 1 hostname` shows whether Open MPI itself works");
    }
    rendezvous->opened_mpi = rendezvous->opened_mpi || !ready;
    MPI_Comm_rank(MPI_COMM_WORLD, &rendezvous->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &rendezvous->size);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    return KM_OK;
}

km_status km_rendezvous_open(km_rendezvous **out, int *argc, char ***argv, const char *folder) {
    km_rendezvous *rendezvous = km_new(1, sizeof *rendezvous);
    *out = rendezvous;
    if (km_srun_task(&rendezvous->rank, &rendezvous->size) && rendezvous->size > 1) {
        KM_TRY(km_text_server_open(&rendezvous->server, rendezvous->rank, rendezvous->size, folder));
    } else {
        KM_TRY(km_rendezvous_start_mpi(rendezvous, argc, argv));
        /* The name service is tried under mpirun only: without mpirun Open MPI prints a page about the missing service. All
         * ranks have the same launcher. */
        rendezvous->name_service = rendezvous->size > 1 && getenv("OMPI_COMM_WORLD_RANK") != NULL &&
                                   publish_text(0, rendezvous->rank, "here");
    }
    rendezvous->absent = km_new((size_t)rendezvous->size, sizeof *rendezvous->absent);
    km_log_mute(rendezvous->rank != 0);
    return KM_OK;
}

void km_rendezvous_close(km_rendezvous *rendezvous) {
    if (rendezvous == NULL) {
        return;
    }
    if (rendezvous->opened_mpi && !rendezvous->unfinished) {
        MPI_Finalize();
    }
    km_text_server_close(rendezvous->server);
    free(rendezvous->absent);
    free(rendezvous);
}

void km_rendezvous_use_messages(km_rendezvous *rendezvous) {
    rendezvous->name_service = false;
}

int km_rendezvous_rank(const km_rendezvous *rendezvous) {
    return rendezvous->rank;
}

int km_rendezvous_size(const km_rendezvous *rendezvous) {
    return rendezvous->size;
}

/* ---- Texts ---- */

static char *get(km_rendezvous *rendezvous, int round, int from) {
    return rendezvous->server != NULL ? km_text_server_get(rendezvous->server, round, from)
           : rendezvous->name_service ? look_up_text(round, from)
                                      : receive_text(round, from);
}

static void put_for_root(km_rendezvous *rendezvous, int round, const char *text, double until) {
    if (rendezvous->name_service) {
        (void)publish_text(round, rendezvous->rank, text);
    } else if (rendezvous->server == NULL) {
        (void)send_text(rendezvous, text, 0, until);
    } else {
        while (!km_text_server_put(rendezvous->server, round, rendezvous->rank, text) && km_seconds() < until) {
            km_sleep(pause_after(rendezvous, 10)); /* rank 0 may start later than this rank */
        }
    }
}

char **km_rendezvous_gather(km_rendezvous *rendezvous, const char *text, double seconds) {
    double until = km_seconds() + seconds;
    int round = ++rendezvous->round;
    if (rendezvous->rank != 0) {
        put_for_root(rendezvous, round, text, until);
        return NULL;
    }
    char **texts = km_new((size_t)rendezvous->size, sizeof *texts);
    texts[0] = km_strdup(text);
    int missing = rendezvous->size - 1;
    for (int tries = 0; missing > 0; tries++) {
        for (int rank = 1; rank < rendezvous->size; rank++) {
            texts[rank] = texts[rank] == NULL ? get(rendezvous, round, rank) : texts[rank];
        }
        missing = 0;
        for (int rank = 1; rank < rendezvous->size; rank++) {
            rendezvous->absent[rank] = texts[rank] == NULL;
            missing += texts[rank] == NULL;
        }
        if (missing > 0 && km_seconds() >= until) {
            break;
        }
        km_sleep(missing > 0 ? pause_after(rendezvous, 0) : 0);
    }
    return texts;
}

char *km_rendezvous_broadcast(km_rendezvous *rendezvous, const char *text, double seconds) {
    double until = km_seconds() + seconds;
    int round = ++rendezvous->round;
    if (rendezvous->rank != 0) {
        char *got = NULL;
        for (int tries = 0; (got = get(rendezvous, round, 0)) == NULL && km_seconds() < until; tries++) {
            km_sleep(rendezvous->name_service || rendezvous->server != NULL ? pause_after(rendezvous, tries)
                                                                            : 0.001);
        }
        return got;
    }
    if (rendezvous->name_service) {
        (void)publish_text(round, 0, text);
    } else if (rendezvous->server != NULL) {
        (void)km_text_server_put(rendezvous->server, round, 0, text);
    }
    for (int rank = 1; !rendezvous->name_service && rendezvous->server == NULL && rank < rendezvous->size; rank++) {
        if (!rendezvous->absent[rank]) {
            (void)send_text(rendezvous, text, rank, until);
        }
    }
    return km_strdup(text);
}

/* ---- Messages ---- */

double km_rendezvous_ping(km_rendezvous *rendezvous, int other, size_t bytes, int times, double seconds) {
    double until = km_seconds() + seconds, start = 0;
    bool first = rendezvous->rank < other, good = !rendezvous->unfinished;
    char *out = km_new(bytes, 1), *in = km_new(bytes, 1);
    for (int i = -1; good && i < times; i++) { /* the first exchange opens the connection and is not timed */
        MPI_Request request;
        start = i == 0 ? km_seconds() : start;
        for (int half = 0; good && half < 2; half++) {
            if ((half == 0) == first) {
                MPI_Isend(out, (int)bytes, MPI_BYTE, other, TAG_PING, MPI_COMM_WORLD, &request);
            } else {
                MPI_Irecv(in, (int)bytes, MPI_BYTE, other, TAG_PING, MPI_COMM_WORLD, &request);
            }
            good = finish(rendezvous, &request, 1, until);
        }
    }
    double took = km_seconds() - start;
    if (!good) {
        return -1; /* `out` and `in` are not freed: MPI may still use them */
    }
    free(out);
    free(in);
    return took / (2.0 * times);
}
