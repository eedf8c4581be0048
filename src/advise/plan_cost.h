/* plan_cost: what a step's communication takes on so many nodes, from its messages and sizes (comm.h). Checked against
 * simulations of the messages themselves by tools/simulate_sum.sh.
 *
 * P parameters in buckets, N nodes of L ranks, R = N L:
 *   in a node     every rank gets the shares of its L-1 mates of the parts that it adds up: 8 P (L-1)/L bytes, brought over and
 *                 added by its core. Shares come in (L-1) N messages a bucket; where the mate's memory is read, in L-1 that say
 *                 so. Which of the two it is, is in the core's rate.
 *   between       a node sends its sums to the owners elsewhere: 8 P (N-1)/N bytes, over one wire, in N-1 messages a
 *                 bucket and rank
 *   gather        one node whose ranks read each other's memory: 4 P (L-1)/L bytes are copied. Else bucket by bucket, in the way
 *                 that Open MPI chooses for so many ranks and bytes; at best a node's wire carries 4 P (R-1)/R bytes
 *   waits         reductions of a few numbers: log2(R) messages one after the other */
#ifndef KMASK_ADVISE_PLAN_COST_H
#define KMASK_ADVISE_PLAN_COST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct km_machine {
    int nodes, node_ranks;
    bool direct;         /* ranks of a node read each other's memory */
    double network;      /* bytes a second of a node, each way */
    double latency;      /* seconds of a small message between nodes */
    double core;         /* bytes a second that a rank takes from a mate and adds */
    double copy;         /* the same, only copied */
    double near_latency; /* seconds of a small message inside a node */
} km_machine;

typedef struct km_traffic { /* seconds, were nothing of it hidden */
    double node_sum;        /* a core's work: holds up its arithmetic */
    double network_sum;     /* on the wire: may go on while cores compute */
    double last_bucket;     /* of the network's part: what cannot be hidden */
    double sum;             /* both, bucket after bucket, overlapping */
    double gather;          /* of the weights, and of the norm's parts */
    double waits;
} km_traffic;

/* `size` elements in buckets of `bucket`. */
void km_traffic_of(km_traffic *out, const km_machine *machine, size_t size, size_t bucket);

/* How MPI_Allgatherv brings everyone's part to everyone, with R ranks in a row and parts of so many bytes:
 *   gather first  all parts to rank 0, and all of them from there to everyone
 *   doubling      (Bruck) ceil(log2 R) turns, in each of which a rank sends all that it has
 *   ring          R-1 turns of one part, to the next rank
 *   pairs         (neighbour exchange) R/2 turns of two parts, with the neighbours on both sides in turn */
typedef enum km_gathering { KM_GATHER_FIRST, KM_GATHER_DOUBLING, KM_GATHER_RING, KM_GATHER_PAIRS } km_gathering;
km_gathering km_gathering_of(int ranks, double bytes);
/* Seconds that it takes. */
double km_gathering_seconds(km_gathering way, const km_machine *machine, double bytes);

#endif
