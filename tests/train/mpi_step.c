/* One step against its slow twin: gradients of all micro-batches added in double on one rank, divided, clipped, and
 * AdamW by the textbook in double. */
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

enum { STEPS = 4, SPLITS = 3 };

static const char CONFIG[] =
    "{\"model\": {\"type\": \"bert\", \"vocab_size\": 15, \"hidden_size\": 24, \"num_hidden_layers\": 2,"
    "  \"num_attention_heads\": 3, \"intermediate_size\": 40, \"max_position_embeddings\": 32,"
    "  \"initializer_range\": 0.1},"
    " \"mask\": {\"splits\": 3, \"replace_mask\": 0.8,"
    "  \"replace_random\": 0.1},"
    " \"train\": {\"steps\": 4, \"sequences\": 5, \"micro_batch\": 2, \"loss_norm\": \"%s\"},"
    " \"optimizer\": {\"lr\": 0.01, \"clip\": %s}, \"schedule\": {\"warmup\": 2}, \"parallel\": {\"threads\": %d}}";

static settings settings_of(const char *loss_norm, const char *clip, int threads) {
    settings s;
    char json[sizeof CONFIG + 32];
    snprintf(json, sizeof json, CONFIG, loss_norm, clip, km_kernel_concurrent() ? threads : 1);
    OK(settings_read(&s, json));
    return s;
}

typedef struct twin {
    const km_table *table;
    double *gradient, *m, *v, loss;
    int64_t masked;
} twin;

static void add(void *payload, size_t offset, const float *gradient, size_t count) {
    twin *t = payload;
    for (size_t i = 0; i < count; i++) {
        t->gradient[offset + i] += (double)gradient[i];
    }
}

static void done(void *payload, size_t offset) {
    (void)payload;
    (void)offset;
}

static void twin_gradient(twin *t, const km_trainer *trainer, km_reader *reader) {
    int count = 0;
    const km_batch *batches = NULL;
    km_work_options limits = {.backward = true};
    limits.limits = km_reader_limits(reader);
    km_work *work = NULL;
    OK(km_work_create(&work, trainer->model, &limits));
    km_reader_request(reader, (uint64_t)trainer->step, 0, km_reader_micro_batches(reader));
    OK(km_reader_take(reader, &batches, &count));
    memset(t->gradient, 0, t->table->size * sizeof *t->gradient);
    t->loss = 0;
    t->masked = 0;
    const km_sink sink = {.payload = t, .ready = add, .done = done};
    for (int i = 0; i < count; i++) {
        km_loss_sum sum = {0};
        km_model_gradient(trainer->model, trainer->parameters->weights, &batches[i], trainer->options.seed, true,
                          work, &sink, &sum);
        t->loss += sum.loss;
        t->masked += sum.masked;
    }
    km_work_destroy(work);
}

/* The weights that AdamW should give; returns the norm. */
static double twin_update(twin *t, const km_trainer *trainer, double *weights, double lr) {
    const km_trainer_options *c = &trainer->options;
    double divisor =
        strcmp(c->train.loss_norm, "masks") == 0 ? (double)(c->train.sequences * SPLITS) : (double)t->masked;
    double norm = 0, step = (double)trainer->step + 1;
    for (size_t i = 0; i < t->table->size; i++) {
        t->gradient[i] /= divisor;
        norm += t->gradient[i] * t->gradient[i];
    }
    norm = sqrt(norm);
    double clip = c->optimizer.clip, shrink = clip > 0 && norm > clip ? clip / norm : 1;
    for (int p = 0; p < t->table->count; p++) {
        const km_param *param = &t->table->params[p];
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            double g = t->gradient[i] * shrink;
            t->m[i] = c->optimizer.beta1 * t->m[i] + (1 - c->optimizer.beta1) * g;
            t->v[i] = c->optimizer.beta2 * t->v[i] + (1 - c->optimizer.beta2) * g * g;
            double m = t->m[i] / (1 - pow(c->optimizer.beta1, step)),
                   v = t->v[i] / (1 - pow(c->optimizer.beta2, step));
            double decay = param->decay ? c->optimizer.weight_decay : 0;
            weights[i] = (double)trainer->parameters->weights[i];
            weights[i] -= lr * (m / (sqrt(v) + c->optimizer.eps) + decay * weights[i]);
        }
    }
    return norm;
}

static void compare_step(twin *t, km_trainer *trainer, km_reader *reader, double *weights) {
    static const double factors[STEPS] = {0.5, 1, 1, 0.5}; /* warm-up 2 of 4 steps, then linear */
    double lr = trainer->options.optimizer.lr * factors[trainer->step];
    twin_gradient(t, trainer, reader);
    double norm = twin_update(t, trainer, weights, lr);
    km_step_report report = {0};
    OK(km_trainer_step(trainer, (km_step_wish){0}, &report));
    assert_true(fabs(report.lr - lr) < 1e-12);
    assert_true(fabs(report.grad_norm - norm) < 1e-5 * norm);
    assert_int_equal(report.masked, t->masked);
    assert_true(fabs(report.loss - t->loss / (double)t->masked) < 1e-6 * report.loss);
    for (int p = 0; p < t->table->count; p++) {
        const km_param *param = &t->table->params[p];
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            if (fabs((double)trainer->parameters->weights[i] - weights[i]) > 2e-4 * lr + 1e-6 * fabs(weights[i])) {
                fail_msg("%s[%zu]: %.9g, expected %.9g", param->name, i - param->offset,
                         (double)trainer->parameters->weights[i], weights[i]);
            }
        }
    }
}

static km_reader *make_reader(const km_rows *rows, const settings *s) {
    const km_masking masking = {
        .policy = km_mask_policy_named("fully_explored"),
        .spec = {.unit = KM_UNIT_SUBWORD, .splits = (int)s->mask.splits, .ratio = s->mask.ratio},
        .view = {.replace_mask = s->mask.replace_mask, .replace_random = s->mask.replace_random},
    };
    km_source *source = NULL;
    km_reader *reader = NULL;
    OK(km_source_rows_create(&source, rows, corpus, &masking, s->trainer.seed));
    OK(km_reader_create(&reader, source, s->trainer.train.sequences * s->mask.splits,
                        s->trainer.train.micro_batch));
    return reader;
}

static void steps_equal_their_twin(const char *loss_norm, const char *clip, int threads) {
    settings s = settings_of(loss_norm, clip, threads);
    assert_int_equal(s.mask.splits, SPLITS);
    km_rows *rows = NULL;
    const km_rows_options packing = {.length = 20, .unit = KM_UNIT_SUBWORD, .min_units = 3};
    OK(km_rows_open(&rows, corpus, &packing, NULL));
    km_reader *reader = make_reader(rows, &s), *second = make_reader(rows, &s);
    km_model *model = NULL;
    OK(km_model_create(&model, &s.model, KM_HEAD_TOKENS));
    km_trainer *trainer = NULL;
    OK(km_trainer_create(&trainer, comm, &s.trainer, model, reader));
    km_model_init_weights(model, trainer->parameters->weights, 5);
    km_trainer_prepare(trainer);
    size_t size = trainer->parameters->table->size;
    twin t = {.table = trainer->parameters->table};
    t.gradient = km_new(size, sizeof(double));
    t.m = km_new(size, sizeof(double));
    t.v = km_new(size, sizeof(double));
    double *weights = km_new(size, sizeof(double));
    for (int step = 0; step < STEPS; step++) {
        compare_step(&t, trainer, second, weights);
    }
    free(weights);
    free(t.gradient);
    free(t.m);
    free(t.v);
    km_trainer_destroy(trainer);
    km_model_destroy(model);
    km_reader_destroy(reader);
    km_reader_destroy(second);
    km_rows_close(rows);
}

static void mean_over_tokens_without_clipping(void **state) {
    (void)state;
    steps_equal_their_twin("tokens", "0", 1);
}

static void mean_over_tokens_clipped_on_two_threads(void **state) {
    (void)state;
    steps_equal_their_twin("tokens", "0.05", 2);
}

static void sums_over_masks_as_equation_4_has_it(void **state) {
    (void)state;
    steps_equal_their_twin("masks", "0", 2);
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_kernel_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mean_over_tokens_without_clipping, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(mean_over_tokens_clipped_on_two_threads, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(sums_over_masks_as_equation_4_has_it, tiny_make, tiny_clean),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
