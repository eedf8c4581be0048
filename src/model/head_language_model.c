/* The language model head of an encoder-decoder: the decoder's hidden states times the word embeddings, plus a bias that no training
 * changes (transformers' final_logits_bias: zeros, a buffer), at the labelled tokens alone. */
#include "vocabulary.h"

typedef struct parts {
    size_t bias;
} parts;

typedef struct acts {
    km_vocabulary_acts out;
} acts;

static void place(km_model *model, km_table *table) {
    const km_language_model_options *options = model->head->options;
    parts *p = model->head_parts;
    p->bias = km_table_add_buffer(table, 1, model->V, "%s", options->bias);
}

static void place_work(km_work *work, km_arena *arena) {
    acts *a = work->head;
    km_vocabulary_place_work(work, arena, &a->out);
}

static void forward(const km_pass *pass, km_tensor hidden) {
    const parts *p = pass->model->head_parts;
    const km_dense out = km_vocabulary_dense(pass->model, p->bias);
    km_vocabulary_forward(pass, &out, hidden);
}

static km_loss_sum loss(const km_pass *pass) {
    const parts *p = pass->model->head_parts;
    const acts *a = pass->work->head;
    return km_vocabulary_loss(pass, &a->out, p->bias);
}

static void backward(const km_pass *pass, km_tensor hidden, float *dx) {
    const km_dense out = km_vocabulary_dense(pass->model, KM_NO_BIAS);
    km_vocabulary_report(pass, &out, hidden);
    km_vocabulary_backward(pass, &out, dx);
}

static double products(const km_model *model, const km_batch *batch) {
    return (double)batch->labelled * km_vocabulary_stack(model)->C * model->V;
}

const km_head km_head_language_model = {
    .parts_size = sizeof(parts),
    .work_size = sizeof(acts),
    .place = place,
    .place_work = place_work,
    .largest_slice = km_vocabulary_largest_slice,
    .outputs = km_vocabulary_outputs,
    .most_outputs = km_vocabulary_most_outputs,
    .forward = forward,
    .loss = loss,
    .predict = km_vocabulary_predict,
    .backward = backward,
    .products = products,
};
