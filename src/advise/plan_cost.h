/* plan_cost: the seconds that a step's communication takes on a number of nodes, from the messages that it consists of and their
 * sizes (kmask/comm.h). tools/simulate_sum.sh compares it with simulations of these messages.
 *
 * For P parameters in buckets, on N nodes of L ranks, R = N L:
 *   within a node   Every rank fetches the shares of the L-1 other ranks of its node, of the parts that it adds up: 8 P (L-1)/L bytes, which
 *                   its core fetches and adds. They come in (L-1) N messages a bucket; where ranks read each other's memory, L-1 messages say
 *                   that they may be read. km_machine.core was measured for one of the two.
 *   between nodes   Each node sends its sums to the owners on other nodes: 8 P (N-1)/N bytes over its connection, in N-1 messages for each
 *                   bucket and rank.
 *   gather          In one node whose ranks read each other's memory, 4 P (L-1)/L bytes are copied. Otherwise the weights are gathered bucket
 *                   by bucket in the way that Open MPI chooses for so many ranks and bytes; at best a node's connection carries
 *                   4 P (R-1)/R bytes.
 *   waits           Reductions of a few numbers take log2(R) messages, one after the other. */
#ifndef KMASK_ADVISE_PLAN_COST_H
#define KMASK_ADVISE_PLAN_COST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct km_machine {
    int nodes, node_ranks;
    bool direct;         /* ranks of a node read each other's memory */
    double network;      /* bytes a second of a node, each way */
    double latency;      /* seconds of a small message between nodes */
    double core;         /* bytes a second that a rank fetches from another rank of its node and adds */
    double copy;         /* bytes a second that a rank only fetches */
    double near_latency; /* seconds of a small message within a node */
} km_machine;

/* Seconds, if nothing of them were hidden behind arithmetic. */
typedef struct km_traffic {
    double node_sum;    /* the sum within a node, which is work of the cores */
    double network_sum; /* the sum between nodes, which may go on while cores compute */
    double last_bucket; /* the part of network_sum that arithmetic cannot hide */
    double sum;         /* both sums, which overlap bucket after bucket */
    double gather;      /* of the weights, and of the parts of the norm */
    double waits;       /* for small messages */
} km_traffic;

/* Predicts the traffic of a step, for a table of `size` elements in buckets of `bucket` elements. */
void km_traffic_of(km_traffic *out, const km_machine *machine, size_t size, size_t bucket);

/* The algorithms of MPI_Allgatherv, which gathers the parts of R ranks on all of them:
 *   gather first  All parts go to rank 0, and from there to all ranks.
 *   doubling      (Bruck) In each of ceil(log2 R) turns a rank sends all that it has.
 *   ring          In each of R-1 turns a rank sends one part to the next rank.
 *   pairs         (neighbour exchange) In each of R/2 turns a rank exchanges two parts with the neighbour on one side, then on the other. */
typedef enum km_gathering { KM_GATHER_FIRST, KM_GATHER_DOUBLING, KM_GATHER_RING, KM_GATHER_PAIRS } km_gathering;
km_gathering km_gathering_of(int ranks, double bytes);
/* The seconds that the algorithm takes where each rank's part has so many bytes. */
double km_gathering_seconds(km_gathering way, const km_machine *machine, double bytes);

#endif
