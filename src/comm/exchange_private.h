/* The plan of the exact sum, and the state of the sums under way. */
#ifndef KM_EXCHANGE_PRIVATE_H
#define KM_EXCHANGE_PRIVATE_H

#include "comm_private.h"

/* A part of a bucket on its way in, or word that all of a node-mate's shares can be read. */
enum { KM_ALL_PARTS = -1 };
typedef struct km_arrival {
    int bucket, source;
    int owner; /* whose part it is: the receiver's own, or one that it adds up for a rank of another node; or KM_ALL_PARTS */
} km_arrival;

struct km_exchange {
    km_comm *comm;
    MPI_Comm mpi;
    /* The plan. */
    size_t blocks, bucket_blocks;
    int buckets;
    size_t largest_part; /* elements */
    /* Ranks as a grid: rank = node * locals + local. */
    int node, nodes, local, locals;
    /* Sums under way. */
    int64_t *sum;                  /* the caller's */
    int64_t *received;             /* own parts, compact; NULL with one rank */
    int begun;                     /* buckets so far */
    int arrivals;                  /* possible arrivals of one bucket */
    int arrivals_of_own;           /* those of the own part */
    int next_bucket, next_arrival; /* what is waited for next: arrivals get their slot in this order */
    int slots, busy;
    km_arrival *arriving;  /* (slots) */
    MPI_Request *receives; /* (slots) */
    int *finished;         /* (slots), scratch */
    size_t slot_size;      /* elements: the largest part, or a word where no share comes by message */
    int64_t *landing;      /* (slots, slot_size) */
    int *missing;          /* (buckets, nodes): node-mates' shares still to come of the part of (node, own local) */
    int *own_missing;      /* (buckets) arrivals of the own part still to come */
    /* Ranks of a node read each other's memory where the system lets them: no message then carries a share. */
    bool direct;
    MPI_Comm mates;  /* the node's ranks, in order */
    int *pids;       /* (locals) */
    int64_t *chunk;  /* (KM_CHUNK) of another rank's, on its way through the cache */
    int64_t *where;  /* (locals) address of each mate's array */
    int64_t own_sum; /* address of `sum`, as a message to mates */
    MPI_Request *sends;
    int sends_begun, sends_done; /* begun; the first so many are known to be over */
};

/* Messages a bucket in which a node-mate's shares come: one that says where they are, or one a part. */
static inline int km_messages_of_mate(const km_exchange *exchange) {
    return exchange->direct ? 1 : exchange->nodes;
}

/* ---- exchange_direct.c ---- */
/* Finds out whether all ranks of all nodes can; `direct` is the same everywhere. Collective. */
void km_direct_open(km_exchange *exchange);
void km_direct_close(km_exchange *exchange);
/* out = own + what the rank `local` of this node has at `address`. */
void km_direct_add(km_exchange *exchange, int local, int64_t address, int64_t *out, const int64_t *own,
                   size_t count);
/* bytes that the rank `local` of this node has at `address`. */
void km_direct_read(km_exchange *exchange, int local, int64_t address, void *out, size_t bytes);
/* Until all ranks of this node are here. */
void km_direct_meet(km_exchange *exchange);

#endif
