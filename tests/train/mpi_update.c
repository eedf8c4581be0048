/* What an update must do whatever the numbers are: clipping scales the gradient that moments see, a step forgets the sum of the last
 * one, and a gradient that is not finite changes nothing. */
#include "gradient.h"
#include "kmask/kernel.h"
#include "kmask/train.h"
#include "settings.h"
#include "tiny_corpus.h"

#include <math.h>

/* All that a trainer needs, alive together. */
typedef struct training {
    settings settings;
    km_rows *rows;
    km_reader *reader;
    km_model *model;
    km_trainer *trainer;
} training;

static const char CONFIG[] =
    "{\"model\": {\"type\": \"bert\", \"vocab_size\": 15, \"hidden_size\": %d, \"num_hidden_layers\": 1,"
    "  \"num_attention_heads\": 2, \"intermediate_size\": 40, \"max_position_embeddings\": %d,"
    "  \"initializer_range\": 0.1, \"pad_token_id\": 0},"
    " \"mask\": {\"splits\": 2},"
    " \"train\": {\"steps\": 4, \"sequences\": 4, \"micro_batch\": 2},"
    " \"optimizer\": {\"lr\": 0.01, \"clip\": %.17g}, \"schedule\": {\"warmup\": 2}}";

static void begin(training *t, int width, int positions, int length, double clip) {
    *t = (training){0};
    char *json = km_format(CONFIG, width, positions, clip);
    OK(settings_read(&t->settings, json));
    free(json);
    const km_rows_options packing = {.length = length, .unit = KM_UNIT_SUBWORD, .min_units = 3};
    OK(km_rows_open(&t->rows, corpus, &packing, NULL));
    const km_masking masking = {
        .policy = km_mask_policy_named("fully_explored"),
        .spec = {.unit = KM_UNIT_SUBWORD, .splits = 2, .ratio = t->settings.mask.ratio},
        .view = {.replace_mask = 1},
    };
    const km_train_config *train = &t->settings.trainer.train;
    km_source *source = NULL;
    OK(km_source_rows_create(&source, t->rows, corpus, &masking, 5));
    OK(km_reader_create(&t->reader, source, train->sequences * 2, train->micro_batch));
    OK(km_model_create(&t->model, &t->settings.model, KM_HEAD_TOKENS));
    OK(km_trainer_create(&t->trainer, comm, &t->settings.trainer, t->model, t->reader));
    km_model_init_weights(t->model, t->trainer->parameters->weights, 5);
}

static void end(training *t) {
    km_trainer_destroy(t->trainer);
    km_model_destroy(t->model);
    km_reader_destroy(t->reader);
    km_rows_close(t->rows);
}

/* ---- Clipping ---- */

/* One step with this clip. Its norm; and this rank's moments, which the caller frees. */
static double moments_after(double clip, float **m, float **v, size_t *owned) {
    training t;
    km_step_report report = {0};
    begin(&t, 24, 32, 20, clip);
    km_trainer_prepare(t.trainer);
    OK(km_trainer_step(t.trainer, (km_step_wish){0}, &report));
    *owned = t.trainer->parameters->owned;
    *m = km_new(*owned + 1, sizeof **m);
    *v = km_new(*owned + 1, sizeof **v);
    memcpy(*m, t.trainer->parameters->m, *owned * sizeof **m);
    memcpy(*v, t.trainer->parameters->v, *owned * sizeof **v);
    end(&t);
    return report.grad_norm;
}

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-5 * fabs(b) + 1e-30;
}

static void clipping_scales_what_the_moments_see(void **state) {
    (void)state;
    enum { CLIPS = 4 };
    static const double shares[CLIPS] = {0.25, 0.9, 1.1, 4}; /* of the norm */
    float *m0, *v0, *m, *v;
    size_t owned = 0;
    const double norm = moments_after(0, &m0, &v0, &owned);
    assert_true(norm > 0.1);
    for (int i = 0; i < CLIPS; i++) {
        const double shrink = fmin(shares[i], 1);
        assert_true(moments_after(shares[i] * norm, &m, &v, &owned) == norm); /* as it was before clipping */
        for (size_t e = 0; e < owned; e++) {
            if (!near((double)m[e], shrink * (double)m0[e]) ||
                !near((double)v[e], shrink * shrink * (double)v0[e])) {
                fail_msg("clip at %g of the norm: moments %g and %g, without clipping %g and %g", shares[i],
                         (double)m[e], (double)v[e], (double)m0[e], (double)v0[e]);
            }
        }
        free(m);
        free(v);
    }
    free(m0);
    free(v0);
}

/* ---- One step after the other ---- */

enum { LONG = 1100, SHORT = 20, WIDE = 64, POSITIONS = 2048 };

/* This rank's one view of `length` tokens, its gradient, and the sum over ranks at its own parts. */
static const int64_t *sum_of(training *t, int length) {
    static int32_t starts[2], ids[LONG], at[2], labels[2];
    static uint64_t keys[LONG], rows[1];
    for (int i = 0; i < length; i++) {
        ids[i] = TINY_FIRST_WORD + i % 10;
        keys[i] = (uint64_t)i;
    }
    starts[1] = length;
    at[0] = 3;
    at[1] = length - 2;
    labels[0] = labels[1] = TINY_FIRST_WORD;
    const km_batch batch = {
        .views = 1,
        .input = {.tokens = length, .longest = length, .starts = starts, .ids = ids, .keys = keys},
        .labelled = 2,
        .at = at,
        .labels = labels,
        .rows = rows,
    };
    km_gradient_report report;
    km_gradient_sum *sum = km_gradient_sum_begin(t->trainer->parameters, 1, false);
    km_gradient(t->trainer, sum, &batch, 1, &report);
    assert_int_equal(report.bad_batch, -1);
    return km_gradient_sum_end(sum);
}

/* How many of the ranks' sums are not 0 in elements first.. of the table. */
static int64_t count_nonzero(const training *t, const int64_t *sums, size_t first, size_t count) {
    const km_exchange *exchange = t->trainer->parameters->exchange;
    int64_t nonzero = 0;
    for (int b = 0; b < km_exchange_buckets(exchange); b++) {
        size_t from = 0, number = 0, local = 0;
        km_exchange_part(exchange, b, km_comm_rank(comm), &from, &number, &local);
        for (size_t i = 0; i < number; i++) {
            const bool inside = from + i >= first && from + i < first + count;
            nonzero += inside && sums[local + i] != 0;
        }
    }
    km_comm_sum(comm, &nonzero, 1);
    return nonzero;
}

static void a_step_forgets_the_sum_of_the_last(void **state) {
    (void)state;
    training t;
    begin(&t, WIDE, POSITIONS, LONG, 0);
    const km_param *positions =
        km_table_find(t.trainer->parameters->table, "bert.embeddings.position_embeddings.weight");
    assert_non_null(positions);
    const size_t behind = positions->offset + SHORT * WIDE, count = (size_t)(LONG - SHORT) * WIDE;
    for (int round = 0; round < 2; round++) {
        const int64_t *sums = sum_of(&t, LONG);
        assert_true(count_nonzero(&t, sums, behind, count) > (int64_t)(count / 2));
        sums = sum_of(&t, SHORT);
        assert_true(count_nonzero(&t, sums, positions->offset, SHORT * WIDE) > SHORT * WIDE / 2);
        assert_int_equal(count_nonzero(&t, sums, behind, count), 0);
    }
    end(&t);
}

static void what_is_not_finite_changes_nothing(void **state) {
    (void)state;
    training t;
    begin(&t, 24, 32, 20, 1);
    km_trainer *trainer = t.trainer;
    const size_t size = trainer->parameters->table->size;
    const km_param *bias = km_table_find(trainer->parameters->table, "bert.encoder.layer.0.output.dense.bias");
    assert_non_null(bias);
    km_step_report report = {0};
    km_trainer_prepare(trainer);
    OK(km_trainer_step(trainer, (km_step_wish){0}, &report));
    trainer->parameters->weights[bias->offset] = NAN;
    float *before = km_new(size, sizeof *before);
    memcpy(before, trainer->parameters->weights, size * sizeof *before);
    assert_int_equal(km_trainer_step(trainer, (km_step_wish){0}, &report), KM_FAILED);
    assert_non_null(strstr(km_message(), "step 2: "));
    assert_non_null(strstr(km_message(), "not finite or out of range"));
    assert_int_equal(trainer->step, 1);
    assert_memory_equal(before, trainer->parameters->weights, size * sizeof *before);
    free(before);
    end(&t);
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_kernel_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(clipping_scales_what_the_moments_see, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(a_step_forgets_the_sum_of_the_last, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(what_is_not_finite_changes_nothing, tiny_make, tiny_clean),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
