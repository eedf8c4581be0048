/* text: what Unicode text consists of: characters and their classes, words as BERT's tokenizers normalize them, sentences, and
 * names, dates and numbers. Case and decomposition come from utf8proc, sentence ends from ICU. Everything is local. */
#ifndef KMASK_TEXT_H
#define KMASK_TEXT_H

#include "kmask/base.h"

/* ---- Characters ----------------------------------------------------------------------------------------------- */
/* Decodes one code point at *at and moves on; -1 for an invalid sequence, which counts as one for each maximal
 * subpart (Unicode 15, section 3.9; what Python's errors="replace" does). */
int32_t km_utf8_next(const char **at, const char *end);
/* Writes up to 4 bytes and returns how many. */
size_t km_utf8_put(char *out, uint32_t code);

bool km_is_word(uint32_t code); /* \w of regular expressions: what an added token's single_word asks for */

/* The classes of GPT-2's splitting pattern, as the reference's regular expressions know them. */
typedef enum km_split { KM_OTHER, KM_LETTER, KM_NUMBER, KM_WHITE } km_split;
km_split km_split_class(uint32_t code);
/* The class of every code point, made once in a process. */
enum { KM_CODES = 0x110000 };
const uint8_t *km_split_classes(void);

/* The text in lower case by Unicode's full mapping (a final sigma is one), as Python's str.lower() has it. Bytes that are no UTF-8
 * become U+FFFD. The caller frees. */
char *km_text_lower(const char *text);

/* ---- BERT's normalization and words --------------------------------------------------------------------------- */
/* Clean the text, set Chinese characters apart, decompose and drop accents, lower-case. */
enum {
    KM_WORD_CHARS = 100, /* longer words are unknown as a whole (max_input_chars_per_word) */
    KM_WORD_BYTES = 4 * KM_WORD_CHARS
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

/* Splits a text at spaces and around punctuation, and calls `sink` for each normalized word. One pass, no allocation.
 * Returns the number of invalid UTF-8 sequences, which are dropped. */
typedef void (*km_word_sink)(void *context, const km_word_text *word);
uint64_t km_words(const km_fold *fold, const char *text, size_t count, km_word_sink sink, void *context);

/* The normalized text itself, where it is needed and not its words.
 * Zero-initialize, set `placed` where it is wanted, free with km_normalized_free. */
typedef struct km_normalized {
    char *text;
    size_t count, capacity;
    bool placed; /* with begins and ends */
    size_t *begins,
        *ends;  /* byte i comes from bytes begins[i]..ends[i]-1, with the marks that were dropped behind them */
    size_t run; /* where the marks after the last starter begin */
} km_normalized;

/* Appends text[from, to). Returns the number of invalid UTF-8 sequences, which are dropped. */
uint64_t km_normalize(km_normalized *out, const km_fold *fold, const char *text, size_t from, size_t to);
void km_normalized_free(km_normalized *normalized);

/* ---- Sentence ends ------------------------------------------------------------------------------------------- */
/* Where sentences end inside a text without paragraphs (a line), as ICU's sentence break iterator says: Unicode Annex 29
 * for all scripts, and English abbreviations ("Mr.", "e.g.", "vs.") that end none. Bytes that are no UTF-8 are characters
 * as any other. Time is linear in the text, memory does not depend on it. One object for each thread. */
typedef struct km_sentences km_sentences;
/* KM_FAILED where ICU's data are not installed. The caller destroys. */
km_status km_sentences_create(km_sentences **out) KM_NODISCARD;
void km_sentences_destroy(km_sentences *sentences);
/* Which rules these are, for what was made by them: "icu 72.1 en@ss=standard". */
const char *km_sentences_rules(const km_sentences *sentences);
/* `text` must stay until the last km_sentences_next. */
void km_sentences_begin(km_sentences *sentences, const char *text, size_t count);
/* The byte after the next sentence's last character that is no blank; for the last sentence `count`; then 0. */
size_t km_sentences_next(km_sentences *sentences);

/* ---- Names, dates and numbers -------------------------------------------------------------------------------- */
/* Spans that carry facts, for salient span masking (Guu et al. 2020, REALM, section 3.4) where nothing better is given. */
typedef enum km_span_kind { KM_SPAN_ENTITY, KM_SPAN_DATE, KM_SPAN_NUMBER, KM_SPAN_KINDS } km_span_kind;
const char *km_span_kind_name(km_span_kind kind); /* "entity", "date", "number" */
/* The kind of a label as corpora have it: DATE, TIME -> date; CARDINAL, ORDINAL, PERCENT, MONEY, QUANTITY and their like ->
 * number; anything else -> entity. Case does not matter. */
km_span_kind km_span_kind_of(const char *label);

typedef struct km_span {
    size_t begin, end; /* bytes begin..end-1 of the text */
    km_span_kind kind;
} km_span;
/* A growing list. Zero-initialize; free with km_spans_free. */
typedef struct km_spans {
    km_span *spans;
    size_t count, capacity;
} km_spans;
void km_spans_add(km_spans *spans, size_t begin, size_t end, km_span_kind kind);
void km_spans_free(km_spans *spans);
/* Appends what a text (lines that end with newlines) holds of capitalized names, acronyms, dates, times and numbers, in
 * ascending order and without overlap; no span goes over a line end. The first word of a sentence is a name only where
 * the text shows it: by its shape, by a capitalized word behind it, or by being capitalized elsewhere inside sentences.
 * Names need a script with capital letters; numbers and dates do not. A function of the text; linear time; memory
 * beyond the spans is bounded. */
void km_find_spans(const char *text, size_t count, km_spans *out);

#endif
