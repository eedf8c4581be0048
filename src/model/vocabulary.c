/* Logits over the vocabulary, tied to the word embeddings, with their loss and gradient. */
#include "vocabulary.h"

#include <assert.h>
#include <math.h>

const km_stack *km_vocabulary_stack(const km_model *model) {
    return &model->stacks[model->stack_count - 1];
}

km_dense km_vocabulary_dense(const km_model *model, size_t bias) {
    const km_stack *stack = km_vocabulary_stack(model);
    return (km_dense){stack->embedding.word, bias, stack->C, model->V};
}

void km_vocabulary_place_work(km_work *work, km_arena *arena, km_vocabulary_acts *acts) {
    const int M = work->most_outputs;
    work->logits = km_work_floats(arena, M, work->model->V);
    acts->loss = km_work_floats(arena, M, 1);
    acts->hit = km_arena_take(arena, (size_t)M, sizeof *acts->hit);
    if (work->options.norms) {
        work->norms = km_work_floats(arena, M, 1);
        work->hidden_norms = km_work_floats(arena, M, 1);
    }
}

size_t km_vocabulary_largest_slice(const km_model *model) {
    const size_t C = (size_t)km_vocabulary_stack(model)->C;
    return (size_t)KM_MIN(model->V, KM_VOCAB_BLOCK) * (C + 1);
}

const int32_t *km_vocabulary_outputs(const km_batch *batch, int *count) {
    *count = batch->labelled;
    return batch->at;
}

int km_vocabulary_most_outputs(const km_batch_limits *limits) {
    return limits->labelled;
}

void km_vocabulary_forward(const km_pass *pass, const km_dense *out, km_tensor h) {
    km_dense_forward(pass, out, (km_tensor){pass->work->logits, NULL}, h, pass->outputs.count, pass->sink == NULL);
}

/* In double and in the order of tokens. weights (M) or NULL: all 1. */
static km_loss_sum sum_losses(const km_vocabulary_acts *acts, const float *weights, int M) {
    km_loss_sum sum = {.masked = M};
    for (int m = 0; m < M; m++) {
        sum.loss += (double)acts->loss[m] * (weights != NULL ? (double)weights[m] : 1.0);
        sum.correct += acts->hit[m];
    }
    return sum;
}

/* Loss and gradient with label smoothing, as km_loss_smoothed has it. */
static void smoothed_loss(const km_pass *pass, const km_vocabulary_acts *acts, const float *bias) {
    const km_label_smoothing *smoothing = &pass->work->options.smoothing;
    const int V = pass->model->V;
    const double spread = smoothing->share / (smoothing->among_others ? V - 1 : V);
    const double kept = 1 - smoothing->share - (smoothing->among_others ? spread : 0);
    KM_TIMED(KM_OP_LOSS, km_loss_smoothed(pass->work->logits, acts->loss, acts->hit, bias, pass->batch->labels,
                                          (float)kept, (float)spread, pass->outputs.count, V));
}

km_loss_sum km_vocabulary_loss(const km_pass *pass, const km_vocabulary_acts *acts, size_t bias) {
    const float *b = pass->weights + bias;
    const int32_t *labels = pass->batch->labels;
    float *logits = pass->work->logits;
    int M = pass->outputs.count, V = pass->model->V;
    if (pass->sink == NULL) {
        KM_TIMED(KM_OP_LOSS, km_loss(logits, acts->loss, acts->hit, NULL, labels, false, M, V));
    } else if (pass->work->options.smoothing.share > 0) {
        assert(pass->rounded == NULL);
        smoothed_loss(pass, acts, b);
    } else if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_LOSS, km_loss_bf16(logits, acts->loss, acts->hit, b, labels, M, V));
    } else {
        KM_TIMED(KM_OP_LOSS, km_loss(logits, acts->loss, acts->hit, b, labels, true, M, V));
    }
    return sum_losses(acts, pass->batch->weights, M);
}

void km_vocabulary_predict(const km_pass *pass) {
    km_softmax(pass->work->logits, NULL, pass->outputs.count, pass->model->V);
}

/* The gradient of the logits, and the elements from one row of it to the next. */
static km_tensor gradient_of(const km_pass *pass, int *ld) {
    const bool halves = pass->rounded != NULL;
    float *logits = pass->work->logits;
    *ld = halves ? 2 * pass->model->V : pass->model->V;
    return halves ? (km_tensor){NULL, (km_bf16 *)(void *)logits} : (km_tensor){logits, NULL};
}

/* work->norms from the gradient of the logits, as the loss has left it. */
static void take_norms(const km_pass *pass, const km_dense *out, km_tensor dlogits, int ld, km_tensor h) {
    const km_work *work = pass->work;
    const int M = pass->outputs.count;
    if (pass->rounded != NULL) {
        km_row_norms_bf16(work->norms, dlogits.h, ld, M, out->out);
        km_row_norms_bf16(work->hidden_norms, h.h, out->in, M, out->in);
    } else {
        km_row_norms(work->norms, dlogits.f, M, out->out);
        km_row_norms(work->hidden_norms, h.f, M, out->in);
    }
    const float bias = out->b == KM_NO_BIAS ? 0 : 1;
    for (int m = 0; m < M; m++) {
        work->norms[m] *= sqrtf(work->hidden_norms[m] * work->hidden_norms[m] + bias);
    }
}

/* Multiplies the gradient of the logits by the labels' weights. */
static void weigh(const km_pass *pass, const km_dense *out, km_tensor dlogits, int ld) {
    const float *weights = pass->batch->weights;
    const int M = pass->outputs.count;
    if (pass->rounded != NULL) {
        km_scale_rows_bf16(dlogits.h, weights, ld, M, out->out);
    } else {
        km_scale_rows(dlogits.f, weights, M, out->out);
    }
}

/* A block of the vocabulary at a time: whole, it would be the model's largest gradient. */
void km_vocabulary_report(const km_pass *pass, const km_dense *out, km_tensor h) {
    int ld = 0;
    const km_tensor dlogits = gradient_of(pass, &ld);
    if (pass->work->norms != NULL) {
        KM_TIMED(KM_OP_LOSS, take_norms(pass, out, dlogits, ld, h));
    }
    if (pass->batch->weights != NULL) {
        KM_TIMED(KM_OP_LOSS, weigh(pass, out, dlogits, ld));
    }
    for (int first = 0; first < out->out; first += KM_VOCAB_BLOCK) {
        int count = KM_MIN(out->out - first, KM_VOCAB_BLOCK);
        size_t row = (size_t)first, bias = out->b == KM_NO_BIAS ? KM_NO_BIAS : out->b + row;
        km_dense block = {out->w + row * (size_t)out->in, bias, out->in, count};
        km_report_columns(pass, &block, km_tensor_at(dlogits, row), ld, h, pass->outputs.count);
    }
}

void km_vocabulary_backward(const km_pass *pass, const km_dense *out, float *dh) {
    int ld = 0;
    const km_tensor dlogits = gradient_of(pass, &ld);
    km_dense_backward(pass, out, (km_tensor){dh, NULL}, dlogits, ld, pass->outputs.count, false);
}
