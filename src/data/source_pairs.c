/* Pairs of a source and a target as a source of batches: their order is a function of the seed and the epoch. */
#include "builder.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

typedef struct pair_source {
    km_source source;
    km_source_pairs_options options;
    const km_pair *pairs;
    size_t count;
    int longest, longest_target;
} pair_source;

static km_status make(km_source *source, uint64_t number, km_batch_builder *out) {
    const pair_source *self = (const pair_source *)source;
    const uint64_t count = self->count;
    const size_t index = (size_t)km_order(number % count, count, self->options.seed, number / count);
    const km_pair *pair = &self->pairs[index];
    km_view_begin(out, number, index);
    for (int i = 0; i < pair->length; i++) {
        km_view_add(out, pair->ids[i], 0);
    }
    for (int i = 0; i < pair->target_length; i++) {
        km_view_add_decoder(out, i == 0 ? self->options.decoder_start : pair->target[i - 1]);
        km_view_label(out, pair->target[i]);
    }
    km_view_end(out);
    return KM_OK;
}

static km_status limits(const km_source *source, int views, km_batch_limits *out) {
    const pair_source *self = (const pair_source *)source;
    if (views > INT_MAX / KM_MAX(self->longest, self->longest_target)) {
        return km_fail(KM_USAGE,
                       "%d pairs of up to %d and %d tokens are more than a batch can count. Lower the batch.",
                       views, self->longest, self->longest_target);
    }
    *out = (km_batch_limits){.views = views,
                             .tokens = views * self->longest,
                             .longest = self->longest,
                             .decoder_tokens = views * self->longest_target,
                             .decoder_longest = self->longest_target,
                             .labelled = views * self->longest_target};
    return KM_OK;
}

static void destroy(km_source *source) {
    free(source);
}

km_status km_source_pairs_create(km_source **out, const km_pair *pairs, size_t count,
                                 const km_source_pairs_options *options) {
    assert(count > 0);
    pair_source *self = km_new(1, sizeof *self);
    self->source = (km_source){.limits = limits, .make = make, .destroy = destroy};
    self->options = *options;
    self->pairs = pairs;
    self->count = count;
    for (size_t i = 0; i < count; i++) {
        self->longest = KM_MAX(self->longest, pairs[i].length);
        self->longest_target = KM_MAX(self->longest_target, pairs[i].target_length);
    }
    *out = &self->source;
    return KM_OK;
}
