/* Learns a WordPiece vocabulary as the tokenizers package does. Its pieces are, in this order, the special tokens, the
 * characters of the text by code point, their "##" forms, and the results of the merges. */
#include <stdlib.h>
#include <string.h>

#include "merge_learner.h"
#include "tokenizer.h"
#include "word_counts.h"

struct km_wordpiece_trainer {
    km_wordpiece_options options;
    km_normalizer normalizer;
    km_word_counts words;
};

static const char *const specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

km_wordpiece_trainer *km_wordpiece_trainer_create(const km_wordpiece_options *options) {
    km_wordpiece_trainer *t = km_new(1, sizeof *t);
    t->options = *options;
    km_normalizer_init(&t->normalizer, !options->cased, !options->cased, true);
    return t;
}

void km_wordpiece_trainer_destroy(km_wordpiece_trainer *trainer) {
    if (trainer == NULL) {
        return;
    }
    km_word_counts_free(&trainer->words);
    free(trainer);
}

/* Counts a word, unless it is so long that encoding makes it [UNK]. */
static void count_word(void *context, const km_word *word) {
    km_wordpiece_trainer *t = context;
    if (word->chars > KM_WORD_CHARS) {
        return;
    }
    km_word_counts_add(&t->words, word->bytes, word->count);
}

void km_wordpiece_trainer_add(km_wordpiece_trainer *trainer, const char *text, size_t count) {
    km_each_word(&trainer->normalizer, text, count, count_word, trainer);
}

/* ---- The alphabet --------------------------------------------------------------------------------------- */

typedef struct letter {
    uint32_t code;
    bool inner; /* it also occurs inside words, so it needs a "##" form */
    uint64_t count;
} letter;

static int by_frequency(const void *a, const void *b) {
    const letter *x = a, *y = b;
    if (x->count != y->count) {
        return x->count > y->count ? -1 : 1;
    }
    return x->code < y->code ? -1 : x->code > y->code;
}

static int by_code(const void *a, const void *b) {
    const letter *x = a, *y = b;
    return x->code < y->code ? -1 : x->code > y->code;
}

static void count_letters(const km_wordpiece_trainer *t, letter *letters) {
    for (uint32_t i = 0; i < t->words.words.count; i++) {
        const char *start = km_strings_get(&t->words.words, i), *at = start;
        const char *end = start + km_strings_size(&t->words.words, i);
        while (at < end) {
            bool inner = at > start;
            letter *l = &letters[km_utf8_next(&at, end)];
            l->count += t->words.counts[i];
            l->inner = l->inner || inner;
        }
    }
}

/* The most frequent characters, as many as the limit and the vocabulary's size allow, in the order of code points. The caller
 * frees. */
static letter *choose_alphabet(const km_wordpiece_trainer *t, size_t *count) {
    letter *letters = km_new(KM_CODE_POINTS, sizeof *letters);
    count_letters(t, letters);
    size_t found = 0;
    for (uint32_t code = 0; code < KM_CODE_POINTS; code++) {
        if (letters[code].count > 0) {
            letters[found] = letters[code];
            letters[found++].code = code;
        }
    }
    qsort(letters, found, sizeof *letters, by_frequency);
    size_t limit = KM_MIN(found, (size_t)KM_MAX(t->options.alphabet_limit, 0));
    size_t left = (size_t)t->options.vocab_size - KM_COUNT(specials);
    for (*count = 0; *count < limit; ++*count) {
        size_t pieces = letters[*count].inner ? 2 : 1;
        if (pieces > left) {
            break;
        }
        left -= pieces;
    }
    qsort(letters, *count, sizeof *letters, by_code);
    return letters;
}

/* ---- Pieces --------------------------------------------------------------------------------------------- */

/* Adds the characters and then their "##" forms. symbols[2 * code + inner] becomes id + 1; it stays 0 for other characters. */
static void add_letters(km_strings *pieces, uint32_t *symbols, const letter *alphabet, size_t count) {
    for (size_t inner = 0; inner < 2; inner++) {
        for (size_t i = 0; i < count; i++) {
            char bytes[6] = "##";
            size_t size = 2 * inner + km_utf8_put(bytes + 2 * inner, alphabet[i].code);
            if (inner == 0 || alphabet[i].inner) {
                symbols[2 * alphabet[i].code + inner] = 1 + km_strings_add(pieces, bytes, size);
            }
        }
    }
}

/* All words as sequences of symbols. Characters that are not in the alphabet are left out, as the tokenizers package does.
 * The caller destroys. */
static km_merge_learner *split_words(const km_wordpiece_trainer *t, const uint32_t *symbols) {
    km_merge_learner *learner = km_merge_learner_create();
    for (uint32_t i = 0; i < t->words.words.count; i++) {
        const char *start = km_strings_get(&t->words.words, i), *at = start;
        const char *end = start + km_strings_size(&t->words.words, i);
        uint32_t word[KM_WORD_CHARS];
        size_t size = 0;
        while (at < end) {
            size_t inner = at > start;
            uint32_t symbol = symbols[2 * (size_t)km_utf8_next(&at, end) + inner];
            if (symbol != 0) {
                word[size++] = symbol - 1;
            }
        }
        km_merge_learner_add(learner, word, size, t->words.counts[i]);
    }
    return learner;
}

/* Merges until the vocabulary is full. */
static void merge_pairs(const km_wordpiece_trainer *t, km_strings *pieces, km_merge_learner *learner) {
    uint32_t left, right;
    uint64_t least = (uint64_t)KM_MAX(t->options.min_frequency, 1);
    while (pieces->count < (uint32_t)t->options.vocab_size &&
           km_merge_learner_best(learner, least, &left, &right)) {
        /* The right piece continues a word, so its "##" is dropped. */
        km_buffer piece = {0};
        km_buffer_add(&piece, km_strings_get(pieces, left), km_strings_size(pieces, left));
        km_buffer_add(&piece, km_strings_get(pieces, right) + 2, km_strings_size(pieces, right) - 2);
        km_merge_learner_apply(learner, km_strings_add(pieces, piece.data, piece.size));
        km_buffer_free(&piece);
    }
}

km_status km_wordpiece_trainer_end(km_wordpiece_trainer *trainer, km_tokenizer **out) {
    *out = NULL;
    if (trainer->options.vocab_size < (int)KM_COUNT(specials) || trainer->options.vocab_size > KM_PIECES) {
        return km_fail(KM_FAILED, "a vocabulary of %d pieces, expected %zu (the special tokens) to %d",
                       trainer->options.vocab_size, KM_COUNT(specials), KM_PIECES);
    }
    if (trainer->words.words.count == 0) {
        return km_fail(KM_FAILED, "no words to learn pieces from. Give files with text.");
    }
    km_strings pieces = {0};
    for (size_t i = 0; i < KM_COUNT(specials); i++) {
        km_strings_add(&pieces, specials[i], strlen(specials[i]));
    }
    size_t count = 0;
    letter *alphabet = choose_alphabet(trainer, &count);
    uint32_t *symbols = km_new(2 * KM_CODE_POINTS, sizeof *symbols);
    add_letters(&pieces, symbols, alphabet, count);
    free(alphabet);
    km_merge_learner *learner = split_words(trainer, symbols);
    free(symbols);
    merge_pairs(trainer, &pieces, learner);
    km_merge_learner_destroy(learner);
    km_settings settings;
    km_settings_init(&settings);
    settings.lowercase = !trainer->options.cased;
    *out = km_tokenizer_new(&km_family_wordpiece);
    km_status status = KM_OK;
    for (uint32_t i = 0; status == KM_OK && i < pieces.count; i++) {
        const char *origin = "the learned vocabulary";
        status = km_tokenizer_add(*out, km_strings_get(&pieces, i), km_strings_size(&pieces, i), origin);
    }
    km_strings_free(&pieces);
    if (status != KM_OK) {
        km_tokenizer_destroy(*out);
        *out = NULL;
        return status;
    }
    return km_tokenizer_finish(out, &settings, "the learned vocabulary");
}
