/* Opens a tokenizer folder with any files. The input is cut at bytes 0x1E; the first byte of each part says which file it is.
 * A tokenizer that opens is printed and parsed, and written as tokenizer.json and read again, with the same hash. */
#include "folder.h"
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"vocab.txt",         "vocab.json",
                                    "merges.txt",        "tokenizer.json",
                                    "config.json",       "tokenizer_config.json",
                                    "added_tokens.json", "encoder.json",
                                    "vocab.bpe",         "special_tokens_map.json"};
static char folder[FUZZ_PATH];

static void put(const char *name, const void *bytes, size_t count) {
    char *path = km_format("%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, count, file) != count || fclose(file) != 0) {
        abort();
    }
    free(path);
}

static void clear(void) {
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        char *path = km_format("%s/%s", folder, names[i]);
        unlink(path);
        free(path);
    }
}

static void leave(void) {
    clear();
    rmdir(folder);
}

static void use(const km_tokenizer *t) {
    static const char text[] = "the [MASK] <mask> ab aabb  \t\xC3\xA9\xFF\x01 \xE4\xB8\xAD don't";
    for (int variant = 0; variant < 4; variant++) {
        km_ids ids = {.ranges = variant / 2 == 1};
        km_encode(t, text, strlen(text), variant % 2 == 1, &ids, NULL);
        char *decoded = km_decode(t, ids.ids, ids.count, false);
        free(decoded);
        km_ids_free(&ids);
    }
}

/* Printing a tokenizer and writing its tokenizer.json both keep everything that decides ids. */
static void check(const km_tokenizer *t) {
    km_tokenizer *parsed = NULL, *read = NULL;
    char *text = km_tokenizer_print(t);
    if (km_tokenizer_parse(&parsed, text, strlen(text), "print") != KM_OK) {
        puts(km_message());
        abort();
    }
    km_buffer json = {0};
    km_tokenizer_json_print(t, &json);
    clear();
    put("tokenizer.json", json.data, json.size);
    km_json *map = km_specials_map(t); /* the roles of special tokens, for which tokenizer.json has no place */
    char *names_of_roles = km_json_print(map, false);
    put("special_tokens_map.json", names_of_roles, strlen(names_of_roles));
    free(names_of_roles);
    km_json_destroy(map);
    if (km_tokenizer_open(&read, folder) != KM_OK) {
        puts(km_message());
        abort();
    }
    if (!km_hash_equal(km_tokenizer_hash(t), km_tokenizer_hash(parsed)) ||
        !km_hash_equal(km_tokenizer_hash(t), km_tokenizer_hash(read))) {
        abort();
    }
    km_tokenizer_destroy(parsed);
    km_tokenizer_destroy(read);
    km_buffer_free(&json);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (folder[0] == '\0') {
        fuzz_folder(folder, "vocab");
        km_log_mute(true);
        atexit(leave);
    }
    clear();
    const uint8_t *end = data + size;
    while (data < end) {
        const uint8_t *stop = memchr(data, 0x1E, (size_t)(end - data));
        stop = stop == NULL ? end : stop;
        if (stop > data) {
            put(names[*data % KM_COUNT(names)], data + 1, (size_t)(stop - data - 1));
        }
        data = stop + (stop < end);
    }
    km_tokenizer *tokenizer = NULL;
    if (km_tokenizer_open(&tokenizer, folder) == KM_OK) {
        use(tokenizer);
        check(tokenizer);
    }
    km_tokenizer_destroy(tokenizer);
    return 0;
}
