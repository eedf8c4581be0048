/* word + position + type -> norm -> dropout. */
#include "parts.h"

#include <string.h>

/* BERT counts a view's tokens from 0, whatever they are. RoBERTa gives pad tokens the row of the pad token's id, and
 * counts the others from the row after it. */
static void number_positions(const km_model *model, const km_batch *batch, int32_t *positions) {
    bool roberta = model->first_position > 0;
    for (int view = 0; view < batch->views; view++) {
        int32_t next = model->first_position;
        for (int32_t i = batch->input.starts[view]; i < batch->input.starts[view + 1]; i++) {
            bool pad = roberta && batch->input.ids[i] == model->pad;
            positions[i] = pad ? model->pad : next++;
        }
    }
}

static km_dropout embedding_dropout(const km_pass *pass) {
    return km_pass_dropout(pass, KM_SITE_EMBEDDING, pass->model->hidden_dropout);
}

void km_embedding_forward(const km_pass *pass) {
    const km_model *model = pass->model;
    const km_embedding_parts *parts = &model->embedding;
    const km_batch *batch = pass->batch;
    const float *w = pass->weights;
    km_work *work = pass->work;
    km_dropout dropout = embedding_dropout(pass);
    number_positions(model, batch, work->positions);
    km_embed_forward(work->embedding_sum, batch->input.ids, work->positions, batch->input.types, w + parts->word,
                     w + parts->position, w + parts->type, batch->input.tokens, model->C);
    const km_tensor out = work->hidden[0];
    km_norm_forward(out.f, work->embedding_mean, work->embedding_rstd, work->embedding_sum, w + parts->norm.w,
                    w + parts->norm.b, model->eps, batch->input.tokens, model->C);
    if (dropout.p > 0) {
        km_dropout_apply(out.f, out.f, &dropout, batch->input.keys, batch->input.tokens, model->C);
    }
    if (pass->rounded != NULL) {
        km_bf16_round(out.h, out.f, (size_t)batch->input.tokens * (size_t)model->C);
    }
}

static void report_types(const km_pass *pass) {
    const km_model *model = pass->model;
    const km_batch *batch = pass->batch;
    km_work *work = pass->work;
    size_t C = (size_t)model->C;
    if (batch->input.types == NULL) {
        km_bias_backward(work->gradient, work->d, batch->input.tokens, model->C);
        km_report(pass, model->embedding.type, work->gradient, C);
        return;
    }
    memset(work->gradient, 0, (size_t)model->types * C * sizeof(float));
    km_scatter_add_rows(work->gradient, work->d, batch->input.types, batch->input.tokens, model->C);
    km_report(pass, model->embedding.type, work->gradient, (size_t)model->types * C);
}

/* From the first token's row on: RoBERTa's pad row learns nothing, as the field has it. */
static void report_positions(const km_pass *pass) {
    const km_model *model = pass->model;
    km_work *work = pass->work;
    size_t C = (size_t)model->C, first = (size_t)model->first_position;
    size_t count = (size_t)pass->batch->input.longest * C;
    memset(work->gradient, 0, count * sizeof(float));
    for (int i = 0; i < pass->batch->input.tokens; i++) {
        size_t row = (size_t)work->positions[i];
        if (row >= first) {
            km_add(work->gradient + (row - first) * C, work->d + (size_t)i * C, C);
        }
    }
    km_report(pass, model->embedding.position + first * C, work->gradient, count);
}

/* A row for each token; the sink adds. The pad token's row learns from the head alone, as the field has it. */
static void report_words(const km_pass *pass) {
    const km_model *model = pass->model;
    size_t C = (size_t)model->C;
    for (int i = 0; i < pass->batch->input.tokens; i++) {
        int32_t id = pass->batch->input.ids[i];
        if (id != model->pad) {
            km_report(pass, model->embedding.word + (size_t)id * C, pass->work->d + (size_t)i * C, C);
        }
    }
}

void km_embedding_backward(const km_pass *pass) {
    km_work *work = pass->work;
    km_dropout dropout = embedding_dropout(pass);
    if (dropout.p > 0) {
        km_dropout_apply(work->d, work->d, &dropout, pass->batch->input.keys, pass->batch->input.tokens,
                         pass->model->C);
    }
    km_norm_step_back(pass, &pass->model->embedding.norm, work->d, work->embedding_sum, work->embedding_mean,
                      work->embedding_rstd, pass->batch->input.tokens);
    report_types(pass);
    report_positions(pass);
    report_words(pass);
}
