/* added: finds added tokens in a text, by the rules of the tokenizers package (added_vocabulary.rs). Tokens that are not
 * `normalized` are looked for in the text as it is. What lies between them is normalized, and the other tokens are looked for
 * there, in their normalized form. Where several tokens match, the leftmost counts, and the longest of those. A match that is
 * not allowed (a special token that was not asked for, a single word inside another word) still hides the tokens inside it. */
#ifndef KM_TOKENIZER_ADDED_H
#define KM_TOKENIZER_ADDED_H

#include "settings.h"

/* The bytes that are looked for to find a token. */
typedef struct km_added_pattern {
    const char *text; /* owned by the token */
    size_t size;
    const km_added_token *token;
} km_added_pattern;

/* Tokens that are looked for together. */
typedef struct km_added_set {
    km_added_pattern *patterns; /* in the order of their bytes */
    size_t count;
    size_t first[257]; /* first[b]: the first pattern whose first byte is b or more */
    bool has_ordinary; /* some tokens are not special */
} km_added_set;

/* Adds a token, which has to stay at its address. A token whose normalized form is empty is never found. */
void km_added_set_add(km_added_set *set, const km_added_token *token);
/* Call it after the last token was added. */
void km_added_set_finish(km_added_set *set);
void km_added_set_free(km_added_set *set);

/* Where a token was found. */
typedef struct km_added_match {
    const km_added_token *token; /* NULL: there is no other */
    const char *begin, *end;     /* with the white space that it takes */
    const char *next;            /* the end of the token itself, where the search goes on */
    size_t size;                 /* of the pattern, which ends at `next` */
} km_added_match;
/* Finds the next token from `at` on. The whole text is [begin, end), and `taken` is where the match before ended. */
km_added_match km_added_set_next(const km_added_set *set, const char *begin, const char *taken, const char *at,
                                 const char *end, bool specials);

/* Whether it can matter for some text that tokens which are not `normalized` are looked for first, in a tokenizer whose
 * normalization changes nothing. */
bool km_added_order_matters(const km_added_token *tokens, size_t count);

#endif
