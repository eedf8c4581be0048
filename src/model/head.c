/* The masked language model head: dense -> gelu -> norm -> logits over the vocabulary, tied to the word embedding.
 * Only labelled tokens ever come here. */
#include "parts.h"

/* The decoder's product; with the tied matrix the model has one weight for both ends. */
static km_dense decoder(const km_model *model) {
    return (km_dense){model->embedding.word, model->head.bias, model->C, model->V};
}

void km_head_forward(const km_pass *pass, km_tensor hidden, bool biased) {
    const km_model *model = pass->model;
    const km_head_parts *parts = &model->head;
    const km_head_acts *acts = &pass->work->head;
    const km_dense out = decoder(model);
    const float *w = pass->weights;
    int M = pass->batch->labelled, C = model->C;
    km_dense_forward(pass, &parts->dense, (km_tensor){acts->t, NULL}, hidden, M, false);
    km_gelu_forward(acts->g, acts->t, w + parts->dense.b, model->head_act, M, C);
    if (pass->rounded != NULL) {
        km_norm_forward_bf16(acts->h.h, acts->mean, acts->rstd, acts->g, w + parts->norm.w, w + parts->norm.b,
                             model->eps, acts->d, M, C);
    } else {
        km_norm_forward(acts->h.f, acts->mean, acts->rstd, acts->g, w + parts->norm.w, w + parts->norm.b,
                        model->eps, M, C);
    }
    km_dense_forward(pass, &out, (km_tensor){acts->logits, NULL}, acts->h, M, biased);
}

/* The bias and the tied embedding, a block of the vocabulary at a time: whole, it would be the model's largest
 * gradient. */
static void report_vocabulary(const km_pass *pass, km_tensor dlogits, int ld) {
    const km_model *model = pass->model;
    const km_head_acts *acts = &pass->work->head;
    int M = pass->batch->labelled, C = model->C;
    for (int first = 0; first < model->V; first += KM_VOCAB_BLOCK) {
        int count = KM_MIN(model->V - first, KM_VOCAB_BLOCK);
        size_t row = (size_t)first;
        km_dense block = {model->embedding.word + row * (size_t)C, model->head.bias + row, C, count};
        km_report_columns(pass, &block, km_tensor_at(dlogits, row), ld, acts->h, M);
    }
}

void km_head_backward(const km_pass *pass, km_tensor hidden, float *dx) {
    const km_model *model = pass->model;
    const km_head_parts *parts = &model->head;
    const km_head_acts *acts = &pass->work->head;
    const km_dense out = decoder(model);
    const bool halves = pass->rounded != NULL;
    const km_tensor dlogits =
        halves ? (km_tensor){NULL, (km_bf16 *)(void *)acts->logits} : (km_tensor){acts->logits, NULL};
    int M = pass->batch->labelled, C = model->C, ld = halves ? 2 * model->V : model->V;
    float *d = acts->d; /* once the embedding's gradient is made, nobody needs h */
    report_vocabulary(pass, dlogits, ld);
    km_dense_backward(pass, &out, (km_tensor){d, NULL}, dlogits, ld, M, false);
    km_norm_step_back(pass, &parts->norm, d, acts->g, acts->mean, acts->rstd, M);
    km_gelu_backward(d, d, acts->t, model->head_act, M, C);
    const km_tensor dy = km_product_operand(pass, d, M, C);
    km_report_dense(pass, &parts->dense, dy, hidden, M);
    km_dense_backward(pass, &parts->dense, (km_tensor){dx, NULL}, dy, C, M, false);
}
