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

km_head_kind km_model_head(const km_model *model) {
    return (km_head_kind)(model->head - model->architecture->heads);
}

bool km_model_stack(km_stack_shape *out, const km_model *model, km_stack_name stack) {
    if ((int)stack < 0 || (int)stack >= model->stack_count) {
        return false;
    }
    const km_stack *s = &model->stacks[stack];
    *out = (km_stack_shape){.layers = s->L, .width = s->C, .heads = s->H, .intermediate = s->I};
    return true;
}

/* ---- Batches ------------------------------------------------------------------------------------------------ */

/* What a message says of a place of the second stream. */
static const char *of_stream(int stack) {
    return stack == KM_DECODER ? " of the decoder's input" : "";
}

static km_status check_tokens(const km_model *model, const km_stream *stream, int stack) {
    const int types = model->stacks[stack].types;
    for (int i = 0; i < stream->tokens; i++) {
        if (stream->ids[i] < 0 || stream->ids[i] >= model->V) {
            return km_fail(KM_USAGE, "token id %d at place %d%s is not in the model's vocabulary of %d.",
                           stream->ids[i], i, of_stream(stack), model->V);
        }
        if (stream->types != NULL && (stream->types[i] < 0 || stream->types[i] >= types)) {
            return km_fail(KM_USAGE, "token type %d at place %d%s is not one of the model's %d.", stream->types[i],
                           i, of_stream(stack), types);
        }
    }
    return KM_OK;
}

/* Each token has to see another one or itself: in a decoder the first one at least. */
static bool sees_one(const km_stream *stream, int first, int length, bool is_decoder) {
    return stream->seen == NULL || memchr(stream->seen + first, 1, is_decoder ? 1 : (size_t)length) != NULL;
}

static km_status check_views(const km_model *model, int views, const km_stream *stream, int stack) {
    const int most = KM_MIN(stream->longest, (int)model->architecture->longest(&model->config));
    if (views < 1 || stream->starts == NULL || stream->starts[0] != 0 || stream->starts[views] != stream->tokens) {
        return km_fail(KM_USAGE, "the batch's %d views do not cover its %d tokens%s.", views, stream->tokens,
                       of_stream(stack));
    }
    for (int view = 0; view < views; view++) {
        int first = stream->starts[view], length = stream->starts[view + 1] - first;
        if (length < 1 || length > most) {
            return km_fail(KM_USAGE, "view %d has %d tokens%s; expected 1 to %d.", view, length, of_stream(stack),
                           most);
        }
        if (!sees_one(stream, first, length, model->stacks[stack].is_decoder)) {
            return km_fail(KM_USAGE, "view %d has no token%s that may be seen; expected one at least.", view,
                           of_stream(stack));
        }
    }
    return KM_OK;
}

/* Tokens that are to be predicted. */
static km_status check_labels(const km_model *model, const km_batch *batch) {
    const int tokens = km_stack_stream(batch, model->stack_count - 1)->tokens;
    for (int m = 0; m < batch->labelled; m++) {
        if (batch->at[m] < (m > 0 ? batch->at[m - 1] + 1 : 0) || batch->at[m] >= tokens) {
            return km_fail(KM_USAGE, "labelled place %d is not an ascending one of the batch's %d tokens.",
                           batch->at[m], tokens);
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
    for (int stack = 0; stack < model->stack_count; stack++) {
        const km_stream *stream = km_stack_stream(batch, stack);
        KM_TRY(check_views(model, batch->views, stream, stack));
        KM_TRY(check_tokens(model, stream, stack));
    }
    KM_TRY(check_labels(model, batch));
    return head->check_batch != NULL ? head->check_batch(model, batch) : KM_OK;
}
