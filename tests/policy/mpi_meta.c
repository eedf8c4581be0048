/* A meta-learned policy's outer step: its gradient against differences of what is minimized, in random directions of the policy's
 * parameters; what the step reports; and that it changes neither the model nor the policy. */
#include "meta.h"
#include "tiny_corpus.h"

#include <math.h>

enum { EXAMPLES = 7, LONGEST = 12, TOKENS = EXAMPLES * LONGEST, WIDTH = 16 };

/* All that a step works with. */
typedef struct setting {
    km_tokenizer *tokenizer;
    km_model *model;
    km_policy_net *net;
    km_pool *pool;
    km_parameters *theta, *phi;
    km_meta *meta;
    int32_t ids[3 * TOKENS];
    float noise[2 * TOKENS];
    km_triple triples[EXAMPLES];
    int first[EXAMPLES];
    km_meta_input input;
} setting;

static km_model_config small_model(void) {
    km_model_config config = {.type = "bart",
                              .vocab_size = TINY_VOCABULARY,
                              .d_model = WIDTH,
                              .encoder_layers = 1,
                              .decoder_layers = 1,
                              .encoder_attention_heads = 2,
                              .decoder_attention_heads = 2,
                              .encoder_ffn_dim = 24,
                              .decoder_ffn_dim = 24,
                              .max_position_embeddings = 32,
                              .init_std = 0.3};
    km_model_take_tokens(&config, 0, 3);
    km_model_resolve(&config);
    return config;
}

/* [CLS], words, [SEP]. */
static km_ids_view draw_text(int32_t **ids, int words, km_rng *rng) {
    const km_ids_view text = {.ids = *ids, .length = words + 2};
    *(*ids)++ = 2;
    for (int i = 0; i < words; i++) {
        *(*ids)++ = TINY_FIRST_WORD + (int32_t)km_rng_below(rng, TINY_VOCABULARY - TINY_FIRST_WORD);
    }
    *(*ids)++ = 3;
    return text;
}

static void draw_input(setting *s) {
    km_rng rng = km_rng_make(11, KM_RNG_TEST, 0, 0);
    int32_t *ids = s->ids;
    int tokens = 0;
    for (int i = 0; i < EXAMPLES; i++) {
        s->triples[i].context = draw_text(&ids, 3 + i, &rng);
        s->triples[i].source = draw_text(&ids, 2 + i % 3, &rng);
        s->triples[i].target = draw_text(&ids, 1 + i % 2, &rng);
        s->first[i] = tokens;
        tokens += s->triples[i].context.length;
    }
    for (int i = 0; i < 2 * tokens; i++) {
        s->noise[i] = (float)-log(-log(km_rng_unit(&rng) + 1e-9));
    }
    s->input = (km_meta_input){EXAMPLES, s->triples, s->noise, s->first};
}

static void begin(setting *s, const km_meta_options *options, int workers) {
    *s = (setting){0};
    const km_model_config config = small_model();
    const km_policy_shape shape = {
        .kind = KM_POLICY_META, .V = TINY_VOCABULARY, .C = 8, .H = 6, .L = 1, .K = 3, .M = 5};
    OK(km_tokenizer_open(&s->tokenizer, tiny_folder));
    OK(km_model_create(&s->model, &config, KM_HEAD_TOKENS));
    OK(km_policy_net_create(&s->net, &shape));
    OK(km_pool_create(&s->pool, workers));
    OK(km_parameters_create(&s->theta, comm, km_model_table(s->model), false));
    OK(km_parameters_create(&s->phi, comm, km_policy_net_table(s->net), false));
    km_model_init_weights(s->model, s->theta->weights, 5);
    km_policy_net_init(s->net, s->phi->weights, 7);
    for (size_t i = 0; i < s->phi->table->size; i++) {
        s->phi->weights[i] *= 3; /* so that nothing is nearly linear */
    }
    draw_input(s);
    OK(km_meta_create(&s->meta, comm, s->pool, s->model, s->tokenizer, s->net, s->theta, s->phi, options, LONGEST,
                      EXAMPLES));
}

static void end(setting *s) {
    km_meta_destroy(s->meta);
    km_parameters_destroy(s->phi);
    km_parameters_destroy(s->theta);
    km_pool_destroy(s->pool);
    km_policy_net_destroy(s->net);
    km_model_destroy(s->model);
    km_tokenizer_destroy(s->tokenizer);
}

/* ---- The gradient ---- */

static double objective(setting *s, double beta) {
    km_meta_result result;
    OK(km_meta_step(s->meta, &s->input, &result));
    return result.meta_loss + beta * result.regularizer;
}

/* The gradient's component along `direction`, over all ranks. */
static double component(const setting *s, const km_meta_result *result, const float *direction) {
    double sum = 0;
    for (int b = 0; b < km_exchange_buckets(s->phi->exchange); b++) {
        size_t first = 0, count = 0, local = 0;
        km_exchange_part(s->phi->exchange, b, km_comm_rank(comm), &first, &count, &local);
        for (size_t i = 0; i < count; i++) {
            sum += (double)result->gradient[local + i] * (double)direction[first + i];
        }
    }
    int64_t units = llrint(ldexp(sum / result->divisor, 44 - KM_FIXED_BITS));
    km_comm_sum(comm, &units, 1);
    return ldexp((double)units, -44);
}

static void move(setting *s, const float *from, const float *direction, double by) {
    for (size_t i = 0; i < s->phi->table->size; i++) {
        s->phi->weights[i] = (float)((double)from[i] + by * (double)direction[i]);
    }
}

/* A random direction of one parameter of the network, `param`, whose entries are at most 1. */
static void draw_direction(const km_table *table, int param, float *direction) {
    km_rng rng = km_rng_make(13, KM_RNG_TEST, 1, (uint64_t)param);
    memset(direction, 0, table->size * sizeof *direction);
    for (size_t i = 0; i < table->params[param].count; i++) {
        direction[table->params[param].offset + i] = (float)(2 * km_rng_unit(&rng) - 1);
    }
}

static void check_gradient(const km_meta_options *options, int workers) {
    setting s;
    begin(&s, options, workers);
    const km_table *table = s.phi->table;
    float *direction = km_new(table->size, sizeof *direction), *from = km_new(table->size, sizeof *from);
    memcpy(from, s.phi->weights, table->size * sizeof *from);
    double largest = 0, worst = 0;
    for (int p = 0; p < table->count; p++) {
        const double h = 0.02;
        km_meta_result result;
        draw_direction(table, p, direction);
        move(&s, from, direction, 0);
        OK(km_meta_step(s.meta, &s.input, &result));
        const double slope = component(&s, &result, direction);
        move(&s, from, direction, h);
        const double above = objective(&s, options->beta);
        move(&s, from, direction, -h);
        const double difference = (above - objective(&s, options->beta)) / (2 * h);
        largest = fmax(largest, fabs(difference));
        worst = fmax(worst, fabs(slope - difference));
    }
    assert_true(largest > 1e-3);
    if (!(worst <= 0.02 * largest)) {
        fail_msg("a slope is off by %g, the largest is %g", worst, largest);
    }
    free(direction);
    free(from);
    end(&s);
}

static const km_meta_options plain = {.alpha0 = 0.3,
                                      .alpha1 = 0.3,
                                      .temperature = 0.8,
                                      .gamma = 0.15,
                                      .epsilon = 0.05,
                                      .embeddings = true,
                                      .micro_batch = 2};

static void gradients_are_slopes(void **state) {
    (void)state;
    check_gradient(&plain, 1);
    check_gradient(&plain, 2);
}

static void gradients_of_the_loss_alone(void **state) {
    (void)state;
    km_meta_options options = plain;
    options.loss_alone = true;
    check_gradient(&options, 1);
}

/* Outside its bounds the budget's term has a slope, inside it is flat. */
static void gradients_with_a_budget(void **state) {
    (void)state;
    km_meta_options options = plain;
    options.beta = 0.5;
    check_gradient(&options, 1);
    options.epsilon = 1;
    setting s;
    km_meta_result result;
    begin(&s, &options, 1);
    OK(km_meta_step(s.meta, &s.input, &result));
    assert_true(fabs(result.regularizer) <= 0 && fabs(result.within - 1) <= 0);
    end(&s);
}

/* ---- What a step says and leaves ---- */

static void decisions_are_hard_or_soft(void **state) {
    (void)state;
    km_meta_options options = plain;
    options.hard = true;
    setting s;
    km_meta_result result;
    begin(&s, &options, 1);
    OK(km_meta_step(s.meta, &s.input, &result));
    double masked = 0;
    int maskable = 0;
    for (int i = 0; i < EXAMPLES; i++) {
        const km_ids_view *context = &s.triples[i].context;
        maskable += context->length - 2;
        assert_float_equal(km_meta_decisions(s.meta)[s.first[i]], 0, 0); /* [CLS]; on other ranks' examples 0 too */
        for (int t = 0; t < context->length; t++) {
            const float d = km_meta_decisions(s.meta)[s.first[i] + t];
            assert_true(d <= 0 || d >= 1);
            masked += (double)d;
        }
    }
    int64_t all = llrint(masked);
    km_comm_sum(comm, &all, 1);
    assert_true(fabs(result.masked - (double)all / (double)maskable) < 1e-6);
    assert_true(result.masked > 0 && result.masked < 1);
    end(&s);
}

static void a_step_changes_nothing_and_lowers_the_loss(void **state) {
    (void)state;
    setting s;
    km_meta_result result;
    begin(&s, &plain, 1);
    const km_hash theta = km_table_hash(s.theta->table, s.theta->weights);
    const km_hash phi = km_table_hash(s.phi->table, s.phi->weights);
    OK(km_meta_step(s.meta, &s.input, &result));
    assert_true(km_hash_equal(theta, km_table_hash(s.theta->table, s.theta->weights)));
    assert_true(km_hash_equal(phi, km_table_hash(s.phi->table, s.phi->weights)));
    assert_true(result.loss_after < result.loss_before);
    assert_true(fabs(result.meta_loss - (result.loss_after - result.loss_before)) < 1e-12);
    assert_true(memcmp(km_meta_theta1(s.meta), s.theta->weights, s.theta->table->size * sizeof(float)) != 0);
    end(&s);
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_kernel_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gradients_are_slopes, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(gradients_of_the_loss_alone, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(gradients_with_a_budget, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(decisions_are_hard_or_soft, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(a_step_changes_nothing_and_lowers_the_loss, tiny_make, tiny_clean),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
