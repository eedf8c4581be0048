/* tokens: the words and signs of a text, as DrQA's and DPR's SimpleTokenizer finds them. */
#include "kmask/text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef enum token_kind { BLANK, WORD, SIGN } token_kind;

/* \p{L}, \p{N} and \p{M} make words; what else is neither \p{Z} nor \p{C} is a sign. */
static token_kind kind_of(int32_t code) {
    switch (utf8proc_category(code >= 0 ? code : 0xFFFD)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return WORD;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
        return BLANK;
    default:
        return SIGN;
    }
}

/* The text in canonical decomposition; the caller frees. A text that is not UTF-8 stays as it is. */
static char *decompose(const char *text) {
    utf8proc_uint8_t *out = NULL;
    const utf8proc_option_t form = UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    return utf8proc_map((const utf8proc_uint8_t *)text, 0, &out, form) >= 0 ? (char *)out : km_strdup(text);
}

/* Appends the token from..end-1 in lower case; cased by itself, so that what stands behind it has no influence. */
static void add_token(km_buffer *out, const char *from, const char *end) {
    char *token = km_format("%.*s", (int)(end - from), from), *lower = km_text_lower(token);
    km_buffer_print(out, "%s ", lower);
    free(lower);
    free(token);
}

char *km_text_tokens(const char *text) {
    char *whole = decompose(text);
    const char *end = whole + strlen(whole), *begin = NULL; /* of the word that has not ended yet */
    km_buffer out = {0};
    km_buffer_add(&out, " ", 1);
    for (const char *at = whole; at < end;) {
        const char *from = at;
        const int32_t code = km_utf8_next(&at, end);
        const token_kind kind = kind_of(code);
        if (kind != WORD && begin != NULL) {
            add_token(&out, begin, from);
        }
        begin = kind != WORD ? NULL : begin != NULL ? begin : from;
        if (kind == SIGN && code >= 0) {
            add_token(&out, from, at);
        } else if (kind == SIGN) {
            km_buffer_print(&out, "\xEF\xBF\xBD ");
        }
    }
    if (begin != NULL) {
        add_token(&out, begin, end);
    }
    free(whole);
    return out.data;
}
