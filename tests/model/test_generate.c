/* Generation against HuggingFace transformers (tools/golden_generate.py, which describes the file), and the search alone. */
#include "model/golden.h"
#include "model/support.h"

#include "beam.h"

enum { MOST_SOURCES = 8 };

/* ---- Against transformers ---------------------------------------------------------------------------------------- */

static km_model_config take_sizes(golden_reader *in) {
    km_model_config config = {.decoder_start_token_id = 2,
                              .forced_bos_token_id = -1,
                              .forced_eos_token_id = -1,
                              .pad_token_id = 1,
                              .init_std = 0.02};
    int64_t *sizes[] = {&config.vocab_size,
                        &config.d_model,
                        &config.encoder_layers,
                        &config.decoder_layers,
                        &config.encoder_attention_heads,
                        &config.decoder_attention_heads,
                        &config.encoder_ffn_dim,
                        &config.decoder_ffn_dim,
                        &config.max_position_embeddings};
    for (size_t i = 0; i < KM_COUNT(sizes); i++) {
        *sizes[i] = take_int(in);
    }
    snprintf(config.type, sizeof config.type, "bart");
    snprintf(config.activation_function, sizeof config.activation_function, "gelu");
    return config;
}

static void take_weights(golden_reader *in, const km_table *table, float *weights) {
    assert_int_equal(take_int(in), table->count);
    for (int i = 0; i < table->count; i++) {
        char name[113] = {0};
        memcpy(name, take(in, 112, 1), 112);
        const km_param *param = km_table_find(table, name);
        if (param == NULL) {
            fail_msg("the table has no %s", name);
        }
        assert_int_equal(take_int(in), param->count);
        memcpy(weights + param->offset, take(in, param->count, 4), param->count * 4);
    }
}

static km_generate_options take_options(golden_reader *in) {
    km_generate_options o = {.start = 2, .end = 2};
    o.beams = take_int(in);
    o.min_length = take_int(in);
    o.max_length = take_int(in);
    o.no_repeat_ngram = take_int(in);
    o.forced_first = take_int(in);
    o.forced_last = take_int(in);
    o.length_penalty = take_double(in);
    return o;
}

static void take_sources(golden_reader *in, own_batch *own) {
    memset(own, 0, sizeof *own);
    own_link(own, false);
    own->batch.views = take_int(in);
    assert_true(own->batch.views <= MOST_SOURCES);
    const size_t B = (size_t)own->batch.views;
    memcpy(own->starts, take(in, B + 1, 4), (B + 1) * 4);
    own->batch.input.tokens = own->starts[B];
    memcpy(own->ids, take(in, (size_t)own->starts[B], 4), (size_t)own->starts[B] * 4);
    for (size_t v = 0; v < B; v++) {
        own->batch.input.longest = KM_MAX(own->batch.input.longest, own->starts[v + 1] - own->starts[v]);
    }
}

static void compare_answers(golden_reader *in, const km_answers *got) {
    for (int i = 0; i < got->count; i++) {
        const int count = take_int(in);
        int32_t ids[64];
        assert_true(count <= 64);
        memcpy(ids, take(in, (size_t)count, 4), (size_t)count * 4);
        const double score = take_double(in);
        assert_int_equal(got->starts[i + 1] - got->starts[i], count);
        assert_memory_equal(got->ids + got->starts[i], ids, (size_t)count * 4);
        assert_true(isfinite((double)got->scores[i]));
        assert_true(isnan(score) || fabs((double)got->scores[i] - score) <= 1e-4);
    }
}

/* The generator is used twice: what it held before must not matter. */
static void run_case(golden_reader *in, const km_model *model, const float *weights) {
    const km_generate_options options = take_options(in);
    static own_batch own, first;
    take_sources(in, &own);
    own_view(&first, &own.batch, 0);
    const km_batch_limits limits = {
        .views = own.batch.views, .tokens = own.batch.input.tokens, .longest = own.batch.input.longest};
    km_generator *generator = NULL;
    assert_int_equal(km_generator_create(&generator, model, &options, &limits), KM_OK);
    (void)km_generator_run(generator, weights, &first.batch);
    compare_answers(in, km_generator_run(generator, weights, &own.batch));
    km_generator_destroy(generator);
}

static void test_as_transformers(void **state) {
    (void)state;
    golden_reader in = open_golden(TEST_DATA "/generate.bin", "KMG5");
    const km_model_config config = take_sizes(&in);
    km_model *model = NULL;
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_OK);
    float *weights = km_new(km_model_table(model)->size, sizeof *weights);
    take_weights(&in, km_model_table(model), weights);
    for (int left = take_int(&in); left > 0; left--) {
        run_case(&in, model, weights);
    }
    assert_int_equal(in.at, in.size);
    free(weights);
    free(in.bytes);
    km_model_destroy(model);
}

/* ---- Options that do not fit -------------------------------------------------------------------------------------- */

static void refused(const km_model *model, km_generate_options options, const char *words) {
    assert_int_equal(km_generate_options_check(model, &options), KM_USAGE);
    assert_non_null(strstr(km_message(), words));
}

static void test_refused_options(void **state) {
    (void)state;
    golden_reader in = open_golden(TEST_DATA "/generate.bin", "KMG5");
    km_model_config config = take_sizes(&in);
    const km_generate_options good = {
        .beams = 4, .max_length = 24, .min_length = 1, .start = 2, .end = 2, .forced_first = -1, .forced_last = -1};
    km_model *model = NULL;
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_OK);
    assert_int_equal(km_generate_options_check(model, &good), KM_OK);
    km_generate_options bad = good;
    bad.beams = 27; /* 53 ids */
    refused(model, bad, "beams is 27");
    bad = good;
    bad.max_length = 25;
    refused(model, bad, "maximum length is 25; expected 2 to 24");
    bad = good;
    bad.min_length = 25;
    refused(model, bad, "minimum length is 25");
    bad = good;
    bad.forced_last = 53;
    refused(model, bad, "forced_eos_token_id is 53");
    bad = good;
    bad.end = -1;
    refused(model, bad, "ends an answer is -1");
    bad = good;
    bad.more_end_count = 2;
    bad.more_ends[0] = 52;
    bad.more_ends[1] = 53;
    refused(model, bad, "an id that ends an answer is 53");
    bad.more_ends[1] = 4;
    bad.beams = 14; /* 4 continuations for each beam */
    refused(model, bad, "beams is 14; expected 1 to 13");
    km_model_destroy(model);
    config = small_config("bert");
    assert_int_equal(km_model_create(&model, &config, KM_HEAD_TOKENS), KM_OK);
    refused(model, good, "no decoder");
    km_model_destroy(model);
    free(in.bytes);
}

/* ---- The search alone ---------------------------------------------------------------------------------------------- */

enum { V = 6, END = 1 };

/* log of shares that are the same at every step and for every hypothesis. */
static void fill_scores(float *scores, int rows, const double shares[V]) {
    for (int i = 0; i < rows * V; i++) {
        scores[i] = (float)log(shares[i % V]);
    }
}

static const km_hypothesis *search_with(km_search *search, const double shares[V]) {
    float scores[4 * V];
    km_search_begin(search);
    while (km_search_rows(search) > 0) {
        fill_scores(scores, km_search_rows(search), shares);
        km_search_advance(search, scores);
    }
    return km_search_answer(search);
}

/* The end has a share of 0.3, token 2 one of 0.6: greedy search never ends, beams find that one token, or two, are likelier than
 * nine. */
static void test_beams_find_what_greedy_misses(void **state) {
    (void)state;
    const double shares[V] = {0.02, 0.3, 0.6, 0.04, 0.03, 0.01};
    km_generate_options options = {
        .beams = 1, .max_length = 10, .start = 0, .end = END, .forced_first = -1, .forced_last = -1};
    km_search *greedy = km_search_create(&options, V);
    const km_hypothesis *answer = search_with(greedy, shares);
    assert_int_equal(answer->count, 10);
    assert_int_equal(answer->ids[9], 2);
    assert_true(fabs((double)answer->score - 9 * log(0.6)) < 1e-5);
    km_search_destroy(greedy);
    options.beams = 3;
    km_search *beams = km_search_create(&options, V);
    answer = search_with(beams, shares);
    assert_int_equal(answer->count, 2);
    assert_int_equal(answer->ids[1], END);
    assert_true(fabs((double)answer->score - log(0.3)) < 1e-5);
    options.min_length = 4;
    answer = search_with(beams, shares);
    assert_int_equal(answer->count, 5); /* the end may come behind the start and three tokens */
    assert_true(fabs((double)answer->score - (3 * log(0.6) + log(0.3))) < 1e-5);
    km_search_destroy(beams);
}

/* With two ends an answer takes the likelier one; three continuations for each beam leave one that goes on. */
static void test_two_ends(void **state) {
    (void)state;
    const double shares[V] = {0.03, 0.3, 0.5, 0.15, 0.01, 0.01};
    for (int beams = 1; beams <= 2; beams++) {
        const km_generate_options options = {.beams = beams,
                                             .min_length = 3,
                                             .max_length = 9,
                                             .start = 0,
                                             .end = END,
                                             .more_ends = {2},
                                             .more_end_count = 1,
                                             .forced_first = -1,
                                             .forced_last = -1};
        assert_int_equal(km_search_candidates(&options), 3 * beams);
        km_search *search = km_search_create(&options, V);
        const km_hypothesis *answer = search_with(search, shares);
        assert_int_equal(answer->count, 4); /* neither end may come behind the start and two tokens */
        assert_int_equal(answer->ids[1], 3);
        assert_int_equal(answer->ids[2], 3);
        assert_int_equal(answer->ids[3], 2);
        assert_true(fabs((double)answer->score - (2 * log(0.15) + log(0.5))) < 1e-5);
        km_search_destroy(search);
    }
}

/* No pair comes twice, and the forced tokens are where they belong. */
static void test_rules(void **state) {
    (void)state;
    const double shares[V] = {0.1, 0.01, 0.6, 0.2, 0.05, 0.04};
    const km_generate_options options = {.beams = 2,
                                         .min_length = 8,
                                         .max_length = 8,
                                         .no_repeat_ngram = 2,
                                         .length_penalty = 1,
                                         .start = 0,
                                         .end = END,
                                         .forced_first = 5,
                                         .forced_last = END};
    km_search *search = km_search_create(&options, V);
    const km_hypothesis *answer = search_with(search, shares);
    assert_int_equal(answer->count, 8);
    assert_int_equal(answer->ids[1], 5);
    assert_int_equal(answer->ids[7], END);
    for (int i = 0; i + 1 < answer->count; i++) {
        for (int k = i + 1; k + 1 < answer->count; k++) {
            assert_false(answer->ids[i] == answer->ids[k] && answer->ids[i + 1] == answer->ids[k + 1]);
        }
    }
    km_search_destroy(search);
}

/* Scores that are no numbers, as damaged weights make them, still end. */
static void test_not_finite(void **state) {
    (void)state;
    const double shares[V] = {NAN, NAN, NAN, NAN, NAN, NAN};
    for (int beams = 1; beams <= 3; beams += 2) {
        const km_generate_options options = {
            .beams = beams, .max_length = 7, .end = END, .forced_first = -1, .forced_last = -1};
        km_search *search = km_search_create(&options, V);
        assert_true(search_with(search, shares)->count <= 7);
        km_search_destroy(search);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_transformers),
                                       cmocka_unit_test(test_refused_options),
                                       cmocka_unit_test(test_beams_find_what_greedy_misses),
                                       cmocka_unit_test(test_two_ends),
                                       cmocka_unit_test(test_rules),
                                       cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
