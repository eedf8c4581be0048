/* Tokenizers whose tokenizer.json lists steps of its own: ids, words and decoded texts compared with the tokenizers package, places in
 * the text, printing, and sentences for what is not read. */
#include "tokenizer.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenizer/golden.h"

static char folder[] = "/tmp/kmask-steps-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    km_log_mute(true);
    return mkdtemp(folder) == NULL;
}

static void put_file(const char *name, const char *text) {
    char *path = km_format("%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void clear_folder(void) {
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                        "vocab.txt"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        char *path = km_format("%s/%s", folder, names[i]);
        unlink(path);
        free(path);
    }
}

static int remove_folder(void **state) {
    (void)state;
    clear_folder();
    return rmdir(folder);
}

/* ---- Golden settings ------------------------------------------------------------------------------------ */

static void settings_as_the_reference(void **state) {
    (void)state;
    DIR *all = opendir(TEST_DATA "/steps");
    assert_non_null(all);
    int settings = 0;
    for (const struct dirent *entry; (entry = readdir(all)) != NULL;) {
        if (entry->d_name[0] != '.') {
            char *name = km_format("steps/%s", entry->d_name);
            print_message("%s\n", name);
            check_golden_lines(name, 15);
            free(name);
            settings++;
        }
    }
    closedir(all);
    assert_true(settings >= 40);
}

/* What is printed or saved and read again has the same hash, and gives the same ids. */
static void printed_and_saved(void **state) {
    (void)state;
    static const char *const names[] = {"steps/llama", "steps/llama3", "steps/camembert2", "steps/both_affixes",
                                        "steps/mpnet"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        km_tokenizer *t = open_golden(names[i]), *parsed = NULL, *opened = NULL;
        char *text = km_tokenizer_print(t);
        assert_int_equal(km_tokenizer_parse(&parsed, text, strlen(text), "printed"), KM_OK);
        assert_true(km_hash_equal(km_tokenizer_hash(t), km_tokenizer_hash(parsed)));
        assert_int_equal(km_tokenizer_save(t, folder), KM_OK);
        assert_int_equal(km_tokenizer_open(&opened, folder), KM_OK);
        assert_true(km_hash_equal(km_tokenizer_hash(t), km_tokenizer_hash(opened)));
        const char line[] = "The ship\xE2\x80\x8D  don't 1999 \xF0\x9F\x98\x80 caf\x65\xCC\x81";
        km_ids a = {0}, b = {0}, c = {0};
        km_encode(t, line, strlen(line), true, &a, NULL);
        km_encode(parsed, line, strlen(line), true, &b, NULL);
        km_encode(opened, line, strlen(line), true, &c, NULL);
        assert_int_equal(a.count, b.count);
        assert_int_equal(a.count, c.count);
        assert_memory_equal(a.ids, b.ids, a.count * sizeof *a.ids);
        assert_memory_equal(a.ids, c.ids, a.count * sizeof *a.ids);
        km_ids_free(&a);
        km_ids_free(&b);
        km_ids_free(&c);
        free(text);
        clear_folder();
        km_tokenizer_destroy(t);
        km_tokenizer_destroy(parsed);
        km_tokenizer_destroy(opened);
    }
}

/* ---- Made by hand --------------------------------------------------------------------------------------- */

/* A WordPiece tokenizer.json with these members before its model. */
static void put_wordpiece(const char *members) {
    char *text = km_format(
        "{\"version\":\"1.0\",\"added_tokens\":[],%s,\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
        "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,\"vocab\":{\"[PAD]\":0,"
        "\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"[MASK]\":4,\"caf\xC3\xA9\":5,\"fine\":6,\"a\":7,\"##a\":8,"
        "\"!\":9}}}",
        members);
    put_file("tokenizer.json", text);
    free(text);
}

/* The texts of the tokens' ranges, each behind a bar, and behind two where a word begins. */
static void ranges_are(const char *text, const char *expected) {
    km_tokenizer *t = NULL;
    if (km_tokenizer_open(&t, folder) != KM_OK) {
        fail_msg("%s", km_message());
    }
    km_buffer found = print_ranges(t, text, "|", "|", "");
    assert_string_equal(found.data, expected);
    km_buffer_free(&found);
    km_tokenizer_destroy(t);
}

/* Normalizers that make a text longer or shorter do not move the places of its tokens. */
static void ranges_in_the_text(void **state) {
    (void)state;
    put_wordpiece(
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Strip\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"b+\"},\"content\":\"a\"},{\"type\":\"Lowercase\"}]},"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},"
        "{\"type\":\"Punctuation\"}]}");
    ranges_are("  CAFE\xCC\x81 \xEF\xAC\x81ne! ", "||CAFE\xCC\x81||\xEF\xAC\x81ne||!");
    ranges_are("bbb a!", "||bbb||a||!");
    put_wordpiece(
        "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"a\"},\"pre_tokenizer\":{\"type\":\"Whitespace\"}");
    ranges_are("aa a", "||aa|aa|aa||a");
}

static void refused(const char *members, const char *words) {
    km_tokenizer *t = NULL;
    put_wordpiece(members);
    assert_int_equal(km_tokenizer_open(&t, folder), KM_FAILED);
    if (strstr(km_message(), words) == NULL) {
        fail_msg("%s: no \"%s\" in: %s", members, words, km_message());
    }
}

#define SPLIT_MEMBER(pattern)                                                                                      \
    "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern                                      \
    "\"},\"behavior\":\"Isolated\",\"invert\":false}"

static void what_is_not_read_is_a_sentence(void **state) {
    (void)state;
    refused("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}",
            "the normalizer is Precompiled");
    refused("\"normalizer\":{\"type\":\"Nmt\"}", "expected NFC, NFD");
    refused("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}", "the pre_tokenizer is UnicodeScripts");
    refused("\"pre_tokenizer\":{\"type\":\"Sequence\"}", "Sequence without \"pretokenizers\"");
    refused("\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"decoder\":{\"type\":\"CTC\"}", "the decoder is CTC");
    refused("\"pre_tokenizer\":{\"type\":\"Punctuation\",\"behavior\":\"Sometimes\"}",
            "\"Sometimes\", expected one like");
    refused("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"invert\":false}",
            "Split has no pattern");
    refused("\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"ab\"}", "expected one character");
    refused("\"normalizer\":{\"type\":\"Prepend\"}", "Prepend has no \"prepend\"");
    refused(SPLIT_MEMBER("(a+)+$"), "takes more than");
    refused(SPLIT_MEMBER("(a"), "a bracket that is not closed");
    refused(SPLIT_MEMBER("a)"), "a bracket that closes nothing");
    refused(SPLIT_MEMBER("[a"), "a class without an end");
    refused(SPLIT_MEMBER("(a)\\\\1"), "a letter or digit that is not known");
    refused(SPLIT_MEMBER("\\\\p{Klingon}"), "a property that is not known");
    refused(SPLIT_MEMBER("[[:alpha:]]"), "a POSIX class");
    refused(SPLIT_MEMBER("(?x)a"), "a group of this kind");
    refused(SPLIT_MEMBER("*"), "no regular expression");
    refused(SPLIT_MEMBER("a{2}?"), "a question mark behind {n}");
}

static void models_that_are_not_read(void **state) {
    (void)state;
    static const char *const models[][2] = {
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1.0]]}}", "the model is Unigram"},
        {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0}}}", "the model is WordLevel"},
        {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}", "a dropout of 0.1"},
        {"{\"model\":{\"type\":\"BPE\",\"unk_token\":\"x\",\"vocab\":{\"a\":0},\"merges\":[]}}",
         "unk_token \"x\" is not"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", "unk_token"}};
    for (size_t i = 0; i < KM_COUNT(models); i++) {
        km_tokenizer *t = NULL;
        put_file("tokenizer.json", models[i][0]);
        assert_int_equal(km_tokenizer_open(&t, folder), KM_FAILED);
        if (strstr(km_message(), models[i][1]) == NULL) {
            fail_msg("no \"%s\" in: %s", models[i][1], km_message());
        }
    }
}

/* A search that takes too long in some text ends, and the text is still encoded. */
static void endless_searches_end(void **state) {
    (void)state;
    put_wordpiece(SPLIT_MEMBER("(?:q|qq)+\\\\x00"));
    km_tokenizer *t = NULL;
    const km_status status = km_tokenizer_open(&t, folder);
    assert_true(status == KM_OK || strstr(km_message(), "takes more than") != NULL);
    km_tokenizer_destroy(t);
    put_wordpiece(SPLIT_MEMBER("(?:\\\\x{E9}|\\\\x{E9}\\\\x{E9})+z")); /* no run that is tried at opening */
    assert_int_equal(km_tokenizer_open(&t, folder), KM_OK);
    km_buffer text = {0};
    for (int i = 0; i < 3000; i++) {
        km_buffer_add(&text, "\xC3\xA9", 2);
    }
    km_ids ids = {0};
    km_encode(t, text.data, text.size, false, &ids, NULL);
    assert_int_equal(ids.count, 1);
    km_ids_free(&ids);
    km_buffer_free(&text);
    km_tokenizer_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_as_the_reference), cmocka_unit_test(printed_and_saved),
        cmocka_unit_test(ranges_in_the_text),        cmocka_unit_test(what_is_not_read_is_a_sentence),
        cmocka_unit_test(models_that_are_not_read),  cmocka_unit_test(endless_searches_end),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
