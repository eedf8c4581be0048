/* Masks by policies that were learned (Q. Ye et al., "On the influence of masking policies in intermediate pre-training", EMNLP 2021).
 * Both draw from the marks of a row, which src/policy makes.
 *
 * supervised: one of the row's mask.top best spans; K masks hide K different ones, of the best K where top is less.
 * meta: the tokens for which the logit of masking is the larger one; with K > 1 masks, K draws in which each token is masked with its
 * probability. Masks take in whole words. Above half of the row's maskable tokens, words are uncovered at random until 30 % are left; a
 * mask that would hide nothing hides the likeliest word. */
#include "mask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct learned_masker {
    km_masker masker;
    void *marks; /* of one row */
    int *order;
    km_units *words;
} learned_masker;

static km_status create(km_masker **out, const km_mask_spec *spec, const km_corpus *corpus, int length) {
    (void)corpus;
    learned_masker *self = km_new(1, sizeof *self);
    const size_t bytes = spec->marks != NULL ? km_marks_bytes(spec->marks) : 0;
    self->marks = km_new(KM_MAX(bytes, 1), 1);
    self->order = km_new((size_t)KM_MAX(KM_MAX(spec->top, spec->splits), length), sizeof *self->order);
    self->words = km_units_create(length);
    *out = &self->masker;
    return KM_OK;
}

static void destroy(km_masker *masker) {
    learned_masker *self = (learned_masker *)masker;
    free(self->marks);
    free(self->order);
    km_units_destroy(self->words);
    free(self);
}

static km_status read_marks(learned_masker *self, const km_row *row, km_mark_kind kind) {
    const km_marks *marks = self->masker.spec.marks;
    if (marks == NULL || km_marks_kind(marks) != kind) {
        return km_fail(
            KM_USAGE,
            "mask.policy %s: the rows have no marks of such a policy. `kmask pretrain` and `kmask corpus "
            "show` make them from mask.model.",
            self->masker.policy->name);
    }
    return km_marks_read(marks, row->number, self->marks);
}

/* A span may be as long as the row. */
static int most_hidden(const km_mask_spec *spec, int tokens) {
    (void)spec;
    return tokens;
}

/* ---- Supervised ---- */

static void hide_span(const km_row *row, const km_mark_span *span, uint8_t *mask) {
    for (int p = span->begin; p < span->end && p < row->length; p++) {
        if (row->maskable[p]) {
            mask[p] = p == span->begin ? KM_PIECE : KM_HIDDEN;
        }
    }
}

/* The first `prefix` of `count` numbers, in uniform order. */
static void shuffle(int *order, int count, int prefix, km_rng *rng) {
    for (int i = 0; i < count; i++) {
        order[i] = i;
    }
    for (int i = 0; i < prefix; i++) {
        const int other = i + (int)km_rng_below(rng, (uint32_t)(count - i)), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

static km_status draw_spans(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out) {
    learned_masker *self = (learned_masker *)masker;
    const km_mark_span *spans = self->marks;
    const int splits = masker->spec.splits;
    KM_TRY(read_marks(self, row, KM_MARKS_SPANS));
    const int kept = (int)(km_marks_bytes(masker->spec.marks) / sizeof *spans);
    int count = 0;
    while (count < kept && count < KM_MAX(masker->spec.top, splits) && spans[count].end > spans[count].begin) {
        count++;
    }
    KM_TRY(km_mask_units_check(&masker->spec, row, KM_UNIT_SPAN, count));
    km_rng rng = km_visit_rng(visit, row->number);
    shuffle(self->order, count, splits, &rng);
    for (int k = 0; k < splits; k++) {
        hide_span(row, &spans[self->order[k]], out->masks + (size_t)k * (size_t)out->stride);
    }
    out->units = count;
    out->tau = 1;
    return KM_OK;
}

const km_mask_policy km_mask_supervised = {.name = "supervised",
                                           .help = "likely answers, by a policy that was learned from examples",
                                           .splits = 1,
                                           .ratio = 0.15,
                                           .needs_model = true,
                                           .target = KM_TARGET_MASKED,
                                           .most_hidden = most_hidden,
                                           .create = create,
                                           .draw = draw_spans,
                                           .destroy = destroy};

/* ---- Meta ---- */

static bool decide(int16_t mark, bool drawn, km_rng *rng) {
    return drawn ? km_rng_unit(rng) < 1 / (1 + exp(-(double)mark / KM_MARK_STEPS)) : mark > 0;
}

/* The largest mark of a word's tokens. */
static int likelihood(const int16_t *marks, km_range word) {
    int most = INT16_MIN;
    for (int p = word.begin; p < word.end; p++) {
        most = KM_MAX(most, marks[p]);
    }
    return most;
}

/* Fills order[] with the words to hide and returns their number. */
static int choose_words(learned_masker *self, bool drawn, km_rng *rng) {
    const int16_t *marks = self->marks;
    int count = 0, best = 0;
    for (int w = 0; w < self->words->count; w++) {
        const km_range word = self->words->ranges[w];
        bool hidden = false;
        for (int p = word.begin; p < word.end; p++) {
            hidden |= decide(marks[p], drawn, rng);
        }
        if (hidden) {
            self->order[count++] = w;
        }
        if (likelihood(marks, word) > likelihood(marks, self->words->ranges[best])) {
            best = w;
        }
    }
    if (count == 0 && self->words->count > 0) {
        self->order[count++] = best;
    }
    return count;
}

static int tokens_of(const learned_masker *self, const int *words, int count) {
    int tokens = 0;
    for (int i = 0; i < count; i++) {
        const km_range word = self->words->ranges[words != NULL ? words[i] : i];
        tokens += word.end - word.begin;
    }
    return tokens;
}

/* Takes words out at random, but never the last, until at most `most` tokens are hidden. */
static int uncover(learned_masker *self, int count, int most, km_rng *rng) {
    int tokens = tokens_of(self, self->order, count);
    while (count > 1 && tokens > most) {
        const int at = (int)km_rng_below(rng, (uint32_t)count);
        tokens -= tokens_of(self, self->order + at, 1);
        self->order[at] = self->order[--count];
    }
    return count;
}

static void hide_words(const learned_masker *self, int count, uint8_t *mask) {
    for (int i = 0; i < count; i++) {
        const km_range word = self->words->ranges[self->order[i]];
        memset(mask + word.begin, KM_HIDDEN, (size_t)(word.end - word.begin));
    }
}

static km_status draw_tokens(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out) {
    learned_masker *self = (learned_masker *)masker;
    const int splits = masker->spec.splits;
    KM_TRY(read_marks(self, row, KM_MARKS_TOKENS));
    km_units_find(self->words, row, KM_UNIT_WORD);
    const int all = tokens_of(self, NULL, self->words->count);
    km_rng rng = km_visit_rng(visit, row->number);
    for (int k = 0; k < splits; k++) {
        int count = choose_words(self, splits > 1, &rng);
        if (2 * tokens_of(self, self->order, count) > all) {
            count = uncover(self, count, (int)(0.3 * all), &rng);
        }
        hide_words(self, count, out->masks + (size_t)k * (size_t)out->stride);
        out->tau = k == 0 ? count : out->tau;
    }
    out->units = self->words->count;
    return KM_OK;
}

const km_mask_policy km_mask_meta = {.name = "meta",
                                     .help = "what a policy that was learned by meta-learning chooses",
                                     .unit = KM_UNIT_WORD,
                                     .splits = 1,
                                     .ratio = 0.15,
                                     .needs_model = true,
                                     .target = KM_TARGET_FULL,
                                     .most_hidden = most_hidden,
                                     .create = create,
                                     .draw = draw_tokens,
                                     .destroy = destroy};
