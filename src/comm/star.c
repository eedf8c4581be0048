/* Texts between rank 0 and the others, and timed messages between two ranks, none of which can hang. */
#include "kmask/comm.h"
#include "star_hub.h"

#include <errno.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct km_star {
    int rank, size;
    bool opened_mpi;
    bool board;   /* the launcher has a name service */
    km_hub *hub;  /* texts by rank 0's host: MPI is not started for them */
    bool pending; /* a message is still under way */
    bool *absent; /* (size) rank 0: sent nothing in time, and gets nothing */
    int phase;    /* texts so far: a part of their names */
};

enum { TAG_TEXT = 100, TAG_PING = 1 << 14, PAGE = 900 };

static void pause_for(double seconds) {
    struct timespec time = {.tv_sec = (time_t)seconds};
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    (void)nanosleep(&time, NULL);
}

/* ---- The board: names and pages of text ---- */

static void page_name(char out[128], int phase, int rank, int page) {
    const char *job = getenv("PMIX_NAMESPACE");
    snprintf(out, 128, "kmask-%.60s-%d-%d-%d", job != NULL ? job : "", phase, rank, page);
}

static bool board_put(int phase, int rank, const char *text) {
    size_t length = strlen(text);
    int pages = (int)(length / PAGE) + 1;
    bool good = true;
    for (int page = pages - 1; page >= 0 && good; page--) { /* the first one last: with it the text is complete */
        char name[128], content[MPI_MAX_PORT_NAME];
        page_name(name, phase, rank, page);
        snprintf(content, sizeof content, "%d %.*s", pages, PAGE, text + (size_t)page * PAGE);
        good = MPI_Publish_name(name, MPI_INFO_NULL, content) == MPI_SUCCESS;
    }
    return good;
}

static bool board_page(int phase, int rank, int page, int *pages, km_buffer *text) {
    char name[128], content[MPI_MAX_PORT_NAME] = "";
    int used = 0;
    page_name(name, phase, rank, page);
    if (MPI_Lookup_name(name, MPI_INFO_NULL, content) != MPI_SUCCESS ||
        sscanf(content, "%d%n", pages, &used) != 1) {
        return false;
    }
    km_buffer_add(text, content + used + 1, strlen(content + used + 1));
    return true;
}

/* NULL: not there yet. */
static char *board_get(int phase, int rank) {
    km_buffer text = {0};
    int pages = 1;
    for (int page = 0; page < pages; page++) {
        if (!board_page(phase, rank, page, &pages, &text)) {
            km_buffer_free(&text);
            return NULL;
        }
    }
    return text.data;
}

/* Many ranks ask one launcher. */
static double patience(const km_star *star, int tries) {
    const double most = 0.5;
    return KM_MIN(most, 0.01 * (1 + (double)star->size / 64) * (1 + tries));
}

/* ---- The same over MPI ---- */

static bool finish(km_star *star, MPI_Request *requests, int count, double until) {
    int done = 0;
    do {
        MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE);
    } while (!done && km_seconds() < until);
    star->pending = star->pending || !done;
    return done != 0;
}

/* The texts stay where they are: a message that never leaves keeps its memory. */
static bool mpi_put(km_star *star, const char *text, int to, double until) {
    char *copy = km_strdup(text);
    MPI_Request request;
    MPI_Isend(copy, (int)strlen(text) + 1, MPI_CHAR, to, TAG_TEXT + star->phase, MPI_COMM_WORLD, &request);
    bool sent = finish(star, &request, 1, until);
    if (sent) {
        free(copy);
    }
    return sent;
}

static char *mpi_get(int phase, int from) {
    int there = 0, size = 0;
    MPI_Status status;
    MPI_Message message;
    MPI_Improbe(from, TAG_TEXT + phase, MPI_COMM_WORLD, &there, &message, &status);
    if (!there) {
        return NULL;
    }
    MPI_Get_count(&status, MPI_CHAR, &size);
    char *text = km_new((size_t)size + 1, 1);
    MPI_Mrecv(text, size, MPI_CHAR, &message, MPI_STATUS_IGNORE);

    return text;
}

/* ---- Open, close ---- */

km_status km_star_start_mpi(km_star *star, int *argc, char ***argv) {
    int ready = 0, provided = 0;
    MPI_Initialized(&ready);
    if (!ready && MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
        return km_fail(KM_FAILED, "MPI did not start; `mpirun -n 1 hostname` shows whether Open MPI itself works");
    }
    star->opened_mpi = star->opened_mpi || !ready;
    MPI_Comm_rank(MPI_COMM_WORLD, &star->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &star->size);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    return KM_OK;
}

km_status km_star_open(km_star **out, int *argc, char ***argv) {
    km_star *star = km_new(1, sizeof *star);
    *out = star;
    if (km_hub_step(&star->rank, &star->size) && star->size > 1) {
        star->hub = km_hub_open(star->rank);
        if (star->hub == NULL) {
            return km_fail_errno(errno, "no port to listen on for the other ranks");
        }
    } else {
        KM_TRY(km_star_start_mpi(star, argc, argv));
        /* Elsewhere Open MPI has a page of text about what is missing. All ranks have the same launcher. */
        star->board = star->size > 1 && getenv("OMPI_COMM_WORLD_RANK") != NULL && board_put(0, star->rank, "here");
    }
    star->absent = km_new((size_t)star->size, sizeof *star->absent);
    km_log_mute(star->rank != 0);
    return KM_OK;
}

void km_star_close(km_star *star) {
    if (star == NULL) {
        return;
    }
    if (star->opened_mpi && !star->pending) {
        MPI_Finalize();
    }
    km_hub_close(star->hub);
    free(star->absent);
    free(star);
}

void km_star_use_messages(km_star *star) {
    star->board = false;
}

int km_star_rank(const km_star *star) {
    return star->rank;
}

int km_star_size(const km_star *star) {
    return star->size;
}

/* ---- Texts ---- */

static char *get(km_star *star, int phase, int from) {
    return star->hub != NULL ? km_hub_get(star->hub, phase, from)
           : star->board     ? board_get(phase, from)
                             : mpi_get(phase, from);
}

static void put_to_root(km_star *star, int phase, const char *text, double until) {
    if (star->board) {
        (void)board_put(phase, star->rank, text);
    } else if (star->hub == NULL) {
        (void)mpi_put(star, text, 0, until);
    } else {
        while (!km_hub_put(star->hub, phase, star->rank, text) && km_seconds() < until) {
            pause_for(patience(star, 10)); /* rank 0 may come later */
        }
    }
}

char **km_star_gather(km_star *star, const char *text, double seconds) {
    double until = km_seconds() + seconds;
    int phase = ++star->phase;
    if (star->rank != 0) {
        put_to_root(star, phase, text, until);
        return NULL;
    }
    char **texts = km_new((size_t)star->size, sizeof *texts);
    texts[0] = km_strdup(text);
    int missing = star->size - 1;
    for (int tries = 0; missing > 0; tries++) {
        for (int rank = 1; rank < star->size; rank++) {
            texts[rank] = texts[rank] == NULL ? get(star, phase, rank) : texts[rank];
        }
        missing = 0;
        for (int rank = 1; rank < star->size; rank++) {
            star->absent[rank] = texts[rank] == NULL;
            missing += texts[rank] == NULL;
        }
        if (missing > 0 && km_seconds() >= until) {
            break;
        }
        pause_for(missing > 0 ? patience(star, 0) : 0);
    }
    return texts;
}

char *km_star_spread(km_star *star, const char *text, double seconds) {
    double until = km_seconds() + seconds;
    int phase = ++star->phase;
    if (star->rank != 0) {
        char *got = NULL;
        for (int tries = 0; (got = get(star, phase, 0)) == NULL && km_seconds() < until; tries++) {
            pause_for(star->board || star->hub != NULL ? patience(star, tries) : 0.001);
        }
        return got;
    }
    if (star->board) {
        (void)board_put(phase, 0, text);
    } else if (star->hub != NULL) {
        (void)km_hub_put(star->hub, phase, 0, text);
    }
    for (int rank = 1; !star->board && star->hub == NULL && rank < star->size; rank++) {
        if (!star->absent[rank]) {
            (void)mpi_put(star, text, rank, until);
        }
    }
    return km_strdup(text);
}

/* ---- Messages ---- */

double km_star_ping(km_star *star, int other, size_t bytes, int times, double seconds) {
    double until = km_seconds() + seconds, start = 0;
    bool first = star->rank < other, good = !star->pending;
    char *out = km_new(bytes, 1), *in = km_new(bytes, 1);
    for (int i = -1; good && i < times; i++) { /* the first one opens the connection and is not counted */
        MPI_Request request;
        start = i == 0 ? km_seconds() : start;
        for (int half = 0; good && half < 2; half++) {
            if ((half == 0) == first) {
                MPI_Isend(out, (int)bytes, MPI_BYTE, other, TAG_PING, MPI_COMM_WORLD, &request);
            } else {
                MPI_Irecv(in, (int)bytes, MPI_BYTE, other, TAG_PING, MPI_COMM_WORLD, &request);
            }
            good = finish(star, &request, 1, until);
        }
    }
    double took = km_seconds() - start;
    if (!good) {
        return -1; /* what is under way keeps its memory */
    }
    free(out);
    free(in);
    return took / (2.0 * times);
}

/* ---- What MPI sends by ---- */

/* Its components are loaded libraries, of which those that are not used are unloaded at its start. */
static void add_components(km_buffer *text, const char *maps, const char *kind, const char *skip) {
    char *start = km_format("/mca_%s_", kind);
    const char *between = " ", *at = maps;
    km_buffer seen = {0};
    while ((at = strstr(at, start)) != NULL) {
        at += strlen(start);
        char *name = km_format("%.*s,", (int)strcspn(at, ".\n"), at);
        if (strstr(skip, name) == NULL && (seen.size == 0 || strstr(seen.data, name) == NULL)) {
            km_buffer_print(text, "%s%.*s", between, (int)strlen(name) - 1, name);
            km_buffer_print(&seen, "%s", name);
            between = ", ";
        }
        free(name);
    }
    km_buffer_free(&seen);
    free(start);
}

char *km_star_transport(void) {
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(version, &length);
    int ready = 0;
    MPI_Initialized(&ready);
    if (!ready) {
        return km_format("%.*s: not started", (int)strcspn(version, ","), version);
    }
    km_buffer text = {0}, maps = {0};
    km_buffer_print(&text, "%.*s:", (int)strcspn(version, ","), version);
    FILE *file = fopen("/proc/self/maps", "re");
    char line[4096];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        km_buffer_add(&maps, line, strlen(line));
    }
    if (file != NULL) {
        fclose(file);
    }
    const char *all = maps.data != NULL ? maps.data : "";
    size_t before = text.size;
    add_components(&text, all, "pml", "monitoring,");
    if (strstr(all, "/mca_pml_cm") != NULL) {
        km_buffer_print(&text, " over");
        add_components(&text, all, "mtl", "");
    } else if (strstr(all, "/mca_pml_ob1") != NULL) {
        km_buffer_print(&text, " over");
        add_components(&text, all, "btl", "self,");
    }
    if (text.size == before) {
        km_buffer_print(&text, " transport unknown");
    }
    km_buffer_free(&maps);
    return text.data;
}
