/* metric_answers: metrics of answers in words: exact match, F1 over tokens, ROUGE-L, and the choice among options. */
#include "kmask/metric.h"
#include "kmask/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- Words of a text ------------------------------------------------------------------------------------------ */

/* Words in one block, each with a NUL after it. */
typedef struct words {
    km_buffer text;
    const char **words; /* (count) */
    size_t count;
} words;

static void free_words(words *w) {
    km_buffer_free(&w->text);
    free(w->words);
}

/* Pointers to the words of a block in which a blank or more stands between two words; the blanks become NULs. */
static void split_block(words *w) {
    km_buffer_add(&w->text, "", 0);
    size_t room = 0;
    for (size_t i = 0; i < w->text.size; i++) {
        bool begins = w->text.data[i] != ' ' && (i == 0 || w->text.data[i - 1] == '\0');
        if (w->text.data[i] == ' ') {
            w->text.data[i] = '\0';
        } else if (begins) {
            if (w->count == room) {
                room = 2 * room + 16;
                w->words = km_grow(w->words, room, sizeof *w->words);
            }
            w->words[w->count++] = w->text.data + i;
        }
    }
}

/* What Python's str.split() splits at. */
static bool is_blank(int32_t code) {
    return code >= 0 && ((code >= 0x1c && code <= 0x1f) || km_char_class_of((uint32_t)code) == KM_CHAR_SPACE);
}

static bool is_ascii_punctuation(char c) {
    return c != '\0' && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c) != NULL;
}

static bool is_article(const char *word, size_t length) {
    return (length == 1 && word[0] == 'a') || (length == 2 && memcmp(word, "an", 2) == 0) ||
           (length == 3 && memcmp(word, "the", 3) == 0);
}

/* A letter or number of any script, as \w of the script's regular expression has it. */
static bool is_word_character(int32_t code) {
    if (code < 0) {
        return false;
    }
    km_char_class class = km_char_class_of((uint32_t)code);
    return class == KM_CHAR_LETTER || class == KM_CHAR_NUMBER;
}

static char *without_punctuation(const char *text) {
    char *out = km_text_lower(text), *to = out;
    for (const char *from = out; *from != '\0'; from++) {
        if (!is_ascii_punctuation(*from)) {
            *to++ = *from;
        }
    }
    *to = '\0';
    return out;
}

/* Articles and white space become blanks. An article is a run of letters and numbers that is one, with anything else around it. */
static words normalized_words(const char *text) {
    char *plain = without_punctuation(text);
    const char *end = plain + strlen(plain);
    words w = {0};
    for (const char *at = plain; at < end;) {
        const char *from = at, *next = at;
        int32_t code = km_utf8_next(&next, end);
        bool word = is_word_character(code);
        while (word && next < end) { /* to the end of the run */
            const char *after = next;
            if (!is_word_character(km_utf8_next(&after, end))) {
                break;
            }
            next = after;
        }
        at = next;
        if (is_blank(code) || (word && is_article(from, (size_t)(at - from)))) {
            km_buffer_add(&w.text, " ", 1);
        } else {
            km_buffer_add(&w.text, from, (size_t)(at - from));
        }
    }
    free(plain);
    split_block(&w);
    return w;
}

char *km_answer_normalize(const char *text) {
    words w = normalized_words(text);
    km_buffer out = {0};
    km_buffer_add(&out, "", 0);
    for (size_t i = 0; i < w.count; i++) {
        km_buffer_print(&out, "%s%s", i > 0 ? " " : "", w.words[i]);
    }
    free_words(&w);
    return out.data;
}

/* ---- Exact match and F1 over tokens --------------------------------------------------------------------------- */

static double exact_match(const char *predicted, const char *accepted) {
    char *a = km_answer_normalize(predicted), *b = km_answer_normalize(accepted);
    double same = strcmp(a, b) == 0;
    free(a);
    free(b);
    return same;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Words that both have, each as often as both have it. Sorts both. */
static size_t words_in_common(words *a, words *b) {
    size_t common = 0;
    if (a->count == 0 || b->count == 0) {
        return 0;
    }
    qsort(a->words, a->count, sizeof *a->words, by_text);
    qsort(b->words, b->count, sizeof *b->words, by_text);
    for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
        int order = strcmp(a->words[i], b->words[j]);
        common += order == 0;
        i += order <= 0;
        j += order >= 0;
    }
    return common;
}

static double f_measure(size_t common, size_t predicted, size_t accepted) {
    if (common == 0) {
        return 0;
    }
    double precision = (double)common / (double)predicted, recall = (double)common / (double)accepted;
    return 2 * precision * recall / (precision + recall);
}

static double regex_match(const char *predicted, const char *accepted) {
    return km_text_matches(predicted, accepted);
}

static double has_answer(const char *predicted, const char *accepted) {
    char *text = km_text_tokens(predicted), *answer = km_text_tokens(accepted);
    const double found = strstr(text, answer) != NULL;
    free(answer);
    free(text);
    return found;
}

static double f1_token(const char *predicted, const char *accepted) {
    words a = normalized_words(predicted), b = normalized_words(accepted);
    double f1 = f_measure(words_in_common(&a, &b), a.count, b.count);
    free_words(&a);
    free_words(&b);
    return f1;
}

/* ---- ROUGE-L (Lin 2004) --------------------------------------------------------------------------------------- */

/* Runs of a-z and 0-9 in the lower-case text. */
static words rouge_words(const char *text) {
    char *lower = km_text_lower(text);
    words w = {0};
    for (const char *c = lower; *c != '\0'; c++) {
        bool kept = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9');
        km_buffer_add(&w.text, kept ? c : " ", 1);
    }
    free(lower);
    split_block(&w);
    return w;
}

/* The length of the longest common subsequence of words. */
static size_t longest_common(const words *a, const words *b) {
    size_t *row = km_new(b->count + 1, sizeof *row), longest = 0;
    for (size_t i = 0; i < a->count; i++) {
        size_t corner = 0; /* the row before, one word to the left */
        for (size_t j = 0; j < b->count; j++) {
            size_t above = row[j + 1];
            row[j + 1] = strcmp(a->words[i], b->words[j]) == 0 ? corner + 1 : KM_MAX(above, row[j]);
            corner = above;
        }
    }
    longest = row[b->count];
    free(row);
    return longest;
}

static double rouge_l(const char *predicted, const char *accepted) {
    words a = rouge_words(predicted), b = rouge_words(accepted);
    double f1 = f_measure(longest_common(&a, &b), a.count, b.count);
    free_words(&a);
    free_words(&b);
    return f1;
}

/* ---- Of one example ------------------------------------------------------------------------------------------- */

static double best(double (*score)(const char *, const char *), const km_answer *answer) {
    double most = 0;
    for (int i = 0; i < answer->accepted_count; i++) {
        most = KM_MAX(most, score(answer->predicted, answer->accepted[i]));
    }
    return most;
}

static bool is_accepted(const km_answer *answer, const char *option) {
    bool found = false;
    for (int i = 0; i < answer->accepted_count; i++) {
        found = found || exact_match(option, answer->accepted[i]) > 0;
    }
    return found;
}

/* 1 where a right option overlaps more with the prediction than every wrong one does. */
static double choice(const km_answer *answer) {
    if (answer->option_count == 0) {
        return best(exact_match, answer);
    }
    double right = best(f1_token, answer), wrong = 0;
    for (int i = 0; i < answer->option_count; i++) {
        if (!is_accepted(answer, answer->options[i])) {
            wrong = KM_MAX(wrong, f1_token(answer->predicted, answer->options[i]));
        }
    }
    return right > wrong;
}

double km_metric_of_answer(km_metric metric, const km_answer *answer) {
    switch (metric) {
    case KM_METRIC_F1_TOKEN:
        return best(f1_token, answer);
    case KM_METRIC_ROUGE_L:
        return best(rouge_l, answer);
    case KM_METRIC_CHOICE:
        return choice(answer);
    case KM_METRIC_EM_REGEX:
        return best(regex_match, answer);
    case KM_METRIC_HAS_ANSWER:
        return best(has_answer, answer);
    default:
        return best(exact_match, answer);
    }
}
