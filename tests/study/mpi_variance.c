/* The measurement against exhaustive enumeration: masks, pairs, sets of masks and mini-batches listed here, gradients by
 * km_model_gradient, sums in double. Theorem 1, Lemma 2, Eq. 5 and the law of distances of Zheng et al. 2020. */
#include "kmask/kernel.h"
#include "kmask/store.h"
#include "study/shared_folder.h"
#include "variance.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 3, UNITS = 7, LENGTH = UNITS + 2, TAU = 2, MASKS = 21, K = 3, SEQUENCES = 2 };
static const double EXACT = 1e-6;

static void write_inputs(void) {
    static const char *const words[] = {"red", "green", "blue", "one", "two", "cat", "dog", "sees"};
    km_buffer vocab = {0}, text = {0};
    km_buffer_print(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (size_t i = 0; i < KM_COUNT(words); i++) {
        km_buffer_print(&vocab, "%s\n", words[i]);
    }
    km_rng rng = km_rng_make(1, KM_RNG_TEST, 0, 0);
    for (int i = 0; i < 600; i++) {
        km_buffer_print(&text, "%s%s", words[km_rng_below(&rng, KM_COUNT(words))], i % 11 == 10 ? "\n" : " ");
    }
    OK(km_file_replace(at("vocab.txt"), vocab.data, vocab.size));
    OK(km_file_replace(at("text.txt"), text.data, text.size));
    km_buffer_free(&vocab);
    km_buffer_free(&text);
}

static int make(void **state) {
    (void)state;
    enter_together(write_inputs);
    build_corpus("text.txt", "c.h5");
    return 0;
}

/* ---- The measurement ------------------------------------------------------------------------------------------------ */

static void make_input(km_variance_input *input, const char *const *more) {
    char *set[24], *train = km_format("data.train=%s", at("c.h5"));
    static const char *const base[] = {"model.type=bert",
                                       "model.hidden_size=8",
                                       "model.num_hidden_layers=1",
                                       "model.num_attention_heads=2",
                                       "model.intermediate_size=12",
                                       "model.max_position_embeddings=12",
                                       "model.initializer_range=0.4",
                                       "data.length=9",
                                       "data.packing=stream",
                                       "mask.ratio=0.28",
                                       "train.sequences=2",
                                       "variance.rows=4,1,9",
                                       "variance.splits=3",
                                       "run.seed=5"};
    int count = 0;
    for (size_t i = 0; i < KM_COUNT(base); i++) {
        set[count++] = (char *)(uintptr_t)base[i];
    }
    set[count++] = train;
    for (; *more != NULL; more++) {
        set[count++] = (char *)(uintptr_t)*more;
    }
    OK(km_variance_load(input, &(km_config_source){.set = set, .set_count = count}));
    free(train);
}

/* On rank 0 the results; NULL elsewhere. */
static km_json *measure(const char *const *more, const char *out) {
    km_variance_input *input = km_new(1, sizeof *input);
    km_json *found = NULL;
    make_input(input, more);
    OK(km_variance(comm, input, out, &found));
    assert_int_equal(found != NULL, km_comm_rank(comm) == 0);
    free(input);
    return found;
}

static double number(const km_json *object, const char *key) {
    double value = NAN;
    assert_true(km_json_number(&value, km_json_get(object, key)));
    return value;
}

static const km_json *item(const km_json *found, const char *list, size_t index) {
    const km_json *json = km_json_at(km_json_get(found, list), index);
    assert_non_null(json);
    return json;
}

static void near(double found, double expected, double scale, const char *what) {
    if (!(fabs(found - expected) <= EXACT * scale)) {
        fail_msg("%s: %.12g, expected %.12g", what, found, expected);
    }
}

/* ---- The enumeration --------------------------------------------------------------------------------------------------- */

typedef struct world {
    km_model *model;
    float *weights;
    size_t size;            /* of a gradient: the chosen tensors, one after the other */
    const char *only;       /* the tensor that is chosen; NULL: all */
    double *g[ROWS][MASKS]; /* (size) */
    double *mean[ROWS];
    int hidden[MASKS][TAU]; /* units */
    double *slice;          /* the whole gradient of a view */
} world;

static void add_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    double *sum = payload;
    for (size_t i = 0; i < count; i++) {
        sum[offset + i] += (double)gradient[i];
    }
}

static void done(void *payload, size_t offset) {
    (void)payload;
    (void)offset;
}

/* The view made by hand: [CLS] and [SEP] around UNITS words, all of them maskable. */
static void one_gradient(world *w, const km_row *row, const int *hidden, double *out) {
    int32_t starts[2] = {0, row->length}, ids[LENGTH], positions[TAU], labels[TAU];
    uint64_t keys[LENGTH] = {0}, number = row->number;
    memcpy(ids, row->ids, sizeof ids);
    for (int i = 0; i < TAU; i++) {
        positions[i] = 1 + hidden[i];
        labels[i] = ids[1 + hidden[i]];
        ids[1 + hidden[i]] = 4;
    }
    const km_batch batch = {.views = 1,
                            .input.tokens = row->length,
                            .labelled = TAU,
                            .input.longest = row->length,
                            .input.starts = starts,
                            .input.ids = ids,
                            .at = positions,
                            .labels = labels,
                            .input.keys = keys,
                            .rows = &number};
    const km_work_options limits = {.limits.views = 1,
                                    .limits.tokens = LENGTH,
                                    .limits.labelled = LENGTH,
                                    .limits.longest = LENGTH,
                                    .backward = true};
    km_work *work = NULL;
    OK(km_work_create(&work, w->model, &limits));
    const km_table *table = km_model_table(w->model);
    memset(w->slice, 0, table->size * sizeof *w->slice);
    const km_sink sink = {w->slice, add_slice, done};
    km_loss_sum loss;
    km_model_gradient(w->model, w->weights, &batch, 0, false, work, &sink, &loss);
    km_work_destroy(work);
    for (int p = 0; p < table->count; p++) {
        const km_param *param = &table->params[p];
        if (w->only == NULL || strcmp(param->name, w->only) == 0) {
            memcpy(out, w->slice + param->offset, param->count * sizeof *out);
            out += param->count;
        }
    }
}

static void list_masks(world *w) {
    int count = 0;
    for (int i = 0; i < UNITS; i++) {
        for (int j = i + 1; j < UNITS; j++) {
            w->hidden[count][0] = i;
            w->hidden[count++][1] = j;
        }
    }
    assert_int_equal(count, MASKS);
}

static void fill_rows(world *w, const km_corpus *corpus) {
    static const uint64_t numbers[ROWS] = {4, 1, 9};
    const km_rows_options packing = {
        .length = LENGTH, .packing = KM_PACK_STREAM, .unit = KM_UNIT_SUBWORD, .min_units = K};
    km_rows *rows = NULL;
    km_row *row = km_row_create(LENGTH);
    OK(km_rows_open(&rows, corpus, &packing, NULL));
    for (int r = 0; r < ROWS; r++) {
        OK(km_rows_read(rows, numbers[r], row));
        assert_int_equal(row->length, LENGTH);
        w->mean[r] = km_new(w->size, sizeof(double));
        for (int m = 0; m < MASKS; m++) {
            w->g[r][m] = km_new(w->size, sizeof(double));
            one_gradient(w, row, w->hidden[m], w->g[r][m]);
            for (size_t d = 0; d < w->size; d++) {
                w->mean[r][d] += w->g[r][m][d] / MASKS;
            }
        }
    }
    km_row_destroy(row);
    km_rows_close(rows);
}

static void enter(world *w, const char *only) {
    *w = (world){.only = only};
    static const char *const none[] = {NULL};
    km_variance_input *input = km_new(1, sizeof *input);
    make_input(input, none);
    km_corpus *corpus = NULL;
    OK(km_corpus_open(&corpus, at("c.h5")));
    km_model_config shape = input->config.model;
    shape.vocab_size = km_tokenizer_size(km_corpus_tokenizer(corpus));
    OK(km_model_create(&w->model, &shape, KM_HEAD_TOKENS));
    const km_table *table = km_model_table(w->model);
    w->weights = km_new(table->size, sizeof *w->weights);
    w->slice = km_new(table->size, sizeof *w->slice);
    km_model_init_weights(w->model, w->weights, 5);
    w->size = only != NULL ? km_table_find(table, only)->count : table->elements;
    list_masks(w);
    fill_rows(w, corpus);
    km_corpus_close(corpus);
    free(input);
}

static void leave(world *w) {
    for (int r = 0; r < ROWS; r++) {
        for (int m = 0; m < MASKS; m++) {
            free(w->g[r][m]);
        }
        free(w->mean[r]);
    }
    km_model_destroy(w->model);
    free(w->weights);
    free(w->slice);
}

static bool disjoint(const world *w, int a, int b) {
    for (int i = 0; i < TAU * TAU; i++) {
        if (w->hidden[a][i / TAU] == w->hidden[b][i % TAU]) {
            return false;
        }
    }
    return true;
}

static int distance(const world *w, int a, int b) {
    int same = 0;
    for (int i = 0; i < TAU * TAU; i++) {
        same += w->hidden[a][i / TAU] == w->hidden[b][i % TAU];
    }
    return 2 * (TAU - same);
}

static double covariance(const world *w, int r, int a, int b) {
    double sum = 0;
    for (size_t d = 0; d < w->size; d++) {
        sum += (w->g[r][a][d] - w->mean[r][d]) * (w->g[r][b][d] - w->mean[r][d]);
    }
    return sum;
}

/* Mean gradients of every ordered triple of masks (disjoint ones, or all), of one row: the vectors' squared distances from
 * the row's mean, averaged; `mean` (size) becomes the triples' mean. */
static double triples(const world *w, int r, bool disjoint_only, double *mean) {
    double sum = 0, count = 0;
    memset(mean, 0, w->size * sizeof *mean);
    for (int t = 0; t < MASKS * MASKS * MASKS; t++) {
        int a = t / (MASKS * MASKS), b = t / MASKS % MASKS, c = t % MASKS;
        if (disjoint_only && !(disjoint(w, a, b) && disjoint(w, a, c) && disjoint(w, b, c))) {
            continue;
        }
        count++;
        for (size_t d = 0; d < w->size; d++) {
            double g = (w->g[r][a][d] + w->g[r][b][d] + w->g[r][c][d]) / K;
            mean[d] += g;
            sum += (g - w->mean[r][d]) * (g - w->mean[r][d]);
        }
    }
    for (size_t d = 0; d < w->size; d++) {
        mean[d] /= count;
    }
    return sum / count;
}

/* ---- Tests ----------------------------------------------------------------------------------------------------------------- */

/* Every mini-batch of two of the three rows: the variance of its mean gradient over mini-batches. */
static double variance_of_rows(const world *w) {
    double sum = 0;
    static const int batches[3][2] = {{0, 1}, {0, 2}, {1, 2}};
    for (size_t d = 0; d < w->size; d++) {
        double all = (w->mean[0][d] + w->mean[1][d] + w->mean[2][d]) / ROWS;
        for (int b = 0; b < 3; b++) {
            double g = (w->mean[batches[b][0]][d] + w->mean[batches[b][1]][d]) / SEQUENCES - all;
            sum += g * g / 3;
        }
    }
    return sum;
}

static void check_estimate(const world *w, const km_json *found, size_t index, bool fully_explored) {
    const km_json *e = item(found, "estimates", index);
    double var = 0, single = 0, cov = 0, scale = 1.0 / ROWS / SEQUENCES;
    double *mean = km_new(w->size, sizeof *mean);
    assert_string_equal(km_json_string(km_json_get(e, "policy")), fully_explored ? "fully_explored" : "random");
    for (int r = 0; r < ROWS; r++) {
        double row = 0, pairs = 0, away = 0, norm = 0;
        var += scale * triples(w, r, fully_explored, mean);
        for (size_t d = 0; d < w->size; d++) { /* Lemma 2 */
            away += (mean[d] - w->mean[r][d]) * (mean[d] - w->mean[r][d]);
            norm += w->mean[r][d] * w->mean[r][d];
        }
        assert_true(away < EXACT * EXACT * norm);
        for (int a = 0; a < MASKS; a++) {
            single += scale * covariance(w, r, a, a) / MASKS;
            for (int b = 0; b < MASKS; b++) {
                bool counts = !fully_explored || disjoint(w, a, b);
                row += counts ? covariance(w, r, a, b) : 0;
                pairs += counts;
            }
        }
        cov += scale * row / pairs;
    }
    near(number(e, "var"), var, var, "var");
    near(number(e, "var_masks"), var, var, "var_masks");
    near(number(e, "var_single"), single, single, "var_single");
    near(number(e, "cov"), cov, single, "cov");
    near(number(e, "var"), number(e, "var_single") / K + (1 - 1.0 / K) * number(e, "cov"), var, "Theorem 1");
    near(number(e, "var_rows"), variance_of_rows(w), variance_of_rows(w), "var_rows");
    near(number(e, "var_total"), var + variance_of_rows(w), var, "var_total");
    near(number(e, "mean_gap"), 0, number(e, "mean_norm"), "Lemma 2");
    assert_true(fully_explored ? cov < -0.01 * single : fabs(cov) < EXACT * single); /* it is not all about zeros */
    free(mean);
}

static void check_curve(const world *w, const km_json *found) {
    double weighted = 0;
    for (int h = 0; h <= 2 * TAU; h += 2) {
        double cov = 0, pairs = 0;
        for (int t = 0; t < ROWS * MASKS * MASKS; t++) {
            int r = t / (MASKS * MASKS), a = t / MASKS % MASKS, b = t % MASKS;
            if (distance(w, a, b) == h) {
                cov += covariance(w, r, a, b) / SEQUENCES;
                pairs++;
            }
        }
        const km_json *point = item(found, "distance", (size_t)h / 2);
        near(number(point, "h"), h, 1, "h");
        near(number(point, "cov"), cov / pairs, fabs(cov / pairs), "cov at a distance");
        near(number(point, "pairs"), h == 0 ? pairs : pairs / 2, 1, "pairs");
        weighted += cov / (ROWS * MASKS * MASKS);
    }
    const km_json *fe = item(found, "estimates", 0);
    near(number(item(found, "distance", 0), "cov"), number(fe, "var_single"), number(fe, "var_single"), "h = 0");
    near(number(item(found, "distance", TAU), "cov"), number(fe, "cov"), number(fe, "var_single"), "h = 2 tau");
    near(number(item(found, "distance_weighted", 0), "cov"), weighted, number(fe, "var_single"), "the law");
    near(weighted, 0, number(fe, "var_single"), "the law");
}

static void check_mean(const world *w) {
    km_store *store = NULL;
    OK(km_store_open(&store, at("out/variance.h5")));
    const km_array *array = km_store_find(store, "/model-0/mean");
    assert_non_null(array);
    assert_int_equal(array->count, w->size);
    double *mean = km_new(w->size, sizeof *mean), away = 0, norm = 0;
    OK(km_store_read(store, array, 0, array->count, mean));
    for (size_t d = 0; d < w->size; d++) {
        double expected = (w->mean[0][d] + w->mean[1][d] + w->mean[2][d]) / ROWS;
        away += (mean[d] - expected) * (mean[d] - expected);
        norm += expected * expected;
    }
    assert_true(sqrt(away) < EXACT * sqrt(norm));
    free(mean);
    km_store_close(store);
}

static void every_mask_is_enumerated(void **state) {
    (void)state;
    static const char *const set[] = {"variance.exhaustive=true", NULL};
    km_json *found = measure(set, at("out"));
    if (found == NULL) {
        return;
    }
    world w;
    enter(&w, NULL);
    assert_true(number(found, "maskable") == UNITS && number(found, "tau") == TAU);
    assert_true(number(found, "sequences") == SEQUENCES);
    check_estimate(&w, found, 0, true);
    check_estimate(&w, found, 1, false);
    check_curve(&w, found);
    check_mean(&w);
    leave(&w);
    km_json_destroy(found);
}

static void a_chosen_tensor_alone(void **state) {
    (void)state;
    static const char *const set[] = {"variance.exhaustive=true", "variance.params=*.word_emb*.weight", NULL};
    km_json *found = measure(set, at("out"));
    if (found == NULL) {
        return;
    }
    world w;
    enter(&w, "bert.embeddings.word_embeddings.weight"); /* tied: its gradient comes in two slices */
    check_estimate(&w, found, 0, true);
    check_curve(&w, found);
    leave(&w);
    km_json_destroy(found);
}

/* A projection keeps squared lengths but for collisions: N = 65536 has a hundredth of an error. */
static void projections_keep_traces(void **state) {
    (void)state;
    static const char *const exact[] = {"variance.exhaustive=true", NULL};
    static const char *const projected[] = {"variance.exhaustive=true", "variance.params=projections:65536", NULL};
    km_json *a = measure(exact, NULL), *b = measure(projected, NULL);
    if (a != NULL) {
        static const char *const keys[] = {"var", "var_single", "var_rows"};
        for (size_t i = 0; i < KM_COUNT(keys); i++) {
            double ratio = number(item(b, "estimates", 0), keys[i]) / number(item(a, "estimates", 0), keys[i]);
            assert_true(ratio > 0.97 && ratio < 1.03);
        }
        km_json_destroy(a);
        km_json_destroy(b);
    }
}

/* ---- Sampling ------------------------------------------------------------------------------------------------------------------ */

typedef struct coverage {
    int inside, all;
    double error; /* sum of (estimate - truth) / half width */
} coverage;

static void cover(coverage *c, const km_json *sampled, const km_json *exact, const char *key) {
    char low[64], high[64];
    snprintf(low, sizeof low, "%s_low", key);
    snprintf(high, sizeof high, "%s_high", key);
    double truth = number(exact, key), from = number(sampled, low), to = number(sampled, high);
    c->all++;
    c->inside += truth >= from && truth <= to;
    c->error += (number(sampled, key) - truth) / ((to - from) / 2);
}

/* 95 % intervals hold the truth 95 times in 100, and errors have both signs. */
static void sampling_agrees_with_enumeration(void **state) {
    (void)state;
    enum { SEEDS = 12 };
    static const char *const keys[] = {"var", "var_single", "cov", "var_rows", "var_total"};
    coverage total = {0};
    for (int seed = 0; seed < SEEDS; seed++) {
        /* Weights follow the seed too: another model each time. */
        char text[32];
        snprintf(text, sizeof text, "run.seed=%d", 100 + seed);
        const char *const exact_set[] = {text, "variance.exhaustive=true", NULL};
        const char *const set[] = {text, "variance.draws=32", NULL};
        km_json *exact = measure(exact_set, NULL), *sampled = measure(set, NULL);
        for (size_t i = 0; exact != NULL && i < 2 * KM_COUNT(keys); i++) {
            cover(&total, item(sampled, "estimates", i % 2), item(exact, "estimates", i % 2), keys[i / 2]);
        }
        for (size_t h = 0; exact != NULL && h <= TAU; h++) {
            cover(&total, item(sampled, "distance", h), item(exact, "distance", h), "cov");
        }
        if (exact != NULL) {
            cover(&total, item(sampled, "distance_weighted", 0), item(exact, "distance_weighted", 0), "cov");
            cover(&total, item(sampled, "ratios", 0), item(exact, "ratios", 0), "ratio");
        }
        km_json_destroy(exact);
        km_json_destroy(sampled);
    }
    if (km_comm_rank(comm) == 0) {
        assert_int_equal(total.all, SEEDS * 15);
        if (total.inside < total.all * 89 / 100 || fabs(total.error) > 0.12 * total.all) {
            fail_msg("%d of %d intervals hold the truth, mean error %.3f half widths", total.inside, total.all,
                     total.error / total.all);
        }
    }
}

static void quantiles_are_students(void **state) {
    (void)state;
    static const double known[][2] = {{1, 12.7062}, {2, 4.3027},  {3, 3.1824},  {4, 2.7764},   {5, 2.5706},
                                      {9, 2.2622},  {15, 2.1314}, {30, 2.0423}, {1000, 1.9623}};
    for (size_t i = 0; i < KM_COUNT(known); i++) {
        assert_true(fabs(km_student_quantile((int)known[i][0]) - known[i][1]) < 1.5e-3);
    }
    const double values[] = {1, 2, 3, 4};
    km_interval interval = km_interval_of(values, 4);
    assert_true(fabs(interval.mean - 2.5) < 1e-12 && fabs(interval.high - 2.5 - 3.1824 * sqrt(5.0 / 12)) < 1e-3);
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_kernel_start();
    setenv("KMASK_PROGRESS", "none", 1);
    km_log_mute(true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_mask_is_enumerated, make, clean),
        cmocka_unit_test_setup_teardown(a_chosen_tensor_alone, make, clean),
        cmocka_unit_test_setup_teardown(projections_keep_traces, make, clean),
        cmocka_unit_test_setup_teardown(sampling_agrees_with_enumeration, make, clean),
        cmocka_unit_test(quantiles_are_students),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
