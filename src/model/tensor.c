/* Kernels in the precision of the pass: of floats, or of bf16 numbers. */
#include "parts.h"

km_tensor km_tensor_at(km_tensor t, size_t at) {
    return (km_tensor){t.f == NULL ? NULL : t.f + at, t.h == NULL ? NULL : t.h + at};
}

/* Where a product in bf16 leaves its result rounded: nowhere if floats are wanted. */
static km_bf16 *rounded_result(km_tensor t) {
    return t.f == NULL ? t.h : NULL;
}

void km_dense_forward(const km_pass *pass, const km_dense *dense, km_tensor y, km_tensor x, int rows, bool biased) {
    const float *b = biased ? pass->weights + dense->b : NULL;
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_FORWARD_PRODUCTS,
                 km_linear_forward_bf16(pass->work->gemm, y.f, rounded_result(y), x.h, pass->rounded + dense->w, b,
                                        rows, dense->in, dense->out));
    } else if (pass->one_token && rows <= KM_FEW_ROWS) {
        KM_TIMED(KM_OP_FORWARD_PRODUCTS,
                 km_linear_few_forward(y.f, x.f, pass->weights + dense->w, b, rows, dense->in, dense->out));
    } else {
        KM_TIMED(KM_OP_FORWARD_PRODUCTS,
                 km_linear_forward(y.f, x.f, pass->weights + dense->w, b, rows, dense->in, dense->out));
    }
}

void km_dense_activation_forward(const km_pass *pass, const km_dense *dense, km_activation act,
                                 const km_dropout *dropout, const uint64_t *keys, km_tensor y, km_tensor u,
                                 km_tensor x, int rows) {
    if (pass->rounded != NULL) {
        km_dense_forward(pass, dense, u, x, rows, true);
        KM_TIMED(KM_OP_FORWARD_GELU, km_activation_forward_bf16(y.h, u.h, act, dropout, keys, rows, dense->out));
    } else {
        km_dense_forward(pass, dense, u, x, rows, false);
        KM_TIMED(KM_OP_FORWARD_GELU,
                 km_activation_forward(y.f, u.f, pass->weights + dense->b, act, dropout, keys, rows, dense->out));
    }
}

void km_dense_backward(const km_pass *pass, const km_dense *dense, km_tensor dx, km_tensor dy, int ldy, int rows,
                       bool add) {
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_BACKWARD_PRODUCTS,
                 km_linear_backward_input_bf16(pass->work->gemm, dx.f, rounded_result(dx), dy.h, ldy,
                                               pass->rounded + dense->w, rows, dense->in, dense->out, add));
    } else {
        KM_TIMED(KM_OP_BACKWARD_PRODUCTS,
                 km_linear_backward_input(dx.f, dy.f, pass->weights + dense->w, rows, dense->in, dense->out, add));
    }
}

km_tensor km_dropout_of(const km_pass *pass, float *d, float *place, const km_dropout *dropout,
                        const uint64_t *keys, int rows, int C) {
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_DROPOUT, km_dropout_apply_bf16(pass->work->d_rounded, d, dropout, keys, rows, C));
        return (km_tensor){NULL, pass->work->d_rounded};
    }
    if (dropout->p <= 0) {
        return (km_tensor){d, NULL};
    }
    KM_TIMED(KM_OP_DROPOUT, km_dropout_apply(place, d, dropout, keys, rows, C));
    return (km_tensor){place, NULL};
}

km_tensor km_product_operand(const km_pass *pass, float *d, int rows, int C) {
    if (pass->rounded == NULL) {
        return (km_tensor){d, NULL};
    }
    KM_TIMED(KM_OP_ROUNDING, km_bf16_round(pass->work->d_rounded, d, (size_t)rows * (size_t)C));
    return (km_tensor){NULL, pass->work->d_rounded};
}

void km_activation_step_back(const km_pass *pass, km_activation act, const km_dropout *dropout,
                             const uint64_t *keys, km_tensor d, km_tensor u, int rows, int C) {
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_BACKWARD_GELU, km_activation_backward_bf16(d.h, d.h, u.h, act, dropout, keys, rows, C));
    } else {
        KM_TIMED(KM_OP_BACKWARD_GELU, km_activation_backward(d.f, d.f, u.f, act, dropout, keys, rows, C));
    }
}

void km_tensor_gather(const km_pass *pass, km_tensor out, km_tensor in, const int32_t *at, int rows, int C) {
    KM_TIMED(KM_OP_FORWARD_EMBEDDING, km_gather_rows(out.f, in.f, at, rows, C));
    if (pass->rounded != NULL) {
        KM_TIMED(KM_OP_FORWARD_EMBEDDING, km_gather_rows_bf16(out.h, in.h, at, rows, C));
    }
}
