/* One layer of a post-norm transformer. Where only some rows are wanted (the last layer, whose output is read at
 * the labelled tokens alone), queries and everything behind the attention are computed for those rows; keys and
 * values for all. Dropout is keyed by token, so this changes no result. */
#include "parts.h"

#include <assert.h>

/* ---- Block ends --------------------------------------------------------------------------------------------- */

void km_ending_forward(const km_pass *pass, const km_dense *dense, const km_norm *norm, const km_ending *ending,
                       const float *x, const float *residual, const km_rows *rows, uint32_t site) {
    const float *w = pass->weights;
    km_dropout dropout = km_pass_dropout(pass, site, pass->model->hidden_dropout);
    km_linear_forward(ending->sum, x, w + dense->w, NULL, rows->count, dense->in, dense->out);
    km_residual_norm_forward(ending->y, ending->sum, ending->mean, ending->rstd, ending->sum, w + dense->b,
                             residual, &dropout, rows->keys, w + norm->w, w + norm->b, pass->model->eps,
                             rows->count, dense->out);
}

void km_ending_backward(const km_pass *pass, const km_dense *dense, const km_norm *norm, const km_ending *ending,
                        const float *x, const km_rows *rows, uint32_t site, float *d, float *dx) {
    km_dropout dropout = km_pass_dropout(pass, site, pass->model->hidden_dropout);
    const float *d_dense = d;
    km_norm_step_back(pass, norm, d, ending->sum, ending->mean, ending->rstd, rows->count);
    if (dropout.p > 0) {
        km_dropout_apply(ending->sum, d, &dropout, rows->keys, rows->count, dense->out);
        d_dense = ending->sum; /* the norm was the last to need it */
    }
    km_report_dense(pass, dense, d_dense, x, rows->count);
    km_linear_backward_input(dx, d_dense, pass->weights + dense->w, rows->count, dense->in, dense->out, false);
}

/* ---- Queries, keys, values ---------------------------------------------------------------------------------- */

/* For all rows q|k|v are the thirds of (N,3C). For some, q is (count,C); behind it k|v are the halves of (N,2C). */
typedef struct qkv_view {
    float *q, *k, *v;
    int ldq, ldk;
} qkv_view;

static qkv_view view_qkv(float *base, const km_rows *rows, int C) {
    if (rows->at == NULL) {
        return (qkv_view){base, base + C, base + 2 * C, 3 * C, 3 * C};
    }
    size_t queries = ((size_t)rows->count * (size_t)C + 15) / 16 * 16; /* keeps k|v aligned; work.c has room */
    return (qkv_view){base, base + queries, base + queries + C, C, 2 * C};
}

/* The fused product's parts: query rows, and key and value rows. */
static km_dense only_query(const km_dense *qkv) {
    return (km_dense){qkv->w, qkv->b, qkv->in, qkv->in};
}

static km_dense only_key_value(const km_dense *qkv) {
    size_t C = (size_t)qkv->in;
    return (km_dense){qkv->w + C * C, qkv->b + C, qkv->in, 2 * qkv->in};
}

static void dense_forward(const km_pass *pass, const km_dense *dense, float *y, const float *x, int rows) {
    km_linear_forward(y, x, pass->weights + dense->w, pass->weights + dense->b, rows, dense->in, dense->out);
}

static void project_forward(const km_pass *pass, const km_dense *qkv, const qkv_view *view, const float *x,
                            const float *x_at, const km_rows *rows) {
    if (rows->at == NULL) {
        dense_forward(pass, qkv, view->q, x, pass->batch->tokens);
        return;
    }
    km_dense query = only_query(qkv), key_value = only_key_value(qkv);
    dense_forward(pass, &query, view->q, x_at, rows->count);
    dense_forward(pass, &key_value, view->k, x, pass->batch->tokens);
}

/* d (count,C) holds the gradient that reached x past the attention; dx (N,C) becomes all of it. */
static void project_backward(const km_pass *pass, const km_dense *qkv, const qkv_view *dview, const float *x,
                             const float *x_at, const km_rows *rows, float *d, float *dx) {
    const float *w = pass->weights;
    int N = pass->batch->tokens, C = qkv->in;
    if (rows->at == NULL) {
        assert(d == dx);
        km_report_dense(pass, qkv, dview->q, x, N);
        km_linear_backward_input(dx, dview->q, w + qkv->w, N, C, 3 * C, true);
        return;
    }
    km_dense query = only_query(qkv), key_value = only_key_value(qkv);
    km_report_dense(pass, &key_value, dview->k, x, N);
    km_report_dense(pass, &query, dview->q, x_at, rows->count);
    km_linear_backward_input(dx, dview->k, w + key_value.w, N, C, 2 * C, false);
    km_linear_backward_input(d, dview->q, w + query.w, rows->count, C, C, true);
    km_scatter_add_rows(dx, d, rows->at, rows->count, C);
}

static km_attention attention_shape(const km_pass *pass, const km_layer_acts *acts, const km_rows *rows,
                                    const qkv_view *view, uint32_t site) {
    const km_model *model = pass->model;
    return (km_attention){.views = pass->batch->views,
                          .H = model->H,
                          .D = model->C / model->H,
                          .q_starts = rows->starts,
                          .k_starts = pass->batch->starts,
                          .ldq = view->ldq,
                          .ldk = view->ldk,
                          .ldo = model->C,
                          .dropout = km_pass_dropout(pass, site, model->attention_dropout),
                          .keys = rows->keys,
                          .kept = acts->kept,
                          .kept_words = pass->work->kept_words,
                          .seen = pass->batch->seen};
}

/* ---- The layer ---------------------------------------------------------------------------------------------- */

static const float *rows_of(const km_pass *pass, const float *x, const km_rows *rows) {
    if (rows->at == NULL) {
        return x;
    }
    km_gather_rows(pass->work->input_at, x, rows->at, rows->count, pass->model->C);
    return pass->work->input_at;
}

void km_layer_forward(const km_pass *pass, const km_layer_parts *parts, const km_layer_acts *acts, const float *x,
                      const km_rows *rows, uint32_t site) {
    const float *w = pass->weights;
    const km_dense *wide = &parts->intermediate;
    const float *x_at = rows_of(pass, x, rows);
    qkv_view view = view_qkv(acts->qkv, rows, pass->model->C);
    km_attention shape = attention_shape(pass, acts, rows, &view, site);

    project_forward(pass, &parts->qkv, &view, x, x_at, rows);
    km_attention_forward(acts->context, acts->lse, view.q, view.k, view.v, &shape, pass->work->attention);
    km_ending_forward(pass, &parts->attention_output, &parts->attention_norm, &acts->attention, acts->context, x_at,
                      rows, site + 1);
    km_linear_forward(acts->u, acts->attention.y, w + wide->w, NULL, rows->count, wide->in, wide->out);
    km_gelu_forward(acts->g, acts->u, w + wide->b, pass->model->act, rows->count, wide->out);
    km_ending_forward(pass, &parts->output, &parts->output_norm, &acts->output, acts->g, acts->attention.y, rows,
                      site + 2);
}

void km_layer_backward(const km_pass *pass, const km_layer_parts *parts, const km_layer_acts *acts, const float *x,
                       const km_rows *rows, uint32_t site, float *dy, float *dx) {
    const km_dense *wide = &parts->intermediate;
    const float *x_at = rows->at == NULL ? x : pass->work->input_at;

    km_ending_backward(pass, &parts->output, &parts->output_norm, &acts->output, acts->g, rows, site + 2, dy,
                       acts->g);
    km_gelu_backward(acts->g, acts->g, acts->u, pass->model->act, rows->count, wide->out);
    km_report_dense(pass, wide, acts->g, acts->attention.y, rows->count);
    km_linear_backward_input(dy, acts->g, pass->weights + wide->w, rows->count, wide->in, wide->out, true);

    km_ending_backward(pass, &parts->attention_output, &parts->attention_norm, &acts->attention, acts->context,
                       rows, site + 1, dy, acts->context);
    qkv_view view = view_qkv(acts->qkv, rows, pass->model->C);
    qkv_view dview = view_qkv(acts->u, rows, pass->model->C);
    km_attention shape = attention_shape(pass, acts, rows, &view, site);
    km_attention_backward(dview.q, dview.k, dview.v, acts->context, acts->lse, view.q, view.k, view.v, &shape,
                          pass->work->attention);
    project_backward(pass, &parts->qkv, &dview, x, x_at, rows, dy, dx);
}
