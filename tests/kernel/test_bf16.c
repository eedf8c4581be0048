/* bf16: rounding itself; products, norm, GELU, dropout, attention and loss compared with twins in double that start from the
 * same rounded numbers. Results that are written as bf16 may differ by their rounding. */
#include "kernel/twins.h"

#include "panel_bf16.h"

/* Half a unit in the last place of bf16's 8 bits, and a little for rounding before the last step. */
#define HALF_UNIT (1.02 / 256)

static km_bf16 *bf16s(size_t count) {
    km_bf16 *x = take(count, sizeof *x);
    memset(x, 0x7B, count * sizeof *x);
    return x;
}

static float float_with(uint32_t bits) {
    float x = 0;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float float_of(km_bf16 x) {
    return float_with((uint32_t)x << 16);
}

static km_bf16 *draw_bf16(size_t count, double scale, uint32_t stream) {
    km_bf16 *x = bf16s(count);
    km_bf16_round(x, draw(count, scale, stream), count);
    return x;
}

static float *floats_of(const km_bf16 *x, size_t count) {
    float *y = take(count, sizeof *y);
    for (size_t i = 0; i < count; i++) {
        y[i] = float_of(x[i]);
    }
    return y;
}

static double *widen_bf16(const km_bf16 *x, size_t count) {
    return widen(floats_of(x, count), count);
}

/* Checks |got - want| <= tolerance * |want| + small for each element. */
static void expect_rounded(const char *what, const km_bf16 *got, const double *want, size_t count, double small) {
    const double *have = widen_bf16(got, count);
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(have[i] - want[i]) <= HALF_UNIT * fabs(want[i]) + small)) {
            fail_msg("%s: element %zu of %zu is %.9g, the twin has %.9g", what, i, count, have[i], want[i]);
        }
    }
}

/* ---- Rounding ---- */

static void numbers_are_rounded_to_the_nearest_and_ties_to_even(void **state) {
    (void)state;
    static const uint32_t in[] = {0x3F800000, 0x3F807FFF, 0x3F808000, 0x3F808001, 0x3F818000,
                                  0x3F817FFF, 0xBF808001, 0x00000000, 0x80000000, 0x00008000,
                                  0x00008001, 0x7F7FFFFF, 0x7F800000, 0xFF800000};
    static const km_bf16 want[] = {0x3F80, 0x3F80, 0x3F80, 0x3F81, 0x3F82, 0x3F81, 0xBF81,
                                   0x0000, 0x8000, 0x0000, 0x0001, 0x7F80, 0x7F80, 0xFF80};
    for (size_t i = 0; i < KM_COUNT(in); i++) {
        const float x = float_with(in[i]);
        km_bf16 got = 0;
        km_bf16_round(&got, &x, 1);
        assert_int_equal(got, want[i]);
    }
    static const uint32_t nans[] = {0x7FC00000, 0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF};
    for (size_t i = 0; i < KM_COUNT(nans); i++) {
        const float x = float_with(nans[i]);
        km_bf16 got = 0;
        km_bf16_round(&got, &x, 1);
        const float back = float_of(got);
        assert_true(isnan(back));
        assert_int_equal(signbit(back) != 0, nans[i] >> 31);
    }
    for (uint32_t bits = 0; bits < 65536;
         bits++) { /* a number that is bf16 already stays as it is, except that NaN becomes quiet */
        const km_bf16 x = (km_bf16)bits;
        km_bf16 back = 0;
        const float wide = float_of(x);
        km_bf16_round(&back, &wide, 1);
        assert_int_equal(back, isnan(wide) ? bits | 0x40u : bits);
    }
}

/* ---- Linear layers ---- */

/* x (N,I), w (O,I), dy (N,O); `gap` unused elements between rows of dy. */
static void check_linear(km_bf16_gemm *gemm, int N, int I, int O, int gap) {
    const size_t nx = (size_t)N * (size_t)I, nw = (size_t)O * (size_t)I, ny = (size_t)N * (size_t)O;
    const size_t ldy = (size_t)(O + gap);
    km_bf16 *x = draw_bf16(nx, 1, 1), *w = draw_bf16(nw, 1, 2), *wide = draw_bf16((size_t)N * ldy, 1, 4);
    float *b = draw((size_t)O, 1, 3), *more = draw(nx, 1, 5);
    double *xd = widen_bf16(x, nx), *wd = widen_bf16(w, nw), *bd = widen(b, (size_t)O),
           *wided = widen_bf16(wide, (size_t)N * ldy);
    double *yd = doubles(ny), *dyd = doubles(ny), *dxd = doubles(nx), *dwd = doubles(nw), *dbd = doubles((size_t)O);
    for (size_t n = 0; n < (size_t)N; n++) {
        for (size_t o = 0; o < (size_t)O; o++) {
            const double g = dyd[n * (size_t)O + o] = wided[n * ldy + o];
            dbd[o] += g;
            for (size_t i = 0; i < (size_t)I; i++) {
                dxd[n * (size_t)I + i] += g * wd[o * (size_t)I + i];
                dwd[o * (size_t)I + i] += g * xd[n * (size_t)I + i];
            }
        }
    }
    const double close = 3e-6 * (1 + sqrt((double)(N + I + O))), small = close * 4;
    float *y = filled(ny, NAN), *dx = filled(nx, NAN), *dw = filled(nw, NAN), *db = filled((size_t)O, NAN);
    km_bf16 *y16 = bf16s(ny), *dx16 = bf16s(nx);

    twin_linear(yd, xd, wd, NULL, N, I, O);
    km_linear_forward_bf16(gemm, y, NULL, x, w, NULL, N, I, O);
    expect_near("y", y, yd, ny, close);
    km_linear_forward_bf16(gemm, NULL, y16, x, w, NULL, N, I, O);
    expect_rounded("rounded y", y16, yd, ny, small);
    twin_linear(yd, xd, wd, bd, N, I, O);
    km_linear_forward_bf16(gemm, y, NULL, x, w, b, N, I, O);
    expect_near("y with bias", y, yd, ny, close);
    km_linear_forward_bf16(gemm, NULL, y16, x, w, b, N, I, O);
    expect_rounded("rounded y with bias", y16, yd, ny, small);

    km_linear_backward_input_bf16(gemm, dx, NULL, wide, (int)ldy, w, N, I, O, false);
    expect_near("dx", dx, dxd, nx, close);
    km_linear_backward_input_bf16(gemm, NULL, dx16, wide, (int)ldy, w, N, I, O, false);
    expect_rounded("rounded dx", dx16, dxd, nx, small);
    for (size_t i = 0; i < nx; i++) {
        dxd[i] += (double)more[i];
    }
    km_linear_backward_input_bf16(gemm, more, NULL, wide, (int)ldy, w, N, I, O, true);
    expect_near("dx added", more, dxd, nx, close);

    km_linear_backward_weight_bf16(gemm, dw, db, wide, (int)ldy, x, N, I, O);
    expect_near("dw", dw, dwd, nw, close);
    expect_near("db", db, dbd, (size_t)O, close);
    float *again = filled(nw, NAN);
    km_linear_backward_weight_bf16(gemm, again, db, wide, (int)ldy, x, N, I, O);
    expect_same_bits("dw again", again, dw, nw, sizeof *dw);
    drop();
}

static void products_equal_their_twins(void **state) {
    static const int rows[] = {0, 1, 2, 7, 33, 100}, widths[] = {1, 2, 5, 16, 33, 64, 129};
    (void)state;
    km_bf16_gemm *gemm = km_bf16_gemm_create();
    if (gemm == NULL) {
        print_message("products in bf16 cannot be made here: %s\n",
                      km_kernel_onednn() == NULL ? "built without oneDNN" : "oneDNN has none for this CPU");
        skip();
    }
    for (size_t n = 0; n < KM_COUNT(rows); n++) {
        for (size_t i = 0; i < KM_COUNT(widths); i++) {
            for (size_t o = 0; o < KM_COUNT(widths); o++) {
                check_linear(gemm, rows[n], widths[i], widths[o], (int)(n + i + o) % 3 * 7);
            }
        }
    }
    km_bf16_gemm_destroy(gemm);
}

static void onednn_multiplies_floats_too(void **state) {
    (void)state;
    if (!km_kernel_use("onednn")) {
        print_message("oneDNN is not in this build\n");
        skip();
    }
    enum { N = 37, I = 53, O = 29 };
    float *x = draw(N * I, 1, 1), *w = draw(O * I, 1, 2), *b = draw(O, 1, 3), *dy = draw(N * O, 1, 4);
    float *y = filled(N * O, NAN), *dw = filled(O * I, NAN), *dx = filled(N * I, NAN);
    double *want = doubles(N * O), *wd = widen(w, O * I), *dyd = widen(dy, N * O), *dxd = doubles(N * I);
    km_linear_forward(y, x, w, b, N, I, O);
    twin_linear(want, widen(x, N * I), wd, widen(b, O), N, I, O);
    expect_near("y", y, want, N * O, 2e-5);
    for (int n = 0; n < N; n++) {
        for (int o = 0; o < O; o++) {
            for (int i = 0; i < I; i++) {
                dxd[n * I + i] += dyd[n * O + o] * wd[o * I + i];
            }
        }
    }
    km_linear_backward_input(dx, dy, w, N, I, O, false);
    expect_near("dx", dx, dxd, N * I, 2e-5);
    km_linear_backward_weight(dw, NULL, dy, x, N, I, O);
    float *same = filled(O * I, NAN);
    assert_true(km_kernel_use("openblas"));
    km_linear_backward_weight(same, NULL, dy, x, N, I, O);
    expect_near("dw", dw, widen(same, O * I), O * I, 2e-5);
}

/* ---- Panels ---- */

static void check_pairs(int rows, int inner, int columns) {
    const size_t n = km_panel_width(columns), lda = km_pairs(inner) + 3, down = (size_t)rows + 5;
    const size_t na = (size_t)rows * (size_t)inner, nb = (size_t)inner * (size_t)columns;
    km_bf16 *a = draw_bf16(na, 1, 1), *b = draw_bf16(nb, 1, 2), *bt = bf16s(nb), *at = bf16s(na);
    for (int k = 0; k < inner; k++) {
        for (int c = 0; c < columns; c++) {
            bt[c * inner + k] = b[k * columns + c];
        }
        for (int r = 0; r < rows; r++) {
            at[k * rows + r] = a[r * inner + k];
        }
    }
    km_bf16_pair *left = take((size_t)rows * lda, sizeof *left), *right = take(km_pairs(inner) * n, sizeof *right);
    km_bf16_pair *other = take(km_pairs(inner) * n, sizeof *other),
                 *downwards = take(km_pairs(inner) * down, sizeof *downwards);
    double *ad = widen_bf16(a, na), *bd = widen_bf16(b, nb);
    float *out = NULL;
    assert_int_equal(posix_memalign((void **)&out, 64, (size_t)rows * n * sizeof *out), 0);
    km_pairs_copy(right, b, (size_t)columns, inner, columns);
    km_pairs_transpose(other, bt, (size_t)inner, columns, inner);
    expect_same_bits("panels of the transpose", other, right, km_pairs(inner) * n, sizeof *right);
    km_pairs_along(left, lda, a, (size_t)inner, rows, inner);
    for (int way = 0; way < 4; way++) { /* along rows, added to, from floats, down columns */
        const double times = way == 1 ? 2 : 1;
        if (way == 2) {
            km_pairs_along_floats(left, lda, floats_of(a, na), (size_t)inner, rows, inner);
        }
        if (way == 3) {
            km_pairs_down_floats(downwards, down, floats_of(at, na), (size_t)rows, inner, rows);
            km_pairs_product(out, n, downwards, 1, down, right, km_pairs(inner), rows, km_pairs(inner), columns,
                             false);
        } else {
            km_pairs_product(out, n, left, lda, 1, right, km_pairs(inner), rows, km_pairs(inner), columns,
                             way == 1);
        }
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < (int)n; c++) {
                double want = 0, size = 0;
                for (int k = 0; c < columns && k < inner; k++) {
                    want += times * ad[r * inner + k] * bd[k * columns + c];
                    size += fabs(times * ad[r * inner + k] * bd[k * columns + c]);
                }
                if (!(fabs((double)out[(size_t)r * n + (size_t)c] - want) <= 1e-6 * (size + 1e-30))) {
                    fail_msg("product %d of %d x %d x %d: (%d,%d) is %.9g, expected %.9g", way, rows, inner,
                             columns, r, c, (double)out[(size_t)r * n + (size_t)c], want);
                }
            }
        }
    }
    free(out);
    drop();
}

static void products_of_pairs_equal_their_twins(void **state) {
    static const int sizes[] = {1, 2, 5, 6, 7, 12, 23, 32, 33, 64, 65, 100};
    (void)state;
    for (size_t r = 0; r < KM_COUNT(sizes); r++) {
        for (size_t k = 0; k < KM_COUNT(sizes); k++) {
            for (size_t c = 0; c < KM_COUNT(sizes); c++) {
                check_pairs(sizes[r], sizes[k], sizes[c]);
            }
        }
    }
}

/* ---- Norm, dropout, GELU, loss ---- */

static void norms_are_those_of_floats_rounded(void **state) {
    (void)state;
    enum { N = 9, C = 77 };
    float *x = draw(N * C, 1, 1), *residual = draw(N * C, 1, 2), *w = draw(C, 1, 3), *b = draw(C, 1, 4),
          *bias = draw(C, 1, 5);
    uint64_t *keys = draw_keys(N, 6);
    const km_dropout dropout = {{1, 2}, 3, 0.2f};
    float *y = filled(N * C, NAN), *sum = filled(N * C, NAN), *mean = filled(N, NAN), *rstd = filled(N, NAN);
    float *y2 = filled(N * C, NAN), *sum2 = filled(N * C, NAN), *mean2 = filled(N, NAN), *rstd2 = filled(N, NAN);
    float *row = filled(C, NAN);
    km_bf16 *rounded = bf16s(N * C), *want = bf16s(N * C);
    km_residual_norm_forward(y, sum, mean, rstd, x, bias, residual, &dropout, keys, w, b, 1e-5f, N, C);
    km_residual_norm_forward_bf16(y2, rounded, sum2, mean2, rstd2, x, bias, residual, &dropout, keys, w, b, 1e-5f,
                                  N, C);
    expect_near("y", y2, widen(y, N * C), N * C, 1e-6);
    expect_near("sum", sum2, widen(sum, N * C), N * C, 1e-6);
    km_bf16_round(want, y2, N * C);
    expect_same_bits("rounded y", rounded, want, N * C, sizeof *want);
    km_norm_forward(y, mean, rstd, x, w, b, 1e-5f, N, C);
    km_norm_forward_bf16(rounded, mean2, rstd2, x, w, b, 1e-5f, row, N, C);
    expect_near("mean", mean2, widen(mean, N), N, 1e-6);
    expect_near("rstd", rstd2, widen(rstd, N), N, 1e-6);
    expect_rounded("norm", rounded, widen(y, N * C), N * C, 1e-6);
}

static void dropout_is_that_of_floats_rounded(void **state) {
    (void)state;
    enum { N = 5, C = 300 };
    float *x = draw(N * C, 1, 1), *y = filled(N * C, NAN);
    uint64_t *keys = draw_keys(N, 2);
    for (int p = 0; p < 2; p++) {
        const km_dropout dropout = {{1, 2}, 3, p == 0 ? 0.0f : 0.3f};
        km_bf16 *got = bf16s(N * C), *want = bf16s(N * C);
        km_dropout_apply(y, x, &dropout, keys, N, C);
        km_dropout_apply_bf16(got, x, &dropout, keys, N, C);
        km_bf16_round(want, y, N * C);
        expect_same_bits("dropout", got, want, N * C, sizeof *want);
    }
}

/* The same numbers in three rows with dropout. */
static void check_dropped(const km_bf16 *x, km_activation kind, int count) {
    const km_dropout dropout = {{7, 8}, 9, 0.3f};
    const int C = count / 3;
    const uint64_t keys[] = {5, 70000, 1};
    km_bf16 *y = bf16s(3 * (size_t)C), *dx = bf16s(3 * (size_t)C), *plain = bf16s(3 * (size_t)C);
    km_activation_forward_bf16(y, x, kind, &dropout, keys, 3, C);
    km_activation_backward_bf16(dx, x, x, kind, &dropout, keys, 3, C);
    km_activation_backward_bf16(plain, x, x, kind, NULL, NULL, 3, C);
    for (int i = 0; i < 3 * C; i++) {
        const double factor = twin_factor(&dropout, keys[i / C], (uint32_t)(i % C));
        const double value = twin_activation((double)float_of(x[i]), kind) * factor, back = (double)float_of(dx[i]);
        assert_true(fabs((double)float_of(y[i]) - value) <= 0.005 * fabs(value) + 1e-6);
        assert_true(fabs(back - factor * (double)float_of(plain[i])) <= 0.01 * fabs(back) + 1e-30);
    }
}

static void activation_is_its_twin_of_every_number(void **state) {
    (void)state;
    enum { ALL = 65536 };
    km_bf16 *x = bf16s(ALL), *y = bf16s(ALL), *dy = bf16s(ALL), *dx = bf16s(ALL);
    int count = 0;
    for (uint32_t bits = 0; bits < ALL; bits++) {
        const km_bf16 number = (km_bf16)bits;
        const float wide = float_of(number);
        if (fabsf(wide) <= 30) { /* neither NaN nor infinite */
            x[count++] = number;
        }
    }
    const double *xd = widen_bf16(x, (size_t)count);
    double *want = doubles((size_t)count), *slope = doubles((size_t)count);
    for (int k = 0; k < 3; k++) {
        const km_activation kind = k == 0 ? KM_GELU_ERF : k == 1 ? KM_GELU_TANH : KM_RELU;
        for (int i = 0; i < count; i++) {
            const double h = 1e-5;
            want[i] = twin_activation(xd[i], kind);
            slope[i] = (twin_activation(xd[i] + h, kind) - twin_activation(xd[i] - h, kind)) / (2 * h);
            slope[i] = kind == KM_RELU ? xd[i] > 0 : slope[i]; /* within h of 0 there is no slope */
            dy[i] = 0x4000;                                    /* 2 */
        }
        km_activation_forward_bf16(y, x, kind, NULL, NULL, 1, count);
        expect_rounded("gelu", y, want, (size_t)count, 2e-6);
        for (int i = 0; i < count; i++) {
            slope[i] *= 2;
        }
        km_activation_backward_bf16(dx, dy, x, kind, NULL, NULL, 1, count);
        expect_rounded("gelu's slope", dx, slope, (size_t)count, 4e-6);
        km_activation_backward_bf16(dy, dy, x, kind, NULL, NULL, 1, count);
        expect_same_bits("in place", dy, dx, (size_t)count, sizeof *dx);
        check_dropped(x, kind, count);
    }
}

static void loss_is_that_of_floats(void **state) {
    (void)state;
    enum { M = 7, V = 1003 };
    float *logits = draw(M * V, 3, 1), *bias = draw(V, 1, 2), *same = copy(logits, M * V);
    int32_t *labels = draw_numbers(M, V, 3);
    float loss[M], loss2[M];
    uint8_t hit[M], hit2[M];
    km_loss(same, loss, hit, bias, labels, true, M, V);
    km_loss_bf16(logits, loss2, hit2, bias, labels, M, V);
    for (int m = 0; m < M; m++) {
        km_bf16 row[V];
        memcpy(row, logits + m * V, sizeof row);
        expect_rounded("gradient", row, widen(same + m * V, V), V, 1e-7);
    }
    expect_near("loss", loss2, widen(loss, M), M, 1e-6);
    assert_memory_equal(hit, hit2, sizeof hit);
}

/* ---- Attention ---- */

/* The largest difference, divided by the largest number that is expected. */
static double off_by(const km_bf16 *got, const double *want, size_t count) {
    const double *have = widen_bf16(got, count);
    double most = 0, off = 0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs(want[i]));
        off = fmax(off, fabs(have[i] - want[i]));
        off = isnan(have[i]) ? INFINITY : off;
    }
    return most > 0 ? off / most : off;
}

/* Thirds of one matrix, two views; some keys are seen by nobody, or a query sees those up to its own. */
static void check_attention(int first, int second, int H, int D, float p, bool hides, bool causal) {
    const int C = H * D, N = first + second, longest = first > second ? first : second;
    const int32_t starts[] = {0, first, N};
    const size_t all = (size_t)N * 3 * (size_t)C, own = (size_t)N * (size_t)C, heads = (size_t)N * (size_t)H;
    const int words = km_attention_kept_words(longest);
    uint16_t *kept = take(heads * (size_t)words, sizeof *kept);
    uint8_t *seen = take((size_t)N, 1);
    int32_t *visible = take((size_t)N, sizeof *visible);
    for (int i = 0; i < N; i++) {
        seen[i] = i % 5 != 3 || i == first;
        visible[i] = i < first ? i + 1 : i - first + 1;
    }
    const km_attention shape = {.views = second > 0 ? 2 : 1,
                                .H = H,
                                .D = D,
                                .q_starts = starts,
                                .k_starts = starts,
                                .ldq = 3 * C,
                                .ldk = 3 * C,
                                .ldo = C,
                                .dropout = {{1, 2}, 3, p},
                                .keys = draw_keys((size_t)N, 4),
                                .kept = kept,
                                .kept_words = words,
                                .seen = hides ? seen : NULL,
                                .visible = causal ? visible : NULL};
    km_bf16 *qkv = draw_bf16(all, 1, 1), *dout = draw_bf16(own, 1, 2), *out = bf16s(own), *dqkv = bf16s(all);
    float *lse = filled(heads, NAN), *scratch = NULL;
    assert_int_equal(posix_memalign((void **)&scratch, 64, km_attention_scratch_bf16(longest, D) * sizeof *scratch),
                     0);
    km_attention_forward_bf16(out, lse, qkv, qkv + C, qkv + 2 * C, &shape, scratch);
    km_attention_backward_bf16(dqkv, dqkv + C, dqkv + 2 * C, dout, lse, qkv, qkv + C, qkv + 2 * C, &shape, scratch);
    free(scratch);

    double *x = widen_bf16(qkv, all), *doutd = widen_bf16(dout, own), *want = doubles(own), *lsed = doubles(heads);
    double *slopes = doubles(all);
    twin_attention(want, lsed, x, x + C, x + 2 * C, &shape);
    assert_true(off_by(out, want, own) < 0.01);
    expect_near("lse", lse, lsed, heads, 1e-5);
    /* The twin's gradient at some places, by finite differences. */
    const size_t step = all / 61 + 1;
    double most = 0;
    for (size_t i = 0; i < all; i += step) {
        const double was = x[i], h = 1e-5;
        x[i] = was + h;
        twin_attention(want, lsed, x, x + C, x + 2 * C, &shape);
        const double above = dot(want, doutd, own);
        x[i] = was - h;
        twin_attention(want, lsed, x, x + C, x + 2 * C, &shape);
        slopes[i] = (above - dot(want, doutd, own)) / (2 * h);
        most = fmax(most, fabs(slopes[i]));
        x[i] = was;
    }
    const double *got = widen_bf16(dqkv, all);
    for (size_t i = 0; i < all; i += step) {
        if (!(fabs(got[i] - slopes[i]) <= 0.02 * most)) {
            fail_msg("attention of %d and %d, D %d: gradient %zu is %.6g, finite differences give %.6g", first,
                     second, D, i, got[i], slopes[i]);
        }
    }
    drop();
}

static void attention_equals_its_twin(void **state) {
    (void)state;
    check_attention(1, 0, 1, 8, 0, false, false);
    check_attention(70, 33, 2, 16, 0, false, false);
    check_attention(70, 33, 2, 16, 0.2f, true, false);
    check_attention(65, 2, 3, 7, 0.1f, false, false);
    check_attention(40, 17, 1, 64, 0.1f, true, false);
    check_attention(130, 0, 1, 65, 0, false, false);
    check_attention(130, 70, 1, 65, 0.1f, false, true);
    check_attention(70, 33, 2, 7, 0, true, true);
    check_attention(1, 2, 2, 64, 0.2f, false, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(numbers_are_rounded_to_the_nearest_and_ties_to_even),
                                       TEST(products_equal_their_twins),
                                       TEST(onednn_multiplies_floats_too),
                                       TEST(products_of_pairs_equal_their_twins),
                                       TEST(norms_are_those_of_floats_rounded),
                                       TEST(dropout_is_that_of_floats_rounded),
                                       TEST(activation_is_its_twin_of_every_number),
                                       TEST(loss_is_that_of_floats),
                                       TEST(attention_equals_its_twin)};
    km_kernel_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
