/* Sentence ends inside a line: in several scripts, around abbreviations and quotes, and with bytes of any kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kmask/text.h"

static km_sentences *sentences;

/* The text with a bar after each sentence. */
static char *barred(const char *text, size_t count) {
    km_buffer out = {0};
    size_t last = 0, end = 0;
    km_buffer_add(&out, "", 0);
    km_sentences_begin(sentences, text, count);
    while ((end = km_sentences_next(sentences)) > 0) {
        assert_true(end > last && end <= count);
        km_buffer_add(&out, text + last, end - last);
        km_buffer_add(&out, "|", 1);
        last = end;
    }
    assert_int_equal(last, count);
    return out.data;
}

static void expect(const char *expected) {
    char text[512] = "";
    size_t count = 0;
    for (const char *at = expected; *at != '\0'; at++) {
        if (*at != '|') {
            text[count++] = *at;
        }
    }
    char *found = barred(text, count);
    assert_string_equal(found, expected);
    free(found);
}

static void sentences_end_where_readers_end_them(void **state) {
    (void)state;
    expect("Mr. Smith went home.| He slept.|");
    expect("It is 3.5 volts, e.g. here.| Use foo.c or bar.h, version 1.2.|");
    expect("See pp. 4-5 and vs. those.| \"Who is it?\"| she asked.| He left.|");
    expect("Wait... what?| No!| Yes?!| (So it was.)| Then, etc. and so on.|");
    expect("No end at all|");
    expect("One only.|");
    expect("One only.\"  |");
    expect("我来了。|你好吗？|很好！|他说：“好。”|然后走了。|");
    expect("هل أنت بخير؟| نعم أنا بخير.| شكرا|");
    expect("Це речення.| А це інше речення.|");
    expect("यह एक वाक्य है।| यह दूसरा है।|");
    expect("One\xE2\x80\xA8|two\xC2\x85|three|");
}

static void any_bytes_have_an_end(void **state) {
    (void)state;
    const char nul[] = "a\0b. C\0. D";
    char *found = barred(nul, sizeof nul - 1);
    free(found);
    km_rng rng = km_rng_make(3, KM_RNG_TEST, 0, 0);
    for (int round = 0; round < 2000; round++) {
        char bytes[64];
        size_t count = km_rng_below(&rng, sizeof bytes);
        for (size_t i = 0; i < count; i++) {
            bytes[i] = km_rng_below(&rng, 2) ? (char)km_rng_below(&rng, 256)
                                             : ". A?\xE3\x80\x82\"1"[km_rng_below(&rng, 9)];
        }
        char *exact = km_new(count + 1, 1);
        memcpy(exact, bytes, count);
        free(barred(exact,
                    count)); /* barred() checks that ends ascend and that the last one is the end of the text */
        free(exact);
    }
    assert_int_equal((km_sentences_begin(sentences, "", 0), km_sentences_next(sentences)), 0);
}

/* In these texts, whether a sentence ends at a full stop depends on characters far behind it. Ends are still found in linear
 * time; a quadratic search would take hours. */
static void time_is_linear(void **state) {
    (void)state;
    enum { BYTES = 4 << 20 };
    const char *const patterns[] = {". ",           ".1",    "a.a",    ".\"",   ". (",
                                    "\xE3\x80\x82", "U.S. ", "e.g. a", "\x80.", "Mr. "};
    char *text = km_new(BYTES, 1);
    for (size_t p = 0; p < KM_COUNT(patterns); p++) {
        size_t length = strlen(patterns[p]);
        for (size_t i = 0; i < BYTES; i++) {
            text[i] = patterns[p][i % length];
        }
        size_t count = 0, last = 0, end = 0;
        km_sentences_begin(sentences, text, BYTES);
        while ((end = km_sentences_next(sentences)) > 0) {
            last = end;
            count++;
        }
        assert_int_equal(last, BYTES);
        assert_true(count >= 1);
    }
    memset(text, '7', BYTES);
    memcpy(text, "A. ", 3);
    text[BYTES - 1] = 'B';
    km_sentences_begin(sentences, text, BYTES);
    while (km_sentences_next(sentences) > 0) {
    }
    free(text);
}

static void rules_are_named(void **state) {
    (void)state;
    assert_int_equal(strncmp(km_sentences_rules(sentences), "icu ", 4), 0);
    assert_non_null(strstr(km_sentences_rules(sentences), "en@ss=standard"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_end_where_readers_end_them),
        cmocka_unit_test(any_bytes_have_an_end),
        cmocka_unit_test(time_is_linear),
        cmocka_unit_test(rules_are_named),
    };
    if (km_sentences_create(&sentences) != KM_OK) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_sentences_destroy(sentences);
    return failed;
}
