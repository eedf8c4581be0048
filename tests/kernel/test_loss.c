/* Softmax and cross entropy: loss = -log softmax(logits + bias)[label]; the gradient of the sum is softmax -
 * onehot. */
#include "kernel/twins.h"

static const int rows[] = {0, 1, 3, 33}, sizes[] = {1, 2, 17, 1000};

typedef struct entropy {
    const double *logits, *bias;
    const int32_t *labels;
    double *x, *p;
    int M, V;
} entropy;

/* The summed loss, whose gradient in the logits is what km_loss writes over them. */
static double summed(const void *context) {
    const entropy *e = context;
    double sum = 0;
    for (int m = 0; m < e->M; m++) {
        for (int v = 0; v < e->V; v++) {
            e->x[v] = e->logits[m * e->V + v] + (e->bias == NULL ? 0.0 : e->bias[v]);
        }
        sum += twin_softmax(e->p, e->x, e->V) - e->x[e->labels[m]];
    }
    return sum;
}

static void check_shape(int M, int V, bool biased) {
    const size_t count = (size_t)M * (size_t)V, width = (size_t)V;
    float *logits = draw(count, 3, 1), *bias = biased ? draw(width, 1, 2) : NULL;
    int32_t *labels = draw_numbers((size_t)M, V, 3);
    double *xd = widen(logits, count);
    const entropy e = {xd, biased ? widen(bias, width) : NULL, labels, doubles(width), doubles(width), M, V};
    float *p = copy(logits, count), *only = copy(logits, count), *again = copy(logits, count);
    float *loss = filled((size_t)M, NAN), *loss_only = filled((size_t)M, NAN);
    uint8_t *hit = take((size_t)M, 1), *hit_only = take((size_t)M, 1);

    km_loss(logits, loss, hit, bias, labels, true, M, V);
    km_loss(only, loss_only, hit_only, bias, labels, false, M, V);
    km_loss(again, NULL, NULL, bias, labels, true, M, V);
    km_softmax(p, bias, M, V);
    expect_gradient("softmax - onehot", summed, &e, xd, logits, count, 60, 3e-6);
    expect_same_bits("gradient without loss", again, logits, count, sizeof *logits);
    for (int m = 0; m < M; m++) {
        entropy row = e;
        row.M = 1;
        row.logits = xd + (size_t)m * width;
        row.labels = labels + m;
        const double want = summed(&row);
        expect_near("loss", loss + m, &want, 1, 2e-6);
        expect_near("loss without gradient", loss_only + m, &want, 1, 2e-6);
        expect_near("softmax", p + (size_t)m * width, e.p, width, 1e-6);
        bool largest = true;
        for (int v = 0; v < V; v++) {
            largest = largest && row.x[v] <= row.x[labels[m]];
        }
        assert_int_equal(hit[m], largest);
        assert_int_equal(hit_only[m], largest);
    }
    drop();
}

static void loss_equals_its_twin_and_finite_differences(void **state) {
    (void)state;
    for (size_t m = 0; m < KM_COUNT(rows); m++) {
        for (size_t v = 0; v < KM_COUNT(sizes); v++) {
            check_shape(rows[m], sizes[v], false);
            check_shape(rows[m], sizes[v], true);
        }
    }
}

typedef struct smoothed {
    entropy base;
    double kept, spread;
} smoothed;

/* The summed loss with label smoothing. */
static double summed_smoothed(const void *context) {
    const smoothed *s = context;
    const entropy *e = &s->base;
    double sum = 0;
    for (int m = 0; m < e->M; m++) {
        entropy row = *e;
        row.M = 1;
        row.logits = e->logits + (size_t)m * (size_t)e->V;
        for (int32_t v = 0; v < e->V; v++) {
            row.labels = &v;
            sum += (s->spread + (v == e->labels[m] ? s->kept : 0)) * summed(&row);
        }
    }
    return sum;
}

static void check_smoothed(int M, int V, double share, bool among_others) {
    const size_t count = (size_t)M * (size_t)V;
    float *logits = draw(count, 3, 1), *bias = draw((size_t)V, 1, 2);
    int32_t *labels = draw_numbers((size_t)M, V, 3);
    double *xd = widen(logits, count), spread = share / (among_others ? V - 1 : V);
    smoothed s = {{xd, widen(bias, (size_t)V), labels, doubles((size_t)V), doubles((size_t)V), M, V},
                  1 - share - (among_others ? spread : 0),
                  spread};
    float *plain = copy(logits, count), *loss = filled((size_t)M, NAN);
    uint8_t *hit = take((size_t)M, 1), *hit_plain = take((size_t)M, 1);
    km_loss(plain, NULL, hit_plain, bias, labels, true, M, V);
    km_loss_smoothed(logits, loss, hit, bias, labels, (float)s.kept, (float)s.spread, M, V);
    expect_gradient("smoothed gradient", summed_smoothed, &s, xd, logits, count, 40, 3e-6);
    for (int m = 0; m < M; m++) {
        smoothed row = s;
        row.base.M = 1;
        row.base.logits = xd + (size_t)m * (size_t)V;
        row.base.labels = labels + m;
        const double want = summed_smoothed(&row);
        expect_near("smoothed loss", loss + m, &want, 1, 2e-6);
        assert_int_equal(hit[m], hit_plain[m]);
    }
    drop();
}

static void smoothed_loss_equals_its_twin_and_finite_differences(void **state) {
    (void)state;
    const int widths[] = {2, 17, 100};
    for (size_t v = 0; v < KM_COUNT(widths); v++) {
        check_smoothed(3, widths[v], 0.1, true);
        check_smoothed(3, widths[v], 0.1, false);
        check_smoothed(2, widths[v], 0, false);
    }
}

/* Of equal largest logits the lowest id counts, wherever they are. */
static void the_lowest_id_wins_a_tie(void **state) {
    (void)state;
    enum { V = 41 };
    for (int32_t low = 0; low < V; low++) {
        for (int32_t high = low + 1; high < V; high += 3) {
            for (int32_t label = 0; label < V; label += 2) {
                float x[V], loss;
                uint8_t hit = 2;
                for (int v = 0; v < V; v++) {
                    x[v] = v == low || v == high ? 1.5f : -1;
                }
                km_loss(x, &loss, &hit, NULL, &label, false, 1, V);
                assert_int_equal(hit, label == low);
            }
        }
    }
}

/* Logits of +-1e4, all equal, and -inf: probabilities sum to 1, loss is finite where the label is possible and
 * infinite where it is not. */
static void extremes(void **state) {
    (void)state;
    const int lengths[] = {2, 17, 100};
    for (size_t i = 0; i < KM_COUNT(lengths); i++) {
        const int V = lengths[i];
        const float levels[] = {1e4f, -1e4f, 0, 3e38f, -3e38f};
        float *x = filled((size_t)V, 0), loss;
        for (size_t l = 0; l < KM_COUNT(levels); l++) {
            for (int v = 0; v < V; v++) {
                x[v] = levels[l];
            }
            float *p = copy(x, (size_t)V);
            const int32_t label = V - 1;
            km_softmax(p, NULL, 1, V);
            km_loss(x, &loss, NULL, NULL, &label, true, 1, V);
            assert_true(fabs((double)loss - log(V)) < 1e-5);
            for (int v = 0; v < V; v++) {
                assert_true(fabs((double)p[v] * V - 1) < 1e-5);
                assert_true(fabs((double)x[v] - (1.0 / V - (v == label ? 1 : 0))) < 1e-6);
            }
        }
        for (int32_t best = 0; best < V; best++) {
            const int32_t label = best, other = best == 0 ? 1 : 0;
            for (int kind = 0; kind < 2; kind++) {
                const float low = kind == 0 ? -1e4f : -INFINITY;
                for (int v = 0; v < V; v++) {
                    x[v] = v == best ? 1e4f : low;
                }
                float *p = copy(x, (size_t)V);
                km_loss(p, &loss, NULL, NULL, &other, false, 1, V);
                assert_true(kind == 0 ? loss == 2e4f : loss == INFINITY);
                km_loss(p, &loss, NULL, NULL, &label, false, 1, V);
                assert_true(loss == 0);
                km_softmax(p, NULL, 1, V);
                for (int v = 0; v < V; v++) {
                    assert_true(p[v] == (v == best ? 1.0f : 0.0f));
                }
            }
        }
        drop();
    }
}

/* With NaN anywhere in a row of logits, its loss and its whole gradient are NaN and its hit is 0; other rows do not change. */
static void nan_shows(void **state) {
    (void)state;
    enum { M = 3, V = 50 };
    const int32_t labels[M] = {4, 4, 4};
    for (int at = 0; at < V; at++) {
        for (int backward = 0; backward < 2; backward++) {
            float *x = draw(M * V, 1, 1), loss[M], clean[M];
            uint8_t hit[M];
            km_loss(copy(x, M * V), clean, NULL, NULL, labels, backward, M, V);
            x[V + at] = NAN;
            float *p = copy(x, M * V);
            km_loss(x, loss, hit, NULL, labels, backward, M, V);
            km_softmax(p, NULL, M, V);
            assert_true(isnan(loss[1]));
            assert_true(loss[0] == clean[0] && loss[2] == clean[2]);
            for (int i = 0; i < M * V; i++) {
                assert_true(!backward || (isnan(x[i]) != 0) == (i / V == 1));
                assert_true((isnan(p[i]) != 0) == (i / V == 1));
            }
            drop();
        }
    }
}

/* However far apart the logits are, no probability and no gradient is a subnormal number, with which products are slow. */
static void probabilities_are_never_subnormal(void **state) {
    (void)state;
    enum { V = 2003 };
    float *p = filled(V, 0), *gradient = filled(V, 0);
    for (int v = 0; v < V; v++) {
        p[v] = gradient[v] = -0.1f * (float)v; /* from 1 down to exp(-200) */
    }
    const int32_t label = 7;
    km_softmax(p, NULL, 1, V);
    km_loss(gradient, NULL, NULL, NULL, &label, true, 1, V);
    for (int v = 0; v < V; v++) {
        assert_true(fpclassify(p[v]) != FP_SUBNORMAL && fpclassify(gradient[v]) != FP_SUBNORMAL);
        assert_true(v < 500 ? p[v] > 0 : v < 700 || p[v] == 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(loss_equals_its_twin_and_finite_differences),
                                       TEST(smoothed_loss_equals_its_twin_and_finite_differences),
                                       TEST(the_lowest_id_wins_a_tie),
                                       TEST(extremes),
                                       TEST(nan_shows),
                                       TEST(probabilities_are_never_subnormal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
