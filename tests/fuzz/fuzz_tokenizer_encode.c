/* Encodes and decodes any bytes with small tokenizers of both families. The first byte chooses the tokenizer, whether special
 * tokens are found in the text, and whether the tokenizer has added tokens. */
#include "kmask/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text_to_learn[] =
    "the ship sailed and the whale was seen by the sailors; they were sailing home, and don't stop.\n"
    "the ship sailed and the whale was seen by the sailors; they were sailing home, and don't stop.\n"
    "\xC3\xA9t\xC3\xA9 \xC3\xA9t\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87 \xE4\xB8\xAD\xE6\x96\x87 aaaa aaaa ababab ababab "
    "1999 1999\n";

static km_tokenizer *learn_wordpiece(bool cased) {
    const km_wordpiece_options options = {
        .vocab_size = 200, .cased = cased, .min_frequency = 2, .alphabet_limit = 100};
    km_wordpiece_trainer *trainer = km_wordpiece_trainer_create(&options);
    km_wordpiece_trainer_add(trainer, text_to_learn, strlen(text_to_learn));
    km_tokenizer *tokenizer = NULL;
    if (km_wordpiece_trainer_end(trainer, &tokenizer) != KM_OK) {
        abort();
    }
    km_wordpiece_trainer_destroy(trainer);
    return tokenizer;
}

/* The same tokenizer with prefix_space, which is changed in its printed form. */
static km_tokenizer *spaced(const km_tokenizer *tokenizer) {
    char *text = km_tokenizer_print(tokenizer), *flag = strstr(text, "\"prefix_space\":false");
    km_tokenizer *other = NULL;
    if (flag == NULL) {
        abort();
    }
    memcpy(flag, "\"prefix_space\": true", 20);
    if (km_tokenizer_parse(&other, text, strlen(text), "spaced") != KM_OK) {
        abort();
    }
    free(text);
    return other;
}

static km_tokenizer *learn_bpe(void) {
    const km_bpe_options options = {.vocab_size = 340, .min_frequency = 2};
    km_bpe_trainer *trainer = km_bpe_trainer_create(&options);
    km_bpe_trainer_add(trainer, text_to_learn, strlen(text_to_learn));
    km_tokenizer *tokenizer = NULL;
    if (km_bpe_trainer_end(trainer, &tokenizer) != KM_OK) {
        abort();
    }
    km_bpe_trainer_destroy(trainer);
    return tokenizer;
}

/* The same tokenizer with added tokens of all kinds. They are put before the other members of its printed form: of two
 * members with the same name the first one counts. */
static km_tokenizer *with_added(const km_tokenizer *tokenizer) {
    static const struct {
        const char *text, *flags;
    } tokens[] = {{"Ship A", "\"normalized\":true"},
                  {"set-sail", "\"single_word\":true"},
                  {"\xC3\x89t\xC3\xA9-", "\"normalized\":true,\"lstrip\":true"},
                  {"And-so", "\"special\":true,\"normalized\":true"},
                  {"\xE4\xB8\xAD\xE4\xB8\xAD", "\"normalized\":true,\"rstrip\":true,\"single_word\":true"},
                  {" t", "\"lstrip\":true,\"rstrip\":true"},
                  {"ship s", "\"special\":true"}};
    const int size = km_tokenizer_size(tokenizer);
    char *text = km_tokenizer_print(tokenizer);
    km_buffer json = {0};
    km_buffer_print(&json, "{\"added\":[");
    for (int i = 0; i < (int)KM_COUNT(tokens); i++) {
        km_buffer_print(&json, "%s{\"id\":%d,%s}", i > 0 ? "," : "", size + i, tokens[i].flags);
    }
    km_buffer_print(&json, "],\"model_size\":%d,%.*s", size, (int)strlen(text) - 3, text + 1);
    for (size_t i = 0; i < KM_COUNT(tokens); i++) {
        km_buffer_print(&json, ",\"%s\"", tokens[i].text);
    }
    km_buffer_print(&json, "]}");
    km_tokenizer *other = NULL;
    if (km_tokenizer_parse(&other, json.data, json.size, "added") != KM_OK) {
        fprintf(stderr, "%s\n", km_message());
        abort();
    }
    km_buffer_free(&json);
    free(text);
    return other;
}

static void check(const km_tokenizer *t, const char *text, size_t count, bool specials) {
    km_ids ids = {.ranges = true}, again = {0};
    km_encode(t, text, count, specials, &ids, NULL);
    km_encode(t, text, count, specials, &again, NULL);
    if (ids.count != again.count) {
        abort();
    }
    for (size_t i = 0; i < ids.count; i++) {
        if (ids.ids[i] != again.ids[i] || ids.ids[i] < 0 || ids.ids[i] >= km_tokenizer_size(t) ||
            ids.begins[i] > ids.ends[i] || ids.ends[i] > count || (i == 0 && ids.starts_word[i] != 1)) {
            abort();
        }
    }
    for (int skip = 0; skip < 2; skip++) {
        char *decoded = km_decode(t, ids.ids, ids.count, skip == 1);
        free(decoded);
    }
    km_ids_free(&ids);
    km_ids_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static km_tokenizer *tokenizers[4], *added[4];
    if (tokenizers[0] == NULL) {
        tokenizers[0] = learn_wordpiece(false);
        tokenizers[1] = learn_wordpiece(true);
        tokenizers[2] = learn_bpe();
        tokenizers[3] = spaced(tokenizers[2]);
        for (size_t i = 0; i < KM_COUNT(added); i++) {
            added[i] = with_added(tokenizers[i]);
        }
    }
    if (size > 0) {
        const km_tokenizer *t = (data[0] & 8 ? added : tokenizers)[data[0] % 4];
        check(t, (const char *)data + 1, size - 1, data[0] / 4 % 2 == 1);
    }
    return 0;
}
