/* The loader: a thread that makes the micro-batches of a request while the caller computes. Every micro-batch is a
 * function of options, corpus, step and its own number; requests only say when. */
#include "mask.h"
#include "views.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Two requests may be open while the batches of the last two takes are still in use. */
enum { OPEN = 2, SLOTS = 4 };

typedef struct loader_slot {
    uint64_t step;
    int first, count;
    int capacity;
    km_batch_room *rooms; /* (capacity) */
    km_batch *batches;    /* (capacity) what the caller sees */
    km_error error;       /* failures belong to a thread: this one goes over to the taker's */
} loader_slot;

/* Which view: mask `index` of the masks that are drawn together for `visit` of `row`. */
typedef struct view {
    uint64_t row, visit;
    int index;
} view;

struct km_loader {
    km_loader_options options;
    const km_rows *rows;
    km_replacement replacement;
    int length, views, micro_batches, labelled; /* labelled: at most, of a view */

    /* The thread's own: the row that it read last, and the masks it drew. */
    km_row *row;
    km_masks masks;
    uint64_t visit;
    bool have_row;

    pthread_t thread;
    bool running;
    pthread_mutex_t mutex; /* guards the three counters; a slot belongs to the side they say */
    pthread_cond_t wanted, ready;
    uint64_t requested, made, taken;
    atomic_bool stop;
    loader_slot slots[SLOTS];
};

/* ---- Making batches (the thread) ---------------------------------------------------------------------------- */

static view locate(const km_loader *loader, uint64_t step, int j) {
    const km_loader_options *options = &loader->options;
    int splits = options->mask.splits;
    uint64_t rows = km_rows_count(loader->rows);
    uint64_t in_step = (uint64_t)(options->over_epochs ? j : j / splits);
    uint64_t place = step * (uint64_t)options->sequences + in_step, epoch = place / rows;
    uint64_t row = km_order(place % rows, rows, options->seed, epoch);
    if (options->over_epochs) {
        return (view){row, epoch / (uint64_t)splits, (int)(epoch % (uint64_t)splits)};
    }
    return (view){row, epoch, j % splits};
}

/* Reads the row and draws its masks, unless they are there from the view before. */
static km_status prepare(km_loader *loader, const view *wanted) {
    if (loader->have_row && loader->row->number == wanted->row && loader->visit == wanted->visit) {
        return KM_OK;
    }
    const km_loader_options *options = &loader->options;
    loader->have_row = false;
    KM_TRY(km_rows_read(loader->rows, wanted->row, loader->row));
    KM_TRY(km_replacement_check(&loader->replacement, loader->row));
    km_status status = options->policy->draw(&options->mask, loader->row, options->seed, KM_RNG_MASK, wanted->visit,
                                             &loader->masks);
    if (status != KM_OK) {
        return km_context(status, "%s", loader->replacement.origin);
    }
    loader->visit = wanted->visit;
    loader->have_row = true;
    return KM_OK;
}

static km_status make_batch(km_loader *loader, uint64_t step, int number, km_batch_room *room) {
    int from = number * loader->options.micro_batch;
    int to = KM_MIN(loader->views - from, loader->options.micro_batch) + from;
    km_batch_room_clear(room);
    for (int j = from; j < to; j++) {
        view wanted = locate(loader, step, j);
        KM_TRY(prepare(loader, &wanted));
        km_rng rng = km_view_rng(loader->options.seed, wanted.visit, (uint32_t)wanted.index, wanted.row);
        const uint8_t *mask = loader->masks.masks + (size_t)wanted.index * (size_t)loader->masks.stride;
        uint64_t view_number = step * (uint64_t)loader->views + (uint64_t)j;
        km_batch_room_add(room, loader->row, mask, view_number, &loader->replacement, &rng);
    }
    return KM_OK;
}

static km_status make_room(const km_loader *loader, loader_slot *slot) {
    const km_batch_limits most = km_loader_limits(loader);
    if (slot->capacity < slot->count) {
        slot->rooms = km_grow(slot->rooms, (size_t)slot->count, sizeof *slot->rooms);
        slot->batches = km_grow(slot->batches, (size_t)slot->count, sizeof *slot->batches);
        memset(slot->rooms + slot->capacity, 0, (size_t)(slot->count - slot->capacity) * sizeof *slot->rooms);
        slot->capacity = slot->count;
    }
    for (int i = 0; i < slot->count; i++) {
        if (slot->rooms[i].block == NULL) {
            KM_TRY(km_batch_room_reserve(&slot->rooms[i], &most));
        }
    }
    return KM_OK;
}

static km_status make_all(km_loader *loader, loader_slot *slot) {
    KM_TRY(make_room(loader, slot));
    for (int i = 0; i < slot->count && !atomic_load(&loader->stop); i++) {
        KM_TRY(make_batch(loader, slot->step, slot->first + i, &slot->rooms[i]));
        slot->batches[i] = slot->rooms[i].batch;
    }
    return KM_OK;
}

static void *work(void *payload) {
    km_loader *loader = payload;
    pthread_mutex_lock(&loader->mutex);
    for (;;) {
        while (loader->made == loader->requested && !atomic_load(&loader->stop)) {
            pthread_cond_wait(&loader->wanted, &loader->mutex);
        }
        if (atomic_load(&loader->stop)) {
            break;
        }
        loader_slot *slot = &loader->slots[loader->made % SLOTS];
        pthread_mutex_unlock(&loader->mutex);
        km_error_copy(&slot->error, make_all(loader, slot));
        pthread_mutex_lock(&loader->mutex);
        loader->made++;
        pthread_cond_signal(&loader->ready);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

/* ---- Asking for them (the caller) --------------------------------------------------------------------------- */

static km_status check_options(const km_loader_options *options, const km_rows *rows) {
    assert(options->policy != NULL);
    KM_TRY(km_mask_spec_check(&options->mask));
    if (options->sequences < 1 || options->micro_batch < 1) {
        return km_fail(KM_USAGE, "train.sequences is %d and train.micro_batch %d; both must be at least 1.",
                       options->sequences, options->micro_batch);
    }
    if (options->sequences > INT_MAX / options->mask.splits) {
        return km_fail(KM_USAGE,
                       "train.sequences %d times mask.splits %d is more than a step can count. Lower them.",
                       options->sequences, options->mask.splits);
    }
    if (options->micro_batch > INT_MAX / km_rows_length(rows)) {
        return km_fail(KM_USAGE,
                       "train.micro_batch %d times data.length %d is more than a batch can count. Lower it.",
                       options->micro_batch, km_rows_length(rows));
    }
    if (km_rows_count(rows) == 0) {
        return km_fail(KM_FAILED, "there are no rows to train on.");
    }
    return KM_OK;
}

/* Most tokens that one mask hides in a row of n maskable tokens. Of u units a mask leaves u - tau alone, each of at
 * least one token; subwords are one token each. */
static int most_labelled(const km_mask_spec *spec, int n) {
    int left = n;
    for (int units = spec->unit == KM_UNIT_SUBWORD ? n : spec->splits; units <= n; units++) {
        left = KM_MIN(left, units - km_mask_tau(spec, units));
    }
    return KM_MAX(1, n - left);
}

/* Signals are for the main thread. */
static km_status start(km_loader *loader) {
    int error = km_thread_start(&loader->thread, work, loader);
    loader->running = error == 0;
    return error == 0 ? KM_OK : km_fail_errno(error, "the loader's thread did not start");
}

km_status km_loader_create(km_loader **out, const km_rows *rows, const km_corpus *corpus,
                           const km_loader_options *options) {
    *out = NULL;
    KM_TRY(check_options(options, rows));
    km_loader *loader = km_new(1, sizeof *loader);
    loader->options = *options;
    loader->rows = rows;
    loader->length = km_rows_length(rows);
    loader->views = options->sequences * (options->over_epochs ? 1 : options->mask.splits);
    loader->micro_batches = (loader->views - 1) / options->micro_batch + 1;
    loader->labelled = most_labelled(&options->mask, KM_MAX(1, loader->length - 2));
    loader->row = km_row_create(loader->length);
    loader->masks.stride = loader->length;
    loader->masks.masks = km_new((size_t)options->mask.splits * (size_t)loader->length, 1);
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->wanted, NULL);
    pthread_cond_init(&loader->ready, NULL);
    km_status status =
        km_replacement_init(&loader->replacement, corpus, options->replace_mask, options->replace_random);
    if (status == KM_OK) {
        status = start(loader);
    }
    if (status != KM_OK) {
        km_loader_destroy(loader);
        return status;
    }
    *out = loader;
    return KM_OK;
}

static void free_slot(loader_slot *slot) {
    for (int i = 0; i < slot->capacity; i++) {
        km_batch_room_free(&slot->rooms[i]);
    }
    free(slot->rooms);
    free(slot->batches);
    km_error_clear(&slot->error);
}

void km_loader_destroy(km_loader *loader) {
    if (loader == NULL) {
        return;
    }
    if (loader->running) {
        pthread_mutex_lock(&loader->mutex);
        atomic_store(&loader->stop, true);
        pthread_cond_signal(&loader->wanted);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->thread, NULL);
    }
    for (int i = 0; i < SLOTS; i++) {
        free_slot(&loader->slots[i]);
    }
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->wanted);
    pthread_mutex_destroy(&loader->mutex);
    km_row_destroy(loader->row);
    free(loader->masks.masks);
    free(loader);
}

int km_loader_micro_batches(const km_loader *loader) {
    return loader->micro_batches;
}

int km_loader_views(const km_loader *loader) {
    return loader->views;
}

km_batch_limits km_loader_limits(const km_loader *loader) {
    int views = KM_MIN(loader->options.micro_batch, loader->views);
    return (km_batch_limits){.views = views,
                             .tokens = views * loader->length,
                             .longest = loader->length,
                             .labelled = views * loader->labelled};
}

void km_loader_request(km_loader *loader, uint64_t step, int first, int count) {
    assert(first >= 0 && count >= 0 && count <= loader->micro_batches - first);
    pthread_mutex_lock(&loader->mutex);
    assert(loader->requested - loader->taken < OPEN);
    loader_slot *slot = &loader->slots[loader->requested % SLOTS];
    slot->step = step;
    slot->first = first;
    slot->count = count;
    loader->requested++;
    pthread_cond_signal(&loader->wanted);
    pthread_mutex_unlock(&loader->mutex);
}

km_status km_loader_take(km_loader *loader, const km_batch **batches, int *count) {
    *batches = NULL;
    *count = 0;
    km_op_begin(KM_OP_INPUT);
    pthread_mutex_lock(&loader->mutex);
    assert(loader->taken < loader->requested);
    while (loader->made == loader->taken) {
        pthread_cond_wait(&loader->ready, &loader->mutex);
    }
    loader_slot *slot = &loader->slots[loader->taken++ % SLOTS];
    pthread_mutex_unlock(&loader->mutex);
    km_op_end();
    KM_TRY(km_error_raise(&slot->error));
    *batches = slot->batches;
    *count = slot->count;
    return KM_OK;
}
