/* exchange_direct: ranks of a node read each other's memory (process_vm_readv of Linux) instead of sending messages. A share is
 * read once, in chunks that stay in the cache until they are added. Whether the system allows it is found out by trying. */
#include "exchange_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Each rank publishes the address and value of a word of its own. A peer that reads that value at that address can read its memory;
 * otherwise the system forbids it, or the pid means another process in the peer's pid namespace. Collective in the node. */
static bool can_read_peers(km_exchange *exchange) {
    const int64_t word = (int64_t)km_mix64((uint64_t)getpid() ^ (uint64_t)exchange->comm->rank << 32);
    int64_t mine[3] = {getpid(), (int64_t)(uintptr_t)&word, word};
    int64_t *all = km_new(3 * (size_t)exchange->locals, sizeof *all);
    MPI_Allgather(mine, 3, MPI_INT64_T, all, 3, MPI_INT64_T, exchange->node_comm);
    bool good = true;
    for (int i = 0; i < exchange->locals; i++) {
        int64_t seen = 0;
        exchange->pids[i] = (int)all[3 * i];
        good = good && km_process_read(exchange->pids[i], (uint64_t)all[3 * i + 1], &seen, sizeof seen) &&
               seen == all[3 * i + 2];
    }
    MPI_Barrier(exchange->node_comm); /* until all peers have read it, the word must exist */
    free(all);
    return good;
}

void km_direct_open(km_exchange *exchange) {
    const size_t locals = (size_t)exchange->locals;
    MPI_Comm_split(exchange->mpi, exchange->node, exchange->local, &exchange->node_comm);
    exchange->pids = km_new(locals, sizeof *exchange->pids);
    exchange->addresses = km_new(locals, sizeof *exchange->addresses);
    int good = locals > 1 && !exchange->comm->messages_only && can_read_peers(exchange);
    MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, exchange->mpi);
    exchange->direct = good != 0;
    if (exchange->direct) {
        exchange->chunk = km_new(KM_CHUNK, sizeof *exchange->chunk);
    }
}

void km_direct_close(km_exchange *exchange) {
    MPI_Comm_free(&exchange->node_comm);
    free(exchange->pids);
    free(exchange->addresses);
    free(exchange->chunk);
}

/* Called when another rank's memory cannot be read any more, because its process has ended. The heartbeat reports that and ends
 * this process; without a heartbeat the job is aborted here. */
static void give_up(const km_exchange *exchange, int local, const char *reason) {
    km_wait_begin(exchange->comm);
    while (exchange->comm->heartbeat != NULL) {
        (void)pause();
    }
    fprintf(stderr, "kmask: rank %d could not read the memory of rank %d: %s\n", exchange->comm->rank,
            exchange->node * exchange->locals + local, reason);
    km_comm_abort(exchange->comm, KM_FAILED);
}

void km_direct_read(km_exchange *exchange, int local, int64_t address, void *out, size_t bytes) {
    if (!km_process_read(exchange->pids[local], (uint64_t)address, out, bytes)) {
        give_up(exchange, local, strerror(errno));
    }
}

void km_direct_add(km_exchange *exchange, int local, int64_t address, int64_t *out, const int64_t *own,
                   size_t count) {
    for (size_t at = 0; at < count; at += KM_CHUNK) {
        const size_t piece = KM_MIN(count - at, (size_t)KM_CHUNK);
        const int64_t *chunk = exchange->chunk;
        km_direct_read(exchange, local, address + (int64_t)(at * sizeof *out), exchange->chunk,
                       piece * sizeof *out);
        for (size_t i = 0; i < piece; i++) {
            /* Unsigned: where a rank's value was out of range, the step is refused later, and until then its sum may wrap around. */
            out[at + i] = (int64_t)((uint64_t)own[at + i] + (uint64_t)chunk[i]);
        }
    }
}

void km_direct_barrier(km_exchange *exchange) {
    km_wait_begin(exchange->comm);
    MPI_Barrier(exchange->node_comm);
    km_wait_end(exchange->comm);
}
