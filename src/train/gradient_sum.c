/* gradient_sum: slices of the gradient are added to a set's integer sum by several threads, and the sums over ranks begin bucket by
 * bucket while the rest of backward is still running. */
#include "kmask/train.h"

#include "kmask/kernel.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Threads add to the same sum. A piece of PIECE elements is guarded by a lock; there are LOCKS locks, which the pieces share in
 * turn. */
enum { PIECE = 1 << 15, LOCKS = 64 };

struct km_gradient_sum {
    km_parameters *parameters;
    int contributions;
    bool shared;
    atomic_int *passed; /* (buckets) contributions that will add nothing more to it */
    int begun;          /* buckets whose sum over ranks has begun; main thread only */
    /* (pieces) whether something was added in this step; before that a piece holds the last step's sum. */
    bool *written;
    pthread_mutex_t locks[LOCKS];
};

km_gradient_sum *km_gradient_sum_begin(km_parameters *parameters, int contributions, bool shared) {
    km_gradient_sum *sum = km_new(1, sizeof *sum);
    sum->parameters = parameters;
    sum->contributions = contributions;
    sum->shared = shared;
    sum->passed = km_new((size_t)km_exchange_buckets(parameters->exchange), sizeof *sum->passed);
    sum->written = km_new(parameters->table->size / PIECE + 1, sizeof *sum->written);
    for (int i = 0; i < LOCKS; i++) {
        pthread_mutex_init(&sum->locks[i], NULL);
    }
    return sum;
}

/* ---- Adding ---- */

static void lock(km_gradient_sum *sum, size_t piece) {
    if (sum->shared) {
        pthread_mutex_lock(&sum->locks[piece % LOCKS]);
    }
}

static void unlock(km_gradient_sum *sum, size_t piece) {
    if (sum->shared) {
        pthread_mutex_unlock(&sum->locks[piece % LOCKS]);
    }
}

static void clear_piece(km_gradient_sum *sum, size_t piece) {
    const size_t first = piece * PIECE, size = sum->parameters->table->size;
    memset(sum->parameters->sum + first, 0, KM_MIN((size_t)PIECE, size - first) * sizeof(int64_t));
    sum->written[piece] = true;
}

/* Adds a slice that lies within one piece, whose lock is held. The first gradient of a whole piece overwrites the last step's sum:
 * clearing the sum and reading the zeros again would take a considerable part of the time of an update. */
static bool add_to_piece(km_gradient_sum *sum, size_t offset, const float *gradient, size_t count) {
    const size_t piece = offset / PIECE;
    int64_t *to = sum->parameters->sum + offset;
    const bool replaces = !sum->written[piece] && count == PIECE;
    if (!sum->written[piece] && !replaces) {
        clear_piece(sum, piece);
    }
    sum->written[piece] = true;
    km_op_begin(KM_OP_EXACT_SUM);
    const bool fits = replaces ? km_fixed_set(to, gradient, count) : km_fixed_add(to, gradient, count);
    km_op_end();
    return fits;
}

bool km_gradient_sum_add(km_gradient_sum *sum, size_t offset, const float *gradient, size_t count) {
    bool fits = true;
    while (count > 0) {
        const size_t some = KM_MIN(count, PIECE - offset % PIECE);
        lock(sum, offset / PIECE);
        fits = add_to_piece(sum, offset, gradient, some) && fits;
        unlock(sum, offset / PIECE);
        offset += some;
        gradient += some;
        count -= some;
    }
    return fits;
}

/* ---- From this rank's sum to that of all ranks ---- */

void km_gradient_sum_passed(km_gradient_sum *sum, int *bucket, size_t offset) {
    const km_exchange *exchange = sum->parameters->exchange;
    for (; *bucket < km_exchange_buckets(exchange); ++*bucket) {
        size_t first = 0, count = 0;
        km_exchange_bucket(exchange, *bucket, &first, &count);
        if (first < offset) {
            break;
        }
        atomic_fetch_add_explicit(&sum->passed[*bucket], 1, memory_order_release);
    }
}

/* Clears the pieces of a bucket to which no gradient was added, such as the embeddings of positions beyond the longest view. */
static void clear_unwritten(km_gradient_sum *sum, int bucket) {
    size_t first = 0, count = 0;
    km_exchange_bucket(sum->parameters->exchange, bucket, &first, &count);
    for (size_t piece = first / PIECE; piece * PIECE < first + count; piece++) {
        lock(sum, piece);
        if (!sum->written[piece]) {
            clear_piece(sum, piece);
        }
        unlock(sum, piece);
    }
}

bool km_gradient_sum_poll(km_gradient_sum *sum) {
    km_parameters *p = sum->parameters;
    const int buckets = km_exchange_buckets(p->exchange);
    while (sum->begun < buckets &&
           atomic_load_explicit(&sum->passed[sum->begun], memory_order_acquire) == sum->contributions) {
        clear_unwritten(sum, sum->begun);
        km_exchange_begin(p->exchange, sum->begun, p->sum);
        sum->begun++;
    }
    km_exchange_poll(p->exchange);
    return sum->begun == buckets;
}

const int64_t *km_gradient_sum_end(km_gradient_sum *sum) {
    km_exchange *exchange = sum->parameters->exchange;
    assert(sum->begun == km_exchange_buckets(exchange));
    for (int i = 0; i < LOCKS; i++) {
        pthread_mutex_destroy(&sum->locks[i]);
    }
    free(sum->passed);
    free(sum->written);
    free(sum);
    return km_exchange_end(exchange);
}
