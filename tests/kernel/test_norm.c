/* Layer norm, y = (x - mean) / sqrt(variance + eps) * w + b, alone and of residual + dropout(x + bias). */
#include "kernel/twins.h"

static const int rows[] = {0, 1, 3, 7, 33}, widths[] = {1, 5, 16, 33, 64, 129, 768};
static const float eps = 1e-5f;

typedef struct norm {
    const double *x, *w, *b, *dy;
    double *y;
    int N, C;
} norm;

/* sum(dy * norm(x)), whose gradients in x, w and b are dx, dw and db. */
static double projection(const void *context) {
    const norm *l = context;
    twin_norm(l->y, NULL, NULL, l->x, l->w, l->b, (double)eps, l->N, l->C);
    return dot(l->y, l->dy, (size_t)l->N * (size_t)l->C);
}

static void check_shape(int N, int C, double offset) {
    const size_t count = (size_t)N * (size_t)C, width = (size_t)C;
    float *x = draw(count, 2, 1), *w = draw(width, 1, 2), *b = draw(width, 1, 3), *dy = draw(count, 1, 4);
    for (size_t i = 0; i < count; i++) {
        x[i] += (float)offset;
    }
    float *y = filled(count, NAN), *mean = filled((size_t)N, NAN), *rstd = filled((size_t)N, NAN);
    float *dx = filled(count, NAN), *dw = filled(width, NAN), *db = filled(width, NAN);
    double *xd = widen(x, count), *wd = widen(w, width), *bd = widen(b, width);
    double *yd = doubles(count), *meand = doubles((size_t)N), *rstdd = doubles((size_t)N);
    const norm l = {xd, wd, bd, widen(dy, count), doubles(count), N, C};

    km_norm_forward(y, mean, rstd, x, w, b, eps, N, C);
    twin_norm(yd, meand, rstdd, xd, wd, bd, (double)eps, N, C);
    expect_near("y", y, yd, count, 1e-5 + 1e-6 * offset);
    expect_near("mean", mean, meand, (size_t)N, 1e-6);
    expect_near("rstd", rstd, rstdd, (size_t)N, 1e-5);

    km_norm_backward(dx, dw, db, dy, x, mean, rstd, w, N, C);
    if (C > 1) { /* with one element the derivative is about eps/variance, too small for finite differences */
        expect_gradient("dx", projection, &l, xd, dx, count, 20, 5e-5);
    }
    expect_gradient("dw", projection, &l, wd, dw, width, 20, 2e-5 + 1e-6 * offset);
    expect_gradient("db", projection, &l, bd, db, width, 20, 2e-5);
    km_norm_backward(dy, dw, db, dy, x, mean, rstd, w, N, C);
    expect_same_bits("dx in place of dy", dy, dx, count, sizeof *dx);
    km_norm_forward(x, mean, rstd, x, w, b, eps, N, C);
    expect_same_bits("y in place of x", x, y, count, sizeof *y);
    drop();
}

static void norm_equals_its_twin_and_finite_differences(void **state) {
    (void)state;
    for (size_t n = 0; n < KM_COUNT(rows); n++) {
        for (size_t c = 0; c < KM_COUNT(widths); c++) {
            check_shape(rows[n], widths[c], 0);
        }
    }
    check_shape(3, 129,
                100); /* a mean of fifty standard deviations costs accuracy, but no more than rounding x does */
}

/* A row of equal elements has variance 0. y is b, except for the rounding error of the mean times 1/sqrt(eps), and dx is
 * finite. */
static void rows_without_variance(void **state) {
    (void)state;
    enum { N = 2, C = 37, COUNT = N * C };
    float *x = filled(COUNT, 3.7f), *w = draw(C, 1, 1), *b = draw(C, 1, 2), *dy = draw(COUNT, 1, 3);
    float *y = filled(COUNT, NAN), *dw = filled(C, NAN), *db = filled(C, NAN);
    float mean[N], rstd[N];
    km_norm_forward(y, mean, rstd, x, w, b, eps, N, C);
    for (int i = 0; i < COUNT; i++) {
        assert_true(fabsf(y[i] - b[i % C]) < 1e-2f);
    }
    km_norm_backward(dy, dw, db, dy, x, mean, rstd, w, N, C);
    for (int i = 0; i < COUNT; i++) {
        assert_true(isfinite(dy[i]));
    }
}

static void check_block_end(int N, int C, float p, bool biased, bool in_place) {
    const size_t count = (size_t)N * (size_t)C, width = (size_t)C;
    const km_dropout d = {{1, 2}, 5, p};
    uint64_t *keys = draw_keys((size_t)N, 9);
    float *x = draw(count, 1, 1), *bias = biased ? draw(width, 1, 2) : NULL, *residual = draw(count, 1, 3);
    float *w = draw(width, 1, 4), *b = draw(width, 1, 5);
    float *y = filled(count, NAN), *mean = filled((size_t)N, NAN), *rstd = filled((size_t)N, NAN);
    double *sumd = widen(x, count), *yd = doubles(count), *meand = doubles((size_t)N), *rstdd = doubles((size_t)N);
    for (size_t i = 0; i < count; i++) {
        sumd[i] += biased ? (double)bias[i % width] : 0.0;
    }
    twin_dropout(sumd, sumd, &d, keys, N, C);
    for (size_t i = 0; i < count; i++) {
        sumd[i] += (double)residual[i];
    }
    twin_norm(yd, meand, rstdd, sumd, widen(w, width), widen(b, width), (double)eps, N, C);
    float *sum = in_place ? x : filled(count, NAN);
    km_residual_norm_forward(y, sum, mean, rstd, x, bias, residual, &d, keys, w, b, eps, N, C);
    expect_near("sum", sum, sumd, count, 1e-6);
    if (C > 1) {
        expect_near("y", y, yd, count, 1e-5);
        expect_near("mean", mean, meand, (size_t)N, 1e-6);
        expect_near("rstd", rstd, rstdd, (size_t)N, 1e-4);
    }
    drop();
}

/* sum = residual + dropout(x + bias); y = norm(sum). */
static void block_end_equals_its_twin(void **state) {
    (void)state;
    for (size_t n = 0; n < KM_COUNT(rows); n++) {
        for (size_t c = 0; c < KM_COUNT(widths); c++) {
            for (int kind = 0; kind < 8; kind++) {
                check_block_end(rows[n], widths[c], (kind & 1) != 0 ? 0.3f : 0.0f, (kind & 2) != 0,
                                (kind & 4) != 0);
            }
        }
    }
}

/* NaN anywhere in a row makes the whole row NaN and no other row. */
static void nan_shows(void **state) {
    (void)state;
    enum { N = 3, C = 40, COUNT = N * C };
    float *w = draw(C, 1, 2), *b = draw(C, 1, 3), *y = filled(COUNT, 0), mean[N], rstd[N];
    for (int at = 0; at < C; at++) {
        float *x = draw(COUNT, 1, 1);
        x[C + at] = NAN;
        km_norm_forward(y, mean, rstd, x, w, b, eps, N, C);
        for (int i = 0; i < COUNT; i++) {
            assert_true((isnan(y[i]) != 0) == (i / C == 1));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(norm_equals_its_twin_and_finite_differences),
                                       TEST(rows_without_variance), TEST(block_end_equals_its_twin),
                                       TEST(nan_shows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
