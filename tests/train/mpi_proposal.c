/* Training with the network that proposes masks: the same bits of the model and of the network on any number of ranks and threads, a first
 * step whose error is that of scores of 0, and scores that come to follow the norms. */
#include "kmask/kernel.h"
#include "kmask/train.h"
#include "settings.h"
#include "tiny_corpus.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEPS = 60, LENGTH = 20 };

/* Sentences in which "the" is always followed by "end", which is easy to predict, and other words are drawn. */
static void write_inputs(void) {
    static const char *const words[] = {"red", "green", "blue", "one", "two", "three", "cat", "dog"};
    km_buffer vocab = {0}, text = {0};
    km_buffer_print(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nend\n");
    for (size_t i = 0; i < KM_COUNT(words); i++) {
        km_buffer_print(&vocab, "%s\n", words[i]);
    }
    km_rng rng = km_rng_make(1, KM_RNG_TEST, 0, 0);
    for (int line = 0; line < 200; line++) {
        for (uint32_t i = 3 + km_rng_below(&rng, 5); i > 0; i--) {
            km_buffer_print(&text, "%s the end ", words[km_rng_below(&rng, KM_COUNT(words))]);
        }
        km_buffer_print(&text, line % 7 == 0 ? "\n\n" : "\n");
    }
    tiny_write("vocab.txt", &vocab);
    tiny_write("text.txt", &text);
    km_buffer_free(&vocab);
    km_buffer_free(&text);
}

static int make(void **state) {
    (void)state;
    return tiny_make_of(write_inputs);
}

static const char CONFIG[] =
    "{\"model\": {\"type\": \"bert\", \"vocab_size\": 15, \"hidden_size\": 24, \"num_hidden_layers\": 1,"
    "  \"num_attention_heads\": 3, \"intermediate_size\": 40, \"max_position_embeddings\": 32,"
    "  \"initializer_range\": 0.1},"
    " \"mask\": {\"policy\": \"proposal\", \"splits\": 3, \"weights\": \"%s\", \"disjoint\": %s},"
    " \"train\": {\"steps\": 60, \"sequences\": 6, \"micro_batch\": 2},"
    " \"optimizer\": {\"lr\": 0.005}, \"schedule\": {\"name\": \"constant\"}, \"parallel\": {\"threads\": %d}}";

static settings settings_of(const char *weights, const char *disjoint, int threads) {
    settings s;
    char json[sizeof CONFIG + 32];
    snprintf(json, sizeof json, CONFIG, weights, disjoint, km_kernel_concurrent() ? threads : 1);
    OK(settings_read(&s, json));
    return s;
}

/* One training of its own. */
typedef struct training {
    km_rows *rows;
    km_reader *reader;
    km_model *model;
    km_policy_net *net;
    km_trainer *trainer;
} training;

static training begin(km_comm *on, const settings *given) {
    settings s = *given;
    training t = {0};
    const km_rows_options packing = {.length = LENGTH, .unit = KM_UNIT_SUBWORD, .min_units = 3};
    const km_proposal_config sizes = {.width = 8, .kernel = 3, .hidden = 12};
    km_masking masking;
    km_source *source = NULL;
    OK(km_rows_open(&t.rows, corpus, &packing, NULL));
    km_mask_resolve(&s.mask);
    OK(km_masking_of(&masking, &s.mask, -1));
    OK(km_source_rows_create(&source, t.rows, corpus, &masking, s.trainer.seed));
    OK(km_reader_create(&t.reader, source, s.trainer.train.sequences * s.mask.splits, s.trainer.train.micro_batch));
    assert_true(km_reader_is_live(t.reader));
    OK(km_model_create(&t.model, &s.model, KM_HEAD_TOKENS));
    OK(km_proposal_net_create(&t.net, &sizes, (int)s.model.vocab_size));
    s.trainer.proposal = t.net;
    s.trainer.proposal_lr = 0.02;
    OK(km_trainer_create(&t.trainer, on, &s.trainer, t.model, t.reader));
    km_model_init_weights(t.model, t.trainer->parameters->weights, 5);
    km_trainer_prepare(t.trainer);
    return t;
}

static void end(training *t) {
    km_trainer_destroy(t->trainer);
    km_policy_net_destroy(t->net);
    km_model_destroy(t->model);
    km_reader_destroy(t->reader);
    km_rows_close(t->rows);
}

static km_hash hash_of(const km_parameters *p) {
    return km_table_hash(p->table, p->weights);
}

static void train(training *t, int steps, km_step_report *last) {
    for (int step = 0; step < steps; step++) {
        OK(km_trainer_step(t->trainer, (km_step_wish){0}, last));
    }
}

/* All ranks together on two threads, and each rank alone on one. */
static void check_bits(const char *weights, const char *disjoint) {
    enum { FEW = 6 };
    const settings two = settings_of(weights, disjoint, 2), one = settings_of(weights, disjoint, 1);
    km_step_report together_report = {0}, alone_report = {0};
    training together = begin(comm, &two);
    const km_hash before = hash_of(km_trainer_proposal(together.trainer));
    train(&together, FEW, &together_report);
    km_comm *self = km_comm_split(comm, km_comm_rank(comm));
    training alone = begin(self, &one);
    train(&alone, FEW, &alone_report);
    assert_true(km_hash_equal(hash_of(together.trainer->parameters), hash_of(alone.trainer->parameters)));
    const km_hash after = hash_of(km_trainer_proposal(together.trainer));
    assert_true(km_hash_equal(after, hash_of(km_trainer_proposal(alone.trainer))));
    assert_false(km_hash_equal(after, before));
    assert_memory_equal(&together_report.proposal_loss, &alone_report.proposal_loss, sizeof(double));
    assert_memory_equal(&together_report.loss, &alone_report.loss, sizeof(double));
    end(&together);
    end(&alone);
    km_comm_close(self);
}

static void same_bits_on_any_ranks_and_threads(void **state) {
    (void)state;
    check_bits("exact", "false");
    check_bits("token", "true");
}

/* Before the first update all scores are 0. */
static void no_scores(void *payload, const km_row *row, float *scores) {
    (void)payload;
    memset(scores, 0, (size_t)row->length * sizeof *scores);
}

static void ignore_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    (void)payload, (void)offset, (void)gradient, (void)count;
}

static void ignore_progress(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

/* The mean square of the logarithms of the norms of the first step: the error of scores of 0. */
static double first_error(const training *t, km_reader *reader) {
    const km_batch *batches = NULL;
    const km_sink sink = {.ready = ignore_slice, .done = ignore_progress};
    int count = 0;
    double sum = 0, labels = 0;
    km_work_options options = {.backward = true, .norms = true, .limits = km_reader_limits(reader)};
    km_work *work = NULL;
    OK(km_work_create(&work, t->model, &options));
    km_reader_request(reader, 0, 0, km_reader_micro_batches(reader));
    km_reader_release(reader);
    OK(km_reader_take(reader, &batches, &count));
    for (int i = 0; i < count; i++) {
        km_loss_sum loss;
        assert_null(batches[i].weights); /* masks are uniform */
        km_model_gradient(t->model, t->trainer->parameters->weights, &batches[i], t->trainer->options.seed, true,
                          work, &sink, &loss);
        for (int m = 0; m < batches[i].labelled; m++) {
            sum += pow(log((double)km_work_norms(work)[m]), 2);
        }
        labels += batches[i].labelled;
    }
    km_work_destroy(work);
    return sum / labels;
}

static void scores_come_to_follow_the_norms(void **state) {
    (void)state;
    const settings s = settings_of("token", "false", 1);
    training t = begin(comm, &s), other = begin(comm, &s);
    km_scorer none = {.score = no_scores};
    km_step_report report = {0};
    km_reader_release(other.reader); /* its own first request is taken and left alone */
    const km_batch *batches = NULL;
    int count = 0;
    OK(km_reader_take(other.reader, &batches, &count));
    km_reader_set_scorer(other.reader, none);
    const double expected = first_error(&t, other.reader);
    train(&t, 1, &report);
    assert_true(fabs(report.proposal_loss - expected) < 1e-5 * expected);
    assert_true(fabs(report.proposal_correlation) <= 0);
    train(&t, STEPS - 1, &report);
    print_message("error %.4g at first, %.4g now; correlation %.3f\n", expected, report.proposal_loss,
                  report.proposal_correlation);
    assert_true(report.proposal_loss < 0.3 * expected);
    assert_true(report.proposal_correlation > 0.6);
    end(&t);
    end(&other);
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_kernel_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(same_bits_on_any_ranks_and_threads, make, tiny_clean),
        cmocka_unit_test_setup_teardown(scores_come_to_follow_the_norms, make, tiny_clean),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
