/* The trainer of byte-level BPE: merges worked out by hand, and texts that teach nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kmask/tokenizer.h"

#define SPACE "\xC4\xA0" /* U+0120 */

static km_tokenizer *learn(int vocab_size, int min_frequency, const char *text) {
    const km_bpe_options options = {.vocab_size = vocab_size, .min_frequency = min_frequency};
    km_bpe_trainer *trainer = km_bpe_trainer_create(&options);
    km_bpe_trainer_add(trainer, text, strlen(text));
    km_tokenizer *t = NULL;
    assert_int_equal(km_bpe_trainer_end(trainer, &t), KM_OK);
    km_bpe_trainer_destroy(trainer);
    return t;
}

static void learns(int vocab_size, int min_frequency, const char *text, const char *expected) {
    km_tokenizer *t = learn(vocab_size, min_frequency, text);
    km_buffer pieces = {0};
    km_buffer_add(&pieces, "", 0);
    for (int32_t id = 261; id < km_tokenizer_size(t); id++) {
        km_buffer_print(&pieces, "%s%s", id > 261 ? " " : "", km_tokenizer_piece(t, id));
    }
    assert_string_equal(pieces.data, expected);
    const km_specials s = km_tokenizer_specials(t);
    assert_true(s.cls == 0 && s.pad == 1 && s.sep == 2 && s.unk == 3 && s.mask == 4);
    assert_string_equal(km_tokenizer_piece(t, 5), "!");
    km_buffer_free(&pieces);
    km_tokenizer_destroy(t);
}

static void merges_by_hand(void **state) {
    (void)state;
    learns(300, 2, "hug hug pug\nhug", "ug hug"); /* " hug", with a space before it, occurs only once */
    learns(300, 1, "hug hug pug\nhug", "ug hug pug " SPACE "hug " SPACE "pug");
    learns(262, 1, "hug hug pug\nhug", "ug");
    learns(300, 2, "aaaa aaaa", "aa aaaa");
    learns(300, 3, "\xC3\xA9 \xC3\xA9", "");
    learns(300, 2, "\xC3\xA9\n\xC3\xA9", "\xC3\x83\xC2\xA9");
    learns(300, 2, "a\n\na\n", "");
}

static void refuses_what_teaches_nothing(void **state) {
    (void)state;
    km_bpe_options options = {.vocab_size = 300, .min_frequency = 2};
    km_bpe_trainer *trainer = km_bpe_trainer_create(&options);
    km_tokenizer *t = NULL;
    assert_int_equal(km_bpe_trainer_end(trainer, &t), KM_FAILED);
    assert_non_null(strstr(km_message(), "no words"));
    km_bpe_trainer_destroy(trainer);
    options.vocab_size = 260;
    trainer = km_bpe_trainer_create(&options);
    km_bpe_trainer_add(trainer, "a", 1);
    assert_int_equal(km_bpe_trainer_end(trainer, &t), KM_FAILED);
    assert_non_null(strstr(km_message(), "261"));
    km_bpe_trainer_destroy(trainer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_hand),
        cmocka_unit_test(refuses_what_teaches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
