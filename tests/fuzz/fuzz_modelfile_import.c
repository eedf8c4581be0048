/* A model's folder from one text: config.json, the header of model.safetensors, vocab.txt, tokenizer_config.json and, where there is
 * one, generation_config.json stand one after the other, with a line "%%" between them; the header's length and the bytes behind it are made to fit what
 * the header's last offset says. What can be imported is exported, and the export imports to the same weights. */
#include "folder.h"
#include "kmask/modelfile.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_DATA = 1 << 20 };

static char folder[FUZZ_PATH];
static const char *const names[] = {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json",
                                    "generation_config.json"};
static char *source, *model, *out;

static void clean(const char *of) {
    static const char *const all[] = {"config.json",           "model.safetensors", "vocab.txt",
                                      "tokenizer_config.json", "vocab.json",        "special_tokens_map.json",
                                      "tokenizer.json",        "merges.txt",        "generation_config.json"};
    for (size_t i = 0; i < KM_COUNT(all); i++) {
        char *path = km_format("%s/%s", of, all[i]);
        unlink(path);
        free(path);
    }
    rmdir(of);
}

static void leave(void) {
    clean(source);
    clean(out);
    unlink(model);
    rmdir(folder);
}

static void enter(void) {
    if (source != NULL) {
        return;
    }
    fuzz_folder(folder, "import");
    source = km_format("%s/source", folder);
    model = km_format("%s/model.h5", folder);
    out = km_format("%s/out", folder);
    km_log_mute(true);
    atexit(leave);
}

static void spill(size_t which, const void *bytes, size_t size) {
    char *path = km_format("%s/%s", source, names[which]);
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        abort();
    }
    free(path);
}

/* The largest "...,123]}" in the header. */
static size_t data_bytes(const char *header, size_t size) {
    size_t most = 0;
    for (size_t i = 0; i + 1 < size; i++) {
        if (header[i] == ']' && header[i + 1] == '}') {
            size_t number = 0, digit = 1;
            for (size_t at = i; at > 0 && header[at - 1] >= '0' && header[at - 1] <= '9' && digit < MOST_DATA;
                 at--) {
                number += digit * (size_t)(header[at - 1] - '0');
                digit *= 10;
            }
            most = KM_MAX(most, number);
        }
    }
    return KM_MIN(most, (size_t)MOST_DATA);
}

static void spill_weights(const char *header, size_t size) {
    uint64_t length = size;
    size_t tail = data_bytes(header, size), whole = sizeof length + size + tail;
    unsigned char *file = km_new(whole, 1);
    memcpy(file, &length, sizeof length);
    memcpy(file + sizeof length, header, size);
    for (size_t i = 0; i < tail; i++) {
        file[sizeof length + size + i] = (unsigned char)(i * 37 % 61);
    }
    spill(1, file, whole);
    free(file);
}

static void make_folder(const char *text, size_t size) {
    const char *end = text + size;
    if (km_make_folder(source) != KM_OK) {
        abort();
    }
    for (size_t i = 0; i < KM_COUNT(names) && text <= end; i++) {
        const char *line = memmem(text, (size_t)(end - text), "\n%%\n", 4);
        size_t count = (size_t)((line != NULL ? line : end) - text);
        if (i == 1) {
            spill_weights(text, count);
        } else {
            spill(i, text, count);
        }
        text = line != NULL ? line + 4 : end + 1;
    }
}

static km_json *import(const char *from, const char *to) {
    const km_import_options options = {.out = to, .seed = KM_FRESH_SEED};
    km_json *account = NULL;
    if (km_import(from, &options, &account) != KM_OK && km_message()[0] == '\0') {
        abort(); /* without a sentence */
    }
    return account;
}

static const char *hash_of(const km_json *account) {
    return km_json_string(km_json_get(account, "weights_hash"));
}

static void there_and_back(const km_json *account, bool extras) {
    const km_export_options options = {.dtype = "f32", .extras = extras};
    km_json *exported = NULL;
    if (km_export(model, out, &options, &exported) != KM_OK) {
        fprintf(stderr, "%s\n", km_message());
        abort();
    }
    km_json *again = import(out, NULL);
    if (again == NULL || strcmp(hash_of(again), hash_of(account)) != 0 ||
        km_json_size(km_json_get(again, "fresh")) > 0) {
        fprintf(stderr, "%s\n", again == NULL ? km_message() : "other weights");
        abort();
    }
    km_json_destroy(again);
    km_json_destroy(exported);
    clean(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enter();
    make_folder((const char *)data, size);
    km_json *account = import(source, model);
    if (account != NULL) {
        there_and_back(account, size % 2 == 0);
        km_json_destroy(account);
    }
    unlink(model);
    clean(source);
    return 0;
}
