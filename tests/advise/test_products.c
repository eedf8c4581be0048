/* The products that bench measures with: what is counted is what a model computes, and they run within the model's weights. */
#include "bench_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VIEWS = 3, SOURCE = 12, TARGET = 17, VOCABULARY = 50 };

static km_model *make(const char *preset) {
    km_model_config config = {.vocab_size = VOCABULARY};
    km_model *model = NULL;
    snprintf(config.preset, sizeof config.preset, "%s", preset);
    km_model_config_fill(&config);
    km_model_take_tokens(&config, 1, 2);
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_OK);
    return model;
}

/* VIEWS views of equal lengths, all of whose predicted tokens are labelled. */
static double model_flops(const km_model *model, bool two) {
    static int32_t starts[VIEWS + 1], decoder_starts[VIEWS + 1], at[VIEWS * TARGET];
    for (int i = 0; i <= VIEWS; i++) {
        starts[i] = i * SOURCE;
        decoder_starts[i] = i * TARGET;
    }
    for (int i = 0; i < VIEWS * TARGET; i++) {
        at[i] = i;
    }
    km_batch batch = {.views = VIEWS, .labelled = VIEWS * (two ? TARGET : SOURCE), .at = at};
    batch.input = (km_stream){.tokens = VIEWS * SOURCE, .longest = SOURCE, .starts = starts};
    if (two) {
        batch.decoder = (km_stream){.tokens = VIEWS * TARGET, .longest = TARGET, .starts = decoder_starts};
    }
    return km_model_flops(model, &batch);
}

static void check(const char *preset, bool two) {
    km_model *model = make(preset);
    const km_batch_limits limits = {.views = VIEWS,
                                    .tokens = VIEWS * SOURCE,
                                    .longest = SOURCE,
                                    .decoder_tokens = two ? VIEWS * TARGET : 0,
                                    .decoder_longest = two ? TARGET : 0};
    const int labelled = VIEWS * (two ? TARGET : SOURCE);
    const km_product_shape shape = km_product_shape_of(model, &limits, labelled);
    const double done = km_product_flops(&shape, VIEWS, labelled, KM_COUNT_DONE), real = model_flops(model, two);
    assert_int_equal(shape.count, two ? 2 : 1);
    assert_true(fabs(done - real) <= 1e-9 * real);
    assert_true(fabs(km_product_flops(&shape, VIEWS, labelled, KM_COUNT_WHOLE) - real) <= 1e-9 * real);
    assert_true(km_product_flops(&shape, VIEWS, 2, KM_COUNT_DONE) < done);
    const double bare = km_product_flops(&shape, VIEWS, labelled, KM_COUNT_BARE);
    assert_true(two ? bare > done : fabs(bare - done) <= 1e-9 * real);
    assert_true(km_product_attention_flops(&shape, VIEWS) < bare);

    float *weights = km_new(km_model_table(model)->size, sizeof *weights);
    km_products *products = NULL;
    km_products_time time;
    assert_int_equal(km_products_create(&products, &shape, weights, NULL), KM_OK);
    km_products_run(products, &time);
    assert_true(time.done > 0 && time.whole > time.attention && time.attention > 0);
    km_products_destroy(products);
    free(weights);
    km_model_destroy(model);
}

static void counts_are_the_models(void **state) {
    (void)state;
    check("tiny", false);
    check("roberta-base", false);
    check("bart-tiny", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts_are_the_models)};
    km_kernel_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
