/* Sets of added tokens, and the search for them. */
#include "added.h"

#include <stdlib.h>
#include <string.h>

#include "kmask/text.h"

/* ---- Sets ----------------------------------------------------------------------------------------------- */

void km_added_set_add(km_added_set *set, const km_added_token *token) {
    const char *text = token->normalized_text != NULL ? token->normalized_text : token->content;
    if (*text == '\0') {
        return;
    }
    if ((set->count & (set->count - 1)) == 0) {
        set->patterns = km_grow(set->patterns, KM_MAX(2 * set->count, 1), sizeof *set->patterns);
    }
    set->patterns[set->count++] = (km_added_pattern){.text = text, .size = strlen(text), .token = token};
    set->has_ordinary = set->has_ordinary || !token->special;
}

/* Orders patterns by their bytes. Of two equal ones (tokens that differ before normalization only) a special token comes
 * first, then the one with the lower id. */
static int by_text(const void *a, const void *b) {
    const km_added_pattern *x = a, *y = b;
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

void km_added_set_finish(km_added_set *set) {
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

/* The first of the patterns low..high-1 whose byte number `depth` is at least `byte`. All of them have such a byte. */
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

/* The longest pattern that the text at `at` begins with; NULL for none. Patterns low..high-1 are those that agree with the
 * text so far, in `depth` bytes. */
static const km_added_pattern *longest_at(const km_added_set *set, const char *at, const char *end) {
    const km_added_pattern *best = NULL;
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

/* ---- What stands around a match -------------------------------------------------------------------------- */

/* The character that ends at `at`, -1 where there is none or it is invalid; *before becomes its beginning. */
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
    return code >= 0 && km_char_class_of((uint32_t)code) == KM_CHAR_SPACE;
}

/* Where the white space that ends at `at` begins. */
static const char *space_before(const char *from, const char *at) {
    const char *before = at;
    while (is_white(character_before(&before, from, at))) {
        at = before;
    }
    return at;
}

/* Where the white space that begins at `at` ends. */
static const char *space_behind(const char *at, const char *end) {
    for (const char *next = at; at < end; at = next) {
        if (!is_white(km_utf8_next(&next, end))) {
            break;
        }
    }
    return at;
}

/* Whether the match [at, stop) stands between characters that are no part of a word. */
static bool is_single(const char *begin, const char *at, const char *stop, const char *end) {
    const char *before = at, *behind = stop;
    int32_t left = character_before(&before, begin, at), right = stop < end ? km_utf8_next(&behind, end) : -1;
    return (left < 0 || !km_is_word_char((uint32_t)left)) && (right < 0 || !km_is_word_char((uint32_t)right));
}

km_added_match km_added_set_next(const km_added_set *set, const char *begin, const char *taken, const char *at,
                                 const char *end, bool specials) {
    while ((specials || set->has_ordinary) && at < end) {
        uint8_t byte = (uint8_t)*at;
        const km_added_pattern *found = set->first[byte] < set->first[byte + 1] ? longest_at(set, at, end) : NULL;
        if (found == NULL) {
            at++;
            continue;
        }
        const km_added_token *token = found->token;
        const char *stop = at + found->size;
        if ((specials || !token->special) && (token->single_word != 1 || is_single(begin, at, stop, end))) {
            const char *first = token->lstrip != 1 ? at : at > taken ? space_before(taken, at) : taken;
            const char *last = token->rstrip == 1 ? space_behind(stop, end) : stop;
            if (first < last) { /* otherwise it is white space that the match before has taken */
                return (km_added_match){
                    .token = token, .begin = first, .end = last, .next = stop, .size = found->size};
            }
        }
        at = stop;
    }
    return (km_added_match){.token = NULL, .begin = end, .end = end, .next = end};
}

/* ---- Whether the order of the two sets matters ----------------------------------------------------------- */

/* Whether a text can contain both so that they share bytes. */
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

/* Whether finding one of the tokens first can change where the other one is found. */
static bool interact(const km_added_token *a, const km_added_token *b) {
    return overlap(a->content, b->content) || a->single_word == 1 || b->single_word == 1 ||
           ((a->lstrip == 1 || a->rstrip == 1) && holds_white(b->content)) ||
           ((b->lstrip == 1 || b->rstrip == 1) && holds_white(a->content));
}

bool km_added_order_matters(const km_added_token *tokens, size_t count) {
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; tokens[i].normalized == 1 && j < count; j++) {
            if (tokens[j].normalized != 1 && interact(&tokens[i], &tokens[j])) {
                return true;
            }
        }
    }
    return false;
}
