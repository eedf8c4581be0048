/* corpus_show: `kmask corpus show`, which prints rows of a corpus, and the masks that training would put on them. */
#include "corpus_show.h"
#include "cli.h"
#include "kmask/run.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN_ROWS = 3 };

void cli_print_ids(const km_tokenizer *tokenizer, const int32_t *ids, int count, size_t limit) {
    char *text = km_decode(tokenizer, ids, (size_t)count, false);
    size_t length = strlen(text);
    bool cut = limit > 0 && length > limit;
    while (cut && limit > 0 && ((unsigned char)text[limit] & 0xC0) == 0x80) {
        limit--;
    }
    printf("%.*s%s\n", (int)(cut ? limit : length), text, cut ? " ..." : "");
    free(text);
}

/* ---- Arguments ---- */

typedef struct arguments {
    const char *path;
    int64_t row, rows, length, seed, epoch; /* row -1: the first ones; rows 0: as many as usual */
    km_packing packing;
    bool has_masks, json;
    km_mask_config mask;
    km_masking masking;
} arguments;

/* The section `mask` alone, from "policy=random,splits=2". */
static km_status read_masks(km_mask_config *out, const char *text) {
    static const km_part parts[] = {{&km_mask_section, 0}};
    static const km_schema schema = {
        .verb = "pretrain", .size = sizeof(km_mask_config), .parts = parts, .count = 1};
    enum { MOST = 64 };
    char *items[MOST], *copy = km_strdup(text), *rest = copy;
    km_config_source source = {.set = items};
    for (char *item = strsep(&rest, ","); item != NULL && source.set_count < MOST; item = strsep(&rest, ",")) {
        if (*item != '\0') {
            items[source.set_count++] = km_format("mask.%s", item);
        }
    }
    km_status status = km_schema_read(&schema, out, &source);
    status = status == KM_OK ? km_schema_fill(&schema, out) : status;
    for (int i = 0; i < source.set_count; i++) {
        free(items[i]);
    }
    free(copy);
    return status;
}

/* A corpus has no model: that it has a decoder follows from what is asked for. Its first token only the model knows, and nobody
 * sees. */
static km_status take_masks(arguments *out, const char *text) {
    km_mask_config *config = &out->mask;
    KM_TRY(read_masks(config, text));
    km_mask_resolve(config);
    const km_mask_policy *policy = km_mask_policy_named(config->policy);
    const bool targets = strcmp(config->target, "full") == 0 || strcmp(config->target, "masked") == 0;
    const bool decoder = targets || config->merge || (policy != NULL && policy->needs_merge);
    KM_TRY(km_mask_resolve_target(config, decoder ? "an encoder-decoder" : "an encoder", decoder));
    KM_TRY(km_mask_config_check(config));
    return km_masking_of(&out->masking, config, 0);
}

static km_status parse(int argc, char **argv, arguments *out) {
    const char *packing = "full_sentences", *mask = NULL;
    *out = (arguments){.row = -1, .length = 128, .seed = 1};
    const cli_option options[] = {{"row", CLI_INTEGER, &out->row, 0, 1e15, NULL},
                                  {"rows", CLI_INTEGER, &out->rows, 1, 1e15, NULL},
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
    out->has_masks = mask != NULL;
    if (mask == NULL) {
        return KM_OK;
    }
    km_status status = take_masks(out, mask);
    return status == KM_OK ? KM_OK : km_context(status, "--mask");
}

/* ---- One row ---- */

/* What is shown of the corpus, and the row that is shown now. */
typedef struct showing {
    const arguments *arguments;
    const km_corpus *corpus;
    const km_rows *rows;
    const km_tokenizer *tokenizer;
    km_row *row;
    km_marks *marks;   /* NULL: the policy needs none */
    km_masker *masker; /* NULL: no masks were asked for */
    km_masks masks;
    km_view_maker *maker;
} showing;

static bool has_targets(const showing *s) {
    return s->masker != NULL && s->arguments->masking.view.target != KM_TARGET_TOKENS;
}

static bool hidden(const showing *s, int mask, int at) {
    return s->masks.masks[(size_t)mask * (size_t)s->masks.stride + (size_t)at] != KM_SEEN;
}

/* The view under mask k, as training makes it. */
static km_status make_view(const showing *s, int k, const km_batch **batch) {
    return km_view_maker_make(s->maker, s->row, &s->masks, k, (uint64_t)s->arguments->seed,
                              (uint64_t)s->arguments->epoch, (uint32_t)k, batch);
}

/* ---- As JSON ---- */

static km_json *numbers(const int32_t *list, int count) {
    km_json *json = km_json_array();
    for (int i = 0; i < count; i++) {
        km_json_push_number(json, list[i]);
    }
    return json;
}

static void set_row(const showing *s, km_json *json) {
    km_json_set_number(json, "row", (double)s->row->number);
    km_json_set(json, "input_ids", numbers(s->row->ids, s->row->length));
    km_json *starts = km_json_array(), *spans = km_json_array();
    for (int i = 0; i < s->row->length; i++) {
        km_json_push_number(starts, s->row->starts_word[i]);
    }
    km_json_set(json, "word_starts", starts);
    for (int i = 0; i < s->row->span_count; i++) {
        km_json *span = km_json_array();
        km_json_push_number(span, s->row->spans[i].start);
        km_json_push_number(span, s->row->spans[i].end);
        km_json_push_string(span, km_span_kind_name(s->row->spans[i].kind));
        km_json_push(spans, span);
    }
    km_json_set(json, "spans", spans);
}

/* The name of a token's tag; "" where it has none. */
static const char *tag_at(const showing *s, int at) {
    return s->row->tags[at] > 0 ? km_corpus_tag(s->corpus, s->row->tags[at]) : "";
}

static void set_tags(const showing *s, km_json *json) {
    km_json *tags = km_json_array();
    for (int i = 0; i < s->row->length; i++) {
        km_json_push_string(tags, tag_at(s, i));
    }
    km_json_set(json, "tags", tags);
}

static void set_masks(const showing *s, km_json *json) {
    km_json *masks = km_json_array();
    for (int k = 0; k < s->masks.splits; k++) {
        km_json *positions = km_json_array();
        for (int i = 0; i < s->row->length; i++) {
            if (hidden(s, k, i)) {
                km_json_push_number(positions, i);
            }
        }
        km_json_push(masks, positions);
    }
    km_json_set(json, "masks", masks);
    km_json_set_number(json, "units", s->masks.units);
    km_json_set_number(json, "tau", s->masks.tau);
}

static km_status set_views(const showing *s, km_json *json) {
    km_json *sources = km_json_array(), *targets = km_json_array();
    km_json_set(json, "sources", sources);
    km_json_set(json, "targets", targets);
    for (int k = 0; k < s->masks.splits; k++) {
        const km_batch *batch = NULL;
        KM_TRY(make_view(s, k, &batch));
        km_json_push(sources, numbers(batch->input.ids, batch->input.tokens));
        km_json_push(targets, numbers(batch->labels, batch->labelled));
    }
    return KM_OK;
}

static km_status json_of(const showing *s, km_json **out) {
    *out = km_json_object();
    set_row(s, *out);
    if (km_corpus_tags(s->corpus) > 0) {
        set_tags(s, *out);
    }
    if (s->masker != NULL) {
        set_masks(s, *out);
    }
    return has_targets(s) ? set_views(s, *out) : KM_OK;
}

/* ---- As text ---- */

static void print_heading(const showing *s) {
    static const char *const units[] = {"subwords", "words", "spans", "names, dates and numbers"};
    printf("row %llu: %d tokens", (unsigned long long)s->row->number, s->row->length);
    if (s->masker != NULL) {
        const km_masking *masking = &s->arguments->masking;
        /* Each independent mask has a tiling of the row into spans of its own. */
        bool varies = masking->spec.unit == KM_UNIT_SPAN && !masking->policy->disjoint;
        printf(", n = %d %s, K = %d %s masks of tau = %d%s (seed %lld, epoch %lld)", s->masks.units,
               units[km_masking_unit(masking)], s->masks.splits, masking->policy->name, s->masks.tau,
               varies ? " (n, tau: of the last)" : "", (long long)s->arguments->seed,
               (long long)s->arguments->epoch);
    }
    printf("\n");
}

/* Prints a table with a line for each token and a column for each mask, and one of tags where the corpus has them. */
static void print_table(const showing *s) {
    const int tags = km_corpus_tags(s->corpus) > 0 ? 8 : 0;
    printf("%7s  %-20s %-*s", "", "", tags, "");
    for (int k = 0; k < s->masks.splits; k++) {
        printf(" %3d", k);
    }
    printf("\n");
    for (int i = 0; i < s->row->length; i++) {
        printf("%7d  %-20s %-*s", i, km_tokenizer_piece(s->tokenizer, s->row->ids[i]), tags, tag_at(s, i));
        for (int k = 0; k < s->masks.splits; k++) {
            printf(" %3s", hidden(s, k, i) ? "#" : ".");
        }
        printf("\n");
    }
}

/* Prints a line for each mask: the text with its masked tokens. */
static void print_masked_texts(const showing *s) {
    int32_t *ids = km_new((size_t)s->row->length, sizeof *ids);
    for (int k = 0; k < s->masks.splits; k++) {
        for (int i = 0; i < s->row->length; i++) {
            ids[i] = hidden(s, k, i) ? km_tokenizer_specials(s->tokenizer).mask : s->row->ids[i];
        }
        printf("  mask %d: ", k);
        cli_print_ids(s->tokenizer, ids, s->row->length, 0);
    }
    free(ids);
}

/* Two lines a mask. */
static km_status print_views(const showing *s) {
    for (int k = 0; k < s->masks.splits; k++) {
        const km_batch *batch = NULL;
        KM_TRY(make_view(s, k, &batch));
        printf("  source %d: ", k);
        cli_print_ids(s->tokenizer, batch->input.ids, batch->input.tokens, 0);
        printf("  target %d: ", k);
        cli_print_ids(s->tokenizer, batch->labels, batch->labelled, 0);
    }
    return KM_OK;
}

/* Prints a line that says what the spans of the row cover. */
static void print_spans(const showing *s) {
    for (int i = 0; i < s->row->span_count; i++) {
        const km_row_span *span = &s->row->spans[i];
        char *text = km_decode(s->tokenizer, s->row->ids + span->start, (size_t)(span->end - span->start), false);
        printf("%s%s (%s)", i == 0 ? "  spans: " : ", ", text, km_span_kind_name(span->kind));
        free(text);
    }
    printf("%s", s->row->span_count > 0 ? "\n" : "");
}

static km_status print(const showing *s) {
    print_heading(s);
    cli_print_ids(s->tokenizer, s->row->ids, s->row->length, 0);
    print_spans(s);
    if (s->masker == NULL) {
        return KM_OK;
    }
    if (s->arguments->row >= 0) {
        print_table(s);
    } else if (!has_targets(s)) {
        print_masked_texts(s);
    }
    return has_targets(s) ? print_views(s) : KM_OK;
}

/* ---- All rows ---- */

/* Destroys it. */
static void print_line(km_json *json) {
    char *text = km_json_print(json, false);
    printf("%s\n", text);
    free(text);
    km_json_destroy(json);
}

/* list: where JSON goes; NULL: it is printed. */
static km_status show_row(showing *s, uint64_t number, km_json *list) {
    KM_TRY(km_rows_read(s->rows, number, s->row));
    if (s->masker != NULL) {
        const km_mask_visit visit = {
            .seed = (uint64_t)s->arguments->seed, .purpose = KM_RNG_MASK, .number = (uint64_t)s->arguments->epoch};
        KM_TRY(km_masker_draw(s->masker, s->row, &visit, &s->masks));
    }
    if (!s->arguments->json) {
        return print(s);
    }
    km_json *json = NULL;
    km_status status = json_of(s, &json);
    if (status != KM_OK) {
        km_json_destroy(json);
    } else if (list != NULL) {
        km_json_push(list, json);
    } else if (s->arguments->rows > 0) {
        print_line(json);
    } else {
        cli_print_json(json);
    }
    return status;
}

static void print_totals(const km_corpus *corpus, const km_rows *rows) {
    printf("%llu documents, %llu sentences, %llu tokens; %llu rows of length %d, %llu left out\n",
           (unsigned long long)km_corpus_documents(corpus), (unsigned long long)km_corpus_sentences(corpus),
           (unsigned long long)km_corpus_tokens(corpus), (unsigned long long)km_rows_count(rows),
           km_rows_length(rows), (unsigned long long)km_rows_left_out(rows));
}

/* The rows that are shown: *first to *end - 1. */
static void find_range(const showing *s, uint64_t *first, uint64_t *end) {
    const arguments *a = s->arguments;
    const bool one = a->row >= 0;
    const uint64_t most = a->rows > 0 ? (uint64_t)a->rows : one ? 1 : SHOWN_ROWS;
    *first = one ? (uint64_t)a->row : 0;
    *end = one ? *first + most : KM_MIN(km_rows_count(s->rows), most);
}

static km_status show_rows(showing *s, const km_corpus *corpus) {
    const arguments *a = s->arguments;
    const bool one = a->row >= 0;
    uint64_t first = 0, end = 0;
    find_range(s, &first, &end);
    km_json *list = a->json && !one && a->rows == 0 ? km_json_array() : NULL;
    if (!a->json && !one) {
        print_totals(corpus, s->rows);
    }
    km_status status = KM_OK;
    for (uint64_t i = first; i < end && status == KM_OK; i++) {
        status = show_row(s, i, list);
    }
    if (list != NULL && status == KM_OK) {
        cli_print_json(list);
    } else {
        km_json_destroy(list);
    }
    return status;
}

/* The marks of the rows that are shown, for a policy that was learned. */
static km_status make_marks(showing *s, const km_corpus *corpus) {
    km_mark_request request = {.corpus = corpus, .rows = s->rows, .threads = 1};
    uint64_t end = 0;
    find_range(s, &request.first, &end);
    request.first = KM_MIN(request.first, km_rows_count(s->rows));
    request.count = KM_MIN(end, km_rows_count(s->rows)) - request.first;
    return km_run_mark(&s->marks, NULL, &s->arguments->mask, &request);
}

static km_status prepare(showing *s, const km_corpus *corpus) {
    km_masking chosen = s->arguments->masking;
    const km_masking *masking = &chosen;
    const int length = km_rows_length(s->rows);
    s->row = km_row_create(length);
    s->row->wants_tags = true;
    if (!s->arguments->has_masks) {
        return KM_OK;
    }
    const km_mask_policy *policy = masking->policy;
    s->row->wants_sentences = policy->needs_sentences;
    KM_TRY(make_marks(s, corpus));
    chosen.spec.marks = s->marks;
    KM_TRY(km_masker_create(&s->masker, policy, &masking->spec, corpus, length));
    km_masks_create(&s->masks, s->masker);
    const int shown = policy->longest_shown != NULL ? policy->longest_shown(&masking->spec, length) : length;
    return km_view_maker_create(&s->maker, corpus, length, shown, &masking->view);
}

static km_status show(const arguments *a, const km_corpus *corpus, const km_rows *rows) {
    showing s = {.arguments = a, .corpus = corpus, .rows = rows, .tokenizer = km_corpus_tokenizer(corpus)};
    km_status status = prepare(&s, corpus);
    status = status == KM_OK ? show_rows(&s, corpus) : status;
    km_view_maker_destroy(s.maker);
    km_masks_free(&s.masks);
    km_masker_destroy(s.masker);
    km_marks_close(s.marks);
    km_row_destroy(s.row);
    return status;
}

km_status cli_corpus_show(int argc, char **argv) {
    arguments a;
    KM_TRY(parse(argc, argv, &a));
    km_corpus *corpus = NULL;
    km_rows *rows = NULL;
    KM_TRY(km_corpus_open(&corpus, a.path));
    const km_rows_options options = {.length = (int)a.length,
                                     .packing = a.packing,
                                     .unit = a.has_masks ? km_masking_unit(&a.masking) : KM_UNIT_SUBWORD,
                                     .min_units = a.has_masks ? a.masking.spec.splits : 1};
    km_status status = km_rows_open(&rows, corpus, &options, NULL);
    if (status == KM_OK) {
        status = show(&a, corpus, rows);
    }
    km_rows_close(rows);
    km_corpus_close(corpus);
    return status;
}
