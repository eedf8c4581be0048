/* Evaluation against its slow twin: every row's views one after the other, the loss from the logits in double. */
#include "kmask/kernel.h"
#include "kmask/run.h"
#include "tiny_corpus.h"

#include <fcntl.h>
#include <math.h>

enum { LENGTH = 24 };
static const double RATIO = 0.15;

static km_model *make_model(float **weights) {
    km_config config;
    km_model *model = NULL;
    OK(km_config_parse(&config,
                       "{\"run\": {\"dir\": \"unused\"}, \"data\": {\"train\": \"unused\", \"length\": 24},"
                       " \"train\": {\"steps\": 1, \"sequences\": 1}, \"optimizer\": {\"lr\": 1},"
                       " \"model\": {\"type\": \"bert\", \"vocab_size\": 15, \"hidden_size\": 24,"
                       "  \"num_hidden_layers\": 2, \"num_attention_heads\": 3, \"intermediate_size\": 40,"
                       "  \"max_position_embeddings\": 32, \"initializer_range\": 0.4, \"pad_token_id\": 0}}",
                       "test"));
    OK(km_model_create(&model, &config.model, KM_HEAD_TOKENS));
    *weights = km_new(km_model_table(model)->size, sizeof **weights);
    km_model_init_weights(model, *weights, 3);
    return model;
}

/* ---- The twin ---- */

typedef struct twin {
    double loss;
    int64_t masked, correct, frequency[TINY_VOCABULARY];
    uint64_t rows;
} twin;

static void add_label(twin *t, const float *logits, int32_t label) {
    double sum = 0;
    int best = 0;
    for (int v = 0; v < TINY_VOCABULARY; v++) {
        sum += exp((double)logits[v]);
        best = logits[v] > logits[best] ? v : best;
    }
    t->loss += log(sum) - (double)logits[label];
    t->correct += best == label;
    t->masked++;
    t->frequency[label]++;
}

static twin evaluate_slowly(const km_model *model, const float *weights, const km_eval_options *options) {
    twin t = {0};
    km_rows *rows = NULL;
    km_eval_views *views = NULL;
    km_work *work = NULL;
    const km_rows_options packing = {
        .length = options->length, .packing = options->packing, .unit = options->views.unit, .min_units = 1};
    OK(km_rows_open(&rows, corpus, &packing, NULL));
    OK(km_eval_views_create(&views, rows, corpus, &options->views));
    const km_work_options limits = {.limits = km_eval_views_limits(views)};
    OK(km_work_create(&work, model, &limits));
    t.rows = km_rows_count(rows);
    for (uint64_t row = 0; row < t.rows; row++) {
        const km_batch *batch = NULL;
        OK(km_eval_views_make(views, row, &batch));
        const float *logits = km_model_logits(model, weights, batch, work);
        for (int i = 0; i < batch->labelled; i++) {
            add_label(&t, logits + (size_t)i * TINY_VOCABULARY, batch->labels[i]);
        }
    }
    km_work_destroy(work);
    km_eval_views_destroy(views);
    km_rows_close(rows);
    return t;
}

static double entropy(const twin *t) {
    double sum = 0;
    for (int v = 0; v < TINY_VOCABULARY; v++) {
        double p = (double)t->frequency[v] / (double)t->masked;
        sum -= p > 0 ? p * log(p) : 0;
    }
    return sum;
}

/* ---- Tests ---- */

static const km_eval_options STANDARD = {
    .length = LENGTH, .packing = KM_PACK_DOCUMENTS, .views = {.unit = KM_UNIT_SUBWORD, .ratio = RATIO, .seed = 9}};

static void compare(const km_eval_result *result, const twin *t) {
    const double loss = t->loss / (double)t->masked;
    assert_true(result->rows == t->rows);
    assert_int_equal(result->masked, t->masked);
    assert_true(fabs(result->loss - loss) < 1e-5 * loss);
    assert_true(fabs(result->perplexity - exp(result->loss)) < 1e-12 * result->perplexity);
    assert_true(fabs(result->accuracy - (double)t->correct / (double)t->masked) < 1e-12);
    assert_true(fabs(result->unigram_entropy - entropy(t)) < 1e-9);
}

static void evaluation_equals_its_twin(void **state) {
    (void)state;
    float *weights = NULL;
    km_model *model = make_model(&weights);
    for (int unit = KM_UNIT_SUBWORD; unit <= KM_UNIT_SPAN; unit++) {
        km_eval_options options = STANDARD;
        km_eval_result result, threaded;
        options.views.unit = (km_unit)unit;
        const twin t = evaluate_slowly(model, weights, &options);
        assert_true(t.correct > 0 && t.correct < t.masked); /* else accuracy is not tested */
        OK(km_evaluate(comm, model, weights, corpus, &options, 1, &result));
        compare(&result, &t);
        OK(km_evaluate(comm, model, weights, corpus, &options, km_kernel_concurrent() ? 3 : 1, &threaded));
        assert_memory_equal(&result, &threaded, sizeof result);
    }
    free(weights);
    km_model_destroy(model);
}

/* Every token that may be masked is predicted once, in rows of one word too. */
static void every_token_is_predicted_once(void **state) {
    (void)state;
    float *weights = NULL;
    km_model *model = make_model(&weights);
    km_eval_result result;
    OK(km_evaluate(comm, model, weights, corpus, &STANDARD, 1, &result));
    assert_int_equal(result.masked, (int64_t)km_corpus_tokens(corpus)); /* there are no unknown words */
    free(weights);
    km_model_destroy(model);
}

static bool last_rank_stops(void *payload) {
    (void)payload;
    return km_comm_rank(comm) == km_comm_size(comm) - 1;
}

static void one_rank_can_break_it_off(void **state) {
    (void)state;
    float *weights = NULL;
    km_model *model = make_model(&weights);
    km_eval_options options = STANDARD;
    km_eval_result result;
    options.stop = last_rank_stops;
    options.length = 5; /* enough rows for several rounds on four ranks */
    assert_int_equal(km_evaluate(comm, model, weights, corpus, &options, 1, &result), KM_STOPPED);
    free(weights);
    km_model_destroy(model);
}

static int open_files(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* The last rank cannot make its index of rows; the others have theirs open by then. */
static void one_ranks_failure_leaves_nothing_open(void **state) {
    (void)state;
    float *weights = NULL;
    km_model *model = make_model(&weights);
    km_eval_result result;
    const char *temporary = getenv("TMPDIR");
    char *kept = km_strdup(temporary != NULL ? temporary : "");
    if (km_comm_rank(comm) == km_comm_size(comm) - 1) {
        setenv("TMPDIR", "/does/not/exist", 1);
    }
    (void)km_heartbeat_phase(comm, KM_COMPUTING);
    const int before = open_files();
    assert_int_equal(km_evaluate(comm, model, weights, corpus, &STANDARD, 1, &result), KM_FAILED);
    assert_int_equal(km_message_kind(), KM_ERROR_MISSING);
    assert_int_equal(open_files(), before);
    assert_int_equal(km_heartbeat_phase(comm, KM_STARTING), KM_COMPUTING);
    setenv("TMPDIR", kept, 1);
    OK(km_evaluate(comm, model, weights, corpus, &STANDARD, 1, &result));
    free(kept);
    free(weights);
    km_model_destroy(model);
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_kernel_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(evaluation_equals_its_twin, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(every_token_is_predicted_once, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(one_ranks_failure_leaves_nothing_open, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(one_rank_can_break_it_off, tiny_make, tiny_clean),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
