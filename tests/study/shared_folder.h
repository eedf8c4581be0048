/* A folder of their own for the tests of several ranks, in which rank 0 writes what all of them read. */
#ifndef TESTS_STUDY_SHARED_FOLDER_H
#define TESTS_STUDY_SHARED_FOLDER_H

#include "kmask/comm.h"
#include "kmask/corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static km_comm *comm; /* the program opens it */
static char folder[64];

#define OK(call)                                                                                                   \
    do {                                                                                                           \
        if ((call) != KM_OK) {                                                                                     \
            fail_msg("%s", km_message());                                                                          \
        }                                                                                                          \
    } while (0)

/* "<folder>/<name>", one of a few buffers. */
static inline const char *at(const char *name) {
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Makes the folder, and has rank 0 fill it. Collective. */
static inline void enter_together(void (*write)(void)) {
    strcpy(folder, "/tmp/kmask-study-XXXXXX");
    if (km_comm_rank(comm) == 0) {
        assert_non_null(mkdtemp(folder));
        write();
    }
    km_comm_broadcast(comm, folder, sizeof folder);
}

/* Builds the corpus `out` of the text `input`, both in the folder, whose vocab.txt is its tokenizer's. Collective. */
static inline void build_corpus(const char *input, const char *out) {
    const char *inputs[] = {at(input)};
    const km_corpus_options options = {
        .out = at(out), .tokenizer = folder, .inputs = inputs, .input_count = 1, .field = "text"};
    km_corpus_report report;
    OK(km_corpus_build(comm, &options, &report));
}

/* For cmocka's teardown. Collective. */
static inline int clean(void **state) {
    (void)state;
    km_comm_barrier(comm);
    int failed = 0;
    if (km_comm_rank(comm) == 0) {
        char *command = km_format("rm -r %s", folder);
        failed = system(command);
        free(command);
    }
    km_comm_barrier(comm);
    return failed;
}

#endif
