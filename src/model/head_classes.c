/* The classification head: dense -> tanh -> dropout -> dense, of each view's first token, as transformers'
 * BertForSequenceClassification (whose first part is the pooler) and RobertaForSequenceClassification have it. With one label it
 * predicts a number and the loss is the squared error; with more the loss is the cross entropy. */
#include "head.h"

#include <math.h>

typedef struct parts {
    km_dense dense, out;
} parts;

typedef struct acts {
    km_tensor x;       /* (M,C) hidden states after the first dropout, where there is one */
    float *y;          /* (M,C) tanh(dense(x)) */
    km_tensor z;       /* (M,C) after dropout */
    float *d;          /* (M,C) its gradient */
    km_bf16 *d_logits; /* (M,K) the gradient of the logits, rounded; bf16 only */
    float *loss;       /* (M) */
    uint8_t *hit;      /* (M) */
} acts;

static const km_stack *stack_of(const km_model *model) {
    return &model->stacks[model->stack_count - 1];
}

static int labels_of(const km_model *model) {
    return (int)model->config.num_labels;
}

static const km_classes_options *options_of(const km_model *model) {
    return model->head->options;
}

/* Dropout of the tokens' hidden states (site 0) or of the tanh's results (1): the sites behind those of the last stack's layers. */
static km_dropout dropout_of(const km_pass *pass, uint32_t site) {
    const km_model_config *config = &pass->model->config;
    const km_stack *stack = stack_of(pass->model);
    double p = config->has_classifier_dropout ? config->classifier_dropout : (double)stack->hidden_dropout;
    return km_pass_dropout(pass, km_stack_site(stack, stack->L) + site, (float)p);
}

static void drop(const km_pass *pass, float *y, const float *x, uint32_t site) {
    const km_dropout dropout = dropout_of(pass, site);
    const int M = pass->outputs.count, C = stack_of(pass->model)->C;
    KM_TIMED(KM_OP_DROPOUT, km_dropout_apply(y, x, &dropout, pass->outputs.keys, M, C));
}

static void round_in_bf16(const km_pass *pass, km_tensor t, int columns) {
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_ROUNDING, km_bf16_round(t.h, t.f, (size_t)pass->outputs.count * (size_t)columns));
    }
}

/* ---- Checks --------------------------------------------------------------------------------------------------- */

static km_status check_config(const km_model_config *config) {
    const int64_t most = 1 << 16;
    if (config->num_labels < 1 || config->num_labels > most) {
        return km_fail(KM_USAGE, "model.num_labels is %lld; a classifier needs 1 (a number) to %lld labels.",
                       (long long)config->num_labels, (long long)most);
    }
    return KM_OK;
}

static km_status check_batch(const km_model *model, const km_batch *batch) {
    const int K = labels_of(model);
    if ((K == 1 && batch->numbers == NULL) || (K > 1 && batch->classes == NULL)) {
        return km_fail(KM_USAGE, "the batch has no %s for its views.", K == 1 ? "numbers" : "classes");
    }
    for (int view = 0; view < batch->views; view++) {
        if (K > 1 && (batch->classes[view] < 0 || batch->classes[view] >= K)) {
            return km_fail(KM_USAGE, "view %d has class %d; expected 0 to %d.", view, batch->classes[view], K - 1);
        }
        if (K == 1 && !isfinite(batch->numbers[view])) {
            return km_fail(KM_USAGE, "view %d has a number that is not finite.", view);
        }
    }
    return KM_OK;
}

/* ---- Places --------------------------------------------------------------------------------------------------- */

static void place(km_model *model, km_table *table) {
    const int C = stack_of(model)->C;
    parts *p = model->head_parts;
    p->dense = km_table_add_dense(table, C, C, options_of(model)->dense);
    p->out = km_table_add_dense(table, C, labels_of(model), options_of(model)->out);
}

static void place_work(km_work *work, km_arena *arena) {
    const int M = work->most_outputs, C = stack_of(work->model)->C, K = labels_of(work->model);
    const size_t count = (size_t)M * (size_t)C;
    acts *a = work->head;
    a->x = km_work_beside(arena, work, km_work_floats(arena, M, C), count);
    a->y = km_work_floats(arena, M, C);
    a->z = km_work_beside(arena, work, km_work_floats(arena, M, C), count);
    a->d = km_work_floats(arena, M, C);
    a->d_logits = work->options.bf16 ? km_arena_take(arena, (size_t)M * (size_t)K, sizeof(km_bf16)) : NULL;
    work->logits = km_work_floats(arena, M, K);
    a->loss = km_work_floats(arena, M, 1);
    a->hit = km_arena_take(arena, (size_t)M, sizeof *a->hit);
}

static size_t largest_slice(const km_model *model) {
    const size_t C = (size_t)stack_of(model)->C;
    return KM_MAX(C, (size_t)labels_of(model)) * (C + 1);
}

/* Each view's first token. A batch that labels places has all of these read instead, so that `kmask probe` sees their hidden states;
 * such a batch has no loss. */
static const int32_t *outputs(const km_batch *batch, int *count) {
    *count = batch->labelled > 0 ? batch->labelled : batch->views;
    return batch->labelled > 0 ? batch->at : batch->input.starts;
}

static int most_outputs(const km_batch_limits *limits) {
    return KM_MAX(limits->views, limits->labelled);
}

/* ---- Forward and backward ------------------------------------------------------------------------------------- */

static km_tensor input_of(const km_pass *pass, km_tensor hidden) {
    const acts *a = pass->work->head;
    return options_of(pass->model)->dropout_first ? a->x : hidden;
}

static void forward(const km_pass *pass, km_tensor hidden) {
    const parts *p = pass->model->head_parts;
    const acts *a = pass->work->head;
    const int M = pass->outputs.count, C = p->dense.out;
    if (options_of(pass->model)->dropout_first) {
        drop(pass, a->x.f, hidden.f, 0);
        round_in_bf16(pass, a->x, C);
    }
    km_dense_forward(pass, &p->dense, (km_tensor){a->y, NULL}, input_of(pass, hidden), M, true);
    for (size_t i = 0; i < (size_t)M * (size_t)C; i++) {
        a->y[i] = tanhf(a->y[i]);
    }
    drop(pass, a->z.f, a->y, 1);
    round_in_bf16(pass, a->z, C);
    km_dense_forward(pass, &p->out, (km_tensor){pass->work->logits, NULL}, a->z, M, true);
}

static void squared_errors(const km_pass *pass) {
    const acts *a = pass->work->head;
    float *logits = pass->work->logits;
    for (int m = 0; m < pass->outputs.count; m++) {
        float error = logits[m] - pass->batch->numbers[m];
        a->loss[m] = error * error;
        a->hit[m] = 0;
        logits[m] = pass->sink != NULL ? 2 * error : logits[m];
    }
}

static km_loss_sum loss(const km_pass *pass) {
    const acts *a = pass->work->head;
    const int M = pass->outputs.count, K = labels_of(pass->model);
    km_loss_sum sum = {.masked = M};
    if (K == 1) {
        squared_errors(pass);
    } else {
        KM_TIMED(KM_OP_LOSS, km_loss(pass->work->logits, a->loss, a->hit, NULL, pass->batch->classes,
                                     pass->sink != NULL, M, K));
    }
    for (int m = 0; m < M; m++) {
        sum.loss += (double)a->loss[m];
        sum.correct += a->hit[m];
    }
    return sum;
}

static void predict(const km_pass *pass) {
    if (labels_of(pass->model) > 1) {
        km_softmax(pass->work->logits, NULL, pass->outputs.count, labels_of(pass->model));
    }
}

static void backward(const km_pass *pass, km_tensor hidden, float *dx) {
    const parts *p = pass->model->head_parts;
    const acts *a = pass->work->head;
    const int M = pass->outputs.count, C = p->dense.out, K = p->out.out;
    const km_tensor d_logits = {pass->work->logits, a->d_logits};
    round_in_bf16(pass, d_logits, K);
    km_report_dense(pass, &p->out, d_logits, a->z, M);
    km_dense_backward(pass, &p->out, (km_tensor){a->d, NULL}, d_logits, K, M, false);
    drop(pass, a->d, a->d, 1);
    for (size_t i = 0; i < (size_t)M * (size_t)C; i++) {
        a->d[i] *= 1 - a->y[i] * a->y[i];
    }
    const km_tensor dy = km_product_operand(pass, a->d, M, C);
    km_report_dense(pass, &p->dense, dy, input_of(pass, hidden), M);
    km_dense_backward(pass, &p->dense, (km_tensor){dx, NULL}, dy, C, M, false);
    if (options_of(pass->model)->dropout_first) {
        drop(pass, dx, dx, 0);
    }
}

static double products(const km_model *model, const km_batch *batch) {
    double C = stack_of(model)->C;
    return batch->views * C * (C + labels_of(model));
}

const km_head km_head_classes = {
    .parts_size = sizeof(parts),
    .work_size = sizeof(acts),
    .check_config = check_config,
    .check_batch = check_batch,
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
