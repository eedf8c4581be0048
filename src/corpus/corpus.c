/* An open corpus: its directory, its tokenizer, and checked reads. How one is made: corpus_build.c. */
#include "corpus.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static km_status foreign(const km_corpus *corpus, const char *what) {
    return km_fail(KM_FAILED, "%s: %s. Build the corpus again with `kmask corpus build`.", corpus->path, what);
}

static km_status find_array(const km_corpus *corpus, const km_array **out, const char *name, km_dtype type,
                            km_dtype other) {
    const km_array *array = km_store_find(corpus->store, name);
    if (array == NULL) {
        return km_fail(KM_FAILED,
                       "%s: no array %s, which every corpus has. Build the corpus again with "
                       "`kmask corpus build`.",
                       corpus->path, name);
    }
    if (array->rank != 1 || (array->type != type && array->type != other) || array->count == 0) {
        return km_fail(KM_FAILED,
                       "%s: array %s has %d dimensions, type %s and %llu elements; expected one dimension, type %s "
                       "and at least one element",
                       corpus->path, name, array->rank, km_dtype_name(array->type),
                       (unsigned long long)array->count, km_dtype_name(type));
    }
    *out = array;
    return KM_OK;
}

static km_status check_last_end(const km_corpus *corpus, const km_array *ends) {
    uint64_t last = 0;
    KM_TRY(km_corpus_read_ends(corpus, ends, ends->count - 1, 1, &last));
    if (last != corpus->tokens->count) {
        return km_fail(KM_FAILED, "%s: the last of %s is %llu, but there are %llu tokens", corpus->path, ends->name,
                       (unsigned long long)last, (unsigned long long)corpus->tokens->count);
    }
    return KM_OK;
}

/* All three or none; older corpora have none. */
static km_status find_spans(km_corpus *corpus) {
    const km_array *starts = km_store_find(corpus->store, "/span_starts");
    const km_array *ends = km_store_find(corpus->store, "/span_ends");
    const km_array *kinds = km_store_find(corpus->store, "/span_kinds");
    if (starts == NULL && ends == NULL && kinds == NULL) {
        return KM_OK;
    }
    if (starts == NULL || ends == NULL || kinds == NULL || starts->rank != 1 || ends->rank != 1 ||
        kinds->rank != 1 || starts->type != KM_U64 || ends->type != KM_U64 || kinds->type != KM_U8 ||
        starts->count != ends->count || starts->count != kinds->count) {
        return foreign(corpus,
                       "/span_starts and /span_ends (uint64) and /span_kinds (uint8) are not there together, of "
                       "one length");
    }
    corpus->span_starts = starts;
    corpus->span_ends = ends;
    corpus->span_kinds = kinds;
    return KM_OK;
}

/* The array and the names, or neither; older corpora have none. */
static km_status find_tags(km_corpus *corpus) {
    const km_array *tags = km_store_find(corpus->store, "/tags");
    const char *names = km_store_text(corpus->store, "tags");
    if (tags == NULL && names == NULL) {
        return KM_OK;
    }
    if (tags == NULL || names == NULL || tags->rank != 1 || tags->type != KM_U8 ||
        tags->count != corpus->tokens->count || !km_tag_names_parse(&corpus->tag_names, names)) {
        return foreign(corpus, "/tags (uint8, one a token) and the attribute tags (a list of names) are not there "
                               "together");
    }
    corpus->tags = tags;
    return KM_OK;
}

static km_status find_arrays(km_corpus *corpus) {
    KM_TRY(find_array(corpus, &corpus->tokens, "/tokens", KM_U16, KM_U32));
    KM_TRY(find_array(corpus, &corpus->word_starts, "/word_starts", KM_U8, KM_U8));
    KM_TRY(find_array(corpus, &corpus->sentence_ends, "/sentence_ends", KM_U64, KM_U64));
    KM_TRY(find_array(corpus, &corpus->document_ends, "/document_ends", KM_U64, KM_U64));
    if (corpus->word_starts->count != corpus->tokens->count) {
        return foreign(corpus, "/word_starts and /tokens differ in length");
    }
    KM_TRY(find_spans(corpus));
    KM_TRY(find_tags(corpus));
    KM_TRY(check_last_end(corpus, corpus->sentence_ends));
    return check_last_end(corpus, corpus->document_ends);
}

static km_status find_tokenizer(km_corpus *corpus) {
    const char *text = km_store_text(corpus->store, "tokenizer");
    const char *expected = km_store_text(corpus->store, "tokenizer_hash");
    if (text == NULL || expected == NULL) {
        return foreign(corpus, "no tokenizer in it, which every corpus has");
    }
    KM_TRY(km_tokenizer_parse(&corpus->tokenizer, text, strlen(text), corpus->path));
    char found[33];
    km_hash_text(found, km_tokenizer_hash(corpus->tokenizer));
    if (strcmp(found, expected) != 0) {
        return km_fail(
            KM_FAILED,
            "%s: its tokenizer has hash %s, but the file was built with %.40s. Build the corpus again with "
            "`kmask corpus build`.",
            corpus->path, found, expected);
    }
    return KM_OK;
}

static km_status open_parts(km_corpus *corpus) {
    struct stat info;
    if (stat(corpus->path, &info) == 0 && S_ISDIR(info.st_mode)) { /* else a store takes it for a model's folder */
        return km_fail(KM_FAILED,
                       "%s: found a folder, expected a corpus: the file that `kmask corpus build --out` wrote",
                       corpus->path);
    }
    KM_TRY(km_store_open(&corpus->store, corpus->path));
    const char *kind = km_store_text(corpus->store, "kind");
    if (kind == NULL || strcmp(kind, "corpus") != 0) {
        return km_fail(KM_FAILED,
                       "%s: found a file of kind %.40s, expected a corpus (`kmask corpus build` makes one)",
                       corpus->path, kind == NULL ? "unknown" : kind);
    }
    KM_TRY(find_arrays(corpus));
    return find_tokenizer(corpus);
}

km_status km_corpus_open(km_corpus **out, const char *path) {
    km_corpus *corpus = km_new(1, sizeof *corpus);
    corpus->path = km_strdup(path);
    km_status status = open_parts(corpus);
    if (status != KM_OK) {
        km_corpus_close(corpus);
        corpus = NULL;
    }
    *out = corpus;
    return status;
}

void km_corpus_close(km_corpus *corpus) {
    if (corpus == NULL) {
        return;
    }
    km_store_close(corpus->store);
    km_tokenizer_destroy(corpus->tokenizer);
    km_tag_names_free(&corpus->tag_names);
    free(corpus->path);
    free(corpus);
}

const km_tokenizer *km_corpus_tokenizer(const km_corpus *corpus) {
    return corpus->tokenizer;
}

uint64_t km_corpus_tokens(const km_corpus *corpus) {
    return corpus->tokens->count;
}

uint64_t km_corpus_documents(const km_corpus *corpus) {
    return corpus->document_ends->count;
}

uint64_t km_corpus_sentences(const km_corpus *corpus) {
    return corpus->sentence_ends->count;
}

bool km_corpus_has_spans(const km_corpus *corpus) {
    return corpus->span_starts != NULL;
}

uint64_t km_corpus_spans(const km_corpus *corpus) {
    return corpus->span_starts != NULL ? corpus->span_starts->count : 0;
}

int km_corpus_tags(const km_corpus *corpus) {
    return corpus->tag_names.count;
}

const char *km_corpus_tag(const km_corpus *corpus, int tag) {
    return corpus->tag_names.names[tag - 1];
}

km_hash km_corpus_hash(const km_corpus *corpus) {
    return km_store_hash(corpus->store);
}

const char *km_corpus_path(const km_corpus *corpus) {
    return corpus->path;
}

/* uint16 ids are read into the upper half of `ids` and widened from the front: no second buffer. */
static void widen(int32_t *ids, size_t count) {
    const char *narrow = (const char *)ids + count * sizeof(uint16_t);
    for (size_t i = 0; i < count; i++) {
        uint16_t id = 0;
        memcpy(&id, narrow + i * sizeof id, sizeof id);
        ids[i] = id;
    }
}

km_status km_corpus_read_tokens(const km_corpus *corpus, uint64_t first, size_t count, int32_t *ids) {
    if (corpus->tokens->type == KM_U16) {
        char *upper = (char *)ids + count * sizeof(uint16_t);
        KM_TRY(km_store_read(corpus->store, corpus->tokens, first, count, upper));
        widen(ids, count);
    } else {
        KM_TRY(km_store_read(corpus->store, corpus->tokens, first, count, ids));
    }
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = KM_MAX(largest, (uint32_t)ids[i]);
    }
    int32_t size = km_tokenizer_size(corpus->tokenizer);
    if (largest >= (uint32_t)size) {
        return km_fail(KM_FAILED,
                       "%s: token id %u at or after token %llu, but its tokenizer has %d pieces. Build the corpus "
                       "again with `kmask corpus build`.",
                       corpus->path, largest, (unsigned long long)first, size);
    }
    return KM_OK;
}

km_status km_corpus_read_word_starts(const km_corpus *corpus, uint64_t first, size_t count, uint8_t *starts) {
    return km_store_read(corpus->store, corpus->word_starts, first, count, starts);
}

km_status km_corpus_read_tags(const km_corpus *corpus, uint64_t first, size_t count, uint8_t *tags) {
    if (corpus->tags == NULL) {
        memset(tags, 0, count);
        return KM_OK;
    }
    KM_TRY(km_store_read(corpus->store, corpus->tags, first, count, tags));
    for (size_t i = 0; i < count; i++) {
        if (tags[i] > corpus->tag_names.count) {
            return km_fail_kind(
                KM_ERROR_DAMAGED,
                "%s: token %llu has tag %d, but there are names for %d. Build the corpus again with "
                "`kmask corpus build`.",
                corpus->path, (unsigned long long)(first + i), tags[i], corpus->tag_names.count);
        }
    }
    return KM_OK;
}

km_status km_corpus_read_ends(const km_corpus *corpus, const km_array *ends, uint64_t first, size_t count,
                              uint64_t *out) {
    return km_store_read(corpus->store, ends, first, count, out);
}
