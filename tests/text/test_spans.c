/* Finding names, dates and numbers: compared with sentences that were labelled by hand, and run on text of any kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kmask/text.h"

/* [e:...] marks a name, [d:...] a date or time, [n:...] a number. */
static const char *const labelled[] = {
    "The [e:Bank of England] was founded in [d:1694] by a [e:Scot].",
    "On [d:12 March 1999], at [d:10:30 pm], [e:J. R. Smith] paid [n:$3,000.50] in cash.",
    "Nobody in [e:New York] had heard of [e:Ludwig van Beethoven] before [d:1801].",
    "The price rose by [n:5%] to [n:12.75] on [d:Monday].",
    "In [d:the 1990s] most of the staff moved to [e:San Francisco].",
    "He was born on [d:July 4, 1776], they say, and died in [d:1826].",
    "She works for [e:NASA] and used to work for [e:AT&T].",
    "It was [e:Marie Curie] who won it in [d:1903] and again in [d:1911].",
    "The [e:University of Oxford] has [n:39] colleges.",
    "Yesterday it rained in [e:London]. [e:London] was grey.",
    "My sister read [n:3] books by [e:Gabriel de la Cruz] last week.",
    "[e:Barack Obama] spoke first; then everybody went home.",
    "Walking home, he thought of [e:O'Brien] and of [e:Jean-Paul Sartre].",
    "The meeting is on [d:2024-05-17] at [d:14:00].",
    "They met on [d:17/05/2024] and never again.",
    "At [d:5 p.m.] the shop closes, and on [d:Sunday] it never opens.",
    "A [n:2nd] edition came out in [d:May 1987].",
    "Only [n:1,200,000] people live there.",
    "This is the oldest bridge over the [e:Danube].",
    "The [e:U.S. Army] bought [n:200] of them.",
    "Few remember that [e:Apollo] flew in [d:July 1969].",
    "[e:Dr. Watson] lives in [e:Baker Street].",
    "The war of [d:1939-1945] changed [e:Europe].",
    "Its weight is [n:5kg], or [n:11 lb].",
    "We drove from [e:Los Angeles] to [e:Las Vegas] in [n:4] hours.",
    "The company lost [n:3 million dollars] in [d:March].",
    "There are [n:24] letters in the [e:Greek] alphabet.",
    "Caesar died in [d:44 BC]; the city fell in [d:AD 476].",
    "During the [d:19th century] many left [e:Ireland] for [e:America].",
    "I think that [e:Anna Maria Schmidt] will come, but I may be wrong.",
    "What does [e:IBM] sell today?",
    "All [e:Linux] kernels since [d:1996] have had it.",
    "However, the results of [e:Miller] and [e:Jones] do not agree.",
    "In [d:1999年3月1日] form, dates need no month names.",
    "[e:Éric] asked [e:Łukasz] the way to [e:Kraków].",
    "Она живёт в [e:Москве] с [d:1985] года.",
    "The river froze on [d:Friday, 13 January 1905].",
    "Turn left after [n:300] metres, then go straight on.",
    "The file is called readme.txt and lives in /usr/share/doc.",
    "When it is cold, nobody swims.",
    "Temperatures fell to [n:-5 °C] overnight.",
    "He paid [n:€20] for it, not [n:£15].",
    "The treaty was signed in [e:Paris] on [d:3 September 1783].",
    "\"Who is there?\" asked [e:Emma]. \"Only me,\" said the cat.",
    "One of the [e:Beatles] lived here until [d:summer 1965].",
    "Our train leaves at [d:7:45], theirs at [d:9:10].",
    "The [e:Museum of Modern Art] opened in [d:November 1929].",
    "Nothing ever happens here.",
    "Both [e:McDonald] and [e:iPhone] are written like this.",
    "Some [n:1/3] of all the voters stayed at home.",
};

typedef struct score {
    int right, found, wanted;
} score;

/* Removes the labels from a sentence and returns them as spans. */
static char *unlabelled(const char *from, km_spans *labels) {
    km_buffer text = {0};
    size_t begin = 0;
    km_span_kind kind = KM_SPAN_ENTITY;
    for (const char *at = from; *at != '\0'; at++) {
        if (*at == '[') {
            kind = at[1] == 'e' ? KM_SPAN_ENTITY : at[1] == 'd' ? KM_SPAN_DATE : KM_SPAN_NUMBER;
            begin = text.size;
            at += 2;
        } else if (*at == ']') {
            km_spans_add(labels, begin, text.size, (int)kind);
        } else {
            km_buffer_add(&text, at, 1);
        }
    }
    return text.data;
}

/* Whether two spans are the same, with the same kind. A full stop that one of them has at its end is ignored. */
static bool same(const km_span *a, const km_span *b) {
    size_t far = a->end > b->end ? a->end - b->end : b->end - a->end;
    return a->begin == b->begin && far <= 1 && a->kind == b->kind;
}

static void compare(const char *text, const km_spans *found, const km_spans *labels, score scores[KM_SPAN_KINDS]) {
    for (size_t i = 0; i < found->count; i++) {
        bool right = false;
        for (size_t j = 0; j < labels->count; j++) {
            right = right || same(&found->spans[i], &labels->spans[j]);
        }
        scores[found->spans[i].kind].found++;
        scores[found->spans[i].kind].right += right;
        if (!right) {
            print_message("    not labelled so: %s \"%.*s\" in: %s\n",
                          km_span_kind_name((km_span_kind)found->spans[i].kind),
                          (int)(found->spans[i].end - found->spans[i].begin), text + found->spans[i].begin, text);
        }
    }
    for (size_t j = 0; j < labels->count; j++) {
        scores[labels->spans[j].kind].wanted++;
    }
}

static void labelled_spans_are_found(void **state) {
    (void)state;
    score scores[KM_SPAN_KINDS] = {0};
    for (size_t i = 0; i < KM_COUNT(labelled); i++) {
        km_spans labels = {0}, found = {0};
        char *text = unlabelled(labelled[i], &labels);
        km_find_spans(text, strlen(text), &found);
        compare(text, &found, &labels, scores);
        km_spans_free(&labels);
        km_spans_free(&found);
        free(text);
    }
    for (int kind = 0; kind < KM_SPAN_KINDS; kind++) {
        const score *s = &scores[kind];
        print_message("    %s: %d labelled, %d found, %d of them right: precision %.2f, recall %.2f\n",
                      km_span_kind_name((km_span_kind)kind), s->wanted, s->found, s->right,
                      (double)s->right / s->found, (double)s->right / s->wanted);
        assert_true(s->wanted >= 15);
        assert_true(s->right * 100 >= s->found * 85);
        assert_true(s->right * 100 >= s->wanted * 85);
    }
}

/* Whether the first word of a sentence is a name is decided by how the rest of the text writes it. */
static void first_words_need_evidence(void **state) {
    (void)state;
    const struct {
        const char *text;
        size_t count;
    } cases[] = {{"Windows break.\n", 0},
                 {"Windows break. He uses Windows.\n", 2},
                 {"Windows break. The windows are old.\n", 0},
                 {"Windows\nbreak.\n", 0},
                 {"NASA flies.\n", 1},
                 {"NASA FLIES HIGH\n", 0},
                 {"The cat. The dog. In the house.\n", 0},
                 {"I am I.\n", 0},
                 {"", 0},
                 {"\n\n", 0}};
    for (size_t i = 0; i < KM_COUNT(cases); i++) {
        km_spans found = {0};
        km_find_spans(cases[i].text, strlen(cases[i].text), &found);
        if (found.count != cases[i].count) {
            fail_msg("%zu spans in: %s", found.count, cases[i].text);
        }
        km_spans_free(&found);
    }
}

static void check_order(const char *text, size_t count, const km_spans *found) {
    size_t before = 0;
    for (size_t i = 0; i < found->count; i++) {
        const km_span *span = &found->spans[i];
        assert_true(span->begin >= before && span->end > span->begin && span->end <= count);
        assert_null(memchr(text + span->begin, '\n', span->end - span->begin));
        before = span->end;
    }
}

static void any_bytes_keep_the_order(void **state) {
    (void)state;
    static const char *const bits[] = {"A",
                                       "b",
                                       " ",
                                       "\n",
                                       ".",
                                       "1",
                                       "1999",
                                       "-",
                                       "March ",
                                       "\xC3\x89",
                                       "\xE5\xB9\xB4",
                                       "\xFF",
                                       "\xC3",
                                       "$",
                                       "'s",
                                       "&",
                                       "of ",
                                       "\0",
                                       "12",
                                       ":30",
                                       "/",
                                       "J. ",
                                       "U.S.",
                                       "@",
                                       "\xF0\x9F\x98\x80"};
    km_rng rng = km_rng_make(11, KM_RNG_TEST, 0, 0);
    for (int round = 0; round < 5000; round++) {
        km_buffer text = {0};
        km_buffer_add(&text, "", 0);
        for (uint32_t i = km_rng_below(&rng, 40); i > 0; i--) {
            const char *bit = bits[km_rng_below(&rng, KM_COUNT(bits))];
            km_buffer_add(&text, bit, *bit == '\0' ? 1 : strlen(bit));
        }
        char *exact = km_new(text.size + 1, 1);
        memcpy(exact, text.data, text.size);
        km_spans found = {0}, again = {0};
        km_find_spans(exact, text.size, &found);
        check_order(exact, text.size, &found);
        km_find_spans(exact, text.size, &again);
        assert_int_equal(found.count, again.count);
        assert_true(found.count == 0 || memcmp(found.spans, again.spans, found.count * sizeof *found.spans) == 0);
        km_spans_free(&found);
        km_spans_free(&again);
        free(exact);
        km_buffer_free(&text);
    }
}

/* One thing repeated for longer than a block takes linear time. */
static void time_is_linear(void **state) {
    (void)state;
    enum { BYTES = 5 << 18 };
    static const char *const patterns[] = {"A",   "A ",  "A.", "1",        "1.", "1,",    "J. ",          "Ab of ",
                                           "ab.", "a'",  "1-", "March ",   ".",  "NASA ", "\xE5\xB9\xB4", "\x80",
                                           "A&",  "a-B", "1 ", "https://", "@a", "Mr. "};
    char *text = km_new(BYTES, 1);
    for (size_t p = 0; p < KM_COUNT(patterns); p++) {
        size_t length = strlen(patterns[p]);
        for (size_t i = 0; i < BYTES; i++) {
            text[i] = patterns[p][i % length];
        }
        km_spans found = {0};
        km_find_spans(text, BYTES, &found);
        check_order(text, BYTES, &found);
        km_spans_free(&found);
    }
    free(text);
}

static void labels_have_kinds(void **state) {
    (void)state;
    assert_int_equal(km_span_kind_of("DATE"), KM_SPAN_DATE);
    assert_int_equal(km_span_kind_of("time"), KM_SPAN_DATE);
    assert_int_equal(km_span_kind_of("Cardinal"), KM_SPAN_NUMBER);
    assert_int_equal(km_span_kind_of("PERSON"), KM_SPAN_ENTITY);
    assert_int_equal(km_span_kind_of(""), KM_SPAN_ENTITY);
    for (int kind = 0; kind < KM_SPAN_KINDS; kind++) {
        assert_int_equal(km_span_kind_of(km_span_kind_name((km_span_kind)kind)), kind);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labelled_spans_are_found), cmocka_unit_test(first_words_need_evidence),
        cmocka_unit_test(any_bytes_keep_the_order), cmocka_unit_test(time_is_linear),
        cmocka_unit_test(labels_have_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
