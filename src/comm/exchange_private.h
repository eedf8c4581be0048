/* exchange_private: what the files of the exact sum share. The plan, and the state of the sums under way. */
#ifndef KM_EXCHANGE_PRIVATE_H
#define KM_EXCHANGE_PRIVATE_H

#include "comm_private.h"

/* An expected message. It carries a rank's share of a part; or, where ranks of a node read each other's memory, it says that a
 * peer's shares of all parts can now be read. */
enum { KM_ALL_PARTS = -1 };
typedef struct km_arrival {
    int bucket, source;
    int owner; /* the rank that owns the part: this one, or one of another node whose part this rank adds up; or KM_ALL_PARTS */
} km_arrival;

struct km_exchange {
    km_comm *comm;
    MPI_Comm mpi;
    /* The plan. */
    size_t blocks, bucket_blocks;
    int buckets;
    size_t largest_part; /* elements */
    /* Ranks form a grid: rank = node * locals + local. The other ranks of the own node are its peers. */
    int node, nodes, local, locals;
    /* Sums under way. */
    int64_t *sum;                  /* the caller's */
    int64_t *received;             /* the own parts, compact; NULL with one rank */
    int begun;                     /* how many buckets were begun */
    int arrivals;                  /* possible arrivals of one bucket */
    int arrivals_of_own;           /* of them, those of the own part */
    int next_bucket, next_arrival; /* the next arrival to be given a slot */
    int slots, busy;
    km_arrival *arriving;  /* (slots) */
    MPI_Request *receives; /* (slots) */
    int *finished;         /* (slots) scratch */
    size_t slot_size;      /* elements: the largest part; 1 where no message carries a share */
    int64_t *buffers;      /* (slots, slot_size) what the receives write to */
    int *missing;          /* (buckets, nodes) peers' shares still to come of the part of rank (node, own local) */
    int *own_missing;      /* (buckets) arrivals of the own part still to come */
    /* Ranks of a node read each other's memory where the system lets them: messages between them then carry no share. */
    bool direct;
    MPI_Comm node_comm; /* the node's ranks, in order */
    int *pids;          /* (locals) */
    int64_t *chunk;     /* (KM_CHUNK) elements of a peer's, between reading and adding */
    int64_t *addresses; /* (locals) of each rank's array in its process */
    int64_t own_sum;    /* the address of `sum`, which is sent to peers */
    MPI_Request *sends;
    int sends_begun;
    int sends_done; /* how many sends, from the first on, have finished */
};

/* How many messages of a peer bring its shares of a bucket: one that says at which address they are, or one for each part. */
static inline int km_messages_of_peer(const km_exchange *exchange) {
    return exchange->direct ? 1 : exchange->nodes;
}

/* ---- exchange_direct.c ---- */
/* Finds out whether all ranks of all nodes can read their peers' memory, and sets `direct` to the same value everywhere.
 * Collective. */
void km_direct_open(km_exchange *exchange);
void km_direct_close(km_exchange *exchange); /* Collective. */
/* Sets out[i] to own[i] plus the i-th of the elements that peer `local` has at `address` in its memory. */
void km_direct_add(km_exchange *exchange, int local, int64_t address, int64_t *out, const int64_t *own,
                   size_t count);
/* Reads bytes that peer `local` has at `address`. */
void km_direct_read(km_exchange *exchange, int local, int64_t address, void *out, size_t bytes);
/* A barrier of this node's ranks. Collective. */
void km_direct_barrier(km_exchange *exchange);

#endif
