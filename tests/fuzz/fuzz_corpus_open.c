/* Any bytes as a corpus whose checksums are right: it opens and all of its rows can be read, or there is a sentence. */
#include "kmask/corpus.h"
#include "reseal.h"

#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[FUZZ_PATH];
static char *path;

static void leave(void) {
    unlink(path);
    rmdir(folder);
}

static void read_rows(const km_corpus *corpus, const km_rows_options *options) {
    km_rows *rows = NULL;
    km_row *row = km_row_create(options->length);
    row->wants_sentences = true;
    row->wants_tags = km_corpus_tags(corpus) > 0;
    if (km_rows_open(&rows, corpus, options, NULL) == KM_OK) {
        for (uint64_t i = 0; i < km_rows_count(rows) && i < 64; i++) {
            if (km_rows_read(rows, i, row) == KM_OK && row->length > options->length) {
                abort();
            }
        }
        km_rows_close(rows);
    }
    km_row_destroy(row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    km_corpus *corpus = NULL;
    if (path == NULL) {
        fuzz_folder(folder, "corpus");
        path = km_format("%s/c.h5", folder);
        atexit(leave);
    }
    fuzz_reseal(path, data, size);
    if (km_corpus_open(&corpus, path) == KM_OK) {
        const km_rows_options sentences = {.length = 16, .unit = KM_UNIT_WORD, .min_units = 2};
        const km_rows_options stream = {
            .length = 24, .packing = KM_PACK_STREAM, .unit = KM_UNIT_SALIENT, .min_units = 1};
        read_rows(corpus, &sentences);
        read_rows(corpus, &stream);
        km_corpus_close(corpus);
    } else if (km_message()[0] == '\0') {
        abort(); /* an error without a message */
    }
    return 0;
}
