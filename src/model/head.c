/* The masked language model head: dense -> gelu -> norm -> logits over the vocabulary, tied to the word embedding.
 * Only labelled tokens ever come here. */
#include "parts.h"

void km_head_forward(const km_pass *pass, const float *hidden, bool biased) {
    const km_model *model = pass->model;
    const km_head_parts *parts = &model->head;
    const km_head_acts *acts = &pass->work->head;
    const float *w = pass->weights;
    int M = pass->batch->labelled, C = model->C;
    km_linear_forward(acts->t, hidden, w + parts->dense.w, NULL, M, C, C);
    km_gelu_forward(acts->g, acts->t, w + parts->dense.b, model->head_act, M, C);
    km_norm_forward(acts->h, acts->mean, acts->rstd, acts->g, w + parts->norm.w, w + parts->norm.b, model->eps, M,
                    C);
    km_linear_forward(acts->logits, acts->h, w + model->embedding.word, biased ? w + parts->bias : NULL, M, C,
                      model->V);
}

/* The bias and the tied embedding, a block of the vocabulary at a time: whole, it would be the model's largest
 * gradient. */
static void report_vocabulary(const km_pass *pass) {
    const km_model *model = pass->model;
    const km_head_acts *acts = &pass->work->head;
    int M = pass->batch->labelled, C = model->C;
    for (int first = 0; first < model->V; first += KM_VOCAB_BLOCK) {
        int count = KM_MIN(model->V - first, KM_VOCAB_BLOCK);
        size_t row = (size_t)first;
        km_dense block = {model->embedding.word + row * (size_t)C, model->head.bias + row, C, count};
        km_report_columns(pass, &block, acts->logits + row, model->V, acts->h, M);
    }
}

void km_head_backward(const km_pass *pass, const float *hidden, float *dx) {
    const km_model *model = pass->model;
    const km_head_parts *parts = &model->head;
    const km_head_acts *acts = &pass->work->head;
    const float *w = pass->weights;
    float *d = acts->h; /* once the embedding's gradient is made, nobody needs h */
    int M = pass->batch->labelled, C = model->C;
    report_vocabulary(pass);
    km_linear_backward_input(d, acts->logits, w + model->embedding.word, M, C, model->V, false);
    km_norm_step_back(pass, &parts->norm, d, acts->g, acts->mean, acts->rstd, M);
    km_gelu_backward(d, d, acts->t, model->head_act, M, C);
    km_report_dense(pass, &parts->dense, d, hidden, M);
    km_linear_backward_input(dx, d, w + parts->dense.w, M, C, C, false);
}
