/* A corpus of ten words for tests that train or evaluate on several ranks: made in a folder of its own, by all ranks of `comm`. */
#ifndef TESTS_TINY_CORPUS_H
#define TESTS_TINY_CORPUS_H

#include "kmask/comm.h"
#include "kmask/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TINY_VOCABULARY = 15, TINY_FIRST_WORD = 5 };

static km_comm *comm; /* the program opens it */
static char tiny_folder[64];
static km_corpus *corpus;

#define OK(call)                                                                                                   \
    do {                                                                                                           \
        if ((call) != KM_OK) {                                                                                     \
            fail_msg("%s", km_message());                                                                          \
        }                                                                                                          \
    } while (0)

static inline void tiny_write(const char *name, const km_buffer *text) {
    char *path = km_format("%s/%s", tiny_folder, name);
    OK(km_file_replace(path, text->data, text->size));
    free(path);
}

/* 200 lines of 5 to 13 words, a document every seven lines, and two documents of one word. */
static inline void tiny_inputs(void) {
    static const char *const words[] = {"red",   "green", "blue", "one",  "two",
                                        "three", "cat",   "dog",  "bird", "sees"};
    km_buffer vocab = {0}, text = {0};
    km_buffer_print(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (size_t i = 0; i < KM_COUNT(words); i++) {
        km_buffer_print(&vocab, "%s\n", words[i]);
    }
    km_rng rng = km_rng_make(1, KM_RNG_TEST, 0, 0);
    for (int line = 0; line < 200; line++) {
        for (uint32_t i = 5 + km_rng_below(&rng, 9); i > 0; i--) {
            km_buffer_print(&text, "%s ", words[km_rng_below(&rng, KM_COUNT(words))]);
        }
        km_buffer_print(&text, line % 7 == 0 ? "\n\n" : "\n");
    }
    km_buffer_print(&text, "\ncat\n\ndog\n");
    tiny_write("vocab.txt", &vocab);
    tiny_write("text.txt", &text);
    km_buffer_free(&vocab);
    km_buffer_free(&text);
}

/* Makes the corpus of the vocab.txt and text.txt that `write_inputs` puts into tiny_folder. Collective. */
static inline int tiny_make_of(void (*write_inputs)(void)) {
    strcpy(tiny_folder, "/tmp/kmask-tiny-XXXXXX");
    if (km_comm_rank(comm) == 0) {
        assert_non_null(mkdtemp(tiny_folder));
        write_inputs();
    }
    km_comm_broadcast(comm, tiny_folder, sizeof tiny_folder);
    char *out = km_format("%s/c.h5", tiny_folder), *input = km_format("%s/text.txt", tiny_folder);
    const char *inputs[] = {input};
    const km_corpus_options options = {
        .out = out, .tokenizer = tiny_folder, .inputs = inputs, .input_count = 1, .field = "text"};
    km_corpus_report report;
    OK(km_corpus_build(comm, &options, &report));
    OK(km_corpus_open(&corpus, out));
    free(out);
    free(input);
    return 0;
}

/* For cmocka's setup and teardown. Collective. */
static inline int tiny_make(void **state) {
    (void)state;
    return tiny_make_of(tiny_inputs);
}

static inline int tiny_clean(void **state) {
    (void)state;
    km_corpus_close(corpus);
    km_comm_barrier(comm);
    int failed = 0;
    if (km_comm_rank(comm) == 0) {
        char *command = km_format("rm -r %s", tiny_folder);
        failed = system(command);
        free(command);
    }
    return failed;
}

#endif
