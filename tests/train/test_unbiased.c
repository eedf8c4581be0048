/* Whether importance weights keep the gradient of a real model unbiased: all ordered masks of a short row, each with its weight in the
 * batch, against all masks with the same weight. */
#include "kmask/data.h"
#include "kmask/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { UNITS = 6, TAU = 2, LENGTH = UNITS + 2, VOCABULARY = 23, MASK = 4 };

typedef struct fixture {
    km_model *model;
    float *weights;
    km_work *work;
    size_t size;
    double *uniform; /* (size) the mean gradient of uniform masks */
} fixture;

static fixture f;

/* The payload of the sink: the gradient is added to `sum`, times `factor`. */
typedef struct adding {
    double *sum, factor;
} adding;

static void add(void *payload, size_t offset, const float *gradient, size_t count) {
    const adding *to = payload;
    for (size_t i = 0; i < count; i++) {
        to->sum[offset + i] += to->factor * (double)gradient[i];
    }
}

static void done(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

/* Adds the gradient of the row with units a and b masked, with weights for their losses, times a factor. */
static void add_gradient(double *sum, int a, int b, const double *weights, double factor) {
    static const int32_t row[LENGTH] = {2, 9, 14, 7, 21, 9, 12, 3};
    const int first = a < b ? a : b, second = a < b ? b : a;
    const int32_t starts[2] = {0, LENGTH}, at[TAU] = {first + 1, second + 1},
                  labels[TAU] = {row[at[0]], row[at[1]]};
    const float losses[TAU] = {(float)weights[first == a ? 0 : 1], (float)weights[first == a ? 1 : 0]};
    const uint64_t rows[1] = {0};
    int32_t ids[LENGTH];
    uint64_t keys[LENGTH];
    for (int i = 0; i < LENGTH; i++) {
        ids[i] = i == at[0] || i == at[1] ? MASK : row[i];
        keys[i] = (uint64_t)i;
    }
    const km_batch batch = {
        .views = 1,
        .input = {.tokens = LENGTH, .longest = LENGTH, .starts = starts, .ids = ids, .keys = keys},
        .labelled = TAU,
        .at = at,
        .labels = labels,
        .weights = losses,
        .rows = rows,
    };
    adding to = {sum, factor};
    const km_sink sink = {.payload = &to, .ready = add, .done = done};
    km_loss_sum loss;
    assert_int_equal(km_model_check(f.model, &batch), KM_OK);
    km_model_gradient(f.model, f.weights, &batch, 1, false, f.work, &sink, &loss);
}

static double norm_of(const double *x, const double *y) {
    double squares = 0;
    for (size_t i = 0; i < f.size; i++) {
        squares += (x[i] - (y != NULL ? y[i] : 0)) * (x[i] - (y != NULL ? y[i] : 0));
    }
    return sqrt(squares);
}

static int make(void **state) {
    (void)state;
    km_model_config config = {.vocab_size = VOCABULARY,
                              .hidden_size = 24,
                              .num_hidden_layers = 2,
                              .num_attention_heads = 3,
                              .intermediate_size = 40,
                              .max_position_embeddings = 16,
                              .type_vocab_size = 2,
                              .layer_norm_eps = 1e-5,
                              .initializer_range = 0.3};
    snprintf(config.type, sizeof config.type, "bert");
    snprintf(config.hidden_act, sizeof config.hidden_act, "gelu");
    const km_work_options options = {.limits = {.views = 1, .tokens = LENGTH, .longest = LENGTH, .labelled = TAU},
                                     .backward = true};
    km_kernel_start();
    assert_int_equal(km_model_create(&f.model, &config, KM_HEAD_TOKENS), KM_OK);
    assert_int_equal(km_work_create(&f.work, f.model, &options), KM_OK);
    f.size = km_model_table(f.model)->size;
    f.weights = km_new(f.size, sizeof *f.weights);
    f.uniform = km_new(f.size, sizeof *f.uniform);
    km_model_init_weights(f.model, f.weights, 7);
    const double ones[TAU] = {1, 1};
    for (int a = 0; a < UNITS; a++) {
        for (int b = a + 1; b < UNITS; b++) {
            add_gradient(f.uniform, a, b, ones, 2.0 / (UNITS * (UNITS - 1)));
        }
    }
    return 0;
}

static int clean(void **state) {
    (void)state;
    km_work_destroy(f.work);
    km_model_destroy(f.model);
    free(f.weights);
    free(f.uniform);
    return 0;
}

/* How far the mean over all ordered masks is from the uniform mean, as a share of that one's norm. */
static double bias_of(double sharpness, km_weighting weighting) {
    static const double scores[UNITS] = {0.2, -1.1, 0.9, 0, 1.4, -0.4};
    const double uniform = 0.1;
    double odds[UNITS], *mean = km_new(f.size, sizeof *mean);
    for (int u = 0; u < UNITS; u++) {
        odds[u] = exp(sharpness * scores[u]);
    }
    for (int a = 0; a < UNITS; a++) {
        uint8_t taken[UNITS] = {0};
        const double one = km_proposal_chance(odds, taken, UNITS, a, uniform);
        taken[a] = 1;
        for (int b = 0; b < UNITS; b++) {
            const double two = b != a ? km_proposal_chance(odds, taken, UNITS, b, uniform) : 0;
            const double ratios[TAU] = {1 / (UNITS * one), b != a ? 1 / ((UNITS - 1) * two) : 0};
            double weights[TAU];
            km_proposal_weigh(weights, ratios, weighting, UNITS, TAU, TAU);
            if (b != a) {
                add_gradient(mean, a, b, weights, one * two);
            }
        }
    }
    const double bias = norm_of(mean, f.uniform) / norm_of(f.uniform, NULL);
    free(mean);
    return bias;
}

static void only_exact_weights_leave_no_bias(void **state) {
    (void)state;
    static const double sharpnesses[] = {0.3, 1, 3};
    for (size_t s = 0; s < KM_COUNT(sharpnesses); s++) {
        const double exact = bias_of(sharpnesses[s], KM_WEIGHTS_EXACT),
                     token = bias_of(sharpnesses[s], KM_WEIGHTS_TOKEN);
        const double none = bias_of(sharpnesses[s], KM_WEIGHTS_NONE);
        print_message("sharpness %g: bias %.2g exact, %.2g token, %.2g none\n", sharpnesses[s], exact, token, none);
        assert_true(exact < 1e-6);
        assert_true(token > 1e-4 && none > 1e-2);
        assert_true(token < none);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_exact_weights_leave_no_bias, make, clean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
