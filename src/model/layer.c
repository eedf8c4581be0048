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

static km_attention_block self_block(const km_stack_pass *in, const km_layer_parts *parts,
                                     const km_layer_acts *acts, const km_queries *queries, uint32_t site) {
    return (km_attention_block){.in = in,
                                .parts = &parts->attention,
                                .acts = &acts->attention,
                                .queries = queries,
                                .memory = in->stream,
                                .fused = queries->at == NULL,
                                .visible = queries->visible,
                                .site = site};
}

static km_attention_block cross_block(const km_stack_pass *in, const km_layer_parts *parts,
                                      const km_layer_acts *acts, const km_queries *queries, uint32_t site) {
    return (km_attention_block){.in = in,
                                .parts = &parts->cross,
                                .acts = &acts->cross,
                                .queries = queries,
                                .memory = in->memory,
                                .site = site + 2};
}

/* The feed-forward block's two sites: of its output, and of its activation. */
static uint32_t feed_forward_site(const km_stack_pass *in, uint32_t site) {
    return site + (in->stack->is_decoder ? 4 : 2);
}

/* What the attention leaves, and the feed-forward block reads. */
static km_tensor attended(const km_stack_pass *in, const km_layer_acts *acts) {
    return in->stack->is_decoder ? acts->cross.end.y : acts->attention.end.y;
}

void km_layer_forward(const km_stack_pass *in, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                      const km_queries *queries, uint32_t site) {
    const km_attention_block self = self_block(in, parts, acts, queries, site);
    const uint32_t last = feed_forward_site(in, site);
    const km_dropout dropout = km_pass_dropout(in->pass, last + 1, in->stack->activation_dropout);
    const km_tensor y = attended(in, acts);
    km_attention_block_forward(&self, rows_of(in, x, queries), x);
    if (in->stack->is_decoder) {
        const km_attention_block cross = cross_block(in, parts, acts, queries, site);
        km_attention_block_forward(&cross, acts->attention.end.y, in->encoded);
    }
    km_dense_activation_forward(in->pass, &parts->wide, in->stack->act, &dropout, queries->keys, acts->g, acts->u,
                                y, queries->count);
    km_block_end_forward(in, &parts->narrow, &parts->norm, &acts->end, acts->g, y.f, queries, last);
}

static void feed_forward_backward(const km_stack_pass *in, const km_layer_parts *parts, const km_layer_acts *acts,
                                  const km_queries *queries, uint32_t site, float *d) {
    const km_pass *pass = in->pass;
    const km_dense *wide = &parts->wide;
    const km_dropout dropout = km_pass_dropout(pass, site + 1, in->stack->activation_dropout);
    km_block_end_backward(in, &parts->narrow, &parts->norm, &acts->end, acts->g, queries, site, d, acts->g);
    km_activation_step_back(pass, in->stack->act, &dropout, queries->keys, acts->g, acts->u, queries->count,
                            wide->out);
    km_report_dense(pass, wide, acts->g, attended(in, acts), queries->count);
    km_dense_backward(pass, wide, (km_tensor){d, NULL}, acts->g, wide->out, queries->count, true);
}

void km_layer_backward(const km_stack_pass *in, const km_layer_parts *parts, const km_layer_acts *acts, km_tensor x,
                       const km_queries *queries, uint32_t site, bool first, float *dy, float *dx) {
    const km_attention_block self = self_block(in, parts, acts, queries, site);
    const km_tensor x_at = queries->at == NULL ? x : in->work->input_at;
    feed_forward_backward(in, parts, acts, queries, feed_forward_site(in, site), dy);
    if (in->stack->is_decoder) {
        const km_attention_block cross = cross_block(in, parts, acts, queries, site);
        km_attention_block_backward(&cross, acts->attention.end.y, in->encoded, acts->u, dy, in->dmemory, !first);
    }
    km_attention_block_backward(&self, x_at, x, acts->u, dy, dx, false);
    if (queries->at != NULL) {
        KM_TIMED(KM_OP_BACKWARD_EMBEDDING, km_scatter_add_rows(dx, dy, queries->at, queries->count, in->stack->C));
    }
}
