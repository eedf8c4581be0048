/* Ranks of one node add what is in each other's memory (Linux' process_vm_readv): a share is read once, in chunks that stay in
 * the cache until they are added, and is never stored a second time. Whether the system allows it is tried out. */
#include "exchange_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Each rank shows a word of its own: who reads the right one has the right process, in this pid namespace. */
static bool try_mates(km_exchange *exchange) {
    const int64_t word = (int64_t)km_mix64((uint64_t)getpid() ^ (uint64_t)exchange->comm->rank << 32);
    int64_t mine[3] = {getpid(), (int64_t)(uintptr_t)&word, word};
    int64_t *all = km_new(3 * (size_t)exchange->locals, sizeof *all);
    MPI_Allgather(mine, 3, MPI_INT64_T, all, 3, MPI_INT64_T, exchange->mates);
    bool good = true;
    for (int i = 0; i < exchange->locals; i++) {
        int64_t seen = 0;
        exchange->pids[i] = (int)all[3 * i];
        good = good && km_process_read(exchange->pids[i], (uint64_t)all[3 * i + 1], &seen, sizeof seen) &&
               seen == all[3 * i + 2];
    }
    MPI_Barrier(exchange->mates); /* the word lives until everyone has looked */
    free(all);
    return good;
}

void km_direct_open(km_exchange *exchange) {
    const size_t locals = (size_t)exchange->locals;
    MPI_Comm_split(exchange->mpi, exchange->node, exchange->local, &exchange->mates);
    exchange->pids = km_new(locals, sizeof *exchange->pids);
    exchange->where = km_new(locals, sizeof *exchange->where);
    int good = locals > 1 && !exchange->comm->apart && try_mates(exchange);
    MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, exchange->mpi);
    exchange->direct = good != 0;
    if (exchange->direct) {
        exchange->chunk = km_new(KM_CHUNK, sizeof *exchange->chunk);
    }
}

void km_direct_close(km_exchange *exchange) {
    MPI_Comm_free(&exchange->mates);
    free(exchange->pids);
    free(exchange->where);
    free(exchange->chunk);
}

/* The other rank is gone. The watch names it and ends this one; where there is none, nobody else would. */
static void give_up(const km_exchange *exchange, int local, const char *reason) {
    km_wait_begin(exchange->comm);
    while (exchange->comm->pulse != NULL) {
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
            out[at + i] = own[at + i] + chunk[i];
        }
    }
}

void km_direct_meet(km_exchange *exchange) {
    km_wait_begin(exchange->comm);
    MPI_Barrier(exchange->mates);
    km_wait_end(exchange->comm);
}
