/* From bytes to normalized words, as BERT's tokenizers make them: clean the text, set Chinese characters apart,
 * decompose and drop accents, lower-case; then split at spaces and around punctuation. One pass, no allocation. */
#ifndef KM_TEXT_WORDS_H
#define KM_TEXT_WORDS_H

#include "kmask/base.h"

enum {
    KM_WORD_CHARS = 100, /* longer words are unknown as a whole (max_input_chars_per_word) */
    KM_WORD_BYTES = 4 * KM_WORD_CHARS,
    KM_FOLD_TABLE = 0x20000 /* code points with an entry in the table: planes 0 and 1 */
};

/* What happens to each character; read-only once made. `kind` and `lower` are for bytes, `table` for code points:
 * kind in the upper 8 bits, resulting code point below. */
typedef struct km_fold {
    bool lowercase, strip_accents, chinese;
    uint8_t kind[256];
    uint8_t lower[128];
    const uint32_t *table; /* shared */
} km_fold;
void km_fold_create(km_fold *fold, bool lowercase, bool strip_accents, bool chinese);

/* A word as it grows. Only the first KM_WORD_CHARS characters are kept; `chars` counts all. */
typedef struct km_word_text {
    char bytes[KM_WORD_BYTES + 8];
    size_t count; /* bytes */
    size_t run;   /* where the marks after the last starter begin (canonical ordering) */
    size_t chars;
    const char *begin, *end; /* where it stands in the text, with the marks that were dropped from it */
} km_word_text;

/* Calls `sink` for each word of the text. Returns the number of invalid UTF-8 sequences, which are dropped. */
typedef void (*km_word_sink)(void *context, const km_word_text *word);
uint64_t km_words(const km_fold *fold, const char *text, size_t count, km_word_sink sink, void *context);

/* Decodes one code point at *at and moves on; -1 for an invalid sequence, which counts as one for each maximal
 * subpart (Unicode 15, section 3.9; what Python's errors="replace" does). */
int32_t km_utf8_next(const char **at, const char *end);
/* Where a mark of `class` goes in UTF-8 text whose run of marks is text[run..end): behind those with the same or a lower class. */
size_t km_mark_place(const char *text, size_t run, size_t end, int class);
/* Writes up to 4 bytes and returns how many. */
size_t km_utf8_put(char *out, uint32_t code);

#endif
