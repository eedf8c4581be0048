/* The attention block of a post-norm transformer: to the tokens of the same stream, or to another stack's. Where only some rows are
 * wanted (in the last layer, whose output is read at few tokens), queries and everything behind the attention are computed for
 * those rows; keys and values for all. Dropout is keyed by token, so this changes no result. */
#include "architecture.h"

#include <assert.h>

/* ---- Queries, keys, values ---------------------------------------------------------------------------------- */

/* Fused, q|k|v are the thirds of (N,3C). Else q is (count,C); behind it k|v are the halves of (N,2C). */
typedef struct qkv_view {
    km_tensor q, k, v;
    int ldq, ldk;
} qkv_view;

static qkv_view view_qkv(const km_attention_block *block, km_tensor base) {
    const int C = block->in->stack->C;
    const size_t c = (size_t)C;
    if (block->fused) {
        return (qkv_view){base, km_tensor_at(base, c), km_tensor_at(base, 2 * c), 3 * C, 3 * C};
    }
    /* keeps k|v aligned; stack.c has room */
    size_t rows = ((size_t)block->queries->count * c + KM_QKV_GAP - 1) / KM_QKV_GAP * KM_QKV_GAP;
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

static void project_forward(const km_attention_block *block, const qkv_view *view, km_tensor x, km_tensor memory) {
    const km_pass *pass = block->in->pass;
    const km_dense *qkv = &block->parts->qkv;
    if (block->fused) {
        km_dense_forward(pass, qkv, view->q, x, block->memory->tokens, true);
        return;
    }
    km_dense query = only_query(qkv), key_value = only_key_value(qkv);
    km_dense_forward(pass, &query, view->q, x, block->queries->count, true);
    km_dense_forward(pass, &key_value, view->k, memory, block->memory->tokens, true);
}

/* d (count,C) holds the gradient that reached x past the attention; what comes through the queries is added. */
static void project_backward(const km_attention_block *block, const qkv_view *dview, km_tensor x, km_tensor memory,
                             float *d, float *dmemory, bool add) {
    const km_pass *pass = block->in->pass;
    const km_dense *qkv = &block->parts->qkv;
    const int N = block->memory->tokens, C = qkv->in;
    const km_tensor to_d = {d, NULL}, to_memory = {dmemory, NULL};
    if (block->fused) {
        assert(d == dmemory);
        km_report_dense(pass, qkv, dview->q, x, N);
        km_dense_backward(pass, qkv, to_d, dview->q, 3 * C, N, true);
        return;
    }
    km_dense query = only_query(qkv), key_value = only_key_value(qkv);
    km_report_dense(pass, &key_value, dview->k, memory, N);
    km_report_dense(pass, &query, dview->q, x, block->queries->count);
    km_dense_backward(pass, &key_value, to_memory, dview->k, 2 * C, N, add);
    km_dense_backward(pass, &query, to_d, dview->q, C, block->queries->count, true);
}

/* ---- The attention itself ------------------------------------------------------------------------------------- */

static km_attention attention_shape(const km_attention_block *block, const qkv_view *view) {
    const km_stack *stack = block->in->stack;
    const km_pass *pass = block->in->pass;
    return (km_attention){.views = pass->batch->views,
                          .H = stack->H,
                          .D = stack->C / stack->H,
                          .q_starts = block->queries->starts,
                          .k_starts = block->memory->starts,
                          .ldq = view->ldq,
                          .ldk = view->ldk,
                          .ldo = stack->C,
                          .dropout = km_pass_dropout(pass, block->site, stack->attention_dropout),
                          .keys = block->queries->keys,
                          .kept = block->acts->kept,
                          .kept_words = block->acts->kept_words,
                          .seen = block->memory->seen,
                          .visible = block->visible};
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

void km_attention_block_forward(const km_attention_block *block, km_tensor x, km_tensor memory) {
    const km_attention_parts *parts = block->parts;
    const km_attention_acts *acts = block->acts;
    const qkv_view view = view_qkv(block, acts->qkv);
    const km_attention shape = attention_shape(block, &view);
    project_forward(block, &view, x, memory);
    attend_forward(block->in->pass, acts, &view, &shape);
    km_block_end_forward(block->in, &parts->output, &parts->norm, &acts->end, acts->context, x.f, block->queries,
                         block->site + 1);
}

void km_attention_block_backward(const km_attention_block *block, km_tensor x, km_tensor memory, km_tensor scratch,
                                 float *d, float *dmemory, bool add) {
    const km_attention_parts *parts = block->parts;
    const km_attention_acts *acts = block->acts;
    km_block_end_backward(block->in, &parts->output, &parts->norm, &acts->end, acts->context, block->queries,
                          block->site + 1, d, acts->context);
    const qkv_view view = view_qkv(block, acts->qkv), dview = view_qkv(block, scratch);
    const km_attention shape = attention_shape(block, &view);
    attend_backward(block->in->pass, acts, &dview, &view, &shape);
    project_backward(block, &dview, x, memory, d, dmemory, add);
}
