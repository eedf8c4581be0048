/* variance_model: a model that is measured, and which of its parameters are chosen. */
#include "variance.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* ---- Chosen parameters -------------------------------------------------------------------------------------- */

static const char PROJECTIONS[] = "projections:";

static bool is_projection(const char *pattern) {
    return strncmp(pattern, PROJECTIONS, sizeof PROJECTIONS - 1) == 0;
}

static km_status read_projections(km_variance_model *measured, const char *pattern) {
    char *end = NULL;
    const char *digits = pattern + sizeof PROJECTIONS - 1;
    unsigned long long number = strtoull(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end != '\0' || number < 1 || number > 1U << 30) {
        return km_fail(KM_USAGE, "variance.params: found %s, expected projections:N with N from 1 to %u", pattern,
                       1U << 30);
    }
    measured->projections = (uint32_t)number;
    return KM_OK;
}

/* Whether the patterns choose the tensor; without a pattern all are chosen. found[i] becomes true where pattern i fits. */
static bool is_chosen(const km_texts *patterns, const char *name, bool *found) {
    bool chosen = true, any = false;
    for (int i = 0; i < patterns->count; i++) {
        const char *pattern = km_texts_at(patterns, i);
        if (!is_projection(pattern)) {
            bool fits = fnmatch(pattern, name, 0) == 0;
            found[i] = found[i] || fits;
            any = any || fits;
            chosen = false;
        }
    }
    return chosen || any;
}

/* Returns the error that no tensor matches the pattern. */
static km_status no_tensor(const km_variance_model *measured, const char *pattern) {
    const km_table *table = km_model_table(measured->model);
    const char **names = km_new((size_t)table->count + 1, sizeof *names);
    for (int i = 0; i < table->count; i++) {
        names[i] = table->params[i].name;
    }
    const char *near = km_nearest(pattern, names);
    km_status status = km_fail(KM_USAGE, "variance.params: %s fits none of the %d tensors of %s; one of them is %s",
                               pattern, table->count, measured->name, near != NULL ? near : names[0]);
    free(names);
    return status;
}

static km_status choose_parameters(km_variance_model *measured, const km_texts *patterns) {
    const km_table *table = km_model_table(measured->model);
    bool found[KM_TEXTS] = {false};
    measured->chosen = km_new((size_t)table->count, sizeof *measured->chosen);
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        if (is_chosen(patterns, param->name, found)) {
            measured->chosen[measured->chosen_count++] = (km_chosen){
                .name = param->name, .offset = param->offset, .count = param->count, .place = measured->size};
            measured->size += param->count;
        }
    }
    for (int i = 0; i < patterns->count; i++) {
        const char *pattern = km_texts_at(patterns, i);
        if (is_projection(pattern)) {
            KM_TRY(read_projections(measured, pattern));
        } else if (!found[i]) {
            return no_tensor(measured, pattern);
        }
    }
    if (measured->projections > 0) {
        measured->size = measured->projections;
    }
    return KM_OK;
}

int km_variance_model_parts(const km_variance_model *measured) {
    return measured->projections > 0 ? 1 : measured->chosen_count;
}

void km_variance_model_part(const km_variance_model *measured, int part, const char **name, size_t *first,
                            size_t *count) {
    bool projected = measured->projections > 0;
    *name = projected ? "projections" : measured->chosen[part].name;
    *first = projected ? 0 : measured->chosen[part].place;
    *count = projected ? measured->size : measured->chosen[part].count;
}

/* ---- The model ---------------------------------------------------------------------------------------------- */

static km_status open_file(km_variance_model *measured, const km_variance_plan *plan) {
    KM_TRY(km_bundle_open(&measured->bundle, measured->name));
    const km_tokenizer *tokenizer = km_corpus_tokenizer(plan->corpus);
    if (!km_hash_equal(km_tokenizer_hash(measured->bundle->tokenizer), km_tokenizer_hash(tokenizer))) {
        return km_fail(
            KM_USAGE,
            "%s: built with another tokenizer than the model %s. Build the corpus again with the model's "
            "tokenizer.",
            km_corpus_path(plan->corpus), measured->name);
    }
    measured->model = measured->bundle->model;
    measured->weights = measured->bundle->weights;
    measured->hash = measured->bundle->weights_hash;
    measured->step = measured->bundle->step;
    return KM_OK;
}

static km_status make_fresh(km_variance_model *measured, const km_variance_plan *plan) {
    const km_tokenizer *tokenizer = km_corpus_tokenizer(plan->corpus);
    km_model_config shape = plan->config->model;
    int32_t pieces = km_tokenizer_size(tokenizer);
    shape.vocab_size = shape.vocab_size == 0 ? pieces : shape.vocab_size;
    const km_specials specials = km_tokenizer_specials(tokenizer);
    km_model_take_tokens(&shape, specials.pad, specials.sep);
    if (shape.vocab_size < pieces) {
        return km_fail(KM_USAGE, "model.vocab_size: %lld is less than the %d pieces of the corpus' tokenizer",
                       (long long)shape.vocab_size, (int)pieces);
    }
    KM_TRY(km_model_create(&measured->model, &shape, KM_HEAD_TOKENS));
    const km_table *table = km_model_table(measured->model);
    KM_TRY(km_allocate((void **)&measured->own_weights, table->size * sizeof(float), "the weights"));
    km_model_init_weights(measured->model, measured->own_weights, plan->seed);
    measured->weights = measured->own_weights;
    measured->hash = km_table_hash(table, measured->weights);
    return KM_OK;
}

static km_status check_length(const km_variance_model *measured, const km_variance_plan *plan) {
    int64_t room = km_model_longest(km_model_shape(measured->model));
    if (plan->config->data.length > room) {
        return km_fail(KM_USAGE, "data.length: %lld is more than the %lld positions of the model %s",
                       (long long)plan->config->data.length, (long long)room, measured->name);
    }
    return KM_OK;
}

/* ---- The network that proposes masks ------------------------------------------------------------------------ */

static bool needs_scores(const km_variance_plan *plan) {
    for (int p = 0; p < plan->policy_count; p++) {
        if (plan->policies[p]->live) {
            return true;
        }
    }
    return false;
}

static km_status check_network(const km_variance_model *measured, const km_policy_net *net) {
    const int rows = km_policy_net_shape(net)->V, ids = (int)km_model_shape(measured->model)->vocab_size;
    return rows == ids ? KM_OK
                       : km_fail(KM_FAILED, "%s: the network that proposes masks has %d embeddings, expected %d",
                                 measured->name, rows, ids);
}

static km_status score_rows(km_variance_model *measured, const km_variance_plan *plan, const km_policy_net *net,
                            const float *weights) {
    const km_hash hash = km_table_hash(km_policy_net_table(net), weights);
    measured->key.low ^= km_mix64(hash.low);
    measured->key.high ^= km_mix64(hash.high);
    km_policy_work *work = NULL;
    KM_TRY(km_policy_work_create(&work, net, (int)plan->config->data.length, 1));
    for (int i = 0; i < plan->row_count; i++) {
        km_score_row(net, weights, plan->rows[i], work, measured->scores[i]);
    }
    km_policy_work_destroy(work);
    return KM_OK;
}

/* Scores are 0 without a network, as they are before its training. */
static km_status make_scores(km_variance_model *measured, const km_variance_plan *plan) {
    km_policy_net *net = NULL;
    float *weights = NULL;
    measured->scores = km_new((size_t)plan->row_count, sizeof *measured->scores);
    measured->score_rows = plan->row_count;
    for (int i = 0; i < plan->row_count; i++) {
        measured->scores[i] = km_new((size_t)plan->rows[i]->length, sizeof **measured->scores);
    }
    if (measured->bundle == NULL) {
        return KM_OK;
    }
    KM_TRY(km_proposal_open(&net, &weights, measured->name));
    km_status status = KM_OK;
    if (net != NULL) {
        status = check_network(measured, net);
        status = status == KM_OK ? score_rows(measured, plan, net, weights) : status;
    }
    km_policy_net_destroy(net);
    free(weights);
    return status;
}

const float *km_variance_model_scores(const km_variance_model *measured, const km_variance_plan *plan,
                                      const km_row *row) {
    for (int i = 0; measured->scores != NULL && i < plan->row_count; i++) {
        if (plan->rows[i] == row) {
            return measured->scores[i];
        }
    }
    return NULL;
}

/* ---- All of it ----------------------------------------------------------------------------------------------- */

static km_status fill_in(km_variance_model *measured, const km_variance_plan *plan, bool fresh) {
    KM_TRY(fresh ? make_fresh(measured, plan) : open_file(measured, plan));
    measured->key = measured->hash;
    KM_TRY(check_length(measured, plan));
    KM_TRY(needs_scores(plan) ? make_scores(measured, plan) : KM_OK);
    KM_TRY(choose_parameters(measured, &plan->wanted->params));
    return plan->exhaustive ? km_exact_check(plan, measured->size, km_variance_model_parts(measured)) : KM_OK;
}

km_status km_variance_model_open(km_variance_model **out, const km_variance_plan *plan, int index) {
    km_variance_model *measured = km_new(1, sizeof *measured);
    const char *init = plan->config->model.init, *name = "fresh";
    if (plan->models.count > 0 && strcmp(km_texts_at(&plan->models, index), name) != 0) {
        name = km_texts_at(&plan->models, index);
    } else if (init[0] != '\0') {
        name = init; /* what a run of this config would start from */
    }
    bool fresh = strcmp(name, "fresh") == 0;
    measured->name = km_strdup(name);
    measured->seed = plan->seed;
    km_status status = fill_in(measured, plan, fresh);
    if (status != KM_OK) {
        km_variance_model_close(measured);
        measured = NULL;
    }
    *out = measured;
    return status;
}

void km_variance_model_close(km_variance_model *measured) {
    if (measured == NULL) {
        return;
    }
    if (measured->bundle == NULL && measured->model != NULL) {
        km_model_destroy(measured->model);
    }
    km_bundle_close(measured->bundle);
    for (int i = 0; i < measured->score_rows; i++) {
        free(measured->scores[i]);
    }
    free(measured->scores);
    free(measured->own_weights);
    free(measured->chosen);
    free(measured->name);
    free(measured);
}
