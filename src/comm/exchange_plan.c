/* exchange_plan: the plan of the exact sum. The table is cut into buckets, from its end to its start, and each bucket into one
 * part for each rank. */
#include "exchange_private.h"

#include <assert.h>
#include <stdlib.h>

enum {
    MOST_BLOCKS = (1 << 27) / KM_BLOCK
}; /* most blocks of a bucket: 2^27 elements (1 GiB of int64) fit into MPI's int counts */

static km_status allocate(km_exchange *exchange) {
    size_t owned = km_exchange_owned(exchange, exchange->comm->rank);
    size_t slots = (size_t)exchange->slots;
    if (exchange->comm->size == 1) {
        return KM_OK;
    }
    KM_TRY(km_allocate((void **)&exchange->received, owned * sizeof(int64_t), "the summed gradient"));
    return km_allocate((void **)&exchange->buffers, slots * exchange->slot_size * sizeof(int64_t),
                       "gradients on their way in");
}

static void lay_out(km_exchange *exchange, size_t size, size_t bucket) {
    exchange->blocks = size / KM_BLOCK;
    exchange->bucket_blocks = bucket / KM_BLOCK + (bucket % KM_BLOCK ? 1 : 0);
    exchange->bucket_blocks = KM_MAX(KM_MIN(exchange->bucket_blocks, (size_t)MOST_BLOCKS), 1);
    exchange->buckets = (int)((exchange->blocks + exchange->bucket_blocks - 1) / exchange->bucket_blocks);
    uint64_t first, number;
    km_share(&first, &number, exchange->bucket_blocks, 0, exchange->comm->size);
    exchange->largest_part = (size_t)number * KM_BLOCK;
}

/* Counts arrivals and slots; exchange->direct must be known. There are slots for two buckets, so that the shares of the next
 * bucket can arrive while those of the last one are added. */
static void lay_out_arrivals(km_exchange *exchange) {
    exchange->arrivals = (exchange->locals - 1) * km_messages_of_peer(exchange) + exchange->nodes - 1;
    exchange->arrivals_of_own = exchange->locals - 1 + exchange->nodes - 1;
    exchange->slots = 2 * exchange->arrivals;
}

size_t km_exchange_bytes(size_t *owned, size_t size, size_t bucket, int rank, int ranks) {
    km_comm comm = {.rank = rank, .size = ranks};
    /* The grid with one rank on each node has most arrivals. */
    km_exchange exchange = {.comm = &comm, .locals = 1, .nodes = ranks};
    lay_out(&exchange, size, bucket);
    lay_out_arrivals(&exchange);
    size_t own = km_exchange_owned(&exchange, rank);
    if (owned != NULL) {
        *owned = own;
    }
    return ranks == 1 ? 0 : (own + (size_t)exchange.slots * exchange.largest_part) * sizeof(int64_t);
}

km_status km_exchange_create(km_exchange **out, km_comm *comm, size_t size, size_t bucket) {
    assert(size % KM_BLOCK == 0);
    *out = NULL;
    km_exchange *exchange = km_new(1, sizeof *exchange);
    exchange->comm = comm;
    exchange->locals = comm->node_ranks;
    exchange->nodes = comm->size / exchange->locals;
    exchange->node = comm->rank / exchange->locals;
    exchange->local = comm->rank % exchange->locals;
    lay_out(exchange, size, bucket);
    MPI_Comm_dup(comm->mpi, &exchange->mpi);
    km_direct_open(exchange);

    lay_out_arrivals(exchange);
    exchange->slot_size = exchange->direct && exchange->nodes == 1 ? 1 : exchange->largest_part;
    size_t slots = (size_t)exchange->slots, buckets = (size_t)exchange->buckets;
    exchange->arriving = km_new(slots + 1, sizeof *exchange->arriving);
    exchange->receives = km_new(slots + 1, sizeof(MPI_Request));
    exchange->finished = km_new(slots + 1, sizeof(int));
    exchange->missing = km_new(buckets * (size_t)exchange->nodes + 1, sizeof(int));
    exchange->own_missing = km_new(buckets + 1, sizeof(int));
    exchange->sends = km_new(buckets * (size_t)exchange->arrivals + 1, sizeof(MPI_Request));
    for (int i = 0; i < exchange->slots; i++) {
        exchange->receives[i] = MPI_REQUEST_NULL;
    }
    km_status status = km_comm_agree(comm, allocate(exchange));
    if (status != KM_OK) {
        km_exchange_destroy(exchange);
        return status;
    }
    *out = exchange;
    return KM_OK;
}

void km_exchange_destroy(km_exchange *exchange) {
    if (!exchange) {
        return;
    }
    km_direct_close(exchange);
    MPI_Comm_free(&exchange->mpi);
    free(exchange->received);
    free(exchange->buffers);
    free(exchange->arriving);
    free(exchange->receives);
    free(exchange->finished);
    free(exchange->missing);
    free(exchange->own_missing);
    free(exchange->sends);
    free(exchange);
}

int km_exchange_buckets(const km_exchange *exchange) {
    return exchange->buckets;
}

/* Sets the first block and the number of blocks of a bucket. The last bucket, at the table's start, may be shorter. */
static void bucket_blocks(const km_exchange *exchange, int bucket, size_t *first, size_t *number) {
    assert(bucket >= 0 && bucket < exchange->buckets);
    size_t end = exchange->blocks - (size_t)bucket * exchange->bucket_blocks;
    *number = KM_MIN(end, exchange->bucket_blocks);
    *first = end - *number;
}

void km_exchange_bucket(const km_exchange *exchange, int bucket, size_t *first, size_t *count) {
    bucket_blocks(exchange, bucket, first, count);
    *first *= KM_BLOCK;
    *count *= KM_BLOCK;
}

/* Returns how many blocks a rank's part of a bucket of `bucket` blocks has; *before: the blocks of lower ranks' parts. */
static size_t part_blocks(const km_exchange *exchange, size_t bucket, int rank, size_t *before) {
    uint64_t first, number;
    km_share(&first, &number, bucket, rank, exchange->comm->size);
    *before = (size_t)first;
    return (size_t)number;
}

void km_exchange_part(const km_exchange *exchange, int bucket, int rank, size_t *first, size_t *count,
                      size_t *local) {
    size_t start, number, before, unused;
    bucket_blocks(exchange, bucket, &start, &number);
    *count = part_blocks(exchange, number, rank, &before) * KM_BLOCK;
    *first = (start + before) * KM_BLOCK;
    *local = 0;
    int last = exchange->buckets - 1; /* the bucket at the table's start, which comes first in the compact arrays */
    if (bucket < last) {
        size_t shorter = exchange->blocks - (size_t)last * exchange->bucket_blocks;
        size_t whole = part_blocks(exchange, exchange->bucket_blocks, rank, &unused);
        *local = (part_blocks(exchange, shorter, rank, &unused) + (size_t)(last - 1 - bucket) * whole) * KM_BLOCK;
    }
}

size_t km_exchange_owned(const km_exchange *exchange, int rank) {
    if (exchange->buckets == 0) {
        return 0;
    }
    size_t first, count, local;
    km_exchange_part(exchange, 0, rank, &first, &count, &local);
    return local + count;
}
