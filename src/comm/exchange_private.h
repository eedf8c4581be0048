/* The plan of the exact sum, and the state of the sums under way. */
#ifndef KM_EXCHANGE_PRIVATE_H
#define KM_EXCHANGE_PRIVATE_H

#include "comm_private.h"

/* A part of a bucket on its way in. */
typedef struct km_arrival {
    int bucket, source;
    int owner; /* whose part it is: the receiver's own, or one that it adds up for a rank of another node */
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
    int64_t *landing;      /* (slots, largest_part) */
    int *missing;          /* (buckets, nodes): node-mates' shares still to come of the part of (node, own local) */
    int *own_missing;      /* (buckets) arrivals of the own part still to come */
    MPI_Request *sends;
    int sends_begun, sends_done; /* begun; the first so many are known to be over */
};

#endif
