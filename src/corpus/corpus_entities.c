/* Entities and tags as JSONL records give them: lists of ranges of the text, each with a label. */
#include <math.h>
#include <stdlib.h>

#include "corpus_read.h"

/* In characters; `place` in the list, for a fixed order of equals. */
typedef struct entity {
    size_t begin, end, place;
    int kind;
} entity;

/* What a label (NULL: none is given) stands for; negative: it is not usable. */
typedef int labels(void *payload, const char *label);

static int by_place(const void *left, const void *right) {
    const entity *a = left, *b = right;
    return a->begin != b->begin  ? (a->begin < b->begin ? -1 : 1)
           : a->end != b->end    ? (a->end > b->end ? -1 : 1)
           : a->place < b->place ? -1
                                 : 1;
}

/* Every byte that begins a character. */
static bool begins_character(char byte) {
    return ((unsigned char)byte & 0xC0) != 0x80;
}

static size_t count_characters(const char *text) {
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += begins_character(*text);
    }
    return count;
}

/* A whole number from 0 to `limit`. */
static bool index_of(size_t *out, const km_json *json, size_t limit) {
    double value = 0;
    if (!km_json_number(&value, json) || !(value >= 0 && value <= (double)limit) || floor(value) != value) {
        return false;
    }
    *out = (size_t)value;
    return true;
}

static bool entity_of(entity *out, const km_json *json, size_t characters, labels *kind_of, void *payload) {
    const km_json *start = km_json_is_array(json) ? km_json_first(json) : NULL;
    const km_json *end = start != NULL ? km_json_next(start) : NULL;
    const km_json *label = end != NULL ? km_json_next(end) : NULL;
    out->kind = kind_of(payload, km_json_string(label));
    return index_of(&out->begin, start, characters) && index_of(&out->end, end, characters) &&
           out->begin < out->end && out->kind >= 0;
}

/* The byte at which character `wanted` begins, going on from character *at at *byte. */
static size_t byte_of(const char *text, size_t wanted, size_t *at, size_t *byte) {
    while (*at < wanted) {
        do {
            (*byte)++;
        } while (!begins_character(text[*byte]) && text[*byte] != '\0');
        (*at)++;
    }
    return *byte;
}

static void read_ranges(const km_json *list, const char *text, labels *kind_of, void *payload, km_spans *out,
                        uint64_t *bad) {
    const size_t characters = count_characters(text), entries = km_json_size(list);
    entity *found = km_new(entries + 1, sizeof *found);
    size_t count = 0, at = 0, byte = 0, last = 0, place = 0;
    for (const km_json *entry = km_json_first(list); entry != NULL; entry = km_json_next(entry)) {
        found[count].place = place++;
        bool good = entity_of(&found[count], entry, characters, kind_of, payload);
        count += good;
        *bad += !good;
    }
    qsort(found, count, sizeof *found, by_place);
    while (text[byte] != '\0' && !begins_character(text[byte])) {
        byte++; /* the rest of a character that is not there */
    }
    for (size_t i = 0; i < count; i++) {
        if (found[i].begin < last) {
            (*bad)++;
            continue;
        }
        last = found[i].end;
        size_t begin = byte_of(text, found[i].begin, &at, &byte);
        km_spans_add(out, begin, byte_of(text, last, &at, &byte), found[i].kind);
    }
    free(found);
}

/* Every label names a kind; what has none is an entity. */
static int entity_kind(void *payload, const char *label) {
    (void)payload;
    return label != NULL ? (int)km_span_kind_of(label) : (int)KM_SPAN_ENTITY;
}

void km_entities_read(const km_json *list, const char *text, km_spans *out, uint64_t *bad) {
    read_ranges(list, text, entity_kind, NULL, out, bad);
}

typedef struct tagging {
    km_tag_names *names;
    bool full;
} tagging;

static int tag_kind(void *payload, const char *label) {
    tagging *t = payload;
    const int number = label != NULL ? km_tag_number(t->names, label) : 0;
    t->full = t->full || number < 0;
    return number > 0 ? number : -1;
}

km_status km_tags_read(const km_json *list, const char *text, km_tag_names *names, km_spans *out, uint64_t *bad) {
    tagging t = {.names = names};
    read_ranges(list, text, tag_kind, &t, out, bad);
    return t.full ? km_fail(KM_FAILED,
                            "\"tags\" of the records have more than %d different names; map them to fewer, such as "
                            "the 17 universal parts of speech",
                            KM_MOST_TAGS)
                  : KM_OK;
}
