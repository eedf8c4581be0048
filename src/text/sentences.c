/* Sentence ends inside a line, by ICU: the rules of Unicode Annex 29, and the Common Locale Data's list of English
 * abbreviations behind which no sentence ends. ICU takes most of the time, so text without a character that could end a
 * sentence is not passed to it. */
#include <stdlib.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>
#include <unicode/uversion.h>

#include "kmask/text.h"

/* The English abbreviations are used for all languages: they match next to nothing in text of another one, and the rules are
 * the same for every language but Greek, whose question mark is a semicolon. */
#define LOCALE "en@ss=standard"
enum { WINDOW = 1 << 30 /* bytes that ICU is given at a time: it counts in 32 bits */ };

struct km_sentences {
    UBreakIterator *iterator;
    UText *reader;
    const char *text;
    size_t count;
    size_t at, window; /* where the part that ICU has begins, and its bytes */
    size_t last;       /* the end that was found last */
    bool done;         /* the end of the text has been returned */
    char rules[64];
    uint8_t
        ends[0x3000 / 8]; /* a bit for each code point that may end a sentence; ICU is asked about those above */
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

/* A full stop before a small letter or a digit never ends a sentence (Annex 29, rules SB6 and SB8). */
static bool goes_on(const char *at, const char *end) {
    return at < end && ((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9'));
}

/* The bytes of the text without the blanks, closing quotes and full stops at its end, which only mark the end of the whole. */
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

/* Whether a character that may end a sentence stands before the end of the text. */
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

/* Gives ICU the next part of the text; returns false where no sentence ends before the end of that part. */
static bool give_to_icu(km_sentences *s) {
    s->window = KM_MIN(s->count - s->at, (size_t)WINDOW);
    UErrorCode code = U_ZERO_ERROR;
    if (!has_end_inside(s, s->text + s->at, s->window)) {
        return false;
    }
    s->reader = utext_openUTF8(s->reader, s->text + s->at, (int64_t)s->window, &code);
    ubrk_setUText(s->iterator, s->reader, &code);
    if (U_FAILURE(code)) { /* out of memory: the part is one sentence */
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

/* The next end that ICU finds before the end of its part; 0 for none. */
static size_t next_inside(km_sentences *s) {
    int32_t found = 0;
    while ((found = ubrk_next(s->iterator)) != UBRK_DONE && (size_t)found < s->window) {
        size_t end = s->at + (size_t)found;
        while (end > s->last && is_blank(s->text[end - 1])) {
            end--;
        }
        if (end > s->last) { /* else ICU found a sentence of blanks only */
            s->last = end;
            return end;
        }
    }
    return 0;
}

size_t km_sentences_next(km_sentences *s) {
    while (s->at < s->count) {
        size_t end = s->window > 0 || give_to_icu(s) ? next_inside(s) : 0;
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
