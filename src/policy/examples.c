/* examples: reading triples, and finding answers in contexts. */
#include "examples.h"

#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)1 << 34)

/* ---- Ids ---- */

static void add_id(km_triples *t, int32_t id, bool starts_word) {
    if (t->used == t->room) {
        t->room = KM_MAX(2 * t->room, (size_t)1 << 16);
        t->ids = km_grow(t->ids, t->room, sizeof *t->ids);
        t->starts_word = km_grow(t->starts_word, t->room, sizeof *t->starts_word);
    }
    t->ids[t->used] = id;
    t->starts_word[t->used++] = starts_word;
}

/* Adds <s> ids </s>, cut to `length` tokens. Where they are is set when all examples are read, since the ids may move. */
static km_ids_view add_sequence(km_triples *t, const km_triples_options *options, const km_ids *ids) {
    const km_specials s = km_tokenizer_specials(options->tokenizer);
    const size_t room = (size_t)options->length - 2, count = KM_MIN(ids->count, room), begin = t->used;
    t->cut += ids->count > room;
    add_id(t, s.cls, true);
    for (size_t i = 0; i < count; i++) {
        add_id(t, ids->ids[i], ids->starts_word[i] != 0);
    }
    add_id(t, s.sep, true);
    return (km_ids_view){.begin = begin, .length = (int)count + 2};
}

static void place_ids(const km_triples *t, km_ids_view *view) {
    view->ids = t->ids + view->begin;
    view->starts_word = t->starts_word + view->begin;
}

/* ---- Answers ---- */

/* Whether a byte may be part of a word: letters, digits, and all that is not ASCII. */
static bool in_word(char c) {
    const unsigned char u = (unsigned char)c;
    return u >= 0x80 || (u >= '0' && u <= '9') || (u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z');
}

/* Whether the text at `at` does not begin or end inside a word. */
static bool stands_alone(const char *context, const char *at, size_t length) {
    return !(at > context && in_word(at[-1]) && in_word(at[0])) &&
           !(in_word(at[length - 1]) && in_word(at[length]));
}

/* The first place where the answer stands as words, else the first at all; NULL where there is none. */
static const char *find_text(const char *context, const char *answer) {
    const size_t length = strlen(answer);
    const char *any = length > 0 ? strstr(context, answer) : NULL;
    for (const char *at = any; at != NULL; at = strstr(at + 1, answer)) {
        if (stands_alone(context, at, length)) {
            return at;
        }
    }
    return any;
}

/* The tokens that have bytes of the answer; false where the context's tokens do not reach so far. */
static bool find_tokens(km_triple *triple, const km_ids *ids, size_t begin, size_t end) {
    int first = -1, last = -1;
    for (size_t i = 0; i < ids->count; i++) {
        if (ids->ends[i] > begin && ids->begins[i] < end) {
            first = first < 0 ? (int)i : first;
            last = (int)i;
        }
    }
    triple->first = first + 1; /* behind <s> */
    triple->last = last + 1;
    return first >= 0 && triple->last < triple->context.length - 1;
}

static bool find_answer(km_triple *triple, const char *context, const km_ids *ids, const km_json *target) {
    const km_json *answer = km_json_is_array(target) ? km_json_first(target) : target;
    for (; answer != NULL; answer = km_json_is_array(target) ? km_json_next(answer) : NULL) {
        const char *text = km_json_string(answer), *at = text != NULL ? find_text(context, text) : NULL;
        if (at != NULL && find_tokens(triple, ids, (size_t)(at - context), (size_t)(at - context) + strlen(text))) {
            return true;
        }
    }
    return false;
}

/* ---- Lines ---- */

static km_ids_view encode(km_triples *t, const km_triples_options *options, const char *text, km_ids *ids) {
    ids->count = 0;
    km_encode(options->tokenizer, text, strlen(text), false, ids, NULL);
    return add_sequence(t, options, ids);
}

static const char *first_text(const km_json *value) {
    return km_json_string(km_json_is_array(value) ? km_json_first(value) : value);
}

static void add(km_triples *t, const km_triples_options *options, const km_json *json, const char *context,
                km_ids *ids) {
    const size_t used = t->used;
    const char *source = km_json_string(km_json_get(json, "source"));
    const km_json *target = km_json_get(json, "target");
    km_triple triple = {.context = encode(t, options, context, ids)};
    if (options->answers && !find_answer(&triple, context, ids, target)) {
        t->without_answer++;
        t->used = used;
        return;
    }
    triple.source = encode(t, options, source != NULL ? source : "", ids);
    triple.target = encode(t, options, first_text(target), ids);
    if (t->count == t->capacity) {
        t->capacity = KM_MAX(2 * t->capacity, (size_t)1024);
        t->items = km_grow(t->items, t->capacity, sizeof *t->items);
    }
    t->items[t->count++] = triple;
}

/* The hash of a context as a number from 0 to 1: examples of one context are on one side. */
static double place_of(const char *context) {
    return (double)(km_hash_bytes(context, strlen(context)).high >> 11) * 0x1p-53;
}

static km_status take_line(km_triples *t, const km_triples_options *options, const char *text, size_t count,
                           const char *origin, km_ids *ids) {
    km_json *json = NULL;
    KM_TRY(km_json_parse_record(&json, text, count, origin));
    const char *context = km_json_string(km_json_get(json, "context"));
    const bool whole = context != NULL && first_text(km_json_get(json, "target")) != NULL &&
                       (options->answers || km_json_string(km_json_get(json, "source")) != NULL);
    km_status status = KM_OK;
    if (!whole) {
        status =
            km_fail(KM_FAILED,
                    "%s: expected {\"context\": text, \"source\": text, \"target\": text or list of texts}, one of "
                    "them is missing or no text",
                    origin);
    } else if (place_of(context) >= options->least && place_of(context) < options->most) {
        add(t, options, json, context, ids);
    }
    km_json_destroy(json);
    return status;
}

static km_status take_lines(km_triples *t, const km_triples_options *options, const char *text, const char *path) {
    km_ids ids = {.ranges = true};
    km_status status = KM_OK;
    uint64_t number = 1;
    for (const char *line = text; *line != '\0' && status == KM_OK; number++) {
        const size_t count = strcspn(line, "\n");
        if (strspn(line, " \t\r") < count) {
            char *origin = km_format("%s: line %llu", path, (unsigned long long)number);
            status = take_line(t, options, line, count, origin, &ids);
            free(origin);
        }
        line += count + (line[count] == '\n');
    }
    km_ids_free(&ids);
    return status;
}

km_status km_triples_read(km_triples *out, const char *path, const km_triples_options *options) {
    char *text = NULL;
    size_t size = 0;
    KM_TRY(km_text_read(&text, &size, path, MOST_BYTES));
    km_status status = take_lines(out, options, text, path);
    free(text);
    for (size_t i = 0; i < out->count; i++) {
        place_ids(out, &out->items[i].context);
        place_ids(out, &out->items[i].source);
        place_ids(out, &out->items[i].target);
    }
    return status;
}

void km_triples_free(km_triples *triples) {
    free(triples->items);
    free(triples->ids);
    free(triples->starts_word);
    *triples = (km_triples){0};
}

/* ---- Contexts ---- */

void km_contexts_reserve(km_contexts *out, int tokens, int views) {
    *out = (km_contexts){.starts = km_new((size_t)views + 1, sizeof *out->starts),
                         .ids = km_new((size_t)tokens, sizeof *out->ids),
                         .first = km_new((size_t)views, sizeof *out->first),
                         .last = km_new((size_t)views, sizeof *out->last),
                         .starts_word = km_new((size_t)tokens, sizeof *out->starts_word),
                         .keys = km_new((size_t)tokens, sizeof *out->keys)};
    km_contexts_clear(out);
}

void km_contexts_free(km_contexts *contexts) {
    free(contexts->starts);
    free(contexts->ids);
    free(contexts->first);
    free(contexts->last);
    free(contexts->starts_word);
    free(contexts->keys);
    *contexts = (km_contexts){0};
}

void km_contexts_clear(km_contexts *contexts) {
    contexts->views = 0;
    contexts->stream = (km_stream){.starts = contexts->starts, .ids = contexts->ids, .keys = contexts->keys};
}

void km_contexts_add(km_contexts *contexts, const km_triple *triple, uint64_t place) {
    const int32_t at = contexts->starts[contexts->views];
    const size_t length = (size_t)triple->context.length;
    memcpy(contexts->ids + at, triple->context.ids, length * sizeof *contexts->ids);
    memcpy(contexts->starts_word + at, triple->context.starts_word, length * sizeof *contexts->starts_word);
    for (size_t i = 0; i < length; i++) {
        contexts->keys[(size_t)at + i] = place << 16 | i;
    }
    contexts->first[contexts->views] = at + triple->first;
    contexts->last[contexts->views] = at + triple->last;
    contexts->starts[++contexts->views] = at + triple->context.length;
    contexts->stream.tokens = at + triple->context.length;
    contexts->stream.longest = KM_MAX(contexts->stream.longest, triple->context.length);
}
