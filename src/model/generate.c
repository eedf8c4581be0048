/* Generation: the answers of a batch of sources, each found by a search of its own, with one decoder for all of them. */
#include "beam.h"
#include "decode.h"

#include "architecture.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BEAMS = 256 };

struct km_generator {
    const km_model *model;
    km_generate_options options;
    km_decoder *decoder;
    km_search **searches; /* (sources) */
    int sources;
    /* (sources beams) the rows of a step, and of which source they are; (sources) where each source's rows began one step ago */
    int32_t *ids, *row_sources, *parents, *first_rows;
    km_answers answers;
};

/* ---- Checks ----------------------------------------------------------------------------------------------------- */

static km_status check_decoder(const km_model *model) {
    if (model->stack_count < 2 || model->head->kind->forward == NULL ||
        model->head != &model->architecture->heads[KM_HEAD_TOKENS]) {
        return km_fail(KM_USAGE,
                       "a model of type \"%s\" cannot generate: it has no decoder with a head for tokens. Use an "
                       "encoder-decoder, such as one of type \"bart\".",
                       model->architecture->files.type);
    }
    return KM_OK;
}

static km_status check_number(const char *name, int value, int least, int most) {
    if (value < least || value > most) {
        return km_fail(KM_USAGE, "%s is %d; expected %d to %d for this model.", name, value, least, most);
    }
    return KM_OK;
}

/* forced_* come from the model's config, which has been checked; a tokenizer may lack an id. */
static km_status check_id(const km_model *model, const char *name, int32_t id, int32_t least) {
    if (id < least || id >= model->V) {
        return km_fail(KM_USAGE, "%s is %d; expected an id below the vocabulary's %d.", name, (int)id, model->V);
    }
    return KM_OK;
}

km_status km_generate_options_check(const km_model *model, const km_generate_options *o) {
    KM_TRY(check_decoder(model));
    const int positions = (int)model->architecture->longest(&model->config);
    KM_TRY(
        check_number("the number of beams", o->beams, 1, KM_MIN(MOST_BEAMS, model->V / (2 + o->more_end_count))));
    KM_TRY(check_number("the maximum length", o->max_length, 2, positions));
    KM_TRY(check_number("the minimum length", o->min_length, 0, o->max_length));
    KM_TRY(check_number("the length of n-grams that must not repeat", o->no_repeat_ngram, 0, positions));
    KM_TRY(check_id(model, "the id that an answer begins with", o->start, 0));
    KM_TRY(check_id(model, "the id that ends an answer", o->end, 0));
    for (int i = 0; i < o->more_end_count; i++) {
        KM_TRY(check_id(model, "an id that ends an answer", o->more_ends[i], 0));
    }
    KM_TRY(check_id(model, "forced_bos_token_id", o->forced_first, -1));
    return check_id(model, "forced_eos_token_id", o->forced_last, -1);
}

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

static void make_searches(km_generator *g) {
    const size_t sources = (size_t)g->sources, rows = sources * (size_t)g->options.beams;
    g->searches = km_new(sources, sizeof(km_search *));
    for (int i = 0; i < g->sources; i++) {
        g->searches[i] = km_search_create(&g->options, g->model->V);
    }
    g->ids = km_new(rows, sizeof *g->ids);
    g->row_sources = km_new(rows, sizeof *g->row_sources);
    g->parents = km_new(rows, sizeof *g->parents);
    g->first_rows = km_new(sources, sizeof *g->first_rows);
    g->answers.starts = km_new(sources + 1, sizeof *g->answers.starts);
    g->answers.ids = km_new(sources * (size_t)g->options.max_length, sizeof *g->answers.ids);
    g->answers.scores = km_new(sources, sizeof *g->answers.scores);
}

km_status km_generator_create(km_generator **out, const km_model *model, const km_generate_options *options,
                              const km_batch_limits *limits) {
    *out = NULL;
    KM_TRY(km_generate_options_check(model, options));
    const km_decoder_limits decoder = {.sources = limits->views,
                                       .tokens = limits->tokens,
                                       .longest = limits->longest,
                                       .rows = limits->views * options->beams,
                                       .steps = options->max_length - 1};
    km_decoder *made = NULL;
    KM_TRY(km_decoder_create(&made, model, &decoder));
    km_generator *g = km_new(1, sizeof *g);
    g->model = model;
    g->options = *options;
    g->decoder = made;
    g->sources = limits->views;
    make_searches(g);
    *out = g;
    return KM_OK;
}

void km_generator_destroy(km_generator *g) {
    if (g != NULL) {
        for (int i = 0; i < g->sources; i++) {
            km_search_destroy(g->searches[i]);
        }
        free(g->searches);
        free(g->ids);
        free(g->row_sources);
        free(g->parents);
        free(g->first_rows);
        free(g->answers.starts);
        free(g->answers.ids);
        free(g->answers.scores);
        km_decoder_destroy(g->decoder);
        free(g);
    }
}

/* ---- Steps ------------------------------------------------------------------------------------------------------ */

/* The rows of all searches that go on. */
static km_decoder_rows gather_rows(km_generator *g, int sources) {
    int count = 0;
    for (int i = 0; i < sources; i++) {
        const int first = count, rows = km_search_rows(g->searches[i]);
        for (int r = 0; r < rows; r++, count++) {
            g->ids[count] = km_search_id(g->searches[i], r);
            g->row_sources[count] = i;
            g->parents[count] = g->first_rows[i] + km_search_parent(g->searches[i], r);
        }
        g->first_rows[i] = first;
    }
    return (km_decoder_rows){count, g->ids, g->row_sources, g->parents};
}

static void advance(km_generator *g, int sources, float *scores) {
    for (int i = 0; i < sources; i++) {
        if (km_search_rows(g->searches[i]) > 0) {
            km_search_advance(g->searches[i], scores + (size_t)g->first_rows[i] * (size_t)g->model->V);
        }
    }
}

static void collect(km_generator *g, int sources) {
    km_answers *answers = &g->answers;
    answers->count = sources;
    for (int i = 0; i < sources; i++) {
        const km_hypothesis *best = km_search_answer(g->searches[i]);
        memcpy(answers->ids + answers->starts[i], best->ids, (size_t)best->count * sizeof *best->ids);
        answers->starts[i + 1] = answers->starts[i] + best->count;
        answers->scores[i] = best->score;
    }
}

const km_answers *km_generator_run(km_generator *g, const float *weights, const km_batch *batch) {
    km_decoder_begin(g->decoder, weights, batch);
    for (int i = 0; i < batch->views; i++) {
        km_search_begin(g->searches[i]);
    }
    for (km_decoder_rows rows = gather_rows(g, batch->views); rows.count > 0; rows = gather_rows(g, batch->views)) {
        advance(g, batch->views, km_decoder_step(g->decoder, &rows));
    }
    collect(g, batch->views);
    return &g->answers;
}
