/* corpus: what corpus*.c and rows*.c share. */
#ifndef KMASK_DATA_CORPUS_H
#define KMASK_DATA_CORPUS_H

#include "kmask/corpus.h"
#include "kmask/store.h"
#include "tags.h"

struct km_corpus {
    km_store *store;
    km_tokenizer *tokenizer;
    char *path;
    const km_array *tokens, *word_starts, *sentence_ends, *document_ends; /* the store's */
    const km_array *span_starts, *span_ends, *span_kinds;                 /* NULL: the corpus has none */
    const km_array *tags;                                                 /* likewise */
    km_tag_names tag_names;
};

/* Elements first..first+count-1; any thread. An id that the tokenizer does not have is an error. */
km_status km_corpus_read_tokens(const km_corpus *corpus, uint64_t first, size_t count, int32_t *ids) KM_NODISCARD;
km_status km_corpus_read_word_starts(const km_corpus *corpus, uint64_t first, size_t count,
                                     uint8_t *starts) KM_NODISCARD;
/* The tags of tokens, 0 where the corpus has none; any thread. A tag without a name is an error. */
km_status km_corpus_read_tags(const km_corpus *corpus, uint64_t first, size_t count, uint8_t *tags) KM_NODISCARD;
/* `ends` is one of the corpus' two arrays of ends. */
km_status km_corpus_read_ends(const km_corpus *corpus, const km_array *ends, uint64_t first, size_t count,
                              uint64_t *out) KM_NODISCARD;

/* The spans in tokens first..first+count-1, cut to these, as positions from 0; at most `count`. Any thread. */
km_status km_corpus_read_spans(const km_corpus *corpus, uint64_t first, size_t count, km_row_span *out,
                               int *found) KM_NODISCARD;
/* The sentences of tokens first..first+count-1, cut to these, as positions from 0; at most `count`, without gaps. Any thread. */
km_status km_corpus_read_sentences(const km_corpus *corpus, uint64_t first, size_t count, km_row_sentence *out,
                                   int *found) KM_NODISCARD;

/* The file of held-out documents that belongs to `out`; the caller frees. */
char *km_corpus_holdout_path(const char *out);

/* km_corpus_build with the size in bytes of the pieces that files are cut into: the output depends neither on it
 * nor on the number of ranks (the tests use tiny pieces). Collective. */
km_status km_corpus_build_pieces(km_comm *comm, const km_corpus_options *options, uint64_t piece,
                                 km_corpus_report *report) KM_NODISCARD;

#endif
