/* The network of meta-learned policies (Ye et al. 2021, appendix A.2) and of proposals (Chen et al. 2020): a one-dimensional convolution
 * and two linear layers, with a rectifier between them, that make two logits of each token (leave it, mask it), or one score. */
#include "net.h"

static km_status check(const km_policy_shape *shape) {
    return shape->K >= 1 && shape->K % 2 == 1 && shape->M >= 1
               ? KM_OK
               : km_fail(KM_USAGE,
                         "policy.kernel or proposal.kernel is %d; the width of the convolution must be odd.",
                         shape->K);
}

static void place(km_policy_net *net, km_table *table) {
    const km_policy_shape *s = &net->shape;
    net->conv.w = km_table_add(table, KM_START_NORMAL, s->H, s->C * s->K, "conv.weight");
    net->conv.b = km_table_add(table, KM_START_ZERO, s->H, 0, "conv.bias");
    net->linear1.w = km_table_add(table, KM_START_NORMAL, s->M, s->H, "linear1.weight");
    net->linear1.b = km_table_add(table, KM_START_ZERO, s->M, 0, "linear1.bias");
    net->linear2.w = km_table_add(table, KM_START_NORMAL, net->kind->outputs, s->M, "linear2.weight");
    net->linear2.b = km_table_add(table, KM_START_ZERO, net->kind->outputs, 0, "linear2.bias");
}

static void place_work(km_policy_work *work, const km_policy_net *net, km_arena *arena, int tokens, int views) {
    const km_policy_shape *s = &net->shape;
    const size_t N = (size_t)tokens, window = (size_t)s->C * (size_t)s->K, H = (size_t)s->H, M = (size_t)s->M;
    (void)views;
    work->windows = km_net_floats(arena, N, window);
    work->dwindows = km_net_floats(arena, N, window);
    work->conv = km_net_floats(arena, N, H);
    work->dconv = km_net_floats(arena, N, H);
    work->u = km_net_floats(arena, N, M);
    work->g = km_net_floats(arena, N, M);
    work->dg = km_net_floats(arena, N, M);
}

static void forward(const km_net_pass *pass) {
    const km_policy_net *net = pass->net;
    const km_policy_shape *s = &net->shape;
    km_policy_work *work = pass->work;
    const float *w = pass->weights;
    const int N = pass->stream->tokens;
    km_windows_forward(work->windows, work->x, pass->stream->starts, pass->views, s->C, s->K);
    km_linear_forward(work->conv, work->windows, w + net->conv.w, w + net->conv.b, N, s->C * s->K, s->H);
    km_linear_forward(work->u, work->conv, w + net->linear1.w, w + net->linear1.b, N, s->H, s->M);
    km_activation_forward(work->g, work->u, NULL, KM_RELU, NULL, NULL, N, s->M);
    km_linear_forward(work->logits, work->g, w + net->linear2.w, w + net->linear2.b, N, s->M, net->kind->outputs);
}

static void backward(const km_net_pass *pass) {
    const km_policy_net *net = pass->net;
    const km_policy_shape *s = &net->shape;
    km_policy_work *work = pass->work;
    const float *w = pass->weights;
    const int N = pass->stream->tokens;
    km_net_report_linear(pass, &net->linear2, work->dlogits, work->g, s->M, net->kind->outputs);
    km_linear_backward_input(work->dg, work->dlogits, w + net->linear2.w, N, s->M, net->kind->outputs, false);
    km_activation_backward(work->dg, work->dg, work->u, KM_RELU, NULL, NULL, N, s->M);
    km_net_report_linear(pass, &net->linear1, work->dg, work->conv, s->H, s->M);
    km_linear_backward_input(work->dconv, work->dg, w + net->linear1.w, N, s->H, s->M, false);
    km_net_report_linear(pass, &net->conv, work->dconv, work->windows, s->C * s->K, s->H);
    km_linear_backward_input(work->dwindows, work->dconv, w + net->conv.w, N, s->C * s->K, s->H, false);
    km_windows_backward(work->dx, work->dwindows, pass->stream->starts, pass->views, s->C, s->K);
}

const km_net_kind km_net_conv = {"meta", 2, false, check, place, place_work, forward, backward};
const km_net_kind km_net_proposal = {"proposal", 1, true, check, place, place_work, forward, backward};
