/* Opens a tokenizer folder: finds the vocabulary, in the classic files or in tokenizer.json, and the settings beside it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tokenizer.h"

enum { VOCAB_BYTES = 1 << 30, CONFIG_BYTES = 1 << 26 };

/* The next line at *at, without its end (LF or CR LF); NULL after the last. */
static const char *next_line(const char **at, const char *end, size_t *size) {
    const char *line = *at;
    if (line == end) {
        return NULL;
    }
    const char *stop = memchr(line, '\n', (size_t)(end - line));
    *at = stop == NULL ? end : stop + 1;
    stop = stop == NULL ? end : stop;
    *size = (size_t)(stop - line);
    *size -= *at != stop && *size > 0 && stop[-1] == '\r';
    return line;
}

/* Reads a whole text file and refuses one with NUL bytes; `what` is what its lines hold. The caller frees *text, also on
 * errors. */
static km_status read_lines(char **text, size_t *bytes, const char *path, const char *what) {
    KM_TRY(km_file_read(text, bytes, path, VOCAB_BYTES));
    if (memchr(*text, '\0', *bytes) != NULL) {
        return km_fail(KM_FAILED, "%s: NUL bytes, expected a text file with one %s a line", path, what);
    }
    return KM_OK;
}

static km_status read_vocab_txt(km_tokenizer *t, const char *path) {
    char *text = NULL;
    size_t bytes = 0, size = 0;
    km_status status = read_lines(&text, &bytes, path, "piece");
    const char *at = text, *line;
    while (status == KM_OK && (line = next_line(&at, text + bytes, &size)) != NULL) {
        text[line - text + (long)size] = '\0'; /* in place of the line end */
        status = km_tokenizer_add(t, line, size, path);
    }
    free(text);
    return status;
}

static km_status read_vocab_json(km_tokenizer *t, const char *path) {
    km_json *json = NULL;
    KM_TRY(km_json_load(&json, path, VOCAB_BYTES));
    km_status status = km_tokenizer_read_vocab(t, json, path);
    km_json_destroy(json);
    return status;
}

static km_status read_merges(km_tokenizer *t, const char *path) {
    char *text = NULL;
    size_t bytes = 0, size = 0, number = 0;
    km_status status = read_lines(&text, &bytes, path, "merge");
    const char *at = text, *line;
    while (status == KM_OK && (line = next_line(&at, text + bytes, &size)) != NULL) {
        number++;
        const char version[] = "#version";
        if (size == 0 || (size >= strlen(version) && memcmp(line, version, strlen(version)) == 0)) {
            continue;
        }
        const char *space = memchr(line, ' ', size), *end = line + size;
        if (space == NULL || space == line || space + 1 == end ||
            memchr(space + 1, ' ', (size_t)(end - space - 1)) != NULL) {
            status = km_fail(KM_FAILED, "%s: line %zu is \"%.*s\", expected two pieces with a space between", path,
                             number, (int)KM_MIN(size, 100), line);
        } else {
            status =
                km_tokenizer_merge(t, line, (size_t)(space - line), space + 1, (size_t)(end - space - 1), path);
        }
    }
    free(text);
    return status;
}

/* ---- Settings that the classic files do not give -------------------------------------------------------- */

/* Prints the names of settings that matter for ids and have not been given; returns false if there are none. */
static bool not_given(const km_tokenizer *t, const km_settings *settings, km_buffer *names) {
    const char *mask = settings->role[KM_ROLE_MASK];
    if (t->family == &km_family_wordpiece && settings->lowercase == KM_UNSET) {
        km_buffer_print(names, "lower case and accents");
    }
    if (t->family == &km_family_bpe && settings->prefix_space == KM_UNSET) {
        km_buffer_print(names, "the space before a text");
    }
    if (mask == NULL || (t->family == &km_family_bpe && !km_settings_has_lstrip(settings, mask))) {
        km_buffer_print(names, "%sspecial tokens", names->size > 0 ? ", " : "");
    }
    return names->size > 0;
}

/* The usual names of special tokens, in models of BERT's family and of RoBERTa's. */
static const char *const usual_names[][KM_ROLES] = {{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"},
                                                    {"<pad>", "<unk>", "<s>", "</s>", "<mask>"}};

/* Counts how many of these names the vocabulary has. With `settings`, those that it has become the tokens of their roles. */
static int take_names(const km_tokenizer *t, km_settings *settings, const char *const names[KM_ROLES]) {
    int found = 0;
    for (size_t i = 0; i < KM_ROLES; i++) {
        const bool known = km_tokenizer_id(t, names[i]) >= 0;
        if (known && settings != NULL) {
            km_settings_role(settings, (km_role)i, names[i]);
        }
        found += known;
    }
    return found;
}

/* Takes the set of usual names of which the vocabulary has most; returns false if it has none. */
static bool take_usual_names(const km_tokenizer *t, km_settings *settings) {
    size_t best = 0;
    for (size_t i = 1; i < KM_COUNT(usual_names); i++) {
        best = take_names(t, NULL, usual_names[i]) > take_names(t, NULL, usual_names[best]) ? i : best;
    }
    return take_names(t, settings, usual_names[best]) > 0;
}

/* Fills in settings from tokenizer.json, if there is one; beside a config.json of a model, special tokens get their usual
 * names. A line in the log says so where settings that matter were missing. */
static km_status complete(const km_tokenizer *t, km_settings *settings, const char *folder) {
    km_buffer names = {0};
    km_status status = KM_OK;
    const bool guessing = not_given(t, settings, &names);
    char *whole = km_format("%s/tokenizer.json", folder), *model = km_format("%s/config.json", folder);
    km_json *json = NULL;
    if (km_file_exists(whole)) {
        status = km_tokenizer_json_read(NULL, settings, whole);
        if (status == KM_OK && guessing) {
            km_log("%s: no word of %s in tokenizer_config.json; as tokenizer.json has it", folder, names.data);
        }
    } else if (guessing && km_file_exists(model)) {
        status = km_json_load(&json, model, CONFIG_BYTES);
        const char *type = km_json_string(km_json_get(json, "model_type"));
        if (type != NULL && take_usual_names(t, settings)) {
            km_log("%s: no word of %s in tokenizer_config.json; as usual for model_type %s of config.json", folder,
                   names.data, type);
        }
    }
    km_json_destroy(json);
    km_buffer_free(&names);
    free(whole);
    free(model);
    return status;
}

/* ---- Opening -------------------------------------------------------------------------------------------- */

typedef struct files {
    char *vocab, *merges, *origin;
    const km_family *family; /* NULL: `vocab` is a tokenizer.json, which says what it is */
} files;

/* Finds the first kind of vocabulary of which the folder has all files. */
static km_status find_files(files *found, const char *folder) {
    static const struct {
        const char *vocab, *merges;
        const km_family *family;
    } kinds[] = {{"vocab.txt", NULL, &km_family_wordpiece},
                 {"vocab.json", "merges.txt", &km_family_bpe},
                 {"encoder.json", "vocab.bpe", &km_family_bpe},
                 {"tokenizer.json", NULL, NULL}};
    const char *alone = NULL, *missing = NULL;
    for (size_t i = 0; i < KM_COUNT(kinds); i++) {
        found->vocab = km_format("%s/%s", folder, kinds[i].vocab);
        found->merges = kinds[i].merges == NULL ? NULL : km_format("%s/%s", folder, kinds[i].merges);
        found->family = kinds[i].family;
        bool vocab = km_file_exists(found->vocab), merges = found->merges == NULL || km_file_exists(found->merges);
        if (vocab && merges) {
            return KM_OK;
        }
        if (vocab && alone == NULL) {
            alone = kinds[i].vocab;
            missing = kinds[i].merges;
        }
        free(found->vocab);
        free(found->merges);
        found->vocab = found->merges = NULL;
    }
    if (alone != NULL) {
        return km_fail(KM_FAILED, "%s: %s without %s; byte-level BPE needs both", folder, alone, missing);
    }
    return km_fail(
        KM_FAILED,
        "%s: no vocab.txt in this folder (WordPiece), no vocab.json and merges.txt (byte-level BPE) and no "
        "tokenizer.json. `kmask tokenizer train` makes them.",
        folder);
}

static km_status read_files(km_tokenizer **out, km_settings *settings, const files *from, const char *folder) {
    KM_TRY(km_settings_read(settings, folder));
    if (from->family == NULL) {
        return km_tokenizer_json_read(out, settings, from->vocab);
    }
    *out = km_tokenizer_new(from->family);
    if (from->merges == NULL) {
        KM_TRY(read_vocab_txt(*out, from->vocab));
    } else {
        KM_TRY(read_vocab_json(*out, from->vocab));
        KM_TRY(read_merges(*out, from->merges));
    }
    return complete(*out, settings, folder);
}

km_status km_tokenizer_open(km_tokenizer **out, const char *folder) {
    *out = NULL;
    struct stat info;
    if (stat(folder, &info) != 0) {
        return km_fail_kind(km_errno_kind(errno),
                            "%s: %s. Expected a tokenizer folder, such as one with a vocab.txt.", folder,
                            strerror(errno));
    }
    if (!S_ISDIR(info.st_mode)) {
        return km_fail(KM_FAILED, "%s: not a folder. Give the folder that holds the vocabulary.", folder);
    }
    files from = {0};
    KM_TRY(find_files(&from, folder));
    km_settings settings;
    km_settings_init(&settings);
    km_status status = read_files(out, &settings, &from, folder);
    if (status == KM_OK) {
        status = km_tokenizer_finish(out, &settings, from.vocab);
    } else {
        km_tokenizer_destroy(*out);
        *out = NULL;
    }
    km_settings_free(&settings);
    free(from.vocab);
    free(from.merges);
    return status;
}
