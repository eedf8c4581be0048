/* Compares ids and decoded text with those of the tokenizers package, which tools/golden_wordpiece.py, golden_bpe.py,
 * golden_added.py and golden_steps.py have written to golden/<name>/lines.txt. */
#ifndef KM_TEST_TOKENIZER_GOLDEN_H
#define KM_TEST_TOKENIZER_GOLDEN_H

#include "kmask/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static km_tokenizer *open_golden(const char *name) {
    char *folder = km_format("%s/%s", TEST_DATA, name);
    km_tokenizer *tokenizer = NULL;
    if (km_tokenizer_open(&tokenizer, folder) != KM_OK) {
        fail_msg("%s", km_message());
    }
    free(folder);
    return tokenizer;
}

/* The texts of the tokens' ranges, each between `before` and `after`, and behind `word` where a word begins. The caller frees. */
static inline km_buffer print_ranges(const km_tokenizer *tokenizer, const char *text, const char *word,
                                     const char *before, const char *after) {
    km_ids ids = {.ranges = true};
    km_encode(tokenizer, text, strlen(text), true, &ids, NULL);
    km_buffer found = {0};
    km_buffer_add(&found, "", 0);
    for (size_t i = 0; i < ids.count; i++) {
        assert_true(ids.begins[i] <= ids.ends[i] && ids.ends[i] <= strlen(text));
        km_buffer_print(&found, "%s%s%.*s%s", ids.starts_word[i] ? word : "", before,
                        (int)(ids.ends[i] - ids.begins[i]), text + ids.begins[i], after);
    }
    km_ids_free(&ids);
    return found;
}

/* The bytes of a hexadecimal text ("-" for no bytes), with a NUL behind them. */
static char *unhex(const char *hex, size_t *count) {
    *count = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;
    char *bytes = km_new(*count + 1, 1);
    for (size_t i = 0; i < *count; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes[i] = (char)strtol(digits, NULL, 16);
    }
    return bytes;
}

/* Checks one line: the text in hexadecimal, whether special tokens are found in it, the number of invalid sequences, the
 * decoded text in hexadecimal, and the ids. */
static void check_line(const km_tokenizer *tokenizer, char *line, int number) {
    char *rest = NULL;
    const char *hex = strtok_r(line, " \n", &rest);
    bool specials = strcmp(strtok_r(NULL, " \n", &rest), "1") == 0;
    uint64_t expected_invalid = strtoull(strtok_r(NULL, " \n", &rest), NULL, 10), invalid = 0;
    size_t count, decoded_count;
    char *text = unhex(hex, &count), *expected_text = unhex(strtok_r(NULL, " \n", &rest), &decoded_count);
    km_ids ids = {0};
    km_encode(tokenizer, text, count, specials, &ids, &invalid);
    assert_int_equal(invalid, expected_invalid);
    size_t i = 0;
    for (const char *id = strtok_r(NULL, " \n", &rest); id != NULL; id = strtok_r(NULL, " \n", &rest), i++) {
        bool starts = id[0] == 'w';
        if (i >= ids.count || ids.ids[i] != atoi(id + starts) || ids.starts_word[i] != starts) {
            fail_msg("line %d, id %zu: expected %s, found %d", number, i, id, i < ids.count ? ids.ids[i] : -1);
        }
    }
    assert_int_equal(i, ids.count);
    char *decoded = km_decode(tokenizer, ids.ids, ids.count, false);
    assert_string_equal(decoded, expected_text);
    free(decoded);
    free(expected_text);
    free(text);
    km_ids_free(&ids);
}

/* Checks all lines of a golden folder, which has `least` or more. */
static void check_golden_lines(const char *name, int least) {
    km_tokenizer *tokenizer = open_golden(name);
    char *path = km_format("%s/%s/lines.txt", TEST_DATA, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *line = NULL;
    size_t room = 0;
    int lines = 0;
    while (getline(&line, &room, file) >= 0) {
        check_line(tokenizer, line, ++lines);
    }
    assert_true(lines >= least);
    free(line);
    fclose(file);
    free(path);
    km_tokenizer_destroy(tokenizer);
}

static inline void check_golden(const char *name) {
    check_golden_lines(name, 250);
}

#endif
