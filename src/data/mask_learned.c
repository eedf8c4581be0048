/* Masks by a policy that was learned from answers (Q. Ye et al., "On the influence of masking policies in intermediate pre-training", EMNLP
 * 2021, section 4.2), drawn from the marks of a row, which src/policy makes: a mask hides one of the row's mask.top best spans; K masks
 * hide K different ones, of the best K where top is less. */
#include "mask.h"

#include <stdlib.h>

typedef struct learned_masker {
    km_masker masker;
    void *marks; /* of one row */
    int *order;
} learned_masker;

static km_status create(km_masker **out, const km_mask_spec *spec, const km_corpus *corpus, int length) {
    (void)corpus;
    learned_masker *self = km_new(1, sizeof *self);
    const size_t bytes = spec->marks != NULL ? km_marks_bytes(spec->marks) : 0;
    self->marks = km_new(KM_MAX(bytes, 1), 1);
    self->order = km_new((size_t)KM_MAX(KM_MAX(spec->top, spec->splits), length), sizeof *self->order);
    *out = &self->masker;
    return KM_OK;
}

static void destroy(km_masker *masker) {
    learned_masker *self = (learned_masker *)masker;
    free(self->marks);
    free(self->order);
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
