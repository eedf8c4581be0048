/* What the files of comm share. */
#ifndef KM_COMM_PRIVATE_H
#define KM_COMM_PRIVATE_H

#include "kmask/comm.h"

#include <mpi.h>

struct km_comm {
    MPI_Comm mpi;
    int rank, size;
    int node_ranks; /* every run of so many consecutive ranks shares a node; 1 when nodes are not that regular */
    bool opened_mpi;
};

#endif
