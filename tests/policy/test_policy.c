/* Networks of policies: gradients by finite differences of the loss, results that do not depend on neighbours, the best spans of a
 * sequence against all of them, and the file of marks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kmask/kernel.h"
#include "kmask/policy.h"

enum { VIEWS = 3, TOKENS = 12 };
static const int32_t starts[VIEWS + 1] = {0, 2, 9, 12}, ids[TOKENS] = {1, 4, 0, 3, 2, 5, 4, 6, 1, 3, 3, 0};
static const int32_t first[VIEWS] = {1, 4, 9}, last[VIEWS] = {1, 6, 11};
static const uint64_t keys[TOKENS] = {0,     1,     65536, 65537,  65538,  65539,
                                      65540, 65541, 65542, 131072, 131073, 131074};
static const km_stream stream = {.tokens = TOKENS, .longest = 7, .starts = starts, .ids = ids};

static km_policy_net *net_of(km_policy_kind kind) {
    const km_policy_shape shape = {.kind = kind, .V = 7, .C = 5, .H = 6, .L = 2, .K = 3, .M = 4};
    km_policy_net *net = NULL;
    assert_int_equal(km_policy_net_create(&net, &shape), KM_OK);
    return net;
}

/* Weights that are not small, so that nothing is nearly linear. */
static float *weights_of(const km_policy_net *net) {
    float *weights = km_new(km_policy_net_table(net)->size, sizeof *weights);
    km_policy_net_init(net, weights, 3);
    for (size_t i = 0; i < km_policy_net_table(net)->size; i++) {
        weights[i] *= 2;
    }
    return weights;
}

static void add(void *payload, size_t offset, const float *gradient, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ((double *)payload)[offset + i] += (double)gradient[i];
    }
}

static void passed(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

static double loss_of(const km_policy_net *net, const float *weights, const km_stream *of, km_policy_work *work) {
    return km_span_loss(km_policy_forward(net, weights, of, VIEWS, work), starts, VIEWS, first, last, NULL);
}

static void check_gradient(km_policy_kind kind, double dropout) {
    km_policy_net *net = net_of(kind);
    const km_table *table = km_policy_net_table(net);
    float *weights = weights_of(net), dlogits[2 * TOKENS];
    double *gradient = km_new(table->size, sizeof *gradient);
    km_policy_work *work = NULL;
    const km_sink sink = {.payload = gradient, .ready = add, .done = passed};
    assert_int_equal(km_policy_work_create(&work, net, TOKENS, VIEWS), KM_OK);
    km_policy_work_set_dropout(work, dropout, 11);
    km_stream kept = stream;
    kept.keys = keys;
    const float *logits = km_policy_forward(net, weights, &kept, VIEWS, work);
    (void)km_span_loss(logits, starts, VIEWS, first, last, dlogits);
    km_policy_backward(net, weights, &kept, VIEWS, dlogits, true, work, &sink);
    for (int p = 0; p < table->count; p++) {
        for (size_t e = 0; e < table->params[p].count; e += 1 + table->params[p].count / 9) {
            float *x = weights + table->params[p].offset + e;
            const float was = *x, h = 1e-2f;
            *x = was + h;
            const double above = loss_of(net, weights, &kept, work);
            *x = was - h;
            const double slope = (above - loss_of(net, weights, &kept, work)) / (2 * (double)h);
            *x = was;
            if (fabs(slope - gradient[table->params[p].offset + e]) > 2e-3) {
                fail_msg("%s %zu: gradient %g, differences give %g", table->params[p].name, e,
                         gradient[table->params[p].offset + e], slope);
            }
        }
    }
    free(gradient);
    free(weights);
    km_policy_work_destroy(work);
    km_policy_net_destroy(net);
}

static void gradients_are_slopes(void **state) {
    (void)state;
    check_gradient(KM_POLICY_SUPERVISED, 0);
    check_gradient(KM_POLICY_SUPERVISED, 0.3);
    check_gradient(KM_POLICY_META, 0);
}

/* Dropout changes the logits of a stream with keys, by seed, and those of no other stream. */
static void dropout_is_by_seed_and_keys(void **state) {
    (void)state;
    km_policy_net *net = net_of(KM_POLICY_SUPERVISED);
    float *weights = weights_of(net), logits[4][2 * TOKENS];
    km_policy_work *work = NULL;
    km_stream kept = stream;
    kept.keys = keys;
    assert_int_equal(km_policy_work_create(&work, net, TOKENS, VIEWS), KM_OK);
    memcpy(logits[0], km_policy_forward(net, weights, &kept, VIEWS, work), sizeof logits[0]);
    for (uint64_t seed = 1; seed < 3; seed++) {
        km_policy_work_set_dropout(work, 0.5, seed);
        memcpy(logits[seed], km_policy_forward(net, weights, &kept, VIEWS, work), sizeof logits[0]);
        assert_memory_equal(logits[seed], km_policy_forward(net, weights, &kept, VIEWS, work), sizeof logits[0]);
        assert_memory_equal(logits[0], km_policy_forward(net, weights, &stream, VIEWS, work), sizeof logits[0]);
    }
    assert_memory_not_equal(logits[0], logits[1], sizeof logits[0]);
    assert_memory_not_equal(logits[1], logits[2], sizeof logits[0]);
    free(weights);
    km_policy_work_destroy(work);
    km_policy_net_destroy(net);
}

/* A sequence alone has the logits that it has among others, but for rounding: padding never comes into it. */
static void sequences_are_alone(void **state) {
    (void)state;
    for (int kind = 0; kind < KM_POLICY_PROPOSAL; kind++) {
        km_policy_net *net = net_of((km_policy_kind)kind);
        float *weights = weights_of(net), together[2 * TOKENS];
        km_policy_work *work = NULL;
        assert_int_equal(km_policy_work_create(&work, net, TOKENS, VIEWS), KM_OK);
        memcpy(together, km_policy_forward(net, weights, &stream, VIEWS, work), sizeof together);
        for (int v = 0; v < VIEWS; v++) {
            const int32_t one[2] = {0, starts[v + 1] - starts[v]};
            const km_stream alone = {.tokens = one[1], .longest = one[1], .starts = one, .ids = ids + starts[v]};
            const float *logits = km_policy_forward(net, weights, &alone, 1, work);
            for (int i = 0; i < 2 * one[1]; i++) {
                assert_float_equal(logits[i], together[2 * starts[v] + i], 1e-5);
            }
        }
        free(weights);
        km_policy_work_destroy(work);
        km_policy_net_destroy(net);
    }
}

enum { LENGTH = 17, LONGEST = 4, TOP = 9 };

/* Whether tokens i..j are a span by the rule, asked word by word. */
static bool is_span(const km_span_rule *rule, int i, int j) {
    int words = 0;
    for (int t = i; t <= j; t++) {
        if (!rule->allowed[t]) {
            return false;
        }
        words += rule->starts_word == NULL || rule->starts_word[t];
    }
    const bool whole =
        rule->starts_word == NULL ||
        (rule->starts_word[i] && (j + 1 == LENGTH || !rule->allowed[j + 1] || rule->starts_word[j + 1]));
    return whole && words <= rule->longest;
}

/* How many spans stand before one: better ones, and equal ones that begin earlier or are shorter. */
static int spans_before(const km_mark_span *span, const float *logits, const km_span_rule *rule) {
    int before = 0;
    for (int i = 0; i < LENGTH; i++) {
        for (int j = i; j < LENGTH; j++) {
            const float score = logits[2 * i] + logits[2 * j + 1];
            const bool earlier = i < span->begin || (i == span->begin && j + 1 < span->end);
            before += is_span(rule, i, j) && (score > span->score || (score >= span->score && earlier));
        }
    }
    return before;
}

static void check_best(const float *logits, const km_span_rule *rule) {
    km_mark_span best[TOP];
    assert_int_equal(km_span_best(best, TOP, logits, rule, LENGTH), TOP);
    for (int b = 0; b < TOP; b++) {
        assert_float_equal(best[b].score, logits[2 * best[b].begin] + logits[2 * (best[b].end - 1) + 1], 0);
        assert_true(is_span(rule, best[b].begin, best[b].end - 1));
        assert_int_equal(spans_before(&best[b], logits, rule), b);
    }
}

static void best_spans_are_the_best(void **state) {
    (void)state;
    float logits[2 * LENGTH];
    uint8_t allowed[LENGTH], starts_word[LENGTH];
    km_mark_span best[TOP];
    km_rng rng = km_rng_make(5, KM_RNG_TEST, 0, 0);
    for (int i = 0; i < LENGTH; i++) {
        logits[2 * i] = (float)km_rng_below(&rng, 6);
        logits[2 * i + 1] = (float)km_rng_below(&rng, 6);
        allowed[i] = i != 0 && i != 8 && i != LENGTH - 1;
        starts_word[i] = i % 3 != 2;
    }
    km_span_rule rule = {.allowed = allowed, .longest = LONGEST};
    check_best(logits, &rule);
    rule.starts_word = starts_word;
    check_best(logits, &rule);
    memset(allowed, 0, sizeof allowed);
    assert_int_equal(km_span_best(best, TOP, logits, &rule, LENGTH), 0);
}

static void write_marks(const char *path, const km_marks_key *key, const int16_t rows[2][3]) {
    km_marks *marks = NULL, *other = NULL;
    assert_int_equal(km_marks_begin(&marks, path, key, true), KM_OK);
    assert_int_equal(km_marks_begin(&other, path, key, false), KM_OK);
    assert_int_equal(km_marks_write(other, 5, rows[1]), KM_OK);
    assert_int_equal(km_marks_write(marks, 4, rows[0]), KM_OK);
    km_marks_close(other);
    assert_int_equal(km_marks_commit(marks), KM_OK);
    km_marks_close(marks);
}

static void marks_are_of_their_key(void **state) {
    (void)state;
    char path[] = "/tmp/kmask-test-marks-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const int16_t rows[2][3] = {{1, -2, 3}, {4, 5, -6}};
    int16_t found[3];
    km_marks_key key = {.kind = KM_MARKS_TOKENS, .first = 4, .count = 2, .stride = sizeof found};
    km_marks *marks = NULL;
    write_marks(path, &key, rows);
    assert_true(km_marks_open(&marks, path, &key));
    assert_int_equal(km_marks_read(marks, 5, found), KM_OK);
    assert_memory_equal(found, rows[1], sizeof found);
    assert_int_equal(km_marks_read(marks, 6, found), KM_FAILED);
    km_marks_close(marks);
    key.policy.low = 1;
    assert_false(km_marks_open(&marks, path, &key));
    key.policy.low = 0;
    assert_int_equal(truncate(path, 90), 0);
    assert_false(km_marks_open(&marks, path, &key));
    unlink(path);
}

/* Rows in any order, in a file without a name. */
static void marks_of_a_list_of_rows(void **state) {
    (void)state;
    const uint64_t numbers[] = {9, 2, UINT64_C(1) << 40};
    const km_marks_key key = {
        .kind = KM_MARKS_TOKENS, .count = KM_COUNT(numbers), .numbers = numbers, .stride = sizeof(int16_t)};
    int16_t value = 0;
    km_marks *marks = NULL;
    assert_int_equal(km_marks_begin(&marks, NULL, &key, true), KM_OK);
    for (int16_t i = 0; i < (int16_t)KM_COUNT(numbers); i++) {
        assert_int_equal(km_marks_write(marks, numbers[i], &i), KM_OK);
    }
    assert_int_equal(km_marks_write(marks, 3, &value), KM_FAILED);
    assert_int_equal(km_marks_commit(marks), KM_OK);
    for (int16_t i = 0; i < (int16_t)KM_COUNT(numbers); i++) {
        assert_int_equal(km_marks_read(marks, numbers[i], &value), KM_OK);
        assert_int_equal(value, i);
    }
    assert_int_equal(km_marks_read(marks, 0, &value), KM_FAILED);
    km_marks_close(marks);
}

static void marks_keep_their_sign(void **state) {
    (void)state;
    assert_int_equal(km_mark_of(1e-9f), 1);
    assert_int_equal(km_mark_of(-1e-9f), -1);
    assert_int_equal(km_mark_of(0), 0);
    assert_int_equal(km_mark_of(2), 2 * KM_MARK_STEPS);
    assert_int_equal(km_mark_of(-1e9f), -32767);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_slopes),        cmocka_unit_test(sequences_are_alone),
        cmocka_unit_test(dropout_is_by_seed_and_keys), cmocka_unit_test(best_spans_are_the_best),
        cmocka_unit_test(marks_are_of_their_key),      cmocka_unit_test(marks_of_a_list_of_rows),
        cmocka_unit_test(marks_keep_their_sign)};
    km_kernel_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
