/* attention_head: one head of one view, and where its parts of the matrices begin. attention.c and attention_bf16.c share it. */
#ifndef KMASK_KERNEL_ATTENTION_HEAD_H
#define KMASK_KERNEL_ATTENTION_HEAD_H

#include "attention_rows.h"
#include "dropout.h"
#include "panel.h"
#include "vector.h"

#include <math.h>

typedef struct km_attention_head {
    const km_attention *shape;
    int first_query, queries, first_key, keys; /* rows of q, and of k and v */
    int number;                                /* which of the H heads */
    float scale;                               /* 1/sqrt(D) */
} km_attention_head;

/* The first head of a view. */
KM_INLINE km_attention_head km_attention_head_of_view(const km_attention *shape, int view) {
    return (km_attention_head){.shape = shape,
                               .first_query = shape->q_starts[view],
                               .queries = shape->q_starts[view + 1] - shape->q_starts[view],
                               .first_key = shape->k_starts[view],
                               .keys = shape->k_starts[view + 1] - shape->k_starts[view],
                               .scale = 1.0f / sqrtf((float)shape->D)};
}

/* Elements from one row of scores of T keys to the next. It is not a power of two, for which rows would fall into the same
 * cache sets. */
KM_INLINE size_t km_attention_head_scores_ld(int T) {
    return km_panel_width(T) + KM_LANES;
}

/* How many queries the block has that begins with query `at`. */
KM_INLINE int km_attention_head_block(const km_attention_head *h, int at) {
    return h->queries - at < KM_ATTENTION_ROWS ? h->queries - at : KM_ATTENTION_ROWS;
}

/* How many keys of the view the products of a block of queries take: all, or those that its last query sees, in whole panels. */
KM_INLINE int km_attention_head_keys(const km_attention_head *h, int at, int rows) {
    if (h->shape->visible == NULL) {
        return h->keys;
    }
    const int seen = h->shape->visible[h->first_query + at + rows - 1];
    const int whole = (seen + KM_PANEL - 1) / KM_PANEL * KM_PANEL;
    return whole < h->keys ? whole : h->keys;
}

/* The index of query `at` of the head in arrays with one entry for every query and head, such as lse. */
KM_INLINE size_t km_attention_head_row(const km_attention_head *h, int at) {
    return (size_t)(h->first_query + at) * (size_t)h->shape->H + (size_t)h->number;
}

/* How many elements are before the head's columns of query `at`, and of the view's first key. */
KM_INLINE size_t km_attention_head_at_query(const km_attention_head *h, int at, int ld) {
    return (size_t)(h->first_query + at) * (size_t)ld + (size_t)h->number * (size_t)h->shape->D;
}
KM_INLINE size_t km_attention_head_at_key(const km_attention_head *h) {
    return (size_t)h->first_key * (size_t)h->shape->ldk + (size_t)h->number * (size_t)h->shape->D;
}

/* What attention_rows.h has to know about queries at..at+rows-1 and the first T keys. */
KM_INLINE km_score_rows km_attention_head_score_rows(const km_attention_head *h, int at, int rows, int T) {
    const km_attention *s = h->shape;
    const bool drops = s->dropout.p > 0;
    return (km_score_rows){.rows = rows,
                           .T = T,
                           .ld = km_attention_head_scores_ld(h->keys),
                           .scale = h->scale,
                           .seen = s->seen == NULL ? NULL : s->seen + h->first_key,
                           .visible = s->visible == NULL ? NULL : s->visible + h->first_query + at,
                           .kept = drops ? s->kept + km_attention_head_row(h, at) * (size_t)s->kept_words : NULL,
                           .kept_row = (size_t)s->H * (size_t)s->kept_words,
                           .kept_scale = drops ? km_dropout_rule_of(s->dropout.p).scale : 1.0f,
                           .lse_row = (size_t)s->H};
}

/* Draws which probabilities of queries at..at+rows-1 and the first T keys dropout keeps. */
KM_INLINE void km_attention_head_draw_kept(const km_attention_head *h, int at, int rows, int T) {
    const km_attention *s = h->shape;
    for (int r = at; r < at + rows && s->dropout.p > 0; r++) {
        uint16_t *kept = s->kept + km_attention_head_row(h, r) * (size_t)s->kept_words;
        for (int t = 0; t < T; t += KM_DROPOUT_STRETCH) {
            km_dropout_bits(kept + t / 16, &s->dropout, s->keys[h->first_query + r],
                            (uint32_t)h->number * 65536u + (uint32_t)t);
        }
    }
}

#endif
