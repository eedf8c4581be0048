#include "added.h"

#include <stdlib.h>
#include <string.h>

#include "kmask/text.h"

/* ---- A set ---------------------------------------------------------------------------------------------- */

void km_added_set_add(km_added_set *set, const km_added *token) {
    const char *text = token->normal != NULL ? token->normal : token->content;
    if (*text == '\0') {
        return;
    }
    if ((set->count & (set->count - 1)) == 0) {
        set->patterns = km_grow(set->patterns, KM_MAX(2 * set->count, 1), sizeof *set->patterns);
    }
    set->patterns[set->count++] = (km_pattern){.text = text, .size = strlen(text), .token = token};
    set->plain = set->plain || !token->special;
}

/* By bytes; of two that are the same once normalized a special one is first, or else the one with the lower id. */
static int by_text(const void *a, const void *b) {
    const km_pattern *x = a, *y = b;
    int order = memcmp(x->text, y->text, KM_MIN(x->size, y->size));
    if (order != 0) {
        return order;
    }
    if (x->size != y->size) {
        return (x->size > y->size) - (x->size < y->size);
    }
    return x->token->special != y->token->special ? y->token->special - x->token->special
                                                  : (x->token->id > y->token->id) - (x->token->id < y->token->id);
}

void km_added_set_end(km_added_set *set) {
    if (set->count > 0) {
        qsort(set->patterns, set->count, sizeof *set->patterns, by_text);
    }
    size_t at = 0;
    for (size_t byte = 0; byte < 256; byte++) {
        set->first[byte] = at;
        while (at < set->count && (uint8_t)set->patterns[at].text[0] == byte) {
            at++;
        }
    }
    set->first[256] = at;
}

void km_added_set_free(km_added_set *set) {
    free(set->patterns);
    *set = (km_added_set){0};
}

/* The first of patterns low..high-1, which are longer than `depth`, whose byte there is at least `byte`. */
static size_t lower_bound(const km_added_set *set, size_t low, size_t high, size_t depth, unsigned byte) {
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((uint8_t)set->patterns[middle].text[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The longest pattern that stands at `at`, NULL for none: byte by byte, those that go on as the text does. */
static const km_pattern *longest_at(const km_added_set *set, const char *at, const char *end) {
    const km_pattern *best = NULL;
    size_t low = set->first[(uint8_t)*at], high = set->first[(uint8_t)*at + 1];
    for (size_t depth = 1; low < high; depth++) {
        if (set->patterns[low].size == depth) {
            best = &set->patterns[low];
            while (low < high && set->patterns[low].size == depth) {
                low++;
            }
        }
        if (at + depth == end) {
            break;
        }
        unsigned byte = (uint8_t)at[depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
    }
    return best;
}

/* ---- What stands around it ------------------------------------------------------------------------------ */

/* The character that ends at `at`, -1 for none; *before is where it begins. */
static int32_t character_before(const char **before, const char *from, const char *at) {
    if (at == from) {
        return -1;
    }
    const char *start = at - 1;
    while (start > from && at - start < 4 && ((uint8_t)*start & 0xC0) == 0x80) {
        start--;
    }
    const char *next = start;
    int32_t code = km_utf8_next(&next, at);
    *before = start;
    return next == at ? code : -1;
}

static bool is_white(int32_t code) {
    return code >= 0 && km_split_class((uint32_t)code) == KM_WHITE;
}

static const char *space_before(const char *from, const char *at) {
    const char *before = at;
    while (is_white(character_before(&before, from, at))) {
        at = before;
    }
    return at;
}

static const char *space_behind(const char *at, const char *end) {
    for (const char *next = at; at < end; at = next) {
        if (!is_white(km_utf8_next(&next, end))) {
            break;
        }
    }
    return at;
}

static bool is_single(const char *begin, const char *at, const char *stop, const char *end) {
    const char *before = at, *behind = stop;
    int32_t left = character_before(&before, begin, at), right = stop < end ? km_utf8_next(&behind, end) : -1;
    return (left < 0 || !km_is_word((uint32_t)left)) && (right < 0 || !km_is_word((uint32_t)right));
}

km_found km_added_next(const km_added_set *set, const char *begin, const char *taken, const char *at,
                       const char *end, bool specials) {
    while ((specials || set->plain) && at < end) {
        uint8_t byte = (uint8_t)*at;
        const km_pattern *found = set->first[byte] < set->first[byte + 1] ? longest_at(set, at, end) : NULL;
        if (found == NULL) {
            at++;
            continue;
        }
        const km_added *token = found->token;
        const char *stop = at + found->size;
        if ((specials || !token->special) && (token->single_word != 1 || is_single(begin, at, stop, end))) {
            const char *first = token->lstrip != 1 ? at : at > taken ? space_before(taken, at) : taken;
            const char *last = token->rstrip == 1 ? space_behind(stop, end) : stop;
            if (first < last) { /* else the one before has taken all of it: a token that is white space itself */
                return (km_found){.token = token, .begin = first, .end = last, .next = stop, .size = found->size};
            }
        }
        at = stop;
    }
    return (km_found){.token = NULL, .begin = end, .end = end, .next = end};
}

/* ---- Two kinds or one ----------------------------------------------------------------------------------- */

/* Whether a text can hold both so that they share bytes. */
static bool overlap(const char *a, const char *b) {
    if (strstr(a, b) != NULL || strstr(b, a) != NULL) {
        return true;
    }
    const size_t a_size = strlen(a), b_size = strlen(b);
    for (size_t shared = 1; shared < a_size && shared < b_size; shared++) {
        if (memcmp(a + a_size - shared, b, shared) == 0 || memcmp(b + b_size - shared, a, shared) == 0) {
            return true;
        }
    }
    return false;
}

static bool holds_white(const char *text) {
    const char *end = text + strlen(text);
    while (text < end) {
        if (is_white(km_utf8_next(&text, end))) {
            return true;
        }
    }
    return false;
}

static bool minds(const km_added *a, const km_added *b) {
    return overlap(a->content, b->content) || a->single_word == 1 || b->single_word == 1 ||
           ((a->lstrip == 1 || a->rstrip == 1) && holds_white(b->content)) ||
           ((b->lstrip == 1 || b->rstrip == 1) && holds_white(a->content));
}

bool km_added_order_matters(const km_added *tokens, size_t count) {
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; tokens[i].normalized == 1 && j < count; j++) {
            if (tokens[j].normalized != 1 && minds(&tokens[i], &tokens[j])) {
                return true;
            }
        }
    }
    return false;
}
