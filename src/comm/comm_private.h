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
    bool opened_mpi;
    km_self self;
    struct km_pulse *pulse; /* NULL: no watch */
};

/* Around MPI calls that wait for other ranks. */
static inline void km_wait_begin(km_comm *comm) {
    atomic_store_explicit(&comm->self.waiting, 1, memory_order_relaxed);
}
static inline void km_wait_end(km_comm *comm) {
    atomic_store_explicit(&comm->self.waiting, 0, memory_order_relaxed);
    km_pulse_tick(comm);
}

#endif
