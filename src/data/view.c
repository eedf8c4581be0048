/* Views: a row with one of its masks applied. */
#include "view.h"
#include "mask.h"

#include <assert.h>
#include <stdlib.h>

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

km_status km_replacement_init(km_replacement *out, const km_corpus *corpus, const km_view_options *options) {
    const double by_mask = options->replace_mask, by_random = options->replace_random;
    if (!(by_mask >= 0 && by_random >= 0 && km_at_most(by_mask + by_random, 1))) {
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

void km_view_append(km_batch_builder *builder, const km_row *row, const uint8_t *mask, uint64_t number,
                    const km_replacement *replacement, km_rng *rng) {
    km_view_begin(builder, number, row->number);
    for (int p = 0; p < row->length; p++) {
        const int32_t id = row->ids[p];
        if (mask[p]) {
            km_view_add(builder, replace(id, replacement, rng), 0);
            km_view_label(builder, id);
        } else {
            km_view_add(builder, id, 0);
        }
    }
    km_view_end(builder);
}

/* ---- One view at a time ---- */

struct km_view_maker {
    km_replacement replacement;
    km_batch_builder builder;
    int length;
};

km_status km_view_maker_create(km_view_maker **out, const km_corpus *corpus, int length,
                               const km_view_options *options) {
    km_view_maker *maker = km_new(1, sizeof *maker);
    maker->length = length;
    const km_batch_limits limits = {.views = 1, .tokens = length, .longest = length, .labelled = length};
    km_status status = km_replacement_init(&maker->replacement, corpus, options);
    if (status == KM_OK) {
        status = km_batch_builder_reserve(&maker->builder, &limits);
    }
    if (status != KM_OK) {
        km_view_maker_destroy(maker);
        maker = NULL;
    }
    *out = maker;
    return status;
}

void km_view_maker_destroy(km_view_maker *maker) {
    if (maker != NULL) {
        km_batch_builder_free(&maker->builder);
        free(maker);
    }
}

km_status km_view_maker_make(km_view_maker *maker, const km_row *row, const uint8_t *mask, uint64_t seed,
                             uint64_t visit, uint32_t index, const km_batch **out) {
    assert(row->length <= maker->length);
    KM_TRY(km_replacement_check(&maker->replacement, row));
    km_rng rng = km_view_rng(seed, visit, index, row->number);
    uint64_t name = km_mix64(km_mix64(visit + 1) + row->number) + index; /* dropout's: distinct for each view */
    km_batch_builder_clear(&maker->builder);
    km_view_append(&maker->builder, row, mask, km_mix64(name) >> 16, &maker->replacement, &rng);
    *out = &maker->builder.batch;
    return KM_OK;
}
