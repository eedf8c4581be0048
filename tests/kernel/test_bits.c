/* Every kernel's result depends to the bit on its arguments alone: the same data give the same bits in a second call, at
 * addresses that are shifted by 1..15 floats and, for kernels without a matrix product, among other rows or cut into other
 * parts. */
#include "kernel/twins.h"

enum { SHIFTS = 16, MOST_BUFFERS = 16 };

/* One pass over all shifts: inputs are placed with the shift, and outputs are compared with those of the first shift. */
typedef struct placing {
    int shift, buffers, outputs;
    char *first[MOST_BUFFERS];
} placing;

/* Places `count` elements of `size` bytes at an address that is aligned to 64 bytes plus the shift. Arrays that are placed
 * one after the other get different shifts. */
static void *place(placing *p, const void *content, size_t count, size_t size) {
    const size_t shift = (size_t)((p->shift * (1 + p->buffers % 3)) % SHIFTS) * size;
    char *block = take(count * size + 64 + SHIFTS * size, 1);
    char *at = block + (64 - (uintptr_t)block % 64) % 64 + shift;
    p->buffers++;
    if (content != NULL) {
        memcpy(at, content, count * size);
    } else {
        memset(at, 0x7B, count * size);
    }
    return at;
}

static float *in(placing *p, const float *content, size_t count) {
    return place(p, content, count, sizeof *content);
}

static float *out(placing *p, size_t count) {
    return place(p, NULL, count, sizeof(float));
}

static void same(placing *p, const char *what, const void *got, size_t count, size_t size) {
    if (p->shift == 0) {
        p->first[p->outputs] = take(count, size);
        memcpy(p->first[p->outputs], got, count * size);
    }
    expect_same_bits(what, got, p->first[p->outputs++], count, size);
}

/* Shift 0 comes twice, to compare a second call with the first one. */
static void at_all_shifts(void (*run)(placing *p)) {
    placing p = {.shift = 0};
    run(&p);
    for (int shift = SHIFTS; shift-- > 0;) {
        char *first[MOST_BUFFERS];
        memcpy(first, p.first, sizeof first);
        p = (placing){.shift = shift};
        memcpy(p.first, first, sizeof first);
        if (shift == 0) { /* compare, do not collect */
            p.shift = SHIFTS;
        }
        run(&p);
    }
}

static int N, C; /* the sizes of the current case, which each test sets */

static void run_linear(placing *p) {
    const int O = 45;
    const size_t nx = (size_t)(N * C), nw = (size_t)(O * C), ny = (size_t)(N * O), width = (size_t)C;
    float *x = in(p, draw(nx, 1, 1), nx), *w = in(p, draw(nw, 1, 2), nw),
          *b = in(p, draw((size_t)O, 1, 3), (size_t)O);
    float *dy = in(p, draw(ny, 1, 4), ny), *y = out(p, ny), *dx = out(p, nx), *dw = out(p, nw),
          *db = out(p, (size_t)O);
    float *columns = out(p, width);
    km_linear_forward(y, x, w, b, N, C, O);
    same(p, "y", y, ny, 4);
    km_linear_backward_input(dx, dy, w, N, C, O, false);
    same(p, "dx", dx, nx, 4);
    km_linear_backward_weight(dw, db, dy, x, N, C, O);
    same(p, "dw", dw, nw, 4);
    same(p, "db", db, (size_t)O, 4);
    km_bias_backward(columns, x, N, C);
    same(p, "column sums", columns, width, 4);
}

static void run_norm(placing *p) {
    const size_t count = (size_t)(N * C), width = (size_t)C, rows = (size_t)N;
    const km_dropout d = {{1, 2}, 3, 0.3f};
    uint64_t *keys = draw_keys(rows, 1);
    float *x = in(p, draw(count, 1, 1), count), *residual = in(p, draw(count, 1, 2), count);
    float *w = in(p, draw(width, 1, 3), width), *b = in(p, draw(width, 1, 4), width);
    float *bias = in(p, draw(width, 1, 5), width), *dy = in(p, draw(count, 1, 6), count);
    float *y = out(p, count), *sum = out(p, count), *mean = out(p, rows), *rstd = out(p, rows);
    float *dx = out(p, count), *dw = out(p, width), *db = out(p, width);
    km_norm_forward(y, mean, rstd, x, w, b, 1e-5f, N, C);
    same(p, "norm", y, count, 4);
    km_norm_backward(dx, dw, db, dy, x, mean, rstd, w, N, C);
    same(p, "dx", dx, count, 4);
    same(p, "dw", dw, width, 4);
    same(p, "db", db, width, 4);
    km_residual_norm_forward(y, sum, mean, rstd, x, bias, residual, &d, keys, w, b, 1e-5f, N, C);
    same(p, "sum", sum, count, 4);
    same(p, "y", y, count, 4);
    same(p, "mean", mean, rows, 4);
    same(p, "rstd", rstd, rows, 4);
    km_dropout_apply(y, x, &d, keys, N, C);
    same(p, "dropout", y, count, 4);
}

static void run_elementwise(placing *p) {
    const size_t count = (size_t)(N * C), width = (size_t)C;
    int32_t *ids = draw_numbers((size_t)N, N, 1);
    float *x = draw(count, 2, 1), *b = in(p, draw(width, 1, 2), width), *dy = in(p, draw(count, 1, 3), count);
    float *y = out(p, count), *dx = out(p, count);
    for (int kind = 0; kind < 2; kind++) {
        float *own = in(p, x, count);
        km_activation_forward(y, own, b, kind == 0 ? KM_GELU_ERF : KM_GELU_TANH, NULL, NULL, N, C);
        same(p, "gelu", y, count, 4);
        km_activation_backward(dx, dy, own, kind == 0 ? KM_GELU_ERF : KM_GELU_TANH, NULL, NULL, N, C);
        same(p, "gelu backward", dx, count, 4);
    }
    km_embed_forward(y, ids, ids, ids, x, dy, dx, N, C);
    same(p, "embedding", y, count, 4);
    km_add(y, dx, count);
    same(p, "add", y, count, 4);
    km_scatter_add_rows(y, dx, ids, N, C);
    same(p, "scatter", y, count, 4);
}

static void run_loss(placing *p) {
    const size_t count = (size_t)(N * C), width = (size_t)C, rows = (size_t)N;
    int32_t *labels = draw_numbers(rows, C, 1);
    float *x = in(p, draw(count, 2, 1), count), *bias = in(p, draw(width, 1, 2), width), *loss = out(p, rows);
    float *only = in(p, draw(count, 2, 1), count), *soft = in(p, draw(count, 2, 1), count);
    uint8_t *hit = take(rows, 1);
    km_loss(x, loss, hit, bias, labels, true, N, C);
    same(p, "gradient", x, count, 4);
    same(p, "loss", loss, rows, 4);
    same(p, "hit", hit, rows, 1);
    km_loss(only, loss, hit, bias, labels, false, N, C);
    same(p, "loss without gradient", loss, rows, 4);
    km_softmax(soft, bias, N, C);
    same(p, "softmax", soft, count, 4);
}

static void run_update(placing *p) {
    const size_t count = (size_t)(N * C);
    float *g = in(p, draw(count, 1, 1), count), *w = in(p, draw(count, 1, 2), count);
    float *m = in(p, draw(count, 1, 3), count), *v = in(p, filled(count, 0.3f), count);
    int64_t *zero = take(count, sizeof *zero);
    memset(zero, 0, count * sizeof *zero);
    int64_t *sum = place(p, zero, count, sizeof *zero);
    const km_adamw o = {1e-3f, 0.9f, 0.999f, 1e-6f, 0.01f, 0.1f, 0.001f};
    assert_true(km_fixed_add(sum, g, count));
    same(p, "fixed", sum, count, 8);
    double squares = km_fixed_squares(sum, 1e-11, count);
    same(p, "squares", &squares, 1, 8);
    km_adamw_update(w, m, v, sum, 1e-11, &o, count);
    same(p, "w", w, count, 4);
    same(p, "m", m, count, 4);
    same(p, "v", v, count, 4);
}

static void run_attention(placing *p) {
    const int32_t starts[] = {0, 2, N}, H = 2, D = C / 2;
    const size_t rows = (size_t)N, three = (size_t)(3 * 2 * D * N), one = three / 3, heads = (size_t)(N * H);
    const km_attention s = {.views = 2,
                            .H = H,
                            .D = D,
                            .q_starts = starts,
                            .k_starts = starts,
                            .ldq = 6 * D,
                            .ldk = 6 * D,
                            .ldo = 2 * D,
                            .dropout = {{1, 2}, 3, 0.2f},
                            .keys = draw_keys(rows, 1),
                            .kept = take(heads * (size_t)km_attention_kept_words(N), sizeof(uint16_t)),
                            .kept_words = km_attention_kept_words(N)};
    float *qkv = in(p, draw(three, 1, 1), three), *dout = in(p, draw(one, 1, 2), one), *y = out(p, one);
    float *lse = out(p, heads), *d = out(p, three), *scratch = out(p, km_attention_scratch(N, D));
    const ptrdiff_t k = 2 * D, v = 4 * D;
    km_attention_forward(y, lse, qkv, qkv + k, qkv + v, &s, scratch);
    same(p, "attention", y, one, 4);
    same(p, "lse", lse, heads, 4);
    km_attention_backward(d, d + k, d + v, dout, lse, qkv, qkv + k, qkv + v, &s, scratch);
    same(p, "dq|dk|dv", d, three, 4);
}

static void bits_do_not_depend_on_alignment(void **state) {
    (void)state;
    const int shapes[][2] = {{1, 1}, {3, 17}, {5, 67}, {33, 129}, {2, 1003}};
    void (*const runs[])(placing *) = {run_linear, run_norm, run_elementwise, run_loss, run_update};
    for (size_t s = 0; s < KM_COUNT(shapes); s++) {
        for (size_t r = 0; r < KM_COUNT(runs); r++) {
            N = shapes[s][0];
            C = shapes[s][1];
            at_all_shifts(runs[r]);
            drop();
        }
    }
    const int lengths[][2] = {{4, 2}, {20, 16}, {131, 18}, {140, 128}};
    for (size_t s = 0; s < KM_COUNT(lengths); s++) {
        N = lengths[s][0];
        C = lengths[s][1];
        at_all_shifts(run_attention);
        drop();
    }
}

/* A row alone gives the same bits as among other rows. */
static void rows_do_not_see_each_other(void **state) {
    (void)state;
    const int sizes[] = {1, 3, 17, 67, 129, 1003};
    for (size_t s = 0; s < KM_COUNT(sizes); s++) {
        enum { ROWS = 5 };
        const int width = sizes[s];
        const size_t w1 = (size_t)width, all = ROWS * w1;
        const km_dropout d = {{1, 2}, 3, 0.3f};
        uint64_t *keys = draw_keys(ROWS, 1);
        int32_t *labels = draw_numbers(ROWS, width, 1);
        float *x = draw(all, 1, 1), *r = draw(all, 1, 2), *w = draw(w1, 1, 3), *b = draw(w1, 1, 4);
        float mean[2][ROWS], rstd[2][ROWS], loss[2][ROWS];
        float *y[2], *sum[2], *u[2], *g[2], *dx[2], *drop_[2], *logits[2], *dw = filled(w1, 0), *db = filled(w1, 0);
        for (int k = 0; k < 2; k++) {
            y[k] = filled(all, 0);
            sum[k] = filled(all, 0);
            u[k] = copy(x, all);
            g[k] = filled(all, 0);
            dx[k] = filled(all, 0);
            drop_[k] = filled(all, 0);
            logits[k] = copy(x, all);
        }
        for (int k = 0; k < 2; k++) {
            const int step = k == 0 ? ROWS : 1;
            for (int n = 0; n < ROWS; n += step) {
                const size_t at = (size_t)n * w1;
                km_residual_norm_forward(y[k] + at, sum[k] + at, mean[k] + n, rstd[k] + n, x + at, b, r + at, &d,
                                         keys + n, w, b, 1e-5f, step, width);
                km_activation_forward(g[k] + at, u[k] + at, b, KM_GELU_ERF, NULL, NULL, step, width);
                km_activation_backward(dx[k] + at, r + at, u[k] + at, KM_GELU_ERF, NULL, NULL, step, width);
                km_dropout_apply(drop_[k] + at, x + at, &d, keys + n, step, width);
                km_loss(logits[k] + at, loss[k] + n, NULL, b, labels + n, true, step, width);
            }
        }
        expect_same_bits("y", y[1], y[0], all, 4);
        expect_same_bits("sum", sum[1], sum[0], all, 4);
        expect_same_bits("gelu", g[1], g[0], all, 4);
        expect_same_bits("gelu backward", dx[1], dx[0], all, 4);
        expect_same_bits("dropout", drop_[1], drop_[0], all, 4);
        expect_same_bits("logits", logits[1], logits[0], all, 4);
        expect_same_bits("loss", loss[1], loss[0], ROWS, 4);
        for (int k = 0; k < 2; k++) {
            const int step = k == 0 ? ROWS : 1;
            for (int n = 0; n < ROWS; n += step) {
                const size_t at = (size_t)n * w1;
                km_norm_backward(dx[k] + at, dw, db, r + at, sum[0] + at, mean[0] + n, rstd[0] + n, w, step, width);
                km_activation_forward(g[k] + at, u[k] + at, NULL, KM_GELU_TANH, NULL, NULL, step, width);
                km_activation_backward(y[k] + at, r + at, u[k] + at, KM_GELU_TANH, NULL, NULL, step, width);
            }
        }
        expect_same_bits("norm backward", dx[1], dx[0], all, 4);
        expect_same_bits("tanh gelu", g[1], g[0], all, 4);
        expect_same_bits("tanh gelu backward", y[1], y[0], all, 4);
        drop();
    }
}

/* AdamW and the exact sum give the same bits wherever the table is cut, because each number of ranks cuts it in other places. */
static void updates_do_not_depend_on_the_cut(void **state) {
    (void)state;
    enum { COUNT = 301 };
    const km_adamw o = {1e-3f, 0.9f, 0.999f, 1e-6f, 0.01f, 0.1f, 0.001f};
    float *g = draw(COUNT, 1, 1), *w0 = draw(COUNT, 1, 2), *m0 = draw(COUNT, 1, 3), *v0 = filled(COUNT, 0.3f);
    float *w = copy(w0, COUNT), *m = copy(m0, COUNT), *v = copy(v0, COUNT);
    int64_t sum[COUNT] = {0};
    assert_true(km_fixed_add(sum, g, COUNT));
    km_adamw_update(w, m, v, sum, 1e-11, &o, COUNT);
    for (size_t cut = 0; cut <= COUNT; cut++) {
        float *w1 = copy(w0, COUNT), *m1 = copy(m0, COUNT), *v1 = copy(v0, COUNT);
        int64_t sum1[COUNT] = {0};
        assert_true(km_fixed_add(sum1, g, cut) && km_fixed_add(sum1 + cut, g + cut, COUNT - cut));
        expect_same_bits("sum", sum1, sum, COUNT, 8);
        km_adamw_update(w1, m1, v1, sum, 1e-11, &o, cut);
        km_adamw_update(w1 + cut, m1 + cut, v1 + cut, sum + cut, 1e-11, &o, COUNT - cut);
        expect_same_bits("w", w1, w, COUNT, 4);
        expect_same_bits("m", m1, m, COUNT, 4);
        expect_same_bits("v", v1, v, COUNT, 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(bits_do_not_depend_on_alignment), TEST(rows_do_not_see_each_other),
                                       TEST(updates_do_not_depend_on_the_cut)};
    km_kernel_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
