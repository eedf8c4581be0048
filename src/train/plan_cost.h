/* plan_cost: what a step's communication takes on so many nodes, from its messages and sizes (comm.h). Checked against
 * simulations of the messages themselves by tools/simulate_sum.sh.
 *
 * P parameters in buckets, N nodes of L ranks, R = N L:
 *   in a node     every rank gets the shares of its L-1 mates of the parts that it adds up: 8 P (L-1)/L bytes, copied and added
 *                 by its core, in (L-1) N messages a bucket
 *   between       a node sends its sums to the owners elsewhere: 8 P (N-1)/N bytes, over one wire, in N-1 messages a
 *                 bucket and rank
 *   gather        a ring over all ranks, bucket by bucket: R-1 turns of one part each; a node's wire carries one part a
 *                 turn: 4 P (R-1)/R bytes
 *   waits         reductions of a few numbers: log2(R) messages one after the other */
#ifndef KMASK_TRAIN_PLAN_COST_H
#define KMASK_TRAIN_PLAN_COST_H

#include <stddef.h>

typedef struct km_machine {
    int nodes, node_ranks;
    double network;      /* bytes a second of a node, each way */
    double latency;      /* seconds of a small message between nodes */
    double core;         /* bytes a second that a rank takes from a mate, copied and added */
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

#endif
