/* The WordPiece trainer on texts whose vocabulary can be worked out by hand. */
#include "kmask/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static km_wordpiece_options options_of(int vocab_size) {
    return (km_wordpiece_options){.vocab_size = vocab_size, .min_frequency = 2, .alphabet_limit = 1000};
}

static km_tokenizer *learn(const km_wordpiece_options *options, const char *text) {
    km_wordpiece_trainer *trainer = km_wordpiece_trainer_create(options);
    km_wordpiece_trainer_add(trainer, text, strlen(text));
    km_tokenizer *tokenizer = NULL;
    if (km_wordpiece_trainer_end(trainer, &tokenizer) != KM_OK) {
        fail_msg("%s", km_message());
    }
    km_wordpiece_trainer_destroy(trainer);
    return tokenizer;
}

/* Compares the learned pieces behind the five special tokens, with spaces between them. */
static void learns(km_wordpiece_options options, const char *text, const char *expected) {
    km_tokenizer *t = learn(&options, text);
    km_buffer pieces = {0};
    km_buffer_add(&pieces, "", 0);
    for (int32_t id = 5; id < km_tokenizer_size(t); id++) {
        km_buffer_print(&pieces, "%s%s", id > 5 ? " " : "", km_tokenizer_piece(t, id));
    }
    assert_string_equal(pieces.data, expected);
    const char *const names[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (int32_t id = 0; id < 5; id++) {
        assert_string_equal(km_tokenizer_piece(t, id), names[id]);
    }
    km_buffer_free(&pieces);
    km_tokenizer_destroy(t);
}

static void merges_by_hand(void **state) {
    (void)state;
    /* (##u, ##g) 6 times, then (h, ##ug) 3, (p, ##ug) 2; (b, ##ug) only once. */
    learns(options_of(100), "hug pug Hug, bug hug pug", ", b g h p u ##g ##u ##ug hug pug");
    learns(options_of(15), "hug pug Hug, bug hug pug", ", b g h p u ##g ##u ##ug hug");
    /* Of equally frequent pairs the lower one comes first: (a, ##b) before (c, ##d). */
    learns(options_of(100), "cd ab cd ab", "a b c d ##b ##d ab cd");
    /* Overlapping pairs are merged from the left: a ##aa ##a; then (a, ##aa) and (##aa, ##a) are equally frequent. */
    learns(options_of(100), "aaaa aaaa", "a ##a ##aa aaa aaaa");
    learns(options_of(100), "\xC3\x89t\xC3\xA9 \xE4\xB8\xAD\xE4\xB8\xAD", "e t \xE4\xB8\xAD ##e ##t");
}

static void options_count(void **state) {
    (void)state;
    km_wordpiece_options options = options_of(100);
    options.cased = true;
    learns(options, "Ab Ab ab", "A a b ##b Ab");
    options.min_frequency = 1;
    learns(options, "Ab Ab ab", "A a b ##b Ab ab");
    options.min_frequency = 3;
    learns(options, "Ab Ab ab", "A a b ##b");
    /* The two most frequent characters, b and A, are kept; the word "ab" is then ##b alone. */
    options.min_frequency = 2;
    options.alphabet_limit = 2;
    learns(options, "Ab Ab ab", "A b ##b Ab");
    /* The vocabulary has no room for all characters, so the most frequent ones are taken, with their "##" forms. */
    learns(options_of(9), "b b b a ba ba c", "a b c ##a");
    learns(options_of(8), "b b b a ba ba c", "a b ##a");
    learns(options_of(7), "b b b a ba ba c", "b");
    learns(options_of(5), "b b b", "");
}

static void refuses_what_teaches_nothing(void **state) {
    (void)state;
    km_wordpiece_options options = options_of(100);
    km_wordpiece_trainer *trainer = km_wordpiece_trainer_create(&options);
    km_tokenizer *t = NULL;
    assert_int_equal(km_wordpiece_trainer_end(trainer, &t), KM_FAILED);
    km_wordpiece_trainer_add(trainer, " \n\0 \xFF", 5);
    assert_int_equal(km_wordpiece_trainer_end(trainer, &t), KM_FAILED);
    assert_null(t);
    assert_non_null(strstr(km_message(), "no words"));
    km_wordpiece_trainer_destroy(trainer);
    options = options_of(4);
    trainer = km_wordpiece_trainer_create(&options);
    km_wordpiece_trainer_add(trainer, "a", 1);
    assert_int_equal(km_wordpiece_trainer_end(trainer, &t), KM_FAILED);
    km_wordpiece_trainer_destroy(trainer);
}

static char *make_text(uint64_t seed, size_t words) {
    km_rng rng = km_rng_make(seed, KM_RNG_TEST, 0, 0);
    km_buffer text = {0};
    for (size_t i = 0; i < words; i++) {
        for (uint32_t left = 1 + km_rng_below(&rng, 6); left > 0; left--) {
            char letter = (char)('a' + KM_MIN(km_rng_below(&rng, 9), km_rng_below(&rng, 9)));
            km_buffer_add(&text, &letter, 1);
        }
        km_buffer_add(&text, " ", 1);
    }
    return text.data;
}

/* The slow twin of the trainer: it counts all pairs again before each merge. */
typedef struct slow {
    int *symbols, *starts; /* word i is symbols[starts[i] .. starts[i + 1]) */
    int words;
    char names[200][16];
    int count;
} slow;

static int slow_name(slow *s, const char *name) {
    for (int i = 0; i < s->count; i++) {
        if (strcmp(s->names[i], name) == 0) {
            return i;
        }
    }
    strcpy(s->names[s->count], name);
    return s->count++;
}

static int slow_best(const slow *s, int *left, int *right) {
    static int counts[200][200];
    memset(counts, 0, sizeof counts);
    int best = 0;
    for (int w = 0; w < s->words; w++) {
        for (int i = s->starts[w]; i + 1 < s->starts[w + 1] && s->symbols[i + 1] >= 0; i++) {
            counts[s->symbols[i]][s->symbols[i + 1]]++;
        }
    }
    for (int a = 0; a < s->count; a++) {
        for (int b = 0; b < s->count; b++) {
            if (counts[a][b] > best) {
                best = counts[a][b];
                *left = a;
                *right = b;
            }
        }
    }
    return best;
}

static void slow_merge(slow *s, int left, int right) {
    char name[32];
    snprintf(name, sizeof name, "%s%s", s->names[left], s->names[right] + 2);
    int merged = slow_name(s, name);
    for (int w = 0; w < s->words; w++) {
        int out = s->starts[w];
        for (int i = s->starts[w]; i < s->starts[w + 1] && s->symbols[i] >= 0; i++) {
            bool here = i + 1 < s->starts[w + 1] && s->symbols[i] == left && s->symbols[i + 1] == right;
            s->symbols[out++] = here ? merged : s->symbols[i];
            i += here;
        }
        for (; out < s->starts[w + 1]; out++) {
            s->symbols[out] = -1;
        }
    }
}

static void same_as_counting_anew(void **state) {
    (void)state;
    char *text = make_text(3, 1500);
    const km_wordpiece_options options = options_of(120);
    km_tokenizer *t = learn(&options, text);
    slow s = {.symbols = km_new(strlen(text) + 1, sizeof(int)), .starts = km_new(1501, sizeof(int))};
    for (int32_t id = 0; id < km_tokenizer_size(t); id++) {
        const char *piece = km_tokenizer_piece(t, id);
        bool letter = strlen(piece) == 1 || (strncmp(piece, "##", 2) == 0 && strlen(piece) == 3);
        if (id < 5 || letter) {
            slow_name(&s, piece);
        }
    }
    int end = 0;
    for (const char *at = text; *at != '\0'; at++) {
        const char name[4] = {'#', '#', *at, '\0'};
        if (*at == ' ') {
            s.starts[++s.words] = end;
        } else {
            s.symbols[end] = slow_name(&s, end == s.starts[s.words] ? name + 2 : name);
            end++;
        }
    }
    int left = 0, right = 0;
    while (s.count < options.vocab_size && slow_best(&s, &left, &right) >= 2) {
        slow_merge(&s, left, right);
    }
    assert_int_equal(s.count, km_tokenizer_size(t));
    for (int32_t id = 0; id < s.count; id++) {
        assert_string_equal(s.names[id], km_tokenizer_piece(t, id));
    }
    free(s.symbols);
    free(s.starts);
    free(text);
    km_tokenizer_destroy(t);
}

/* Neither the order of the words nor how the text is divided over calls changes the result. */
static void depends_on_the_words_alone(void **state) {
    (void)state;
    const km_wordpiece_options options = options_of(200);
    char *text = make_text(4, 3000);
    km_tokenizer *whole = learn(&options, text), *parts = NULL;
    km_wordpiece_trainer *trainer = km_wordpiece_trainer_create(&options);
    size_t end = strlen(text);
    while (end > 0) { /* the last words first */
        size_t start = end - 1;
        while (start > 0 && (text[start - 1] != ' ' || end - start < 50)) {
            start--;
        }
        km_wordpiece_trainer_add(trainer, text + start, end - start);
        end = start;
    }
    assert_int_equal(km_wordpiece_trainer_end(trainer, &parts), KM_OK);
    assert_true(km_hash_equal(km_tokenizer_hash(whole), km_tokenizer_hash(parts)));
    km_tokenizer_destroy(parts);
    assert_int_equal(km_wordpiece_trainer_end(trainer, &parts), KM_OK); /* a second call makes an equal tokenizer */
    assert_true(km_hash_equal(km_tokenizer_hash(whole), km_tokenizer_hash(parts)));
    km_wordpiece_trainer_destroy(trainer);
    km_tokenizer_destroy(parts);
    km_tokenizer_destroy(whole);
    free(text);
}

static void any_bytes_teach(void **state) {
    (void)state;
    km_rng rng = km_rng_make(5, KM_RNG_TEST, 0, 0);
    const size_t count = 1 << 18;
    char *bytes = km_new(count, 1);
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (char)km_rng_below(&rng, 256);
    }
    km_wordpiece_options options = options_of(3000);
    km_wordpiece_trainer *trainer = km_wordpiece_trainer_create(&options);
    km_tokenizer *t = NULL;
    km_wordpiece_trainer_add(trainer, bytes, count);
    assert_int_equal(km_wordpiece_trainer_end(trainer, &t), KM_OK);
    assert_in_range(km_tokenizer_size(t), 100, 3000);
    km_wordpiece_trainer_destroy(trainer);
    km_tokenizer_destroy(t);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_hand),
        cmocka_unit_test(options_count),
        cmocka_unit_test(same_as_counting_anew),
        cmocka_unit_test(depends_on_the_words_alone),
        cmocka_unit_test(refuses_what_teaches_nothing),
        cmocka_unit_test(any_bytes_teach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
