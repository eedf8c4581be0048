/* exchange: the exact sum. Integers add up to the same bits in any order, so each rank sends its share of a part (its own
 * gradient of the part's elements) straight to the part's owner, which adds shares as they arrive. No rank waits for its turn,
 * and a rank that still computes does not delay transfers between others.
 *
 * Ranks form a grid of nodes and places within a node. The shares of a part are first added up within each node, by the rank
 * that has the owner's place there; then the node's sum goes to the owner. Each node thus sends a gradient over the network
 * once, instead of once for each of its ranks. Where ranks of a node can read each other's memory (exchange_direct.c), no
 * message carries a share between them: one message a bucket says that the sender's shares are complete, and at which address. */
#include "exchange_private.h"

#include <assert.h>
#include <string.h>

static int rank_at(const km_exchange *exchange, int node, int local) {
    return node * exchange->locals + local;
}

static void send(km_exchange *exchange, int bucket, const int64_t *values, size_t count, int to) {
    MPI_Isend(values, (int)count, MPI_INT64_T, to, bucket, exchange->mpi,
              &exchange->sends[exchange->sends_begun++]);
}

static void send_part(km_exchange *exchange, int bucket, int owner, int to) {
    size_t first, count, local;
    km_exchange_part(exchange, bucket, owner, &first, &count, &local);
    if (count > 0) {
        send(exchange, bucket, exchange->sum + first, count, to);
    }
}

/* The i-th node whose parts are added up here. Other nodes come before the own one, since their sums still have to be sent. Each
 * node begins with a different one, so that they do not all send to the same node. */
static int node_at(const km_exchange *exchange, int i) {
    return (exchange->node + 1 + i) % exchange->nodes;
}

/* Sends a peer this rank's shares of the parts that the peer adds up, or their address. */
static void send_shares(km_exchange *exchange, int bucket, int peer) {
    const int to = rank_at(exchange, exchange->node, peer);
    if (exchange->direct) {
        send(exchange, bucket, &exchange->own_sum, 1, to);
        return;
    }
    for (int i = 0; i < exchange->nodes; i++) {
        send_part(exchange, bucket, rank_at(exchange, node_at(exchange, i), peer), to);
    }
}

/* Sends this node's sum, which is complete, of the part of rank (node, own local) to the part's owner. */
static void forward(km_exchange *exchange, int bucket, int node) {
    int owner = rank_at(exchange, node, exchange->local);
    if (node != exchange->node) {
        send_part(exchange, bucket, owner, owner);
    }
}

/* The i-th arrival of a bucket: first the peers' shares of all parts that are added up here, then the other nodes' sums of the
 * own part. Between any two ranks, sends are made in the same order. */
static km_arrival arrival(const km_exchange *exchange, int bucket, int i) {
    const int parts = km_messages_of_peer(exchange), shares = (exchange->locals - 1) * parts;
    km_arrival a = {bucket, 0, exchange->comm->rank};
    if (i < shares) {
        a.source = rank_at(exchange, exchange->node, (exchange->local + 1 + i / parts) % exchange->locals);
        a.owner =
            exchange->direct ? KM_ALL_PARTS : rank_at(exchange, node_at(exchange, i % parts), exchange->local);
    } else {
        a.source = rank_at(exchange, node_at(exchange, i - shares), exchange->local);
    }
    return a;
}

static size_t arrival_size(const km_exchange *exchange, const km_arrival *a) {
    size_t first, count, local;
    if (a->owner == KM_ALL_PARTS) {
        return 1;
    }
    km_exchange_part(exchange, a->bucket, a->owner, &first, &count, &local);
    return count;
}

/* out = a + b; out may be a or b. */
static void add(int64_t *out, const int64_t *a, const int64_t *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        out[i] = a[i] + b[i];
    }
}

/* Adds the source's share of a part to the sum. `share` holds the share's elements, or, for KM_ALL_PARTS, one element: the
 * address of the source's whole array in its memory. */
static void add_part(km_exchange *exchange, const km_arrival *a, int owner, const int64_t *share) {
    size_t first, count, local;
    km_exchange_part(exchange, a->bucket, owner, &first, &count, &local);
    if (count == 0) {
        return;
    }
    int64_t *sum = exchange->sum + first;
    bool own = owner == exchange->comm->rank;
    bool last = own && --exchange->own_missing[a->bucket] == 0; /* with this the sum is complete */
    int64_t *out = last ? exchange->received + local : sum;
    if (a->owner == KM_ALL_PARTS) {
        int64_t address = share[0] + (int64_t)(first * sizeof *sum);
        km_direct_add(exchange, a->source % exchange->locals, address, out, sum, count);
    } else {
        add(out, sum, share, count);
    }
    if (a->source / exchange->locals == exchange->node) {
        int node = owner / exchange->locals;
        if (--exchange->missing[a->bucket * exchange->nodes + node] == 0) {
            forward(exchange, a->bucket, node);
        }
    }
}

static void add_arrived(km_exchange *exchange, int slot) {
    const km_arrival a = exchange->arriving[slot];
    const int64_t *share = exchange->buffers + (size_t)slot * exchange->slot_size;
    if (a.owner != KM_ALL_PARTS) {
        add_part(exchange, &a, a.owner, share);
        return;
    }
    for (int i = 0; i < exchange->nodes; i++) {
        add_part(exchange, &a, rank_at(exchange, node_at(exchange, i), exchange->local), share);
    }
}

/* The next arrival, of the buckets begun so far, that is not empty; false when there is none. */
static bool next_arrival(km_exchange *exchange, km_arrival *a, size_t *count) {
    while (exchange->next_bucket < exchange->begun) {
        if (exchange->next_arrival == exchange->arrivals) {
            exchange->next_arrival = 0;
            exchange->next_bucket++;
            continue;
        }
        *a = arrival(exchange, exchange->next_bucket, exchange->next_arrival++);
        *count = arrival_size(exchange, a);
        if (*count > 0) {
            return true;
        }
    }
    return false;
}

/* Free slots are given to arrivals in their order. The earliest arrival that is missing on any rank therefore has a slot, and
 * everything that its sender waits for has come before it: there is no deadlock, however few slots there are. */
static void fill_slots(km_exchange *exchange) {
    km_arrival a;
    size_t count;
    for (int slot = 0; slot < exchange->slots && exchange->busy < exchange->slots; slot++) {
        if (exchange->receives[slot] != MPI_REQUEST_NULL) {
            continue;
        }
        if (!next_arrival(exchange, &a, &count)) {
            return;
        }
        exchange->arriving[slot] = a;
        MPI_Irecv(exchange->buffers + (size_t)slot * exchange->slot_size, (int)count, MPI_INT64_T, a.source,
                  a.bucket, exchange->mpi, &exchange->receives[slot]);
        exchange->busy++;
    }
}

/* Adds what has arrived and returns how many messages that were. With wait = true it first waits until something arrives. */
static int advance(km_exchange *exchange, bool wait) {
    fill_slots(exchange);
    if (exchange->busy == 0) {
        return 0;
    }
    int number = 0;
    if (wait) {
        km_wait_begin(exchange->comm);
    }
    (wait ? MPI_Waitsome : MPI_Testsome)(exchange->slots, exchange->receives, &number, exchange->finished,
                                         MPI_STATUSES_IGNORE);
    number = KM_MAX(number, 0); /* MPI_UNDEFINED is negative */
    if (wait) {
        km_wait_end(exchange->comm);
    } else if (number > 0) {
        km_heartbeat_progress(exchange->comm);
    }
    exchange->busy -= number;
    for (int i = 0; i < number; i++) {
        add_arrived(exchange, exchange->finished[i]);
    }
    return number;
}

void km_exchange_begin(km_exchange *exchange, int bucket, int64_t *sum) {
    assert(bucket == exchange->begun && bucket < exchange->buckets);
    assert(bucket == 0 || sum == exchange->sum);
    if (bucket == 0) {
        exchange->sum = sum;
        exchange->own_sum = (int64_t)(uintptr_t)sum;
        exchange->sends_begun = exchange->sends_done = 0;
        exchange->next_bucket = exchange->next_arrival = 0;
    }
    exchange->begun++;
    if (exchange->comm->size == 1) {
        return;
    }
    km_comm_begin(exchange->comm);
    exchange->own_missing[bucket] = exchange->arrivals_of_own;
    for (int node = 0; node < exchange->nodes; node++) {
        exchange->missing[bucket * exchange->nodes + node] = exchange->locals - 1;
    }
    for (int step = 1; step < exchange->locals; step++) {
        send_shares(exchange, bucket, (exchange->local + exchange->locals - step) % exchange->locals);
    }
    for (int i = 0; i < exchange->nodes && exchange->locals == 1; i++) {
        forward(exchange, bucket, node_at(exchange, i));
    }
    km_exchange_poll(exchange);
    km_comm_end(exchange->comm);
}

/* Tests the sends, so that they advance: Open MPI advances transfers only within calls, and there may be nothing left to
 * receive. */
static void test_sends(km_exchange *exchange) {
    int done = 1;
    while (done && exchange->sends_done < exchange->sends_begun) {
        MPI_Test(&exchange->sends[exchange->sends_done], &done, MPI_STATUS_IGNORE);
        exchange->sends_done += done ? 1 : 0;
    }
}

void km_exchange_poll(km_exchange *exchange) {
    if (exchange->comm->size == 1 || exchange->begun == 0) {
        return;
    }
    km_comm_begin(exchange->comm);
    while (advance(exchange, false) > 0) {
    }
    test_sends(exchange);
    km_comm_end(exchange->comm);
}

const int64_t *km_exchange_end(km_exchange *exchange) {
    assert(exchange->begun == exchange->buckets);
    if (exchange->comm->size == 1) { /* this rank owns the whole table, and its array is compact */
        exchange->begun = 0;
        return exchange->sum;
    }
    km_comm_begin(exchange->comm);
    while (advance(exchange, true) > 0) {
    }
    km_wait_begin(exchange->comm);
    MPI_Waitall(exchange->sends_begun, exchange->sends, MPI_STATUSES_IGNORE);
    km_wait_end(exchange->comm);
    if (exchange->direct) { /* afterwards no peer reads this rank's sum any more */
        km_direct_barrier(exchange);
    }
    km_comm_end(exchange->comm);
    exchange->begun = 0;
    return exchange->received;
}
