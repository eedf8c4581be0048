/* Layers along a sequence: an LSTM against the equations of nn.LSTM in double, its gradients by finite differences of that twin, and
 * the windows of a convolution. */
#include "kernel/twins.h"

/* Sequences of these lengths, the longest first. */
typedef struct shape {
    int views, H;
    int lengths[6];
} shape;
static const shape shapes[] = {{1, 1, {1}}, {1, 5, {7}}, {3, 4, {6, 6, 2}}, {6, 9, {11, 8, 8, 3, 1, 1}}};

static int most_steps(const shape *s) {
    return s->lengths[0];
}

static int active_at(const shape *s, int t) {
    int count = 0;
    for (int v = 0; v < s->views; v++) {
        count += s->lengths[v] > t;
    }
    return count;
}

/* The packed place of token t of view v. */
static int packed(const shape *s, int v, int t) {
    int at = v;
    for (int u = 0; u < t; u++) {
        at += active_at(s, u);
    }
    return at;
}

static int tokens_of(const shape *s) {
    int tokens = 0;
    for (int v = 0; v < s->views; v++) {
        tokens += s->lengths[v];
    }
    return tokens;
}

typedef struct twin {
    const shape *s;
    const double *gates, *w, *factors; /* (N,4H), (4H,H), (N,H) */
    double *hidden, *cells;            /* (N,H) */
} twin;

static double logistic(double x) {
    return 1 / (1 + exp(-x));
}

/* The sum of hidden states times factors, after the textbook's equations. */
static double run_twin(const void *context) {
    const twin *x = context;
    const int H = x->s->H;
    double sum = 0;
    for (int v = 0; v < x->s->views; v++) {
        for (int t = 0; t < x->s->lengths[v]; t++) {
            const int n = packed(x->s, v, t), m = t > 0 ? packed(x->s, v, t - 1) : -1;
            for (int j = 0; j < H; j++) {
                double a[4];
                for (int g = 0; g < 4; g++) {
                    a[g] = x->gates[n * 4 * H + g * H + j];
                    for (int k = 0; m >= 0 && k < H; k++) {
                        a[g] += x->w[(g * H + j) * H + k] * x->hidden[m * H + k];
                    }
                }
                const double before = m >= 0 ? x->cells[m * H + j] : 0;
                x->cells[n * H + j] = logistic(a[1]) * before + logistic(a[0]) * tanh(a[2]);
                x->hidden[n * H + j] = logistic(a[3]) * tanh(x->cells[n * H + j]);
                sum += x->factors[n * H + j] * x->hidden[n * H + j];
            }
        }
    }
    return sum;
}

static void check_lstm(const shape *s) {
    const int N = tokens_of(s), H = s->H;
    const size_t n = (size_t)N * (size_t)H, wide = 4 * n, count = 4 * (size_t)H * (size_t)H;
    float *gates = draw(wide, 1, 1), *w = draw(count, 0.5, 2), *factors = draw(n, 1, 3);
    double *gates_d = widen(gates, wide);
    int *active = take((size_t)most_steps(s), sizeof *active);
    for (int t = 0; t < most_steps(s); t++) {
        active[t] = active_at(s, t);
    }
    const km_lstm lstm = {.steps = most_steps(s), .tokens = N, .H = H, .active = active};
    const twin x = {s, gates_d, widen(w, count), widen(factors, n), doubles(n), doubles(n)};
    float *hidden = filled(n, NAN), *cells = filled(n, NAN), *dgates = filled(wide, NAN);
    float *dhidden = copy(factors, n), *dcell = filled((size_t)s->views * (size_t)H, NAN);
    km_lstm_forward(hidden, cells, gates, w, &lstm);
    (void)run_twin(&x);
    expect_near("hidden states", hidden, x.hidden, n, 3e-6);
    expect_near("cells", cells, x.cells, n, 3e-6);
    km_lstm_backward(dgates, dhidden, dcell, gates, cells, w, &lstm);
    expect_gradient("gates", run_twin, &x, gates_d, dgates, wide, 60, 2e-5);
    drop();
}

static void lstm_is_its_twin(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_lstm(&shapes[i]);
    }
}

static void windows_stay_in_their_view(void **state) {
    (void)state;
    enum { C = 2, K = 3, N = 5 };
    const int32_t starts[] = {0, 1, 5};
    const float x[N * C] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    float out[N * C * K], dx[N * C], dout[N * C * K];
    km_windows_forward(out, x, starts, 2, C, K);
    const float alone[] = {0, 1, 0, 0, 2, 0}, middle[] = {3, 5, 7, 4, 6, 8}, last[] = {7, 9, 0, 8, 10, 0};
    assert_memory_equal(out, alone, sizeof alone);
    assert_memory_equal(out + 2 * C * K, middle, sizeof middle);
    assert_memory_equal(out + 4 * C * K, last, sizeof last);
    /* Backward is the transpose: <dout, windows(x)> = <windows'(dout), x>. */
    double left = 0, right = 0;
    for (int i = 0; i < N * C * K; i++) {
        dout[i] = (float)(i % 7) - 3;
        left += (double)dout[i] * (double)out[i];
    }
    km_windows_backward(dx, dout, starts, 2, C, K);
    for (int i = 0; i < N * C; i++) {
        right += (double)dx[i] * (double)x[i];
    }
    assert_float_equal(left, right, 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(lstm_is_its_twin), TEST(windows_stay_in_their_view)};
    km_kernel_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
