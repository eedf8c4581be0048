/* What policies hide, against plain loops over all rows, visits and masks: shares, their intervals, ranks; a corpus with and without tags. */
#include "census.h"
#include "study/shared_folder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LENGTH = 24, WORDS = 12, FIRST = 5, TAGS = 4, MOST_ROWS = 400 };

/* Records of words a0 .. a11, where word w has tag T(w mod 3) or none, and words 0 and 1 are entities. */
static void write_inputs(void) {
    km_buffer vocab = {0}, text = {0}, bare = {0};
    km_buffer_print(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int w = 0; w < WORDS; w++) {
        km_buffer_print(&vocab, "%c\n", 'a' + w);
    }
    km_rng rng = km_rng_make(1, KM_RNG_TEST, 0, 0);
    for (int line = 0; line < 250; line++) {
        km_buffer words = {0}, tags = {0}, entities = {0};
        for (int i = 0; i < 8 + line % 9; i++) {
            const int w = (int)km_rng_below(&rng, 1 + km_rng_below(&rng, WORDS));
            km_buffer_print(&words, "%s%c", i > 0 ? " " : "", 'a' + w);
            if (w % 4 < 3) {
                km_buffer_print(&tags, "%s[%d, %d, \"T%d\"]", tags.size > 0 ? ", " : "", 2 * i, 2 * i + 1, w % 4);
            }
            if (w % 5 == 1) {
                km_buffer_print(&entities, "%s[%d, %d]", entities.size > 0 ? ", " : "", 2 * i, 2 * i + 1);
            }
        }
        km_buffer_print(&text, "{\"text\": \"%s\", \"tags\": [%s], \"entities\": [%s]}\n", words.data,
                        tags.size > 0 ? tags.data : "", entities.size > 0 ? entities.data : "");
        km_buffer_print(&bare, "%s\n", words.data);
        km_buffer_free(&words);
        km_buffer_free(&tags);
        km_buffer_free(&entities);
    }
    OK(km_file_replace(at("vocab.txt"), vocab.data, vocab.size));
    OK(km_file_replace(at("text.jsonl"), text.data, text.size));
    OK(km_file_replace(at("bare.txt"), bare.data, bare.size));
    km_buffer_free(&vocab);
    km_buffer_free(&text);
    km_buffer_free(&bare);
}

static int make(void **state) {
    (void)state;
    enter_together(write_inputs);
    build_corpus("text.jsonl", "c.h5");
    build_corpus("bare.txt", "bare.h5");
    return 0;
}

static void load(km_census_input *input, const char *corpus, const char *policy, const char *unit, double share) {
    char *set[] = {km_format("data.train=%s", at(corpus)),
                   km_format("masks.policies=%s", policy),
                   km_format("mask.unit=%s", unit),
                   km_format("masks.share=%g", share),
                   km_strdup("data.length=24"),
                   km_strdup("mask.splits=2"),
                   km_strdup("masks.draws=7"),
                   km_strdup("run.seed=3")};
    OK(km_census_load(input, &(km_config_source){.set = set, .set_count = KM_COUNT(set)}));
    for (size_t i = 0; i < KM_COUNT(set); i++) {
        free(set[i]);
    }
}

/* ---- The twin ---- */

/* Of each row: expected hidden tokens, in all, by tag and by word. */
typedef struct twin {
    int rows;
    double m[MOST_ROWS], tag[TAGS][MOST_ROWS], word[WORDS][MOST_ROWS];
    double tokens; /* that may be hidden at all */
} twin;

/* Masks are drawn `visits` times. */
static void twin_row(twin *t, const km_row *row, km_masker *masker, km_masks *masks, int visits) {
    const int r = t->rows++;
    int hidden[LENGTH] = {0};
    for (int v = 0; v < visits; v++) {
        const km_mask_visit visit = {.seed = 3, .purpose = KM_RNG_MASK, .number = (uint64_t)v};
        OK(km_masker_draw(masker, row, &visit, masks));
        for (int i = 0; i < row->length; i++) {
            hidden[i] += (masks->masks[i] != 0) + (masks->masks[masks->stride + i] != 0);
        }
    }
    for (int i = 0; i < row->length; i++) {
        const double h = (double)hidden[i] / visits;
        t->m[r] += h;
        t->tag[row->tags[i]][r] += h;
        t->tokens += h > 0;
        if (row->ids[i] >= FIRST) {
            t->word[row->ids[i] - FIRST][r] += h;
        }
    }
}

static void twin_make(twin *t, const char *path, const km_masking *masking, double share, int visits) {
    km_corpus *corpus = NULL;
    km_rows *rows = NULL;
    km_masker *masker = NULL;
    km_masks masks;
    const km_rows_options options = {.length = LENGTH, .unit = km_masking_unit(masking), .min_units = 2};
    memset(t, 0, sizeof *t);
    OK(km_corpus_open(&corpus, path));
    OK(km_rows_open(&rows, corpus, &options, NULL));
    OK(km_masker_create(&masker, masking->policy, &masking->spec, corpus, LENGTH));
    km_masks_create(&masks, masker);
    km_row *row = km_row_create(LENGTH);
    row->wants_tags = true;
    row->wants_sentences = true;
    const uint64_t total = km_rows_count(rows), count = (uint64_t)ceil(share * (double)total);
    assert_true(count > 2 && count <= MOST_ROWS);
    for (uint64_t i = 0; i < count; i++) {
        OK(km_rows_read(rows, km_order(i, total, 3, 0), row));
        twin_row(t, row, masker, &masks, visits);
    }
    km_row_destroy(row);
    km_masks_free(&masks);
    km_masker_destroy(masker);
    km_rows_close(rows);
    km_corpus_close(corpus);
}

/* The share by sums in double, and the variance by residuals. */
static void twin_share(const twin *t, const double *x, double *p, double *deviation) {
    double top = 0, bottom = 0, squares = 0, R = t->rows;
    for (int r = 0; r < t->rows; r++) {
        top += x[r];
        bottom += t->m[r];
    }
    *p = top / bottom;
    for (int r = 0; r < t->rows; r++) {
        squares += (x[r] - *p * t->m[r]) * (x[r] - *p * t->m[r]);
    }
    *deviation = sqrt(R / (R - 1) * squares) / bottom;
}

static double number_at(const km_json *list, size_t index) {
    double value = NAN;
    assert_true(km_json_number(&value, km_json_at(list, index)));
    return value;
}

/* Wilson's interval solves (p - x)^2 = t^2 x (1 - x) / n: both ends do. */
static void check_interval(const km_json *interval, double p, double deviation, double most, int rows,
                           double accuracy) {
    const double n = deviation > 0 ? fmin(p * (1 - p) / (deviation * deviation), most) : most;
    const double t = km_student_quantile(rows - 1);
    for (size_t end = 0; end < 2; end++) {
        const double x = number_at(interval, end);
        assert_true(end == 0 ? x <= p + 1e-9 : x >= p - 1e-9);
        assert_true(fabs((p - x) * (p - x) - t * t * x * (1 - x) / n) <= accuracy);
    }
}

static const km_json *policy_of(const km_json *found) {
    return km_json_first(km_json_get(found, "policies"));
}

/* On rank 0. accuracy: of shares, 1e-12 where they are counts, less where expectations are compared with draws. */
static void compare(const km_json *found, const twin *t, double accuracy) {
    const km_json *policy = policy_of(found), *tags = km_json_get(policy, "tags");
    const km_json *intervals = km_json_get(policy, "tag_intervals");
    double p = 0, deviation = 0, masked = 0;
    assert_int_equal(km_json_number_or(policy, "rows", 0), t->rows);
    for (int r = 0; r < t->rows; r++) {
        masked += t->m[r];
    }
    assert_true(fabs(km_json_number_or(policy, "masked", 0) - masked) < 1e-9 * masked);
    for (int tag = 1; tag < TAGS; tag++) {
        char name[3] = {'T', (char)('0' + tag - 1), 0};
        twin_share(t, t->tag[tag], &p, &deviation);
        assert_true(fabs(km_json_number_or(tags, name, -1) - p) < accuracy);
        if (accuracy < 1e-9) {
            check_interval(km_json_get(intervals, name), p, deviation, t->tokens, t->rows, 1e-9);
        }
    }
    twin_share(t, t->tag[0], &p, &deviation);
    assert_true(fabs(km_json_number_or(policy, "untagged", -1) - p) < accuracy);
    const km_json *pieces = km_json_get(km_json_first(km_json_get(found, "corpora")), "pieces");
    const km_json *ranks = km_json_get(policy, "ranks"), *held = km_json_get(policy, "rank_intervals");
    assert_int_equal(km_json_size(ranks), WORDS);
    for (size_t i = 0; i < WORDS; i++) {
        const km_json *rank = km_json_at(ranks, i);
        const int w = km_json_string(km_json_at(pieces, i))[0] - 'a';
        twin_share(t, t->word[w], &p, &deviation);
        assert_int_equal(number_at(rank, 0), i + 1);
        assert_true(fabs(number_at(rank, 2) - p) < accuracy + 1e-6);
        if (accuracy < 1e-9) {
            check_interval(km_json_at(held, i), p, deviation, t->tokens, t->rows, 1e-5);
        }
    }
}

static void counts_are_those_of_plain_loops(const char *policy, const char *unit, double share) {
    km_census_input *input = km_new(1, sizeof *input);
    km_json *found = NULL;
    load(input, "c.h5", policy, unit, share);
    OK(km_census(comm, input, 1, NULL, &found));
    assert_int_equal(found != NULL, km_comm_rank(comm) == 0);
    if (found != NULL) {
        twin *t = km_new(1, sizeof *t);
        km_masking masking;
        OK(km_census_masking(&masking, &input->config, policy));
        bool exact = false;
        assert_true(km_json_boolean(&exact, km_json_get(policy_of(found), "exact")));
        twin_make(t, at("c.h5"), &masking, share, exact ? 400 : 7);
        if (exact) { /* expectations, so tau/n of everything: the twin's masks are only near */
            for (int r = 0; r < t->rows && strcmp(policy, "salient") != 0; r++) {
                assert_true(fabs(t->m[r] - floor(t->m[r] + 0.5)) < 1e-9); /* a mask hides tau, always */
            }
        }
        compare(found, t, exact ? 0.01 : 1e-12);
        free(t);
        km_json_destroy(found);
    }
    free(input);
}

static void many_draws_are_counted(void **state) {
    (void)state;
    counts_are_those_of_plain_loops("random", "span", 1);
    counts_are_those_of_plain_loops("fully_explored", "span", 0.3);
    counts_are_those_of_plain_loops("denoise", "word", 0.6);
}

static void closed_forms_are_near_draws(void **state) {
    (void)state;
    counts_are_those_of_plain_loops("random", "subword", 1);
    counts_are_those_of_plain_loops("fully_explored", "word", 1);
    counts_are_those_of_plain_loops("salient", "word", 1);
}

/* Every row whole: shares under random masks are the corpus', but for the rounding of tau. The corpus' own are plain counts. */
static void random_masks_show_the_corpus(void **state) {
    (void)state;
    km_census_input *input = km_new(1, sizeof *input);
    km_json *found = NULL;
    load(input, "c.h5", "random", "subword", 1);
    OK(km_census(comm, input, 1, NULL, &found));
    if (found != NULL) {
        const km_json *corpus = km_json_first(km_json_get(found, "corpora")), *policy = policy_of(found);
        const km_json *own = km_json_get(corpus, "tags"), *ranks = km_json_get(policy, "ranks");
        double sum = km_json_number_or(corpus, "untagged", -1), before = 1;
        for (const km_json *tag = km_json_first(own); tag != NULL; tag = km_json_next(tag)) {
            const km_json *interval = km_json_get(km_json_get(policy, "tag_intervals"), km_json_key(tag));
            double share = 0;
            assert_true(km_json_number(&share, tag));
            assert_true(number_at(interval, 0) <= share && share <= number_at(interval, 1));
            sum += share;
        }
        assert_true(fabs(sum - 1) < 1e-12);
        for (const km_json *rank = km_json_first(ranks); rank != NULL; rank = km_json_next(rank)) {
            assert_true(number_at(rank, 1) <= before);
            assert_true(fabs(number_at(rank, 1) - number_at(rank, 2)) < 0.01);
            before = number_at(rank, 1);
        }
        km_json_destroy(found);
    }
    free(input);
}

static void a_corpus_without_tags_has_ranks(void **state) {
    (void)state;
    km_census_input *inputs = km_new(2, sizeof *inputs);
    km_json *found = NULL;
    load(&inputs[0], "bare.h5", "random", "subword", 0.5);
    load(&inputs[1], "c.h5", "random", "subword", 0.5);
    strcpy(inputs[0].path, "first");
    strcpy(inputs[1].path, "second");
    OK(km_census(comm, inputs, 2, NULL, &found));
    if (found != NULL) {
        const km_json *bare = policy_of(found), *other = km_json_next(bare);
        assert_string_equal(km_json_text(bare, "name"), "random (first)");
        assert_string_equal(km_json_text(other, "name"), "random (second)");
        assert_int_equal(km_json_number_or(other, "corpus", -1), 1);
        assert_int_equal(km_json_size(km_json_get(bare, "tags")), 0);
        assert_true(fabs(km_json_number_or(bare, "untagged", 0) - 1) < 1e-12);
        assert_int_equal(km_json_size(km_json_get(bare, "ranks")), WORDS);
        km_json_destroy(found);
    }
    free(inputs);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_draws_are_counted),
        cmocka_unit_test(closed_forms_are_near_draws),
        cmocka_unit_test(random_masks_show_the_corpus),
        cmocka_unit_test(a_corpus_without_tags_has_ranks),
    };
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_log_mute(true);
    int failed = cmocka_run_group_tests(tests, make, clean);
    km_comm_close(comm);
    return failed;
}
