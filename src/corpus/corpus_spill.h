/* spill: one rank's tokenized documents on their way into the corpus file. They lie in temporary files next to it, which are
 * unlinked as soon as they are open, so that nothing is left behind, however the process ends. */
#ifndef KMASK_DATA_CORPUS_SPILL_H
#define KMASK_DATA_CORPUS_SPILL_H

#include "corpus_stream.h"
#include "kmask/corpus.h"
#include "tags.h"

/* The arrays of a corpus, in the order in which they are spilled. */
enum {
    SPILL_TOKENS,
    SPILL_WORD_STARTS,
    SPILL_SENTENCE_ENDS,
    SPILL_SPAN_STARTS,
    SPILL_SPAN_ENDS,
    SPILL_SPAN_KINDS,
    SPILL_TAGS,
    SPILL_DOCUMENT_ENDS,
    SPILL_ARRAYS
};
/* Where documents go. */
enum { SPILL_TRAIN, SPILL_HOLDOUT, SPILL_SIDES };

/* A document or a long paragraph that was read. */
typedef enum km_passage_kind { KM_PASSAGE_DOCUMENT, KM_PASSAGE_PARAGRAPH, KM_PASSAGE_KINDS } km_passage_kind;
typedef struct km_passage {
    km_hash hash; /* of its text */
    uint64_t
        document; /* of a paragraph: the number of its document among those with a token; of a document: its side */
    uint64_t first,
        count; /* tokens: of a document in its side's arrays; of a paragraph from its document's first token on */
} km_passage;

/* A histogram of document sizes, which ranks add up: one bin a size below 64, above that bins of 1/32 of the size. */
enum { SPILL_BINS = 64 + 58 * 32 };
uint64_t km_histogram_median(const int64_t bins[SPILL_BINS]);

typedef struct km_spill km_spill;

/* `path` is what the names of the spilled files begin with. Ids are stored with `id_bytes` bytes (2 or 4). Of the options, holdout, sentences and spans are used. */
km_status km_spill_open(km_spill **out, const char *path, int rank, const km_tokenizer *tokenizer, int id_bytes,
                        const km_corpus_options *options) KM_NODISCARD;
void km_spill_close(km_spill *spill);

/* Adds a line to the document: one sentence or several, none of them without a token. Blanks at its end are cut off; a blank line only
 * ends a paragraph. To byte-level BPE the line end before a line that goes on with a paragraph is a blank. `spans` (NULL: none) are names, dates and numbers in the line, ascending and without overlap; no sentence ends
 * inside one. A span in which no token begins is counted and left out. `tags` (NULL: none) are tagged ranges of the line, likewise;
 * a token has the tag of the first range that it shares a byte with. (With WordPiece all tokens of a word lie where the word does, and
 * have one tag.) */
km_status km_spill_line(km_spill *spill, const char *text, size_t count, const km_spans *spans,
                        const km_spans *tags) KM_NODISCARD;
/* Ends the document. The hash of its text now decides whether it is held out. A document without a token is only counted. */
km_status km_spill_end_document(km_spill *spill) KM_NODISCARD;

/* Documents with a token, and long paragraphs, in the order in which they were read. Those of kind document are numbered by it. */
uint64_t km_spill_passages(const km_spill *spill, km_passage_kind kind);
km_status km_spill_read_passages(const km_spill *spill, km_passage_kind kind, uint64_t first, size_t count,
                                 km_passage *out) KM_NODISCARD;
/* The arrays of a side, which may be replaced (those without a path are not there); then they are counted again. */
km_stream *km_spill_streams(km_spill *spill, int side);    /* (SPILL_ARRAYS) */
size_t km_spill_element(const km_spill *spill, int array); /* bytes of an element */
km_status km_spill_recount(km_spill *spill) KM_NODISCARD;

/* Fills in what this spill counts: documents, sentences, tokens of both sides, spans, tagged tokens, empty_documents,
 * invalid_utf8, unknown_tokens, bad_spans. */
void km_spill_report(const km_spill *spill, km_corpus_report *report);
const int64_t *km_spill_histogram(const km_spill *spill); /* (SPILL_BINS), of the training side */
bool km_spill_joins(const km_spill *spill);               /* whether it matters where paragraphs end */
/* The rules for sentence ends, as the corpus' attribute names them. */
const char *km_spill_sentence_rules(const km_spill *spill);
/* Elements of an array. Ends count from the spill's own first token. */
uint64_t km_spill_count(const km_spill *spill, int side, int array);
/* After the last document of a corpus with tags: tags become number[tag], and every token has one (0: none). */
km_status km_spill_number_tags(km_spill *spill, const uint8_t number[KM_MOST_TAGS + 1]) KM_NODISCARD;
/* Copies an array to byte `offset` of an open file. `base` is added to ends and starts, which count tokens. */
km_status km_spill_copy(km_spill *spill, int side, int array, uint64_t base, int fd, uint64_t offset,
                        const char *path) KM_NODISCARD;

#endif
