/* Answers that are regular expressions: CuratedTREC's, as DrQA's regex_match_score judges them. */
#include "kmask/metric.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double score(const char *predicted, const char *a, const char *b) {
    const char *const accepted[] = {a, b};
    const km_answer answer = {.predicted = predicted, .accepted = accepted, .accepted_count = b == NULL ? 1 : 2};
    return km_metric_of_answer(KM_METRIC_EM_REGEX, &answer);
}

static void a_match_begins_where_the_answer_begins(void **state) {
    (void)state;
    assert_true(score("1988", "19(88|89)", NULL) == 1);
    assert_true(score("in 1988", "19(88|89)", NULL) == 0);
    assert_true(score("in 1988", ".*19(88|89)", NULL) == 1);
    assert_true(score("JAMES  Joyce", "james\\s+Joyce", NULL) == 1);
    assert_true(score("Z\xC3\x9CRICH", "z\xC3\xBCrich", NULL) == 1);
    assert_true(score("two", "one", "t[w]o$") == 1);
    assert_true(score("two", "one", "three") == 0);
}

static void a_pattern_that_is_none_matches_nothing(void **state) {
    (void)state;
    assert_true(score("a(", "a(", NULL) == 0);
    assert_true(score("", "", NULL) == 1);
    assert_true(score("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "(a+)+$", NULL) == 0);
    assert_true(score("\xFF", "x", NULL) == 0);
}

static void the_metric_has_a_name(void **state) {
    (void)state;
    km_metric metric;
    assert_true(km_metric_named(&metric, "em_regex"));
    assert_int_equal(metric, KM_METRIC_EM_REGEX);
    assert_int_equal(km_metric_kind(metric), KM_METRIC_OF_ANSWERS);
    assert_non_null(strstr(km_metric_names(), "em_regex"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_match_begins_where_the_answer_begins),
                                       cmocka_unit_test(a_pattern_that_is_none_matches_nothing),
                                       cmocka_unit_test(the_metric_has_a_name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
