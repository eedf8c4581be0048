/* One layer of a post-norm transformer. Where only some rows are wanted (the last layer, whose output is read at
 * the labelled tokens alone), queries and everything behind the attention are computed for those rows; keys and
 * values for all. Dropout is keyed by token, so this changes no result. */
#include "parts.h"

#include <assert.h>

/* ---- Block ends --------------------------------------------------------------------------------------------- */

void km_ending_forward(const km_pass *pass, const km_dense *dense, const km_norm *norm, const km_ending *ending,
                       km_tensor x, const float *residual, const km_rows *rows, uint32_t site) {
    const float *w = pass->weights;
    km_dropout dropout = km_pass_dropout(pass, site, pass->model->hidden_dropout);
    km_dense_forward(pass, dense, (km_tensor){ending->sum, NULL}, x, rows->count, false);
    if (pass->rounded != NULL) {
        km_residual_norm_forward_bf16(ending->y.f, ending->y.h, ending->sum, ending->mean, ending->rstd,
                                      ending->sum, w + dense->b, residual, &dropout, rows->keys, w + norm->w,
                                      w + norm->b, pass->model->eps, rows->count, dense->out);
    } else {
        km_residual_norm_forward(ending->y.f, ending->sum, ending->mean, ending->rstd, ending->sum, w + dense->b,
                                 residual, &dropout, rows->keys, w + norm->w, w + norm->b, pass->model->eps,
                                 rows->count, dense->out);
    }
}

void km_ending_backward(const km_pass *pass, const km_dense *dense, const km_norm *norm, const km_ending *ending,
                        km_tensor x, const km_rows *rows, uint32_t site, float *d, km_tensor dx) {
    km_dropout dropout = km_pass_dropout(pass, site, pass->model->hidden_dropout);
    km_norm_step_back(pass, norm, d, ending->sum, ending->mean, ending->rstd, rows->count);
    /* The norm was the last to need its input. */
    km_tensor dy = km_dropout_of(pass, d, ending->sum, &dropout, rows->keys, rows->count, dense->out);
    km_report_dense(pass, dense, dy, x, rows->count);
    km_dense_backward(pass, dense, dx, dy, dense->out, rows->count, false);
}

/* ---- Queries, keys, values ---------------------------------------------------------------------------------- */

/* For all rows q|k|v are the thirds of (N,3C). For some, q is (count,C); behind it k|v are the halves of (N,2C). */
typedef struct qkv_view {
    km_tensor q, k, v;
    int ldq, ldk;
} qkv_view;

static qkv_view view_qkv(km_tensor base, const km_rows *rows, int C) {
    const size_t c = (size_t)C;
    if (rows->at == NULL) {
        return (qkv_view){base, km_tensor_at(base, c), km_tensor_at(base, 2 * c), 3 * C, 3 * C};
    }
    /* keeps k|v aligned; work.c has room */
    size_t queries = ((size_t)rows->count * c + KM_QKV_GAP - 1) / KM_QKV_GAP * KM_QKV_GAP;
    return (qkv_view){base, km_tensor_at(base, queries), km_tensor_at(base, queries + c), C, 2 * C};
}

/* The fused product's parts: query rows, and key and value rows. */
static km_dense only_query(const km_dense *qkv) {
    return (km_dense){qkv->w, qkv->b, qkv->in, qkv->in};
}

static km_dense only_key_value(const km_dense *qkv) {
    size_t C = (size_t)qkv->in;
    return (km_dense){qkv->w + C * C, qkv->b + C, qkv->in, 2 * qkv->in};
}

static void project_forward(const km_pass *pass, const km_dense *qkv, const qkv_view *view, km_tensor x,
                            km_tensor x_at, const km_rows *rows) {
    if (rows->at == NULL) {
        km_dense_forward(pass, qkv, view->q, x, pass->batch->input.tokens, true);
        return;
    }
    km_dense query = only_query(qkv), key_value = only_key_value(qkv);
    km_dense_forward(pass, &query, view->q, x_at, rows->count, true);
    km_dense_forward(pass, &key_value, view->k, x, pass->batch->input.tokens, true);
}

/* d (count,C) holds the gradient that reached x past the attention; dx (N,C) becomes all of it. */
static void project_backward(const km_pass *pass, const km_dense *qkv, const qkv_view *dview, km_tensor x,
                             km_tensor x_at, const km_rows *rows, float *d, float *dx) {
    int N = pass->batch->input.tokens, C = qkv->in;
    km_tensor to_d = {d, NULL}, to_dx = {dx, NULL};
    if (rows->at == NULL) {
        assert(d == dx);
        km_report_dense(pass, qkv, dview->q, x, N);
        km_dense_backward(pass, qkv, to_dx, dview->q, 3 * C, N, true);
        return;
    }
    km_dense query = only_query(qkv), key_value = only_key_value(qkv);
    km_report_dense(pass, &key_value, dview->k, x, N);
    km_report_dense(pass, &query, dview->q, x_at, rows->count);
    km_dense_backward(pass, &key_value, to_dx, dview->k, 2 * C, N, false);
    km_dense_backward(pass, &query, to_d, dview->q, C, rows->count, true);
    km_scatter_add_rows(dx, d, rows->at, rows->count, C);
}

static km_attention attention_shape(const km_pass *pass, const km_layer_acts *acts, const km_rows *rows,
                                    const qkv_view *view, uint32_t site) {
    const km_model *model = pass->model;
    return (km_attention){.views = pass->batch->views,
                          .H = model->H,
                          .D = model->C / model->H,
                          .q_starts = rows->starts,
                          .k_starts = pass->batch->input.starts,
                          .ldq = view->ldq,
                          .ldk = view->ldk,
                          .ldo = model->C,
                          .dropout = km_pass_dropout(pass, site, model->attention_dropout),
                          .keys = rows->keys,
                          .kept = acts->kept,
                          .kept_words = pass->work->kept_words,
                          .seen = pass->batch->input.seen};
}

static void attend_forward(const km_pass *pass, const km_layer_acts *acts, const qkv_view *view,
                           const km_attention *shape) {
    float *scratch = pass->work->attention;
    if (pass->rounded != NULL) {
        km_attention_forward_bf16(acts->context.h, acts->lse, view->q.h, view->k.h, view->v.h, shape, scratch);
    } else {
        km_attention_forward(acts->context.f, acts->lse, view->q.f, view->k.f, view->v.f, shape, scratch);
    }
}

/* acts->context holds its gradient. */
static void attend_backward(const km_pass *pass, const km_layer_acts *acts, const qkv_view *dview,
                            const qkv_view *view, const km_attention *shape) {
    float *scratch = pass->work->attention;
    if (pass->rounded != NULL) {
        km_attention_backward_bf16(dview->q.h, dview->k.h, dview->v.h, acts->context.h, acts->lse, view->q.h,
                                   view->k.h, view->v.h, shape, scratch);
    } else {
        km_attention_backward(dview->q.f, dview->k.f, dview->v.f, acts->context.f, acts->lse, view->q.f, view->k.f,
                              view->v.f, shape, scratch);
    }
}

/* ---- The layer ---------------------------------------------------------------------------------------------- */

static km_tensor rows_of(const km_pass *pass, km_tensor x, const km_rows *rows) {
    if (rows->at == NULL) {
        return x;
    }
    km_tensor_gather(pass, pass->work->input_at, x, rows->at, rows->count, pass->model->C);
    return pass->work->input_at;
}

void km_layer_forward(const km_pass *pass, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                      const km_rows *rows, uint32_t site) {
    km_tensor x_at = rows_of(pass, x, rows), y = acts->attention.y;
    qkv_view view = view_qkv(acts->qkv, rows, pass->model->C);
    km_attention shape = attention_shape(pass, acts, rows, &view, site);

    project_forward(pass, &parts->qkv, &view, x, x_at, rows);
    attend_forward(pass, acts, &view, &shape);
    km_ending_forward(pass, &parts->attention_output, &parts->attention_norm, &acts->attention, acts->context,
                      x_at.f, rows, site + 1);
    km_dense_gelu_forward(pass, &parts->intermediate, acts->g, acts->u, y, rows->count);
    km_ending_forward(pass, &parts->output, &parts->output_norm, &acts->output, acts->g, y.f, rows, site + 2);
}

void km_layer_backward(const km_pass *pass, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                       const km_rows *rows, uint32_t site, float *dy, float *dx) {
    const km_dense *wide = &parts->intermediate;
    km_tensor x_at = rows->at == NULL ? x : pass->work->input_at;

    km_ending_backward(pass, &parts->output, &parts->output_norm, &acts->output, acts->g, rows, site + 2, dy,
                       acts->g);
    km_gelu_step_back(pass, acts->g, acts->u, rows->count, wide->out);
    km_report_dense(pass, wide, acts->g, acts->attention.y, rows->count);
    km_dense_backward(pass, wide, (km_tensor){dy, NULL}, acts->g, wide->out, rows->count, true);

    km_ending_backward(pass, &parts->attention_output, &parts->attention_norm, &acts->attention, acts->context,
                       rows, site + 1, dy, acts->context);
    qkv_view view = view_qkv(acts->qkv, rows, pass->model->C);
    qkv_view dview = view_qkv(acts->u, rows, pass->model->C);
    km_attention shape = attention_shape(pass, acts, rows, &view, site);
    attend_backward(pass, acts, &dview, &view, &shape);
    project_backward(pass, &parts->qkv, &dview, x, x_at, rows, dy, dx);
}
