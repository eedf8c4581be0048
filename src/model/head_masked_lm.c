/* The masked language model head: dense -> gelu -> norm -> logits over the vocabulary, tied to the word embedding, at the
 * labelled tokens alone. */
#include "head.h"

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
    float *loss;        /* (M) */
    uint8_t *hit;       /* (M) */
} acts;

static const km_stack *stack_of(const km_model *model) {
    return &model->stacks[model->stack_count - 1];
}

static km_activation gelu_of(const km_model *model) {
    const km_masked_lm_options *options = model->head->options;
    return options->exact_gelu ? KM_GELU_ERF : stack_of(model)->act;
}

static void place(km_model *model, km_table *table) {
    const km_masked_lm_options *options = model->head->options;
    const int C = stack_of(model)->C;
    parts *p = model->head_parts;
    p->dense = km_table_add_dense(table, C, C, options->dense);
    p->norm = km_table_add_norm(table, C, options->norm);
    p->bias = km_table_add(table, KM_START_ZERO, model->V, 0, "%s", options->bias);
}

static void place_work(km_work *work, km_arena *arena) {
    const int M = work->most_outputs, C = stack_of(work->model)->C;
    acts *a = work->head;
    a->t = km_work_floats(arena, M, C);
    a->g = km_work_floats(arena, M, C);
    a->mean = km_work_floats(arena, M, 1);
    a->rstd = km_work_floats(arena, M, 1);
    a->h = km_work_operand(arena, work, (size_t)M * (size_t)C);
    a->d = work->options.bf16 ? km_work_floats(arena, M, C) : a->h.f;
    work->logits = km_work_floats(arena, M, work->model->V);
    a->loss = km_work_floats(arena, M, 1);
    a->hit = km_arena_take(arena, (size_t)M, sizeof *a->hit);
}

static size_t largest_slice(const km_model *model) {
    const size_t C = (size_t)stack_of(model)->C;
    return KM_MAX(C, (size_t)KM_MIN(model->V, KM_VOCAB_BLOCK)) * (C + 1);
}

static const int32_t *outputs(const km_batch *batch, int *count) {
    *count = batch->labelled;
    return batch->at;
}

static int most_outputs(const km_batch_limits *limits) {
    return limits->labelled;
}

/* The product with the word embedding: the model has one matrix for both ends. */
static km_dense vocabulary(const km_model *model) {
    const parts *p = model->head_parts;
    return (km_dense){stack_of(model)->embedding.word, p->bias, stack_of(model)->C, model->V};
}

static void forward(const km_pass *pass, km_tensor hidden) {
    const km_stack *stack = stack_of(pass->model);
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
    km_dense_forward(pass, &out, (km_tensor){pass->work->logits, NULL}, a->h, M, pass->sink == NULL);
}

/* In double and in the order of tokens. */
static km_loss_sum sum_losses(const acts *a, int M) {
    km_loss_sum sum = {.masked = M};
    for (int m = 0; m < M; m++) {
        sum.loss += (double)a->loss[m];
        sum.correct += a->hit[m];
    }
    return sum;
}

static km_loss_sum loss(const km_pass *pass) {
    const parts *p = pass->model->head_parts;
    const acts *a = pass->work->head;
    const float *bias = pass->weights + p->bias;
    const int32_t *labels = pass->batch->labels;
    float *logits = pass->work->logits;
    int M = pass->outputs.count, V = pass->model->V;
    if (pass->sink == NULL) {
        KM_TIMED(KM_OP_LOSS, km_loss(logits, a->loss, a->hit, NULL, labels, false, M, V));
    } else if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_LOSS, km_loss_bf16(logits, a->loss, a->hit, bias, labels, M, V));
    } else {
        KM_TIMED(KM_OP_LOSS, km_loss(logits, a->loss, a->hit, bias, labels, true, M, V));
    }
    return sum_losses(a, M);
}

static void predict(const km_pass *pass) {
    km_softmax(pass->work->logits, NULL, pass->outputs.count, pass->model->V);
}

/* The bias and the tied embedding, a block of the vocabulary at a time: whole, it would be the model's largest
 * gradient. */
static void report_vocabulary(const km_pass *pass, km_tensor dlogits, int ld) {
    const km_dense all = vocabulary(pass->model);
    const acts *a = pass->work->head;
    for (int first = 0; first < all.out; first += KM_VOCAB_BLOCK) {
        int count = KM_MIN(all.out - first, KM_VOCAB_BLOCK);
        size_t row = (size_t)first;
        km_dense block = {all.w + row * (size_t)all.in, all.b + row, all.in, count};
        km_report_columns(pass, &block, km_tensor_at(dlogits, row), ld, a->h, pass->outputs.count);
    }
}

static void backward(const km_pass *pass, km_tensor hidden, float *dx) {
    const km_model *model = pass->model;
    const parts *p = model->head_parts;
    const acts *a = pass->work->head;
    const km_dense out = vocabulary(model);
    const bool halves = pass->rounded != NULL;
    float *logits = pass->work->logits, *d = a->d; /* once the embedding's gradient is made, nobody needs h */
    const km_tensor dlogits = halves ? (km_tensor){NULL, (km_bf16 *)(void *)logits} : (km_tensor){logits, NULL};
    int M = pass->outputs.count, C = out.in, ld = halves ? 2 * model->V : model->V;
    report_vocabulary(pass, dlogits, ld);
    km_dense_backward(pass, &out, (km_tensor){d, NULL}, dlogits, ld, M, false);
    km_norm_step_back(pass, &p->norm, d, a->g, a->mean, a->rstd, M, C);
    KM_TIMED(KM_OP_BACKWARD_GELU, km_activation_backward(d, d, a->t, gelu_of(model), NULL, NULL, M, C));
    const km_tensor dy = km_product_operand(pass, d, M, C);
    km_report_dense(pass, &p->dense, dy, hidden, M);
    km_dense_backward(pass, &p->dense, (km_tensor){dx, NULL}, dy, C, M, false);
}

static double products(const km_model *model, const km_batch *batch) {
    double M = batch->labelled, C = stack_of(model)->C, V = model->V;
    return M * (C * C + C * V);
}

const km_head km_head_masked_lm = {
    .parts_size = sizeof(parts),
    .work_size = sizeof(acts),
    .place = place,
    .place_work = place_work,
    .largest_slice = largest_slice,
    .outputs = outputs,
    .most_outputs = most_outputs,
    .forward = forward,
    .loss = loss,
    .predict = predict,
    .backward = backward,
    .products = products,
};
