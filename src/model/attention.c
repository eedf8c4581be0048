/* The attention block of a post-norm transformer. Where only some rows are wanted (in the last layer, whose output is read at
 * few tokens), queries and everything behind the attention are computed for those rows; keys and values for all. Dropout is keyed
 * by token, so this changes no result. */
#include "architecture.h"

#include <assert.h>

/* ---- Queries, keys, values ---------------------------------------------------------------------------------- */

/* For all rows q|k|v are the thirds of (N,3C). For some, q is (count,C); behind it k|v are the halves of (N,2C). */
typedef struct qkv_view {
    km_tensor q, k, v;
    int ldq, ldk;
} qkv_view;

static qkv_view view_qkv(km_tensor base, const km_queries *queries, int C) {
    const size_t c = (size_t)C;
    if (queries->at == NULL) {
        return (qkv_view){base, km_tensor_at(base, c), km_tensor_at(base, 2 * c), 3 * C, 3 * C};
    }
    /* keeps k|v aligned; stack.c has room */
    size_t rows = ((size_t)queries->count * c + KM_QKV_GAP - 1) / KM_QKV_GAP * KM_QKV_GAP;
    return (qkv_view){base, km_tensor_at(base, rows), km_tensor_at(base, rows + c), C, 2 * C};
}

/* The fused product's parts: query rows, and key and value rows. */
static km_dense only_query(const km_dense *qkv) {
    return (km_dense){qkv->w, qkv->b, qkv->in, qkv->in};
}

static km_dense only_key_value(const km_dense *qkv) {
    size_t C = (size_t)qkv->in;
    return (km_dense){qkv->w + C * C, qkv->b + C, qkv->in, 2 * qkv->in};
}

static void project_forward(const km_stack_pass *in, const km_dense *qkv, const qkv_view *view, km_tensor x,
                            km_tensor x_at, const km_queries *queries) {
    const km_pass *pass = in->pass;
    if (queries->at == NULL) {
        km_dense_forward(pass, qkv, view->q, x, in->stream->tokens, true);
        return;
    }
    km_dense query = only_query(qkv), key_value = only_key_value(qkv);
    km_dense_forward(pass, &query, view->q, x_at, queries->count, true);
    km_dense_forward(pass, &key_value, view->k, x, in->stream->tokens, true);
}

/* d (count,C) holds the gradient that reached x past the attention; dx (N,C) becomes all of it. */
static void project_backward(const km_stack_pass *in, const km_dense *qkv, const qkv_view *dview, km_tensor x,
                             km_tensor x_at, const km_queries *queries, float *d, float *dx) {
    const km_pass *pass = in->pass;
    int N = in->stream->tokens, C = qkv->in;
    km_tensor to_d = {d, NULL}, to_dx = {dx, NULL};
    if (queries->at == NULL) {
        assert(d == dx);
        km_report_dense(pass, qkv, dview->q, x, N);
        km_dense_backward(pass, qkv, to_dx, dview->q, 3 * C, N, true);
        return;
    }
    km_dense query = only_query(qkv), key_value = only_key_value(qkv);
    km_report_dense(pass, &key_value, dview->k, x, N);
    km_report_dense(pass, &query, dview->q, x_at, queries->count);
    km_dense_backward(pass, &key_value, to_dx, dview->k, 2 * C, N, false);
    km_dense_backward(pass, &query, to_d, dview->q, C, queries->count, true);
    KM_TIMED(KM_OP_BACKWARD_EMBEDDING, km_scatter_add_rows(dx, d, queries->at, queries->count, C));
}

/* ---- The attention itself ------------------------------------------------------------------------------------- */

static km_attention attention_shape(const km_stack_pass *in, const km_attention_acts *acts,
                                    const km_queries *queries, const qkv_view *view, uint32_t site) {
    const km_stack *stack = in->stack;
    return (km_attention){.views = in->pass->batch->views,
                          .H = stack->H,
                          .D = stack->C / stack->H,
                          .q_starts = queries->starts,
                          .k_starts = in->stream->starts,
                          .ldq = view->ldq,
                          .ldk = view->ldk,
                          .ldo = stack->C,
                          .dropout = km_pass_dropout(in->pass, site, stack->attention_dropout),
                          .keys = queries->keys,
                          .kept = acts->kept,
                          .kept_words = in->pass->work->kept_words,
                          .seen = in->stream->seen};
}

static void attend_forward(const km_pass *pass, const km_attention_acts *acts, const qkv_view *view,
                           const km_attention *shape) {
    float *scratch = pass->work->attention;
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_FORWARD_ATTENTION, km_attention_forward_bf16(acts->context.h, acts->lse, view->q.h,
                                                                    view->k.h, view->v.h, shape, scratch));
    } else {
        KM_TIMED(KM_OP_FORWARD_ATTENTION,
                 km_attention_forward(acts->context.f, acts->lse, view->q.f, view->k.f, view->v.f, shape, scratch));
    }
}

/* acts->context holds its gradient. */
static void attend_backward(const km_pass *pass, const km_attention_acts *acts, const qkv_view *dview,
                            const qkv_view *view, const km_attention *shape) {
    float *scratch = pass->work->attention;
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_BACKWARD_ATTENTION,
                 km_attention_backward_bf16(dview->q.h, dview->k.h, dview->v.h, acts->context.h, acts->lse,
                                            view->q.h, view->k.h, view->v.h, shape, scratch));
    } else {
        KM_TIMED(KM_OP_BACKWARD_ATTENTION,
                 km_attention_backward(dview->q.f, dview->k.f, dview->v.f, acts->context.f, acts->lse, view->q.f,
                                       view->k.f, view->v.f, shape, scratch));
    }
}

/* ---- The block ------------------------------------------------------------------------------------------------ */

void km_attention_block_forward(const km_stack_pass *in, const km_attention_parts *parts,
                                const km_attention_acts *acts, km_tensor x, km_tensor x_at,
                                const km_queries *queries, uint32_t site) {
    const qkv_view view = view_qkv(acts->qkv, queries, in->stack->C);
    const km_attention shape = attention_shape(in, acts, queries, &view, site);
    project_forward(in, &parts->qkv, &view, x, x_at, queries);
    attend_forward(in->pass, acts, &view, &shape);
    km_block_end_forward(in, &parts->output, &parts->norm, &acts->end, acts->context, x_at.f, queries, site + 1);
}

void km_attention_block_backward(const km_stack_pass *in, const km_attention_parts *parts,
                                 const km_attention_acts *acts, km_tensor x, km_tensor x_at, km_tensor scratch,
                                 const km_queries *queries, uint32_t site, float *dy, float *dx) {
    km_block_end_backward(in, &parts->output, &parts->norm, &acts->end, acts->context, queries, site + 1, dy,
                          acts->context);
    const qkv_view view = view_qkv(acts->qkv, queries, in->stack->C);
    const qkv_view dview = view_qkv(scratch, queries, in->stack->C);
    const km_attention shape = attention_shape(in, acts, queries, &view, site);
    attend_backward(in->pass, acts, &dview, &view, &shape);
    project_backward(in, &parts->qkv, &dview, x, x_at, queries, dy, dx);
}
