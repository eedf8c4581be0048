/* Learns a byte-level BPE vocabulary as the tokenizers package does: special tokens, the bytes by their characters'
 * code points, then merges. */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "counts.h"
#include "merges.h"

enum { LONGEST = 4096, BYTES = 256 };

static const char *const specials[] = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};

struct km_bpe_trainer {
    km_bpe_options options;
    const uint8_t *classes;
    km_counts words; /* their bytes */
};

km_bpe_trainer *km_bpe_trainer_create(const km_bpe_options *options) {
    km_bpe_trainer *t = km_new(1, sizeof *t);
    t->options = *options;
    t->classes = km_split_classes();
    return t;
}

void km_bpe_trainer_destroy(km_bpe_trainer *trainer) {
    if (trainer == NULL) {
        return;
    }
    km_counts_free(&trainer->words);
    free(trainer);
}

/* A word with invalid UTF-8 counts as encoding would see it. */
static void count_mended(km_bpe_trainer *t, const char *at, const char *end) {
    char bytes[3 * LONGEST];
    size_t size = 0;
    while (at < end) {
        const char *from = at;
        bool good = km_utf8_next(&at, end) >= 0;
        memcpy(bytes + size, good ? from : "\xEF\xBF\xBD", good ? (size_t)(at - from) : 3);
        size += good ? (size_t)(at - from) : 3;
    }
    km_counts_add(&t->words, bytes, size);
}

static void count_line(km_bpe_trainer *t, const char *at, const char *end) {
    uint64_t invalid = 0;
    while (at < end) {
        bool valid = true;
        const char *stop = km_bpe_split(t->classes, at, end, &valid, &invalid);
        if (stop - at <= LONGEST && valid) {
            km_counts_add(&t->words, at, (size_t)(stop - at));
        } else if (stop - at <= LONGEST) {
            count_mended(t, at, stop);
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

/* Adds the bytes' characters by code point; symbols[byte] is the id. */
static void add_bytes(km_strings *pieces, uint32_t symbols[BYTES]) {
    for (uint32_t code = 0; code < 2 * BYTES; code++) {
        int byte = km_char_byte(code);
        if (byte >= 0) {
            char bytes[4];
            symbols[byte] = km_strings_add(pieces, bytes, km_utf8_put(bytes, code));
        }
    }
}

static km_merges *split_words(const km_bpe_trainer *t, const uint32_t symbols[BYTES]) {
    km_merges *merges = km_merges_create();
    uint32_t word[3 * LONGEST];
    for (uint32_t i = 0; i < t->words.words.count; i++) {
        const char *bytes = km_strings_get(&t->words.words, i);
        size_t size = km_strings_size(&t->words.words, i);
        for (size_t k = 0; k < size; k++) {
            word[k] = symbols[(uint8_t)bytes[k]];
        }
        km_merges_add(merges, word, size, t->words.counts[i]);
    }
    return merges;
}

typedef struct learned {
    uint32_t left, right;
} learned;

/* Merges until the vocabulary is full; the pairs in order. The caller frees. */
static learned *merge_pairs(const km_bpe_trainer *t, km_strings *pieces, km_merges *merges, size_t *count) {
    learned *pairs = NULL;
    size_t room = 0;
    uint32_t left, right;
    uint64_t least = (uint64_t)KM_MAX(t->options.min_frequency, 1);
    *count = 0;
    while (pieces->count < (uint32_t)t->options.vocab_size && km_merges_best(merges, least, &left, &right)) {
        km_buffer piece = {0};
        km_buffer_add(&piece, km_strings_get(pieces, left), km_strings_size(pieces, left));
        km_buffer_add(&piece, km_strings_get(pieces, right), km_strings_size(pieces, right));
        km_merges_apply(merges, km_strings_add(pieces, piece.data, piece.size));
        km_buffer_free(&piece);
        if (*count == room) {
            room = 2 * room + 1024;
            pairs = km_grow(pairs, room, sizeof *pairs);
        }
        pairs[(*count)++] = (learned){left, right};
    }
    return pairs;
}

static km_status make(km_tokenizer **out, const km_strings *pieces, const learned *pairs, size_t count) {
    static const char origin[] = "the learned vocabulary";
    km_tokenizer *t = km_tokenizer_new(&km_family_bpe);
    km_settings settings;
    km_settings_init(&settings);
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
    km_merges *merges = split_words(trainer, symbols);
    size_t count = 0;
    learned *pairs = merge_pairs(trainer, &pieces, merges, &count);
    km_merges_destroy(merges);
    km_status status = make(out, &pieces, pairs, count);
    free(pairs);
    km_strings_free(&pieces);
    return status;
}
