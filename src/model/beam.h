/* Private to model/: the search for one source's answer, greedy or by beams, step by step. It knows nothing of models: log
 * probabilities of next tokens come in, and what to read next comes out. The rules are those of transformers 5's generate
 * (GenerationMixin._sample and _beam_search) with early_stopping off. */
#ifndef KMASK_MODEL_BEAM_H
#define KMASK_MODEL_BEAM_H

#include "kmask/model.h"

/* An answer, complete or not. */
typedef struct km_hypothesis {
    int32_t *ids; /* (max_length) */
    int count;
    float score;   /* sum of log probabilities; of a complete answer divided by the length penalty */
    bool complete; /* it was ended, or has max_length tokens */
} km_hypothesis;

typedef struct km_search km_search;
/* How many continuations a step considers: enough for all beams to go on, even if every beam's likeliest ones end. */
int km_search_candidates(const km_generate_options *options);
/* V: ids are 0..V-1. `options` has to stay; they have been checked. The caller destroys. */
km_search *km_search_create(const km_generate_options *options, int V);
void km_search_destroy(km_search *search); /* NULL is fine */
void km_search_begin(km_search *search);   /* anew */

/* Hypotheses whose next token has to be predicted: one in the first step, then as many as beams; 0 when the answer is there. */
int km_search_rows(const km_search *search);
/* The last token of hypothesis `row`, and the number of the one in the step before that it continues. */
int32_t km_search_id(const km_search *search, int row);
int km_search_parent(const km_search *search, int row);
/* Takes log probabilities (rows,V), which are overwritten. */
void km_search_advance(km_search *search, float *scores);
const km_hypothesis *km_search_answer(const km_search *search); /* the best one */

#endif
