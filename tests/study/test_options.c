/* The config of `kmask variance`: lists, and what is required. */
#include "kmask/study.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static km_variance_input input;

static void says(const char *words) {
    if (strstr(km_message(), words) == NULL) {
        fail_msg("no \"%s\" in: %s", words, km_message());
    }
}

static km_status load(int count, char *const *set) {
    return km_variance_load(&input, &(km_config_source){.set = set, .set_count = count});
}

/* The assignment is refused; the message names `key` and `found`. */
static void refused(const char *assignment, const char *key, const char *found) {
    char *copy = km_strdup(assignment), *set[] = {"data.train=c.h5", "model.preset=tiny", copy};
    assert_int_equal(load(3, set), KM_USAGE);
    says(key);
    says(found);
    free(copy);
}

static void lists_are_numbers_ranges_or_texts(void **state) {
    (void)state;
    char *set[] = {"data.train=c.h5",          "model.preset=tiny",
                   "variance.rows=3,8..10",    "variance.splits=[2, \"4..6\"]",
                   "variance.units=word,span", "variance.model=[\"a b.h5\",\"c,d.h5\"]"};
    assert_int_equal(load(6, set), KM_OK);
    const int64_t rows[] = {3, 8, 9, 10}, splits[] = {2, 4, 5, 6};
    assert_int_equal(input.variance.rows.count, 4);
    assert_memory_equal(input.variance.rows.list, rows, sizeof rows);
    assert_memory_equal(input.variance.splits.list, splits, sizeof splits);
    assert_string_equal(km_texts_at(&input.variance.units, 1), "span");
    assert_int_equal(input.variance.model.count, 2);
    assert_string_equal(km_texts_at(&input.variance.model, 1), "c,d.h5");
    refused("variance.rows=3..1", "variance.rows", "1,4..7");
    refused("variance.rows=0..1e300", "variance.rows", "at most 1024");
    refused("variance.rows=0..1024", "variance.rows", "at most 1024");
    refused("variance.rows=0..99999999999999999999999999999999999", "variance.rows", "at most 1024");
    refused("variance.rows=1,", "variance.rows", "expected a whole number");
    refused("variance.rows=nan..nan", "variance.rows", "expected a whole number");
    refused("variance.rows=[]", "variance.rows", "expected a whole number");
    refused("variance.splits=[2,0]", "variance.splits", "each 1..1024");
    refused("variance.units=word,tree", "variance.units", "subword|word|span");
    refused("variance.params=[1]", "variance.params", "a text");
}

static void variance_needs_less_than_pretrain(void **state) {
    (void)state;
    char *set[] = {"data.train=c.h5", "variance.model=m.h5", "mask.ratio=0.3", "variance.splits=3,2"};
    assert_int_equal(load(4, set), KM_OK);
    assert_int_equal(input.config.mask.splits, 3); /* not 4, which would hide more than there is */
    assert_int_equal(load(1, set), KM_USAGE);
    says("model.type, model.preset and model.init");
    assert_int_equal(load(0, NULL), KM_USAGE);
    says("data.train: missing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_numbers_ranges_or_texts),
        cmocka_unit_test(variance_needs_less_than_pretrain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
