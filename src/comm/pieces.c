/* pieces: arrays of all ranks go to rank 0 in pieces, while other work goes on. MPI keeps the order of messages between two
 * ranks, so the pieces need no numbers. */
#include "comm_private.h"

#include <stdlib.h>

enum {
    MOST = 1 << 20, /* most elements of a piece */
    TAG_PIECES = 2,
    WINDOW = 2 /* most sends that a rank has under way at a time */
};

struct km_pieces {
    km_comm *comm;
    MPI_Comm mpi;
    size_t largest; /* elements of the largest piece */
    /* The transfer under way. */
    size_t *counts;   /* (ranks) elements of each rank's array */
    const float *own; /* NULL: none was begun yet */
    size_t rounds;    /* how many pieces the longest array has */
    bool failed;      /* this rank has nothing to send */
    km_error error;   /* on rank 0: why it has failed */
    MPI_Request requests
        [KM_PIECES_IN_FLIGHT]; /* rank 0's receives; of the other ranks' sends only the first WINDOW are used */
    /* Ranks other than 0. */
    size_t sent; /* elements that sends were begun for */
    /* Rank 0. Pieces are received, taken and released in one order; the n-th is in slot n % KM_PIECES_IN_FLIGHT. */
    size_t next_round; /* of the next piece to be received */
    int next_rank;
    /* Numbers of pieces; asked: those whose receives were begun, and rank 0's own. */
    uint64_t asked, taken, released;
    size_t allowed; /* elements whose receives may still be begun (km_pieces_allow) */
    km_piece slots[KM_PIECES_IN_FLIGHT];
    float *buffers; /* (KM_PIECES_IN_FLIGHT, largest) */
};

_Static_assert((int)WINDOW <= (int)KM_PIECES_IN_FLIGHT, "senders use the same requests");

static size_t largest_piece(size_t longest) {
    return KM_MIN((size_t)MOST, KM_MAX(longest, 1));
}

size_t km_pieces_bytes(int ranks, int rank, size_t longest) {
    return rank == 0 && ranks > 1 ? KM_PIECES_IN_FLIGHT * largest_piece(longest) * sizeof(float) : 0;
}

km_status km_pieces_create(km_pieces **out, km_comm *comm, const size_t *most) {
    km_pieces *p = km_new(1, sizeof *p);
    size_t longest = 0;
    p->comm = comm;
    p->counts = km_new((size_t)comm->size, sizeof *p->counts);
    for (int rank = 0; rank < comm->size; rank++) {
        longest = KM_MAX(longest, most[rank]);
    }
    p->largest = largest_piece(longest);
    for (int i = 0; i < KM_PIECES_IN_FLIGHT; i++) {
        p->requests[i] = MPI_REQUEST_NULL;
    }
    MPI_Comm_dup(comm->mpi, &p->mpi);
    size_t bytes = km_pieces_bytes(comm->size, comm->rank, longest);
    km_status status =
        bytes > 0 ? km_allocate((void **)&p->buffers, bytes, "pieces of a checkpoint on their way in") : KM_OK;
    status = km_comm_agree(comm, status);
    if (status != KM_OK) {
        km_pieces_destroy(p);
        p = NULL;
    }
    *out = p;
    return status;
}

void km_pieces_destroy(km_pieces *p) {
    if (p == NULL) {
        return;
    }
    MPI_Comm_free(&p->mpi);
    km_error_clear(&p->error);
    free(p->buffers);
    free(p->counts);
    free(p);
}

void km_pieces_begin(km_pieces *p, const float *own, const size_t *counts, bool good) {
    p->own = own;
    p->rounds = 0;
    for (int rank = 0; rank < p->comm->size; rank++) {
        p->counts[rank] = counts[rank];
        p->rounds = KM_MAX(p->rounds, (counts[rank] + p->largest - 1) / p->largest);
    }
    p->next_round = 0;
    p->next_rank = 0;
    p->asked = p->taken = p->released = 0;
    p->allowed = p->sent = 0;
    p->failed = !good;
    km_error_clear(&p->error);
    km_pieces_poll(p);
}

size_t km_pieces_elements(const km_pieces *p) {
    size_t sum = 0;
    for (int rank = 0; rank < p->comm->size; rank++) {
        sum += p->counts[rank];
    }
    return sum;
}

/* ---- Ranks that send ---- */

/* A rank that has failed sends empty messages in place of its pieces. */
static void send_more(km_pieces *p) {
    size_t total = p->counts[p->comm->rank];
    for (int i = 0; i < WINDOW; i++) {
        int done = 1;
        if (p->requests[i] != MPI_REQUEST_NULL) {
            MPI_Test(&p->requests[i], &done, MPI_STATUS_IGNORE);
        }
        if (done && p->sent < total) {
            if (km_fault("save.send") != KM_OK) {
                p->failed = true;
            }
            size_t count = KM_MIN(p->largest, total - p->sent);
            MPI_Isend(p->own + p->sent, p->failed ? 0 : (int)count, MPI_FLOAT, 0, TAG_PIECES, p->mpi,
                      &p->requests[i]);
            p->sent += count;
        }
    }
}

void km_pieces_finish(km_pieces *p) {
    while (!km_pieces_over(p)) {
        int which = 0;
        MPI_Waitany(WINDOW, p->requests, &which, MPI_STATUS_IGNORE);
        send_more(p);
    }
}

/* ---- Rank 0 ---- */

/* Sets *a to the next piece in the order; false where there is none. */
static bool next_piece(km_pieces *p, km_piece *a) {
    for (; p->next_round < p->rounds; p->next_round++, p->next_rank = 0) {
        for (; p->next_rank < p->comm->size; p->next_rank++) {
            size_t total = p->counts[p->next_rank], first = p->next_round * p->largest;
            if (first < total) {
                *a = (km_piece){.rank = p->next_rank, .first = first, .count = KM_MIN(p->largest, total - first)};
                return true;
            }
        }
    }
    return false;
}

static void ask_more(km_pieces *p) {
    km_piece a;
    while (p->asked - p->released < KM_PIECES_IN_FLIGHT && next_piece(p, &a) && p->allowed > 0) {
        size_t slot = (size_t)(p->asked % KM_PIECES_IN_FLIGHT);
        if (a.rank == 0) {
            km_status status = km_fault("save.send");
            if (status != KM_OK && !p->failed) {
                p->failed = true;
                km_error_copy(&p->error, status);
            }
            a.data = p->failed ? NULL : p->own + a.first;
            a.error = &p->error;
        } else {
            a.data = p->buffers + slot * p->largest;
            MPI_Irecv(p->buffers + slot * p->largest, (int)a.count, MPI_FLOAT, a.rank, TAG_PIECES, p->mpi,
                      &p->requests[slot]);
        }
        p->slots[slot] = a;
        p->asked++;
        p->next_rank++;
        p->allowed -= KM_MIN(p->allowed, a.count);
    }
}

bool km_pieces_take(km_pieces *p, km_piece *out) {
    if (p->taken == p->asked) {
        return false;
    }
    size_t slot = (size_t)(p->taken % KM_PIECES_IN_FLIGHT);
    km_piece *a = &p->slots[slot];
    if (a->rank != 0) {
        MPI_Status status;
        int done = 0, count = 0;
        MPI_Test(&p->requests[slot], &done, &status);
        if (!done) {
            return false;
        }
        MPI_Get_count(&status, MPI_FLOAT, &count);
        if ((size_t)count != a->count) {
            a->data = NULL;
        }
    }
    *out = *a;
    p->taken++;
    return true;
}

void km_pieces_allow(km_pieces *p, size_t elements) {
    p->allowed = elements > SIZE_MAX - p->allowed ? SIZE_MAX : p->allowed + elements;
}

void km_pieces_release(km_pieces *p, uint64_t number) {
    p->released = number;
}

/* ---- All ---- */

void km_pieces_poll(km_pieces *p) {
    if (p->own == NULL) {
        return;
    }
    if (p->comm->rank == 0) {
        ask_more(p);
    } else {
        send_more(p);
    }
}

bool km_pieces_over(const km_pieces *p) {
    if (p->own == NULL) {
        return true;
    }
    if (p->comm->rank == 0) {
        km_pieces copy = *p;
        km_piece a;
        return p->taken == p->asked && !next_piece(&copy, &a);
    }
    bool idle = p->sent == p->counts[p->comm->rank];
    for (int i = 0; i < WINDOW; i++) {
        idle = idle && p->requests[i] == MPI_REQUEST_NULL;
    }
    return idle;
}
