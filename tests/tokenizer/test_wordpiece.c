/* WordPiece: ids and decoded text compared with the tokenizers package, vocabularies and their files, and text of any bytes. */
#include "kmask/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenizer/golden.h"

static void lines_as_the_reference_uncased(void **state) {
    (void)state;
    check_golden("uncased");
}

static void lines_as_the_reference_cased(void **state) {
    (void)state;
    check_golden("cased");
}

static void added_tokens_as_the_reference(void **state) {
    (void)state;
    check_golden("added");
    check_golden("added_bpe");
}

static void pieces_and_ids(void **state) {
    (void)state;
    km_tokenizer *t = open_golden("uncased");
    for (int32_t id = 0; id < km_tokenizer_size(t); id++) {
        assert_int_equal(km_tokenizer_id(t, km_tokenizer_piece(t, id)), id);
    }
    assert_null(km_tokenizer_piece(t, -1));
    assert_null(km_tokenizer_piece(t, km_tokenizer_size(t)));
    assert_int_equal(km_tokenizer_id(t, "not a piece"), -1);
    assert_int_equal(km_tokenizer_id(t, ""), -1);
    assert_int_equal(km_tokenizer_id(t, "##"), -1);
    const km_specials s = km_tokenizer_specials(t);
    assert_true(s.pad == 0 && s.unk == 1 && s.cls == 2 && s.sep == 3 && s.mask == 4);
    km_tokenizer_destroy(t);
}

static void decoding_skips_what_it_is_told(void **state) {
    (void)state;
    km_tokenizer *t = open_golden("uncased");
    km_ids ids = {0};
    km_encode(t, "[CLS] it is [MASK] , so .[SEP][PAD]", 35, true, &ids, NULL);
    char *all = km_decode(t, ids.ids, ids.count, false), *some = km_decode(t, ids.ids, ids.count, true);
    assert_string_equal(all, "[CLS] it is [MASK], so. [SEP] [PAD]");
    assert_string_equal(some, "it is, so.");
    const int32_t wild[] = {-1, 1 << 30, km_tokenizer_id(t, "is")};
    char *is = km_decode(t, wild, 3, false), *none = km_decode(t, NULL, 0, false);
    assert_string_equal(is, "is");
    assert_string_equal(none, "");
    free(all);
    free(some);
    free(is);
    free(none);
    km_ids_free(&ids);
    km_tokenizer_destroy(t);
}

/* ---- Where tokens stand in the text --------------------------------------------------------------------- */

/* `expected` has the texts of the tokens' ranges with a bar before and behind each. */
static void ranges_are(const char *name, bool specials, const char *text, size_t count, const char *expected) {
    km_tokenizer *t = open_golden(name);
    km_ids ids = {.ranges = true}, plain = {0};
    km_encode(t, text, count, specials, &ids, NULL);
    km_encode(t, text, count, specials, &plain, NULL);
    assert_int_equal(plain.count, ids.count);
    assert_null(plain.begins);
    km_buffer found = {0};
    km_buffer_add(&found, "|", 1);
    size_t before = 0;
    for (size_t i = 0; i < ids.count; i++) {
        assert_true(ids.begins[i] <= ids.ends[i] && ids.ends[i] <= count && ids.begins[i] >= before);
        if (!ids.starts_word[i]) { /* every token of a word has the range of the whole word */
            assert_int_equal(ids.begins[i], ids.begins[i - 1]);
            assert_int_equal(ids.ends[i], ids.ends[i - 1]);
            continue;
        }
        before = ids.begins[i];
        km_buffer_print(&found, "%.*s|", (int)(ids.ends[i] - ids.begins[i]), text + ids.begins[i]);
    }
    assert_string_equal(found.data, expected);
    km_buffer_free(&found);
    km_ids_free(&ids);
    km_ids_free(&plain);
    km_tokenizer_destroy(t);
}

static void ranges_in_the_text(void **state) {
    (void)state;
    const struct {
        const char *text, *expected;
    } cases[] = {
        {"", "|"},
        {" \n\t ", "|"},
        {"one", "|one|"},
        {"  Don't  stop!", "|Don|'|t|stop|!|"},
        {"cafe\xCC\x81 caf\xC3\xA9.", "|cafe\xCC\x81|caf\xC3\xA9|.|"},
        {"a\xE4\xB8\xAD\xE6\x96\x87z", "|a|\xE4\xB8\xAD|\xE6\x96\x87|z|"},
        {"\xFF ab\xFF c\xC2\xA0"
         "d",
         "|ab\xFF|c|d|"},
        {"x[MASK]yy [SEP]", "|x|[MASK]|yy|[SEP]|"},
    };
    for (size_t i = 0; i < KM_COUNT(cases); i++) {
        ranges_are("uncased", true, cases[i].text, strlen(cases[i].text), cases[i].expected);
        ranges_are("cased", true, cases[i].text, strlen(cases[i].text), cases[i].expected);
    }
    ranges_are("uncased", false, "x[MASK]", 7, "|x|[|MASK|]|");
    const char marks[] = "it CRE\xCC\x80ME\xCC\x81 a", inside[] = "xNEWWORDy a\xE4\xB8\xAD\xE6\x96\x87z";
    ranges_are("added", true, marks, strlen(marks), "|it|CRE\xCC\x80ME\xCC\x81|a|");
    ranges_are("added", false, inside, strlen(inside), "|x|NEWWORD|y|a|\xE4\xB8\xAD\xE6\x96\x87|z|");
    char *endless = km_new(1001, 1);
    memset(endless, 'a', 1000);
    km_tokenizer *t = open_golden("uncased");
    km_ids ids = {.ranges = true};
    km_encode(t, endless, 1000, false, &ids, NULL);
    assert_true(ids.count == 1 && ids.begins[0] == 0 && ids.ends[0] == 1000);
    km_ids_free(&ids);
    km_tokenizer_destroy(t);
    free(endless);
}

/* ---- Any bytes ------------------------------------------------------------------------------------------ */

static size_t random_bytes(km_rng *rng, char *out, size_t limit) {
    static const char pool[] = "aE .,[#MASK]\xC3\xA9\xCC\x81\xE4\xB8\xAD\xF0\x9D\x85\xAD\xFF\x00\x0A\xED\xA0";
    size_t count = km_rng_below(rng, (uint32_t)limit);
    for (size_t i = 0; i < count; i++) {
        bool any = km_rng_below(rng, 4) == 0;
        out[i] = any ? (char)km_rng_below(rng, 256) : pool[km_rng_below(rng, sizeof pool - 1)];
    }
    return count;
}

/* Two texts of any bytes with a space between them give the ids of both, one after the other, and all ids are valid. */
static void any_bytes_are_text(void **state) {
    (void)state;
    km_tokenizer *tokenizers[] = {open_golden("uncased"), open_golden("cased")};
    km_rng rng = km_rng_make(7, KM_RNG_TEST, 0, 0);
    for (int turn = 0; turn < 20000; turn++) {
        const km_tokenizer *t = tokenizers[turn % 2];
        char text[400];
        size_t first = random_bytes(&rng, text, 200);
        text[first] = ' ';
        size_t count = first + 1 + random_bytes(&rng, text + first + 1, 199);
        char *exact = km_new(count, 1); /* so that a sanitizer sees reads beyond the end */
        memcpy(exact, text, count);
        km_ids whole = {0}, parts = {0};
        uint64_t invalid = 0, invalid_parts = 0;
        km_encode(t, exact, count, turn % 3 == 0, &whole, &invalid);
        km_encode(t, exact, first, turn % 3 == 0, &parts, &invalid_parts);
        km_encode(t, exact + first + 1, count - first - 1, turn % 3 == 0, &parts, &invalid_parts);
        assert_int_equal(whole.count, parts.count);
        assert_int_equal(invalid, invalid_parts);
        for (size_t i = 0; i < whole.count; i++) {
            assert_in_range(whole.ids[i], 0, km_tokenizer_size(t) - 1);
            assert_int_equal(whole.ids[i], parts.ids[i]);
            assert_int_equal(whole.starts_word[i], strncmp(km_tokenizer_piece(t, whole.ids[i]), "##", 2) != 0);
        }
        char *decoded = km_decode(t, whole.ids, whole.count, false);
        free(decoded);
        free(exact);
        km_ids_free(&whole);
        km_ids_free(&parts);
    }
    km_tokenizer_destroy(tokenizers[0]);
    km_tokenizer_destroy(tokenizers[1]);
}

static void endless_words_are_unknown(void **state) {
    (void)state;
    km_tokenizer *t = open_golden("uncased");
    const km_specials s = km_tokenizer_specials(t);
    const size_t count = 8 << 20;
    char *text = km_new(count, 1);
    const char *const fills[] = {"a", "\xC3\xA9", "\xF0\x9D\x85\xAD", "\xE4\xB8\xAD", "\xFF", "\x00"};
    const size_t sizes[] = {1, 2, 4, 3, 1, 1};
    for (size_t f = 0; f < KM_COUNT(fills); f++) {
        for (size_t i = 0; i < count; i++) {
            text[i] = fills[f][i % sizes[f]];
        }
        km_ids ids = {0};
        km_encode(t, text, count, false, &ids, NULL);
        const size_t expected[] = {1, 1, 1, count / 3, 0, 0};
        assert_int_equal(ids.count, expected[f]);
        assert_true(f > 2 || ids.ids[0] == s.unk);
        km_ids_free(&ids);
    }
    free(text);
    km_tokenizer_destroy(t);
}

/* ---- Printed and parsed --------------------------------------------------------------------------------- */

static void printed_and_parsed(void **state) {
    (void)state;
    km_tokenizer *uncased = open_golden("uncased"), *cased = open_golden("cased"), *again = NULL;
    char *text = km_tokenizer_print(cased);
    assert_int_equal(km_tokenizer_parse(&again, text, strlen(text), "print"), KM_OK);
    char *second = km_tokenizer_print(again);
    assert_string_equal(text, second);
    assert_true(km_hash_equal(km_tokenizer_hash(cased), km_tokenizer_hash(again)));
    assert_false(km_hash_equal(km_tokenizer_hash(cased), km_tokenizer_hash(uncased)));
    char *lower = strstr(second, "\"lowercase\":false");
    assert_non_null(lower);
    memcpy(lower, "\"lowercase\": true", 17);
    km_tokenizer *other = NULL;
    assert_int_equal(km_tokenizer_parse(&other, second, strlen(second), "print"), KM_OK);
    assert_false(km_hash_equal(km_tokenizer_hash(cased), km_tokenizer_hash(other)));
    free(text);
    free(second);
    km_tokenizer_destroy(uncased);
    km_tokenizer_destroy(cased);
    km_tokenizer_destroy(again);
    km_tokenizer_destroy(other);
}

#define HEAD "{\"type\":\"wordpiece\",\"lowercase\":true,\"strip_accents\":true,\"chinese\":true,"
#define IDS "\"specials\":{\"pad\":0,\"unk\":1,\"cls\":2,\"sep\":3,\"mask\":4},"
#define VOCAB "\"vocab\":[\"[PAD]\",\"[UNK]\",\"[CLS]\",\"[SEP]\",\"[MASK]\",\"a\",\"##b\"]"

static void bad_json_is_a_sentence(void **state) {
    (void)state;
    const struct {
        const char *json, *says;
    } cases[] = {
        {"[]", "type"},
        {"{\"type\":\"unigram\"}", "unigram"},
        {"{\"type\":\"wordpiece\",\"lowercase\":1}", "lowercase"},
        {HEAD "\"vocab\":5}", "vocab"},
        {HEAD "\"vocab\":[]}", "no pieces"},
        {HEAD "\"vocab\":[\"a\",7]}", "piece 1"},
        {HEAD "\"vocab\":[\"a\",\"\"]}", "piece 1"},
        {HEAD "\"vocab\":[\"a\",\"b\\nc\"]}", "line end"},
        {HEAD "\"vocab\":[\"a\",\"a\"]}", "twice"},
        {HEAD "\"vocab\":[\"a\",\"\xFF\"]}", "UTF-8"},
        {HEAD "\"vocab\":[\"a\",\"b\"]}", "[MASK]"},
        {HEAD VOCAB "}", "specials"},
        {HEAD "\"specials\":{\"pad\":1,\"unk\":1,\"cls\":2,\"sep\":3,\"mask\":4}," VOCAB "}", "pad"},
    };
    km_tokenizer *t = NULL;
    for (size_t i = 0; i < KM_COUNT(cases); i++) {
        assert_int_equal(km_tokenizer_parse(&t, cases[i].json, strlen(cases[i].json), "file"), KM_FAILED);
        assert_null(t);
        if (strstr(km_message(), cases[i].says) == NULL || strncmp(km_message(), "file: ", 6) != 0) {
            fail_msg("\"%s\" does not say %s", km_message(), cases[i].says);
        }
    }
    const char *whole = HEAD IDS VOCAB "}";
    for (size_t count = 0; count < strlen(whole); count++) {
        char *cut = km_new(count, 1);
        memcpy(cut, whole, count);
        assert_int_equal(km_tokenizer_parse(&t, cut, count, "cut"), KM_FAILED);
        free(cut);
    }
    assert_int_equal(km_tokenizer_parse(&t, whole, strlen(whole), "whole"), KM_OK);
    km_tokenizer_destroy(t);
}

/* ---- Folders -------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/kmask-text-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
    (void)state;
    const char *const names[] = {"vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        char *path = km_format("%s/%s", folder, names[i]);
        unlink(path);
        free(path);
    }
    return rmdir(folder);
}

static void put(const char *name, const char *text, size_t count) {
    char *path = km_format("%s/%s", folder, name);
    assert_int_equal(km_file_replace(path, text, count), KM_OK);
    free(path);
}

static void put_vocab(const char *text) {
    put("vocab.txt", text, strlen(text));
}

static void refused(const char *says) {
    km_tokenizer *t = NULL;
    assert_int_equal(km_tokenizer_open(&t, folder), KM_FAILED);
    assert_null(t);
    if (strstr(km_message(), says) == NULL) {
        fail_msg("\"%s\" does not say %s", km_message(), says);
    }
}

#define NAMES "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

static void bad_folders_are_sentences(void **state) {
    (void)state;
    km_tokenizer *t = NULL;
    assert_int_equal(km_tokenizer_open(&t, "/does/not/exist"), KM_FAILED);
    assert_non_null(strstr(km_message(), "/does/not/exist"));
    refused("no vocab.txt");
    put_vocab("");
    refused("no pieces");
    put_vocab("[PAD]\n[UNK]\n[CLS]\na\n");
    refused("no [SEP], [MASK] among");
    put_vocab(NAMES "\xC3\n");
    refused("piece 5 is not valid UTF-8");
    put_vocab(NAMES "a\rb\n");
    refused("piece 5 holds a line end");
    put("vocab.txt", NAMES "a\0b\n", sizeof NAMES + 3);
    refused("NUL");
    put_vocab(NAMES "a\n");
    const char *const configs[][2] = {{"{", "not valid JSON"},
                                      {"[1]", "not a JSON object"},
                                      {"{\"do_lower_case\": \"yes\"}", "\"do_lower_case\""},
                                      {"{\"strip_accents\": 1}", "\"strip_accents\""},
                                      {"{\"tokenize_chinese_chars\": []}", "\"tokenize_chinese_chars\""}};
    for (size_t i = 0; i < KM_COUNT(configs); i++) {
        put("tokenizer_config.json", configs[i][0], strlen(configs[i][0]));
        refused(configs[i][1]);
    }
    put("tokenizer_config.json", "{}", 2);
    assert_int_equal(km_tokenizer_open(&t, folder), KM_OK);
    km_tokenizer_destroy(t);
}

static void vocabularies_cut_anywhere(void **state) {
    (void)state;
    const char *whole = NAMES "a\n##b\n\xC3\xA9\r\n\xE4\xB8\xAD\n##\xF0\x9F\x98\x80\r\nword\n";
    for (size_t count = 0; count <= strlen(whole); count++) {
        put("vocab.txt", whole, count);
        km_tokenizer *t = NULL;
        km_status status = km_tokenizer_open(&t, folder);
        assert_true((status == KM_OK) == (t != NULL));
        assert_true(status == KM_OK || count < strlen(whole));
        km_tokenizer_destroy(t);
    }
}

static void line_ends_do_not_matter(void **state) {
    (void)state;
    km_tokenizer *unix_ends = NULL, *dos_ends = NULL;
    put_vocab(NAMES "a\n##b");
    assert_int_equal(km_tokenizer_open(&unix_ends, folder), KM_OK);
    put_vocab("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\na\r\n##b\r\n");
    assert_int_equal(km_tokenizer_open(&dos_ends, folder), KM_OK);
    assert_int_equal(km_tokenizer_size(dos_ends), 7);
    assert_true(km_hash_equal(km_tokenizer_hash(unix_ends), km_tokenizer_hash(dos_ends)));
    km_tokenizer_destroy(unix_ends);
    km_tokenizer_destroy(dos_ends);
}

static void saved_and_opened(void **state) {
    (void)state;
    const char *const names[] = {"uncased", "cased"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        km_tokenizer *t = open_golden(names[i]), *again = NULL;
        assert_int_equal(km_tokenizer_save(t, folder), KM_OK);
        assert_int_equal(km_tokenizer_open(&again, folder), KM_OK);
        assert_true(km_hash_equal(km_tokenizer_hash(t), km_tokenizer_hash(again)));
        km_tokenizer_destroy(t);
        km_tokenizer_destroy(again);
    }
}

/* Accents are stripped exactly if text is lower-cased, unless strip_accents says otherwise. */
static void accents_follow_the_case(void **state) {
    (void)state;
    put_vocab(NAMES "e\n\xC3\xA9\n\xC3\x89\nE\n\xE4\xB8\xAD\xE4\xB8\xAD\n\xE4\xB8\xAD\n");
    const struct {
        const char *config;
        const char *pieces; /* of É 中中 */
    } cases[] = {{"{}", "e \xE4\xB8\xAD \xE4\xB8\xAD"},
                 {"{\"do_lower_case\": false}", "\xC3\x89 \xE4\xB8\xAD \xE4\xB8\xAD"},
                 {"{\"do_lower_case\": true, \"strip_accents\": null}", "e \xE4\xB8\xAD \xE4\xB8\xAD"},
                 {"{\"strip_accents\": false}", "\xC3\xA9 \xE4\xB8\xAD \xE4\xB8\xAD"},
                 {"{\"do_lower_case\": false, \"strip_accents\": true}", "E \xE4\xB8\xAD \xE4\xB8\xAD"},
                 {"{\"tokenize_chinese_chars\": false}", "e \xE4\xB8\xAD\xE4\xB8\xAD"}};
    for (size_t i = 0; i < KM_COUNT(cases); i++) {
        put("tokenizer_config.json", cases[i].config, strlen(cases[i].config));
        km_tokenizer *t = NULL;
        assert_int_equal(km_tokenizer_open(&t, folder), KM_OK);
        km_ids ids = {0};
        const char *text = "\xC3\x89 \xE4\xB8\xAD\xE4\xB8\xAD";
        km_encode(t, text, strlen(text), false, &ids, NULL);
        char *pieces = km_decode(t, ids.ids, ids.count, false);
        assert_string_equal(pieces, cases[i].pieces);
        free(pieces);
        km_ids_free(&ids);
        km_tokenizer_destroy(t);
    }
    put("tokenizer_config.json", "{}", 2);
}

#define MODEL "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":1,\"[PAD]\":0,\"[CLS]\":2,\"[SEP]\":3,"
#define NORMALIZER_MEMBER                                                                                          \
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":false,\"strip_accents\":null},"                     \
    "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
#define NORMALIZER "{" NORMALIZER_MEMBER

static void put_whole(const char *text) {
    put("tokenizer.json", text, strlen(text));
}

/* A folder without vocab.txt. */
static void tokenizer_json_is_read(void **state) {
    (void)state;
    char *vocab = km_format("%s/vocab.txt", folder);
    unlink(vocab);
    put_whole("[]");
    refused("the model is not there");
    put_whole(NORMALIZER "\"model\":{\"type\":\"Unigram\"}}");
    refused("the model is Unigram, which is not supported");
    put_whole(NORMALIZER MODEL "\"[MASK]\":-5}}}");
    refused("the id of piece \"[MASK]\" is not a whole number from 0");
    put_whole(NORMALIZER MODEL "\"[MASK]\":3}}}");
    refused("the same id");
    put_whole(NORMALIZER MODEL "\"[MASK]\":\"4\"}}}");
    refused("[MASK]");
    const char *good = NORMALIZER MODEL "\"[MASK]\":4,\"b\":6,\"a\":5}}}";
    for (size_t count = 1; count < strlen(good); count++) {
        put("tokenizer.json", good, count);
        refused("tokenizer.json");
    }
    put_whole(good);
    km_tokenizer *whole = NULL, *lines = NULL;
    assert_int_equal(km_tokenizer_open(&whole, folder), KM_OK);
    put_vocab(NAMES "a\nb\n");
    put("tokenizer_config.json", "{\"do_lower_case\": false}", 24);
    assert_int_equal(km_tokenizer_open(&lines, folder), KM_OK);
    assert_true(km_hash_equal(km_tokenizer_hash(whole), km_tokenizer_hash(lines)));
    km_tokenizer_destroy(whole);
    km_tokenizer_destroy(lines);
    /* The added tokens of tokenizer.json count even if the other files give every setting. */
    const char config[] = "{\"do_lower_case\": false, \"mask_token\": \"[MASK]\"}";
    put("tokenizer_config.json", config, strlen(config));
    put_whole("{\"added_tokens\":[{\"id\":7,\"content\":\"ab\"}]," NORMALIZER_MEMBER MODEL
              "\"[MASK]\":4,\"b\":6,\"a\":5}}}");
    assert_int_equal(km_tokenizer_open(&lines, folder), KM_OK);
    assert_int_equal(km_tokenizer_id(lines, "ab"), 7);
    km_tokenizer_destroy(lines);
    free(vocab);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_as_the_reference_uncased),
        cmocka_unit_test(lines_as_the_reference_cased),
        cmocka_unit_test(added_tokens_as_the_reference),
        cmocka_unit_test(pieces_and_ids),
        cmocka_unit_test(decoding_skips_what_it_is_told),
        cmocka_unit_test(ranges_in_the_text),
        cmocka_unit_test(any_bytes_are_text),
        cmocka_unit_test(endless_words_are_unknown),
        cmocka_unit_test(printed_and_parsed),
        cmocka_unit_test(bad_json_is_a_sentence),
        cmocka_unit_test(bad_folders_are_sentences),
        cmocka_unit_test(vocabularies_cut_anywhere),
        cmocka_unit_test(line_ends_do_not_matter),
        cmocka_unit_test(accents_follow_the_case),
        cmocka_unit_test(tokenizer_json_is_read),
        cmocka_unit_test(saved_and_opened),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
