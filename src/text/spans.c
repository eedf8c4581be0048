/* Lists of spans, and the kinds that labels stand for. span_find.c finds spans. */
#include <stdlib.h>
#include <string.h>

#include "kmask/text.h"

const char *km_span_kind_name(km_span_kind kind) {
    static const char *const names[] = {"entity", "date", "number"};
    return names[kind];
}

/* The labels of OntoNotes and other common data sets, and the names of km_span_kind_name. */
km_span_kind km_span_kind_of(const char *label) {
    static const struct {
        const char *label;
        km_span_kind kind;
    } known[] = {{"date", KM_SPAN_DATE},        {"time", KM_SPAN_DATE},       {"datetime", KM_SPAN_DATE},
                 {"year", KM_SPAN_DATE},        {"duration", KM_SPAN_DATE},   {"number", KM_SPAN_NUMBER},
                 {"num", KM_SPAN_NUMBER},       {"cardinal", KM_SPAN_NUMBER}, {"ordinal", KM_SPAN_NUMBER},
                 {"percent", KM_SPAN_NUMBER},   {"money", KM_SPAN_NUMBER},    {"quantity", KM_SPAN_NUMBER},
                 {"percentage", KM_SPAN_NUMBER}};
    for (size_t i = 0; i < KM_COUNT(known); i++) {
        if (strcasecmp(known[i].label, label) == 0) {
            return known[i].kind;
        }
    }
    return KM_SPAN_ENTITY;
}

void km_spans_add(km_spans *spans, size_t begin, size_t end, int kind) {
    if (spans->count == spans->capacity) {
        spans->capacity = 2 * spans->capacity + 16;
        spans->spans = km_grow(spans->spans, spans->capacity, sizeof *spans->spans);
    }
    spans->spans[spans->count++] = (km_span){.begin = begin, .end = end, .kind = kind};
}

void km_spans_free(km_spans *spans) {
    free(spans->spans);
    *spans = (km_spans){0};
}
