/* has_answer: whether a prediction holds an accepted answer, as DPR's has_answer judges it. */
#include "kmask/metric.h"
#include "kmask/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double score(const char *predicted, const char *a, const char *b) {
    const char *const accepted[] = {a, b};
    const km_answer answer = {.predicted = predicted, .accepted = accepted, .accepted_count = b == NULL ? 1 : 2};
    return km_metric_of_answer(KM_METRIC_HAS_ANSWER, &answer);
}

static void tokens_are(const char *text, const char *expected) {
    char *tokens = km_text_tokens(text);
    assert_string_equal(tokens, expected);
    free(tokens);
}

static void tokens_of_a_text(void **state) {
    (void)state;
    tokens_are("", " ");
    tokens_are("U.S.A., 1988", " u . s . a . , 1988 ");
    tokens_are("a\tb\nc\xC2\xA0"
               "d",
               " a b c d ");
    tokens_are("Z\xC3\x9CRICH", " zu\xCC\x88rich "); /* decomposed; the mark belongs to the word */
    tokens_are("\xE2\x82\xAC"
               "5_6",
               " \xE2\x82\xAC 5 _ 6 ");                                   /* a euro sign; a low line is no letter */
    tokens_are("\xCE\xA3\xCE\x9F\xCE\xA3", " \xCF\x83\xCE\xBF\xCF\x82 "); /* the last sigma becomes the final one */
    tokens_are("a\xFF"
               "b",
               " a \xEF\xBF\xBD b ");
}

static void an_answer_is_found_as_whole_tokens(void **state) {
    (void)state;
    assert_true(score("It was in New York City.", "new york", NULL) == 1);
    assert_true(score("It was in New Yorkshire.", "New York", NULL) == 0);
    assert_true(score("York, New", "New York", NULL) == 0);
    assert_true(score("the u. s. president", "U.S.", NULL) == 1);
    assert_true(score("zu\xCC\x88rich", "Z\xC3\x9CRICH", NULL) == 1);
    assert_true(score("one", "two", "one") == 1);
    assert_true(score("", "one", NULL) == 0);
    assert_true(score("any", "", NULL) == 1); /* as the script has it */
}

static void the_metric_has_a_name(void **state) {
    (void)state;
    km_metric metric;
    assert_true(km_metric_named(&metric, "has_answer"));
    assert_int_equal(metric, KM_METRIC_HAS_ANSWER);
    assert_int_equal(km_metric_kind(metric), KM_METRIC_OF_ANSWERS);
    assert_non_null(strstr(km_metric_names(), "has_answer"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tokens_of_a_text),
                                       cmocka_unit_test(an_answer_is_found_as_whole_tokens),
                                       cmocka_unit_test(the_metric_has_a_name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
