/* Linear layers: y = x w^T + b; dx = dy w; dw = dy^T x; db = column sums of dy. */
#include "kernel/twins.h"

static const int rows[] = {0, 1, 3, 7, 33}, widths[] = {1, 5, 16, 33, 64, 129};

typedef struct layer {
    const double *x, *w, *b, *dy;
    double *y;
    int N, I, O;
} layer;

/* sum(dy * linear(x)), whose gradients in x, w and b are dx, dw and db. */
static double projection(const void *context) {
    const layer *l = context;
    twin_linear(l->y, l->x, l->w, l->b, l->N, l->I, l->O);
    return dot(l->y, l->dy, (size_t)l->N * (size_t)l->O);
}

static void check_shape(int N, int I, int O) {
    const size_t nx = (size_t)N * (size_t)I, nw = (size_t)O * (size_t)I, ny = (size_t)N * (size_t)O;
    float *x = draw(nx, 1, 1), *w = draw(nw, 1, 2), *b = draw((size_t)O, 1, 3), *dy = draw(ny, 1, 4);
    float *y = filled(ny, NAN), *dx = filled(nx, NAN), *dw = filled(nw, NAN), *db = filled((size_t)O, NAN);
    double *xd = widen(x, nx), *wd = widen(w, nw), *bd = widen(b, (size_t)O), *want = doubles(ny);
    const layer l = {xd, wd, bd, widen(dy, ny), doubles(ny), N, I, O};

    km_linear_forward(y, x, w, b, N, I, O);
    twin_linear(want, xd, wd, bd, N, I, O);
    expect_near("y", y, want, ny, 2e-5);
    km_linear_forward(y, x, w, NULL, N, I, O);
    twin_linear(want, xd, wd, NULL, N, I, O);
    expect_near("y without bias", y, want, ny, 2e-5);

    float *few = filled(ny, NAN);
    km_linear_few_forward(few, x, w, NULL, N, I, O);
    expect_near("y of few rows without bias", few, want, ny, 2e-5);
    km_linear_few_forward(few, x, w, b, N, I, O);
    twin_linear(want, xd, wd, bd, N, I, O);
    expect_near("y of few rows", few, want, ny, 2e-5);

    km_linear_backward_input(dx, dy, w, N, I, O, false);
    expect_gradient("dx", projection, &l, xd, dx, nx, 12, 2e-5);
    km_linear_backward_weight(dw, db, dy, x, N, I, O);
    expect_gradient("dw", projection, &l, wd, dw, nw, 12, 2e-5);
    expect_gradient("db", projection, &l, bd, db, (size_t)O, 12, 2e-5);

    float *bias_only = filled((size_t)O, NAN), *weight_only = filled(nw, NAN);
    km_bias_backward(bias_only, dy, N, O);
    expect_same_bits("column sums", bias_only, db, (size_t)O, sizeof *db);
    km_linear_backward_weight(weight_only, NULL, dy, x, N, I, O);
    expect_same_bits("dw without db", weight_only, dw, nw, sizeof *dw);

    float *more = draw(nx, 1, 5);
    double *both = widen(more, nx);
    for (size_t i = 0; i < nx; i++) {
        both[i] += (double)dx[i];
    }
    km_linear_backward_input(more, dy, w, N, I, O, true);
    expect_near("dx added", more, both, nx, 2e-5);
    drop();
}

static void products_equal_their_twins_and_finite_differences(void **state) {
    (void)state;
    for (size_t n = 0; n < KM_COUNT(rows); n++) {
        for (size_t i = 0; i < KM_COUNT(widths); i++) {
            for (size_t o = 0; o < KM_COUNT(widths); o++) {
                check_shape(rows[n], widths[i], widths[o]);
            }
        }
    }
}

static void the_machine_names_itself(void **state) {
    (void)state;
    assert_memory_equal(km_kernel_blas(), "OpenBLAS ", 9);
    assert_null(strchr(km_kernel_blas() + 9, ' '));
    assert_true(strlen(km_kernel_core()) > 0);
    const char *vector = km_kernel_vector();
    assert_true(strcmp(vector, "avx512") == 0 || strcmp(vector, "avx2") == 0 || strcmp(vector, "generic") == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(products_equal_their_twins_and_finite_differences),
                                       TEST(the_machine_names_itself)};
    km_kernel_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
