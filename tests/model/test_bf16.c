/* Gradients in bf16: those of fp32 but for rounding, and the same bits whether activations are kept or computed again, and whoever
 * rounds the weights. */
#include "support.h"

typedef struct fixture {
    km_model *model;
    float *weights;
    own_batch own;
} fixture;

static bool possible(void) {
    const km_bf16_support support = km_bf16_supported();
    if (support == KM_BF16_NOT_BUILT || support == KM_BF16_NO_CPU) {
        print_message("products in bf16 cannot be made here: %s\n",
                      support == KM_BF16_NOT_BUILT ? "built without oneDNN" : "oneDNN has none for this CPU");
        return false;
    }
    return true;
}

static fixture make(const char *type, const char *act) {
    static const int lengths[] = {9, 1, 17, 22, 4, 0};
    fixture f = {0};
    km_model_config config = small_config(type);
    snprintf(config.hidden_act, sizeof config.hidden_act, "%s", act);
    assert_int_equal(km_model_create(&f.model, &config, KM_HEAD_TOKENS), KM_OK);
    f.weights = random_weights(f.model, 5);
    own_draw(&f.own, &config, lengths, 0.3, true, 6);
    own_weigh(&f.own, 7);
    own_link(&f.own, true);
    return f;
}

static void drop(fixture *f) {
    km_model_destroy(f->model);
    free(f->weights);
}

static keeper run(km_loss_sum *loss, const fixture *f, bool bf16, bool recompute, const km_bf16 *rounded) {
    own_batch own = f->own;
    own_link(&own, true);
    km_work_options options = options_of(&own.batch, recompute);
    options.bf16 = bf16;
    options.rounded = rounded;
    km_work *work = NULL;
    keeper keep = keeper_make(km_model_table(f->model));
    assert_int_equal(km_work_create(&work, f->model, &options), KM_OK);
    add_gradient(&keep, loss, f->model, f->weights, &own.batch, true, work);
    km_work_destroy(work);
    return keep;
}

static double size_of(const double *x, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

static void close_to_fp32(void **state) {
    (void)state;
    if (!possible()) {
        skip();
    }
    for (int kind = 0; kind < 2; kind++) {
        fixture f = make(kind == 0 ? "bert" : "roberta", kind == 0 ? "gelu" : "gelu_new");
        const km_table *table = km_model_table(f.model);
        km_loss_sum single, half;
        keeper a = run(&single, &f, false, false, NULL), b = run(&half, &f, true, false, NULL);
        assert_int_equal(single.masked, half.masked);
        assert_true(fabs(half.loss - single.loss) < 0.03 * single.loss && half.loss != single.loss);
        const double whole = size_of(a.sum, table->size);
        for (int p = 0; p < table->count; p++) {
            const km_param *param = &table->params[p];
            double off = 0;
            for (size_t i = param->offset; i < param->offset + param->count; i++) {
                off += (a.sum[i] - b.sum[i]) * (a.sum[i] - b.sum[i]);
                assert_int_equal(a.touched[i], b.touched[i]);
            }
            if (!(sqrt(off) <= 0.1 * size_of(a.sum + param->offset, param->count) + 1e-3 * whole)) {
                fail_msg("%s: off by %.3g of %.3g", param->name, sqrt(off),
                         size_of(a.sum + param->offset, param->count));
            }
        }
        keeper_free(&a);
        keeper_free(&b);
        drop(&f);
    }
}

/* Norms (M) of the labels' gradients. */
static void norms_of(float *norms, const fixture *f, bool bf16) {
    own_batch own = f->own;
    own_link(&own, true);
    km_work_options options = options_of(&own.batch, false);
    options.bf16 = bf16;
    options.norms = true;
    km_work *work = NULL;
    km_loss_sum loss;
    keeper keep = keeper_make(km_model_table(f->model));
    assert_int_equal(km_work_create(&work, f->model, &options), KM_OK);
    add_gradient(&keep, &loss, f->model, f->weights, &own.batch, false, work);
    memcpy(norms, km_work_norms(work), (size_t)own.batch.labelled * sizeof *norms);
    km_work_destroy(work);
    keeper_free(&keep);
}

static void norms_are_close_to_fp32(void **state) {
    (void)state;
    if (!possible()) {
        skip();
    }
    fixture f = make("bert", "gelu");
    float single[MOST_TOKENS_HERE], half[MOST_TOKENS_HERE];
    double off = 0, all = 0;
    norms_of(single, &f, false);
    norms_of(half, &f, true);
    assert_true(f.own.batch.labelled > 5);
    for (int m = 0; m < f.own.batch.labelled; m++) {
        off += pow((double)(half[m] - single[m]), 2);
        all += pow((double)single[m], 2);
    }
    assert_true(off > 0 && sqrt(off) < 0.1 * sqrt(all));
    drop(&f);
}

static void same_bits_however_it_is_made(void **state) {
    (void)state;
    if (!possible()) {
        skip();
    }
    fixture f = make("bert", "gelu");
    const size_t size = km_model_table(f.model)->size;
    km_bf16 *rounded = km_new(size, sizeof *rounded);
    km_bf16_round(rounded, f.weights, size);
    km_loss_sum first, other;
    keeper a = run(&first, &f, true, false, NULL);
    for (int way = 0; way < 3; way++) {
        keeper b = run(&other, &f, true, way != 1, way == 0 ? NULL : rounded);
        assert_memory_equal(a.sum, b.sum, size * sizeof *a.sum);
        assert_true(memcmp(&first.loss, &other.loss, sizeof first.loss) == 0);
        keeper_free(&b);
    }
    keeper_free(&a);
    free(rounded);
    drop(&f);
}

static void forward_is_gradients_loss_without_dropout(void **state) {
    (void)state;
    if (!possible()) {
        skip();
    }
    fixture f = make("bert", "gelu");
    own_link(&f.own, true);
    km_work_options options = options_of(&f.own.batch, true), forward = options;
    options.bf16 = forward.bf16 = true;
    forward.backward = forward.recompute = false;
    km_work *work = NULL, *less = NULL;
    assert_int_equal(km_work_create(&work, f.model, &options), KM_OK);
    assert_int_equal(km_work_create(&less, f.model, &forward), KM_OK);
    km_loss_sum loss, alone;
    keeper keep = keeper_make(km_model_table(f.model));
    add_gradient(&keep, &loss, f.model, f.weights, &f.own.batch, false, work);
    km_model_forward(f.model, f.weights, &f.own.batch, less, &alone, NULL);
    assert_true(fabs(alone.loss - loss.loss) < 1e-5 * loss.loss);
    assert_int_equal(alone.correct, loss.correct);
    assert_non_null(km_work_hidden(work, KM_ENCODER, 1));
    assert_null(km_work_hidden(less, KM_ENCODER, 1));
    assert_true(km_work_bytes(f.model, &forward) < km_work_bytes(f.model, &options));
    keeper_free(&keep);
    km_work_destroy(work);
    km_work_destroy(less);
    drop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(close_to_fp32), cmocka_unit_test(norms_are_close_to_fp32),
                                       cmocka_unit_test(same_bits_however_it_is_made),
                                       cmocka_unit_test(forward_is_gradients_loss_without_dropout)};
    km_kernel_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
