/* corpus: text files become a corpus, which is packed into rows. The corpus file and how it is built, rows, and their order. Nothing
 * here grows with the corpus in memory. Only km_corpus_build is collective. */
#ifndef KMASK_CORPUS_H
#define KMASK_CORPUS_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/input.h"
#include "kmask/text.h"
#include "kmask/tokenizer.h"

/* ---- Options ----------------------------------------------------------------------------------------------- */

typedef struct km_data_config {
    uint64_t given;
    char train[KM_PATH];
    char eval[KM_PATH];
    int64_t length;
    char packing[KM_WORD];
} km_data_config;
extern const km_section km_data_section;

/* ---- Corpus ------------------------------------------------------------------------------------------------ */
/* An HDF5 file (store.h) with /tokens (n) uint16 or uint32, /word_starts (n) uint8: 1 where a token begins a word,
 * /sentence_ends and /document_ends uint64: index after the last token of each, ascending. Where it has spans (names,
 * dates, numbers), /span_starts and /span_ends uint64: a span's first token and the index after its last, ascending
 * without overlap, and /span_kinds uint8 (km_span_kind). Where it has tags (parts of speech, or any other set), /tags (n) uint8: the
 * tag of each token, counted from 1 in the list of the attribute tags; 0: none. Attributes: kind "corpus", tokenizer (JSON),
 * tokenizer_hash, documents, sentences, sentence_rules ("line", or which version of which rules), spans (given | found | none), and
 * with tags, tags: their names, a JSON array in the order of their bytes. */
typedef struct km_corpus km_corpus;

typedef enum km_document { KM_DOCUMENT_BLANK, KM_DOCUMENT_LINE, KM_DOCUMENT_FILE } km_document;

/* Sentences end at line ends, and inside lines where text.h's rules say so; or at line ends alone. */
typedef enum km_sentence_rule { KM_SENTENCES_ICU, KM_SENTENCES_LINE } km_sentence_rule;
/* Spans: those that JSONL records give; these, and found ones (text.h) in text that has none given; none. */
typedef enum km_span_source { KM_SPANS_GIVEN, KM_SPANS_FIND, KM_SPANS_NONE } km_span_source;

/* What becomes of documents, and of paragraphs of 200 bytes or more, that repeat an earlier one to the letter: they are counted, or left out
 * too. A paragraph is lines up to a blank one, or one line of that length. */
typedef enum km_duplicate_rule { KM_DUPLICATES_REPORT, KM_DUPLICATES_DROP } km_duplicate_rule;

typedef struct km_corpus_options {
    const char *out;       /* the corpus file; the held-out one is <out without .h5>.holdout.h5 */
    const char *tokenizer; /* folder */
    const char *const
        *inputs; /* files, folders, archives, pipes ("-": standard input); what they hold is recognised (input.h) */
    int input_count;
    km_form form;
    const char *encoding; /* NULL: UTF-8, or found by marks and NUL bytes */
    km_invalid invalid;
    km_document document; /* plain text: what separates documents */
    const char *field;    /* JSONL: "text", or "a.b,c": several, each a paragraph; CSV and TSV: columns */
    double holdout;       /* share of documents, by hash of their text; 0 = none */
    bool force;           /* replace a corpus that has a held-out one by one without, and remove that */
    km_sentence_rule sentences;
    km_span_source spans;
    km_duplicate_rule duplicates;
} km_corpus_options;

typedef struct km_corpus_report {
    uint64_t files, documents, sentences, tokens; /* of the training part */
    uint64_t holdout_documents, holdout_sentences, holdout_tokens;
    uint64_t empty_documents, invalid_utf8, cut_lines, bad_records,
        skipped_lines;                                       /* counted and reported, never fatal */
    uint64_t spans, holdout_spans, bad_spans;                /* bad: given, but left out */
    uint64_t tagged_tokens, holdout_tagged_tokens, bad_tags; /* likewise */
    uint64_t duplicate_documents, duplicate_paragraphs;      /* of both parts; of other documents than those */
    uint64_t unknown_tokens;
    uint64_t joined_lines;  /* byte-level BPE: lines before which the line end was read as a blank */
    uint64_t median_tokens; /* of a document, to within 5 % */
    uint64_t bytes;         /* of text read */
} km_corpus_report;

/* Text to corpus: the ranks share the files in pieces of fixed size; the output is byte-identical for any number of
 * ranks. Collective. */
km_status km_corpus_build(km_comm *comm, const km_corpus_options *options, km_corpus_report *report) KM_NODISCARD;

/* Called with each line of a document, and with NULL at a document's end. */
typedef km_status (*km_text_taker)(void *context, const char *text, size_t count);
/* Reads texts as km_corpus_build does, and hands out their lines. Of the options, tokenizer, out, holdout, sentences and spans are
 * not used. The report has files, bytes, cut_lines, bad_records and skipped_lines. Local. */
km_status km_corpus_each_line(const km_corpus_options *options, km_text_taker take, void *context,
                              km_corpus_report *report) KM_NODISCARD;

/* Verifies and opens. The caller closes. */
km_status km_corpus_open(km_corpus **out, const char *path) KM_NODISCARD;
void km_corpus_close(km_corpus *corpus);
const km_tokenizer *km_corpus_tokenizer(const km_corpus *corpus); /* its own, rebuilt from the file */
uint64_t km_corpus_tokens(const km_corpus *corpus);
uint64_t km_corpus_documents(const km_corpus *corpus);
uint64_t km_corpus_sentences(const km_corpus *corpus);
bool km_corpus_has_spans(const km_corpus *corpus); /* whether it was built with spans, however many there are */
uint64_t km_corpus_spans(const km_corpus *corpus);
int km_corpus_tags(const km_corpus *corpus);                 /* how many different tags; 0: it has none */
const char *km_corpus_tag(const km_corpus *corpus, int tag); /* the name of a tag, 1..km_corpus_tags */
/* Adds up how often each token id (km_tokenizer_size) and each tag (1 + km_corpus_tags; 0: none) occurs among the tokens
 * first..first+count-1 that a mask may hide. Any thread. */
km_status km_corpus_count(const km_corpus *corpus, uint64_t first, uint64_t count, int64_t *by_id,
                          int64_t *by_tag) KM_NODISCARD;
km_hash km_corpus_hash(const km_corpus *corpus); /* of its content: two copies are equal */
const char *km_corpus_path(const km_corpus *corpus);
/* Notes beside the corpus that the run in this folder uses it, so that `corpus build` does not replace it by another text. Nothing
 * happens where the corpus' folder cannot be written to. */
void km_corpus_note_use(const km_corpus *corpus, const char *run);
/* How many of the held-out documents of at least `least` tokens (*documents) the training corpus has too, by a hash of their ids. Reads
 * both corpora once; memory grows with the documents of the held-out one. */
km_status km_corpus_shared(const km_corpus *held_out, const km_corpus *train, uint64_t least, uint64_t *shared,
                           uint64_t *documents) KM_NODISCARD;

/* ---- Rows -------------------------------------------------------------------------------------------------- */
/* A row is [CLS] tokens [SEP], at most `length` long. full_sentences: whole sentences, greedily, across documents,
 * with an extra [SEP] where a document ends inside the row (RoBERTa's FULL-SENTENCES); documents: the same, never
 * across documents; stream: filled to the brim, across documents likewise. Sentences that do not fit into a row are
 * cut. Rows with fewer than min_units maskable units are left out and counted. */
typedef enum km_packing { KM_PACK_FULL_SENTENCES, KM_PACK_DOCUMENTS, KM_PACK_STREAM } km_packing;
/* subword, word, span: what mask.unit names. A salient unit is a name, date or number that the corpus has. */
typedef enum km_unit { KM_UNIT_SUBWORD, KM_UNIT_WORD, KM_UNIT_SPAN, KM_UNIT_SALIENT } km_unit;
bool km_packing_named(km_packing *out, const char *name);
bool km_unit_named(km_unit *out, const char *name); /* not salient, which no option names */
const char *km_unit_name(km_unit unit);             /* "subword", ..., "salient" */
/* What a row has too few of, for messages: "tokens", "words" (of spans too), "names, dates and numbers". */
const char *km_unit_counted(km_unit unit);
const char *km_packing_names(void); /* "full_sentences|documents|stream" */
const char *km_unit_names(void);

typedef struct km_rows km_rows;

typedef struct km_rows_options {
    int length; /* 3..65535, with [CLS] and [SEP] */
    km_packing packing;
    km_unit unit;   /* what min_units counts; span counts words */
    int min_units;  /* K, or 1 */
    bool read_only; /* `file` is used where it fits, and not made */
} km_rows_options;

/* Finds row starts in one pass over the corpus. They are kept in `file` (written atomically; found there again when
 * it fits corpus and options), or with NULL in an unlinked temporary file. No usable row is an error.
 * Only one process at a time may create a given file; others then open it. */
km_status km_rows_open(km_rows **out, const km_corpus *corpus, const km_rows_options *options,
                       const char *file) KM_NODISCARD;
void km_rows_close(km_rows *rows);
uint64_t km_rows_count(const km_rows *rows);
uint64_t km_rows_left_out(const km_rows *rows);
int km_rows_length(const km_rows *rows);
km_hash km_rows_hash(const km_rows *rows); /* of the corpus, and of all that decides its rows */

/* A name, date or number in a row: positions start..end-1. */
typedef struct km_row_span {
    int start, end;
    km_span_kind kind;
} km_row_span;

/* A sentence of a row, or the part of one that the row has: positions start..end-1. */
typedef struct km_row_sentence {
    int start, end;
} km_row_sentence;

/* One row; arrays hold `length` entries, the caller's (km_row_create allocates them for a maximum length). */
typedef struct km_row {
    uint64_t number;
    int length;
    int32_t *ids;         /* with [CLS], [SEP] */
    uint8_t *starts_word; /* 1 where a word begins; specials: 1 */
    uint8_t *maskable;    /* 0 at cls, sep, pad, mask and unk */
    km_row_span
        *spans; /* (span_count) ascending, without overlap, cut to the row; none where the corpus has none */
    int span_count;
    bool wants_sentences;       /* set by the caller: finding them takes a search of the corpus for each row */
    km_row_sentence *sentences; /* (sentence_count) ascending; between two of different documents stands a [SEP] */
    int sentence_count;
    bool wants_tags; /* set by the caller, where it needs them */
    uint8_t *tags;   /* (length) the tag of each token, from 1; 0: none */
} km_row;
km_row *km_row_create(int max_length);
void km_row_destroy(km_row *row);
/* Any thread (pread). */
km_status km_rows_read(const km_rows *rows, uint64_t number, km_row *out) KM_NODISCARD;

/* ---- Order -------------------------------------------------------------------------------------------------- */
/* The row at place i of an epoch: a keyed permutation of 0..n-1 (a Feistel network walked until it lands below n). */
uint64_t km_order(uint64_t i, uint64_t n, uint64_t seed, uint64_t epoch);

#endif
