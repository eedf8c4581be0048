/* Learns a byte-level BPE vocabulary as the tokenizers package does. Its pieces are, in this order, the special tokens, the
 * 256 bytes (sorted by the code points of the characters that stand for them), and the results of the merges. */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "merge_learner.h"
#include "word_counts.h"

enum { LONGEST = 4096 /* bytes of a pre-token that is counted */, BYTES = 256 };

static const char *const specials[] = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};

struct km_bpe_trainer {
    km_bpe_options options;
    const uint8_t *classes;
    km_word_counts words; /* pre-tokens, as bytes */
};

km_bpe_trainer *km_bpe_trainer_create(const km_bpe_options *options) {
    km_bpe_trainer *t = km_new(1, sizeof *t);
    t->options = *options;
    t->classes = km_char_classes();
    return t;
}

void km_bpe_trainer_destroy(km_bpe_trainer *trainer) {
    if (trainer == NULL) {
        return;
    }
    km_word_counts_free(&trainer->words);
    free(trainer);
}

/* Counts a pre-token with U+FFFD in place of invalid UTF-8, as encoding reads it. */
static void count_repaired(km_bpe_trainer *t, const char *at, const char *end) {
    char bytes[3 * LONGEST];
    size_t size = 0;
    while (at < end) {
        const char *from = at;
        bool good = km_utf8_next(&at, end) >= 0;
        memcpy(bytes + size, good ? from : "\xEF\xBF\xBD", good ? (size_t)(at - from) : 3);
        size += good ? (size_t)(at - from) : 3;
    }
    km_word_counts_add(&t->words, bytes, size);
}

static void count_line(km_bpe_trainer *t, const char *at, const char *end) {
    uint64_t invalid = 0;
    while (at < end) {
        bool valid = true;
        const char *stop = km_gpt2_split(t->classes, at, end, &valid, &invalid);
        if (stop - at <= LONGEST && valid) {
            km_word_counts_add(&t->words, at, (size_t)(stop - at));
        } else if (stop - at <= LONGEST) {
            count_repaired(t, at, stop);
        }
        at = stop;
    }
}

void km_bpe_trainer_add(km_bpe_trainer *trainer, const char *text, size_t count) {
    const char *end = text + count;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        count_line(trainer, text, stop == NULL ? end : stop);
        text = stop == NULL ? end : stop + 1;
    }
}

/* ---- Pieces --------------------------------------------------------------------------------------------- */

/* Adds the characters that stand for bytes, in the order of their code points; symbols[byte] becomes the id. */
static void add_bytes(km_strings *pieces, uint32_t symbols[BYTES]) {
    for (uint32_t code = 0; code < 2 * BYTES; code++) {
        int byte = km_char_byte(code);
        if (byte >= 0) {
            char bytes[4];
            symbols[byte] = km_strings_add(pieces, bytes, km_utf8_put(bytes, code));
        }
    }
}

/* All pre-tokens as sequences of symbols. The caller destroys. */
static km_merge_learner *split_words(const km_bpe_trainer *t, const uint32_t symbols[BYTES]) {
    km_merge_learner *learner = km_merge_learner_create();
    uint32_t word[3 * LONGEST];
    for (uint32_t i = 0; i < t->words.words.count; i++) {
        const char *bytes = km_strings_get(&t->words.words, i);
        size_t size = km_strings_size(&t->words.words, i);
        for (size_t k = 0; k < size; k++) {
            word[k] = symbols[(uint8_t)bytes[k]];
        }
        km_merge_learner_add(learner, word, size, t->words.counts[i]);
    }
    return learner;
}

/* A merge that was learned. */
typedef struct learned {
    uint32_t left, right;
} learned;

/* Merges until the vocabulary is full, and returns the pairs in the order in which they were merged. The caller frees. */
static learned *merge_pairs(const km_bpe_trainer *t, km_strings *pieces, km_merge_learner *learner, size_t *count) {
    learned *pairs = NULL;
    size_t room = 0;
    uint32_t left, right;
    uint64_t least = (uint64_t)KM_MAX(t->options.min_frequency, 1);
    *count = 0;
    while (pieces->count < (uint32_t)t->options.vocab_size &&
           km_merge_learner_best(learner, least, &left, &right)) {
        km_buffer piece = {0};
        km_buffer_add(&piece, km_strings_get(pieces, left), km_strings_size(pieces, left));
        km_buffer_add(&piece, km_strings_get(pieces, right), km_strings_size(pieces, right));
        km_merge_learner_apply(learner, km_strings_add(pieces, piece.data, piece.size));
        km_buffer_free(&piece);
        if (*count == room) {
            room = 2 * room + 1024;
            pairs = km_grow(pairs, room, sizeof *pairs);
        }
        pairs[(*count)++] = (learned){left, right};
    }
    return pairs;
}

/* Makes the tokenizer. */
static km_status make(km_tokenizer **out, const km_bpe_trainer *trainer, const km_strings *pieces,
                      const learned *pairs, size_t count) {
    static const char origin[] = "the learned vocabulary";
    km_tokenizer *t = km_tokenizer_new(&km_family_bpe);
    km_settings settings;
    km_settings_init(&settings);
    settings.prefix_space = trainer->options.prefix_space;
    km_status status = KM_OK;
    for (uint32_t i = 0; status == KM_OK && i < pieces->count; i++) {
        status = km_tokenizer_add(t, km_strings_get(pieces, i), km_strings_size(pieces, i), origin);
    }
    for (size_t i = 0; status == KM_OK && i < count; i++) {
        const uint32_t l = pairs[i].left, r = pairs[i].right;
        status = km_tokenizer_merge(t, km_strings_get(pieces, l), km_strings_size(pieces, l),
                                    km_strings_get(pieces, r), km_strings_size(pieces, r), origin);
    }
    if (status == KM_OK) {
        status = km_tokenizer_finish(&t, &settings, origin);
    } else {
        km_tokenizer_destroy(t);
        t = NULL;
    }
    *out = t;
    return status;
}

km_status km_bpe_trainer_end(km_bpe_trainer *trainer, km_tokenizer **out) {
    const int smallest = (int)KM_COUNT(specials) + BYTES;
    *out = NULL;
    if (trainer->options.vocab_size < smallest || trainer->options.vocab_size > KM_PIECES) {
        return km_fail(KM_FAILED, "a vocabulary of %d pieces, expected %d (the special tokens and all bytes) to %d",
                       trainer->options.vocab_size, smallest, KM_PIECES);
    }
    if (trainer->words.words.count == 0) {
        return km_fail(KM_FAILED, "no words to learn pieces from. Give files with text.");
    }
    km_strings pieces = {0};
    for (size_t i = 0; i < KM_COUNT(specials); i++) {
        km_strings_add(&pieces, specials[i], strlen(specials[i]));
    }
    uint32_t symbols[BYTES];
    add_bytes(&pieces, symbols);
    km_merge_learner *learner = split_words(trainer, symbols);
    size_t count = 0;
    learned *pairs = merge_pairs(trainer, &pieces, learner, &count);
    km_merge_learner_destroy(learner);
    km_status status = make(out, trainer, &pieces, pairs, count);
    free(pairs);
    km_strings_free(&pieces);
    return status;
}
