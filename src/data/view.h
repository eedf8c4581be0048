/* view: how a row under a mask becomes what a model sees and what it is to predict. This is the one place where that is decided. */
#ifndef KMASK_DATA_VIEW_H
#define KMASK_DATA_VIEW_H

#include "builder.h"

typedef struct km_view_rule {
    km_view_options options;
    bool only_hidden;    /* with a decoder, label the hidden tokens of the target alone: evaluation */
    const char *origin;  /* the corpus, for messages */
    int32_t mask;        /* id of [MASK] */
    int32_t cls, sep;    /* begin and end a row */
    int32_t vocabulary;  /* ids are 0..vocabulary-1 */
    int32_t specials[5]; /* those that are never drawn as random tokens: ascending, distinct */
    int special_count;
} km_view_rule;

/* KM_USAGE when the options do not fit together; `corpus` must live as long as `out`. */
km_status km_view_rule_init(km_view_rule *out, const km_corpus *corpus,
                            const km_view_options *options) KM_NODISCARD;
/* KM_FAILED with corpus and row when the row holds an id that the vocabulary does not have. */
km_status km_view_rule_check(const km_view_rule *rule, const km_row *row) KM_NODISCARD;
/* What no batch of `views` views exceeds, of rows of up to `length` tokens that are shown as up to `shown`, of which a mask hides up to
 * `hidden`. KM_USAGE where that is more than a batch can count. */
km_status km_view_rule_limits(const km_view_rule *rule, int views, int length, int shown, int hidden,
                              km_batch_limits *out) KM_NODISCARD;

/* Appends the row under mask k as view `number` of the run. What replaces each hidden token, or each piece, is drawn from `rng` in the
 * order in which they are shown. */
void km_view_append(km_batch_builder *builder, const km_view_rule *rule, const km_row *row, const km_masks *masks,
                    int k, uint64_t number, km_rng *rng);

#endif
