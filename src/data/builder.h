/* builder: a batch that is being filled. A view begins, its tokens and what is to be predicted of it follow, and it ends. */
#ifndef KMASK_DATA_BUILDER_H
#define KMASK_DATA_BUILDER_H

#include "kmask/data.h"

/* One stream of a batch, as it can be written. */
typedef struct km_stream_room {
    int32_t *starts, *ids, *types;
    uint64_t *keys;
} km_stream_room;

/* Zero-initialize; km_batch_builder_reserve allocates. */
struct km_batch_builder {
    km_batch batch; /* the views so far */
    km_batch_limits limits;
    void *block; /* all arrays; NULL: none yet */
    km_stream_room input, decoder;
    int32_t *at, *labels, *classes;
    float *numbers, *weights;
    uint64_t *rows;
    uint64_t view; /* the number of the view that has begun: its tokens are keyed by it */
    int last;      /* the token that was added last, in its stream */
};

km_status km_batch_builder_reserve(km_batch_builder *builder, const km_batch_limits *most) KM_NODISCARD;
void km_batch_builder_free(km_batch_builder *builder);
/* No views. */
void km_batch_builder_clear(km_batch_builder *builder);

/* A view begins: view `number` of the run, of this row or example. What follows goes to it. Going beyond the limits is a mistake of
 * the source. */
void km_view_begin(km_batch_builder *builder, uint64_t number, uint64_t row);
/* Adds a token to the input. The batch has token types once one that is not 0 was added. */
void km_view_add(km_batch_builder *builder, int32_t id, int32_t type);
/* Adds a token to what the decoder reads. */
void km_view_add_decoder(km_batch_builder *builder, int32_t id);
/* `label` is to be predicted at the token that was added last. All labels of a batch belong to one stream. */
void km_view_label(km_batch_builder *builder, int32_t label);
/* What the loss of the label that was added last is multiplied by; 1 where this is not called. The batch has weights once one that is not
 * 1 was given. */
void km_view_weight(km_batch_builder *builder, float weight);
/* The view's class, or its number: of a batch all views have one, or none has. */
void km_view_class(km_batch_builder *builder, int32_t label);
void km_view_number(km_batch_builder *builder, float number);
void km_view_end(km_batch_builder *builder);

#endif
