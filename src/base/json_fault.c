/* json_fault: a scanner for JSON (RFC 8259) that is run over texts which cJSON has refused. cJSON says only about where it stopped;
 * this finds the very place, and names the usual mistakes: commas, quotes, comments, words of other languages. */
#include "json_fault.h"

#include <ctype.h>
#include <string.h>

typedef struct scan {
    const char *at, *end;
    const char *fault, *what; /* fault: NULL where there is none yet */
} scan;

static bool fail(scan *s, const char *where, const char *what) {
    if (s->fault == NULL) {
        s->fault = where;
        s->what = what;
    }
    return false;
}

static char next(const scan *s) {
    return s->at < s->end ? *s->at : '\0';
}

static void skip_blanks(scan *s) {
    while (s->at < s->end && strchr(" \t\r\n", *s->at) != NULL) {
        s->at++;
    }
}

/* What is wrong where a key or a value should begin. */
static const char *explain(const scan *s, bool key) {
    char c = next(s);
    if (s->at == s->end) {
        return "the text ends here, though a bracket or brace is still open";
    }
    if (c == '/' || c == '#') {
        return "a comment; JSON has none, so leave it out";
    }
    if (c == '\'') {
        return "a single quote; JSON has double quotes around texts and keys";
    }
    if (c == ',') {
        return "a comma too many";
    }
    if (key) {
        return isalpha((unsigned char)c) || c == '_' ? "a key without double quotes around it"
                                                     : "expected a key in double quotes";
    }
    if (isalpha((unsigned char)c) || c == '_') {
        return "a word without double quotes; only true, false and null, in lower case, have none";
    }
    return c == '.' || c == '+' ? "a number begins with a digit or a minus sign" : "expected a value";
}

static bool scan_text(scan *s) {
    const char *begin = s->at++;
    for (; s->at < s->end && *s->at != '"'; s->at++) {
        if ((unsigned char)*s->at < 0x20) {
            return fail(s, *s->at == '\n' || *s->at == '\r' ? begin : s->at,
                        *s->at == '\n' || *s->at == '\r'
                            ? "a text that begins here has no closing double quote on its line"
                            : "a control character inside a text; write it as an escape such as \\t");
        }
        if (*s->at == '\\' && s->at + 1 < s->end) {
            s->at++;
            if (strchr("\"\\/bfnrtu", *s->at) == NULL) {
                return fail(s, s->at - 1, "a backslash that begins no escape; write two backslashes for one");
            }
        }
    }
    if (s->at == s->end) {
        return fail(s, begin, "a text that begins here has no closing double quote");
    }
    s->at++;
    return true;
}

static bool scan_digits(scan *s) {
    const char *begin = s->at;
    while (isdigit((unsigned char)next(s))) {
        s->at++;
    }
    return s->at > begin || fail(s, s->at, "expected a digit");
}

static bool scan_number(scan *s) {
    s->at += next(s) == '-';
    const char *begin = s->at;
    if (!scan_digits(s)) {
        return false;
    }
    if (*begin == '0' && s->at - begin > 1) {
        return fail(s, begin, "a number with a 0 before it");
    }
    if (next(s) == '.') {
        s->at++;
        if (!scan_digits(s)) {
            return false;
        }
    }
    if (next(s) == 'e' || next(s) == 'E') {
        s->at++;
        s->at += next(s) == '+' || next(s) == '-';
        if (!scan_digits(s)) {
            return false;
        }
    }
    return !isalpha((unsigned char)next(s)) && next(s) != '_'
               ? true
               : fail(s, s->at, "a letter or underscore inside a number");
}

static bool scan_word(scan *s) {
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < KM_COUNT(words); i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(s->end - s->at) >= length && strncmp(s->at, words[i], length) == 0) {
            s->at += length;
            return true;
        }
    }
    return fail(s, s->at, explain(s, false));
}

static bool scan_value(scan *s);

static bool scan_key(scan *s) {
    if (next(s) != '"') {
        return fail(s, s->at, explain(s, true));
    }
    if (!scan_text(s)) {
        return false;
    }
    skip_blanks(s);
    if (next(s) != ':') {
        return fail(s, s->at, "expected a colon between a key and its value");
    }
    s->at++;
    skip_blanks(s);
    return true;
}

/* After an element: a comma, or the closing bracket. *done: whether it was the bracket. */
static bool scan_separator(scan *s, char close, bool *done) {
    skip_blanks(s);
    const char *comma = s->at;
    char c = next(s);
    *done = c == close;
    if (c != ',' && !*done) {
        bool begins = c != '\0' && (strchr("\"{[-", c) != NULL || isalnum((unsigned char)c));
        return fail(s, s->at,
                    begins                              ? "a comma is missing before this"
                    : c == '\0' || c == '/' || c == '#' ? explain(s, false)
                    : close == '}'                      ? "expected a comma or }"
                                                        : "expected a comma or ]");
    }
    s->at++;
    skip_blanks(s);
    return *done || next(s) != close || fail(s, comma, "a comma with nothing after it; leave it out");
}

static bool scan_container(scan *s, char close) {
    s->at++;
    skip_blanks(s);
    if (next(s) == close) {
        s->at++;
        return true;
    }
    for (bool done = false; !done;) {
        if ((close == '}' && !scan_key(s)) || !scan_value(s) || !scan_separator(s, close, &done)) {
            return false;
        }
    }
    return true;
}

static bool scan_value(scan *s) { // NOLINT(misc-no-recursion): at most 100 levels
    char c = next(s);
    if (c == '{' || c == '[') {
        return scan_container(s, c == '{' ? '}' : ']');
    }
    if (c == '"') {
        return scan_text(s);
    }
    return c == '-' || isdigit((unsigned char)c) ? scan_number(s) : scan_word(s);
}

size_t km_json_fault(const char **what, const char *text, size_t count) {
    scan s = {.at = text, .end = text + count};
    if (count >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        s.at += 3; /* a byte order mark, which cJSON passes over too */
    }
    skip_blanks(&s);
    if (scan_value(&s)) {
        skip_blanks(&s);
        if (s.at < s.end) {
            fail(&s, s.at, "more text after the end of the JSON");
        }
    }
    *what = s.what;
    return s.fault == NULL ? count : (size_t)(s.fault - text);
}
