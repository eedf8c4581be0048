/* text: what Unicode text consists of. Characters and their classes, the normalized words of BERT's tokenizers, sentences, and
 * names, dates and numbers. Case mappings and decompositions come from utf8proc, sentence ends from ICU. Everything is
 * local. Texts are UTF-8 and need no NUL at the end. */
#ifndef KMASK_TEXT_H
#define KMASK_TEXT_H

#include "kmask/base.h"

/* ---- Characters ----------------------------------------------------------------------------------------------- */
/* Decodes the code point at *at (which must be before `end`) and moves *at behind it. Returns -1 for an invalid sequence; a
 * damaged stretch counts as one sequence for each maximal subpart (Unicode 15, section 3.9), as with Python's
 * errors="replace". */
int32_t km_utf8_next(const char **at, const char *end);
/* Writes a code point as 1 to 4 bytes of UTF-8 and returns their number. */
size_t km_utf8_put(char *out, uint32_t code);

/* Converts text of another encoding to UTF-8, by ICU, a part at a time. What has no character becomes U+FFFD and is counted. */
typedef struct km_converter km_converter;
/* `encoding` is a name that ICU knows: "latin-1", "cp1251", "utf-16le" ... An unknown one is KM_USAGE. The caller destroys. */
km_status km_converter_create(km_converter **out, const char *encoding) KM_NODISCARD;
void km_converter_destroy(km_converter *converter);
/* Takes bytes from *from..end-1, moves *from behind them, and writes at most `room` bytes (16 or more); returns how many. `last`: no
 * bytes follow. All is converted when *from is at the end and nothing was written. */
size_t km_converter_run(km_converter *converter, const char **from, const char *end, bool last, char *to,
                        size_t room);
uint64_t km_converter_replaced(const km_converter *converter); /* so far */
/* The encoding that ICU's detector finds most likely for a text that is not UTF-8 ("windows-1251"); NULL where it has no idea. The
 * caller frees. */
char *km_encoding_guess(const char *text, size_t count);

enum { KM_CODE_POINTS = 0x110000 };
/* The classes that GPT-2's splitting pattern knows: \p{L}, \p{N}, \s and everything else, in the Unicode version of the
 * tokenizers package. */
typedef enum km_char_class { KM_CHAR_OTHER, KM_CHAR_LETTER, KM_CHAR_NUMBER, KM_CHAR_SPACE } km_char_class;
km_char_class km_char_class_of(uint32_t code);
/* (KM_CODE_POINTS) The class of every code point, as a table that the process makes at the first call and keeps. */
const uint8_t *km_char_classes(void);
/* Whether the character is \w to the tokenizers package's regular expressions, which decides what an added token with
 * single_word may stand beside. */
bool km_is_word_char(uint32_t code);

/* The end of the pre-token of GPT-2's splitting pattern that begins at `at`; `classes` is km_char_classes(). If it contains invalid
 * UTF-8, *valid becomes false and the number of invalid sequences is added to *invalid. */
const char *km_gpt2_split(const uint8_t *classes, const char *at, const char *end, bool *valid, uint64_t *invalid);
/* The same for the first pre-token of a text that is read as if a space stood before it. */
const char *km_gpt2_first(const uint8_t *classes, const char *from, const char *end, uint64_t *invalid);
/* The character that stands for a byte in the vocabularies of GPT-2's family, and the byte that a character stands for (-1: none). */
uint32_t km_byte_char(uint8_t byte);
int km_char_byte(uint32_t code);

/* The text in lower case by Unicode's full mapping, as Python's str.lower() has it (a sigma at the end of a word becomes the
 * final one). Bytes that are not UTF-8 become U+FFFD. The caller frees. */
char *km_text_lower(const char *text);

/* The tokens of a text as DrQA's and DPR's SimpleTokenizer finds them, in canonical decomposition and lower case: runs of letters, marks
 * and numbers, and other visible characters one by one. A blank stands before the first token and behind each one, so that one text's
 * tokens occur within another's where strstr finds them. The caller frees. */
char *km_text_tokens(const char *text);

/* Whether the text begins with a match of the regular expression, in any case and with ^ and $ at line ends, as Python's
 * re.match(pattern, text, re.IGNORECASE | re.MULTILINE) has it. A pattern that is none, or takes too long, matches nothing. */
bool km_text_matches(const char *text, const char *pattern);

/* ---- Words as BERT normalizes them ----------------------------------------------------------------------------- */
/* BERT's normalizer removes control characters, sets Chinese characters apart, strips accents (decomposes, and drops the
 * combining marks) and lower-cases; the last three can be switched off. The result is the one of the tokenizers package's
 * BertNormalizer. */

enum {
    KM_WORD_CHARS = 100, /* WordPiece's max_input_chars_per_word: a longer word is [UNK] as a whole */
    KM_WORD_BYTES = 4 * KM_WORD_CHARS
};

/* A normalizer: its three switches, and for each character what becomes of it. An entry has the action (words.c) in its upper 8
 * bits and the resulting code point below. Read-only after km_normalizer_init; nothing needs to be freed. */
typedef struct km_normalizer {
    bool lowercase, strip_accents, chinese;
    bool unclean;        /* km_normalize alone: control characters and blanks stay as they are */
    uint8_t action[256]; /* of a character that begins with this byte */
    uint8_t ascii[128];  /* the result for ASCII characters */
    const uint32_t
        *table; /* entries of the first 0x20000 code points; shared by all normalizers with these switches */
} km_normalizer;
void km_normalizer_init(km_normalizer *normalizer, bool lowercase, bool strip_accents, bool chinese);

/* A normalized word. Only its first KM_WORD_CHARS characters are kept; `chars` counts all. */
typedef struct km_word {
    char bytes[KM_WORD_BYTES + 8];
    size_t count; /* bytes that are kept */
    size_t marks; /* where the combining marks at the end begin, which canonical ordering sorts */
    size_t chars;
    const char *begin,
        *end; /* the part of the text that the word was made of, with marks that were dropped at its end */
} km_word;

/* Normalizes a text, splits it at white space and around punctuation, and calls `sink` for each word. One pass, no
 * allocation. Returns the number of invalid UTF-8 sequences; they are dropped. */
typedef void (*km_word_sink)(void *context, const km_word *word);
uint64_t km_each_word(const km_normalizer *normalizer, const char *text, size_t count, km_word_sink sink,
                      void *context);

/* A normalized text that is not split into words. Zero-initialize; free with km_normalized_free. With `ranges`, which is set
 * before the first call, byte i of the result comes from bytes begins[i]..ends[i]-1 of the text. */
typedef struct km_normalized {
    char *text;
    size_t count, capacity;
    bool ranges;
    size_t *begins, *ends; /* NULL without `ranges`. Characters that were dropped belong to the one before them. */
    size_t marks;          /* as in km_word */
} km_normalized;
/* Appends text[from, to), normalized. Returns the number of invalid UTF-8 sequences; they are dropped. */
uint64_t km_normalize(km_normalized *out, const km_normalizer *normalizer, const char *text, size_t from,
                      size_t to);
void km_normalized_free(km_normalized *normalized);
/* Appends text[from, to) with U+FFFD for invalid sequences, whose number it returns. */
uint64_t km_normalized_fill(km_normalized *out, const char *text, size_t from, size_t to);

/* ---- Steps ------------------------------------------------------------------------------------------------------- */
/* What a tokenizer.json lists as its normalizer, its pre-tokenizer and its decoder: steps that are done one after the other. The
 * results are those of the tokenizers package. */
typedef struct km_step_list km_step_list;
typedef enum km_step_sort { KM_STEPS_NORMALIZE, KM_STEPS_SPLIT, KM_STEPS_DECODE } km_step_sort;
/* Reads an object of tokenizer.json, which may be a Sequence, or a list of such objects; absent or null is no step. A step that is not
 * supported is KM_FAILED. The caller destroys. */
km_status km_steps_read(km_step_list **out, km_step_sort sort, const km_json *json, const char *path) KM_NODISCARD;
void km_steps_destroy(km_step_list *steps);
size_t km_steps_count(const km_step_list *steps);
/* Whether the last step is of this type ("ByteLevel"). */
bool km_steps_end_with(const km_step_list *steps, const char *type);
/* The steps as a list of objects, all of their members written out: equal lists do the same. The caller destroys. */
km_json *km_steps_print(const km_step_list *steps);

/* Ranges of a text, in order; `matches` says whether a search found them. Zero-initialize; free with km_parts_free. */
typedef struct km_text_part {
    size_t begin, end;
    bool matches;
} km_text_part;
typedef struct km_parts {
    km_text_part *parts;
    size_t count, capacity;
} km_parts;
void km_parts_add(km_parts *parts, size_t begin, size_t end, bool matches);
void km_parts_free(km_parts *parts);

/* Replaces a text with its normalized form. */
void km_steps_normalize(const km_step_list *steps, km_normalized *text);

/* A text and its pre-tokens. Splitting may also change the text. */
typedef struct km_pretokens {
    km_normalized text;
    km_parts parts;
    bool begins_text; /* the text is the beginning of a whole text */
} km_pretokens;
/* Splits the text, which is one part at first. With `raw` a last step that writes a printable character for each byte leaves the bytes. */
void km_steps_split(const km_step_list *steps, km_pretokens *pretokens, bool raw);
void km_pretokens_free(km_pretokens *pretokens);

/* The texts of tokens, one after the other. Zero-initialize; free with km_token_texts_free. */
typedef struct km_token_texts {
    km_buffer bytes;
    size_t *ends;
    size_t count, capacity;
} km_token_texts;
void km_token_texts_add(km_token_texts *texts, const char *bytes, size_t count);
void km_token_texts_free(km_token_texts *texts);
/* Replaces the tokens' texts so that they make the decoded text together. */
void km_steps_decode(const km_step_list *steps, km_token_texts *texts);
/* The replacements of transformers' clean_up_tokenization in the text from byte `start` on; with `piece` those that the tokenizers
 * package makes in a single piece, which are one more. */
void km_clean_up(km_buffer *text, size_t start, bool piece);

/* ---- Sentence ends ------------------------------------------------------------------------------------------- */
/* Finds where sentences end inside one line, as ICU's sentence break iterator does: by the rules of Unicode Annex 29, which
 * hold for all scripts, and without an end after English abbreviations ("Mr.", "e.g.", "vs."). Bytes that are not UTF-8 are
 * treated as characters. Time is linear in the text, and memory does not depend on it. Threads need an object each. */
typedef struct km_sentences km_sentences;
/* KM_FAILED where ICU's data files are not installed. The caller destroys. */
km_status km_sentences_create(km_sentences **out) KM_NODISCARD;
void km_sentences_destroy(km_sentences *sentences);
/* Names the rules and their version, "icu 72.1 en@ss=standard", so that files can record how they were made. */
const char *km_sentences_rules(const km_sentences *sentences);
/* Starts with a text, which must stay in memory until the last km_sentences_next. */
void km_sentences_begin(km_sentences *sentences, const char *text, size_t count);
/* Returns the end of the next sentence: the index behind its last character that is not a blank. The last sentence ends at
 * `count`, blanks included; the call after that returns 0. */
size_t km_sentences_next(km_sentences *sentences);

/* ---- Names, dates and numbers -------------------------------------------------------------------------------- */
/* Spans that carry facts. Salient span masking (Guu et al. 2020, REALM, section 3.4) masks them; km_find_spans finds them by
 * rules where a corpus brings no annotation. */
typedef enum km_span_kind { KM_SPAN_ENTITY, KM_SPAN_DATE, KM_SPAN_NUMBER, KM_SPAN_KINDS } km_span_kind;
const char *km_span_kind_name(km_span_kind kind); /* "entity", "date", "number" */
/* The kind that a corpus' label stands for: DATE, TIME and the like are dates; CARDINAL, ORDINAL, PERCENT, MONEY, QUANTITY and
 * the like are numbers; every other label is an entity. Case does not matter. */
km_span_kind km_span_kind_of(const char *label);

typedef struct km_span {
    size_t begin, end; /* bytes begin..end-1 of the text */
    int kind;          /* a km_span_kind; in other lists of ranges what these are numbered by */
} km_span;
/* A growing list. Zero-initialize; free with km_spans_free. */
typedef struct km_spans {
    km_span *spans;
    size_t count, capacity;
} km_spans;
void km_spans_add(km_spans *spans, size_t begin, size_t end, int kind);
void km_spans_free(km_spans *spans);
/* Appends the capitalized names, acronyms, dates, times and numbers of a text, in ascending order and without overlap. Lines
 * end with newlines, and no span crosses one. The first word of a sentence counts as a name only where the text gives
 * evidence: its own shape (NASA, McDonald), a capitalized word after it, or capitals where the same word stands inside a
 * sentence. Names are found only in scripts with capital letters; numbers and dates in all. The result depends on the text
 * alone. Linear time; memory beyond the spans is bounded. */
void km_find_spans(const char *text, size_t count, km_spans *out);

#endif
