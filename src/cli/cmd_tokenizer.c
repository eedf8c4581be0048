/* cmd_tokenizer: training a tokenizer, encoding and decoding text. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "kmask/tokenizer.h"

static const char help[] =
    "kmask tokenizer train --type wordpiece|bpe --vocab-size N --out DIR [options] FILE...\n"
    "    Learns a vocabulary from text and writes it into DIR: vocab.txt\n"
    "    (WordPiece, for BERT) or vocab.json and merges.txt (byte-level BPE, for RoBERTa), and tokenizer.json,\n"
    "    tokenizer_config.json and special_tokens_map.json for other programs.\n"
    "    --min-frequency 2    pairs that are rarer are not merged\n"
    "    --cased              WordPiece: keep upper case and accents\n"
    "    --alphabet 1000      WordPiece: different characters kept, most frequent first\n"
    "    --prefix-space       bpe: the first word of a text is encoded as behind a blank, so that an answer has "
    "the\n"
    "                         pieces that it has within a sentence\n"
    "    --force              replace another tokenizer that is in DIR\n"
    "    Text is read as `kmask corpus build` reads it, with its options --format, --encoding, --invalid, --field "
    "and\n"
    "    --document: files, folders, archives, compressed or not; \"-\" is standard input.\n"
    "\n"
    "kmask tokenizer encode --tokenizer DIR [--special] <text >ids\n"
    "    Standard input to ids, a line a line. --special: [MASK], <mask> and their like in the text become their\n"
    "    ids. DIR: vocab.txt; vocab.json and merges.txt; encoder.json and vocab.bpe; or tokenizer.json.\n"
    "\n"
    "kmask tokenizer decode --tokenizer DIR [--skip-special] <ids >text\n"
    "    And back. --skip-special: [CLS], <pad> and their like are left out.\n"
    "\n"
    "kmask tokenizer export --tokenizer DIR --out DIR [--force]\n"
    "    Writes the tokenizer's files anew, as kmask has read them, for other programs.\n"
    "\n"
    "Example:\n"
    "    kmask tokenizer train --type wordpiece --vocab-size 8000 --out tok text.txt\n"
    "    echo 'See the [MASK] page.' | kmask tokenizer encode --tokenizer tok --special\n"
    "    kmask tokenizer train --type bpe --vocab-size 30000 --out bpe shards/*.jsonl.zst\n";

/* ---- train ---------------------------------------------------------------------------------------------- */

typedef struct train_arguments {
    const char *type, *out;
    int64_t vocab_size, min_frequency, alphabet;
    bool cased, prefix_space, force;
    km_corpus_options text; /* how files are read */
} train_arguments;

/* Who learns; wordpiece or bpe is NULL. */
typedef struct learner {
    km_wordpiece_trainer *wordpiece;
    km_bpe_trainer *bpe;
    km_buffer line;
    bool inside; /* the next line goes on with a paragraph */
    bool prefix_space;
} learner;

/* Takes a line as `corpus build` would encode it, with the line end, which no word crosses. */
static km_status take_line(void *context, const char *text, size_t count) {
    learner *l = context;
    count = text != NULL ? km_line_trim(text, count) : 0;
    if (count == 0) { /* a document or paragraph ends */
        l->inside = false;
        return KM_OK;
    }
    l->line.size = 0;
    km_buffer_add(&l->line, " ", (l->inside || l->prefix_space) && l->bpe != NULL);
    km_buffer_add(&l->line, text, count);
    l->inside = true;
    km_buffer_add(&l->line, "\n", 1);
    if (l->bpe != NULL) {
        km_bpe_trainer_add(l->bpe, l->line.data, l->line.size);
    } else {
        km_wordpiece_trainer_add(l->wordpiece, l->line.data, l->line.size);
    }
    return KM_OK;
}

/* What would be replaced in the folder must be a file: asked for before hours of learning. */
static km_status check_files_in(const char *folder) {
    static const char *const names[] = {"vocab.txt",
                                        "vocab.json",
                                        "merges.txt",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json"};
    km_status status = KM_OK;
    for (size_t i = 0; i < KM_COUNT(names) && status == KM_OK; i++) {
        char *path = km_format("%s/%s", folder, names[i]);
        status = km_out_check(path);
        free(path);
    }
    return status;
}

static km_status check_out(const char *out) {
    struct stat info;
    if (stat(out, &info) == 0 && !S_ISDIR(info.st_mode)) {
        return km_fail(KM_FAILED, "%s: a file, expected a folder or a new name for one", out);
    }
    KM_TRY(km_folder_check(out));
    return km_file_exists(out) ? check_files_in(out) : KM_OK;
}

/* Saves the tokenizer, unless the folder holds another one, which would be lost. */
static km_status save(const km_tokenizer *tokenizer, const train_arguments *a) {
    static const char *const names[] = {"vocab.txt", "vocab.json", "encoder.json", "tokenizer.json"};
    bool there = false;
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        char *vocab = km_format("%s/%s", a->out, names[i]);
        there = there || km_file_exists(vocab);
        free(vocab);
    }
    km_tokenizer *old = NULL;
    bool same = there && km_tokenizer_open(&old, a->out) == KM_OK &&
                km_hash_equal(km_tokenizer_hash(old), km_tokenizer_hash(tokenizer));
    km_tokenizer_destroy(old);
    if (there && !same && !a->force) {
        return km_fail(
            KM_FAILED,
            "%s: holds another tokenizer, whose corpora and models would be lost with it. Choose another "
            "--out, or say --force.",
            a->out);
    }
    return km_tokenizer_save(tokenizer, a->out);
}

static km_status learn(const train_arguments *a, learner *l) {
    const double start = km_seconds();
    km_corpus_report report = {0};
    km_tokenizer *tokenizer = NULL;
    KM_TRY(km_corpus_each_line(&a->text, take_line, l, &report));
    KM_TRY(l->bpe != NULL ? km_bpe_trainer_end(l->bpe, &tokenizer)
                          : km_wordpiece_trainer_end(l->wordpiece, &tokenizer));
    km_status status = save(tokenizer, a);
    if (status == KM_OK) {
        char duration[32], bytes[32];
        const int pieces = km_tokenizer_size(tokenizer);
        printf("%s: %d pieces from %s bytes of text in %s\n", a->out, pieces,
               km_quantity(bytes, (double)report.bytes), km_duration(duration, km_seconds() - start));
        if (pieces < a->vocab_size) {
            km_warn("fewer pieces than the %lld asked for: the text has no more pairs that occur %lld times.",
                    (long long)a->vocab_size, (long long)a->min_frequency);
        }
    }
    km_tokenizer_destroy(tokenizer);
    return status;
}

static km_status train(int argc, char **argv) {
    train_arguments a = {.min_frequency = 2, .text.field = "text"};
    const char *document = "blank", *form = "auto", *invalid = "";
    const cli_option options[] = {
        {"type", CLI_TEXT, &a.type, 0, 0, "wordpiece|bpe"},
        {"vocab-size", CLI_INTEGER, &a.vocab_size, 6, 10e6, NULL},
        {"out", CLI_TEXT, &a.out, 0, 0, NULL},
        {"min-frequency", CLI_INTEGER, &a.min_frequency, 1, 2e9, NULL},
        {"alphabet", CLI_INTEGER, &a.alphabet, 1, 2e6, NULL},
        {"cased", CLI_FLAG, &a.cased, 0, 0, NULL},
        {"prefix-space", CLI_FLAG, &a.prefix_space, 0, 0, NULL},
        {"force", CLI_FLAG, &a.force, 0, 0, NULL},
        {"document", CLI_TEXT, &document, 0, 0, CLI_DOCUMENTS},
        {"field", CLI_TEXT, &a.text.field, 0, 0, NULL},
        {"format", CLI_TEXT, &form, 0, 0, CLI_FORMATS},
        {"encoding", CLI_TEXT, &a.text.encoding, 0, 0, NULL},
        {"invalid", CLI_TEXT, &invalid, 0, 0, CLI_INVALID},
    };
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    a.text.form = cli_form(form);
    a.text.invalid = cli_invalid(invalid);
    a.text.document = cli_document(document);
    a.text.inputs = (const char *const *)(argv + 1);
    a.text.input_count = argc - 1;
    if (a.type == NULL || a.vocab_size == 0 || a.out == NULL || a.text.input_count == 0) {
        return km_fail(KM_USAGE, "tokenizer train: %s is missing. See `kmask tokenizer --help`.",
                       a.type == NULL      ? "--type wordpiece (or bpe)"
                       : a.vocab_size == 0 ? "--vocab-size N"
                       : a.out == NULL     ? "--out DIR"
                                           : "a text file (\"-\" for standard input)");
    }
    bool bpe = strcmp(a.type, "bpe") == 0;
    if (bpe && (a.cased || a.alphabet > 0)) {
        return km_fail(KM_USAGE, "--%s is for --type wordpiece; byte-level BPE knows all bytes and keeps them",
                       a.cased ? "cased" : "alphabet");
    }
    if (!bpe && a.prefix_space) {
        return km_fail(KM_USAGE, "--prefix-space is for --type bpe; WordPiece has the same pieces everywhere");
    }
    if (bpe && a.vocab_size < 261) {
        return km_fail(KM_USAGE,
                       "--vocab-size %lld: byte-level BPE takes 261 pieces for its special tokens and bytes",
                       (long long)a.vocab_size);
    }
    KM_TRY(check_out(a.out));
    const km_wordpiece_options wordpiece = {.vocab_size = (int)a.vocab_size,
                                            .cased = a.cased,
                                            .min_frequency = (int)a.min_frequency,
                                            .alphabet_limit = a.alphabet > 0 ? (int)a.alphabet : 1000};
    const km_bpe_options pairs = {
        .vocab_size = (int)a.vocab_size, .min_frequency = (int)a.min_frequency, .prefix_space = a.prefix_space};
    learner l = {.wordpiece = bpe ? NULL : km_wordpiece_trainer_create(&wordpiece),
                 .bpe = bpe ? km_bpe_trainer_create(&pairs) : NULL,
                 .prefix_space = a.prefix_space};
    km_status status = learn(&a, &l);
    km_buffer_free(&l.line);
    km_wordpiece_trainer_destroy(l.wordpiece);
    km_bpe_trainer_destroy(l.bpe);
    return status;
}

/* ---- encode, decode ------------------------------------------------------------------------------------- */

/* Parses the options that encode and decode share, and opens the tokenizer. */
static km_status open_tokenizer(km_tokenizer **out, int argc, char **argv, const char *flag, bool *set) {
    const char *folder = NULL;
    const cli_option options[] = {{"tokenizer", CLI_TEXT, &folder, 0, 0, NULL}, {flag, CLI_FLAG, set, 0, 0, NULL}};
    *out = NULL;
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc > 1) {
        return km_fail(KM_USAGE, "tokenizer %s: found the argument %.200s, expected input on standard input",
                       argv[0], argv[1]);
    }
    if (folder == NULL) {
        return km_fail(KM_USAGE, "tokenizer %s: --tokenizer DIR is missing. See `kmask tokenizer --help`.",
                       argv[0]);
    }
    return km_tokenizer_open(out, folder);
}

static km_status encode(int argc, char **argv) {
    km_tokenizer *tokenizer = NULL;
    bool specials = false;
    KM_TRY(open_tokenizer(&tokenizer, argc, argv, "special", &specials));
    km_ids ids = {0};
    char *line = NULL;
    size_t room = 0;
    ssize_t count;
    uint64_t invalid = 0;
    while ((count = getline(&line, &room, stdin)) >= 0) {
        ids.count = 0;
        size_t size = (size_t)count - (line[count - 1] == '\n');
        km_encode(tokenizer, line, size, specials, &ids, &invalid);
        for (size_t i = 0; i < ids.count; i++) {
            printf("%s%d", i > 0 ? " " : "", ids.ids[i]);
        }
        putchar('\n');
    }
    if (invalid > 0) {
        km_warn("%llu invalid UTF-8 sequences were replaced.", (unsigned long long)invalid);
    }
    free(line);
    km_ids_free(&ids);
    km_tokenizer_destroy(tokenizer);
    return KM_OK;
}

static km_status read_ids(km_ids *ids, const char *line, int32_t size, uint64_t number) {
    const char *at = line;
    ids->count = 0;
    for (at += strspn(at, " \t\r\n,"); *at != '\0'; at += strspn(at, " \t\r\n,")) {
        char *end = NULL;
        long id = strtol(at, &end, 10);
        if (end == at || strchr(" \t\r\n,", *end) == NULL || id < 0 || id >= size) {
            return km_fail(KM_FAILED, "standard input, line %llu: found %.*s, expected ids from 0 to %d",
                           (unsigned long long)number, (int)KM_MIN(strcspn(at, " \t\r\n,"), 100), at, size - 1);
        }
        if (ids->count == ids->capacity) {
            ids->capacity = 2 * ids->capacity + 64;
            ids->ids = km_grow(ids->ids, ids->capacity, sizeof *ids->ids);
        }
        ids->ids[ids->count++] = (int32_t)id;
        at = end;
    }
    return KM_OK;
}

static km_status decode(int argc, char **argv) {
    km_tokenizer *tokenizer = NULL;
    bool skip = false;
    KM_TRY(open_tokenizer(&tokenizer, argc, argv, "skip-special", &skip));
    km_ids ids = {0};
    km_buffer text = {0};
    char *line = NULL;
    size_t room = 0;
    km_status status = KM_OK;
    for (uint64_t number = 1; status == KM_OK && getline(&line, &room, stdin) >= 0; number++) {
        status = read_ids(&ids, line, km_tokenizer_size(tokenizer), number);
        if (status == KM_OK) {
            km_decode_to(&text, tokenizer, ids.ids, ids.count, skip);
            fwrite(text.data, 1, text.size, stdout);
            putchar('\n');
        }
    }
    free(line);
    km_buffer_free(&text);
    km_ids_free(&ids);
    km_tokenizer_destroy(tokenizer);
    return status;
}

static km_status export(int argc, char **argv) {
    const char *folder = NULL;
    train_arguments a = {0};
    const cli_option options[] = {{"tokenizer", CLI_TEXT, &folder, 0, 0, NULL},
                                  {"out", CLI_TEXT, &a.out, 0, 0, NULL},
                                  {"force", CLI_FLAG, &a.force, 0, 0, NULL}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc > 1 || folder == NULL || a.out == NULL) {
        return km_fail(KM_USAGE, "tokenizer export: expected --tokenizer DIR --out DIR and nothing else");
    }
    KM_TRY(check_out(a.out));
    km_tokenizer *tokenizer = NULL;
    KM_TRY(km_tokenizer_open(&tokenizer, folder));
    km_status status = save(tokenizer, &a);
    km_tokenizer_destroy(tokenizer);
    return status;
}

static km_status command(int argc, char **argv) {
    static const char *const names[] = {"train", "encode", "decode", "export", NULL};
    km_status (*const verbs[])(int, char **) = {train, encode, decode, export};
    for (size_t i = 0; argc > 1 && names[i] != NULL; i++) {
        if (strcmp(argv[1], names[i]) == 0) {
            return verbs[i](argc - 1, argv + 1);
        }
    }
    const char *near = argc > 1 ? km_nearest(argv[1], names) : NULL;
    return km_fail(KM_USAGE, "tokenizer: found %.200s, expected train, encode, decode or export.%s%s%s",
                   argc > 1 ? argv[1] : "nothing", near != NULL ? " Did you mean " : "", near != NULL ? near : "",
                   near != NULL ? "?" : "");
}

const cli_verb cmd_tokenizer = {.name = "tokenizer",
                                .arguments = "train|encode|decode|export ...",
                                .also = "tokenize|vocab|vocabulary|tokenise",
                                .summary = "learns a vocabulary; text to ids and back",
                                .help = help,
                                .run = command};
