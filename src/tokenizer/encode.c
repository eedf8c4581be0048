/* Encoding and decoding for both families: added tokens are found here, and the family encodes what lies between them. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

void km_ids_reserve(km_ids *ids, size_t more) {
    if (ids->count + more > ids->capacity) {
        ids->capacity = (ids->count + more) * 3 / 2 + 64;
        ids->ids = km_grow(ids->ids, ids->capacity, sizeof *ids->ids);
        ids->starts_word = km_grow(ids->starts_word, ids->capacity, 1);
        if (ids->ranges) {
            ids->begins = km_grow(ids->begins, ids->capacity, sizeof *ids->begins);
            ids->ends = km_grow(ids->ends, ids->capacity, sizeof *ids->ends);
        }
    }
}

void km_ids_range(km_ids *ids, size_t first, size_t begin, size_t end) {
    for (size_t i = first; ids->ranges && i < ids->count; i++) {
        ids->begins[i] = begin;
        ids->ends[i] = end;
    }
}

void km_ids_free(km_ids *ids) {
    free(ids->ids);
    free(ids->starts_word);
    free(ids->begins);
    free(ids->ends);
    *ids = (km_ids){0};
}

/* ---- Encoding ------------------------------------------------------------------------------------------- */

typedef struct encoding {
    const km_tokenizer *tokenizer;
    bool specials;
    km_ids *out;
    uint64_t invalid;
    bool begins; /* what is encoded begins the text */
} encoding;

/* Encodes text[from, to), which lies between added tokens. */
typedef void (*between)(encoding *e, const char *text, size_t from, size_t to);

/* Finds the tokens of a set in text[from, to), appends their ids, and passes what lies between them to `rest`. */
static void split(encoding *e, const km_added_set *set, const char *text, size_t from, size_t to, between rest) {
    const char *begin = text + from, *end = text + to, *taken = begin, *at = begin;
    for (;;) {
        const km_added_match found = km_added_set_next(set, begin, taken, at, end, e->specials);
        if (taken < found.begin) {
            rest(e, text, (size_t)(taken - text), (size_t)(found.begin - text));
        }
        if (found.token == NULL) {
            return;
        }
        km_ids_reserve(e->out, 1);
        km_ids_push(e->out, found.token->id, true);
        const char *stop = found.next;
        km_ids_range(e->out, e->out->count - 1, (size_t)(stop - text) - found.size, (size_t)(stop - text));
        taken = found.end;
        at = found.next;
    }
}

static void encode_plainly(encoding *e, const char *text, size_t from, size_t to) {
    const km_tokenizer *t = e->tokenizer;
    e->invalid += t->pipeline == NULL ? t->family->encode(t, text, text + from, text + to, e->out)
                                      : km_pipeline_encode(t, text, from, to, false, from == 0, e->out);
}

static void encode_normalized(encoding *e, const char *text, size_t from, size_t to) {
    const km_tokenizer *t = e->tokenizer;
    e->invalid += t->pipeline == NULL ? t->family->encode_normalized(t, text, text + from, text + to, e->out)
                                      : km_pipeline_encode(t, text, from, to, true, e->begins && from == 0, e->out);
}

/* Puts the ranges of the ids from number `first` on, which are ranges of a normalized text, in terms of its source. */
static void map_ranges(km_ids *out, size_t first, const km_normalized *n) {
    for (size_t i = first; i < out->count; i++) {
        const size_t begin = out->begins[i], end = out->ends[i];
        out->begins[i] = n->begins[KM_MIN(begin, n->count - 1)];
        out->ends[i] = end > begin ? n->ends[end - 1] : out->begins[i];
    }
}

/* Looks for the tokens of added_normalized, in text that contains none of added_raw. */
static void encode_between(encoding *e, const char *text, size_t from, size_t to) {
    const km_tokenizer *t = e->tokenizer;
    const km_added_set *set = &t->added_normalized;
    if (set->count == 0 || !(e->specials || set->has_ordinary)) {
        encode_plainly(e, text, from, to);
        return;
    }
    if (!km_tokenizer_normalizes(t)) {
        split(e, set, text, from, to, encode_plainly);
        return;
    }
    km_normalized n = {.ranges = e->out->ranges};
    const size_t first = e->out->count;
    e->invalid += km_tokenizer_normalize(t, &n, text, from, to);
    e->begins = from == 0;
    if (n.count > 0) {
        split(e, set, n.text, 0, n.count, encode_normalized);
    }
    if (n.ranges && n.count > 0) {
        map_ranges(e->out, first, &n);
    }
    km_normalized_free(&n);
}

void km_encode(const km_tokenizer *tokenizer, const char *text, size_t count, bool specials, km_ids *out,
               uint64_t *invalid) {
    encoding e = {.tokenizer = tokenizer, .specials = specials, .out = out};
    if (count > 0) {
        split(&e, &tokenizer->added_raw, text, 0, count, encode_between);
    }
    if (invalid != NULL) {
        *invalid += e.invalid;
    }
}

/* ---- Decoding ------------------------------------------------------------------------------------------- */

void km_decode_to(km_buffer *out, const km_tokenizer *tokenizer, const int32_t *ids, size_t count,
                  bool skip_specials) {
    int32_t *kept = km_new(count + 1, sizeof *kept);
    size_t kept_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool there = ids[i] >= 0 && ids[i] < km_tokenizer_size(tokenizer);
        const km_added_token *token = skip_specials && there ? km_added_token_of(tokenizer, ids[i]) : NULL;
        if (there && (token == NULL || !token->special)) {
            kept[kept_count++] = ids[i];
        }
    }
    out->size = 0;
    km_buffer_add(out, "", 0);
    if (tokenizer->pipeline != NULL) {
        km_pipeline_decode(tokenizer, kept, kept_count, out);
    } else {
        tokenizer->family->decode(tokenizer, kept, kept_count, out);
    }
    free(kept);
}

char *km_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_specials) {
    km_buffer text = {0};
    km_decode_to(&text, tokenizer, ids, count, skip_specials);
    return text.data;
}
