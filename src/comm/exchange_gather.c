/* exchange_gather: gathering the ranks' parts on all ranks, and distributing parts from rank 0. */
#include "exchange_private.h"

#include <stdlib.h>
#include <string.h>

enum { TAG_PIECE = 1 };

/* Gathers where all ranks are on one node: each rank reads the others' parts from their memory. */
static void gather_directly(km_exchange *exchange, float *weights) {
    const int64_t own = (int64_t)(uintptr_t)weights;
    km_wait_begin(exchange->comm);
    MPI_Allgather(&own, 1, MPI_INT64_T, exchange->addresses, 1, MPI_INT64_T,
                  exchange->node_comm); /* when it returns, all parts are ready */
    km_wait_end(exchange->comm);
    km_comm_begin(exchange->comm);
    for (int step = 1; step < exchange->locals; step++) {
        const int peer = (exchange->local + step) % exchange->locals;
        for (int bucket = 0; bucket < exchange->buckets; bucket++) {
            size_t first, count, local;
            km_exchange_part(exchange, bucket, peer, &first, &count, &local);
            km_direct_read(exchange, peer, exchange->addresses[peer] + (int64_t)(first * sizeof(float)),
                           weights + first, count * sizeof(float));
        }
        km_heartbeat_progress(exchange->comm);
    }
    km_comm_end(exchange->comm);
    km_direct_barrier(exchange); /* afterwards no peer reads this rank's weights any more */
}

void km_exchange_gather(km_exchange *exchange, float *weights) {
    int size = exchange->comm->size;
    if (size == 1) {
        return;
    }
    if (exchange->direct && exchange->nodes == 1) {
        gather_directly(exchange, weights);
        return;
    }
    int *counts = km_new((size_t)size, sizeof(int)), *places = km_new((size_t)size, sizeof(int));
    for (int bucket = 0; bucket < exchange->buckets; bucket++) {
        size_t start, whole;
        km_exchange_bucket(exchange, bucket, &start, &whole);
        for (int rank = 0; rank < size; rank++) {
            size_t first, count, local;
            km_exchange_part(exchange, bucket, rank, &first, &count, &local);
            counts[rank] = (int)count;
            places[rank] = (int)(first - start);
        }
        km_wait_begin(exchange->comm);
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, weights + start, counts, places, MPI_FLOAT,
                       exchange->mpi);
        km_wait_end(exchange->comm);
    }
    free(counts);
    free(places);
}

/* Copies one rank's blocks from their places in the table to a compact array, or back. */
static void copy_blocks(const km_exchange *exchange, int rank, double *table, double *compact, bool to_table) {
    for (int bucket = 0; bucket < exchange->buckets; bucket++) {
        size_t first, count, local;
        km_exchange_part(exchange, bucket, rank, &first, &count, &local);
        double *a = table + first / KM_BLOCK, *b = compact + local / KM_BLOCK;
        memcpy(to_table ? a : b, to_table ? b : a, count / KM_BLOCK * sizeof(double));
    }
}

void km_exchange_gather_blocks(km_exchange *exchange, double *blocks) {
    int size = exchange->comm->size, mine = exchange->comm->rank;
    if (size == 1) {
        return;
    }
    /* The numbers are few: one collective call serves all buckets. */
    double *compact = km_new(exchange->blocks + 1, sizeof(double));
    int *counts = km_new((size_t)size, sizeof(int)), *places = km_new((size_t)size, sizeof(int));
    for (int rank = 0, place = 0; rank < size; rank++) {
        counts[rank] = (int)(km_exchange_owned(exchange, rank) / KM_BLOCK);
        places[rank] = place;
        place += counts[rank];
    }
    copy_blocks(exchange, mine, blocks, compact + places[mine], false);
    km_wait_begin(exchange->comm);
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, compact, counts, places, MPI_DOUBLE, exchange->mpi);
    km_wait_end(exchange->comm);
    for (int rank = 0; rank < size; rank++) {
        copy_blocks(exchange, rank, blocks, compact + places[rank], true);
    }
    free(compact);
    free(counts);
    free(places);
}

/* Allocates rank 0's buffer for one part; NULL with one rank. Collective. */
static km_status part_buffer(km_exchange *exchange, float **buffer) {
    *buffer = NULL;
    km_status status = KM_OK;
    if (exchange->comm->rank == 0 && exchange->comm->size > 1) {
        status = km_allocate((void **)buffer, exchange->largest_part * sizeof(float), "a part of the model");
    }
    return km_comm_agree(exchange->comm, status);
}

km_status km_exchange_distribute(km_exchange *exchange, float *owned, km_part_reader *read, void *payload) {
    km_status status = KM_OK;
    float *buffer;
    KM_TRY(part_buffer(exchange, &buffer));
    int mine = exchange->comm->rank;
    for (int rank = 0; rank < exchange->comm->size; rank++) {
        for (int bucket = 0; bucket < exchange->buckets; bucket++) {
            size_t first, count, local;
            km_exchange_part(exchange, bucket, rank, &first, &count, &local);
            if (count == 0 || (mine != 0 && mine != rank)) {
                continue;
            }
            if (mine != 0) {
                km_wait_begin(exchange->comm);
                MPI_Recv(owned + local, (int)count, MPI_FLOAT, 0, TAG_PIECE, exchange->mpi, MPI_STATUS_IGNORE);
                km_wait_end(exchange->comm);
                continue;
            }
            if (status == KM_OK) {
                status = read(payload, first, count, rank == 0 ? owned + local : buffer);
            }
            if (rank != 0) {
                km_wait_begin(exchange->comm);
                MPI_Send(buffer, (int)count, MPI_FLOAT, rank, TAG_PIECE, exchange->mpi);
                km_wait_end(exchange->comm);
            }
        }
    }
    free(buffer);
    return km_comm_agree(exchange->comm, status);
}
