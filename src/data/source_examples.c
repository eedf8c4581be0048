/* Labelled examples as a source: their order is a function of the seed and the epoch. */
#include "builder.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

typedef struct example_source {
    km_source source;
    km_source_examples_options options;
    const km_example *examples;
    size_t count;
    int longest;
} example_source;

static size_t place(const example_source *self, uint64_t number) {
    const uint64_t count = self->count, at = number % count;
    return (size_t)(self->options.ordered ? at : km_order(at, count, self->options.seed, number / count));
}

static km_status make(km_source *source, uint64_t number, km_batch_builder *out) {
    const example_source *self = (const example_source *)source;
    const size_t index = place(self, number);
    const km_example *example = &self->examples[index];
    km_view_begin(out, number, index);
    for (int i = 0; i < example->length; i++) {
        km_view_add(out, example->ids[i], i >= example->second);
    }
    if (self->options.numbers) {
        km_view_number(out, example->number);
    } else {
        km_view_class(out, example->label);
    }
    km_view_end(out);
    return KM_OK;
}

static km_status limits(const km_source *source, int views, km_batch_limits *out) {
    const example_source *self = (const example_source *)source;
    if (views > INT_MAX / self->longest) {
        return km_fail(KM_USAGE, "%d examples of up to %d tokens are more than a batch can count. Lower the batch.",
                       views, self->longest);
    }
    *out = (km_batch_limits){.views = views, .tokens = views * self->longest, .longest = self->longest};
    return KM_OK;
}

static void destroy(km_source *source) {
    free(source);
}

km_status km_source_examples_create(km_source **out, const km_example *examples, size_t count,
                                    const km_source_examples_options *options) {
    assert(count > 0);
    example_source *self = km_new(1, sizeof *self);
    self->source = (km_source){.limits = limits, .make = make, .destroy = destroy};
    self->options = *options;
    self->examples = examples;
    self->count = count;
    for (size_t i = 0; i < count; i++) {
        self->longest = KM_MAX(self->longest, examples[i].length);
    }
    *out = &self->source;
    return KM_OK;
}
