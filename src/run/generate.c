/* Generation on all ranks. Within a window of sources those of like length are a group, which is decoded together; the ranks take
 * groups in turns, and rank 0 hands out the window's answers in the order of the sources. */
#include "kmask/run.h"

#include <stdlib.h>
#include <string.h>

/* What is decoded together has the same bits whatever the ranks, so these numbers are a part of what an answer is. Groups of this
 * size multiply matrices well; the last number limits the memory for keys and values. */
enum { WINDOW = 8192, GROUP_SOURCES = 32, GROUP_TOKENS = 4096, GROUP_PLACES = 16384 };

/* Sources order[first] to order[first + count - 1]. */
typedef struct group {
    uint64_t first;
    int count;
} group;

typedef struct generation {
    km_comm *comm;
    const km_bundle *bundle;
    const km_generate_options *options;
    km_sources sources; /* every rank's own copy */
    uint64_t *order;    /* (count) within each window by length, the longest first */
    group *groups;      /* of all windows */
    uint64_t group_count;
    km_generator *generator; /* NULL where there are no sources */
    /* of one group */
    int32_t *starts, *ids;
    uint8_t *seen;
    uint64_t *keys;
    /* of one window: this rank's answers one after the other, each as record_words() of it; rank 0 has all ranks' */
    km_buffer own, *all;
    const int32_t **records; /* (WINDOW) */
    km_progress *progress;   /* rank 0 */
    km_answer_hook *answer;
    void *payload;
} generation;

/* ---- Groups ------------------------------------------------------------------------------------------------------ */

static uint64_t length_of(const generation *g, uint64_t source) {
    return g->sources.starts[source + 1] - g->sources.starts[source];
}

typedef struct sorted {
    uint64_t length, number;
} sorted;

static int longest_first(const void *a, const void *b) {
    const sorted *x = a, *y = b;
    if (x->length != y->length) {
        return x->length > y->length ? -1 : 1;
    }
    return x->number < y->number ? -1 : 1;
}

static void sort_window(generation *g, uint64_t first, uint64_t count) {
    sorted *list = km_new(count, sizeof *list);
    for (uint64_t i = 0; i < count; i++) {
        list[i] = (sorted){length_of(g, first + i), first + i};
    }
    qsort(list, count, sizeof *list, longest_first);
    for (uint64_t i = 0; i < count; i++) {
        g->order[first + i] = list[i].number;
    }
    free(list);
}

/* Whether a group of so many sources and tokens is within the limits. */
static bool fits(const generation *g, int sources, uint64_t tokens) {
    const int64_t places = (int64_t)sources * g->options->beams * g->options->max_length;
    return sources == 1 || (sources <= GROUP_SOURCES && tokens <= GROUP_TOKENS && places <= GROUP_PLACES);
}

static void cut_window(generation *g, uint64_t first, uint64_t count) {
    uint64_t tokens = 0;
    for (uint64_t i = first; i < first + count; i++) {
        group *last = g->group_count > 0 ? &g->groups[g->group_count - 1] : NULL;
        const uint64_t own = length_of(g, g->order[i]);
        if (i > first && fits(g, last->count + 1, tokens + own)) {
            last->count++;
            tokens += own;
        } else {
            g->groups[g->group_count++] = (group){i, 1};
            tokens = own;
        }
    }
}

static void make_groups(generation *g) {
    const uint64_t count = g->sources.count;
    g->order = km_new(count + 1, sizeof *g->order);
    g->groups = km_new(count + 1, sizeof *g->groups);
    for (uint64_t first = 0; first < count; first += WINDOW) {
        const uint64_t number = KM_MIN(count - first, (uint64_t)WINDOW);
        sort_window(g, first, number);
        cut_window(g, first, number);
    }
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static km_batch_limits limits_of(const generation *g) {
    km_batch_limits most = {0};
    for (uint64_t i = 0; i < g->group_count; i++) {
        const group *own = &g->groups[i];
        int tokens = 0;
        for (int k = 0; k < own->count; k++) {
            tokens += (int)length_of(g, g->order[own->first + (uint64_t)k]);
        }
        most.views = KM_MAX(most.views, own->count);
        most.tokens = KM_MAX(most.tokens, tokens);
        most.longest = KM_MAX(most.longest, (int)length_of(g, g->order[own->first]));
    }
    return most;
}

static km_status make_generator(generation *g) {
    const km_batch_limits most = limits_of(g);
    g->starts = km_new((size_t)most.views + 1, sizeof *g->starts);
    g->ids = km_new((size_t)most.tokens + 1, sizeof *g->ids);
    g->seen = km_new((size_t)most.tokens + 1, sizeof *g->seen);
    g->keys = km_new((size_t)most.tokens + 1, sizeof *g->keys);
    g->all = km_new((size_t)km_comm_size(g->comm), sizeof *g->all);
    g->records = km_new(WINDOW, sizeof *g->records);
    if (g->group_count == 0) {
        return km_generate_options_check(g->bundle->model, g->options);
    }
    return km_generator_create(&g->generator, g->bundle->model, g->options, &most);
}

/* Rank 0's sources on every rank. */
static void share_sources(generation *g, const km_sources *sources) {
    const bool first = km_comm_rank(g->comm) == 0;
    km_sources *own = &g->sources;
    own->count = first ? sources->count : 0;
    km_comm_broadcast(g->comm, &own->count, sizeof own->count);
    own->starts = km_new(own->count + 1, sizeof *own->starts);
    if (first) {
        memcpy(own->starts, sources->starts, (own->count + 1) * sizeof *own->starts);
    }
    km_comm_broadcast(g->comm, own->starts, (own->count + 1) * sizeof *own->starts);
    const uint64_t ids = own->starts[own->count];
    own->ids = km_new(ids + 1, sizeof *own->ids);
    if (first) {
        memcpy(own->ids, sources->ids, ids * sizeof *own->ids);
    }
    km_comm_broadcast(g->comm, own->ids, ids * sizeof *own->ids);
}

static void free_all(generation *g) {
    for (int r = 0; g->all != NULL && r < km_comm_size(g->comm); r++) {
        km_buffer_free(&g->all[r]);
    }
    km_generator_destroy(g->generator);
    km_sources_free(&g->sources);
    km_buffer_free(&g->own);
    free(g->order);
    free(g->groups);
    free(g->starts);
    free(g->ids);
    free(g->seen);
    free(g->keys);
    free(g->all);
    free(g->records);
    km_progress_destroy(g->progress);
}

/* ---- One group ----------------------------------------------------------------------------------------------------- */

static km_batch batch_of(generation *g, const group *own) {
    const int32_t pad = (int32_t)g->bundle->shape.pad_token_id;
    km_stream input = {.starts = g->starts, .ids = g->ids, .keys = g->keys};
    for (int k = 0; k < own->count; k++) {
        const uint64_t source = g->order[own->first + (uint64_t)k];
        const int length = (int)length_of(g, source);
        memcpy(g->ids + input.tokens, g->sources.ids + g->sources.starts[source], (size_t)length * sizeof *g->ids);
        input.tokens += length;
        input.longest = KM_MAX(input.longest, length);
        g->starts[k + 1] = input.tokens;
    }
    for (int i = 0; i < input.tokens; i++) {
        g->seen[i] = g->ids[i] != pad;
        input.seen = g->seen[i] ? input.seen : g->seen;
    }
    return (km_batch){.views = own->count, .input = input};
}

/* A record is the source's number in the window, the number of ids, the score's bits, and the ids. */
static void record(generation *g, uint64_t number, const km_answers *answers, int i) {
    const int32_t count = answers->starts[i + 1] - answers->starts[i];
    int32_t head[3] = {(int32_t)number, count, 0};
    memcpy(&head[2], &answers->scores[i], sizeof head[2]);
    km_buffer_add(&g->own, head, sizeof head);
    km_buffer_add(&g->own, answers->ids + answers->starts[i], (size_t)count * sizeof *answers->ids);
}

static void answer_group(generation *g, const group *own, uint64_t window) {
    const km_batch batch = batch_of(g, own);
    const km_answers *answers = km_generator_run(g->generator, g->bundle->weights, &batch);
    for (int k = 0; k < own->count; k++) {
        record(g, g->order[own->first + (uint64_t)k] - window, answers, k);
    }
}

/* ---- One window ---------------------------------------------------------------------------------------------------- */

/* Every rank's records on rank 0. */
static void gather(generation *g) {
    uint64_t size = g->own.size;
    if (km_comm_rank(g->comm) != 0) {
        km_comm_send(g->comm, &size, sizeof size, 0);
        km_comm_send(g->comm, g->own.data, size, 0);
        return;
    }
    for (int r = 1; r < km_comm_size(g->comm); r++) {
        km_buffer *all = &g->all[r];
        km_comm_receive(g->comm, &size, sizeof size, r);
        if (size > all->capacity) {
            all->data = km_grow(all->data, size, 1);
            all->capacity = size;
        }
        all->size = size;
        km_comm_receive(g->comm, all->data, size, r);
    }
}

static void list_records(generation *g, const km_buffer *all) {
    const int32_t *at = (const int32_t *)(const void *)all->data;
    for (size_t left = all->size / sizeof *at; left > 0;) {
        const size_t words = 3 + (size_t)at[1];
        g->records[at[0]] = at;
        at += words;
        left -= words;
    }
}

static km_status hand_out(generation *g, uint64_t count) {
    list_records(g, &g->own);
    for (int r = 1; r < km_comm_size(g->comm); r++) {
        list_records(g, &g->all[r]);
    }
    for (uint64_t i = 0; i < count; i++) {
        float score = 0;
        memcpy(&score, &g->records[i][2], sizeof score);
        KM_TRY(g->answer(g->payload, g->records[i] + 3, g->records[i][1], score));
    }
    return KM_OK;
}

/* Groups take turns: group i is rank i mod R's. On rank 0, what it has done stands for all ranks. */
static void answer_window(generation *g, uint64_t *next, uint64_t first, uint64_t end) {
    const uint64_t ranks = (uint64_t)km_comm_size(g->comm), rank = (uint64_t)km_comm_rank(g->comm);
    g->own.size = 0;
    for (; *next < g->group_count && g->groups[*next].first < end; (*next)++) {
        const group *own = &g->groups[*next];
        if (*next % ranks == rank) {
            km_heartbeat_progress(g->comm);
            answer_group(g, own, first);
        }
        if (g->progress != NULL) {
            const uint64_t done = own->first + (uint64_t)own->count;
            km_progress_update(g->progress, done, "%llu of %llu sources", (unsigned long long)done,
                               (unsigned long long)g->sources.count);
        }
    }
}

static km_status run(generation *g) {
    uint64_t next = 0;
    for (uint64_t first = 0; first < g->sources.count; first += WINDOW) {
        const uint64_t end = KM_MIN(first + WINDOW, g->sources.count);
        answer_window(g, &next, first, end);
        gather(g);
        km_status status = KM_OK;
        if (km_comm_rank(g->comm) == 0) {
            km_progress_clear(g->progress);
            status = hand_out(g, end - first);
        }
        KM_TRY(km_comm_agree(g->comm, status));
    }
    return KM_OK;
}

km_status km_generate(km_comm *comm, const km_bundle *bundle, const km_sources *sources,
                      const km_generate_options *options, bool show_progress, km_answer_hook *answer,
                      void *payload) {
    generation g = {.comm = comm, .bundle = bundle, .options = options, .answer = answer, .payload = payload};
    share_sources(&g, sources);
    make_groups(&g);
    km_status status = km_comm_agree(comm, make_generator(&g));
    if (status == KM_OK && show_progress && km_comm_rank(comm) == 0) {
        g.progress = km_progress_create("generate", 0, g.sources.count);
    }
    status = status == KM_OK ? run(&g) : status;
    free_all(&g);
    return status;
}
