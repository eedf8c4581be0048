/* A tokenizer's folder: vocab.txt and its companions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenizer.h"

enum { VOCAB_BYTES = 1 << 30, CONFIG_BYTES = 1 << 24 };

/* `text` with its line ends, LF or CR LF, made NUL bytes, in place; returns the number of lines, and in *bytes
 * what is left of the text. */
static size_t split_lines(char *text, size_t *bytes) {
    size_t lines = 0, out = 0;
    for (size_t i = 0; i < *bytes; i++) {
        bool crlf = text[i] == '\r' && i + 1 < *bytes && text[i + 1] == '\n';
        if (crlf) {
            continue;
        }
        lines += text[i] == '\n';
        text[out++] = text[i] == '\n' ? '\0' : text[i];
    }
    if (out > 0 && text[out - 1] != '\0') { /* a last line without an end; the file was read with a NUL after it */
        text[out++] = '\0';
        lines++;
    }
    *bytes = out;
    return lines;
}

static km_status read_vocab(km_tokenizer **out, const char *path, km_folding folding) {
    char *text = NULL;
    size_t bytes = 0;
    KM_TRY(km_file_read(&text, &bytes, path, VOCAB_BYTES));
    if (memchr(text, '\0', bytes) != NULL) {
        free(text);
        return km_fail(KM_FAILED, "%s: NUL bytes, expected a text file with one piece a line", path);
    }
    size_t count = split_lines(text, &bytes);
    return km_tokenizer_make(out, text, bytes, count, folding, path);
}

/* Keeps *flag where the key is absent or null. */
static km_status read_flag(bool *flag, const km_json *json, const char *key, const char *path) {
    const km_json *value = km_json_get(json, key);
    if (value == NULL || km_json_is_null(value) || km_json_boolean(flag, value)) {
        return KM_OK;
    }
    return km_fail(KM_FAILED, "%s: \"%s\" is not true or false", path, key);
}

static km_status read_config(km_folding *folding, const char *path) {
    *folding = (km_folding){true, true, true};
    if (!km_file_exists(path)) {
        return KM_OK;
    }
    km_json *json = NULL;
    KM_TRY(km_json_load(&json, path, CONFIG_BYTES));
    km_status status = km_json_is_object(json) ? KM_OK : km_fail(KM_FAILED, "%s: not a JSON object", path);
    if (status == KM_OK) {
        status = read_flag(&folding->lowercase, json, "do_lower_case", path);
    }
    folding->strip_accents = folding->lowercase;
    if (status == KM_OK) {
        status = read_flag(&folding->strip_accents, json, "strip_accents", path);
    }
    if (status == KM_OK) {
        status = read_flag(&folding->chinese, json, "tokenize_chinese_chars", path);
    }
    km_json_destroy(json);
    return status;
}

km_status km_tokenizer_open(km_tokenizer **out, const char *folder) {
    *out = NULL;
    struct stat info;
    if (stat(folder, &info) != 0) {
        return km_fail(KM_FAILED, "%s: %s. Expected a tokenizer folder with a vocab.txt.", folder, strerror(errno));
    }
    if (!S_ISDIR(info.st_mode)) {
        return km_fail(KM_FAILED, "%s: not a folder. Give the folder that holds vocab.txt.", folder);
    }
    char *vocab = km_format("%s/vocab.txt", folder);
    char *config = km_format("%s/tokenizer_config.json", folder);
    char *whole = km_format("%s/tokenizer.json", folder);
    km_folding folding;
    km_status status;
    if (km_file_exists(vocab)) {
        status = read_config(&folding, config);
        status = status == KM_OK ? read_vocab(out, vocab, folding) : status;
    } else if (km_file_exists(whole)) {
        status = km_tokenizer_json_open(out, whole);
    } else {
        status =
            km_fail(KM_FAILED,
                    "%s: no vocab.txt in this folder. A WordPiece tokenizer needs one; `kmask tokenizer train` "
                    "makes one.",
                    folder);
    }
    free(whole);
    free(config);
    free(vocab);
    return status;
}

/* ---- Saving --------------------------------------------------------------------------------------------- */

/* In the order in which they get their names: without a vocab.txt the folder is no tokenizer. */
static const char *const FILES[] = {"tokenizer_config.json", "special_tokens_map.json", "vocab.txt"};

/* Under a name of its own: a tokenizer that was in the folder stays whole until all files of the new one are. */
static km_status save_text(const char *folder, const char *name, const char *text, size_t count) {
    char *path = km_format("%s/%s.new", folder, name);
    km_status status = km_file_replace(path, text, count);
    free(path);
    return status;
}

static km_status save_json(const char *folder, const char *name, km_json *json) {
    char *text = km_json_print(json, true);
    km_buffer line = {0};
    km_buffer_print(&line, "%s\n", text);
    km_status status = save_text(folder, name, line.data, line.size);
    km_buffer_free(&line);
    free(text);
    km_json_destroy(json);
    return status;
}

static km_json *specials_map(void) {
    km_json *json = km_json_object();
    km_json_set_string(json, "cls_token", "[CLS]");
    km_json_set_string(json, "mask_token", "[MASK]");
    km_json_set_string(json, "pad_token", "[PAD]");
    km_json_set_string(json, "sep_token", "[SEP]");
    km_json_set_string(json, "unk_token", "[UNK]");
    return json;
}

static km_status save_all(const km_tokenizer *tokenizer, const char *folder) {
    km_json *config = specials_map();
    km_json_set_boolean(config, "do_lower_case", tokenizer->fold.lowercase);
    km_json_set_boolean(config, "strip_accents", tokenizer->fold.strip_accents);
    km_json_set_boolean(config, "tokenize_chinese_chars", tokenizer->fold.chinese);
    km_json_set_string(config, "tokenizer_class", "BertTokenizer");
    KM_TRY(save_json(folder, FILES[0], config));
    KM_TRY(save_json(folder, FILES[1], specials_map()));
    km_buffer lines = {0};
    for (int32_t id = 0; id < tokenizer->size; id++) {
        km_buffer_print(&lines, "%s\n", km_tokenizer_piece(tokenizer, id));
    }
    km_status status = save_text(folder, FILES[2], lines.data, lines.size);
    km_buffer_free(&lines);
    return status;
}

/* Gives the files their names, or removes them. */
static km_status settle(const char *folder, km_status status) {
    for (size_t i = 0; i < KM_COUNT(FILES); i++) {
        char *from = km_format("%s/%s.new", folder, FILES[i]), *to = km_format("%s/%s", folder, FILES[i]);
        if (status == KM_OK) {
            status = km_file_commit(from, to);
        }
        if (status != KM_OK) {
            unlink(from);
        }
        free(from);
        free(to);
    }
    return status;
}

km_status km_tokenizer_save(const km_tokenizer *tokenizer, const char *folder) {
    KM_TRY(km_make_folder(folder));
    return settle(folder, save_all(tokenizer, folder));
}
