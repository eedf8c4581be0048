/* Packing: one pass over the corpus that finds where rows begin, in memory that does not depend on its size. Rows
 * follow each other without gaps, so tokens are read front to back, only to count maskable units. */
#include "rows.h"

#include <stdlib.h>

enum { AHEAD = 1 << 16 }; /* elements of an array that are read at once */

/* A front-to-back reader of one array of ends. */
typedef struct ends {
    const km_array *array;
    uint64_t next; /* element */
    uint64_t last; /* the end handed out last: ends must ascend */
    size_t used, filled;
    uint64_t *buffer; /* (AHEAD) */
} ends;

typedef struct cutter {
    const km_corpus *corpus;
    const km_rows_options *options;
    km_specials special;
    size_t capacity; /* tokens of a row beside [CLS] and the last [SEP] */

    ends sentences, documents;
    uint64_t position;     /* the next token to place */
    uint64_t document;     /* the one it is in */
    uint64_t document_end; /* and where that ends */

    km_row_entry row; /* being filled; no tokens: none begun */
    bool closed;      /* its last token ends a document */

    /* Where salient units count: the spans, read ahead, and the number of the one that the next token may be in. */
    uint64_t span, first_span;         /* first_span: number of the first in the buffers */
    size_t spans;                      /* in the buffers */
    uint64_t *span_starts, *span_ends; /* (AHEAD) */

    uint64_t counted; /* tokens whose units are counted: all before the row */
    size_t used, filled;
    int32_t *ids;    /* (AHEAD) */
    uint8_t *starts; /* (AHEAD) */

    km_row_found *found;
    void *payload;
    uint64_t left_out;
} cutter;

static km_status next_end(cutter *c, ends *e, uint64_t *out) {
    if (e->used == e->filled) {
        if (e->next == e->array->count) {
            return km_fail(KM_FAILED, "%s: %s has fewer elements than the tokens need", c->corpus->path,
                           e->array->name);
        }
        e->filled = (size_t)KM_MIN((uint64_t)AHEAD, e->array->count - e->next);
        e->used = 0;
        KM_TRY(km_corpus_read_ends(c->corpus, e->array, e->next, e->filled, e->buffer));
        e->next += e->filled;
    }
    uint64_t end = e->buffer[e->used++];
    if (end <= e->last || end > km_corpus_tokens(c->corpus)) {
        return km_fail(KM_FAILED,
                       "%s: %s goes from %llu to %llu of %llu tokens, but ends must ascend. Build the corpus again "
                       "with `kmask corpus build`.",
                       c->corpus->path, e->array->name, (unsigned long long)e->last, (unsigned long long)end,
                       (unsigned long long)km_corpus_tokens(c->corpus));
    }
    *out = e->last = end;
    return KM_OK;
}

static km_status read_ahead(cutter *c) {
    c->filled = (size_t)KM_MIN((uint64_t)AHEAD, km_corpus_tokens(c->corpus) - c->counted);
    c->used = 0;
    KM_TRY(km_corpus_read_tokens(c->corpus, c->counted, c->filled, c->ids));
    return km_corpus_read_word_starts(c->corpus, c->counted, c->filled, c->starts);
}

/* The span at which c->span stands; *there is false behind the last. */
static km_status look_at_span(cutter *c, uint64_t *start, uint64_t *end, bool *there) {
    const km_corpus *corpus = c->corpus;
    *there = corpus->span_ends != NULL && c->span < corpus->span_ends->count;
    if (!*there) {
        return KM_OK;
    }
    if (c->span >= c->first_span + c->spans) {
        c->first_span = c->span;
        c->spans = (size_t)KM_MIN((uint64_t)AHEAD, corpus->span_ends->count - c->span);
        KM_TRY(km_corpus_read_ends(corpus, corpus->span_starts, c->span, c->spans, c->span_starts));
        KM_TRY(km_corpus_read_ends(corpus, corpus->span_ends, c->span, c->spans, c->span_ends));
    }
    *start = c->span_starts[c->span - c->first_span];
    *end = c->span_ends[c->span - c->first_span];
    return KM_OK;
}

/* Spans of the row that begins at `counted` with a maskable token in it, as km_units_find counts them. A span that goes on behind the
 * row counts there again. */
static km_status count_spans(cutter *c, int *units) {
    uint64_t start = 0, end = 0;
    bool there = false, counted = false;
    *units = 0;
    KM_TRY(look_at_span(c, &start, &end, &there));
    for (size_t i = 0; i < c->row.tokens; i++, c->used++, c->counted++) {
        if (c->used == c->filled) {
            KM_TRY(read_ahead(c));
        }
        while (there && end <= c->counted) {
            c->span++;
            counted = false;
            KM_TRY(look_at_span(c, &start, &end, &there));
        }
        if (there && !counted && start <= c->counted && km_id_maskable(&c->special, c->ids[c->used])) {
            (*units)++;
            counted = true;
        }
    }
    return KM_OK;
}

/* Maskable units of the row that begins at `counted`, as km_units_find counts them: a word begins where the corpus
 * says so, at the row's first token and after a token that no mask may hide. */
static km_status count_units(cutter *c, int *units) {
    const bool words = c->options->unit != KM_UNIT_SUBWORD;
    bool inside = false;
    *units = 0;
    for (size_t i = 0; i < c->row.tokens; i++) {
        if (c->used == c->filled) {
            KM_TRY(read_ahead(c));
        }
        bool maskable = km_id_maskable(&c->special, c->ids[c->used]);
        bool begins = !words || !inside || c->starts[c->used] != 0;
        *units += maskable && begins;
        inside = maskable;
        c->used++;
        c->counted++;
    }
    return KM_OK;
}

static km_status end_row(cutter *c) {
    if (c->row.tokens == 0) {
        return KM_OK;
    }
    int units = 0;
    KM_TRY(c->options->unit == KM_UNIT_SALIENT ? count_spans(c, &units) : count_units(c, &units));
    km_row_entry row = c->row;
    c->row = (km_row_entry){0};
    c->closed = false;
    if (units < c->options->min_units || units == 0) {
        c->left_out++;
        return KM_OK;
    }
    return c->found(c->payload, &row);
}

/* The next `count` tokens, all of one document, join the row; they are known to fit. */
static void join(cutter *c, size_t count) {
    if (c->row.tokens == 0) {
        c->row.start = c->position;
        c->row.document = (uint32_t)c->document;
    } else if (c->closed) {
        c->row.seps++;
    }
    c->closed = false;
    c->row.tokens = (uint16_t)(c->row.tokens + count);
    c->position += count;
}

/* Room for tokens that follow, less the [SEP] that would stand before them. */
static size_t room(const cutter *c) {
    size_t used = (size_t)c->row.tokens + c->row.seps + (c->closed ? 1 : 0);
    return used < c->capacity ? c->capacity - used : 0;
}

/* To the brim. Where a document ends one place before the row does, the place stays empty: a [SEP] there would
 * stand before nothing. */
static km_status place_stream(cutter *c, uint64_t length) {
    while (length > 0) {
        if (room(c) == 0) {
            KM_TRY(end_row(c));
        }
        size_t count = (size_t)KM_MIN(length, (uint64_t)room(c));
        join(c, count);
        length -= count;
    }
    return KM_OK;
}

/* Whole: into this row or the next. Longer than a row: cut, from a new row on; what is left begins the row
 * after. */
static km_status place_whole(cutter *c, uint64_t length) {
    if (length > room(c)) {
        KM_TRY(end_row(c));
    }
    while (length > c->capacity) {
        join(c, c->capacity);
        length -= c->capacity;
        KM_TRY(end_row(c));
    }
    join(c, (size_t)length);
    return KM_OK;
}

static km_status place_sentence(cutter *c) {
    uint64_t end = 0;
    KM_TRY(next_end(c, &c->sentences, &end));
    if (end > c->document_end) {
        return km_fail(
            KM_FAILED,
            "%s: a sentence ends at token %llu, beyond its document's end at %llu. Build the corpus again "
            "with `kmask corpus build`.",
            c->corpus->path, (unsigned long long)end, (unsigned long long)c->document_end);
    }
    uint64_t length = end - c->position;
    KM_TRY(c->options->packing == KM_PACK_STREAM ? place_stream(c, length) : place_whole(c, length));
    if (end < c->document_end) {
        return KM_OK;
    }
    c->closed = true;
    c->document++;
    if (c->options->packing == KM_PACK_DOCUMENTS) {
        KM_TRY(end_row(c));
    }
    return c->position < km_corpus_tokens(c->corpus) ? next_end(c, &c->documents, &c->document_end) : KM_OK;
}

static km_status cut(cutter *c) {
    KM_TRY(next_end(c, &c->documents, &c->document_end));
    while (c->position < km_corpus_tokens(c->corpus)) {
        KM_TRY(place_sentence(c));
    }
    return end_row(c);
}

km_status km_rows_cut(const km_corpus *corpus, const km_rows_options *options, km_row_found *found, void *payload,
                      uint64_t *left_out) {
    cutter c = {.corpus = corpus,
                .options = options,
                .special = km_tokenizer_specials(corpus->tokenizer),
                .capacity = (size_t)options->length - 2,
                .sentences = {.array = corpus->sentence_ends, .buffer = km_new(AHEAD, sizeof(uint64_t))},
                .documents = {.array = corpus->document_ends, .buffer = km_new(AHEAD, sizeof(uint64_t))},
                .span_starts = km_new(AHEAD, sizeof(uint64_t)),
                .span_ends = km_new(AHEAD, sizeof(uint64_t)),
                .ids = km_new(AHEAD, sizeof(int32_t)),
                .starts = km_new(AHEAD, 1),
                .found = found,
                .payload = payload};
    km_status status = cut(&c);
    *left_out = c.left_out;
    free(c.sentences.buffer);
    free(c.documents.buffer);
    free(c.span_starts);
    free(c.span_ends);
    free(c.ids);
    free(c.starts);
    return status;
}
