/* cmd_corpus: building a corpus file, and showing its rows under masks. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "corpus_show.h"
#include "kmask/data.h"

static const char help[] =
    "kmask corpus build --tokenizer DIR --out FILE.h5 [options] FILE...\n"
    "    Text to corpus: plain text, JSON lines, CSV, TSV and WikiExtractor's files, in UTF-8, UTF-16 or UTF-32; "
    "also\n"
    "    compressed (gzip, zstd, xz, bzip2, lz4) and in tar and zip archives. Files are recognised by their bytes; "
    "what\n"
    "    is no text is refused by name. Folders are read whole; \"-\" is standard input, which rank 0 reads. "
    "Under\n"
    "    mpirun the ranks share the work; the file is the same for any number of ranks.\n"
    "    --format auto|text|jsonl|csv|tsv\n"
    "                                what lines are (default auto: by name and first line)\n"
    "    --encoding NAME             of text without a byte order mark: latin-1, cp1251, utf-16 ... (default: "
    "UTF-8, and\n"
    "                                what is plainly UTF-16 or UTF-32)\n"
    "    --invalid replace|skip|refuse\n"
    "                                bytes that are not UTF-8: replace them, leave out their lines or records, or "
    "stop\n"
    "                                (default: few are replaced with a warning, many are refused)\n"
    "    --document blank|line|file  what separates documents of plain text: blank lines (default), line ends, "
    "files\n"
    "    --field text                JSONL: the field with the text; a.b,c: several, each a paragraph. CSV, TSV: "
    "columns\n"
    "    --sentences icu|line        where sentences end: at line ends, and inside lines by Unicode's rules "
    "(default);\n"
    "                                or at line ends alone\n"
    "    --spans given|find|none     names, dates and numbers, for salient masks: those in the JSONL's "
    "\"entities\":\n"
    "                                [[start, end, label], ...], in characters of the (first) field, or "
    "{\"field\":\n"
    "                                [...]} (default); these, and found ones where none are given; none. Tags, "
    "such as\n"
    "                                parts of speech, are read from \"tags\" likewise (`kmask masks` counts them)\n"
    "    --holdout 0.01              share of documents, by hash of their text, that go to FILE.holdout.h5\n"
    "    --duplicates report|drop    documents, and paragraphs of 200 bytes or more, that repeat an earlier one: "
    "count them\n"
    "                                (default), or leave them out too; the first of each stays\n"
    "    --force                     replace a corpus that a run uses by another text; or, without --holdout, one "
    "that has\n"
    "                                a held-out one, which is removed\n"
    "    --json                      the counts as JSON\n"
    "\n"
    "kmask corpus show FILE.h5 [options]\n"
    "    Rows in corpus order, and the very masks that training uses for (seed, epoch, row).\n"
    "    --row I                     this row (from 0) instead of the first three\n"
    "    --rows N                    this many rows; with --json an object a line\n"
    "    --length 128  --packing full_sentences|documents|stream\n"
    "    --mask policy=fully_explored,splits=4,ratio=0.15,unit=subword\n"
    "                                K masks (keys of the config's section `mask`): side by side with --row, else "
    "one\n"
    "                                line a mask. With target=full|masked, or a policy such as denoise: what the\n"
    "                                encoder reads (source) and what the decoder is to write (target)\n"
    "    --seed 1  --epoch 0         of the masks\n"
    "    --json                      {\"row\", \"input_ids\", \"word_starts\", \"spans\": [[start, end, kind], "
    "...], \"tags\": [...],\n"
    "                                \"masks\": ..., \"sources\", \"targets\"}\n"
    "\n"
    "Example:\n"
    "    mpirun -n 8 kmask corpus build --tokenizer tok --out wiki.h5 --holdout 0.01 wiki/\n"
    "    kmask corpus build --tokenizer tok --out c.h5 --duplicates drop shards/*.jsonl.zst\n"
    "    kmask corpus build --tokenizer tok --out c.h5 books.zip logs.tar.xz\n"
    "    kmask corpus build --tokenizer tok --out c.h5 --field body,title t.csv\n"
    "    kmask corpus build --tokenizer tok --out c.h5 --encoding cp1251 old/\n"
    "    kmask corpus build --tokenizer tok --out c.h5 --format jsonl dump.txt\n"
    "    kmask corpus build --tokenizer tok --out c.h5 wikiextractor/AA\n"
    "    tools/parquet_text.py data/*.parquet | kmask corpus build --tokenizer tok --out c.h5 -\n"
    "    kmask corpus show wiki.h5 --row 0 --mask policy=fully_explored,splits=4,unit=word\n";

/* ---- Rows as text ---- */

enum { SHOWN_ROWS = 3, SHOWN_BYTES = 240 };

static km_status print_first_rows(const km_corpus *corpus, const km_rows *rows) {
    km_row *row = km_row_create(km_rows_length(rows));
    km_status status = KM_OK;
    for (uint64_t i = 0; i < KM_MIN(km_rows_count(rows), SHOWN_ROWS) && status == KM_OK; i++) {
        status = km_rows_read(rows, i, row);
        if (status == KM_OK) {
            printf("row %llu: ", (unsigned long long)i);
            cli_print_ids(km_corpus_tokenizer(corpus), row->ids, row->length, SHOWN_BYTES);
        }
    }
    km_row_destroy(row);
    return status;
}

/* ---- build ---- */

typedef struct build_arguments {
    km_corpus_options options;
    bool json;
} build_arguments;

static km_status parse_build(int argc, char **argv, build_arguments *out) {
    const char *document = "blank", *sentences = "icu", *spans = "given", *form = "auto", *invalid = "",
               *duplicates = "report";
    *out = (build_arguments){.options.field = "text"};
    const cli_option options[] = {{"tokenizer", CLI_TEXT, &out->options.tokenizer, 0, 0, NULL},
                                  {"out", CLI_TEXT, &out->options.out, 0, 0, NULL},
                                  {"document", CLI_TEXT, &document, 0, 0, CLI_DOCUMENTS},
                                  {"field", CLI_TEXT, &out->options.field, 0, 0, NULL},
                                  {"format", CLI_TEXT, &form, 0, 0, CLI_FORMATS},
                                  {"encoding", CLI_TEXT, &out->options.encoding, 0, 0, NULL},
                                  {"invalid", CLI_TEXT, &invalid, 0, 0, CLI_INVALID},
                                  {"sentences", CLI_TEXT, &sentences, 0, 0, "icu|line"},
                                  {"spans", CLI_TEXT, &spans, 0, 0, "given|find|none"},
                                  {"holdout", CLI_NUMBER, &out->options.holdout, 0, 1, NULL},
                                  {"duplicates", CLI_TEXT, &duplicates, 0, 0, "report|drop"},
                                  {"force", CLI_FLAG, &out->options.force, 0, 0, NULL},
                                  {"json", CLI_FLAG, &out->json, 0, 0, NULL}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (out->options.tokenizer == NULL || out->options.out == NULL) {
        return km_fail(KM_USAGE, "corpus build needs %s (see kmask corpus --help)",
                       out->options.out == NULL ? "--out FILE.h5" : "--tokenizer DIR");
    }
    out->options.form = cli_form(form);
    out->options.invalid = cli_invalid(invalid);
    out->options.document = cli_document(document);
    out->options.sentences = strcmp(sentences, "line") == 0 ? KM_SENTENCES_LINE : KM_SENTENCES_ICU;
    out->options.spans = strcmp(spans, "none") == 0   ? KM_SPANS_NONE
                         : strcmp(spans, "find") == 0 ? KM_SPANS_FIND
                                                      : KM_SPANS_GIVEN;
    out->options.duplicates = strcmp(duplicates, "drop") == 0 ? KM_DUPLICATES_DROP : KM_DUPLICATES_REPORT;
    out->options.inputs = (const char *const *)(argv + 1);
    out->options.input_count = argc - 1;
    return KM_OK;
}

static void warn_of_cuts(const km_corpus_options *options, const km_corpus_report *r) {
    static const char *const other[] = {[KM_DOCUMENT_BLANK] = "--document file or --document line",
                                        [KM_DOCUMENT_LINE] = "--document blank or --document file",
                                        [KM_DOCUMENT_FILE] = "--document blank"};
    if (r->median_tokens < 20) {
        km_warn("half of the documents have %llu tokens or fewer. If they are wrongly cut, try %s.",
                (unsigned long long)r->median_tokens, other[options->document]);
    } else if (options->document == KM_DOCUMENT_BLANK && r->documents + r->holdout_documents <= r->files &&
               r->median_tokens > 10000) {
        km_warn("%llu documents in %llu files: no blank lines were found. If every line is a document, say "
                "--document line.",
                (unsigned long long)r->documents, (unsigned long long)r->files);
    }
    if (r->unknown_tokens * 20 > r->tokens) {
        km_warn("%.1f %% of the tokens are unknown to the tokenizer: is it the right one for this text?",
                100.0 * (double)r->unknown_tokens / (double)r->tokens);
    }
}

typedef struct named_count {
    const char *key, *text;
    uint64_t value;
    bool always;
} named_count;

static void print_report(const build_arguments *arguments, const km_corpus_report *r, uint64_t rows) {
    const bool drop = arguments->options.duplicates == KM_DUPLICATES_DROP;
    const bool holdout = arguments->options.holdout > 0, lines = arguments->options.sentences == KM_SENTENCES_LINE;
    const named_count counts[] = {
        {"files", "files", r->files, true},
        {"bytes", "bytes of text", r->bytes, true},
        {"documents", "documents", r->documents, true},
        {"sentences", lines ? "sentences (lines)" : "sentences", r->sentences, true},
        {"tokens", "tokens", r->tokens, true},
        {"median_tokens", "tokens of a median document", r->median_tokens, true},
        {"rows", "rows at the default data.length of 128; a run names its own", rows, true},
        {"holdout_documents", "held-out documents", r->holdout_documents, holdout},
        {"holdout_sentences", "held-out sentences", r->holdout_sentences, holdout},
        {"holdout_tokens", "held-out tokens", r->holdout_tokens, holdout},
        {"spans", "names, dates and numbers", r->spans, false},
        {"holdout_spans", "held-out names, dates and numbers", r->holdout_spans, false},
        {"bad_spans", "given entities left out (out of range, empty, overlapping)", r->bad_spans, false},
        {"tagged_tokens", "tokens with a tag", r->tagged_tokens, false},
        {"holdout_tagged_tokens", "held-out tokens with a tag", r->holdout_tagged_tokens, false},
        {"bad_tags", "given tags left out (out of range, empty, overlapping, without a name)", r->bad_tags, false},
        {"duplicate_documents",
         drop ? "documents that repeat an earlier one, left out" : "documents that repeat an earlier one",
         r->duplicate_documents, false},
        {"duplicate_paragraphs",
         drop ? "other paragraphs of 200 bytes or more that repeat an earlier one, left out"
              : "other paragraphs of 200 bytes or more that repeat an earlier one",
         r->duplicate_paragraphs, false},
        {"unknown_tokens", "unknown tokens", r->unknown_tokens, true},
        {"empty_documents", "documents without a token, left out", r->empty_documents, false},
        {"bad_records", "records left out", r->bad_records, false},
        {"skipped_lines", "lines and records with invalid UTF-8, left out", r->skipped_lines, false},
        {"cut_lines", "lines over 1 MiB, cut", r->cut_lines, false},
        {"invalid_utf8", "invalid UTF-8 sequences", r->invalid_utf8, false},
    };
    km_json *json = arguments->json ? km_json_object() : NULL;
    for (size_t i = 0; i < KM_COUNT(counts); i++) {
        if (json != NULL) {
            km_json_set_number(json, counts[i].key, (double)counts[i].value);
        } else if (counts[i].always || counts[i].value > 0) {
            printf("%14llu  %s\n", (unsigned long long)counts[i].value, counts[i].text);
        }
    }
    if (json != NULL) {
        cli_print_json(json);
    } else {
        printf("%13.4f%%  of tokens unknown\n", 100.0 * (double)r->unknown_tokens / (double)r->tokens);
    }
}

/* On rank 0, after the build: reads the file as training will, and shows some of it. */
static km_status show_built(const build_arguments *arguments, const km_corpus_report *report) {
    km_corpus *corpus = NULL;
    km_rows *rows = NULL;
    const km_rows_options options = {.length = 128, .packing = KM_PACK_FULL_SENTENCES, .min_units = 1};
    KM_TRY(km_corpus_open(&corpus, arguments->options.out));
    if (km_rows_open(&rows, corpus, &options, NULL) != KM_OK) {
        km_warn("%s", km_message()); /* only a warning, since the corpus itself has been built */
    }
    print_report(arguments, report, rows != NULL ? km_rows_count(rows) : 0);
    km_status status = rows != NULL && !arguments->json ? print_first_rows(corpus, rows) : KM_OK;
    warn_of_cuts(&arguments->options, report);
    km_rows_close(rows);
    km_corpus_close(corpus);
    return status;
}

static km_status build(int argc, char **argv) {
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    build_arguments arguments;
    km_corpus_report report = {0};
    km_status status = parse_build(argc, argv, &arguments);
    if (status == KM_OK) {
        status = km_corpus_build(comm, &arguments.options, &report);
    }
    if (status == KM_OK && km_comm_rank(comm) == 0) {
        status = show_built(&arguments, &report);
    }
    return cli_close(comm, status);
}

static km_status command(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "build") == 0) {
        return build(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "show") == 0) {
        return cli_corpus_show(argc - 1, argv + 1);
    }
    return km_fail(KM_USAGE,
                   "corpus %s: expected `kmask corpus build` or `kmask corpus show` (see kmask corpus --help)",
                   argc > 1 ? argv[1] : "without a word");
}

const cli_verb cmd_corpus = {.name = "corpus",
                             .arguments = "build|show ...",
                             .also = "preprocess|dataset|data|build|prepare",
                             .summary = "turns text into a corpus; shows rows and their masks",
                             .help = help,
                             .run = command,
                             .computes = true};
