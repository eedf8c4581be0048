/* Greedy and beam search for one source. Scores are floats and are added as transformers adds them, so that both programs agree on
 * every comparison that is no tie. */
#include "beam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What transformers takes for "never": it is added to the scores of what must not be chosen. */
static const float NEVER = -1.0e9f;

/* A hypothesis and its next token. */
typedef struct candidate {
    float score;
    int beam;
    int32_t id;
    bool ends;
} candidate;

struct km_search {
    const km_generate_options *options;
    int V;
    int length; /* tokens of each running hypothesis */
    bool over;
    km_hypothesis *running, *next_running;   /* (beams), best first */
    km_hypothesis *complete, *next_complete; /* (beams), best first; where there is none yet the score is NEVER */
    int *parents;                            /* (beams) of the running ones */
    int candidate_count;                     /* km_search_candidates */
    candidate *candidates;                   /* (candidate_count), best first */
    float *scores;                           /* (beams + candidate_count) scratch */
    int *chosen;                             /* (beams) scratch */
    int32_t *ids;                            /* of all hypotheses */
};

/* ---- Memory ------------------------------------------------------------------------------------------------------- */

static km_hypothesis *hypotheses(km_search *s, int32_t **ids) {
    km_hypothesis *list = km_new((size_t)s->options->beams, sizeof *list);
    for (int b = 0; b < s->options->beams; b++) {
        list[b].ids = *ids;
        *ids += s->options->max_length;
    }
    return list;
}

int km_search_candidates(const km_generate_options *options) {
    return (2 + options->more_end_count) * options->beams;
}

km_search *km_search_create(const km_generate_options *options, int V) {
    const size_t beams = (size_t)options->beams;
    km_search *s = km_new(1, sizeof *s);
    s->options = options;
    s->V = V;
    s->ids = km_new(4 * beams * (size_t)options->max_length, sizeof *s->ids);
    int32_t *ids = s->ids;
    s->running = hypotheses(s, &ids);
    s->next_running = hypotheses(s, &ids);
    s->complete = hypotheses(s, &ids);
    s->next_complete = hypotheses(s, &ids);
    s->parents = km_new(beams, sizeof *s->parents);
    s->candidate_count = km_search_candidates(options);
    s->candidates = km_new((size_t)s->candidate_count, sizeof *s->candidates);
    s->scores = km_new(beams + (size_t)s->candidate_count, sizeof *s->scores);
    s->chosen = km_new(beams, sizeof *s->chosen);
    return s;
}

void km_search_destroy(km_search *s) {
    if (s != NULL) {
        free(s->running);
        free(s->next_running);
        free(s->complete);
        free(s->next_complete);
        free(s->parents);
        free(s->candidates);
        free(s->scores);
        free(s->chosen);
        free(s->ids);
        free(s);
    }
}

/* All beams begin alike; only the first one's continuations count. */
void km_search_begin(km_search *s) {
    s->length = 1;
    s->over = false;
    for (int b = 0; b < s->options->beams; b++) {
        km_hypothesis *running = &s->running[b], *complete = &s->complete[b];
        running->ids[0] = complete->ids[0] = s->options->start;
        running->count = complete->count = 1;
        running->score = b == 0 ? 0.0f : NEVER;
        complete->score = NEVER;
        running->complete = complete->complete = false;
        s->parents[b] = 0;
    }
}

/* ---- What may come next --------------------------------------------------------------------------------------------- */

static void force(float *scores, int V, int32_t id) {
    for (int v = 0; v < V; v++) {
        scores[v] = -INFINITY;
    }
    scores[id] = 0;
}

/* A token is banned that would end a run of n tokens which the hypothesis has already. */
static void ban_repeats(float *scores, const int32_t *ids, int count, int n) {
    const int32_t *last = ids + count - (n - 1);
    for (int i = 0; i + n <= count; i++) {
        if (memcmp(ids + i, last, (size_t)(n - 1) * sizeof *ids) == 0) {
            scores[ids[i + n - 1]] = -INFINITY;
        }
    }
}

/* In the order in which transformers applies its logits processors. */
static void constrain(const km_search *s, float *scores, const int32_t *ids) {
    const km_generate_options *o = s->options;
    if (o->no_repeat_ngram > 0 && s->length >= o->no_repeat_ngram) {
        ban_repeats(scores, ids, s->length, o->no_repeat_ngram);
    }
    if (s->length < o->min_length) {
        for (int i = 0; i <= o->more_end_count; i++) {
            scores[i == 0 ? o->end : o->more_ends[i - 1]] = -INFINITY;
        }
    }
    if (s->length == 1 && o->forced_first >= 0) {
        force(scores, s->V, o->forced_first);
    }
    if (s->length == o->max_length - 1 && o->forced_last >= 0) {
        force(scores, s->V, o->forced_last);
    }
}

/* ---- Steps ---------------------------------------------------------------------------------------------------------- */

int km_search_rows(const km_search *s) {
    return s->over ? 0 : s->length == 1 ? 1 : s->options->beams;
}

int32_t km_search_id(const km_search *s, int row) {
    return s->running[row].ids[s->length - 1];
}

int km_search_parent(const km_search *s, int row) {
    return s->parents[row];
}

const km_hypothesis *km_search_answer(const km_search *s) {
    return s->complete[0].complete ? &s->complete[0] : &s->running[0];
}

static float penalized(const km_search *s, float score, int generated) {
    return score / (float)pow(generated, s->options->length_penalty);
}

static bool ends(const km_search *s, int32_t id) {
    bool found = id == s->options->end || s->length + 1 >= s->options->max_length;
    for (int i = 0; i < s->options->more_end_count && !found; i++) {
        found = id == s->options->more_ends[i];
    }
    return found;
}

/* *to = hypothesis `beam` with the candidate's token behind it. */
static void extend(const km_search *s, km_hypothesis *to, const candidate *c, float score, bool complete) {
    memcpy(to->ids, s->running[c->beam].ids, (size_t)s->length * sizeof *to->ids);
    to->ids[s->length] = c->id;
    to->count = s->length + 1;
    to->score = score;
    to->complete = complete;
}

static void copy(km_hypothesis *to, const km_hypothesis *from) {
    memcpy(to->ids, from->ids, (size_t)from->count * sizeof *to->ids);
    to->count = from->count;
    to->score = from->score;
    to->complete = from->complete;
}

static void swap(km_hypothesis **a, km_hypothesis **b) {
    km_hypothesis *list = *a;
    *a = *b;
    *b = list;
}

static void insert(candidate *list, int *count, int most, candidate c) {
    int place = *count < most ? (*count)++ : most - 1;
    for (; place > 0 && list[place - 1].score < c.score; place--) {
        list[place] = list[place - 1];
    }
    list[place] = c;
}

/* The best continuations of all running hypotheses: so many that enough are left when some end. Of equal ones
 * the one of the better hypothesis and then the lower id comes first. */
static void choose(km_search *s, const float *scores) {
    const int beams = s->options->beams, most = s->candidate_count;
    int count = 0;
    for (int b = 0; b < beams; b++) {
        const float *row = scores + (s->length == 1 ? 0 : (size_t)b * (size_t)s->V);
        const float before = s->running[b].score;
        for (int32_t id = 0; id < s->V; id++) {
            const float score = row[id] + before;
            if (count < most || score > s->candidates[most - 1].score) {
                insert(s->candidates, &count, most, (candidate){score, b, id, ends(s, id)});
            }
        }
    }
}

/* Indices of the `most` largest values, largest first; of equal ones the lower index comes first. */
static void largest(int *out, int most, const float *values, int count) {
    int found = 0;
    for (int i = 0; i < count; i++) {
        int place = found < most ? found++ : values[i] > values[out[most - 1]] ? most - 1 : -1;
        if (place >= 0) {
            for (; place > 0 && values[out[place - 1]] < values[i]; place--) {
                out[place] = out[place - 1];
            }
            out[place] = i;
        }
    }
}

/* Candidates that do not end go on. */
static void continue_running(km_search *s) {
    const int beams = s->options->beams;
    for (int i = 0; i < s->candidate_count; i++) {
        s->scores[i] = s->candidates[i].score + (s->candidates[i].ends ? NEVER : 0.0f);
    }
    largest(s->chosen, beams, s->scores, s->candidate_count);
    for (int b = 0; b < beams; b++) {
        const candidate *c = &s->candidates[s->chosen[b]];
        extend(s, &s->next_running[b], c, s->scores[s->chosen[b]], false);
        s->parents[b] = c->beam;
    }
}

/* Candidates that end compete with earlier answers, if they are among the best as many as there are beams. */
static void collect_complete(km_search *s) {
    const int beams = s->options->beams;
    for (int b = 0; b < beams; b++) {
        s->scores[b] = s->complete[b].score;
    }
    for (int i = 0; i < s->candidate_count; i++) {
        const float score = penalized(s, s->candidates[i].score, s->length);
        s->scores[beams + i] = score + (s->candidates[i].ends && i < beams ? 0.0f : NEVER);
    }
    largest(s->chosen, beams, s->scores, beams + s->candidate_count);
    for (int b = 0; b < beams; b++) {
        const int i = s->chosen[b] - beams;
        if (i < 0) {
            copy(&s->next_complete[b], &s->complete[s->chosen[b]]);
        } else {
            extend(s, &s->next_complete[b], &s->candidates[i], s->scores[s->chosen[b]],
                   s->candidates[i].ends && i < beams);
        }
    }
}

/* Whether a running hypothesis, with its present score and length, would be among the complete ones. */
static bool may_improve(const km_search *s) {
    const int beams = s->options->beams;
    const float best = penalized(s, s->running[0].score, s->length - 1);
    bool full = true;
    for (int b = 0; b < beams; b++) {
        full = full && s->complete[b].complete;
    }
    return best > (full ? s->complete[beams - 1].score : NEVER);
}

static bool all_end(const km_search *s) {
    bool all = true;
    for (int i = 0; i < s->candidate_count; i++) {
        all = all && s->candidates[i].ends;
    }
    return all;
}

static void advance_beams(km_search *s, const float *scores) {
    choose(s, scores);
    continue_running(s);
    collect_complete(s);
    swap(&s->running, &s->next_running);
    swap(&s->complete, &s->next_complete);
    s->length++;
    s->over = all_end(s) || !may_improve(s);
}

/* The likeliest token, and the answer is complete with the first that ends it. */
static void advance_greedy(km_search *s, const float *scores) {
    candidate best = {.score = -INFINITY};
    for (int32_t id = 0; id < s->V; id++) {
        if (scores[id] > best.score) {
            best = (candidate){scores[id], 0, id, false};
        }
    }
    s->over = ends(s, best.id);
    extend(s, &s->next_running[0], &best, s->running[0].score + best.score, s->over);
    swap(&s->running, &s->next_running);
    s->length++;
    if (s->over) {
        copy(&s->complete[0], &s->running[0]);
        s->complete[0].score = penalized(s, s->running[0].score, s->length - 1);
    }
}

void km_search_advance(km_search *s, float *scores) {
    const int rows = km_search_rows(s);
    for (int r = 0; r < rows; r++) {
        constrain(s, scores + (size_t)r * (size_t)s->V, s->running[r].ids);
    }
    (s->options->beams == 1 ? advance_greedy : advance_beams)(s, scores);
}
