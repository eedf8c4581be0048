/* The network of proposals against its twin in double: scores, and every parameter's gradient against the twin's central differences.
 * Its initial weights give all tokens the same score, and a sequence's scores do not depend on its neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kmask/kernel.h"
#include "kmask/net.h"

enum { VIEWS = 3, TOKENS = 12, WIDEST = 16 };
static const int32_t starts[VIEWS + 1] = {0, 2, 9, 12}, ids[TOKENS] = {1, 4, 0, 3, 2, 5, 4, 6, 1, 3, 3, 0};
static const km_stream stream = {.tokens = TOKENS, .longest = 7, .starts = starts, .ids = ids};

static km_policy_net *net_of(int kernel) {
    const km_policy_shape shape = {.kind = KM_POLICY_PROPOSAL, .V = 7, .C = 5, .H = 6, .L = 1, .K = kernel, .M = 4};
    km_policy_net *net = NULL;
    assert_int_equal(km_policy_net_create(&net, &shape), KM_OK);
    assert_int_equal(km_policy_net_outputs(net), 1);
    return net;
}

/* Weights that are not small, so that nothing is nearly linear. */
static float *weights_of(const km_policy_net *net) {
    const km_table *table = km_policy_net_table(net);
    float *weights = km_new(table->size, sizeof *weights);
    for (int p = 0; p < table->count; p++) {
        km_rng rng = km_rng_make(3, KM_RNG_TEST, (uint32_t)p, 0);
        for (size_t i = 0; i < table->params[p].count; i++) {
            weights[table->params[p].offset + i] = (float)(0.7 * km_rng_normal(&rng));
        }
    }
    return weights;
}

/* ---- The twin ---- */

static const double *part(const km_policy_net *net, const double *weights, const char *name) {
    const km_param *param = km_table_find(km_policy_net_table(net), name);
    assert_non_null(param);
    return weights + param->offset;
}

static void dense(double *y, const double *x, const double *w, const double *b, int in, int out) {
    for (int o = 0; o < out; o++) {
        y[o] = b[o];
        for (int i = 0; i < in; i++) {
            y[o] += w[o * in + i] * x[i];
        }
    }
}

/* Embedding, convolution over the sequence first..end-1 with zeros around it, linear, rectifier, linear. */
static double twin_score(const km_policy_net *net, const double *weights, int token, int first, int end) {
    const km_policy_shape *s = km_policy_net_shape(net);
    const double *embed = part(net, weights, "embed.weight"), *conv = part(net, weights, "conv.weight");
    double h[WIDEST], u[WIDEST], score = 0;
    for (int o = 0; o < s->H; o++) {
        h[o] = part(net, weights, "conv.bias")[o];
        for (int k = 0; k < s->K; k++) {
            const int at = token + k - s->K / 2;
            for (int c = 0; c < s->C && at >= first && at < end; c++) {
                h[o] += conv[(o * s->C + c) * s->K + k] * embed[ids[at] * s->C + c];
            }
        }
    }
    dense(u, h, part(net, weights, "linear1.weight"), part(net, weights, "linear1.bias"), s->H, s->M);
    for (int m = 0; m < s->M; m++) {
        u[m] = fmax(u[m], 0);
    }
    dense(&score, u, part(net, weights, "linear2.weight"), part(net, weights, "linear2.bias"), s->M, 1);
    return score;
}

static void twin_scores(const km_policy_net *net, const double *weights, double *scores) {
    for (int v = 0; v < VIEWS; v++) {
        for (int i = starts[v]; i < starts[v + 1]; i++) {
            scores[i] = twin_score(net, weights, i, starts[v], starts[v + 1]);
        }
    }
}

/* A quadratic function of the scores, whose gradient in score i is score i less its number. */
static double twin_loss(const km_policy_net *net, const double *weights) {
    double scores[TOKENS], sum = 0;
    twin_scores(net, weights, scores);
    for (int i = 0; i < TOKENS; i++) {
        sum += 0.5 * (scores[i] - i) * (scores[i] - i);
    }
    return sum;
}

/* ---- Tests ---- */

static void add(void *payload, size_t offset, const float *gradient, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ((double *)payload)[offset + i] += (double)gradient[i];
    }
}

static void passed(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

static void check_slopes(const km_policy_net *net, double *weights, const double *gradient) {
    const km_table *table = km_policy_net_table(net);
    const double h = 1e-5;
    for (int p = 0; p < table->count; p++) {
        for (size_t e = 0; e < table->params[p].count; e++) {
            double *x = weights + table->params[p].offset + e;
            const double was = *x, got = gradient[table->params[p].offset + e];
            *x = was + h;
            const double above = twin_loss(net, weights);
            *x = was - h;
            const double slope = (above - twin_loss(net, weights)) / (2 * h);
            *x = was;
            if (fabs(slope - got) > 1e-4 + 1e-5 * fabs(slope)) {
                fail_msg("%s %zu: gradient %g, differences give %g", table->params[p].name, e, got, slope);
            }
        }
    }
}

static void check_network(int kernel) {
    km_policy_net *net = net_of(kernel);
    const size_t size = km_policy_net_table(net)->size;
    float *single = weights_of(net), dscores[TOKENS];
    double *weights = km_new(size, sizeof *weights), *gradient = km_new(size, sizeof *gradient), expected[TOKENS];
    km_policy_work *work = NULL;
    const km_sink sink = {.payload = gradient, .ready = add, .done = passed};
    for (size_t i = 0; i < size; i++) {
        weights[i] = (double)single[i];
    }
    twin_scores(net, weights, expected);
    assert_int_equal(km_policy_work_create(&work, net, TOKENS, VIEWS), KM_OK);
    const float *scores = km_policy_forward(net, single, &stream, VIEWS, work);
    for (int i = 0; i < TOKENS; i++) {
        assert_true(fabs((double)scores[i] - expected[i]) < 1e-5 * (1 + fabs(expected[i])));
        dscores[i] = scores[i] - (float)i;
    }
    km_policy_backward(net, single, &stream, VIEWS, dscores, true, work, &sink);
    check_slopes(net, weights, gradient);
    free(single);
    free(weights);
    free(gradient);
    km_policy_work_destroy(work);
    km_policy_net_destroy(net);
}

static void the_network_is_its_twin(void **state) {
    (void)state;
    check_network(1);
    check_network(3);
    check_network(5);
}

static void initial_scores_are_equal(void **state) {
    (void)state;
    km_policy_net *net = net_of(3);
    const km_table *table = km_policy_net_table(net);
    float *weights = km_new(table->size, sizeof *weights);
    km_policy_work *work = NULL;
    km_policy_net_init(net, weights, 5);
    for (int p = 0; p < table->count; p++) { /* only the last layer begins at 0 */
        const bool last = strncmp(table->params[p].name, "linear2.", 8) == 0;
        const float first = weights[table->params[p].offset];
        assert_true((first < 0 || first > 0) != last);
    }
    assert_int_equal(km_policy_work_create(&work, net, TOKENS, VIEWS), KM_OK);
    const float *scores = km_policy_forward(net, weights, &stream, VIEWS, work);
    for (int i = 0; i < TOKENS; i++) {
        assert_true(fabsf(scores[i]) <= 0.0f);
    }
    free(weights);
    km_policy_work_destroy(work);
    km_policy_net_destroy(net);
}

static void sequences_are_alone(void **state) {
    (void)state;
    km_policy_net *net = net_of(3);
    float *weights = weights_of(net), together[TOKENS];
    km_policy_work *work = NULL;
    assert_int_equal(km_policy_work_create(&work, net, TOKENS, VIEWS), KM_OK);
    memcpy(together, km_policy_forward(net, weights, &stream, VIEWS, work), sizeof together);
    for (int v = 0; v < VIEWS; v++) {
        const int32_t one[2] = {0, starts[v + 1] - starts[v]};
        const km_stream alone = {.tokens = one[1], .longest = one[1], .starts = one, .ids = ids + starts[v]};
        const float *scores = km_policy_forward(net, weights, &alone, 1, work);
        for (int i = 0; i < one[1]; i++) {
            assert_float_equal(scores[i], together[starts[v] + i], 1e-5);
        }
    }
    free(weights);
    km_policy_work_destroy(work);
    km_policy_net_destroy(net);
}

static void sizes_that_make_no_sense_are_refused(void **state) {
    (void)state;
    km_policy_net *net = NULL;
    km_policy_shape shape = {.kind = KM_POLICY_PROPOSAL, .V = 7, .C = 5, .H = 6, .K = 4, .M = 4};
    assert_int_equal(km_policy_net_create(&net, &shape), KM_USAGE);
    assert_non_null(strstr(km_message(), "must be odd"));
    shape.K = 3;
    shape.V = 0;
    assert_int_equal(km_policy_net_create(&net, &shape), KM_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_network_is_its_twin), cmocka_unit_test(initial_scores_are_equal),
        cmocka_unit_test(sequences_are_alone), cmocka_unit_test(sizes_that_make_no_sense_are_refused)};
    km_kernel_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
