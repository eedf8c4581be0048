/* What the files of comm share. */
#ifndef KM_COMM_PRIVATE_H
#define KM_COMM_PRIVATE_H

#include "kmask/comm.h"

#include <mpi.h>
#include <stdatomic.h>

/* What a rank says of itself; any thread. */
typedef struct km_self {
    atomic_int phase;
    atomic_int waiting; /* in an MPI call that waits for other ranks */
    atomic_llong step;
    atomic_ullong ticks;
    _Atomic double pace; /* seconds of a micro-batch, smoothed; 0: none yet */
} km_self;

struct km_comm {
    MPI_Comm mpi;
    int rank, size;
    int node_ranks; /* every run of so many consecutive ranks shares a node; 1 when nodes are not that regular */
    bool apart;     /* no rank reads another's memory */
    bool opened_mpi;
    km_self self;
    /* Of the thread that opened it, which makes all MPI calls: time in calls that other ranks take part in. */
    int within; /* such calls inside each other */
    double entered, seconds;
    struct km_pulse *pulse; /* NULL: no watch */
};

/* Around all work on exchanges with other ranks, and within it around MPI calls that wait for them. */
static inline void km_comm_begin(km_comm *comm) {
    if (comm->within++ == 0) {
        km_op_begin(KM_OP_COMMUNICATION);
        comm->entered = km_seconds();
    }
}
static inline void km_comm_end(km_comm *comm) {
    if (--comm->within == 0) {
        comm->seconds += km_seconds() - comm->entered;
        km_op_end();
    }
}
static inline void km_wait_begin(km_comm *comm) {
    km_comm_begin(comm);
    km_op_begin(KM_OP_WAITING);
    atomic_store_explicit(&comm->self.waiting, 1, memory_order_relaxed);
}
static inline void km_wait_end(km_comm *comm) {
    atomic_store_explicit(&comm->self.waiting, 0, memory_order_relaxed);
    km_pulse_tick(comm);
    km_op_end();
    km_comm_end(comm);
}

#endif
