/* Activations, embedding, rows in and out, sums. */
#include "kernel/twins.h"

static const int rows[] = {0, 1, 3, 7, 33}, widths[] = {1, 5, 16, 33, 64, 129};
static const km_activation kinds[] = {KM_GELU_ERF, KM_GELU_TANH, KM_RELU};

typedef struct activation {
    const double *x, *dy, *factors; /* factors: of dropout */
    km_activation kind;
    size_t count;
} activation;

/* sum(dy * dropout(activation(x))): its gradient in x is dx. */
static double projection(const void *context) {
    const activation *g = context;
    double sum = 0;
    for (size_t i = 0; i < g->count; i++) {
        sum += g->dy[i] * g->factors[i] * twin_activation(g->x[i], g->kind);
    }
    return sum;
}

static void check_activation(int N, int C, km_activation kind, bool biased, float p) {
    const km_dropout dropout = {{7, 8}, 9, p}, *given = p > 0 ? &dropout : NULL;
    const uint64_t *keys = draw_keys((size_t)N, 4);
    const size_t count = (size_t)N * (size_t)C;
    float *x = draw(count, 2, 1), *b = biased ? draw((size_t)C, 1, 2) : NULL, *dy = draw(count, 1, 3);
    float *y = filled(count, NAN), *dx = filled(count, NAN), *before = copy(x, count);
    double *yd = doubles(count), *factors = doubles(count);
    km_activation_forward(y, x, b, kind, given, keys, N, C);
    for (size_t i = 0; i < count; i++) {
        before[i] += biased ? b[i % (size_t)C] : 0.0f;
        factors[i] = twin_factor(&dropout, keys[i / (size_t)C], (uint32_t)(i % (size_t)C));
        yd[i] = factors[i] * twin_activation((double)before[i], kind);
    }
    expect_same_bits("x + b", x, before, count, sizeof *x);
    expect_near("activation", y, yd, count, 1e-6);
    double *xd = widen(x, count);
    const activation g = {xd, widen(dy, count), factors, kind, count};
    km_activation_backward(dx, dy, x, kind, given, keys, N, C);
    expect_gradient("dx", projection, &g, xd, dx, count, 200, 2e-6);
    km_activation_backward(dy, dy, x, kind, given, keys, N, C);
    expect_same_bits("dx in place of dy", dy, dx, count, sizeof *dx);
    drop();
}

static void activations_equal_their_twins_and_finite_differences(void **state) {
    (void)state;
    for (size_t n = 0; n < KM_COUNT(rows); n++) {
        for (size_t c = 0; c < KM_COUNT(widths); c++) {
            for (int k = 0; k < 12; k++) {
                check_activation(rows[n], widths[c], kinds[k % 3], k % 2 > 0, k < 6 ? 0.0f : 0.2f);
            }
        }
    }
}

/* activation(x) -> x and its slope -> 1 for large x, both -> 0 for large -x, finite all the way; NaN gives NaN. */
static void activations_far_out(void **state) {
    (void)state;
    const float far[] = {15, 30, 1e3f, 1e10f, 1e13f, 1e15f, 1e19f, 2e19f, 1e25f, 3e38f};
    for (size_t k = 0; k < KM_COUNT(kinds); k++) {
        for (size_t i = 0; i < KM_COUNT(far); i++) {
            enum { C = 37 }; /* enough elements for the vectorized loop, and some beyond a multiple of its width */
            float *x = filled(2 * C, far[i]), *y = filled(2 * C, NAN), *dx = filled(2 * C, 1);
            for (int c = C; c < 2 * C; c++) {
                x[c] = -far[i];
            }
            km_activation_forward(y, x, NULL, kinds[k], NULL, NULL, 2, C);
            km_activation_backward(dx, dx, x, kinds[k], NULL, NULL, 2, C);
            for (int c = 0; c < C; c++) {
                assert_true(y[c] == far[i] && y[C + c] == 0);
                assert_true(dx[c] == 1 && dx[C + c] == 0);
            }
            drop();
        }
        float x[3] = {NAN, 0, -0.0f}, y[3], dx[3] = {1, 1, 1};
        km_activation_forward(y, x, NULL, kinds[k], NULL, NULL, 1, 3);
        km_activation_backward(dx, dx, x, kinds[k], NULL, NULL, 1, 3);
        const float slope = kinds[k] == KM_RELU ? 0.0f : 0.5f;
        assert_true(isnan(y[0]) && (isnan(dx[0]) || kinds[k] == KM_RELU));
        assert_true(y[1] == 0 && y[2] == 0 && dx[1] == slope && dx[2] == slope);
    }
}

/* Over a dense grid, the errors of gelu and gelu' are within a few units in the last place of max(1, |x|). */
static void gelu_over_its_range(void **state) {
    (void)state;
    enum { COUNT = 1 << 18 };
    for (int k = 0; k < 2; k++) {
        float *x = filled(COUNT, 0), *y = filled(COUNT, NAN), *dx = filled(COUNT, 1);
        for (int i = 0; i < COUNT; i++) {
            x[i] = (float)(24.0 * i / COUNT - 12.0);
        }
        km_activation_forward(y, x, NULL, kinds[k], NULL, NULL, 1, COUNT);
        km_activation_backward(dx, dx, x, kinds[k], NULL, NULL, 1, COUNT);
        for (int i = 0; i < COUNT; i++) {
            const double v = (double)x[i], h = 1e-5;
            const double slope = (twin_activation(v + h, kinds[k]) - twin_activation(v - h, kinds[k])) / (2 * h);
            assert_true(fabs((double)y[i] - twin_activation(v, kinds[k])) < 4e-7 * fmax(1, fabs(v)));
            if (!(fabs((double)dx[i] - slope) < 1e-6)) {
                fail_msg("gelu'(%.9g) is %.9g, not %.9g", v, (double)dx[i], slope);
            }
        }
        drop();
    }
}

/* out_n = word[id_n] + position[position_n] + type[type_n], or scale * word[id_n] + position[position_n]. */
static void embedding_is_a_sum_of_rows(void **state) {
    (void)state;
    enum { V = 17, P = 9, S = 3 };
    for (size_t n = 0; n < KM_COUNT(rows); n++) {
        for (size_t c = 0; c < KM_COUNT(widths); c++) {
            const int N = rows[n], C = widths[c];
            const size_t width = (size_t)C, count = (size_t)N * width;
            float *word = draw(V * width, 1, 1), *position = draw(P * width, 1, 2), *type = draw(S * width, 1, 3);
            int32_t *ids = draw_numbers((size_t)N, V, 1), *positions = draw_numbers((size_t)N, P, 2);
            int32_t *types = draw_numbers((size_t)N, S, 3);
            for (int typed = 0; typed < 2; typed++) {
                float *out = filled(count, NAN);
                double *want = doubles(count);
                for (size_t i = 0; i < count; i++) {
                    const size_t row = i / width, at = i % width, kind = typed ? (size_t)types[row] : 0;
                    want[i] = (double)word[(size_t)ids[row] * width + at] +
                              (double)position[(size_t)positions[row] * width + at] +
                              (double)type[kind * width + at];
                }
                km_embed_forward(out, ids, positions, typed ? types : NULL, word, position, type, N, C);
                expect_near("embedding", out, want, count, 1e-6);
            }
            float *out = filled(count, NAN), *rest = filled(count, NAN);
            double *want = doubles(count), *scaled = doubles(count);
            for (size_t i = 0; i < count; i++) {
                const size_t row = i / width, at = i % width;
                scaled[i] = 4.5 * (double)word[(size_t)ids[row] * width + at];
                want[i] = scaled[i] + (double)position[(size_t)positions[row] * width + at];
            }
            km_embed_scaled_forward(out, ids, positions, word, 4.5f, position, N, C);
            expect_near("scaled embedding", out, want, count, 1e-6);
            km_gather_rows(rest, word, ids, N, C);
            km_multiply(rest, rest, 4.5f, count);
            expect_near("scale", rest, scaled, count, 1e-6);
            drop();
        }
    }
}

/* gather: out_m = in[at_m]. scatter: out[at_m] += in_m, also where a row is named twice; other rows do not change. Each is
 * the backward of the other: sum(gather(x) * g) = sum(x * scatter(g)). */
static void rows_in_and_out(void **state) {
    (void)state;
    enum { ROWS = 8 };
    for (size_t n = 0; n < KM_COUNT(rows); n++) {
        for (size_t c = 0; c < KM_COUNT(widths); c++) {
            const int M = rows[n], C = widths[c];
            const size_t width = (size_t)C, count = (size_t)M * width, all = ROWS * width;
            int32_t *at = draw_numbers((size_t)M, ROWS, 1);
            float *x = draw(all, 1, 1), *g = draw(count, 1, 2), *out = filled(count, NAN);
            km_gather_rows(out, x, at, M, C);
            for (size_t i = 0; i < count; i++) {
                assert_true(out[i] == x[(size_t)at[i / width] * width + i % width]);
            }
            float *back = draw(all, 1, 3);
            double *want = widen(back, all);
            for (size_t i = 0; i < count; i++) {
                want[(size_t)at[i / width] * width + i % width] += (double)g[i];
            }
            km_scatter_add_rows(back, g, at, M, C);
            expect_near("scatter", back, want, all, 2e-6);

            float *y = draw(count, 1, 4);
            double *sum = widen(y, count);
            for (size_t i = 0; i < count; i++) {
                sum[i] += (double)g[i];
            }
            km_add(y, g, count);
            expect_near("add", y, sum, count, 1e-6);
            drop();
        }
    }
}

static float float_of(km_bf16 x) {
    const uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Norms of rows, and rows times a factor each; in bf16 with a gap behind each row, which stays as it is. */
static void check_row_factors(int M, int C) {
    enum { GAP = 5 };
    const size_t width = (size_t)C, ld = width + GAP, count = (size_t)M * width, all = (size_t)M * ld;
    float *x = draw(count, 2, 1), *factors = draw((size_t)M, 3, 2), *norms = filled((size_t)M, NAN);
    float *norms_bf16 = filled((size_t)M, NAN), *wide = draw(all, 2, 3), *got = filled(all, 0);
    double *scaled = doubles(count), *norms_want = doubles((size_t)M), *rounded_norms = doubles((size_t)M),
           *want = doubles(all);
    km_bf16 *h = take(all, sizeof *h);
    km_bf16_round(h, wide, all);
    for (size_t i = 0; i < count; i++) {
        const size_t m = i / width, at = m * ld + i % width;
        scaled[i] = (double)x[i] * (double)factors[m];
        norms_want[m] += (double)x[i] * (double)x[i];
        rounded_norms[m] += pow((double)float_of(h[at]), 2);
    }
    for (size_t i = 0; i < all; i++) {
        want[i] = (double)float_of(h[i]) * (i % ld < width ? (double)factors[i / ld] : 1);
    }
    for (int m = 0; m < M; m++) {
        norms_want[m] = sqrt(norms_want[m]);
        rounded_norms[m] = sqrt(rounded_norms[m]);
    }
    km_row_norms(norms, x, M, C);
    expect_near("norms of rows", norms, norms_want, (size_t)M, 2e-6);
    km_row_norms_bf16(norms_bf16, h, (int)ld, M, C);
    expect_near("norms of rows of bf16", norms_bf16, rounded_norms, (size_t)M, 2e-6);
    km_scale_rows(x, factors, M, C);
    expect_near("rows times factors", x, scaled, count, 1e-6);
    km_scale_rows_bf16(h, factors, (int)ld, M, C);
    for (size_t i = 0; i < all; i++) {
        got[i] = float_of(h[i]);
    }
    expect_near("rows of bf16 times factors", got, want, all, 1.0 / 256);
    for (size_t i = 0; i < all; i++) {
        assert_true(i % ld < width || (double)got[i] == want[i]);
    }
    drop();
}

static void norms_and_factors_of_rows(void **state) {
    (void)state;
    for (size_t m = 0; m < KM_COUNT(rows); m++) {
        for (size_t w = 0; w < KM_COUNT(widths); w++) {
            check_row_factors(rows[m], widths[w]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(activations_equal_their_twins_and_finite_differences),
                                       TEST(activations_far_out),
                                       TEST(gelu_over_its_range),
                                       TEST(embedding_is_a_sum_of_rows),
                                       TEST(rows_in_and_out),
                                       TEST(norms_and_factors_of_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
