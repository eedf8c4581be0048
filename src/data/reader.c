/* The reader: a thread that makes the micro-batches of a request while the caller computes. Every micro-batch is a
 * function of the source, the step and its own number; requests only say when. */
#include "builder.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Two requests may be open while the batches of the last two takes are still in use. */
enum { OPEN = 2, SLOTS = 4 };

/* A request and its batches. */
typedef struct slot {
    uint64_t step;
    int first, count;
    int capacity;
    km_batch_builder *builders; /* (capacity) */
    km_batch *batches;          /* (capacity) what the caller sees */
    km_error error;             /* failures belong to a thread: this one goes over to the taker's */
} slot;

struct km_reader {
    km_source *source; /* the thread's alone while it runs */
    km_batch_limits limits;
    int views, micro_batch, micro_batches;

    pthread_t thread;
    bool running;
    pthread_mutex_t mutex; /* guards the counters; a slot belongs to the side they say */
    pthread_cond_t wanted, ready;
    uint64_t requested, released, made, taken; /* released: of a live source, requests that may be made */
    atomic_bool stop;
    slot slots[SLOTS];
};

void km_source_destroy(km_source *source) {
    if (source != NULL) {
        source->destroy(source);
    }
}

/* ---- Making batches (the thread) ---------------------------------------------------------------------------- */

static km_status make_batch(km_reader *reader, uint64_t step, int number, km_batch_builder *builder) {
    const int from = number * reader->micro_batch;
    const int to = KM_MIN(reader->views - from, reader->micro_batch) + from;
    km_batch_builder_clear(builder);
    for (int j = from; j < to; j++) {
        KM_TRY(reader->source->make(reader->source, step * (uint64_t)reader->views + (uint64_t)j, builder));
    }
    return KM_OK;
}

static km_status make_room(const km_reader *reader, slot *s) {
    if (s->capacity < s->count) {
        s->builders = km_grow(s->builders, (size_t)s->count, sizeof *s->builders);
        s->batches = km_grow(s->batches, (size_t)s->count, sizeof *s->batches);
        memset(s->builders + s->capacity, 0, (size_t)(s->count - s->capacity) * sizeof *s->builders);
        s->capacity = s->count;
    }
    for (int i = 0; i < s->count; i++) {
        if (s->builders[i].block == NULL) {
            KM_TRY(km_batch_builder_reserve(&s->builders[i], &reader->limits));
        }
    }
    return KM_OK;
}

static km_status make_all(km_reader *reader, slot *s) {
    KM_TRY(make_room(reader, s));
    for (int i = 0; i < s->count && !atomic_load(&reader->stop); i++) {
        KM_TRY(make_batch(reader, s->step, s->first + i, &s->builders[i]));
        s->batches[i] = s->builders[i].batch;
    }
    return KM_OK;
}

/* Reads ahead what a live source can read before its request is released, and waits for that. */
static km_status await_release(km_reader *reader, const slot *s) {
    km_status status = KM_OK;
    const uint64_t first = s->step * (uint64_t)reader->views;
    const int from = s->first * reader->micro_batch;
    const int to = KM_MIN((s->first + s->count) * reader->micro_batch, reader->views);
    for (int j = from; j < to && status == KM_OK && !atomic_load(&reader->stop); j++) {
        status = reader->source->prepare(reader->source, first + (uint64_t)j);
    }
    pthread_mutex_lock(&reader->mutex);
    while (reader->released == reader->made && !atomic_load(&reader->stop)) {
        pthread_cond_wait(&reader->wanted, &reader->mutex);
    }
    pthread_mutex_unlock(&reader->mutex);
    return status;
}

static km_status fulfil(km_reader *reader, slot *s) {
    KM_TRY(reader->source->live ? await_release(reader, s) : KM_OK);
    return make_all(reader, s);
}

static void *work(void *payload) {
    km_reader *reader = payload;
    pthread_mutex_lock(&reader->mutex);
    for (;;) {
        while (reader->made == reader->requested && !atomic_load(&reader->stop)) {
            pthread_cond_wait(&reader->wanted, &reader->mutex);
        }
        if (atomic_load(&reader->stop)) {
            break;
        }
        slot *s = &reader->slots[reader->made % SLOTS];
        pthread_mutex_unlock(&reader->mutex);
        km_error_copy(&s->error, fulfil(reader, s));
        pthread_mutex_lock(&reader->mutex);
        reader->made++;
        pthread_cond_signal(&reader->ready);
    }
    pthread_mutex_unlock(&reader->mutex);
    return NULL;
}

/* ---- Asking for them (the caller) --------------------------------------------------------------------------- */

static km_status set_sizes(km_reader *reader, int64_t views, int64_t micro_batch) {
    if (views < 1 || views > INT_MAX || micro_batch < 1) {
        return km_fail(
            KM_USAGE,
            "a step of %lld views in micro-batches of %lld; at least 1, and at most %d views a step can be "
            "counted. Change train.sequences, mask.splits or train.micro_batch.",
            (long long)views, (long long)micro_batch, INT_MAX);
    }
    reader->views = (int)views;
    reader->micro_batch = (int)KM_MIN(micro_batch, views);
    reader->micro_batches = (reader->views - 1) / reader->micro_batch + 1;
    return reader->source->limits(reader->source, reader->micro_batch, &reader->limits);
}

static km_status start(km_reader *reader) {
    int error = km_thread_start(&reader->thread, work, reader);
    reader->running = error == 0;
    return error == 0 ? KM_OK : km_fail_errno(error, "the reader's thread did not start");
}

km_status km_reader_create(km_reader **out, km_source *source, int64_t views, int64_t micro_batch) {
    km_reader *reader = km_new(1, sizeof *reader);
    reader->source = source;
    pthread_mutex_init(&reader->mutex, NULL);
    pthread_cond_init(&reader->wanted, NULL);
    pthread_cond_init(&reader->ready, NULL);
    km_status status = set_sizes(reader, views, micro_batch);
    if (status == KM_OK) {
        status = start(reader);
    }
    if (status != KM_OK) {
        km_reader_destroy(reader);
        reader = NULL;
    }
    *out = reader;
    return status;
}

static void free_slot(slot *s) {
    for (int i = 0; i < s->capacity; i++) {
        km_batch_builder_free(&s->builders[i]);
    }
    free(s->builders);
    free(s->batches);
    km_error_clear(&s->error);
}

void km_reader_destroy(km_reader *reader) {
    if (reader == NULL) {
        return;
    }
    if (reader->running) {
        pthread_mutex_lock(&reader->mutex);
        atomic_store(&reader->stop, true);
        pthread_cond_signal(&reader->wanted);
        pthread_mutex_unlock(&reader->mutex);
        pthread_join(reader->thread, NULL);
    }
    for (int i = 0; i < SLOTS; i++) {
        free_slot(&reader->slots[i]);
    }
    pthread_cond_destroy(&reader->ready);
    pthread_cond_destroy(&reader->wanted);
    pthread_mutex_destroy(&reader->mutex);
    km_source_destroy(reader->source);
    free(reader);
}

int km_reader_micro_batches(const km_reader *reader) {
    return reader->micro_batches;
}

int km_reader_views(const km_reader *reader) {
    return reader->views;
}

km_batch_limits km_reader_limits(const km_reader *reader) {
    return reader->limits;
}

bool km_reader_is_live(const km_reader *reader) {
    return reader->source->live;
}

void km_reader_set_scorer(km_reader *reader, km_scorer scorer) {
    reader->source->scorer = scorer;
}

void km_reader_release(km_reader *reader) {
    pthread_mutex_lock(&reader->mutex);
    reader->released = reader->requested;
    pthread_cond_signal(&reader->wanted);
    pthread_mutex_unlock(&reader->mutex);
}

void km_reader_request(km_reader *reader, uint64_t step, int first, int count) {
    assert(first >= 0 && count >= 0 && count <= reader->micro_batches - first);
    pthread_mutex_lock(&reader->mutex);
    assert(reader->requested - reader->taken < OPEN);
    slot *s = &reader->slots[reader->requested % SLOTS];
    s->step = step;
    s->first = first;
    s->count = count;
    reader->requested++;
    pthread_cond_signal(&reader->wanted);
    pthread_mutex_unlock(&reader->mutex);
}

km_status km_reader_take(km_reader *reader, const km_batch **batches, int *count) {
    *batches = NULL;
    *count = 0;
    km_op_begin(KM_OP_INPUT);
    pthread_mutex_lock(&reader->mutex);
    assert(reader->taken < reader->requested);
    while (reader->made == reader->taken) {
        pthread_cond_wait(&reader->ready, &reader->mutex);
    }
    slot *s = &reader->slots[reader->taken++ % SLOTS];
    pthread_mutex_unlock(&reader->mutex);
    km_op_end();
    KM_TRY(km_error_raise(&s->error));
    *batches = s->batches;
    *count = s->count;
    return KM_OK;
}
