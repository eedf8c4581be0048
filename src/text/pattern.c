/* Puts a regular expression in Oniguruma's Ruby syntax, which tokenizer.json has, into PCRE2's words. Both write most things the
 * same way; what they write differently, or count to a class of characters that the other does not, is put in other words here,
 * and a construct for which there are none is refused by name. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "regex.h"
#include "unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { DEPTH = 100 /* most groups and classes inside each other */ };

typedef struct translation {
    const char *pattern, *at, *end, *origin;
    km_buffer *out;
    size_t atom;          /* where what a quantifier repeats begins in `out` */
    size_t groups[DEPTH]; /* where the groups that are open begin in `out` */
    int flags[DEPTH]; /* how many groups were opened for flags such as (?i), which hold until their group ends */
    int depth;
} translation;

static km_status refuse(const translation *t, const char *what) {
    return km_fail(
        KM_FAILED,
        "%s: the regular expression \"%.200s\" has %s at byte %zu, which is not supported. Put it in other "
        "words.",
        t->origin, t->pattern, what, (size_t)(t->at - t->pattern));
}

static void put(km_buffer *out, const char *text) {
    km_buffer_add(out, text, strlen(text));
}

static bool follows(const translation *t, const char *text) {
    const size_t size = strlen(text);
    return (size_t)(t->end - t->at) >= size && memcmp(t->at, text, size) == 0;
}

/* ---- Sets of characters --------------------------------------------------------------------------------- */

/* Characters as they stand between [ and ], or all others with `negated`. */
typedef struct set {
    km_buffer text;
    bool negated;
} set;

/* Adds what is newer than the Unicode version that PCRE2 may have. */
static void put_newer(km_buffer *out, const char *category, const char *script) {
    size_t count = 0;
    const km_newer_range *newer = km_newer_ranges(&count);
    for (size_t i = 0; i < count; i++) {
        const bool same = category != NULL ? strncmp(newer[i].category, category, strlen(category)) == 0
                                           : strcmp(newer[i].script, script) == 0;
        if (same) {
            km_buffer_print(out, "\\x{%X}-\\x{%X}", newer[i].first, newer[i].last);
        }
    }
}

static void put_category(km_buffer *out, const char *category) {
    km_buffer_print(out, "\\p{%s}", category);
    put_newer(out, category, NULL);
}

static const char white[] = "\\t-\\r \\x{85}\\p{Z}"; /* Unicode's White_Space */

/* The characters of \w, \s, \d and \h. Oniguruma counts some digits above the line and fractions to \w where it stands `alone`, and not
 * in a class. */
static void put_shorthand(km_buffer *out, char letter, bool alone) {
    static const char *const word[] = {"L", "M", "Nd", "Nl", "Pc"};
    switch (letter) {
    case 'w':
        for (size_t i = 0; i < KM_COUNT(word); i++) {
            put_category(out, word[i]);
        }
        put(out, alone ? "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" : "");
        put(out, "\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}");
        break;
    case 's':
        put(out, white);
        break;
    case 'd':
        put_category(out, "Nd");
        break;
    default:
        put(out, "0-9a-fA-F");
    }
}

/* The names of categories and scripts, as Oniguruma knows them beside the short ones. */
static const struct {
    const char *name, *category, *script;
} properties[] = {{"letter", "L", NULL},
                  {"mark", "M", NULL},
                  {"number", "N", NULL},
                  {"punctuation", "P", NULL},
                  {"symbol", "S", NULL},
                  {"separator", "Z", NULL},
                  {"uppercaseletter", "Lu", NULL},
                  {"lowercaseletter", "Ll", NULL},
                  {"decimalnumber", "Nd", NULL},
                  {"nonspacingmark", "Mn", NULL},
                  {"han", NULL, "Han"},
                  {"hiragana", NULL, "Hiragana"},
                  {"katakana", NULL, "Katakana"},
                  {"hangul", NULL, "Hangul"}};

/* Puts the characters of a property's name (without blanks, "_" and "-"); false for a name that is not known. */
static bool put_property(set *s, const char *name) {
    static const char *const categories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N", "Nd",
                                             "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm",
                                             "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc", "Cf", "Co"};
    for (size_t i = 0; i < KM_COUNT(categories); i++) {
        if (strcasecmp(name, categories[i]) == 0) {
            put_category(&s->text, categories[i]);
            return true;
        }
    }
    for (size_t i = 0; i < KM_COUNT(properties); i++) {
        if (strcasecmp(name, properties[i].name) == 0 && properties[i].category != NULL) {
            put_category(&s->text, properties[i].category);
            return true;
        }
        if (strcasecmp(name, properties[i].name) == 0) { /* since 10.40 a bare name means script extensions */
            const bool extensions = PCRE2_MAJOR > 10 || PCRE2_MINOR >= 40;
            km_buffer_print(&s->text, "\\p{%s%s}", extensions ? "sc:" : "", properties[i].script);
            put_newer(&s->text, NULL, properties[i].script);
            return true;
        }
    }
    return false;
}

/* Reads what follows \p or \P: {Name} or {^Name}. */
static km_status read_property(translation *t, set *s) {
    char name[32];
    size_t count = 0;
    const char *stop = t->at < t->end && *t->at == '{' ? memchr(t->at, '}', (size_t)(t->end - t->at)) : NULL;
    if (stop == NULL) {
        return refuse(t, "\\p without {Name}");
    }
    const char *at = t->at + 1;
    if (*at == '^') {
        s->negated = !s->negated;
        at++;
    }
    for (; at < stop && count + 1 < sizeof name; at++) {
        if (strchr(" _-", *at) == NULL) {
            name[count++] = *at;
        }
    }
    name[count] = '\0';
    if (at < stop || !put_property(s, name)) {
        return refuse(t, "a property that is not known");
    }
    t->at = stop + 1;
    return KM_OK;
}

/* Puts a set as a pattern that matches one character. */
static void put_set(km_buffer *out, const set *s, bool negated) {
    put(out, negated != s->negated ? "[^" : "[");
    km_buffer_add(out, s->text.data, s->text.size);
    put(out, "]");
}

/* ---- Single characters ---------------------------------------------------------------------------------- */

static km_status read_hex(translation *t, uint32_t *code, int most) {
    const bool braces = most == 0;
    const char *start = t->at += braces;
    *code = 0;
    for (; t->at < t->end && (braces ? *t->at != '}' : t->at - start < most); t->at++) {
        const char *digits = "0123456789abcdef", *digit = strchr(digits, *t->at | 0x20);
        if (digit == NULL || *t->at == '\0' || *code > 0x10FFFF) {
            break;
        }
        *code = *code * 16 + (uint32_t)(digit - digits);
    }
    if (t->at == start || *code >= KM_CODE_POINTS || (braces && (t->at == t->end || *t->at++ != '}'))) {
        return refuse(t, "a code point that is none");
    }
    return KM_OK;
}

/* Reads a character that stands for itself, also behind a backslash; what else may stand there is refused. */
static km_status read_character(translation *t, uint32_t *code) {
    if (*t->at != '\\') {
        *code = (uint32_t)km_utf8_next(&t->at, t->end);
        return KM_OK;
    }
    if (++t->at == t->end) {
        return refuse(t, "nothing behind a backslash");
    }
    const char letter = *t->at++;
    const char *escapes = "ntrfaevb", *place = strchr(escapes, letter);
    if (place != NULL && letter != '\0') {
        *code = (uint8_t) "\n\t\r\f\a\x1B\v\b"[place - escapes];
        return KM_OK;
    }
    if (letter == 'x' || letter == 'u') {
        return read_hex(t, code, t->at < t->end && *t->at == '{' ? 0 : letter == 'x' ? 2 : 4);
    }
    if ((letter >= '0' && letter <= '9') || ((letter | 0x20) >= 'a' && (letter | 0x20) <= 'z')) {
        return refuse(t, "a backslash with a letter or digit that is not known");
    }
    t->at--;
    *code = (uint32_t)km_utf8_next(&t->at, t->end);
    return KM_OK;
}

/* Letters stand for themselves, so that a search may ignore case; anything else might be a sign of PCRE2's. */
static void put_character(km_buffer *out, uint32_t code) {
    km_buffer_print(out, "\\x{%X}", code);
}

/* ---- Classes -------------------------------------------------------------------------------------------- */

static km_status read_class(translation *t, km_buffer *out, int depth);

/* What a class is made of: characters that may stand in one [...] of PCRE2, and patterns of one character that may not. */
typedef struct class_parts {
    set plain;
    km_buffer others; /* "|pattern" for each */
} class_parts;

static void put_union(km_buffer *out, class_parts *parts) {
    if (parts->others.size == 0 && parts->plain.text.size > 0) {
        put_set(out, &parts->plain, false);
    } else {
        put(out, "(?:");
        if (parts->plain.text.size > 0) {
            put_set(out, &parts->plain, false);
            km_buffer_add(out, parts->others.data, parts->others.size);
        } else {
            km_buffer_add(out, parts->others.data + 1, parts->others.size - 1);
        }
        put(out, ")");
    }
    km_buffer_free(&parts->plain.text);
    km_buffer_free(&parts->others);
}

/* A class of POSIX: [:space:]. Those are read that are the same for both. */
static km_status read_posix(translation *t, set *s) {
    static const char *const names[][2] = {
        {"[:space:]", "s"}, {"[:digit:]", "d"}, {"[:xdigit:]", "h"}, {"[:word:]", "w"}};
    s->negated = follows(t, "[:^");
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        const char *rest = names[i][0] + 2;
        const size_t size = strlen(rest);
        const char *at = t->at + 2 + s->negated;
        if ((size_t)(t->end - at) >= size && memcmp(at, rest, size) == 0) {
            t->at = at + size;
            put_shorthand(&s->text, names[i][1][0], false);
            return KM_OK;
        }
    }
    return refuse(t, "a POSIX class other than space, digit, xdigit and word");
}

/* Reads a set of several characters where one stands, in a class or `alone`; *found says whether. */
static km_status read_set(translation *t, set *s, bool alone, bool *found) {
    *found = true;
    if (follows(t, "[:")) {
        return read_posix(t, s);
    }
    if (*t->at == '\\' && t->at + 1 < t->end) {
        const char letter = t->at[1], small = (char)(letter | 0x20);
        if (strchr("wsdhWSDH", letter) != NULL && letter != '\0') {
            t->at += 2;
            s->negated = letter != small;
            put_shorthand(&s->text, small, alone);
            return KM_OK;
        }
        if (small == 'p') {
            t->at += 2;
            s->negated = letter == 'P';
            return read_property(t, s);
        }
    }
    *found = false;
    return KM_OK;
}

static km_status read_range(translation *t, km_buffer *out) {
    uint32_t first = 0, last = 0;
    KM_TRY(read_character(t, &first));
    put_character(out, first);
    const bool range = t->end - t->at >= 2 && *t->at == '-' && t->at[1] != ']' && !follows(t, "-&&");
    if (!range) {
        return KM_OK;
    }
    set s = {0};
    bool found = false;
    const char *hyphen = t->at++;
    km_status status = *t->at == '[' ? refuse(t, "a class behind a hyphen") : read_set(t, &s, false, &found);
    km_buffer_free(&s.text);
    KM_TRY(status);
    if (found) { /* [a-\w]: the hyphen is a character */
        t->at = hyphen;
        return KM_OK;
    }
    KM_TRY(read_character(t, &last));
    put(out, "-");
    put_character(out, last);
    return KM_OK;
}

/* Reads one member of a class. */
static km_status read_member(translation *t, class_parts *parts, int depth) {
    set s = {0};
    bool found = false;
    km_status status = read_set(t, &s, false, &found);
    if (status == KM_OK && found && !s.negated) {
        km_buffer_add(&parts->plain.text, s.text.data, s.text.size);
    } else if (status == KM_OK && found) {
        put(&parts->others, "|");
        put_set(&parts->others, &s, false);
    }
    km_buffer_free(&s.text);
    if (status != KM_OK || found) {
        return status;
    }
    if (*t->at == '[') {
        put(&parts->others, "|");
        return read_class(t, &parts->others, depth + 1);
    }
    return read_range(t, &parts->plain.text);
}

/* Reads [...] from its bracket on, as a pattern that matches one character. */
static km_status read_class(translation *t, km_buffer *out, int depth) {
    if (depth > 10) {
        return refuse(t, "classes inside classes");
    }
    t->at++;
    const bool negated = t->at < t->end && *t->at == '^';
    t->at += negated;
    class_parts parts = {0};
    km_buffer left = {0}; /* what stands before && */
    km_status status = t->at < t->end && *t->at == ']' ? refuse(t, "an empty class") : KM_OK;
    while (status == KM_OK && t->at < t->end && *t->at != ']') {
        if (follows(t, "&&")) {
            if (parts.plain.text.size + parts.others.size == 0) {
                status = refuse(t, "&& with nothing before it");
                break;
            }
            t->at += 2;
            put(&left, "(?=");
            put_union(&left, &parts);
            put(&left, ")");
            parts = (class_parts){0};
        } else {
            status = read_member(t, &parts, depth);
        }
    }
    if (status == KM_OK && (t->at == t->end || parts.plain.text.size + parts.others.size == 0)) {
        status = refuse(t, "a class without an end");
    }
    if (status == KM_OK && left.size == 0 && parts.others.size == 0) {
        parts.plain.negated = negated;
        put_union(out, &parts);
    } else if (status == KM_OK) {
        put(out, negated ? "(?:(?!" : "(?:");
        km_buffer_add(out, left.data, left.size);
        put_union(out, &parts);
        put(out, negated ? ")(?s:.))" : ")");
    }
    t->at += status == KM_OK;
    km_buffer_free(&parts.plain.text);
    km_buffer_free(&parts.others);
    km_buffer_free(&left);
    return status;
}

/* ---- Groups --------------------------------------------------------------------------------------------- */

static km_status open_group(translation *t) {
    if (t->depth + 1 == DEPTH) {
        return refuse(t, "too many groups inside each other");
    }
    t->groups[++t->depth] = t->out->size;
    t->flags[t->depth] = 0;
    return KM_OK;
}

/* Reads the flags of (?i:...) or (?i), from behind the question mark on. */
static km_status read_flags(translation *t) {
    char flags[8];
    size_t count = 0;
    for (; t->at < t->end && strchr("im-", *t->at) != NULL && count + 1 < sizeof flags; t->at++) {
        flags[count++] = *t->at == 'm' ? 's' : *t->at; /* in Ruby, m lets a dot match a line end */
    }
    flags[count] = '\0';
    if (t->at == t->end || count == 0 || (*t->at != ':' && *t->at != ')')) {
        return refuse(t, "a group of this kind");
    }
    const bool alone = *t->at++ == ')';
    if (alone) { /* holds for what follows in its group, alternatives included */
        t->flags[t->depth]++;
    } else {
        KM_TRY(open_group(t));
    }
    km_buffer_print(t->out, "(?%s:", flags);
    return KM_OK;
}

static km_status read_group(translation *t) {
    static const char *const kinds[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    for (size_t i = 0; i < KM_COUNT(kinds); i++) {
        if (follows(t, kinds[i])) {
            KM_TRY(open_group(t));
            put(t->out, kinds[i]);
            t->at += strlen(kinds[i]);
            return KM_OK;
        }
    }
    if (follows(t, "(?<")) { /* a name, which nothing needs */
        const char *stop = memchr(t->at, '>', (size_t)(t->end - t->at));
        if (stop == NULL) {
            return refuse(t, "a name without an end");
        }
        t->at = stop + 1;
    } else if (follows(t, "(?")) {
        t->at += 2;
        return read_flags(t);
    } else {
        t->at++;
    }
    KM_TRY(open_group(t));
    put(t->out, "(?:"); /* what a group matched is not asked for */
    return KM_OK;
}

static void close_flags(translation *t) {
    for (int i = 0; i < t->flags[t->depth]; i++) {
        put(t->out, ")");
    }
}

static km_status close_group(translation *t) {
    if (t->depth == 0) {
        return refuse(t, "a bracket that closes nothing");
    }
    close_flags(t);
    put(t->out, ")");
    t->atom = t->groups[t->depth--];
    t->at++;
    return KM_OK;
}

/* ---- What repeats --------------------------------------------------------------------------------------- */

/* Wraps what is repeated into a group. */
static void wrap(translation *t) {
    const char open[] = "(?:";
    put(t->out, open);
    memmove(t->out->data + t->atom + strlen(open), t->out->data + t->atom, t->out->size - t->atom - strlen(open));
    memcpy(t->out->data + t->atom, open, strlen(open));
}

/* Reads {2}, {2,}, {2,3} or {,3}; *found says whether this is one. */
static km_status read_interval(translation *t, bool *found) {
    const char *at = t->at + 1;
    const size_t digits = strspn(at, "0123456789"), comma = at[digits] == ',';
    const size_t more = comma ? strspn(at + digits + 1, "0123456789") : 0;
    *found = digits + more > 0 && at[digits + comma + more] == '}';
    if (!*found) {
        return KM_OK;
    }
    const char *stop = at + digits + comma + more + 1;
    const bool again = stop < t->end && *stop == '+';
    if (stop < t->end && *stop == '?' && !comma) {
        return refuse(t, "a question mark behind {n}");
    }
    if (again) { /* in Ruby's syntax this repeats the repetition */
        wrap(t);
    }
    km_buffer_print(t->out, "{%s%.*s", digits == 0 ? "0" : "", (int)(stop - at), at);
    if (again) {
        put(t->out, ")");
    }
    t->at = stop;
    return KM_OK;
}

/* ---- All of it ------------------------------------------------------------------------------------------ */

/* The end of a word, or with `inside` no end and no beginning. */
static void put_boundary(km_buffer *out, bool inside) {
    set word = {0};
    km_buffer w = {0};
    put_shorthand(&word.text, 'w', true);
    put_set(&w, &word, false);
    km_buffer_print(out, inside ? "(?:(?<=%s)(?=%s)|(?<!%s)(?!%s))" : "(?:(?<=%s)(?!%s)|(?<!%s)(?=%s))", w.data,
                    w.data, w.data, w.data);
    km_buffer_free(&word.text);
    km_buffer_free(&w);
}

static km_status read_escape(translation *t) {
    static const char *const same[] = {"\\A", "\\z", "\\Z", "\\G", "\\R", "\\K"};
    set s = {0};
    bool found = false;
    km_status status = read_set(t, &s, true, &found);
    if (status == KM_OK && found) {
        put_set(t->out, &s, false);
    }
    km_buffer_free(&s.text);
    if (status != KM_OK || found) {
        return status;
    }
    for (size_t i = 0; i < KM_COUNT(same); i++) {
        if (follows(t, same[i])) {
            put(t->out, same[i]);
            t->at += 2;
            return KM_OK;
        }
    }
    if (follows(t, "\\b") || follows(t, "\\B")) {
        put_boundary(t->out, t->at[1] == 'B');
        t->at += 2;
        return KM_OK;
    }
    uint32_t code = 0;
    KM_TRY(read_character(t, &code));
    put_character(t->out, code);
    return KM_OK;
}

static km_status read_atom(translation *t) {
    const char sign = *t->at;
    if (strchr("*+?", sign) != NULL) {
        km_buffer_add(t->out, t->at++, 1);
        return KM_OK;
    }
    if (sign == '{') {
        bool found = false;
        KM_TRY(read_interval(t, &found));
        if (found) {
            return KM_OK;
        }
    }
    if (sign == ')') {
        return close_group(t);
    }
    t->atom = t->out->size;
    if (sign == '(') {
        return read_group(t);
    }
    if (sign == '[') {
        return read_class(t, t->out, 0);
    }
    if (sign == '\\') {
        return read_escape(t);
    }
    if (strchr(".^$|", sign) != NULL) {
        km_buffer_add(t->out, t->at++, 1);
        return KM_OK;
    }
    uint32_t code = 0;
    KM_TRY(read_character(t, &code));
    put_character(t->out, code);
    return KM_OK;
}

km_status km_pattern_translate(km_buffer *out, const char *pattern, const char *origin) {
    translation t = {
        .pattern = pattern, .at = pattern, .end = pattern + strlen(pattern), .origin = origin, .out = out};
    while (t.at < t.end) {
        KM_TRY(read_atom(&t));
    }
    if (t.depth > 0) {
        return refuse(&t, "a bracket that is not closed");
    }
    close_flags(&t);
    return KM_OK;
}
