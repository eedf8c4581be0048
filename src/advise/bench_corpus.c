/* bench_corpus: random tokens in a corpus file like any other, so that rows, masks and batches are made as in a run. */
#include "bench_private.h"
#include "kmask/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPECIALS = 5, SENTENCE = 24, SEED = 1 };

static km_status make_tokenizer(km_tokenizer **out, const char *folder, int64_t vocabulary) {
    km_buffer text = {0};
    km_buffer_print(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int64_t i = SPECIALS; i < vocabulary; i++) {
        km_buffer_print(&text, "w%lld\n", (long long)i);
    }
    char *path = km_format("%s/vocab.txt", folder);
    km_status status = km_file_replace(path, text.data, text.size);
    if (status == KM_OK) {
        status = km_tokenizer_open(out, folder);
    }
    (void)unlink(path);
    free(path);
    km_buffer_free(&text);
    return status;
}

static km_status describe(km_store *store, const km_tokenizer *tokenizer, uint64_t tokens, uint64_t sentences) {
    char hash[33], *text = km_tokenizer_print(tokenizer);
    const uint64_t one = 1;
    km_hash_text(hash, km_tokenizer_hash(tokenizer));
    km_status status = km_store_set_text(store, "tokenizer", text);
    free(text);
    KM_TRY(status);
    KM_TRY(km_store_set_text(store, "tokenizer_hash", hash));
    KM_TRY(km_store_set_text(store, "kind", "corpus"));
    KM_TRY(km_store_add(store, "/tokens", KM_U32, 1, &tokens));
    KM_TRY(km_store_add(store, "/word_starts", KM_U8, 1, &tokens));
    KM_TRY(km_store_add(store, "/sentence_ends", KM_U64, 1, &sentences));
    KM_TRY(km_store_add(store, "/document_ends", KM_U64, 1, &one));
    return km_store_layout(store);
}

static km_status write_all(km_store *store, const char *name, const void *data) {
    const km_array *array = km_store_find(store, name);
    return km_store_write(store, array, 0, array->count, data);
}

/* All tokens are equally likely, and three in four begin a word. */
static km_status write_tokens(km_store *store, uint64_t tokens, uint64_t sentences, int64_t vocabulary) {
    uint32_t *ids = km_new(tokens, sizeof *ids);
    uint8_t *starts = km_new(tokens, sizeof *starts);
    uint64_t *ends = km_new(sentences, sizeof *ends);
    km_rng rng = km_rng_make(SEED, KM_RNG_TEST, 0, 0);
    for (uint64_t i = 0; i < tokens; i++) {
        ids[i] = SPECIALS + km_rng_below(&rng, (uint32_t)(vocabulary - SPECIALS));
        starts[i] = i % SENTENCE == 0 || km_rng_below(&rng, 4) > 0;
    }
    for (uint64_t i = 0; i < sentences; i++) {
        ends[i] = KM_MIN((i + 1) * SENTENCE, tokens);
    }
    km_status status = write_all(store, "/tokens", ids);
    status = status == KM_OK ? write_all(store, "/word_starts", starts) : status;
    status = status == KM_OK ? write_all(store, "/sentence_ends", ends) : status;
    status = status == KM_OK ? write_all(store, "/document_ends", &tokens) : status;
    free(ids);
    free(starts);
    free(ends);
    return status;
}

static km_status make_file(const char *path, const km_tokenizer *tokenizer, uint64_t tokens) {
    const uint64_t sentences = (tokens + SENTENCE - 1) / SENTENCE;
    km_store *store = NULL;
    KM_TRY(km_store_create(&store, path));
    km_status status = describe(store, tokenizer, tokens, sentences);
    if (status == KM_OK) {
        status = write_tokens(store, tokens, sentences, km_tokenizer_size(tokenizer));
    }
    if (status != KM_OK) {
        km_store_abandon(store);
        return status;
    }
    return km_store_commit(store);
}

static km_status make_and_open(km_corpus **out, const char *folder, const km_config *config,
                               const km_tokenizer *given, uint64_t tokens) {
    km_tokenizer *made = NULL;
    KM_TRY(given == NULL ? make_tokenizer(&made, folder, config->model.vocab_size) : KM_OK);
    char *path = km_format("%s/corpus.h5", folder);
    km_status status = make_file(path, given != NULL ? given : made, tokens);
    if (status == KM_OK) {
        status = km_corpus_open(out, path);
    }
    (void)unlink(path); /* an open file stays readable */
    free(path);
    km_tokenizer_destroy(made);
    return status;
}

km_status km_bench_corpus_open(km_corpus **out, const km_config *config, const km_tokenizer *tokenizer) {
    enum { FRAME = 2 /* [CLS] and [SEP] */, MOST_ROWS = 4096, FEWEST_ROWS = 64 };
    const int64_t vocabulary = tokenizer != NULL ? km_tokenizer_size(tokenizer) : config->model.vocab_size;
    const int64_t rows = KM_MIN(KM_MAX(config->train.sequences, FEWEST_ROWS), MOST_ROWS);
    *out = NULL;
    if (vocabulary <= 2 * SPECIALS) {
        return km_fail(KM_USAGE, "model.vocab_size: found %lld, expected more than %d", (long long)vocabulary,
                       2 * SPECIALS);
    }
    const char *where = getenv("TMPDIR");
    char *folder = km_format("%s/kmask-bench-XXXXXX", where != NULL && where[0] != '\0' ? where : "/tmp");
    km_status status = KM_OK;
    if (mkdtemp(folder) == NULL) {
        status = km_fail_kind(km_errno_kind(errno),
                              "%s: cannot make a temporary folder: %s. Set TMPDIR to a folder that takes some "
                              "megabytes.",
                              folder, strerror(errno));
    } else {
        status = make_and_open(out, folder, config, tokenizer, (uint64_t)(rows * (config->data.length - FRAME)));
        (void)rmdir(folder);
    }
    free(folder);
    return status;
}
