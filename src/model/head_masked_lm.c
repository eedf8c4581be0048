/* The masked language model head: dense -> gelu -> norm -> logits over the vocabulary, tied to the word embedding, at the
 * labelled tokens alone. */
#include "vocabulary.h"

typedef struct parts {
    km_dense dense;
    km_norm norm;
    size_t bias; /* of the product with the word embedding */
} parts;

typedef struct acts {
    float *t, *g;       /* (M,C) before and after gelu */
    float *mean, *rstd; /* (M) */
    km_tensor h;        /* (M,C) */
    float *d;           /* (M,C) its gradient; in fp32 in its place */
    km_vocabulary_acts out;
} acts;

static km_activation gelu_of(const km_model *model) {
    const km_masked_lm_options *options = model->head->options;
    return options->exact_gelu ? KM_GELU_ERF : km_vocabulary_stack(model)->act;
}

static void place(km_model *model, km_table *table) {
    const km_masked_lm_options *options = model->head->options;
    const int C = km_vocabulary_stack(model)->C;
    parts *p = model->head_parts;
    p->dense = km_table_add_dense(table, C, C, options->dense);
    p->norm = km_table_add_norm(table, C, options->norm);
    p->bias = km_table_add(table, KM_START_ZERO, model->V, 0, "%s", options->bias);
}

static void place_work(km_work *work, km_arena *arena) {
    const int M = work->most_outputs, C = km_vocabulary_stack(work->model)->C;
    acts *a = work->head;
    a->t = km_work_floats(arena, M, C);
    a->g = km_work_floats(arena, M, C);
    a->mean = km_work_floats(arena, M, 1);
    a->rstd = km_work_floats(arena, M, 1);
    a->h = km_work_operand(arena, work, (size_t)M * (size_t)C);
    a->d = work->options.bf16 ? km_work_floats(arena, M, C) : a->h.f;
    km_vocabulary_place_work(work, arena, &a->out);
}

static size_t largest_slice(const km_model *model) {
    const size_t C = (size_t)km_vocabulary_stack(model)->C;
    return KM_MAX(C * (C + 1), km_vocabulary_largest_slice(model));
}

static km_dense vocabulary(const km_model *model) {
    const parts *p = model->head_parts;
    return km_vocabulary_dense(model, p->bias);
}

static void forward(const km_pass *pass, km_tensor hidden) {
    const km_stack *stack = km_vocabulary_stack(pass->model);
    const parts *p = pass->model->head_parts;
    const acts *a = pass->work->head;
    const km_dense out = vocabulary(pass->model);
    const float *w = pass->weights;
    int M = pass->outputs.count, C = stack->C;
    km_dense_forward(pass, &p->dense, (km_tensor){a->t, NULL}, hidden, M, false);
    KM_TIMED(KM_OP_FORWARD_GELU,
             km_activation_forward(a->g, a->t, w + p->dense.b, gelu_of(pass->model), NULL, NULL, M, C));
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_FORWARD_NORM, km_norm_forward_bf16(a->h.h, a->mean, a->rstd, a->g, w + p->norm.w,
                                                          w + p->norm.b, stack->eps, a->d, M, C));
    } else {
        KM_TIMED(KM_OP_FORWARD_NORM,
                 km_norm_forward(a->h.f, a->mean, a->rstd, a->g, w + p->norm.w, w + p->norm.b, stack->eps, M, C));
    }
    km_vocabulary_forward(pass, &out, a->h);
}

static km_loss_sum loss(const km_pass *pass) {
    const parts *p = pass->model->head_parts;
    const acts *a = pass->work->head;
    return km_vocabulary_loss(pass, &a->out, p->bias);
}

static void backward(const km_pass *pass, km_tensor hidden, float *dx) {
    const km_model *model = pass->model;
    const parts *p = model->head_parts;
    const acts *a = pass->work->head;
    const km_dense out = vocabulary(model);
    float *d = a->d; /* once the embedding's gradient is made, nobody needs h */
    int M = pass->outputs.count, C = out.in;
    km_vocabulary_report(pass, &out, a->h);
    km_vocabulary_backward(pass, &out, d);
    km_norm_step_back(pass, &p->norm, d, a->g, a->mean, a->rstd, M, C);
    KM_TIMED(KM_OP_BACKWARD_GELU, km_activation_backward(d, d, a->t, gelu_of(model), NULL, NULL, M, C));
    const km_tensor dy = km_product_operand(pass, d, M, C);
    km_report_dense(pass, &p->dense, dy, hidden, M);
    km_dense_backward(pass, &p->dense, (km_tensor){dx, NULL}, dy, C, M, false);
}

static double products(const km_model *model, const km_batch *batch) {
    double M = batch->labelled, C = km_vocabulary_stack(model)->C, V = model->V;
    return M * (C * C + C * V);
}

const km_head km_head_masked_lm = {
    .parts_size = sizeof(parts),
    .work_size = sizeof(acts),
    .place = place,
    .place_work = place_work,
    .largest_slice = largest_slice,
    .outputs = km_vocabulary_outputs,
    .most_outputs = km_vocabulary_most_outputs,
    .forward = forward,
    .loss = loss,
    .predict = km_vocabulary_predict,
    .backward = backward,
    .products = products,
};
