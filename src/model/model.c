/* What a model is: a backbone and a head of a checked config, and its table. */
#include "architecture.h"

#include <stdlib.h>
#include <string.h>

/* ---- Models ------------------------------------------------------------------------------------------------- */

static km_status find_architecture(const km_architecture **out, const km_model_config *config) {
    char type[KM_WORD + 1];
    snprintf(type, sizeof type, "%.*s", KM_WORD, config->type);
    *out = km_architecture_named(type);
    if (*out != NULL) {
        return KM_OK;
    }
    char *types = km_architecture_list("");
    km_status status = km_fail(KM_USAGE, "model.type is \"%s\"; expected %s.", type, types);
    free(types);
    return status;
}

km_status km_model_create(km_model **out, const km_model_config *config, km_head_kind head) {
    const km_architecture *architecture = NULL;
    *out = NULL;
    KM_TRY(find_architecture(&architecture, config));
    KM_TRY(architecture->check(config));
    const km_head_use *use = &architecture->heads[head];
    if (use->kind == NULL) {
        return km_fail(KM_USAGE, "model.type is \"%s\", of which kmask knows no model with such a head.",
                       architecture->files.type);
    }
    if (use->kind->check_config != NULL) {
        KM_TRY(use->kind->check_config(config));
    }
    km_model *model = km_new(1, sizeof *model);
    model->config = *config;
    model->architecture = architecture;
    model->head = use;
    model->V = (int)config->vocab_size;
    model->pad = (int)config->pad_token_id;
    architecture->take_config(model);
    for (int s = 0; s < model->stack_count; s++) {
        model->stacks[s].layers = km_new((size_t)model->stacks[s].L, sizeof *model->stacks[s].layers);
    }
    model->head_parts = km_new(1, model->head->kind->parts_size);
    km_table_build(model);
    *out = model;
    return KM_OK;
}

void km_model_destroy(km_model *model) {
    if (model != NULL) {
        for (int s = 0; s < model->stack_count; s++) {
            free(model->stacks[s].layers);
        }
        free(model->head_parts);
        free(model->table.params);
        free(model);
    }
}

const km_table *km_model_table(const km_model *model) {
    return &model->table;
}

const km_model_config *km_model_shape(const km_model *model) {
    return &model->config;
}

const km_architecture *km_model_architecture(const km_model *model) {
    return model->architecture;
}

/* ---- Batches ------------------------------------------------------------------------------------------------ */

static km_status check_tokens(const km_model *model, const km_batch *batch) {
    const int types = model->stacks[KM_ENCODER].types;
    for (int i = 0; i < batch->input.tokens; i++) {
        if (batch->input.ids[i] < 0 || batch->input.ids[i] >= model->V) {
            return km_fail(KM_USAGE, "token id %d at place %d is not in the model's vocabulary of %d.",
                           batch->input.ids[i], i, model->V);
        }
        if (batch->input.types != NULL && (batch->input.types[i] < 0 || batch->input.types[i] >= types)) {
            return km_fail(KM_USAGE, "token type %d at place %d is not one of the model's %d.",
                           batch->input.types[i], i, types);
        }
    }
    return KM_OK;
}

static km_status check_views(const km_model *model, const km_batch *batch) {
    const int most = (int)model->architecture->longest(&model->config);
    if (batch->views < 1 || batch->input.starts[0] != 0 ||
        batch->input.starts[batch->views] != batch->input.tokens) {
        return km_fail(KM_USAGE, "the batch's %d views do not cover its %d tokens.", batch->views,
                       batch->input.tokens);
    }
    for (int view = 0; view < batch->views; view++) {
        int length = batch->input.starts[view + 1] - batch->input.starts[view];
        if (length < 1 || length > batch->input.longest || length > most) {
            return km_fail(KM_USAGE, "view %d has %d tokens; expected 1 to %d.", view, length,
                           KM_MIN(batch->input.longest, most));
        }
        if (batch->input.seen != NULL &&
            memchr(batch->input.seen + batch->input.starts[view], 1, (size_t)length) == NULL) {
            return km_fail(KM_USAGE, "view %d has no token that may be seen; expected one at least.", view);
        }
    }
    return KM_OK;
}

/* Tokens that are to be predicted. */
static km_status check_labels(const km_model *model, const km_batch *batch) {
    for (int m = 0; m < batch->labelled; m++) {
        if (batch->at[m] < (m > 0 ? batch->at[m - 1] + 1 : 0) || batch->at[m] >= batch->input.tokens) {
            return km_fail(KM_USAGE, "labelled place %d is not an ascending one of the batch's %d tokens.",
                           batch->at[m], batch->input.tokens);
        }
        if (batch->labels[m] < 0 || batch->labels[m] >= model->V) {
            return km_fail(KM_USAGE, "label %d is not in the model's vocabulary of %d.", batch->labels[m],
                           model->V);
        }
    }
    return KM_OK;
}

km_status km_model_check(const km_model *model, const km_batch *batch) {
    const km_head *head = model->head->kind;
    KM_TRY(check_views(model, batch));
    KM_TRY(check_tokens(model, batch));
    KM_TRY(check_labels(model, batch));
    return head->check_batch != NULL ? head->check_batch(model, batch) : KM_OK;
}
