/* Views: a row with one of its masks applied, and its target. */
#include "view.h"
#include "mask.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

/* ---- The rule ---- */

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void list_specials(km_view_rule *out, km_specials special) {
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

static km_status check_options(const km_view_options *options) {
    const double by_mask = options->replace_mask, by_random = options->replace_random;
    if (!(by_mask >= 0 && by_random >= 0 && km_at_most(by_mask + by_random, 1))) {
        return km_fail(
            KM_USAGE, "mask.replace_mask %g and mask.replace_random %g are shares: from 0, and at most 1 together.",
            by_mask, by_random);
    }
    assert(!options->merge || options->target != KM_TARGET_TOKENS);
    return KM_OK;
}

km_status km_view_rule_init(km_view_rule *out, const km_corpus *corpus, const km_view_options *options) {
    KM_TRY(check_options(options));
    const km_tokenizer *tokenizer = km_corpus_tokenizer(corpus);
    km_specials special = km_tokenizer_specials(tokenizer);
    *out = (km_view_rule){.options = *options,
                          .origin = km_corpus_path(corpus),
                          .mask = special.mask,
                          .cls = special.cls,
                          .sep = special.sep,
                          .vocabulary = km_tokenizer_size(tokenizer)};
    if (special.mask < 0 || special.mask >= out->vocabulary) {
        return km_fail(KM_FAILED,
                       "%s: the tokenizer of this corpus has no [MASK]. Build the corpus with one that has.",
                       out->origin);
    }
    list_specials(out, special);
    if (options->replace_random > 0 && out->special_count >= out->vocabulary) {
        return km_fail(KM_FAILED,
                       "%s: the vocabulary holds special tokens only, so mask.replace_random finds none.",
                       out->origin);
    }
    return KM_OK;
}

km_status km_view_rule_check(const km_view_rule *rule, const km_row *row) {
    for (int p = 0; p < row->length; p++) {
        if (row->ids[p] < 0 || row->ids[p] >= rule->vocabulary) {
            return km_fail_kind(
                KM_ERROR_DAMAGED,
                "%s: row %llu holds token id %d, but its vocabulary has %d pieces. The file is damaged; "
                "build it again with `kmask corpus build`.",
                rule->origin, (unsigned long long)row->number, (int)row->ids[p], (int)rule->vocabulary);
        }
    }
    return KM_OK;
}

km_status km_view_rule_limits(const km_view_rule *rule, int views, int length, int shown, int hidden,
                              km_batch_limits *out) {
    const km_target target = rule->options.target;
    const int written = target == KM_TARGET_FULL ? length : target == KM_TARGET_MASKED ? hidden + 2 : 0;
    const int longest = KM_MAX(KM_MAX(shown, written), 1);
    if (views > INT_MAX / longest) {
        return km_fail(KM_USAGE,
                       "train.micro_batch %d times data.length %d is more than a batch can count. Lower it.", views,
                       length);
    }
    const bool tokens = target == KM_TARGET_TOKENS;
    *out = (km_batch_limits){.views = views,
                             .tokens = views * shown,
                             .longest = shown,
                             .decoder_tokens = views * written,
                             .decoder_longest = written,
                             .labelled = views * (tokens || rule->only_hidden ? hidden : written)};
    return KM_OK;
}

/* ---- What is shown ---- */

/* Uniform over the vocabulary without its special tokens. */
static int32_t random_token(const km_view_rule *rule, km_rng *rng) {
    int32_t id = (int32_t)km_rng_below(rng, (uint32_t)(rule->vocabulary - rule->special_count));
    for (int i = 0; i < rule->special_count; i++) {
        id += id >= rule->specials[i];
    }
    return id;
}

enum { STAYS = -1 };

/* What is shown instead of a hidden token or piece: an id, or STAYS. */
static int32_t replace(const km_view_rule *rule, km_rng *rng) {
    const double by_mask = rule->options.replace_mask, by_random = rule->options.replace_random;
    if (by_mask >= 1) {
        return rule->mask;
    }
    double ticket = km_rng_unit(rng);
    if (ticket < by_mask) {
        return rule->mask;
    }
    return ticket < by_mask + by_random ? random_token(rule, rng) : STAYS;
}

/* What is inserted hides nothing, so it cannot stay: it is random in proportion to the two shares. */
static int32_t replace_inserted(const km_view_rule *rule, km_rng *rng) {
    const double by_mask = rule->options.replace_mask, by_random = rule->options.replace_random;
    const bool random = by_random > 0 && km_rng_unit(rng) * (by_mask + by_random) >= by_mask;
    return random ? random_token(rule, rng) : rule->mask;
}

/* A view that is being made: the row in the order in which it is shown. */
typedef struct view {
    km_batch_builder *builder;
    const km_view_rule *rule;
    const km_row *row;
    const uint8_t *mask;
    const float *weights; /* NULL: all 1 */
    const int32_t *order; /* NULL: the row's */
    int count;
} view;

static int position(const view *v, int i) {
    return v->order == NULL ? i : v->order[i];
}

static bool is_hidden(const view *v, int i) {
    return i >= 0 && position(v, i) != KM_INSERTED && v->mask[position(v, i)] != KM_SEEN;
}

/* With merge, a hidden token that goes on with a piece is shown only where the whole piece stays. */
static void show(const view *v, km_rng *rng) {
    int32_t shown = STAYS;
    for (int i = 0; i < v->count; i++) {
        const int p = position(v, i);
        if (p == KM_INSERTED) {
            km_view_add(v->builder, replace_inserted(v->rule, rng), 0);
            continue;
        }
        const int32_t id = v->row->ids[p];
        const bool hidden = v->mask[p] != KM_SEEN;
        const bool goes_on = v->rule->options.merge && v->mask[p] == KM_HIDDEN && is_hidden(v, i - 1);
        if (hidden && !goes_on) {
            shown = replace(v->rule, rng);
        }
        if (!goes_on || shown == STAYS) {
            km_view_add(v->builder, hidden && shown != STAYS ? shown : id, 0);
        }
        if (hidden && v->rule->options.target == KM_TARGET_TOKENS) {
            km_view_label(v->builder, id);
            km_view_weight(v->builder, v->weights != NULL ? v->weights[p] : 1);
        }
    }
}

/* ---- What is to be predicted ---- */

/* The decoder reads `before` and is to predict `id` there. Returns id. */
static int32_t write(const view *v, int32_t before, int32_t id, bool labelled) {
    km_view_add_decoder(v->builder, before);
    if (labelled) {
        km_view_label(v->builder, id);
    }
    return id;
}

static void write_full(const view *v) {
    int32_t before = v->rule->options.decoder_start;
    for (int p = 0; p < v->row->length; p++) {
        before = write(v, before, v->row->ids[p], !v->rule->only_hidden || v->mask[p] != KM_SEEN);
    }
}

static void write_masked(const view *v) {
    int32_t before = write(v, v->rule->options.decoder_start, v->rule->cls, !v->rule->only_hidden);
    for (int i = 0; i < v->count; i++) {
        if (is_hidden(v, i)) {
            before = write(v, before, v->row->ids[position(v, i)], true);
        }
    }
    (void)write(v, before, v->rule->sep, !v->rule->only_hidden);
}

void km_view_append(km_batch_builder *builder, const km_view_rule *rule, const km_row *row, const km_masks *masks,
                    int k, uint64_t number, km_rng *rng) {
    const bool ordered = masks->orders != NULL;
    const view v = {.builder = builder,
                    .rule = rule,
                    .row = row,
                    .mask = masks->masks + (size_t)k * (size_t)masks->stride,
                    .weights = masks->weights != NULL ? masks->weights + (size_t)k * (size_t)masks->stride : NULL,
                    .order = ordered ? masks->orders + (size_t)k * (size_t)masks->order_stride : NULL,
                    .count = ordered ? masks->counts[k] : row->length};
    km_view_begin(builder, number, row->number);
    show(&v, rng);
    if (rule->options.target == KM_TARGET_FULL) {
        write_full(&v);
    } else if (rule->options.target == KM_TARGET_MASKED) {
        write_masked(&v);
    }
    km_view_end(builder);
}

/* ---- One view at a time ---- */

struct km_view_maker {
    km_view_rule rule;
    km_batch_builder builder;
    int length;
};

static km_status prepare(km_view_maker *maker, const km_corpus *corpus, int shown, const km_view_options *options) {
    km_batch_limits limits;
    KM_TRY(km_view_rule_init(&maker->rule, corpus, options));
    KM_TRY(km_view_rule_limits(&maker->rule, 1, maker->length, shown, maker->length, &limits));
    return km_batch_builder_reserve(&maker->builder, &limits);
}

km_status km_view_maker_create(km_view_maker **out, const km_corpus *corpus, int length, int shown,
                               const km_view_options *options) {
    km_view_maker *maker = km_new(1, sizeof *maker);
    maker->length = length;
    km_status status = prepare(maker, corpus, shown, options);
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

km_batch_limits km_view_maker_limits(const km_view_maker *maker) {
    return maker->builder.limits;
}

km_status km_view_maker_make(km_view_maker *maker, const km_row *row, const km_masks *masks, int k, uint64_t seed,
                             uint64_t visit, uint32_t index, const km_batch **out) {
    assert(row->length <= maker->length);
    KM_TRY(km_view_rule_check(&maker->rule, row));
    km_rng rng = km_view_rng(seed, visit, index, row->number);
    uint64_t name = km_mix64(km_mix64(visit + 1) + row->number) + index; /* dropout's: distinct for each view */
    km_batch_builder_clear(&maker->builder);
    km_view_append(&maker->builder, &maker->rule, row, masks, k, km_mix64(name) >> 16, &rng);
    *out = &maker->builder.batch;
    return KM_OK;
}
