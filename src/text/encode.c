/* Text to ids and back, whatever the family: added tokens are found first, the family does the rest. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"
#include "unicode.h"
#include "words.h"

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

/* The longest added token that stands at `at`; NULL for none. */
static const km_added *added_at(const km_tokenizer *t, const char *at, const char *end, bool specials) {
    const km_added *best = NULL;
    size_t longest = 0;
    for (size_t i = 0; i < t->added_count; i++) {
        const km_added *token = &t->added[i];
        if (token->content[0] != *at) {
            continue;
        }
        size_t size = strlen(token->content);
        if ((specials || !token->special) && size > longest && size <= (size_t)(end - at) &&
            memcmp(at, token->content, size) == 0) {
            best = token;
            longest = size;
        }
    }
    return best;
}

/* Where the white space before `at` begins, not before `from`. */
static const char *space_before(const char *from, const char *at) {
    while (at > from) {
        const char *before = at - 1;
        while (before > from && at - before < 4 && ((uint8_t)*before & 0xC0) == 0x80) {
            before--;
        }
        const char *next = before;
        int32_t code = km_utf8_next(&next, at);
        if (code < 0 || next != at || km_split_class((uint32_t)code) != KM_WHITE) {
            break;
        }
        at = before;
    }
    return at;
}

static const char *space_behind(const char *at, const char *end) {
    while (at < end) {
        const char *next = at;
        int32_t code = km_utf8_next(&next, end);
        if (code < 0 || km_split_class((uint32_t)code) != KM_WHITE) {
            break;
        }
        at = next;
    }
    return at;
}

void km_encode(const km_tokenizer *tokenizer, const char *text, size_t count, bool specials, km_ids *out,
               uint64_t *invalid) {
    const km_family *family = tokenizer->family;
    const uint8_t wanted = specials ? 1 : 2;
    const char *end = text + count, *from = text;
    uint64_t bad = 0;
    for (const char *at = text; (specials || tokenizer->added_always) && at < end;) {
        const km_added *token =
            tokenizer->starts_added[(uint8_t)*at] < wanted ? NULL : added_at(tokenizer, at, end, specials);
        if (token == NULL) {
            at++;
            continue;
        }
        const char *stop = at + strlen(token->content);
        const char *before = token->lstrip == 1 ? space_before(from, at) : at;
        if (from < before) {
            bad += family->encode(tokenizer, text, from, before, out);
        }
        km_ids_reserve(out, 1);
        km_ids_push(out, token->id, true);
        km_ids_range(out, out->count - 1, (size_t)(at - text), (size_t)(stop - text));
        from = at = token->rstrip == 1 ? space_behind(stop, end) : stop;
    }
    if (from < end) {
        bad += family->encode(tokenizer, text, from, end, out);
    }
    if (invalid != NULL) {
        *invalid += bad;
    }
}

void km_decode_to(km_buffer *out, const km_tokenizer *tokenizer, const int32_t *ids, size_t count,
                  bool skip_specials) {
    int32_t *kept = km_new(count + 1, sizeof *kept);
    size_t kept_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool there = ids[i] >= 0 && ids[i] < km_tokenizer_size(tokenizer);
        if (there && !(skip_specials && km_is_added(tokenizer, ids[i], true))) {
            kept[kept_count++] = ids[i];
        }
    }
    out->size = 0;
    km_buffer_add(out, "", 0);
    tokenizer->family->decode(tokenizer, kept, kept_count, out);
    free(kept);
}

char *km_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_specials) {
    km_buffer text = {0};
    km_decode_to(&text, tokenizer, ids, count, skip_specials);
    return text.data;
}
