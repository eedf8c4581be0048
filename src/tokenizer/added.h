/* Added tokens in a text. As in the `tokenizers` package, whose words on this are its added_vocabulary.rs: tokens that are
 * not normalized are found in the text as it is; what lies between is normalized, and the others are found in that, as
 * their own normalized selves. Of several at a place the longest stands, leftmost first; one that may not stand (a special
 * one that nobody asked for, a single word inside another) still hides what lies inside it. */
#ifndef KM_TOKENIZER_ADDED_H
#define KM_TOKENIZER_ADDED_H

#include "settings.h"

/* As what a token is looked for. */
typedef struct km_pattern {
    const char *text; /* the token's */
    size_t size;
    const km_added *token;
} km_pattern;

/* Tokens that are looked for together, in the order of their bytes. */
typedef struct km_added_set {
    km_pattern *patterns;
    size_t count;
    size_t first[257]; /* of those that begin with a byte */
    bool plain;        /* some are not special */
} km_added_set;

/* Adds a token that stays where it is. One whose normalized self is empty is never found. */
void km_added_set_add(km_added_set *set, const km_added *token);
/* After the last one. */
void km_added_set_end(km_added_set *set);
void km_added_set_free(km_added_set *set);

/* A token where it stands: `begin` and `end` with the white space that it takes. */
typedef struct km_found {
    const km_added *token; /* NULL: no more */
    const char *begin, *end;
    const char *next; /* its own end, from where to go on looking */
    size_t size;      /* of what was looked for, which ends at `next` */
} km_found;
/* The next token from `at` on. `taken`: where the one before ended; `begin`, `end`: of the whole text. */
km_found km_added_next(const km_added_set *set, const char *begin, const char *taken, const char *at,
                       const char *end, bool specials);

/* Whether it makes a difference for any text which of the two kinds a token is, where normalization changes nothing. */
bool km_added_order_matters(const km_added *tokens, size_t count);

#endif
