/* A pass over one batch: forward, loss, backward, and how slices of the gradient leave. */
#include "parts.h"

#include <assert.h>

/* ---- What the pieces call ----------------------------------------------------------------------------------- */

km_dropout km_pass_dropout(const km_pass *pass, uint32_t site, float p) {
    return (km_dropout){.key = {pass->key[0], pass->key[1]}, .site = site, .p = pass->dropout ? p : 0.0f};
}

void km_report(const km_pass *pass, size_t offset, const float *gradient, size_t count) {
    pass->sink->ready(pass->sink->payload, offset, gradient, count);
}

void km_report_dense(const km_pass *pass, const km_dense *dense, km_tensor dy, km_tensor x, int rows) {
    km_report_columns(pass, dense, dy, dense->out, x, rows);
}

void km_report_columns(const km_pass *pass, const km_dense *dense, km_tensor dy, int ldy, km_tensor x, int rows) {
    size_t count = (size_t)dense->in * (size_t)dense->out;
    float *dw = pass->work->gradient, *db = dw + count;
    if (pass->rounded != NULL) {
        km_linear_backward_weight_bf16(pass->work->gemm, dw, db, dy.h, ldy, x.h, rows, dense->in, dense->out);
    } else {
        km_linear_backward_columns(dw, db, dy.f, ldy, x.f, rows, dense->in, dense->out);
    }
    km_report(pass, dense->b, db, (size_t)dense->out);
    km_report(pass, dense->w, dw, count);
}

void km_norm_step_back(const km_pass *pass, const km_norm *norm, float *d, const float *x, const float *mean,
                       const float *rstd, int rows) {
    int C = pass->model->C;
    float *dw = pass->work->gradient, *db = dw + C;
    km_norm_backward(d, dw, db, d, x, mean, rstd, pass->weights + norm->w, rows, C);
    km_report(pass, norm->b, db, (size_t)C);
    km_report(pass, norm->w, dw, (size_t)C);
}

/* ---- The pass ----------------------------------------------------------------------------------------------- */

static void check_fits(const km_batch *batch, const km_work *work) {
    assert(batch->views >= 1 && batch->views <= work->options.limits.views);
    assert(batch->input.tokens == batch->input.starts[batch->views] &&
           batch->input.tokens <= work->options.limits.tokens);
    assert(batch->labelled >= 0 && batch->labelled <= work->options.limits.labelled);
    assert(batch->input.longest <= work->options.limits.longest);
    (void)batch, (void)work;
}

/* The weights as the products of this pass read them. */
static const km_bf16 *rounded_weights(const km_model *model, const float *weights, km_work *work) {
    if (work->own_weights != NULL) {
        km_bf16_round(work->own_weights, weights, model->table.size);
        return work->own_weights;
    }
    return work->options.rounded;
}

static void forward(const km_pass *pass, bool biased) {
    check_fits(pass->batch, pass->work);
    km_embedding_forward(pass);
    km_encoder_forward(pass);
    km_head_forward(pass, pass->work->hidden[pass->model->L], biased);
}

/* In double and in the order of tokens. */
static km_loss_sum sum_losses(const km_head_acts *acts, int M) {
    km_loss_sum sum = {.masked = M};
    for (int m = 0; m < M; m++) {
        sum.loss += (double)acts->loss[m];
        sum.correct += acts->hit[m];
    }
    return sum;
}

void km_model_gradient(const km_model *model, const float *weights, const km_batch *batch, uint64_t dropout_seed,
                       bool dropout, km_work *work, const km_sink *sink, km_loss_sum *out) {
    km_head_acts *head = &work->head;
    int M = batch->labelled;
    assert(work->options.backward);
    km_pass pass = {.model = model,
                    .weights = weights,
                    .rounded = rounded_weights(model, weights, work),
                    .batch = batch,
                    .work = work,
                    .sink = sink,
                    .dropout = dropout};
    *out = (km_loss_sum){0};
    if (M > 0) {
        km_rng_key(pass.key, dropout_seed, KM_RNG_DROPOUT);
        forward(&pass, false);
        if (pass.rounded != NULL) {
            km_loss_bf16(head->logits, head->loss, head->hit, weights + model->head.bias, batch->labels, M,
                         model->V);
        } else {
            km_loss(head->logits, head->loss, head->hit, weights + model->head.bias, batch->labels, true, M,
                    model->V);
        }
        *out = sum_losses(head, M);
        km_head_backward(&pass, work->hidden[model->L], work->d_at);
        sink->done(sink->payload, model->head.dense.w);
        km_encoder_backward(&pass);
        km_embedding_backward(&pass);
    }
    sink->done(sink->payload, 0);
}

const float *km_model_logits(const km_model *model, const float *weights, const km_batch *batch, km_work *work) {
    km_pass pass = {.model = model,
                    .weights = weights,
                    .rounded = rounded_weights(model, weights, work),
                    .batch = batch,
                    .work = work};
    if (batch->labelled > 0) {
        forward(&pass, true);
    }
    return work->head.logits;
}

void km_model_forward(const km_model *model, const float *weights, const km_batch *batch, km_work *work,
                      km_loss_sum *out, const float **probabilities) {
    km_head_acts *head = &work->head;
    int M = batch->labelled;
    km_model_logits(model, weights, batch, work);
    if (M > 0) {
        km_loss(head->logits, head->loss, head->hit, NULL, batch->labels, false, M, model->V);
    }
    *out = sum_losses(head, M);
    if (probabilities != NULL) {
        if (M > 0) {
            km_softmax(head->logits, NULL, M, model->V);
        }
        *probabilities = head->logits;
    }
}

/* ---- The work that it is ------------------------------------------------------------------------------------ */

/* Pairs of a query and a key, over all views; the last layer's queries are the labelled tokens. */
static void count_pairs(double *all, double *labelled, const km_batch *batch) {
    int m = 0;
    *all = *labelled = 0;
    for (int view = 0; view < batch->views; view++) {
        double length = batch->input.starts[view + 1] - batch->input.starts[view];
        *all += length * length;
        for (; m < batch->labelled && batch->at[m] < batch->input.starts[view + 1]; m++) {
            *labelled += length;
        }
    }
}

double km_model_flops(const km_model *model, const km_batch *batch) {
    double N = batch->input.tokens, M = batch->labelled, C = model->C, I = model->I, V = model->V;
    double pairs = 0, labelled_pairs = 0;
    if (batch->labelled == 0) {
        return 0;
    }
    count_pairs(&pairs, &labelled_pairs, batch);
    double layer = N * (4 * C * C + 2 * C * I) + 2 * pairs * C;
    double last = 2 * N * C * C + M * (2 * C * C + 2 * C * I) + 2 * labelled_pairs * C;
    double head = M * (C * C + C * V);
    double forward_products = (model->L - 1) * layer + last + head;
    return 2 * 3 * forward_products; /* backward has two products for each of forward's */
}
