/* The spill: arrays that grow at their end, and documents that are tokenized into them. A document goes to the training side
 * first and is moved when its hash says that it is held out. */
#include "corpus_spill.h"

#include <stdlib.h>
#include <string.h>

#include "kmask/input.h"

enum { BUFFER = 1 << 18 };

struct km_spill {
    const km_tokenizer *tokenizer;
    km_specials special;
    size_t element[SPILL_ARRAYS]; /* bytes */
    double holdout;
    km_stream streams[SPILL_SIDES][SPILL_ARRAYS];

    km_sentences *sentences; /* NULL: lines are sentences */
    bool joins, inside;      /* line ends are blanks to the tokenizer; the next line goes on with a paragraph */
    km_buffer joined;        /* a line with the blank before it */
    uint64_t joined_lines;
    km_ids ids, placed;              /* of a line; with the places of tokens where they are needed */
    uint64_t document[SPILL_ARRAYS]; /* elements of the training side when the document began */
    uint64_t document_unknown;
    uint64_t document_tagged, tagged[SPILL_SIDES]; /* tokens with a tag: of the document, and of earlier ones */
    uint8_t tag_number[KM_MOST_TAGS + 1];          /* what tags are copied as */
    km_hasher *hasher;                             /* of the document's text; NULL before its first line */
    km_stream passages[KM_PASSAGE_KINDS];          /* of km_passage */
    uint64_t documents;                            /* with a token, of both sides */
    km_hasher *paragraph;                          /* of its text; NULL before its first line */
    bool last_is_long;                             /* the line before was a paragraph of its own */
    uint64_t paragraph_bytes,
        paragraph_first; /* of text so far; the token of the training side with which it begins */
    uint64_t empty_documents, invalid_utf8, unknown_tokens, lost_spans;
    int64_t histogram[SPILL_BINS];
};

/* ---- The histogram of document sizes ---- */

static int bin_of(uint64_t value) {
    if (value < 64) {
        return (int)value;
    }
    int shift = 63 - __builtin_clzll(value) - 5;
    return 64 + (shift - 1) * 32 + (int)(value >> shift) - 32;
}

/* The middle of a bin. */
static uint64_t bin_value(int bin) {
    if (bin < 64) {
        return (uint64_t)bin;
    }
    int shift = (bin - 64) / 32 + 1;
    uint64_t low = (uint64_t)((bin - 64) % 32 + 32) << shift;
    return low + ((UINT64_C(1) << shift) - 1) / 2;
}

uint64_t km_histogram_median(const int64_t bins[SPILL_BINS]) {
    int64_t total = 0, below = 0;
    for (int i = 0; i < SPILL_BINS; i++) {
        total += bins[i];
    }
    for (int i = 0; i < SPILL_BINS; i++) {
        below += bins[i];
        if (2 * below >= total && total > 0) {
            return bin_value(i);
        }
    }
    return 0;
}

/* ---- Documents ---- */

/* Numbers of tokens, counted from the first one of the corpus. */
static bool counts_tokens(int array) {
    return array == SPILL_SENTENCE_ENDS || array == SPILL_DOCUMENT_ENDS || array == SPILL_SPAN_STARTS ||
           array == SPILL_SPAN_ENDS;
}

static bool of_spans(int array) {
    return array == SPILL_SPAN_STARTS || array == SPILL_SPAN_ENDS || array == SPILL_SPAN_KINDS;
}

static km_status open_stream(km_stream *stream, const char *path, int rank, const char *name) {
    char *whole = km_format("%s.%d.%s", path, rank, name);
    km_status status = km_stream_open(stream, whole);
    free(whole);
    return status;
}

static km_status open_parts(km_spill *spill, const char *path, int rank, const km_corpus_options *options) {
    static const char *const names[SPILL_ARRAYS] = {"tokens",    "words",      "sentences", "span-starts",
                                                    "span-ends", "span-kinds", "tags",      "documents"};
    for (int side = 0; side < (spill->holdout > 0 ? SPILL_SIDES : 1); side++) {
        for (int array = 0; array < SPILL_ARRAYS; array++) {
            if (of_spans(array) && options->spans == KM_SPANS_NONE) {
                continue;
            }
            char *name = km_format("%s%s", side == SPILL_HOLDOUT ? "holdout-" : "", names[array]);
            km_status status = open_stream(&spill->streams[side][array], path, rank, name);
            free(name);
            KM_TRY(status);
        }
    }
    KM_TRY(open_stream(&spill->passages[KM_PASSAGE_DOCUMENT], path, rank, "document-hashes"));
    KM_TRY(open_stream(&spill->passages[KM_PASSAGE_PARAGRAPH], path, rank, "paragraph-hashes"));
    return options->sentences == KM_SENTENCES_ICU ? km_sentences_create(&spill->sentences) : KM_OK;
}

km_status km_spill_open(km_spill **out, const char *path, int rank, const km_tokenizer *tokenizer, int id_bytes,
                        const km_corpus_options *options) {
    km_spill *spill = km_new(1, sizeof *spill);
    spill->tokenizer = tokenizer;
    spill->special = km_tokenizer_specials(tokenizer);
    spill->holdout = options->holdout;
    spill->joins = km_tokenizer_has_blanks(tokenizer);
    spill->placed.ranges = true;
    for (int array = 0; array < SPILL_ARRAYS; array++) {
        spill->element[array] = counts_tokens(array)    ? sizeof(uint64_t)
                                : array == SPILL_TOKENS ? (size_t)id_bytes
                                                        : 1;
    }
    km_status status = open_parts(spill, path, rank, options);
    if (status != KM_OK) {
        km_spill_close(spill);
        spill = NULL;
    }
    *out = spill;
    return status;
}

void km_spill_close(km_spill *spill) {
    if (spill == NULL) {
        return;
    }
    for (int side = 0; side < SPILL_SIDES; side++) {
        for (int array = 0; array < SPILL_ARRAYS; array++) {
            km_stream_close(&spill->streams[side][array]);
        }
    }
    for (int kind = 0; kind < KM_PASSAGE_KINDS; kind++) {
        km_stream_close(&spill->passages[kind]);
    }
    if (spill->hasher != NULL) {
        (void)km_hasher_end(spill->hasher);
    }
    if (spill->paragraph != NULL) {
        (void)km_hasher_end(spill->paragraph);
    }
    km_sentences_destroy(spill->sentences);
    km_buffer_free(&spill->joined);
    km_ids_free(&spill->ids);
    km_ids_free(&spill->placed);
    free(spill);
}

uint64_t km_spill_count(const km_spill *spill, int side, int array) {
    return km_stream_size(&spill->streams[side][array]) / spill->element[array];
}

static km_status append_ids(km_spill *spill, const km_ids *line) {
    km_stream *s = &spill->streams[SPILL_TRAIN][SPILL_TOKENS];
    if (spill->element[SPILL_TOKENS] == sizeof(int32_t)) {
        return km_stream_add(s, line->ids, line->count * sizeof(int32_t));
    }
    char *narrow = (char *)line->ids; /* in place, from the front: the ids are not needed again */
    for (size_t i = 0; i < line->count; i++) {
        uint16_t id = (uint16_t)line->ids[i];
        memcpy(narrow + i * sizeof id, &id, sizeof id);
    }
    return km_stream_add(s, narrow, line->count * sizeof(uint16_t));
}

/* Adds the spans of a line, as ranges of tokens. A token that two spans share belongs to the first. `first` is the number of the
 * line's first token. */
static km_status append_spans(km_spill *spill, const km_ids *line, const km_spans *spans, uint64_t first) {
    km_stream *train = spill->streams[SPILL_TRAIN];
    size_t at = 0;
    for (size_t i = 0; i < spans->count; i++) {
        const km_span *span = &spans->spans[i];
        while (at < line->count && line->ends[at] <= span->begin) {
            at++;
        }
        uint64_t start = first + at;
        while (at < line->count && line->begins[at] < span->end) {
            at++;
        }
        uint64_t end = first + at;
        uint8_t kind = (uint8_t)span->kind;
        if (end == start) {
            spill->lost_spans++;
            continue;
        }
        KM_TRY(km_stream_add(&train[SPILL_SPAN_STARTS], &start, sizeof start));
        KM_TRY(km_stream_add(&train[SPILL_SPAN_ENDS], &end, sizeof end));
        KM_TRY(km_stream_add(&train[SPILL_SPAN_KINDS], &kind, sizeof kind));
    }
    return KM_OK;
}

/* Adds the sentence ends of a line: the first at byte `end`, the others as the rules find them, the last at the line's end. An end is
 * stored as the number of the token after it. A token belongs to the sentence in which it begins. */
static km_status append_sentences(km_spill *spill, const km_ids *line, const km_spans *spans, uint64_t first,
                                  size_t end) {
    km_stream *ends = &spill->streams[SPILL_TRAIN][SPILL_SENTENCE_ENDS];
    size_t at = 0, last = 0, next = 0, count = spans != NULL ? spans->count : 0;
    for (; end > 0; end = km_sentences_next(spill->sentences)) {
        while (next < count && spans->spans[next].end <= end) {
            next++;
        }
        if (next < count && spans->spans[next].begin < end) {
            continue; /* inside a name: "U.S. Army" */
        }
        while (at < line->count && line->begins[at] < end) {
            at++;
        }
        if (at > last && at < line->count) {
            uint64_t token = first + at;
            KM_TRY(km_stream_add(ends, &token, sizeof token));
            last = at;
        }
    }
    uint64_t token = first + line->count;
    return km_stream_add(ends, &token, sizeof token);
}

/* Adds a tag of 0 for every token before the side's token `end` that has none yet: until the first tag comes, none is stored. */
static km_status fill_tags(km_spill *spill, int side, uint64_t end) {
    static const uint8_t none[1024];
    km_stream *tags = &spill->streams[side][SPILL_TAGS];
    while (km_stream_size(tags) < end) {
        KM_TRY(km_stream_add(tags, none, (size_t)KM_MIN((uint64_t)sizeof none, end - km_stream_size(tags))));
    }
    return KM_OK;
}

/* Adds the tags of a line's tokens. `first` is the number of the line's first token. */
static km_status append_tags(km_spill *spill, const km_ids *line, const km_spans *tags, uint64_t first) {
    km_stream *train = &spill->streams[SPILL_TRAIN][SPILL_TAGS];
    size_t next = 0;
    KM_TRY(fill_tags(spill, SPILL_TRAIN, first));
    for (size_t i = 0; i < line->count; i++) {
        while (next < tags->count && tags->spans[next].end <= line->begins[i]) {
            next++;
        }
        const bool tagged = next < tags->count && tags->spans[next].begin < line->ends[i];
        const uint8_t tag = tagged ? (uint8_t)tags->spans[next].kind : 0;
        spill->document_tagged += tagged;
        KM_TRY(km_stream_add(train, &tag, sizeof tag));
    }
    return KM_OK;
}

/* ---- Hashes of documents and paragraphs ---- */

enum { LONG = 200 /* bytes of a long paragraph: shorter ones are alike by chance, or are headings */ };

static void hash_line(km_hasher **hasher, const char *text, size_t count) {
    *hasher = *hasher != NULL ? *hasher : km_hasher_create();
    km_hasher_add(*hasher, text, count);
    km_hasher_add(*hasher, "\n", 1);
}

static km_status add_passage(km_spill *spill, km_passage_kind kind, const km_passage *passage) {
    return km_stream_add(&spill->passages[kind], passage, sizeof *passage);
}

/* Ends the paragraph before the next line, and notes it if it is long. */
static km_status end_paragraph(km_spill *spill) {
    if (spill->paragraph == NULL) {
        return KM_OK;
    }
    const uint64_t end = km_spill_count(spill, SPILL_TRAIN, SPILL_TOKENS), bytes = spill->paragraph_bytes;
    const km_passage passage = {.hash = km_hasher_end(spill->paragraph),
                                .document = spill->documents,
                                .first = spill->paragraph_first - spill->document[SPILL_TOKENS],
                                .count = end - spill->paragraph_first};
    spill->paragraph = NULL;
    spill->paragraph_bytes = 0;
    return bytes >= LONG && passage.count > 0 ? add_passage(spill, KM_PASSAGE_PARAGRAPH, &passage) : KM_OK;
}

/* A paragraph is lines up to a blank one, or one line that is long by itself. */
static km_status begin_line(km_spill *spill, const char *text, size_t count) {
    KM_TRY(count >= LONG || spill->last_is_long ? end_paragraph(spill) : KM_OK);
    spill->last_is_long = count >= LONG;
    if (spill->paragraph == NULL) {
        spill->paragraph_first = km_spill_count(spill, SPILL_TRAIN, SPILL_TOKENS);
    }
    hash_line(&spill->paragraph, text, count);
    spill->paragraph_bytes += count;
    hash_line(&spill->hasher, text, count);
    return KM_OK;
}

/* Encodes a line. One that goes on with a paragraph is encoded with a blank before it where blanks are part of pieces, so that the
 * line end between two words is what a blank is: its ids are those of the paragraph in one line. */
static void encode_line(km_spill *spill, const char *text, size_t count, km_ids *line) {
    if (!spill->inside || !spill->joins) {
        km_encode(spill->tokenizer, text, count, false, line, &spill->invalid_utf8);
        return;
    }
    spill->joined.size = 0;
    km_buffer_add(&spill->joined, " ", 1);
    km_buffer_add(&spill->joined, text, count);
    km_encode(spill->tokenizer, spill->joined.data, spill->joined.size, false, line, &spill->invalid_utf8);
    spill->joined_lines++;
    for (size_t i = 0; line->ranges && i < line->count; i++) { /* places are those in the line */
        line->begins[i] -= line->begins[i] > 0;
        line->ends[i] -= line->ends[i] > 0;
    }
}

km_status km_spill_line(km_spill *spill, const char *text, size_t count, const km_spans *spans,
                        const km_spans *tags) {
    count = km_line_trim(text, count);
    if (count == 0) {
        spill->inside = false;
        return end_paragraph(spill);
    }
    KM_TRY(begin_line(spill, text, count));
    size_t end = 0; /* of the first sentence, where there are several */
    if (spill->sentences != NULL) {
        km_sentences_begin(spill->sentences, text, count);
        end = km_sentences_next(spill->sentences);
        end = end < count ? end : 0;
    }
    const bool has_spans = spans != NULL && spans->count > 0;
    const bool has_tags = tags != NULL && tags->count > 0;
    km_ids *line = end > 0 || has_spans || has_tags ? &spill->placed : &spill->ids;
    line->count = 0;
    encode_line(spill, text, count, line);
    spill->inside = true;
    if (line->count == 0) {
        spill->lost_spans += has_spans ? spans->count : 0;
        return KM_OK;
    }
    line->starts_word[0] = 1; /* a sentence begins with a word */
    for (size_t i = 0; i < line->count; i++) {
        spill->document_unknown += line->ids[i] == spill->special.unk;
    }
    const uint64_t first = km_spill_count(spill, SPILL_TRAIN, SPILL_TOKENS);
    KM_TRY(append_sentences(spill, line, spans, first, end));
    KM_TRY(has_spans ? append_spans(spill, line, spans, first) : KM_OK);
    KM_TRY(has_tags ? append_tags(spill, line, tags, first) : KM_OK);
    KM_TRY(km_stream_add(&spill->streams[SPILL_TRAIN][SPILL_WORD_STARTS], line->starts_word, line->count));
    return append_ids(spill, line);
}

/* Moves elements first.. of an array to the end of the holdout's, adding `shift` to ends (modulo 2^64). */
static km_status move_tail(km_spill *spill, int array, uint64_t first, uint64_t shift) {
    km_stream *from = &spill->streams[SPILL_TRAIN][array], *to = &spill->streams[SPILL_HOLDOUT][array];
    uint64_t start = first * spill->element[array], size = km_stream_size(from);
    uint64_t piece[1024];
    if (size <= start) {
        return KM_OK;
    }
    for (uint64_t at = start; at < size; at += sizeof piece) {
        size_t bytes = (size_t)KM_MIN((uint64_t)sizeof piece, size - at);
        KM_TRY(km_stream_read(from, piece, bytes, at));
        for (size_t i = 0; counts_tokens(array) && i < bytes / sizeof *piece; i++) {
            piece[i] += shift;
        }
        KM_TRY(km_stream_add(to, piece, bytes));
    }
    return km_stream_cut(from, start);
}

static bool held_out(const km_spill *spill, km_hash hash) {
    return spill->holdout > 0 && (double)(hash.high >> 11) * 0x1p-53 < spill->holdout;
}

km_status km_spill_end_document(km_spill *spill) {
    spill->inside = false;
    KM_TRY(end_paragraph(spill));
    const km_hash hash = spill->hasher != NULL ? km_hasher_end(spill->hasher) : (km_hash){0, 0};
    spill->hasher = NULL;
    const bool holdout = held_out(spill, hash);
    uint64_t begin = spill->document[SPILL_TOKENS], end = km_spill_count(spill, SPILL_TRAIN, SPILL_TOKENS);
    if (end == begin) {
        spill->empty_documents++;
        return KM_OK;
    }
    int side = holdout ? SPILL_HOLDOUT : SPILL_TRAIN;
    if (spill->document_tagged > 0) {
        KM_TRY(fill_tags(spill, SPILL_TRAIN, end));
        KM_TRY(holdout ? fill_tags(spill, SPILL_HOLDOUT, km_spill_count(spill, SPILL_HOLDOUT, SPILL_TOKENS))
                       : KM_OK);
        spill->tagged[side] += spill->document_tagged;
        spill->document_tagged = 0;
    }
    if (holdout) {
        uint64_t shift = km_spill_count(spill, SPILL_HOLDOUT, SPILL_TOKENS) - begin;
        for (int array = 0; array < SPILL_DOCUMENT_ENDS; array++) {
            const uint64_t tail = array == SPILL_TAGS ? begin : spill->document[array];
            KM_TRY(move_tail(spill, array, tail, shift));
        }
    } else {
        spill->histogram[bin_of(end - begin)]++;
        spill->unknown_tokens += spill->document_unknown;
    }
    spill->document_unknown = 0;
    uint64_t document_end = km_spill_count(spill, side, SPILL_TOKENS);
    const km_passage passage = {
        .hash = hash, .document = (uint64_t)side, .first = document_end - (end - begin), .count = end - begin};
    KM_TRY(add_passage(spill, KM_PASSAGE_DOCUMENT, &passage));
    spill->documents++;
    KM_TRY(km_stream_add(&spill->streams[side][SPILL_DOCUMENT_ENDS], &document_end, sizeof document_end));
    for (int array = 0; array < SPILL_ARRAYS; array++) {
        spill->document[array] = km_spill_count(spill, SPILL_TRAIN, array);
    }
    return KM_OK;
}

/* ---- At the end ---- */

uint64_t km_spill_passages(const km_spill *spill, km_passage_kind kind) {
    return km_stream_size(&spill->passages[kind]) / sizeof(km_passage);
}

km_status km_spill_read_passages(const km_spill *spill, km_passage_kind kind, uint64_t first, size_t count,
                                 km_passage *out) {
    return km_stream_read(&spill->passages[kind], out, count * sizeof *out, first * sizeof *out);
}

km_stream *km_spill_streams(km_spill *spill, int side) {
    return spill->streams[side];
}

size_t km_spill_element(const km_spill *spill, int array) {
    return spill->element[array];
}

static uint64_t id_at(const km_spill *spill, const char *bytes) {
    uint16_t narrow = 0;
    int32_t wide = 0;
    if (spill->element[SPILL_TOKENS] == sizeof wide) {
        memcpy(&wide, bytes, sizeof wide);
        return (uint64_t)wide;
    }
    memcpy(&narrow, bytes, sizeof narrow);
    return narrow;
}

/* Counts elements of an array: tokens that are unknown, tags that are not 0. */
static km_status recount_array(const km_spill *spill, int side, int array, uint64_t *counted) {
    const km_stream *s = &spill->streams[side][array];
    const size_t element = spill->element[array];
    char piece[1 << 13];
    *counted = 0;
    for (uint64_t at = 0; at < km_stream_size(s); at += sizeof piece) {
        const size_t bytes = (size_t)KM_MIN((uint64_t)sizeof piece, km_stream_size(s) - at);
        KM_TRY(km_stream_read(s, piece, bytes, at));
        for (size_t i = 0; i < bytes; i += element) {
            *counted +=
                array == SPILL_TAGS ? piece[i] != 0 : id_at(spill, piece + i) == (uint64_t)spill->special.unk;
        }
    }
    return KM_OK;
}

km_status km_spill_recount(km_spill *spill) {
    const km_stream *ends = &spill->streams[SPILL_TRAIN][SPILL_DOCUMENT_ENDS];
    uint64_t before = 0, end = 0;
    memset(spill->histogram, 0, sizeof spill->histogram);
    for (uint64_t at = 0; at < km_stream_size(ends); at += sizeof end) {
        KM_TRY(km_stream_read(ends, &end, sizeof end, at));
        spill->histogram[bin_of(end - before)]++;
        before = end;
    }
    for (int side = 0; side < SPILL_SIDES; side++) {
        KM_TRY(recount_array(spill, side, SPILL_TAGS, &spill->tagged[side]));
    }
    return recount_array(spill, SPILL_TRAIN, SPILL_TOKENS, &spill->unknown_tokens);
}

void km_spill_report(const km_spill *spill, km_corpus_report *report) {
    report->documents = km_spill_count(spill, SPILL_TRAIN, SPILL_DOCUMENT_ENDS);
    report->sentences = km_spill_count(spill, SPILL_TRAIN, SPILL_SENTENCE_ENDS);
    report->tokens = km_spill_count(spill, SPILL_TRAIN, SPILL_TOKENS);
    report->holdout_documents = km_spill_count(spill, SPILL_HOLDOUT, SPILL_DOCUMENT_ENDS);
    report->holdout_sentences = km_spill_count(spill, SPILL_HOLDOUT, SPILL_SENTENCE_ENDS);
    report->holdout_tokens = km_spill_count(spill, SPILL_HOLDOUT, SPILL_TOKENS);
    report->spans = km_spill_count(spill, SPILL_TRAIN, SPILL_SPAN_STARTS);
    report->holdout_spans = km_spill_count(spill, SPILL_HOLDOUT, SPILL_SPAN_STARTS);
    report->tagged_tokens = spill->tagged[SPILL_TRAIN];
    report->holdout_tagged_tokens = spill->tagged[SPILL_HOLDOUT];
    report->bad_spans = spill->lost_spans;
    report->empty_documents = spill->empty_documents;
    report->invalid_utf8 = spill->invalid_utf8;
    report->joined_lines = spill->joined_lines;
    report->unknown_tokens = spill->unknown_tokens;
}

bool km_spill_joins(const km_spill *spill) {
    return spill->joins;
}

const char *km_spill_sentence_rules(const km_spill *spill) {
    return spill->sentences != NULL ? km_sentences_rules(spill->sentences) : "line";
}

const int64_t *km_spill_histogram(const km_spill *spill) {
    return spill->histogram;
}

km_status km_spill_number_tags(km_spill *spill, const uint8_t number[KM_MOST_TAGS + 1]) {
    memcpy(spill->tag_number, number, sizeof spill->tag_number);
    for (int side = 0; side < (spill->holdout > 0 ? SPILL_SIDES : 1); side++) {
        KM_TRY(fill_tags(spill, side, km_spill_count(spill, side, SPILL_TOKENS)));
    }
    return KM_OK;
}

/* What is stored of an array differs from what is spilled: places count from the corpus' first token, tags have other numbers. */
static void renumber(const km_spill *spill, int array, uint64_t base, uint64_t *piece, size_t bytes) {
    uint8_t *tags = (uint8_t *)piece;
    for (size_t i = 0; counts_tokens(array) && i < bytes / sizeof *piece; i++) {
        piece[i] += base;
    }
    for (size_t i = 0; array == SPILL_TAGS && i < bytes; i++) {
        tags[i] = spill->tag_number[tags[i]];
    }
}

km_status km_spill_copy(km_spill *spill, int side, int array, uint64_t base, int fd, uint64_t offset,
                        const char *path) {
    const km_stream *s = &spill->streams[side][array];
    uint64_t *piece = km_new(BUFFER, 1);
    km_status status = KM_OK;
    for (uint64_t at = 0; at < km_stream_size(s) && status == KM_OK; at += BUFFER) {
        size_t bytes = (size_t)KM_MIN((uint64_t)BUFFER, km_stream_size(s) - at);
        status = km_stream_read(s, piece, bytes, at);
        if (status == KM_OK) {
            renumber(spill, array, base, piece, bytes);
            status = km_pwrite_all(fd, piece, bytes, offset + at, path);
        }
    }
    free(piece);
    return status;
}
