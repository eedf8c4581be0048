/* A pass over one batch: forward, loss, backward, and how slices of the gradient leave. */
#include "architecture.h"

#include <assert.h>

/* ---- What the pieces call ----------------------------------------------------------------------------------- */

km_dropout km_pass_dropout(const km_pass *pass, uint32_t site, float p) {
    return (km_dropout){.key = {pass->key[0], pass->key[1]}, .site = site, .p = pass->dropout ? p : 0.0f};
}

void km_report(const km_pass *pass, size_t offset, const float *gradient, size_t count) {
    pass->sink->ready(pass->sink->payload, offset, gradient, count);
}

void km_report_done(const km_pass *pass, size_t offset) {
    pass->sink->done(pass->sink->payload, offset);
}

void km_report_dense(const km_pass *pass, const km_dense *dense, km_tensor dy, km_tensor x, int rows) {
    km_report_columns(pass, dense, dy, dense->out, x, rows);
}

void km_report_columns(const km_pass *pass, const km_dense *dense, km_tensor dy, int ldy, km_tensor x, int rows) {
    size_t count = (size_t)dense->in * (size_t)dense->out;
    float *dw = pass->work->gradient, *db = dw + count;
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_BACKWARD_PRODUCTS, km_linear_backward_weight_bf16(pass->work->gemm, dw, db, dy.h, ldy, x.h,
                                                                         rows, dense->in, dense->out));
    } else {
        KM_TIMED(KM_OP_BACKWARD_PRODUCTS,
                 km_linear_backward_columns(dw, db, dy.f, ldy, x.f, rows, dense->in, dense->out));
    }
    if (dense->b != KM_NO_BIAS) {
        km_report(pass, dense->b, db, (size_t)dense->out);
    }
    km_report(pass, dense->w, dw, count);
}

void km_norm_step_back(const km_pass *pass, const km_norm *norm, float *d, const float *x, const float *mean,
                       const float *rstd, int rows, int C) {
    float *dw = pass->work->gradient, *db = dw + C;
    KM_TIMED(KM_OP_BACKWARD_NORM, km_norm_backward(d, dw, db, d, x, mean, rstd, pass->weights + norm->w, rows, C));
    km_report(pass, norm->b, db, (size_t)C);
    km_report(pass, norm->w, dw, (size_t)C);
}

/* ---- The pass ----------------------------------------------------------------------------------------------- */

static void check_fits(const km_batch *batch, const km_work *work) {
    const km_batch_limits *most = &work->options.limits;
    assert(batch->views >= 1 && batch->views <= most->views);
    assert(batch->input.tokens == batch->input.starts[batch->views] && batch->input.tokens <= most->tokens);
    assert(batch->labelled >= 0 && batch->labelled <= most->labelled);
    assert(batch->input.longest <= most->longest);
    assert(batch->decoder.tokens <= most->decoder_tokens && batch->decoder.longest <= most->decoder_longest);
    (void)batch, (void)most;
}

/* The weights as the products of this pass read them. */
static const km_bf16 *rounded_weights(const km_model *model, const float *weights, km_work *work) {
    if (work->own_weights != NULL) {
        KM_TIMED(KM_OP_ROUNDING, km_bf16_round(work->own_weights, weights, model->table.size));
        return work->own_weights;
    }
    return work->options.rounded;
}

/* Which of the outputs belong to which view, and their keys. */
static km_queries outputs_of(const km_model *model, const km_batch *batch, km_work *work) {
    int count = 0, m = 0;
    const int last = model->stack_count - 1;
    const km_stream *stream = km_stack_stream(batch, last);
    const bool counts = model->stacks[last].is_decoder;
    const int32_t *at = model->head->kind->outputs(batch, &count);
    work->output_starts[0] = 0;
    for (int view = 0; view < batch->views; view++) {
        for (; m < count && at[m] < stream->starts[view + 1]; m++) {
            work->output_keys[m] = stream->keys[at[m]];
            if (counts) {
                work->output_visible[m] = at[m] - stream->starts[view] + 1;
            }
        }
        work->output_starts[view + 1] = m;
    }
    return (km_queries){count, work->output_starts, work->output_keys, at, counts ? work->output_visible : NULL};
}

static km_pass begin(const km_model *model, const float *weights, const km_batch *batch, km_work *work) {
    check_fits(batch, work);
    return (km_pass){.model = model,
                     .weights = weights,
                     .rounded = rounded_weights(model, weights, work),
                     .batch = batch,
                     .work = work,
                     .outputs = outputs_of(model, batch, work)};
}

/* What the last stack has made. */
static km_tensor hidden_of(const km_pass *pass) {
    const int last = pass->model->stack_count - 1;
    return pass->work->stacks[last].hidden[pass->model->stacks[last].L];
}

static void forward(const km_pass *pass) {
    pass->model->architecture->forward(pass);
    pass->model->head->kind->forward(pass, hidden_of(pass));
}

void km_model_gradient(const km_model *model, const float *weights, const km_batch *batch, uint64_t dropout_seed,
                       bool dropout, km_work *work, const km_sink *sink, km_loss_sum *out) {
    const km_head *head = model->head->kind;
    km_pass pass = begin(model, weights, batch, work);
    assert(work->options.backward);
    pass.sink = sink;
    pass.dropout = dropout;
    *out = (km_loss_sum){0};
    if (pass.outputs.count > 0) {
        km_rng_key(pass.key, dropout_seed, KM_RNG_DROPOUT);
        forward(&pass);
        *out = head->loss(&pass);
        head->backward(&pass, hidden_of(&pass), work->d_at);
        km_report_done(&pass, model->head_offset);
        model->architecture->backward(&pass);
    }
    km_report_done(&pass, 0);
}

const float *km_model_logits(const km_model *model, const float *weights, const km_batch *batch, km_work *work) {
    const km_pass pass = begin(model, weights, batch, work);
    if (pass.outputs.count > 0) {
        forward(&pass);
    }
    return work->logits;
}

void km_model_forward(const km_model *model, const float *weights, const km_batch *batch, km_work *work,
                      km_loss_sum *out, const float **probabilities) {
    const km_head *head = model->head->kind;
    const km_pass pass = begin(model, weights, batch, work);
    *out = (km_loss_sum){0};
    if (pass.outputs.count > 0) {
        forward(&pass);
        *out = head->loss(&pass);
        if (probabilities != NULL) {
            head->predict(&pass);
        }
    }
    if (probabilities != NULL) {
        *probabilities = work->logits;
    }
}

/* ---- The work that it is ------------------------------------------------------------------------------------ */

double km_model_flops(const km_model *model, const km_batch *batch) {
    int count = 0;
    (void)model->head->kind->outputs(batch, &count);
    if (count == 0) {
        return 0;
    }
    double products = 0;
    for (int stack = 0; stack < model->stack_count; stack++) {
        products += km_stack_products(model, stack, batch);
    }
    products += model->head->kind->products(model, batch);
    return 2 * 3 * products; /* backward has two products for each of forward's */
}
