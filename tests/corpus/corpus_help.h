/* What the tests of corpus and rows share: a vocabulary of letters, small files, corpora as one readable text. */
#ifndef TESTS_CORPUS_HELP_H
#define TESTS_CORPUS_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/corpus/corpus.h"

/* An own folder, removed at the end. */
static char help_folder[64];

/* "<folder>/<name>", one of a few buffers. */
static inline const char *at(const char *name) {
    static char paths[16][256];
    static int next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", help_folder, name);
    return path;
}

static inline void write_file(const char *name, const void *bytes, size_t count) {
    FILE *file = fopen(at(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static inline void write_text(const char *name, const char *text) {
    write_file(name, text, strlen(text));
}

static inline void must(km_status status) {
    if (status != KM_OK) {
        fail_msg("status %d: %s", (int)status, km_message());
    }
}

/* The call failed with a sentence that says `what`. */
static inline void must_fail(km_status status, const char *what) {
    assert_int_not_equal(status, KM_OK);
    if (strstr(km_message(), what) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", km_message(), what);
    }
}

/* tok/vocab.txt: the specials are 0..4, "a".."z" 5..30, "##a".."##z" 31..56, "." 57. */
enum { ID_UNK = 1, ID_CLS = 2, ID_SEP = 3, ID_MASK = 4, ID_A = 5, ID_AA = 31, VOCABULARY = 58 };
static inline void write_tokenizer(void) {
    km_buffer text = {0};
    km_buffer_print(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int prefix = 0; prefix < 2; prefix++) {
        for (char c = 'a'; c <= 'z'; c++) {
            km_buffer_print(&text, "%s%c\n", prefix ? "##" : "", c);
        }
    }
    km_buffer_print(&text, ".\n");
    must(km_make_folder(at("tok")));
    write_text("tok/vocab.txt", text.data);
    km_buffer_free(&text);
}

static inline void enter_folder(void) {
    strcpy(help_folder, "/tmp/kmask-test-XXXXXX");
    assert_non_null(mkdtemp(help_folder));
    write_tokenizer();
}

static inline void leave_folder(void) {
    char *command = km_format("rm -rf '%s'", help_folder);
    assert_int_equal(system(command), 0);
    free(command);
}

/* A group's setup and teardown, where one process runs it. */
static inline int enter(void **state) {
    (void)state;
    enter_folder();
    return 0;
}

static inline int leave(void **state) {
    (void)state;
    leave_folder();
    return 0;
}

/* All of a corpus: pieces in words run together, " " between words, "/" after a sentence, "|" after a document. */
static inline char *corpus_text(const km_corpus *corpus) {
    km_buffer text = {0};
    uint64_t sentence = 0, document = 0, sentence_end = 0, document_end = 0;
    for (uint64_t i = 0; i < km_corpus_tokens(corpus); i++) {
        int32_t id = 0;
        uint8_t start = 0;
        must(km_corpus_read_tokens(corpus, i, 1, &id));
        must(km_corpus_read_word_starts(corpus, i, 1, &start));
        must(km_corpus_read_ends(corpus, corpus->sentence_ends, sentence, 1, &sentence_end));
        must(km_corpus_read_ends(corpus, corpus->document_ends, document, 1, &document_end));
        const char *piece = km_tokenizer_piece(corpus->tokenizer, id);
        bool first = text.size == 0 || strchr("/|", text.data[text.size - 1]) != NULL;
        km_buffer_print(&text, "%s%s", start && !first ? " " : "", start ? piece : piece + 2);
        if (i + 1 == sentence_end) {
            sentence++;
            km_buffer_print(&text, "/");
        }
        if (i + 1 == document_end) {
            document++;
            km_buffer_print(&text, "|");
        }
    }
    assert_int_equal(sentence, km_corpus_sentences(corpus));
    assert_int_equal(document, km_corpus_documents(corpus));
    return text.data;
}

static inline void expect_corpus(const char *path, const char *expected) {
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, path));
    char *found = corpus_text(corpus);
    assert_string_equal(found, expected);
    free(found);
    km_corpus_close(corpus);
}

#endif
