/* Filling a batch: its arrays lie in one block, sized by the source's limits. */
#include "builder.h"

#include <assert.h>
#include <stdlib.h>

/* ---- Room ---- */

static void place_stream(km_stream_room *room, km_arena *arena, size_t views, size_t tokens) {
    room->starts = km_arena_take(arena, views + 1, sizeof *room->starts);
    room->ids = km_arena_take(arena, tokens, sizeof *room->ids);
    room->types = km_arena_take(arena, tokens, sizeof *room->types);
    room->keys = km_arena_take(arena, tokens, sizeof *room->keys);
}

static void place(km_batch_builder *builder, km_arena *arena) {
    const km_batch_limits *most = &builder->limits;
    const size_t views = (size_t)most->views, labelled = (size_t)most->labelled;
    place_stream(&builder->input, arena, views, (size_t)most->tokens);
    place_stream(&builder->decoder, arena, views, (size_t)most->decoder_tokens);
    builder->at = km_arena_take(arena, labelled, sizeof *builder->at);
    builder->labels = km_arena_take(arena, labelled, sizeof *builder->labels);
    builder->weights = km_arena_take(arena, labelled, sizeof *builder->weights);
    builder->classes = km_arena_take(arena, views, sizeof *builder->classes);
    builder->numbers = km_arena_take(arena, views, sizeof *builder->numbers);
    builder->rows = km_arena_take(arena, views, sizeof *builder->rows);
}

km_status km_batch_builder_reserve(km_batch_builder *builder, const km_batch_limits *most) {
    km_arena arena = {0};
    builder->limits = *most;
    place(builder, &arena);
    arena.capacity = arena.used;
    arena.used = 0;
    KM_TRY(km_allocate(&builder->block, arena.capacity, "a batch"));
    arena.base = builder->block;
    place(builder, &arena);
    km_batch_builder_clear(builder);
    return KM_OK;
}

void km_batch_builder_free(km_batch_builder *builder) {
    free(builder->block);
    *builder = (km_batch_builder){0};
}

static km_stream empty(const km_stream_room *room) {
    room->starts[0] = 0;
    return (km_stream){.starts = room->starts, .ids = room->ids, .keys = room->keys};
}

void km_batch_builder_clear(km_batch_builder *builder) {
    builder->batch = (km_batch){.input = empty(&builder->input),
                                .decoder = empty(&builder->decoder),
                                .at = builder->at,
                                .labels = builder->labels,
                                .rows = builder->rows};
}

/* ---- Views ---- */

void km_view_begin(km_batch_builder *builder, uint64_t number, uint64_t row) {
    assert(builder->batch.views < builder->limits.views);
    builder->view = number;
    builder->rows[builder->batch.views] = row;
}

/* The view's place within the stream is its key's low part. */
static void add(km_batch_builder *builder, km_stream *stream, const km_stream_room *room, int32_t id) {
    const int token = stream->tokens++;
    room->ids[token] = id;
    room->types[token] = 0;
    room->keys[token] = builder->view * 65536 + (uint64_t)(token - room->starts[builder->batch.views]);
    builder->last = token;
}

void km_view_add(km_batch_builder *builder, int32_t id, int32_t type) {
    km_stream *stream = &builder->batch.input;
    assert(stream->tokens < builder->limits.tokens);
    add(builder, stream, &builder->input, id);
    if (type != 0) {
        builder->input.types[stream->tokens - 1] = type;
        stream->types = builder->input.types;
    }
}

void km_view_add_decoder(km_batch_builder *builder, int32_t id) {
    km_stream *stream = &builder->batch.decoder;
    assert(stream->tokens < builder->limits.decoder_tokens);
    add(builder, stream, &builder->decoder, id);
}

void km_view_label(km_batch_builder *builder, int32_t label) {
    km_batch *batch = &builder->batch;
    assert(batch->labelled < builder->limits.labelled);
    builder->at[batch->labelled] = builder->last;
    builder->weights[batch->labelled] = 1;
    builder->labels[batch->labelled++] = label;
}

void km_view_weight(km_batch_builder *builder, float weight) {
    km_batch *batch = &builder->batch;
    assert(batch->labelled > 0);
    if (weight < 1 || weight > 1) {
        builder->weights[batch->labelled - 1] = weight;
        batch->weights = builder->weights;
    }
}

void km_view_class(km_batch_builder *builder, int32_t label) {
    builder->classes[builder->batch.views] = label;
    builder->batch.classes = builder->classes;
}

void km_view_number(km_batch_builder *builder, float number) {
    builder->numbers[builder->batch.views] = number;
    builder->batch.numbers = builder->numbers;
}

static void end(km_stream *stream, const km_stream_room *room, int views) {
    const int length = stream->tokens - room->starts[views];
    stream->longest = KM_MAX(stream->longest, length);
    room->starts[views + 1] = stream->tokens;
}

void km_view_end(km_batch_builder *builder) {
    km_batch *batch = &builder->batch;
    end(&batch->input, &builder->input, batch->views);
    end(&batch->decoder, &builder->decoder, batch->views);
    batch->views++;
}
