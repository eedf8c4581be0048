/* Sentence ends inside a line: the rules of Unicode Annex 29 with the Common Locale Data's list of English abbreviations
 * that end no sentence, both from ICU. What cannot hold an end is not shown to ICU, which is the larger part of the
 * time. */
#include <stdlib.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>
#include <unicode/uversion.h>

#include "kmask/text.h"

/* English suppressions: on text in other languages they match next to nothing, and the rules are the same for all
 * languages but Greek, whose question mark is a semicolon. */
#define LOCALE "en@ss=standard"
enum { WINDOW = 1 << 30 /* ICU counts in 32 bits */ };

struct km_sentences {
    UBreakIterator *iterator;
    UText *reader;
    const char *text;
    size_t count, at, window; /* `at`: where ICU's part of the text begins; `window`: its bytes */
    size_t last;              /* end found */
    bool done;
    char rules[64];
    uint8_t ends[0x3000 / 8]; /* may end a sentence: bit by code point; what is above is asked of ICU */
};

const char *km_sentences_rules(const km_sentences *s) {
    return s->rules;
}

static bool may_end(UChar32 code) {
    switch (u_getIntPropertyValue(code, UCHAR_SENTENCE_BREAK)) {
    case U_SB_ATERM:
    case U_SB_STERM:
    case U_SB_SEP:
    case U_SB_CR:
    case U_SB_LF:
        return true;
    default:
        return false;
    }
}

km_status km_sentences_create(km_sentences **out) {
    km_sentences *s = km_new(1, sizeof *s);
    UErrorCode code = U_ZERO_ERROR;
    UVersionInfo version;
    char number[U_MAX_VERSION_STRING_LENGTH] = "";
    u_getVersion(version);
    u_versionToString(version, number);
    snprintf(s->rules, sizeof s->rules, "icu %s " LOCALE, number);
    s->iterator = ubrk_open(UBRK_SENTENCE, LOCALE, NULL, 0, &code);
    s->reader = U_SUCCESS(code) ? utext_openUTF8(NULL, "", 0, &code) : NULL;
    if (U_FAILURE(code)) {
        km_sentences_destroy(s);
        *out = NULL;
        return km_fail(KM_FAILED,
                       "ICU %s cannot find sentence ends here: %s. Install its data, or say --sentences line.",
                       number, u_errorName(code));
    }
    for (UChar32 c = 0; c < 0x3000; c++) {
        s->ends[c / 8] |= (uint8_t)(may_end(c) << c % 8);
    }
    *out = s;
    return KM_OK;
}

void km_sentences_destroy(km_sentences *s) {
    if (s == NULL) {
        return;
    }
    if (s->iterator != NULL) {
        ubrk_close(s->iterator);
    }
    if (s->reader != NULL) {
        utext_close(s->reader);
    }
    free(s);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

/* A full stop with a small letter or a digit behind it ends nothing, whatever comes before (rules 6 and 8). */
static bool goes_on(const char *at, const char *end) {
    return at < end && ((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9'));
}

/* Without the blanks, the closing quotes before them, and the marks before those: the end that is no news. */
static size_t without_last_end(const char *text, size_t count) {
    while (count > 0 && is_blank(text[count - 1])) {
        count--;
    }
    while (count > 0 && (text[count - 1] == '"' || text[count - 1] == '\'' || text[count - 1] == ')')) {
        count--;
    }
    while (count > 0 && (text[count - 1] == '.' || text[count - 1] == '!' || text[count - 1] == '?')) {
        count--;
    }
    return count;
}

/* Whether a character that may end a sentence stands before the last ones. */
static bool has_end_inside(const km_sentences *s, const char *text, size_t count) {
    count = without_last_end(text, count);
    for (size_t i = 0; i < count;) {
        uint8_t byte = (uint8_t)text[i];
        if (byte < 0x80) {
            i++;
            if ((s->ends[byte / 8] >> byte % 8 & 1) && !(byte == '.' && goes_on(text + i, text + count))) {
                return true;
            }
            continue;
        }
        UChar32 code = 0;
        size_t at = i;
        U8_NEXT((const uint8_t *)text, at, count, code);
        i = at;
        if (code >= 0 && (code < 0x3000 ? s->ends[code / 8] >> code % 8 & 1 : may_end(code))) {
            return true;
        }
    }
    return false;
}

/* Shows ICU what lies ahead; false where there is no end in it but its own. */
static bool show(km_sentences *s) {
    s->window = KM_MIN(s->count - s->at, (size_t)WINDOW);
    UErrorCode code = U_ZERO_ERROR;
    if (!has_end_inside(s, s->text + s->at, s->window)) {
        return false;
    }
    s->reader = utext_openUTF8(s->reader, s->text + s->at, (int64_t)s->window, &code);
    ubrk_setUText(s->iterator, s->reader, &code);
    if (U_FAILURE(code)) { /* no memory: one sentence */
        return false;
    }
    ubrk_first(s->iterator);
    return true;
}

void km_sentences_begin(km_sentences *s, const char *text, size_t count) {
    s->text = text;
    s->count = count;
    s->at = s->window = s->last = 0;
    s->done = count == 0;
}

/* The next end in the window, 0 where there is none but its own. */
static size_t next_inside(km_sentences *s) {
    int32_t found = 0;
    while ((found = ubrk_next(s->iterator)) != UBRK_DONE && (size_t)found < s->window) {
        size_t end = s->at + (size_t)found;
        while (end > s->last && is_blank(s->text[end - 1])) {
            end--;
        }
        if (end > s->last) { /* more than blanks */
            s->last = end;
            return end;
        }
    }
    return 0;
}

size_t km_sentences_next(km_sentences *s) {
    while (s->at < s->count) {
        size_t end = s->window > 0 || show(s) ? next_inside(s) : 0;
        if (end > 0) {
            return end;
        }
        s->at += s->window;
        s->window = 0;
    }
    size_t last = s->done ? 0 : s->count;
    s->done = true;
    return last;
}
