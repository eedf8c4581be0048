/* kmask corpus build | show */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "kmask/data.h"

static const char help[] =
    "kmask corpus build --tokenizer DIR --out FILE.h5 [options] FILE...\n"
    "    Text to corpus: plain text or JSONL (.jsonl, .ndjson, .json), also gzip-compressed (.gz); folders are "
    "read\n"
    "    whole. Under mpirun the ranks share the work; the file is the same for any number of ranks.\n"
    "    --document blank|line|file  what separates documents of plain text: blank lines (default), line ends, "
    "files\n"
    "    --field text                JSONL: the field with the text; a.b,c: several, each a paragraph\n"
    "    --sentences icu|line        where sentences end: at line ends, and inside lines by Unicode's rules "
    "(default);\n"
    "                                or at line ends alone\n"
    "    --spans given|find|none     names, dates and numbers, for salient masks: those in the JSONL's "
    "\"entities\":\n"
    "                                [[start, end, label], ...], in characters of the (first) field, or "
    "{\"field\":\n"
    "                                [...]} (default); these, and found ones in text that has none given; none\n"
    "    --holdout 0.01              share of documents, by hash of their text, that go to FILE.holdout.h5\n"
    "    --json                      the counts as JSON\n"
    "\n"
    "kmask corpus show FILE.h5 [options]\n"
    "    Rows in corpus order, and the very masks that training uses for (seed, epoch, row).\n"
    "    --row I                     this row (from 0) instead of the first three\n"
    "    --length 128  --packing full_sentences|documents|stream\n"
    "    --mask policy=fully_explored,splits=4,ratio=0.15,unit=subword\n"
    "                                K masks: side by side with --row, else one line a mask\n"
    "    --seed 1  --epoch 0         of the masks\n"
    "    --json                      {\"row\", \"input_ids\", \"word_starts\", \"spans\": [[start, end, kind], "
    "...], \"masks\": ...}\n"
    "\n"
    "Example:\n"
    "    mpirun -n 8 kmask corpus build --tokenizer tok --out wiki.h5 --holdout 0.01 wiki/\n"
    "    kmask corpus show wiki.h5 --row 0 --mask policy=fully_explored,splits=4,unit=word\n";

/* ---- Rows as text ---- */

enum { SHOWN_ROWS = 3, SHOWN_BYTES = 240 };

/* One line of decoded text; `limit` bytes of it, 0: all. */
static void print_text(const km_tokenizer *tokenizer, const int32_t *ids, int count, size_t limit) {
    char *text = km_decode(tokenizer, ids, (size_t)count, false);
    size_t length = strlen(text);
    bool cut = limit > 0 && length > limit;
    while (cut && limit > 0 && ((unsigned char)text[limit] & 0xC0) == 0x80) {
        limit--;
    }
    printf("%.*s%s\n", (int)(cut ? limit : length), text, cut ? " ..." : "");
    free(text);
}

static km_status print_first_rows(const km_corpus *corpus, const km_rows *rows) {
    km_row *row = km_row_create(km_rows_length(rows));
    km_status status = KM_OK;
    for (uint64_t i = 0; i < KM_MIN(km_rows_count(rows), SHOWN_ROWS) && status == KM_OK; i++) {
        status = km_rows_read(rows, i, row);
        if (status == KM_OK) {
            printf("row %llu: ", (unsigned long long)i);
            print_text(km_corpus_tokenizer(corpus), row->ids, row->length, SHOWN_BYTES);
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

static km_document document_named(const char *name) {
    return strcmp(name, "line") == 0   ? KM_DOCUMENT_LINE
           : strcmp(name, "file") == 0 ? KM_DOCUMENT_FILE
                                       : KM_DOCUMENT_BLANK;
}

static km_status parse_build(int argc, char **argv, build_arguments *out) {
    const char *document = "blank", *sentences = "icu", *spans = "given";
    *out = (build_arguments){.options.field = "text"};
    const cli_option options[] = {{"tokenizer", CLI_TEXT, &out->options.tokenizer, 0, 0, NULL},
                                  {"out", CLI_TEXT, &out->options.out, 0, 0, NULL},
                                  {"document", CLI_TEXT, &document, 0, 0, "blank|line|file"},
                                  {"field", CLI_TEXT, &out->options.field, 0, 0, NULL},
                                  {"sentences", CLI_TEXT, &sentences, 0, 0, "icu|line"},
                                  {"spans", CLI_TEXT, &spans, 0, 0, "given|find|none"},
                                  {"holdout", CLI_NUMBER, &out->options.holdout, 0, 1, NULL},
                                  {"json", CLI_FLAG, &out->json, 0, 0, NULL}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (out->options.tokenizer == NULL || out->options.out == NULL) {
        return km_fail(KM_USAGE, "corpus build needs %s (see kmask corpus --help)",
                       out->options.out == NULL ? "--out FILE.h5" : "--tokenizer DIR");
    }
    out->options.document = document_named(document);
    out->options.sentences = strcmp(sentences, "line") == 0 ? KM_SENTENCES_LINE : KM_SENTENCES_ICU;
    out->options.spans = strcmp(spans, "none") == 0   ? KM_SPANS_NONE
                         : strcmp(spans, "find") == 0 ? KM_SPANS_FIND
                                                      : KM_SPANS_GIVEN;
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
    const bool holdout = arguments->options.holdout > 0, lines = arguments->options.sentences == KM_SENTENCES_LINE;
    const named_count counts[] = {
        {"files", "files", r->files, true},
        {"bytes", "bytes of text", r->bytes, true},
        {"documents", "documents", r->documents, true},
        {"sentences", lines ? "sentences (lines)" : "sentences", r->sentences, true},
        {"tokens", "tokens", r->tokens, true},
        {"median_tokens", "tokens of a median document", r->median_tokens, true},
        {"rows", "rows of length 128, full_sentences", rows, true},
        {"holdout_documents", "held-out documents", r->holdout_documents, holdout},
        {"holdout_sentences", "held-out sentences", r->holdout_sentences, holdout},
        {"holdout_tokens", "held-out tokens", r->holdout_tokens, holdout},
        {"spans", "names, dates and numbers", r->spans, false},
        {"holdout_spans", "held-out names, dates and numbers", r->holdout_spans, false},
        {"bad_spans", "given entities left out (out of range, empty, overlapping)", r->bad_spans, false},
        {"unknown_tokens", "unknown tokens", r->unknown_tokens, true},
        {"empty_documents", "documents without a token, left out", r->empty_documents, false},
        {"bad_records", "records left out", r->bad_records, false},
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

/* Rank 0, after the build: reads the file as training will. */
static km_status show_built(const build_arguments *arguments, const km_corpus_report *report) {
    km_corpus *corpus = NULL;
    km_rows *rows = NULL;
    const km_rows_options options = {.length = 128, .packing = KM_PACK_FULL_SENTENCES, .min_units = 1};
    KM_TRY(km_corpus_open(&corpus, arguments->options.out));
    if (km_rows_open(&rows, corpus, &options, NULL) != KM_OK) {
        km_warn("%s", km_message()); /* the corpus is fine all the same */
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

/* ---- show ---- */

typedef struct show_arguments {
    const char *path;
    int64_t row, length, seed, epoch; /* row -1: the first ones */
    km_packing packing;
    const km_mask_policy *policy; /* NULL: no masks */
    km_mask_spec spec;
    bool json;
} show_arguments;

static km_status bad_mask(const char *item, const char *expected) {
    return km_fail(KM_USAGE, "--mask %s: expected %s", item, expected);
}

/* The whole of `text` as a number. */
static bool number_from(const char *text, double low, double high, double *out) {
    char *end = NULL;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= low && *out <= high;
}

static km_status set_mask_item(show_arguments *out, const char *item) {
    static const char *const keys[] = {"policy", "splits", "ratio", "unit", NULL};
    const char *value = strchr(item, '=');
    char key[16] = "";
    snprintf(key, sizeof key, "%.*s", (int)(value == NULL ? strlen(item) : (size_t)(value - item)), item);
    double number = 0;
    value = value == NULL ? "" : value + 1;
    if (strcmp(key, "policy") == 0) {
        out->policy = km_mask_policy_named(value);
        return out->policy != NULL ? KM_OK : bad_mask(item, km_mask_policy_names());
    }
    if (strcmp(key, "splits") == 0) {
        bool fits = number_from(value, 1, 1024, &number) && number == (int)number;
        out->spec.splits = (int)number;
        return fits ? KM_OK : bad_mask(item, "splits=1 to splits=1024");
    }
    if (strcmp(key, "ratio") == 0) {
        bool partition = strcmp(value, "partition") == 0;
        bool fits = partition || (number_from(value, 0, 1, &number) && number > 0);
        out->spec.ratio = partition ? 0 : number;
        return fits ? KM_OK : bad_mask(item, "a ratio above 0 and up to 1, or ratio=partition");
    }
    if (strcmp(key, "unit") == 0) {
        return km_unit_named(&out->spec.unit, value) ? KM_OK : bad_mask(item, "unit=subword, word or span");
    }
    const char *near = km_nearest(key, keys);
    return km_fail(KM_USAGE, "--mask %s: unknown key%s%s%s; there are policy, splits, ratio and unit", item,
                   near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

static km_status parse_mask(show_arguments *out, const char *text) {
    out->policy = km_mask_policy_at(0);
    out->spec = (km_mask_spec){.unit = KM_UNIT_SUBWORD, .splits = 4, .ratio = 0.15};
    char *copy = km_strdup(text), *rest = copy;
    km_status status = KM_OK;
    for (char *item = strsep(&rest, ","); item != NULL && status == KM_OK; item = strsep(&rest, ",")) {
        status = *item == '\0' ? KM_OK : set_mask_item(out, item);
    }
    free(copy);
    return status;
}

static km_status parse_show(int argc, char **argv, show_arguments *out) {
    const char *packing = "full_sentences", *mask = NULL;
    *out = (show_arguments){.row = -1, .length = 128, .seed = 1, .spec = {.splits = 1}};
    const cli_option options[] = {{"row", CLI_INTEGER, &out->row, 0, 1e15, NULL},
                                  {"length", CLI_INTEGER, &out->length, 3, 65535, NULL},
                                  {"packing", CLI_TEXT, &packing, 0, 0, km_packing_names()},
                                  {"mask", CLI_TEXT, &mask, 0, 0, NULL},
                                  {"seed", CLI_INTEGER, &out->seed, 0, 9e15, NULL},
                                  {"epoch", CLI_INTEGER, &out->epoch, 0, 4e9, NULL},
                                  {"json", CLI_FLAG, &out->json, 0, 0, NULL}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 2) {
        return km_fail(KM_USAGE, "corpus show needs one corpus file, found %d (see kmask corpus --help)", argc - 1);
    }
    out->path = argv[1];
    if (!km_packing_named(&out->packing, packing)) {
        return km_fail(KM_USAGE, "--packing %s: expected full_sentences, documents or stream", packing);
    }
    return mask != NULL ? parse_mask(out, mask) : KM_OK;
}

/* What is shown of one row. */
typedef struct view {
    const show_arguments *arguments;
    const km_tokenizer *tokenizer;
    const km_row *row;
    const km_masks *masks; /* NULL: none asked for */
} view;

static bool hidden(const view *v, int mask, int at) {
    return v->masks->masks[(size_t)mask * (size_t)v->masks->stride + (size_t)at] != 0;
}

static km_json *json_of(const view *v) {
    km_json *json = km_json_object(), *ids = km_json_array(), *starts = km_json_array();
    km_json_set_number(json, "row", (double)v->row->number);
    for (int i = 0; i < v->row->length; i++) {
        km_json_push_number(ids, v->row->ids[i]);
        km_json_push_number(starts, v->row->starts_word[i]);
    }
    km_json_set(json, "input_ids", ids);
    km_json_set(json, "word_starts", starts);
    km_json *spans = km_json_array();
    for (int i = 0; i < v->row->span_count; i++) {
        km_json *span = km_json_array();
        km_json_push_number(span, v->row->spans[i].start);
        km_json_push_number(span, v->row->spans[i].end);
        km_json_push_string(span, km_span_kind_name(v->row->spans[i].kind));
        km_json_push(spans, span);
    }
    km_json_set(json, "spans", spans);
    if (v->masks == NULL) {
        return json;
    }
    km_json *masks = km_json_array();
    for (int k = 0; k < v->masks->splits; k++) {
        km_json *positions = km_json_array();
        for (int i = 0; i < v->row->length; i++) {
            if (hidden(v, k, i)) {
                km_json_push_number(positions, i);
            }
        }
        km_json_push(masks, positions);
    }
    km_json_set(json, "masks", masks);
    km_json_set_number(json, "units", v->masks->units);
    km_json_set_number(json, "tau", v->masks->tau);
    return json;
}

static void print_heading(const view *v) {
    static const char *const units[] = {"subwords", "words", "spans"};
    printf("row %llu: %d tokens", (unsigned long long)v->row->number, v->row->length);
    if (v->masks != NULL) {
        /* Independent masks tile the row into spans one by one. */
        bool varies = v->arguments->spec.unit == KM_UNIT_SPAN && !v->arguments->policy->disjoint;
        printf(", n = %d %s, K = %d %s masks of tau = %d%s (seed %lld, epoch %lld)", v->masks->units,
               units[v->arguments->spec.unit], v->masks->splits, v->arguments->policy->name, v->masks->tau,
               varies ? " (n, tau: of the last)" : "", (long long)v->arguments->seed,
               (long long)v->arguments->epoch);
    }
    printf("\n");
}

/* One line a token, one column a mask. */
static void print_table(const view *v) {
    printf("%7s  %-20s", "", "");
    for (int k = 0; k < v->masks->splits; k++) {
        printf(" %3d", k);
    }
    printf("\n");
    for (int i = 0; i < v->row->length; i++) {
        printf("%7d  %-20s", i, km_tokenizer_piece(v->tokenizer, v->row->ids[i]));
        for (int k = 0; k < v->masks->splits; k++) {
            printf(" %3s", hidden(v, k, i) ? "#" : ".");
        }
        printf("\n");
    }
}

/* One line a mask: the text with its holes. */
static void print_masked_texts(const view *v) {
    int32_t *ids = km_new((size_t)v->row->length, sizeof *ids);
    for (int k = 0; k < v->masks->splits; k++) {
        for (int i = 0; i < v->row->length; i++) {
            ids[i] = hidden(v, k, i) ? km_tokenizer_specials(v->tokenizer).mask : v->row->ids[i];
        }
        printf("  mask %d: ", k);
        print_text(v->tokenizer, ids, v->row->length, 0);
    }
    free(ids);
}

/* One line: what the spans of the row cover. */
static void print_spans(const view *v) {
    for (int i = 0; i < v->row->span_count; i++) {
        const km_row_span *span = &v->row->spans[i];
        char *text = km_decode(v->tokenizer, v->row->ids + span->start, (size_t)(span->end - span->start), false);
        printf("%s%s (%s)", i == 0 ? "  spans: " : ", ", text, km_span_kind_name(span->kind));
        free(text);
    }
    printf("%s", v->row->span_count > 0 ? "\n" : "");
}

static void print_view(const view *v) {
    print_heading(v);
    print_text(v->tokenizer, v->row->ids, v->row->length, 0);
    print_spans(v);
    if (v->masks != NULL && v->arguments->row >= 0) {
        print_table(v);
    } else if (v->masks != NULL) {
        print_masked_texts(v);
    }
}

static km_status show_row(const show_arguments *arguments, const km_corpus *corpus, const km_rows *rows,
                          uint64_t number, km_row *row, km_masker *masker, km_masks *masks, km_json *list) {
    KM_TRY(km_rows_read(rows, number, row));
    if (masker != NULL) {
        const km_mask_visit visit = {
            .seed = (uint64_t)arguments->seed, .purpose = KM_RNG_MASK, .number = (uint64_t)arguments->epoch};
        KM_TRY(km_masker_draw(masker, row, &visit, masks));
    }
    const view v = {.arguments = arguments,
                    .tokenizer = km_corpus_tokenizer(corpus),
                    .row = row,
                    .masks = masker != NULL ? masks : NULL};
    if (!arguments->json) {
        print_view(&v);
    } else if (list != NULL) {
        km_json_push(list, json_of(&v));
    } else {
        cli_print_json(json_of(&v));
    }
    return KM_OK;
}

static km_status show_rows(const show_arguments *arguments, const km_corpus *corpus, const km_rows *rows) {
    const bool one = arguments->row >= 0;
    const int length = km_rows_length(rows), splits = arguments->spec.splits;
    uint64_t first = one ? (uint64_t)arguments->row : 0;
    uint64_t end = one ? first + 1 : KM_MIN(km_rows_count(rows), SHOWN_ROWS);
    km_row *row = km_row_create(length);
    km_masks masks = {.splits = splits, .stride = length, .masks = km_new((size_t)splits * (size_t)length, 1)};
    km_json *list = arguments->json && !one ? km_json_array() : NULL;
    if (!arguments->json && !one) {
        printf("%llu documents, %llu sentences, %llu tokens; %llu rows of length %d, %llu left out\n",
               (unsigned long long)km_corpus_documents(corpus), (unsigned long long)km_corpus_sentences(corpus),
               (unsigned long long)km_corpus_tokens(corpus), (unsigned long long)km_rows_count(rows), length,
               (unsigned long long)km_rows_left_out(rows));
    }
    km_masker *masker = NULL;
    km_status status = arguments->policy == NULL
                           ? KM_OK
                           : km_masker_create(&masker, arguments->policy, &arguments->spec, corpus, length);
    for (uint64_t i = first; i < end && status == KM_OK; i++) {
        status = show_row(arguments, corpus, rows, i, row, masker, &masks, list);
    }
    if (list != NULL && status == KM_OK) {
        cli_print_json(list);
    } else {
        km_json_destroy(list);
    }
    free(masks.masks);
    km_masker_destroy(masker);
    km_row_destroy(row);
    return status;
}

static km_status show(int argc, char **argv) {
    show_arguments arguments;
    KM_TRY(parse_show(argc, argv, &arguments));
    km_corpus *corpus = NULL;
    km_rows *rows = NULL;
    KM_TRY(km_corpus_open(&corpus, arguments.path));
    const km_rows_options options = {.length = (int)arguments.length,
                                     .packing = arguments.packing,
                                     .unit = arguments.spec.unit,
                                     .min_units = arguments.policy != NULL ? arguments.spec.splits : 1};
    km_status status = km_rows_open(&rows, corpus, &options, NULL);
    if (status == KM_OK) {
        status = show_rows(&arguments, corpus, rows);
    }
    km_rows_close(rows);
    km_corpus_close(corpus);
    return status;
}

static km_status command(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "build") == 0) {
        return build(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "show") == 0) {
        return show(argc - 1, argv + 1);
    }
    return km_fail(KM_USAGE,
                   "corpus %s: expected `kmask corpus build` or `kmask corpus show` (see kmask corpus --help)",
                   argc > 1 ? argv[1] : "without a word");
}

const cli_verb cmd_corpus = {.name = "corpus",
                             .arguments = "build|show ...",
                             .summary = "turns text into a corpus; shows rows and their masks",
                             .help = help,
                             .run = command};
