/* Opens a tokenizer folder: finds the vocabulary, in the classic files or in tokenizer.json, and the settings beside it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bpe.h"
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

/* The text behind a byte order mark, if there is one. */
static const char *behind_mark(const char *text, size_t bytes) {
    return text + (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0);
}

typedef struct vocab_line {
    const char *text;
    size_t size;
} vocab_line;

/* What is unusual about the lines of a vocabulary. */
typedef struct odd_lines {
    size_t blanks, empty, doubled;
} odd_lines;

/* Bytes of a line without white space at its end, as the tokenizers package reads it. */
static size_t trimmed(const char *line, size_t size) {
    size_t kept = 0;
    for (const char *at = line, *end = line + size; at < end;) {
        const int32_t code = km_utf8_next(&at, end);
        kept = code >= 0 && km_char_class_of((uint32_t)code) == KM_CHAR_SPACE ? kept : (size_t)(at - line);
    }
    return kept;
}

/* Adds the pieces of all lines. An empty line, and one whose piece stands again further down, is a hole. */
static km_status add_lines(km_tokenizer *t, const vocab_line *lines, size_t count, odd_lines *odd,
                           const char *path) {
    bool *last = km_new(count + 1, sizeof *last);
    km_strings seen = {0};
    for (size_t i = count; i-- > 0;) {
        const uint32_t before = seen.count;
        last[i] = lines[i].size > 0 && km_strings_add(&seen, lines[i].text, lines[i].size) == before;
        odd->doubled += lines[i].size > 0 && !last[i];
    }
    km_status status = KM_OK;
    for (size_t i = 0; i < count && status == KM_OK; i++) {
        status = last[i] ? km_tokenizer_add(t, lines[i].text, lines[i].size, path) : km_tokenizer_add_hole(t, path);
    }
    km_strings_free(&seen);
    free(last);
    return status;
}

static km_status read_vocab_txt(km_tokenizer *t, const char *path) {
    char *text = NULL;
    size_t bytes = 0, size = 0;
    size_t count = 0;
    km_status status = read_lines(&text, &bytes, path, "piece");
    const char *at = behind_mark(text, bytes), *line;
    vocab_line *lines = NULL;
    odd_lines odd = {0};
    while (status == KM_OK && (line = next_line(&at, text + bytes, &size)) != NULL) {
        if ((count & (count + 1)) == 0) {
            lines = km_grow(lines, 2 * count + 2, sizeof *lines);
        }
        const size_t kept = trimmed(line, size);
        odd.blanks += kept < size;
        odd.empty += kept == 0;
        text[line - text + (long)kept] = '\0'; /* in place of the line end */
        lines[count++] = (vocab_line){line, kept};
    }
    status = status == KM_OK ? add_lines(t, lines, count, &odd, path) : status;
    if (status == KM_OK && odd.blanks + odd.empty + odd.doubled > 0) {
        km_warn("%s: %zu lines have blanks behind the piece (left out), %zu are empty and %zu pieces stand again "
                "further "
                "down (the last counts); no text yields the ids of the last two",
                path, odd.blanks, odd.empty, odd.doubled);
    }
    free(lines);
    free(text);
    return status;
}

/* What BPE of another kind shows in its pieces: ends of words as "</w>", or characters in place of the 256 bytes. */
static km_status check_byte_level(const km_tokenizer *t, const char *path) {
    enum { TOY = 512, BYTES = 256 /* a smaller vocabulary may have been made by hand, for a test */ };
    int bytes = 0, ends = 0;
    for (int byte = 0; byte < BYTES; byte++) {
        char piece[8] = "";
        piece[km_utf8_put(piece, km_byte_char((uint8_t)byte))] = '\0';
        bytes += km_tokenizer_id(t, piece) >= 0;
    }
    for (int32_t id = 0; id < km_tokenizer_size(t); id++) {
        const char *piece = km_tokenizer_piece(t, id);
        const size_t size = strlen(piece);
        ends += size > 4 && strcmp(piece + size - 4, "</w>") == 0;
    }
    if (ends > 0 || (bytes < BYTES && km_tokenizer_size(t) >= TOY)) {
        return km_fail(
            KM_FAILED,
            "%s: no byte-level BPE: %d pieces end in </w> and %d of the 256 bytes have a piece; expected the "
            "vocabulary of GPT-2's, RoBERTa's or BART's kind",
            path, ends, bytes);
    }
    return KM_OK;
}

static km_status read_vocab_json(km_tokenizer *t, const km_settings *settings, const char *path) {
    km_json *json = NULL;
    char *text = NULL;
    size_t bytes = 0;
    KM_TRY(km_file_read(&text, &bytes, path, VOCAB_BYTES));
    const char *begin = behind_mark(text, bytes);
    km_status status = km_json_parse(&json, begin, bytes - (size_t)(begin - text), path);
    free(text);
    KM_TRY(status);
    status = km_tokenizer_read_vocab(t, settings, json, path);
    status = status == KM_OK ? check_byte_level(t, path) : status;
    km_json_destroy(json);
    return status;
}

static km_status read_merges(km_tokenizer *t, const char *path) {
    char *text = NULL;
    size_t bytes = 0, size = 0, number = 0;
    km_status status = read_lines(&text, &bytes, path, "merge");
    const char *at = behind_mark(text, bytes), *line;
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
static bool not_given(const km_family *family, const km_settings *settings, km_buffer *names) {
    const char *mask = settings->role[KM_ROLE_MASK];
    if (family == &km_family_wordpiece && settings->lowercase == KM_UNSET) {
        km_buffer_print(names, "lower case and accents");
    }
    if (family == &km_family_bpe && settings->prefix_space == KM_UNSET) {
        km_buffer_print(names, "the space before a text");
    }
    if (mask == NULL || (family == &km_family_bpe && !km_settings_has_lstrip(settings, mask))) {
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

/* Beside a config.json of a model, special tokens get their usual names. A line in the log says so where settings that matter are
 * missing. */
static km_status complete(const km_tokenizer *t, km_settings *settings, const char *folder) {
    km_buffer names = {0};
    km_status status = KM_OK;
    char *model = km_format("%s/config.json", folder);
    km_json *json = NULL;
    if (not_given(t->family, settings, &names) && km_file_exists(model)) {
        status = km_json_load(&json, model, CONFIG_BYTES);
        const char *type = km_json_string(km_json_get(json, "model_type"));
        if (type != NULL && take_usual_names(t, settings)) {
            km_log("%s: no word of %s in tokenizer_config.json; as usual for model_type %s of config.json", folder,
                   names.data, type);
        }
    }
    km_json_destroy(json);
    km_buffer_free(&names);
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

/* The piece with this id, of the model or among the added tokens; NULL for none. */
static const char *piece_of(const km_tokenizer *t, const km_settings *settings, int32_t id) {
    const char *piece = km_tokenizer_piece(t, id);
    for (size_t i = 0; piece == NULL && i < settings->added_count; i++) {
        piece = settings->added[i].id == id ? settings->added[i].content : NULL;
    }
    return piece;
}

/* Returns the first id at which the pieces differ; -1 where they are the same. */
static int32_t first_difference(const km_tokenizer *a, const km_tokenizer *b, const km_settings *settings) {
    const int32_t size = (int32_t)KM_MAX(a->pieces.count, b->pieces.count);
    for (int32_t id = 0; id < size; id++) {
        const char *x = piece_of(a, settings, id), *y = piece_of(b, settings, id);
        if (x == NULL || y == NULL || strcmp(x, y) != 0) {
            return id;
        }
    }
    return -1;
}

static void warn_of_piece(const km_tokenizer *whole, const km_tokenizer *classic, int32_t id, const char *folder) {
    const char *there = km_tokenizer_piece(classic, id), *here = km_tokenizer_piece(whole, id);
    km_warn("%s: the vocabulary beside tokenizer.json has other pieces: id %d is \"%.60s\" there and \"%.60s\" in "
            "tokenizer.json, which counts, as for transformers",
            folder, id, there != NULL ? there : "(none)", here != NULL ? here : "(none)");
}

/* The pieces of merge `number`; "(none)" twice behind the last one. */
static void print_merge(const km_tokenizer *t, size_t number, km_buffer *out) {
    const bool there = number < t->merge_count;
    km_buffer_print(out, "\"%.40s %.40s\"", there ? km_tokenizer_piece(t, t->merges[number].left) : "(none)",
                    there ? km_tokenizer_piece(t, t->merges[number].right) : "(none)");
}

static void compare_merges(const km_tokenizer *whole, const km_tokenizer *classic, const char *folder) {
    size_t same = 0;
    while (same < whole->merge_count && same < classic->merge_count &&
           whole->merges[same].left == classic->merges[same].left &&
           whole->merges[same].right == classic->merges[same].right) {
        same++;
    }
    if (same < whole->merge_count || same < classic->merge_count) {
        km_buffer here = {0}, there = {0};
        print_merge(whole, same, &here);
        print_merge(classic, same, &there);
        km_warn("%s: the merges beside tokenizer.json are others: number %zu is %s there and %s in tokenizer.json, "
                "which "
                "counts, as for transformers",
                folder, same + 1, there.data, here.data);
        km_buffer_free(&here);
        km_buffer_free(&there);
    }
}

static km_status read_classic(km_tokenizer **out, const km_settings *settings, const files *from) {
    *out = km_tokenizer_new(from->family);
    if (from->merges == NULL) {
        return read_vocab_txt(*out, from->vocab);
    }
    KM_TRY(read_vocab_json(*out, settings, from->vocab));
    return read_merges(*out, from->merges);
}

/* Says where the classic files beside a tokenizer.json disagree with it. */
static void compare_classic(const km_tokenizer *whole, const km_settings *settings, const files *from,
                            const char *folder) {
    km_tokenizer *classic = NULL;
    if (whole->family != from->family) {
        km_warn("%s: %s is a vocabulary of another kind than tokenizer.json, which counts, as for transformers",
                folder, from->vocab);
        return;
    }
    if (read_classic(&classic, settings, from) != KM_OK) {
        km_warn("%s; tokenizer.json beside it counts, as for transformers", km_message());
    } else {
        const int32_t differs = first_difference(whole, classic, settings);
        if (differs >= 0) {
            warn_of_piece(whole, classic, differs, folder);
        } else if (whole->family == &km_family_bpe) {
            compare_merges(whole, classic, folder);
        }
    }
    km_tokenizer_destroy(classic);
}

/* Reads tokenizer.json, which counts before classic files, because transformers reads it first. */
static km_status read_whole(km_tokenizer **out, km_settings *settings, const files *from, const char *path,
                            const char *folder) {
    km_buffer names = {0};
    const bool guessing = from->family != NULL && not_given(from->family, settings, &names);
    km_status status = km_tokenizer_json_read(out, settings, path);
    if (status == KM_OK && guessing) {
        km_log("%s: no word of %s in tokenizer_config.json; as tokenizer.json has it", folder, names.data);
    }
    if (status == KM_OK && (*out)->pipeline != NULL) {
        km_settings_warn_of_class(settings, folder);
    }
    if (status == KM_OK && from->family != NULL) {
        compare_classic(*out, settings, from, folder);
    }
    km_buffer_free(&names);
    return status;
}

static km_status read_files(km_tokenizer **out, km_settings *settings, files *from, const char *folder) {
    KM_TRY(km_settings_read(settings, folder));
    char *whole = km_format("%s/tokenizer.json", folder);
    if (!km_file_exists(whole)) {
        free(whole);
        KM_TRY(read_classic(out, settings, from));
        return complete(*out, settings, folder);
    }
    km_status status = read_whole(out, settings, from, whole, folder);
    free(from->vocab);
    from->vocab = whole;
    return status;
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
