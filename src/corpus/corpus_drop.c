/* corpus_drop: duplicates are removed from a spill. What is removed are ranges of tokens; each array is written anew without them. */
#include "corpus_duplicates.h"

#include <stdlib.h>

enum { AT_ONCE = 1024, PIECE = 1 << 16 };

/* ---- The ranges that go, one after the other ---- */

typedef struct range {
    uint64_t first, end; /* tokens of the side */
} range;

/* Passages of one kind, read in their order. */
typedef struct passage_reader {
    const km_spill *spill;
    km_passage_kind kind;
    const uint8_t *chosen; /* the bits of those that are wanted */
    km_passage read[AT_ONCE];
    uint64_t next;
} passage_reader;

static km_status read_passage(passage_reader *r, km_passage *out, bool *chosen, bool *there) {
    const uint64_t all = km_spill_passages(r->spill, r->kind);
    *there = r->next < all;
    if (!*there) {
        return KM_OK;
    }
    if (r->next % AT_ONCE == 0) {
        const size_t count = (size_t)KM_MIN((uint64_t)AT_ONCE, all - r->next);
        KM_TRY(km_spill_read_passages(r->spill, r->kind, r->next, count, r->read));
    }
    *out = r->read[r->next % AT_ONCE];
    *chosen = km_bit(r->chosen, r->next);
    r->next++;
    return KM_OK;
}

/* The ranges of a side, ascending: whole documents, and paragraphs of documents that stay. */
typedef struct walk {
    uint64_t side;
    passage_reader documents, paragraphs;
    uint64_t number;          /* of documents that were read */
    km_passage document;      /* the one that was read last */
    km_passage paragraph;     /* the next one, if `pending` */
    bool pending, over, gone; /* gone: the document goes as a whole */
} walk;

static walk *walk_create(const km_spill *spill, const km_duplicates *d, int side) {
    walk *w = km_new(1, sizeof *w);
    w->side = (uint64_t)side;
    w->documents = (passage_reader){.spill = spill, .kind = KM_PASSAGE_DOCUMENT, .chosen = d->documents};
    w->paragraphs = (passage_reader){.spill = spill, .kind = KM_PASSAGE_PARAGRAPH, .chosen = d->paragraphs};
    return w;
}

/* Makes w->paragraph the next paragraph that goes. */
static km_status next_paragraph(walk *w) {
    bool chosen = false, there = !w->over;
    while (!w->pending && there) {
        KM_TRY(read_passage(&w->paragraphs, &w->paragraph, &chosen, &there));
        w->pending = there && chosen;
    }
    w->over = !there;
    return KM_OK;
}

/* Makes w->document the next document of the side, where the last one has nothing more that goes. *there: whether there is one. */
static km_status next_document(walk *w, bool *there) {
    do {
        KM_TRY(read_passage(&w->documents, &w->document, &w->gone, there));
        w->number += *there;
    } while (*there && w->document.document != w->side);
    return KM_OK;
}

/* The next range; an empty one at UINT64_MAX when there are no more. */
static km_status next_range(walk *w, range *out) {
    bool there = true;
    while (there) {
        KM_TRY(next_paragraph(w));
        while (w->pending && w->paragraph.document + 1 < w->number) { /* of the other side */
            w->pending = false;
            KM_TRY(next_paragraph(w));
        }
        if (w->pending && w->number > 0 && w->paragraph.document + 1 == w->number &&
            w->document.document == w->side && !w->gone) {
            const uint64_t first = w->document.first + w->paragraph.first;
            w->pending = false;
            *out = (range){first, first + w->paragraph.count};
            return KM_OK;
        }
        KM_TRY(next_document(w, &there));
        if (there && w->gone) {
            *out = (range){w->document.first, w->document.first + w->document.count};
            return KM_OK;
        }
    }
    *out = (range){UINT64_MAX, UINT64_MAX};
    return KM_OK;
}

/* ---- Arrays without them ---- */

/* Copies bytes from..end-1 of a stream to the end of another. */
static km_status copy_bytes(km_stream *to, const km_stream *from, uint64_t begin, uint64_t end) {
    char piece[PIECE];
    for (uint64_t at = begin; at < end; at += sizeof piece) {
        const size_t count = (size_t)KM_MIN((uint64_t)sizeof piece, end - at);
        KM_TRY(km_stream_read(from, piece, count, at));
        KM_TRY(km_stream_add(to, piece, count));
    }
    return KM_OK;
}

/* An array with an element of `size` bytes for each token; tags may end before the tokens do. */
static km_status copy_elements(km_stream *to, const km_stream *from, uint64_t size, walk *w) {
    const uint64_t all = km_stream_size(from) / size;
    range gone = {0, 0};
    uint64_t at = 0;
    while (at < all) {
        KM_TRY(next_range(w, &gone));
        KM_TRY(copy_bytes(to, from, at * size, KM_MIN(gone.first, all) * size));
        at = gone.end;
    }
    return KM_OK;
}

/* Where tokens go: what is asked ascends. */
typedef struct shift {
    walk *walk;
    range gone;       /* the range that ends behind the last token that was asked for */
    uint64_t removed; /* tokens before that range */
} shift;

/* The number of tokens that stay before token `at`; *inside: whether that token itself goes. */
static km_status place_of(shift *s, uint64_t at, uint64_t *place, bool *inside) {
    while (s->gone.end <= at) {
        s->removed += s->gone.end - s->gone.first;
        KM_TRY(next_range(s->walk, &s->gone));
    }
    *inside = at >= s->gone.first;
    *place = (*inside ? s->gone.first : at) - s->removed;
    return KM_OK;
}

/* Ends of sentences or documents: those of which nothing is left have no end any more. */
static km_status copy_ends(km_stream *to, const km_stream *from, walk *w) {
    shift s = {.walk = w};
    uint64_t last = 0;
    for (uint64_t at = 0; at < km_stream_size(from); at += sizeof last) {
        uint64_t end = 0, place = 0;
        bool inside = false;
        KM_TRY(km_stream_read(from, &end, sizeof end, at));
        KM_TRY(place_of(&s, end, &place, &inside));
        if (place > last) {
            KM_TRY(km_stream_add(to, &place, sizeof place));
            last = place;
        }
    }
    return KM_OK;
}

/* Spans lie within a line, so all of one stays or goes. */
static km_status copy_spans(km_stream to[3], const km_stream from[3], walk *w) {
    shift s = {.walk = w};
    for (uint64_t i = 0; i < km_stream_size(&from[2]); i++) {
        uint64_t start = 0, end = 0, place = 0;
        uint8_t kind = 0;
        bool inside = false;
        KM_TRY(km_stream_read(&from[0], &start, sizeof start, i * sizeof start));
        KM_TRY(km_stream_read(&from[1], &end, sizeof end, i * sizeof end));
        KM_TRY(km_stream_read(&from[2], &kind, sizeof kind, i));
        KM_TRY(place_of(&s, start, &place, &inside));
        if (!inside) {
            end = place + (end - start);
            KM_TRY(km_stream_add(&to[0], &place, sizeof place));
            KM_TRY(km_stream_add(&to[1], &end, sizeof end));
            KM_TRY(km_stream_add(&to[2], &kind, sizeof kind));
        }
    }
    return KM_OK;
}

static km_status copy_array(km_stream *to, const km_stream *from, int array, size_t element, walk *w) {
    return array == SPILL_SENTENCE_ENDS || array == SPILL_DOCUMENT_ENDS ? copy_ends(to, from, w)
           : array == SPILL_SPAN_STARTS                                 ? copy_spans(to, from, w)
                                                                        : copy_elements(to, from, element, w);
}

km_status km_duplicates_drop(km_spill *spill, const km_duplicates *d) {
    if (d->document_count + d->paragraph_count == 0) {
        return KM_OK;
    }
    for (int side = 0; side < SPILL_SIDES; side++) {
        km_stream *arrays = km_spill_streams(spill, side);
        km_stream kept[SPILL_ARRAYS] = {0};
        km_status status = KM_OK;
        for (int array = 0; array < SPILL_ARRAYS && status == KM_OK; array++) {
            status = arrays[array].path != NULL ? km_stream_open(&kept[array], arrays[array].path) : KM_OK;
        }
        for (int array = 0; array < SPILL_ARRAYS && status == KM_OK; array++) {
            if (kept[array].path != NULL && array != SPILL_SPAN_ENDS && array != SPILL_SPAN_KINDS) {
                walk *w = walk_create(spill, d, side);
                status = copy_array(&kept[array], &arrays[array], array, km_spill_element(spill, array), w);
                free(w);
            }
        }
        for (int array = 0; array < SPILL_ARRAYS; array++) {
            km_stream_close(status == KM_OK ? &arrays[array] : &kept[array]);
            arrays[array] = status == KM_OK ? kept[array] : arrays[array];
        }
        KM_TRY(status);
    }
    return km_spill_recount(spill);
}
