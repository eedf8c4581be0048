#include "views.h"

#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void list_specials(km_replacement *out, km_specials special) {
    int32_t ids[] = {special.pad, special.unk, special.cls, special.sep, special.mask};
    qsort(ids, KM_COUNT(ids), sizeof ids[0], ascending);
    for (size_t i = 0; i < KM_COUNT(ids); i++) {
        bool there = ids[i] >= 0 && ids[i] < out->vocabulary;
        bool again = out->special_count > 0 && out->specials[out->special_count - 1] == ids[i];
        if (there && !again) {
            out->specials[out->special_count++] = ids[i];
        }
    }
}

km_status km_replacement_init(km_replacement *out, const km_corpus *corpus, double by_mask, double by_random) {
    const double rounding = 1e-9; /* 0.7 + 0.2 + 0.1 is a little above 1 */
    if (!(by_mask >= 0 && by_random >= 0 && by_mask + by_random <= 1 + rounding)) {
        return km_fail(
            KM_USAGE, "mask.replace_mask %g and mask.replace_random %g are shares: from 0, and at most 1 together.",
            by_mask, by_random);
    }
    const km_tokenizer *tokenizer = km_corpus_tokenizer(corpus);
    km_specials special = km_tokenizer_specials(tokenizer);
    *out = (km_replacement){.origin = km_corpus_path(corpus),
                            .mask = special.mask,
                            .vocabulary = km_tokenizer_size(tokenizer),
                            .by_mask = by_mask,
                            .by_random = by_random};
    if (special.mask < 0 || special.mask >= out->vocabulary) {
        return km_fail(KM_FAILED,
                       "%s: the tokenizer of this corpus has no [MASK]. Build the corpus with one that has.",
                       out->origin);
    }
    list_specials(out, special);
    if (by_random > 0 && out->special_count >= out->vocabulary) {
        return km_fail(KM_FAILED,
                       "%s: the vocabulary holds special tokens only, so mask.replace_random finds none.",
                       out->origin);
    }
    return KM_OK;
}

km_status km_replacement_check(const km_replacement *replacement, const km_row *row) {
    for (int p = 0; p < row->length; p++) {
        if (row->ids[p] < 0 || row->ids[p] >= replacement->vocabulary) {
            return km_fail_kind(
                KM_ERROR_DAMAGED,
                "%s: row %llu holds token id %d, but its vocabulary has %d pieces. The file is damaged; "
                "build it again with `kmask corpus build`.",
                replacement->origin, (unsigned long long)row->number, (int)row->ids[p],
                (int)replacement->vocabulary);
        }
    }
    return KM_OK;
}

static void place(km_batch_room *room, km_arena *arena, const km_batch_limits *most) {
    const size_t views = (size_t)most->views, tokens = (size_t)most->tokens, labelled = (size_t)most->labelled;
    room->starts = km_arena_take(arena, views + 1, sizeof *room->starts);
    room->ids = km_arena_take(arena, tokens, sizeof *room->ids);
    room->at = km_arena_take(arena, labelled, sizeof *room->at);
    room->labels = km_arena_take(arena, labelled, sizeof *room->labels);
    room->keys = km_arena_take(arena, tokens, sizeof *room->keys);
    room->rows = km_arena_take(arena, views, sizeof *room->rows);
}

km_status km_batch_room_reserve(km_batch_room *room, const km_batch_limits *most) {
    km_arena arena = {0};
    place(room, &arena, most);
    arena.capacity = arena.used;
    arena.used = 0;
    void *block = NULL;
    KM_TRY(km_allocate(&block, arena.capacity, "a batch"));
    room->block = arena.base = block;
    place(room, &arena, most);
    km_batch_room_clear(room);
    return KM_OK;
}

void km_batch_room_free(km_batch_room *room) {
    free(room->block);
    *room = (km_batch_room){0};
}

void km_batch_room_clear(km_batch_room *room) {
    room->starts[0] = 0;
    room->batch = (km_batch){.input = {.starts = room->starts, .ids = room->ids, .keys = room->keys},
                             .at = room->at,
                             .labels = room->labels,
                             .rows = room->rows};
}

/* Uniform over the vocabulary without its special tokens. */
static int32_t random_token(const km_replacement *replacement, km_rng *rng) {
    int32_t id = (int32_t)km_rng_below(rng, (uint32_t)(replacement->vocabulary - replacement->special_count));
    for (int i = 0; i < replacement->special_count; i++) {
        id += id >= replacement->specials[i];
    }
    return id;
}

static int32_t replace(int32_t id, const km_replacement *replacement, km_rng *rng) {
    if (replacement->by_mask >= 1) {
        return replacement->mask;
    }
    double ticket = km_rng_unit(rng);
    if (ticket < replacement->by_mask) {
        return replacement->mask;
    }
    return ticket < replacement->by_mask + replacement->by_random ? random_token(replacement, rng) : id;
}

void km_batch_room_add(km_batch_room *room, const km_row *row, const uint8_t *mask, uint64_t number,
                       const km_replacement *replacement, km_rng *rng) {
    km_batch *batch = &room->batch;
    for (int p = 0; p < row->length; p++) {
        int token = batch->input.tokens + p;
        room->ids[token] = row->ids[p];
        room->keys[token] = number * 65536 + (uint64_t)p;
        if (mask[p]) {
            room->at[batch->labelled] = token;
            room->labels[batch->labelled++] = row->ids[p];
            room->ids[token] = replace(row->ids[p], replacement, rng);
        }
    }
    batch->input.tokens += row->length;
    batch->input.longest = KM_MAX(batch->input.longest, row->length);
    room->rows[batch->views++] = row->number;
    room->starts[batch->views] = batch->input.tokens;
}
