/* One layer of a post-norm transformer: the attention block, then the feed-forward block; and the end that both have. */
#include "architecture.h"

/* ---- The end of a block ---------------------------------------------------------------------------------------- */

void km_block_end_forward(const km_stack_pass *in, const km_dense *dense, const km_norm *norm,
                          const km_residual_norm *end, km_tensor x, const float *residual,
                          const km_queries *queries, uint32_t site) {
    const km_pass *pass = in->pass;
    const float *w = pass->weights, eps = in->stack->eps;
    const km_dropout dropout = km_pass_dropout(pass, site, in->stack->hidden_dropout);
    km_dense_forward(pass, dense, (km_tensor){end->sum, NULL}, x, queries->count, false);
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_FORWARD_NORM,
                 km_residual_norm_forward_bf16(end->y.f, end->y.h, end->sum, end->mean, end->rstd, end->sum,
                                               w + dense->b, residual, &dropout, queries->keys, w + norm->w,
                                               w + norm->b, eps, queries->count, dense->out));
    } else {
        KM_TIMED(KM_OP_FORWARD_NORM,
                 km_residual_norm_forward(end->y.f, end->sum, end->mean, end->rstd, end->sum, w + dense->b,
                                          residual, &dropout, queries->keys, w + norm->w, w + norm->b, eps,
                                          queries->count, dense->out));
    }
}

void km_block_end_backward(const km_stack_pass *in, const km_dense *dense, const km_norm *norm,
                           const km_residual_norm *end, km_tensor x, const km_queries *queries, uint32_t site,
                           float *d, km_tensor dx) {
    const km_pass *pass = in->pass;
    const km_dropout dropout = km_pass_dropout(pass, site, in->stack->hidden_dropout);
    km_norm_step_back(pass, norm, d, end->sum, end->mean, end->rstd, queries->count, dense->out);
    /* The norm was the last to need its input. */
    km_tensor dy = km_dropout_of(pass, d, end->sum, &dropout, queries->keys, queries->count, dense->out);
    km_report_dense(pass, dense, dy, x, queries->count);
    km_dense_backward(pass, dense, dx, dy, dense->out, queries->count, false);
}

/* ---- The layer ------------------------------------------------------------------------------------------------- */

static km_tensor rows_of(const km_stack_pass *in, km_tensor x, const km_queries *queries) {
    if (queries->at == NULL) {
        return x;
    }
    km_tensor_gather(in->pass, in->work->input_at, x, queries->at, queries->count, in->stack->C);
    return in->work->input_at;
}

void km_layer_forward(const km_stack_pass *in, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                      const km_queries *queries, uint32_t site) {
    const km_tensor x_at = rows_of(in, x, queries), y = acts->attention.end.y;
    km_attention_block_forward(in, &parts->attention, &acts->attention, x, x_at, queries, site);
    km_dense_gelu_forward(in->pass, &parts->wide, in->stack->act, acts->g, acts->u, y, queries->count);
    km_block_end_forward(in, &parts->narrow, &parts->norm, &acts->end, acts->g, y.f, queries, site + 2);
}

void km_layer_backward(const km_stack_pass *in, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                       const km_queries *queries, uint32_t site, float *dy, float *dx) {
    const km_pass *pass = in->pass;
    const km_dense *wide = &parts->wide;
    const km_tensor x_at = queries->at == NULL ? x : in->work->input_at;
    km_block_end_backward(in, &parts->narrow, &parts->norm, &acts->end, acts->g, queries, site + 2, dy, acts->g);
    km_gelu_step_back(pass, in->stack->act, acts->g, acts->u, queries->count, wide->out);
    km_report_dense(pass, wide, acts->g, acts->attention.end.y, queries->count);
    km_dense_backward(pass, wide, (km_tensor){dy, NULL}, acts->g, wide->out, queries->count, true);
    km_attention_block_backward(in, &parts->attention, &acts->attention, x, x_at, acts->u, queries, site, dy, dx);
}
