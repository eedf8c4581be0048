/* data: from text files to micro-batches. The corpus and how it is built, rows (packing), the order of rows, masks by policy,
 * sources of examples, and a reader that reads ahead over a source. Nothing here grows with the corpus in memory. Sources take
 * numbers of examples and never hear of ranks; only km_corpus_build is collective. */
#ifndef KMASK_DATA_H
#define KMASK_DATA_H

#include "kmask/base.h"
#include "kmask/batch.h"
#include "kmask/comm.h"
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
typedef struct km_mask_config {
    uint64_t given;
    char policy[KM_WORD], unit[KM_WORD];
    double ratio; /* 0 = "partition" */
    int64_t splits;
    char over[KM_WORD];
    double replace_mask, replace_random;
} km_mask_config;
extern const km_section km_data_section, km_mask_section;
/* Whether K masks of this ratio fit into a row, and shares of replacement into 1. KM_USAGE. */
km_status km_mask_config_check(const km_mask_config *mask) KM_NODISCARD;

/* ---- Whole files ------------------------------------------------------------------------------------------- */

/* The text of a file, decompressed where its first bytes are gzip's, with a NUL after it (the caller frees). A text of more than
 * `limit` bytes, and a gzip file that is cut short or damaged, are KM_FAILED. */
km_status km_text_read(char **out, size_t *size, const char *path, size_t limit) KM_NODISCARD;

/* ---- Corpus ------------------------------------------------------------------------------------------------ */
/* An HDF5 file (store.h) with /tokens (n) uint16 or uint32, /word_starts (n) uint8: 1 where a token begins a word,
 * /sentence_ends and /document_ends uint64: index after the last token of each, ascending. Where it has spans (names,
 * dates, numbers), /span_starts and /span_ends uint64: a span's first token and the index after its last, ascending
 * without overlap, and /span_kinds uint8 (km_span_kind). Attributes: kind "corpus", tokenizer (JSON), tokenizer_hash,
 * documents, sentences, sentence_rules ("line", or which version of which rules), spans (given | found | none). */
typedef struct km_corpus km_corpus;

typedef enum km_document { KM_DOCUMENT_BLANK, KM_DOCUMENT_LINE, KM_DOCUMENT_FILE } km_document;

/* Sentences end at line ends, and inside lines where text.h's rules say so; or at line ends alone. */
typedef enum km_sentence_rule { KM_SENTENCES_ICU, KM_SENTENCES_LINE } km_sentence_rule;
/* Spans: those that JSONL records give; these, and found ones (text.h) in text that has none given; none. */
typedef enum km_span_source { KM_SPANS_GIVEN, KM_SPANS_FIND, KM_SPANS_NONE } km_span_source;

typedef struct km_corpus_options {
    const char *out;       /* the corpus file; the held-out one is <out without .h5>.holdout.h5 */
    const char *tokenizer; /* folder */
    const char *const
        *inputs; /* files or folders: .txt and anything else plain, .jsonl/.ndjson/.json, .gz of either */
    int input_count;
    km_document document; /* plain text: what separates documents */
    const char *field;    /* JSONL: "text", or "a.b,c": several, each a paragraph */
    double holdout;       /* share of documents, by hash of their text; 0 = none */
    km_sentence_rule sentences;
    km_span_source spans;
} km_corpus_options;

typedef struct km_corpus_report {
    uint64_t files, documents, sentences, tokens; /* of the training part */
    uint64_t holdout_documents, holdout_sentences, holdout_tokens;
    uint64_t empty_documents, invalid_utf8, cut_lines, bad_records; /* counted and reported, never fatal */
    uint64_t spans, holdout_spans, bad_spans;                       /* bad: given, but left out */
    uint64_t unknown_tokens;
    uint64_t median_tokens; /* of a document, to within 5 % */
    uint64_t bytes;         /* of text read */
} km_corpus_report;

/* Text to corpus: the ranks share the files in pieces of fixed size; the output is byte-identical for any number of
 * ranks. Collective. */
km_status km_corpus_build(km_comm *comm, const km_corpus_options *options, km_corpus_report *report) KM_NODISCARD;

/* Verifies and opens. The caller closes. */
km_status km_corpus_open(km_corpus **out, const char *path) KM_NODISCARD;
void km_corpus_close(km_corpus *corpus);
const km_tokenizer *km_corpus_tokenizer(const km_corpus *corpus); /* its own, rebuilt from the file */
uint64_t km_corpus_tokens(const km_corpus *corpus);
uint64_t km_corpus_documents(const km_corpus *corpus);
uint64_t km_corpus_sentences(const km_corpus *corpus);
bool km_corpus_has_spans(const km_corpus *corpus); /* whether it was built with spans, however many there are */
uint64_t km_corpus_spans(const km_corpus *corpus);
km_hash km_corpus_hash(const km_corpus *corpus); /* of its content: two copies are equal */
const char *km_corpus_path(const km_corpus *corpus);

/* ---- Rows -------------------------------------------------------------------------------------------------- */
/* A row is [CLS] tokens [SEP], at most `length` long. full_sentences: whole sentences, greedily, across documents,
 * with an extra [SEP] where a document ends inside the row (RoBERTa's FULL-SENTENCES); documents: the same, never
 * across documents; stream: filled to the brim, across documents likewise. Sentences that do not fit into a row are
 * cut. Rows with fewer than min_units maskable units are left out and counted. */
typedef enum km_packing { KM_PACK_FULL_SENTENCES, KM_PACK_DOCUMENTS, KM_PACK_STREAM } km_packing;
typedef enum km_unit { KM_UNIT_SUBWORD, KM_UNIT_WORD, KM_UNIT_SPAN } km_unit;
bool km_packing_named(km_packing *out, const char *name);
bool km_unit_named(km_unit *out, const char *name);
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

/* A name, date or number in a row: positions start..end-1. */
typedef struct km_row_span {
    int start, end;
    km_span_kind kind;
} km_row_span;

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
} km_row;
km_row *km_row_create(int max_length);
void km_row_destroy(km_row *row);
/* Any thread (pread). */
km_status km_rows_read(const km_rows *rows, uint64_t number, km_row *out) KM_NODISCARD;

/* ---- Order -------------------------------------------------------------------------------------------------- */
/* The row at place i of an epoch: a keyed permutation of 0..n-1 (a Feistel network walked until it lands below n). */
uint64_t km_order(uint64_t i, uint64_t n, uint64_t seed, uint64_t epoch);

/* ---- Masks -------------------------------------------------------------------------------------------------- */
/* Section 4 of src/README.md. */

/* What is asked of a policy. */
typedef struct km_mask_spec {
    km_unit unit;
    int splits;   /* K */
    double ratio; /* 0 = partition */
} km_mask_spec;

/* tau = max(1, floor(ratio n + 0.5)), at most floor(n/K) where K ratio <= 1; partition: floor(n/K). */
int km_mask_tau(const km_mask_spec *spec, int units);

/* The masks of one visit of a row: mask k is 1 at the token positions it hides, masks[k * stride + position]. */
typedef struct km_masks {
    int splits, stride;
    uint8_t *masks; /* (K, stride), the caller's */
    int units, tau; /* of the (first) mask: units of the row, and how many each mask hides */
} km_masks;

/* One reading of a row. Masks are a function of the row and of this, and of nothing else. */
typedef struct km_mask_visit {
    uint64_t seed;
    km_purpose purpose;
    uint64_t number; /* counts the visits of each row: the epoch, or over epochs the epoch divided by K */
} km_mask_visit;

/* A masker draws the masks of rows by one policy. It has room to work in, so each thread needs its own. */
typedef struct km_masker km_masker;

/* A policy: what it says of itself, and how its maskers are made. It is one file, mask_<policy>.c, and one line in the table of
 * mask.c; everything else asks here. */
typedef struct km_mask_policy {
    const char *name;
    const char *help; /* what it masks, in a few words */
    bool disjoint;    /* no two of the K masks hide the same unit */
    bool uniform;     /* each single mask is uniform over the sets of tau units (Zheng et al. 2020, Lemma 2) */
    bool needs_spans; /* only a corpus with names, dates and numbers will do */
    /* KM_USAGE where splits and ratio do not fit this policy; ranges are checked already. NULL: all do. */
    km_status (*check)(const km_mask_spec *spec);
    /* Most tokens that a mask hides in a row of `tokens` maskable ones. */
    int (*most_hidden)(const km_mask_spec *spec, int tokens);
    /* `length`: of the longest row. */
    km_status (*create)(km_masker **out, const km_mask_spec *spec, const km_corpus *corpus, int length);
    /* Draws all K masks of a visit; they are zero before. */
    km_status (*draw)(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out);
    void (*destroy)(km_masker *masker);
} km_mask_policy;

const km_mask_policy *km_mask_policy_named(const char *name); /* NULL when unknown */
const km_mask_policy *km_mask_policy_at(int index);           /* in the table's order; NULL behind the last */
const char *km_mask_policy_names(void);                       /* "fully_explored|random" */
/* KM_USAGE where the ranges of a spec, or what the policy says of it, are not met. */
km_status km_mask_policy_check(const km_mask_policy *policy, const km_mask_spec *spec) KM_NODISCARD;

/* Checks the spec. `length`: of the longest row. The corpus must outlive the masker, and is NULL where there is none. */
km_status km_masker_create(km_masker **out, const km_mask_policy *policy, const km_mask_spec *spec,
                           const km_corpus *corpus, int length) KM_NODISCARD;
void km_masker_destroy(km_masker *masker); /* NULL is fine */
/* Draws all K masks of a visit into out->masks (K, stride). A row with fewer units than K is KM_FAILED. */
km_status km_masker_draw(km_masker *masker, const km_row *row, const km_mask_visit *visit,
                         km_masks *out) KM_NODISCARD;

/* Units of the row; for spans its words, of which spans are made anew for every mask. */
int km_row_units(const km_row *row, km_unit unit);
/* mask (row->length) becomes 1 at the tokens of the `count` units that `units` numbers, else 0. Not for spans. */
void km_row_hide(const km_row *row, km_unit unit, const int *units, int count, uint8_t *mask);

/* The farthest that two masks of tau out of n units can differ: 2 min(tau, n - tau). */
int km_mask_farthest(int units, int tau);
/* Masks at given Hamming distances, counted in units (Zheng et al. 2020, Assumption 1): mask 0 is uniform over the sets of
 * tau units; mask 1+i is at distance distances[i] = 2 * round(shares[i] * farthest / 2) from it, and given mask 0 uniform
 * over the sets that are. Shares are 0..1. Spans are tiled once for all masks. out has room for max(K, 1 + count). Randomness
 * as in km_masker_draw. */
km_status km_mask_distances(const km_mask_spec *spec, const km_row *row, const km_mask_visit *visit,
                            const double *shares, int count, int *distances, km_masks *out) KM_NODISCARD;

/* ---- Views --------------------------------------------------------------------------------------------------- */

/* How a row under a mask becomes what a model sees. */
typedef struct km_view_options {
    double replace_mask,
        replace_random; /* shares of masked tokens shown as [MASK], and as a random one; the rest stay */
} km_view_options;

/* One view at a time, of a row and a mask of the caller's. */
typedef struct km_view_maker km_view_maker;
km_status km_view_maker_create(km_view_maker **out, const km_corpus *corpus, int length,
                               const km_view_options *options) KM_NODISCARD;
void km_view_maker_destroy(km_view_maker *maker); /* NULL is fine */
/* A batch of one view: the row under `mask` (row->length). What replaces hidden tokens, and the view's keys for dropout,
 * follow from (seed, visit, index, row). The batch is the maker's and valid until the next call. */
km_status km_view_maker_make(km_view_maker *maker, const km_row *row, const uint8_t *mask, uint64_t seed,
                             uint64_t visit, uint32_t index, const km_batch **out) KM_NODISCARD;

/* Frozen evaluation masks: row `number` as ceil(1/ratio) views that together mask every maskable unit once (empty
 * ones are left out). The batch is the maker's and valid until the next call. */
typedef struct km_eval_views km_eval_views;
km_status km_eval_views_create(km_eval_views **out, const km_rows *rows, const km_corpus *corpus, double ratio,
                               km_unit unit, uint64_t seed) KM_NODISCARD;
void km_eval_views_destroy(km_eval_views *views);
km_batch_limits km_eval_views_limits(const km_eval_views *views);
km_status km_eval_views_make(km_eval_views *views, uint64_t number, const km_batch **out) KM_NODISCARD;

/* ---- Sources --------------------------------------------------------------------------------------------------- */

/* A batch that is being filled, view by view (src/data/builder.h). */
typedef struct km_batch_builder km_batch_builder;

/* A source makes examples for a model. Example i is a function of the source and of i alone, so that any process can make any of
 * them: in training, view j of step s is example s * views + j. A source is this struct, with what it needs behind it. */
typedef struct km_source km_source;
struct km_source {
    /* What no batch of `views` examples exceeds; KM_USAGE where that is more than a batch can count. */
    km_status (*limits)(const km_source *source, int views, km_batch_limits *out);
    /* Appends example `number` to the batch as one view. Called from one thread at a time. */
    km_status (*make)(km_source *source, uint64_t number, km_batch_builder *out);
    void (*destroy)(km_source *source);
};
void km_source_destroy(km_source *source); /* NULL is fine */

/* Rows under masks, the source of pre-training: example i over a step is the row at place i/K under mask i%K of the K that are
 * drawn together; over epochs it is the row at place i, which in epoch e (i div rows) is under mask e%K of the K drawn for e/K. */
typedef struct km_source_rows_options {
    uint64_t seed;
    const km_mask_policy *policy;
    km_mask_spec mask;
    bool over_epochs;
    km_view_options view;
} km_source_rows_options;
/* Rows and corpus must outlive the source. */
km_status km_source_rows_create(km_source **out, const km_rows *rows, const km_corpus *corpus,
                                const km_source_rows_options *options) KM_NODISCARD;

/* One labelled example, as a model reads it: [CLS] and [SEP] are among its tokens. */
typedef struct km_example {
    const int32_t *ids; /* (length) */
    int length;
    int second;    /* the tokens from here on have token type 1; `length`: none has */
    int32_t label; /* the class of the example */
    float number;  /* or its number */
} km_example;

typedef struct km_source_examples_options {
    uint64_t seed;
    bool numbers; /* the examples have numbers, else classes */
    bool ordered; /* example i is examples[i mod count], as for predictions */
} km_source_examples_options;
/* Labelled examples, the source of fine-tuning: example i is examples[km_order(i mod count, count, seed, i div count)], so that every
 * epoch has each of them once, in an order of its own. `examples` (count > 0) must outlive the source. */
km_status km_source_examples_create(km_source **out, const km_example *examples, size_t count,
                                    const km_source_examples_options *options) KM_NODISCARD;

/* ---- Reading ahead ------------------------------------------------------------------------------------------------ */

/* Makes the micro-batches of steps from a source, one request ahead, in a thread of its own. */
typedef struct km_reader km_reader;

/* `views`: of a step; `micro_batch`: of them in a micro-batch. The source is the reader's from now on, also after a failure. */
km_status km_reader_create(km_reader **out, km_source *source, int64_t views, int64_t micro_batch) KM_NODISCARD;
void km_reader_destroy(km_reader *reader);            /* waits for its thread; NULL is fine */
int km_reader_views(const km_reader *reader);         /* of a step */
int km_reader_micro_batches(const km_reader *reader); /* of a step: ceil(views / micro_batch) */
/* Upper limits of any batch, for planning memory. */
km_batch_limits km_reader_limits(const km_reader *reader);
/* Begins to make micro-batches first..first+count-1 of step (from 0). At most two requests may be open. */
void km_reader_request(km_reader *reader, uint64_t step, int first, int count);
/* Waits for the oldest request; batches (count) are the reader's and valid until the take after the next. */
km_status km_reader_take(km_reader *reader, const km_batch **batches, int *count) KM_NODISCARD;

#endif
