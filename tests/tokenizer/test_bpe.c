/* Byte-level BPE: ids compared with the tokenizers package, its files, and text of any bytes. */
#include "bpe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenizer/golden.h"

static void lines_as_the_reference(void **state) {
    (void)state;
    check_golden("bpe");
}

static void lines_behind_a_space(void **state) {
    (void)state;
    check_golden("bpe_spaced");
}

static void bytes_and_their_characters(void **state) {
    (void)state;
    int bytes = 0;
    for (uint32_t code = 0; code < 0x1000; code++) {
        int byte = km_char_byte(code);
        assert_true(byte < 256);
        if (byte >= 0) {
            assert_int_equal(km_byte_char((uint8_t)byte), code);
            bytes++;
        }
    }
    assert_int_equal(bytes, 256);
    assert_int_equal(km_byte_char(' '), 0x120);
    assert_int_equal(km_byte_char('\n'), 0x10A);
    assert_int_equal(km_byte_char(0xAD), 0x143);
}

/* ---- Where tokens stand --------------------------------------------------------------------------------- */

/* `expected` has the texts of the tokens' ranges with a bar before and behind each, and two bars between words. */
static void ranges_are(const char *name, const char *text, const char *expected) {
    km_tokenizer *t = open_golden(name);
    km_buffer found = print_ranges(t, text, "|", "", "|");
    assert_string_equal(found.data, expected);
    km_buffer_free(&found);
    km_tokenizer_destroy(t);
}

static void ranges_in_the_text(void **state) {
    (void)state;
    const char *const names[] = {"bpe", "bpe_spaced"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        ranges_are(names[i], "", "");
        ranges_are(names[i], " and the.", "|and||the||.|");
        ranges_are(names[i], " the <mask> of", "|the||<mask>||of|");
    }
    ranges_are("bpe", "the world.", "|th|e||wor|ld||.|");
    ranges_are("bpe_spaced", "the world.", "|the||wor|ld||.|");
    ranges_are("bpe", "zqzq", "|z|q|z|q|");
    ranges_are("bpe", " the \xC3\x9F", "|the||\xC3|\x9F|");
    ranges_are("bpe", "a\xFF", "|a||\xFF|\xFF|\xFF|"); /* U+FFFD has three bytes */
    ranges_are("bpe_spaced", "zq", "||z|q|"); /* the space that prefix_space adds has no bytes in the text */
    ranges_are("bpe_spaced", "\tzq", "|||\t||z|q|");
}

/* ---- Any bytes ------------------------------------------------------------------------------------------ */

static km_buffer mended(const char *text, size_t count) {
    km_buffer out = {0};
    km_buffer_add(&out, "", 0);
    for (const char *at = text, *end = text + count; at < end;) {
        const char *from = at;
        bool good = km_utf8_next(&at, end) >= 0;
        km_buffer_add(&out, good ? from : "\xEF\xBF\xBD", good ? (size_t)(at - from) : 3);
    }
    return out;
}

/* Encoding and decoding gives any bytes back, with U+FFFD for invalid sequences. */
static void any_bytes_come_back(void **state) {
    (void)state;
    static const char pool[] = "aE  .,'sll<mask>\t\xC3\xA9\xCC\x81\xE4\xB8\xAD\xF0\x9F\x98\x80\xFF\x00\x0A\xED\xA0";
    km_tokenizer *t = open_golden("bpe");
    km_rng rng = km_rng_make(11, KM_RNG_TEST, 0, 0);
    for (int turn = 0; turn < 4000; turn++) {
        size_t count = km_rng_below(&rng, turn % 50 == 0 ? 5000 : 60);
        char *bytes = km_new(count, 1);
        for (size_t i = 0; i < count; i++) {
            bool any = km_rng_below(&rng, 8) == 0;
            bytes[i] = any ? (char)km_rng_below(&rng, 256) : pool[km_rng_below(&rng, sizeof pool - 1)];
        }
        km_ids ids = {.ranges = turn % 2 == 0};
        km_encode(t, bytes, count, false, &ids, NULL);
        for (size_t i = 0; i < ids.count; i++) {
            assert_in_range(ids.ids[i], 0, km_tokenizer_size(t) - 1);
            assert_true(!ids.ranges || (ids.begins[i] <= ids.ends[i] && ids.ends[i] <= count));
        }
        km_buffer decoded = {0}, expected = mended(bytes, count);
        km_decode_to(&decoded, t, ids.ids, ids.count, false);
        assert_int_equal(decoded.size, expected.size);
        assert_memory_equal(decoded.data, expected.data, expected.size);
        km_buffer_free(&decoded);
        km_buffer_free(&expected);
        free(bytes);
        km_ids_free(&ids);
    }
    km_tokenizer_destroy(t);
}

/* A word that is merged in many windows has the same pieces as if it were merged at once. */
static void windows_do_not_show(void **state) {
    (void)state;
    km_tokenizer *t = open_golden("bpe");
    km_rng rng = km_rng_make(12, KM_RNG_TEST, 0, 0);
    static const char *const pools[] = {"a", "ab", "theandof", "abcdefghijklmnopqrstuvwxyz"};
    for (size_t p = 0; p < KM_COUNT(pools); p++) {
        const size_t count = 300000 + p;
        char *text = km_new(count, 1);
        for (size_t i = 0; i < count; i++) {
            text[i] = pools[p][km_rng_below(&rng, (uint32_t)strlen(pools[p]))];
        }
        int32_t *whole = km_new(count, sizeof *whole);
        uint32_t *sizes = km_new(count, sizeof *sizes);
        size_t expected = km_bpe_merge(t, text, count, whole, sizes);
        km_ids ids = {0};
        km_encode(t, text, count, false, &ids, NULL);
        assert_int_equal(ids.count, expected);
        assert_memory_equal(ids.ids, whole, expected * sizeof *whole);
        assert_true(ids.starts_word[0] == 1 && ids.starts_word[1] == 0);
        km_ids_free(&ids);
        free(whole);
        free(sizes);
        free(text);
    }
    km_tokenizer_destroy(t);
}

/* There is one algorithm for few symbols and one for many; both give the same pieces. */
static void both_ways_of_merging_agree(void **state) {
    (void)state;
    km_tokenizer *t = open_golden("bpe");
    km_rng rng = km_rng_make(13, KM_RNG_TEST, 0, 0);
    for (int turn = 0; turn < 500; turn++) {
        char text[2 * KM_MERGE_SCAN];
        int32_t few[KM_MERGE_SCAN], many[2 * KM_MERGE_SCAN];
        uint32_t few_sizes[KM_MERGE_SCAN], many_sizes[2 * KM_MERGE_SCAN];
        for (size_t i = 0; i < sizeof text; i++) {
            text[i] = "theandofin"[km_rng_below(&rng, 10)];
        }
        /* This byte merges with nothing, so what stands behind it cannot change the pieces before it. */
        text[KM_MERGE_SCAN] = '\x01';
        size_t count = km_bpe_merge(t, text, KM_MERGE_SCAN, few, few_sizes);
        km_bpe_merge(t, text, sizeof text, many, many_sizes);
        assert_memory_equal(few, many, count * sizeof *few);
        assert_memory_equal(few_sizes, many_sizes, count * sizeof *few_sizes);
    }
    km_tokenizer_destroy(t);
}

static void endless_texts(void **state) {
    (void)state;
    km_tokenizer *t = open_golden("bpe");
    const char *const fills[] = {"a", " ", "\xC3\xA9", "\xF0\x9F\x98\x80", "\xFF", "\x00", "'", "1"};
    const size_t sizes[] = {1, 1, 2, 4, 1, 1, 1, 1}, count = 2 << 20;
    char *text = km_new(count, 1);
    for (size_t f = 0; f < KM_COUNT(fills); f++) {
        for (size_t i = 0; i < count; i++) {
            text[i] = fills[f][i % sizes[f]];
        }
        km_ids ids = {0};
        km_encode(t, text, count, false, &ids, NULL);
        size_t words = 0;
        for (size_t i = 0; i < ids.count; i++) {
            words += ids.starts_word[i];
        }
        assert_int_equal(words, 1);
        km_ids_free(&ids);
    }
    free(text);
    km_tokenizer_destroy(t);
}

/* ---- Files ---------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/kmask-bpe-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL;
}

static void clear_folder(void) {
    const char *const names[] = {"vocab.txt",
                                 "vocab.json",
                                 "merges.txt",
                                 "encoder.json",
                                 "vocab.bpe",
                                 "config.json",
                                 "tokenizer.json",
                                 "tokenizer_config.json",
                                 "special_tokens_map.json",
                                 "added_tokens.json"};
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

static void put(const char *name, const char *text) {
    char *path = km_format("%s/%s", folder, name);
    assert_int_equal(km_file_replace(path, text, strlen(text)), KM_OK);
    free(path);
}

static km_tokenizer *opened(void) {
    km_tokenizer *t = NULL;
    if (km_tokenizer_open(&t, folder) != KM_OK) {
        fail_msg("%s", km_message());
    }
    return t;
}

static void refused(const char *says) {
    km_tokenizer *t = NULL;
    if (km_tokenizer_open(&t, folder) != KM_FAILED) {
        fail_msg("opened, expected: %s", says);
    }
    assert_null(t);
    if (strstr(km_message(), says) == NULL) {
        fail_msg("\"%s\" does not say %s", km_message(), says);
    }
}

/* Compares the pieces of a text, with spaces between them. */
static void encodes_to(const km_tokenizer *t, const char *text, const char *expected) {
    km_ids ids = {0};
    km_encode(t, text, strlen(text), true, &ids, NULL);
    km_buffer found = {0};
    km_buffer_add(&found, "", 0);
    for (size_t i = 0; i < ids.count; i++) {
        km_buffer_print(&found, "%s%s", i > 0 ? " " : "", km_tokenizer_piece(t, ids.ids[i]));
    }
    assert_string_equal(found.data, expected);
    km_buffer_free(&found);
    km_ids_free(&ids);
}

static bool same_hash(const km_tokenizer *a, const km_tokenizer *b) {
    return km_hash_equal(km_tokenizer_hash(a), km_tokenizer_hash(b));
}

#define SPACE "\xC4\xA0" /* U+0120 */
#define VOCAB                                                                                                      \
    "{\"<s>\":0,\"<pad>\":1,\"</s>\":2,\"<unk>\":3,\"a\":4,\"b\":5,\"" SPACE "\":6,\"ab\":7,\"" SPACE "ab\":8"
#define MERGES "#version: 0.2\na b\n" SPACE " ab\n"

static void special_tokens_by_any_file(void **state) {
    (void)state;
    clear_folder();
    put("vocab.json", VOCAB ",\"<mask>\":9}");
    put("merges.txt", MERGES);
    km_tokenizer *bare = opened();
    const km_specials s = km_tokenizer_specials(bare);
    assert_true(s.cls == 0 && s.pad == 1 && s.sep == 2 && s.unk == 3 && s.mask == 9);
    encodes_to(bare, "ab  <mask> ab</s>ba", "ab <mask> " SPACE "ab </s> b a");
    const struct {
        const char *file, *text;
        bool same;
    } cases[] = {
        {"special_tokens_map.json", "{\"mask_token\":{\"content\":\"<mask>\",\"lstrip\":true}}", true},
        {"special_tokens_map.json", "{\"mask_token\":\"<mask>\",\"cls_token\":\"<s>\"}", true},
        {"special_tokens_map.json", "{\"mask_token\":{\"content\":\"<mask>\",\"lstrip\":false}}", false},
        {"special_tokens_map.json", "{\"cls_token\":\"</s>\"}", false},
        {"special_tokens_map.json", "{\"cls_token\":\"<other>\"}", true}, /* not in the vocabulary */
        {"tokenizer_config.json", "{\"mask_token\":\"<mask>\",\"add_prefix_space\":false}", true},
        {"tokenizer_config.json", "{\"add_prefix_space\":true}", false},
        {"tokenizer_config.json",
         "{\"added_tokens_decoder\":{\"9\":{\"content\":\"<mask>\",\"lstrip\":true,"
         "\"special\":true}}}",
         true},
        {"tokenizer_config.json", "{\"additional_special_tokens\":[\"ba\"]}", true}, /* not in the vocabulary */
        {"tokenizer_config.json", "{\"additional_special_tokens\":[\"ab\"]}", false},
        {"added_tokens.json", "{\"new\":10}", false},
        {"config.json", "{\"model_type\":\"roberta\"}", true},
    };
    for (size_t i = 0; i < KM_COUNT(cases); i++) {
        put(cases[i].file, cases[i].text);
        km_tokenizer *t = opened();
        if (same_hash(bare, t) != cases[i].same) {
            fail_msg("%s %s", cases[i].file, cases[i].text);
        }
        km_tokenizer_destroy(t);
        char *path = km_format("%s/%s", folder, cases[i].file);
        unlink(path);
        free(path);
    }
    put("added_tokens.json", "{\"new\":10}");
    km_tokenizer *more = opened();
    assert_int_equal(km_tokenizer_size(more), 11);
    encodes_to(more, "abnewab", "ab new ab");
    km_tokenizer_destroy(more);
    km_tokenizer_destroy(bare);
}

/* GPT-2's vocabulary has no special tokens. It can be opened and encodes text, and km_tokenizer_can_mask names what it lacks. */
static void without_special_tokens(void **state) {
    (void)state;
    clear_folder();
    put("encoder.json", "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}");
    put("vocab.bpe", "#version: 0.2\na b\n");
    km_tokenizer *t = opened();
    encodes_to(t, "abba<|endoftext|>", "ab b a <|endoftext|>");
    encodes_to(t, "a c b", "a b"); /* bytes without a piece */
    assert_int_equal(km_tokenizer_can_mask(t, "tok"), KM_FAILED);
    assert_non_null(
        strstr(km_message(), "tok: the vocabulary has no <pad> (pad), <s> (cls), </s> (sep), <mask> (mask)"));
    km_tokenizer_destroy(t);
    t = open_golden("bpe");
    assert_int_equal(km_tokenizer_can_mask(t, "tok"), KM_OK);
    km_tokenizer_destroy(t);
}

static void bad_folders_are_sentences(void **state) {
    (void)state;
    clear_folder();
    put("vocab.json", VOCAB "}");
    refused("vocab.json without merges.txt");
    put("merges.txt", "a\n");
    refused("line 1 is \"a\"");
    put("merges.txt", "a b c\n");
    refused("expected two pieces");
    put("merges.txt", "a c\n");
    refused("the second is not in the vocabulary");
    put("merges.txt", "b a\n");
    refused("what they make together is not");
    put("merges.txt", MERGES);
    put("vocab.json", "[]");
    refused("no vocabulary here");
    put("vocab.json", "{\"a\":-1}");
    refused("the id of piece \"a\"");
    put("vocab.json", "{\"a\":0,\"b</w>\":1}");
    refused("1 pieces end in </w>");
    put("vocab.json", "{\"a\":0,\"b\":0}");
    refused("the same id");
    put("vocab.json", "{}");
    refused("merge 1");
    put("merges.txt", "");
    refused("no pieces");
    put("vocab.json", VOCAB "}");
    const char *const configs[][2] = {{"{\"add_prefix_space\":1}", "\"add_prefix_space\" is not true or false"},
                                      {"{\"mask_token\":7}", "\"mask_token\" is not a token"},
                                      {"{\"mask_token\":{}}", "no \"content\""},
                                      {"{\"added_tokens_decoder\":{\"x\":{\"content\":\"a\"}}}", "expected an id"},
                                      {"{\"added_tokens_decoder\":{\"9\":{\"content\":\"n\",\"single_word\":1}}}",
                                       "\"single_word\" is not true or false"}};
    for (size_t i = 0; i < KM_COUNT(configs); i++) {
        put("tokenizer_config.json", configs[i][0]);
        refused(configs[i][1]);
    }
}

/* An added token has the id of its piece, or else the next one that is free, whatever id files say. */
static void ids_of_added_tokens(void **state) {
    (void)state;
    clear_folder();
    put("vocab.json", VOCAB "}");
    put("merges.txt", MERGES);
    put("tokenizer_config.json",
        "{\"added_tokens_decoder\":{\"5000000\":{\"content\":\"far\"},\"1\":{\"content\":\"a\"},"
        "\"50\":{\"content\":\"n\"},\"050\":{\"content\":\"m\"}}}");
    km_tokenizer *t = opened();
    const int32_t size = km_tokenizer_size(t);
    const char *const names[] = {"n", "m", "far"};
    for (int32_t i = 0; i < 3; i++) {
        assert_int_equal(km_tokenizer_id(t, names[i]), size - 3 + i);
    }
    assert_true(km_tokenizer_id(t, "a") < size - 3);
    km_tokenizer_destroy(t);
}

#define JSON_HEAD "{\"added_tokens\":[{\"id\":9,\"content\":\"<mask>\",\"lstrip\":true,\"special\":true}],"
#define JSON_PARTS                                                                                                 \
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"                   \
    "\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"</s>\",2],\"cls\":[\"<s>\",0]},"                \
    "\"decoder\":{\"type\":\"ByteLevel\"},"
#define JSON_MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":" VOCAB ",\"<mask>\":9}"

static void tokenizer_json_is_read(void **state) {
    (void)state;
    clear_folder();
    put("vocab.json", VOCAB ",\"<mask>\":9}");
    put("merges.txt", MERGES);
    km_tokenizer *classic = opened();
    clear_folder();
    const char *const merges[] = {"[\"a b\",\"" SPACE " ab\"]", "[[\"a\",\"b\"],[\"" SPACE "\",\"ab\"]]"};
    for (size_t i = 0; i < KM_COUNT(merges); i++) {
        char *text = km_format("%s%s%s,\"merges\":%s}}", JSON_HEAD, JSON_PARTS, JSON_MODEL, merges[i]);
        for (size_t count = 0; count < strlen(text); count += 7) {
            char *cut = km_format("%.*s", (int)count, text);
            put("tokenizer.json", cut);
            refused("tokenizer.json");
            free(cut);
        }
        put("tokenizer.json", text);
        km_tokenizer *whole = opened();
        assert_true(same_hash(classic, whole));
        encodes_to(whole, "ab <mask> ab", "ab <mask> " SPACE "ab");
        km_tokenizer_destroy(whole);
        free(text);
    }
    const char *const bad[][2] = {
        {"\"normalizer\":{\"type\":\"Nmt\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},", "Nmt"},
        {"\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"},", "UnicodeScripts"},
        {"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Figures\"}]},", "Figures"},
        {"\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"CTC\"},", "CTC"},
        {"\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"post_processor\":{\"type\":\"Other\"},", "Other"}};
    for (size_t i = 0; i < KM_COUNT(bad); i++) {
        char *text = km_format("{%s%s,\"merges\":[]}}", bad[i][0], JSON_MODEL);
        put("tokenizer.json", text);
        refused(bad[i][1]);
        free(text);
    }
    const char *const models[][2] = {{"\"dropout\":0.1", "dropout"},
                                     {"\"merges\":[\"a\"]", "merge 1"},
                                     {"\"merges\":[[\"a\"]]", "merge 1"},
                                     {"\"merges\":3", "no list of merges"}};
    for (size_t i = 0; i < KM_COUNT(models); i++) {
        char *text = km_format("{%s%s,\"merges\":[],%s}}", JSON_PARTS, JSON_MODEL, models[i][0]);
        put("tokenizer.json", text);
        refused(models[i][1]);
        free(text);
    }
    km_tokenizer_destroy(classic);
}

static void printed_saved_and_read_again(void **state) {
    (void)state;
    const char *const names[] = {"bpe", "bpe_spaced", "cased", "uncased"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        clear_folder();
        km_tokenizer *t = open_golden(names[i]), *parsed = NULL;
        char *text = km_tokenizer_print(t);
        assert_int_equal(km_tokenizer_parse(&parsed, text, strlen(text), "print"), KM_OK);
        assert_true(same_hash(t, parsed));
        char *second = km_tokenizer_print(parsed);
        assert_string_equal(text, second);
        assert_int_equal(km_tokenizer_save(parsed, folder), KM_OK);
        km_tokenizer *saved = opened();
        assert_true(same_hash(t, saved));
        const char *const classic[] = {"vocab.txt", "vocab.json", "merges.txt", "tokenizer_config.json",
                                       "special_tokens_map.json"};
        for (size_t k = 0; k < KM_COUNT(classic); k++) {
            char *path = km_format("%s/%s", folder, classic[k]);
            unlink(path);
            free(path);
        }
        km_tokenizer *whole = opened();
        assert_true(same_hash(t, whole));
        free(text);
        free(second);
        km_tokenizer_destroy(whole);
        km_tokenizer_destroy(saved);
        km_tokenizer_destroy(parsed);
        km_tokenizer_destroy(t);
    }
}

/* With classic files of the vocabulary and no other file but tokenizer.json, settings that decide ids come from
 * tokenizer.json. */
static void bare_files_are_completed(void **state) {
    (void)state;
    const char *const names[] = {"bpe_spaced", "cased"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        clear_folder();
        km_tokenizer *t = open_golden(names[i]);
        assert_int_equal(km_tokenizer_save(t, folder), KM_OK);
        put("tokenizer_config.json", "{}");
        put("special_tokens_map.json", "{}");
        km_tokenizer *completed = opened();
        assert_true(same_hash(t, completed));
        km_tokenizer_destroy(completed);
        km_tokenizer_destroy(t);
    }
}

static void bad_prints_are_sentences(void **state) {
    (void)state;
    const struct {
        const char *json, *says;
    } cases[] = {
        {"{\"type\":\"bpe\"}", "vocab"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"]}", "merges"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[0]}", "pairs of ids"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[0,1]}", "pairs of ids"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[0,0]}", "merge 1"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[],\"unknown_byte\":1}", "unknown_byte"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[],\"added\":[{}]}", "id"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[],\"added\":[]}", "pad"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[],\"added\":[],\"specials\":{\"pad\":-1,\"unk\":-1,"
         "\"cls\":-1,\"sep\":-1,\"mask\":-1},\"model_size\":2}",
         "model_size"},
    };
    for (size_t i = 0; i < KM_COUNT(cases); i++) {
        km_tokenizer *t = NULL;
        assert_int_equal(km_tokenizer_parse(&t, cases[i].json, strlen(cases[i].json), "print"), KM_FAILED);
        assert_null(t);
        if (strstr(km_message(), cases[i].says) == NULL) {
            fail_msg("\"%s\" does not say %s", km_message(), cases[i].says);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_as_the_reference),     cmocka_unit_test(lines_behind_a_space),
        cmocka_unit_test(bytes_and_their_characters), cmocka_unit_test(ranges_in_the_text),
        cmocka_unit_test(any_bytes_come_back),        cmocka_unit_test(windows_do_not_show),
        cmocka_unit_test(both_ways_of_merging_agree), cmocka_unit_test(endless_texts),
        cmocka_unit_test(special_tokens_by_any_file), cmocka_unit_test(without_special_tokens),
        cmocka_unit_test(bad_folders_are_sentences),  cmocka_unit_test(ids_of_added_tokens),
        cmocka_unit_test(tokenizer_json_is_read),     cmocka_unit_test(printed_saved_and_read_again),
        cmocka_unit_test(bare_files_are_completed),   cmocka_unit_test(bad_prints_are_sentences),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
