/* What the files of comm share. */
#ifndef KM_COMM_PRIVATE_H
#define KM_COMM_PRIVATE_H

#include "kmask/comm.h"

#include <mpi.h>
#include <stdatomic.h>

/* MPICH's MPI_STATUSES_IGNORE is the address 1, which gcc takes for an array that is too short. */
#if defined(MPICH_VERSION) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif

/* The state that a rank reports in its heartbeats. Any thread reads and writes it. */
typedef struct km_rank_state {
    atomic_int phase;
    atomic_int waiting; /* 1 within an MPI call that waits for other ranks */
    atomic_llong step;
    atomic_ullong progress; /* a counter */
    _Atomic double pace;    /* seconds of a micro-batch, smoothed; 0: none yet */
} km_rank_state;

struct km_comm {
    MPI_Comm mpi;
    int rank, size;
    int node_ranks; /* every run of so many consecutive ranks shares a node; 1 when nodes are not that regular */
    bool messages_only; /* no rank reads another rank's memory */
    bool opened_mpi;
    km_rank_state state;
    km_comm *parent; /* of a group, whose work counts as its parent's; else NULL */
    /* The time that the thread which makes all MPI calls has spent on exchanges with other ranks. */
    int depth;                      /* of nested km_comm_begin */
    double entered;                 /* when the outermost one began */
    double seconds;                 /* of all that have ended */
    struct km_heartbeat *heartbeat; /* NULL: it does not run */
};

/* The state that this rank's heartbeats report: that of the communicator which the group, if it is one, comes from. */
static inline km_rank_state *km_comm_state(km_comm *comm) {
    while (comm->parent != NULL) {
        comm = comm->parent;
    }
    return &comm->state;
}

/* km_comm_begin and km_comm_end stand around all work on exchanges with other ranks; they nest. km_wait_begin and km_wait_end
 * stand around MPI calls that wait for other ranks. */
static inline void km_comm_begin(km_comm *comm) {
    if (comm->depth++ == 0) {
        km_op_begin(KM_OP_COMMUNICATION);
        comm->entered = km_seconds();
    }
}
static inline void km_comm_end(km_comm *comm) {
    if (--comm->depth == 0) {
        comm->seconds += km_seconds() - comm->entered;
        km_op_end();
    }
}
static inline void km_wait_begin(km_comm *comm) {
    km_comm_begin(comm);
    km_op_begin(KM_OP_WAITING);
    atomic_store_explicit(&km_comm_state(comm)->waiting, 1, memory_order_relaxed);
}
static inline void km_wait_end(km_comm *comm) {
    atomic_store_explicit(&km_comm_state(comm)->waiting, 0, memory_order_relaxed);
    km_heartbeat_progress(comm);
    km_op_end();
    km_comm_end(comm);
}

/* KM_USAGE where the launcher started more tasks than MPI has ranks. */
km_status km_launcher_check(int ranks) KM_NODISCARD;

#endif
