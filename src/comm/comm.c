/* comm: the communicator. Opening it, agreement, small collectives, bytes between two ranks. An error in an MPI call ends the
 * job (MPI's default error handler), since a rank may not be able to reach the others after it. */
#include "comm_private.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 26, MESSAGE = 4096, TAG_BYTES = 1 };

/* The number of ranks of a node where each node holds an equally long run of consecutive ranks (the default of srun and mpirun);
 * else 1, and the exact sum treats all ranks as if each had a node of its own. Collective. */
static int find_node_ranks(MPI_Comm mpi, int rank, int size) {
    MPI_Comm node;
    int place, number;
    MPI_Comm_split_type(mpi, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &place);
    MPI_Comm_size(node, &number);
    int leader = rank;
    MPI_Bcast(&leader, 1, MPI_INT, 0, node);
    MPI_Comm_free(&node);
    /* All nodes must have the same number of ranks, and begin where runs of that length begin. */
    bool regular = size % number == 0 && place == rank % number && leader == rank - place;
    int extremes[3] = {number, -number, regular ? 0 : 1};
    MPI_Allreduce(MPI_IN_PLACE, extremes, 3, MPI_INT, MPI_MAX, mpi);
    return extremes[0] == -extremes[1] && extremes[2] == 0 ? number : 1;
}

km_status km_comm_open(km_comm **out, int *argc, char ***argv) {
    *out = NULL;
    int ready = 0;
    MPI_Initialized(&ready);
    if (!ready) {
        int provided = MPI_THREAD_SINGLE;
        if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
            return km_fail(KM_FAILED,
                           "MPI did not start; `mpirun -n 1 hostname` shows whether Open MPI itself works");
        }
        if (provided < MPI_THREAD_FUNNELED) {
            MPI_Finalize();
            return km_fail(KM_FAILED, "this MPI was built without threads (MPI_THREAD_FUNNELED is needed); "
                                      "use another build of it");
        }
    }
    km_comm *comm = km_new(1, sizeof *comm);
    comm->opened_mpi = !ready;
    MPI_Comm_dup(MPI_COMM_WORLD, &comm->mpi);
    MPI_Comm_rank(comm->mpi, &comm->rank);
    MPI_Comm_size(comm->mpi, &comm->size);
    km_status status = comm->opened_mpi ? km_launcher_check(comm->size) : KM_OK;
    if (status != KM_OK) { /* on every rank, since all have the launcher's variables */
        km_comm_close(comm);
        return status;
    }
    comm->node_ranks = find_node_ranks(comm->mpi, comm->rank, comm->size);
    km_log_mute(comm->rank != 0);
    *out = comm;
    return KM_OK;
}

km_comm *km_comm_split(km_comm *comm, int group) {
    km_comm *part = km_new(1, sizeof *part);
    MPI_Comm_split(comm->mpi, group, comm->rank, &part->mpi);
    MPI_Comm_rank(part->mpi, &part->rank);
    MPI_Comm_size(part->mpi, &part->size);
    part->node_ranks = find_node_ranks(part->mpi, part->rank, part->size);
    part->messages_only = comm->messages_only;
    part->parent = comm;
    return part;
}

void km_comm_close(km_comm *comm) {
    if (!comm) {
        return;
    }
    km_heartbeat_stop(comm);
    MPI_Comm_free(&comm->mpi);
    if (comm->opened_mpi) {
        MPI_Finalize();
    }
    free(comm);
}

void km_comm_abort(km_comm *comm, int status) {
    km_heartbeat_stop(comm);
    MPI_Abort(comm->mpi, status);
    exit(status); /* never reached: MPI_Abort does not return, but its declaration does not say so */
}

int km_comm_rank(const km_comm *comm) {
    return comm->rank;
}

int km_comm_size(const km_comm *comm) {
    return comm->size;
}

double km_comm_seconds(const km_comm *comm) {
    return comm->seconds;
}

bool km_comm_set_node(km_comm *comm, int ranks) {
    if (ranks < 1 || comm->size % ranks != 0) {
        return false;
    }
    comm->node_ranks = ranks;
    return true;
}

void km_comm_set_messages_only(km_comm *comm, bool messages_only) {
    comm->messages_only = messages_only;
}

km_status km_comm_agree(km_comm *comm, km_status mine) {
    int lowest = mine == KM_OK ? comm->size : comm->rank;
    km_wait_begin(comm);
    MPI_Allreduce(MPI_IN_PLACE, &lowest, 1, MPI_INT, MPI_MIN, comm->mpi);
    km_wait_end(comm);
    if (lowest == comm->size) {
        return KM_OK;
    }
    char message[MESSAGE] = "";
    int codes[2] = {(int)mine, (int)km_message_kind()};
    snprintf(message, sizeof message, "%s", km_message());
    MPI_Bcast(codes, 2, MPI_INT, lowest, comm->mpi);
    MPI_Bcast(message, sizeof message, MPI_CHAR, lowest, comm->mpi);
    const km_error error = {(km_status)codes[0], (km_error_kind)codes[1], message};
    return km_error_raise(&error);
}

void km_comm_sum(km_comm *comm, int64_t *values, int count) {
    if (count > 0) {
        km_wait_begin(comm);
        MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_INT64_T, MPI_SUM, comm->mpi);
        km_wait_end(comm);
    }
}

void km_comm_max(km_comm *comm, double *values, int count) {
    if (count > 0) {
        km_wait_begin(comm);
        MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_MAX, comm->mpi);
        km_wait_end(comm);
    }
}

void km_comm_scan(km_comm *comm, uint64_t *values, int count) {
    if (count > 0) {
        km_wait_begin(comm);
        MPI_Exscan(MPI_IN_PLACE, values, count, MPI_UINT64_T, MPI_SUM, comm->mpi);
        km_wait_end(comm);
    }
    if (comm->rank == 0 && count > 0) {
        memset(values, 0, (size_t)count * sizeof *values); /* MPI_Exscan leaves rank 0's values undefined */
    }
}

void km_comm_barrier(km_comm *comm) {
    km_wait_begin(comm);
    MPI_Barrier(comm->mpi);
    km_wait_end(comm);
}

/* MPI counts are int: larger transfers go in several calls. */
void km_comm_broadcast(km_comm *comm, void *bytes, size_t count) {
    for (size_t done = 0; done < count; done += PIECE) {
        km_wait_begin(comm);
        MPI_Bcast((char *)bytes + done, (int)KM_MIN(count - done, (size_t)PIECE), MPI_BYTE, 0, comm->mpi);
        km_wait_end(comm);
    }
}

void km_comm_send(km_comm *comm, const void *bytes, size_t count, int to) {
    for (size_t done = 0; done < count; done += PIECE) {
        int number = (int)KM_MIN(count - done, (size_t)PIECE);
        km_wait_begin(comm);
        MPI_Send((const char *)bytes + done, number, MPI_BYTE, to, TAG_BYTES, comm->mpi);
        km_wait_end(comm);
    }
}

void km_comm_receive(km_comm *comm, void *bytes, size_t count, int from) {
    for (size_t done = 0; done < count; done += PIECE) {
        int number = (int)KM_MIN(count - done, (size_t)PIECE);
        km_wait_begin(comm);
        MPI_Recv((char *)bytes + done, number, MPI_BYTE, from, TAG_BYTES, comm->mpi, MPI_STATUS_IGNORE);
        km_wait_end(comm);
    }
}

void km_share(uint64_t *first, uint64_t *number, uint64_t count, int rank, int size) {
    uint64_t ranks = (uint64_t)size, r = (uint64_t)rank;
    uint64_t each = count / ranks, longer = count % ranks; /* the first `longer` ranks have one more */
    *first = r * each + KM_MIN(r, longer);
    *number = each + (r < longer ? 1 : 0);
}
