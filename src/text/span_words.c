/* Cuts a text into words, numbers and marks and gives each its shape. Whether a letter is upper or lower case comes from
 * utf8proc. */
#include "span_words.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef enum class { SPACE, NEWLINE, UPPER, LOWER, LETTER, JOINED, DIGIT, CURRENCY, OTHER } class;

typedef struct reader {
    const char *text, *end, *at;
    km_span_words *out;
    bool first_in_line, after_space, may_begin_sentence; /* of the next word */
} reader;

/* A character and where the next one begins. */
typedef struct character {
    uint32_t code;
    class class;
    const char *next;
} character;

static class class_of_category(utf8proc_category_t category) {
    switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
        return UPPER;
    case UTF8PROC_CATEGORY_LL:
        return LOWER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return JOINED;
    case UTF8PROC_CATEGORY_ND:
        return DIGIT;
    case UTF8PROC_CATEGORY_SC:
        return CURRENCY;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_CC:
        return SPACE;
    default:
        return OTHER;
    }
}

static class class_of_ascii(uint8_t c) {
    return c >= 'a' && c <= 'z'    ? LOWER
           : c >= 'A' && c <= 'Z'  ? UPPER
           : c >= '0' && c <= '9'  ? DIGIT
           : c == '\n'             ? NEWLINE
           : c <= ' ' || c == 0x7F ? SPACE
           : c == '$'              ? CURRENCY
           : c == '_'              ? LETTER
                                   : OTHER;
}

/* The character at `at`; beyond the text, a newline. */
static character look(const reader *r, const char *at) {
    character c = {.class = NEWLINE, .next = at};
    if (at >= r->end) {
        return c;
    }
    if ((uint8_t)*at < 0x80) {
        return (character){.code = (uint8_t)*at, .class = class_of_ascii((uint8_t)*at), .next = at + 1};
    }
    int32_t code = km_utf8_next(&c.next, r->end);
    c.code = code < 0 ? 0xFFFD : (uint32_t)code;
    c.class = code < 0 ? OTHER : class_of_category(utf8proc_category(code));
    return c;
}

static char byte_at(const reader *r, const char *at) {
    return at < r->end ? *at : '\0';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_word(class c) {
    return c == UPPER || c == LOWER || c == LETTER || c == JOINED || c == DIGIT;
}

static km_span_word *push(reader *r, const char *begin, const char *end, km_word_shape shape) {
    km_span_words *out = r->out;
    if (out->count == out->capacity) {
        out->capacity = 2 * out->capacity + 64;
        out->words = km_grow(out->words, out->capacity, sizeof *out->words);
    }
    km_span_word *word = &out->words[out->count++];
    *word = (km_span_word){.begin = (uint32_t)(begin - r->text),
                           .end = (uint32_t)(end - r->text),
                           .value = -1,
                           .shape = (uint8_t)shape,
                           .first_in_line = r->first_in_line,
                           .after_space = r->after_space,
                           .may_begin_sentence = r->may_begin_sentence};
    r->first_in_line = r->after_space = r->may_begin_sentence = false;
    r->at = end;
    return word;
}

/* ---- Numbers ---------------------------------------------------------------------------------------------- */

static const char *skip_digits(const reader *r, const char *at, int most) {
    for (int i = 0; i < most && is_digit(byte_at(r, at)); i++) {
        at++;
    }
    return at;
}

static int number_in(const char *at, const char *end) {
    int value = 0;
    for (; at < end; at++) {
        value = 10 * value + (*at - '0');
    }
    return value;
}

static bool ends_here(const reader *r, const char *at) {
    return !is_word(look(r, at).class);
}

/* Reads the rest of a time of day whose hour ends at `at`: ":30", ":30:59.9", then "Z", "+02:00" or "pm". Returns where it
 * ends, NULL where no minutes follow. */
static const char *clock_behind(const reader *r, const char *at) {
    const char *end = at;
    int parts = 0;
    while (byte_at(r, end) == ':' && parts < 2 && skip_digits(r, end + 1, 3) == end + 3) {
        end += 3;
        parts++;
    }
    if (parts == 0) {
        return NULL;
    }
    if (parts == 2 && byte_at(r, end) == '.' && is_digit(byte_at(r, end + 1))) {
        end = skip_digits(r, end + 1, 9);
    }
    if (byte_at(r, end) == 'Z' && ends_here(r, end + 1)) {
        return end + 1;
    }
    char sign = byte_at(r, end);
    if ((sign == '+' || sign == '-') && skip_digits(r, end + 1, 3) == end + 3) {
        return byte_at(r, end + 3) == ':' && skip_digits(r, end + 4, 3) == end + 6 ? end + 6 : end + 3;
    }
    char half = byte_at(r, end);
    bool meridiem = (half == 'a' || half == 'p' || half == 'A' || half == 'P') && (byte_at(r, end + 1) | 32) == 'm';
    return meridiem && ends_here(r, end + 2) ? end + 2 : end;
}

/* Returns the end of a date in digits, 1999-12-31, 31.12.1999 or 12/31/99, with the time if a T and a time follow; NULL where
 * there is no such date. */
static const char *numeric_date(const reader *r, const char *at) {
    const char *parts[3], *ends[3];
    char separator = '\0';
    for (int i = 0; i < 3; i++) {
        parts[i] = at;
        ends[i] = at = skip_digits(r, at, 5);
        if (at == parts[i] || (i > 0 && i < 2 && byte_at(r, at) != separator)) {
            return NULL;
        }
        separator = i == 0 ? byte_at(r, at) : separator;
        at += i < 2;
    }
    bool year_first = ends[0] - parts[0] == 4;
    int year = year_first ? 0 : 2, other = year_first ? 2 : 0;
    long digits = ends[year] - parts[year];
    if (strchr("-/.", separator) == NULL || separator == '\0' ||
        (digits != 4 && (digits != 2 || separator == '.')) || ends[1] - parts[1] > 2 ||
        ends[other] - parts[other] > 2) {
        return NULL;
    }
    int a = number_in(parts[1], ends[1]), b = number_in(parts[other], ends[other]);
    if (a < 1 || b < 1 || a > 31 || b > 31 || (a > 12 && b > 12)) {
        return NULL;
    }
    if (*at == 'T' && at < r->end) {
        const char *hour = skip_digits(r, at + 1, 3), *clock = hour == at + 3 ? clock_behind(r, hour) : NULL;
        at = clock != NULL ? clock : at;
    }
    return ends_here(r, at) && !is_digit(byte_at(r, at)) ? at : NULL;
}

/* Returns the end of a date as Chinese, Japanese and Korean write it, each number followed by the character for year, month or
 * day; NULL where there is none. */
static const char *east_asian_date(const reader *r, const char *at) {
    static const char *const signs[] = {"年", "月", "日", "년", "월", "일"};
    const char *found = NULL;
    for (int parts = 0; parts < 3; parts++) {
        const char *end = skip_digits(r, at, 4);
        bool matched = false;
        for (size_t i = 0; i < KM_COUNT(signs) && end > at; i++) {
            matched = matched || ((size_t)(r->end - end) >= 3 && memcmp(end, signs[i], 3) == 0);
        }
        if (!matched) {
            break;
        }
        found = at = end + 3;
        at += byte_at(r, at) == ' ' && is_digit(byte_at(r, at + 1));
    }
    return found;
}

/* Returns where a number ends: digits of any script with separators between them. */
static const char *plain_number(const reader *r, const char *at) {
    for (;;) {
        character c = look(r, at);
        while (c.class == DIGIT) {
            at = c.next;
            c = look(r, at);
        }
        bool separator = c.code == '.' || c.code == ',' || c.code == '/' || c.code == 0x66B || c.code == 0x66C;
        if (!separator || look(r, c.next).class != DIGIT) {
            return at;
        }
        at = c.next;
    }
}

/* Whether text[at, end) is one of the words of a list, which blanks separate. */
static bool in_list(const char *at, const char *end, const char *list) {
    size_t length = (size_t)(end - at);
    for (const char *item = list; *item != '\0';) {
        size_t size = strcspn(item, " ");
        if (size == length && memcmp(item, at, length) == 0) {
            return true;
        }
        item += size + (item[size] == ' ');
    }
    return false;
}

/* Returns where a number ends together with the per cent sign, degrees or currency sign behind it. */
static const char *with_unit(const reader *r, const char *at) {
    character c = look(r, at);
    if (c.code == '%' || c.code == 0x2030 || c.class == CURRENCY) {
        return c.next;
    }
    if (c.code == 0xB0) { /* degrees */
        character letter = look(r, c.next);
        bool scale = (letter.code == 'C' || letter.code == 'F') && ends_here(r, letter.next);
        return scale ? letter.next : c.next;
    }
    c = look(r, c.class == SPACE ? c.next : at);
    if (c.code == 0xB0) {
        return with_unit(r, c.next - 2);
    }
    return c.code == '%' || (c.class == CURRENCY && look(r, c.next).class != DIGIT) ? c.next : at;
}

static void read_number(reader *r, const char *begin, const char *digits) {
    const char *end = NULL;
    if ((end = numeric_date(r, digits)) != NULL || (end = east_asian_date(r, digits)) != NULL) {
        push(r, begin, end, KM_SHAPE_DATE);
        return;
    }
    const char *plain = skip_digits(r, digits, 5);
    if (plain - digits <= 2 && (end = clock_behind(r, plain)) != NULL) {
        push(r, begin, end, KM_SHAPE_TIME);
        return;
    }
    end = plain_number(r, digits);
    const bool simple = end == plain && plain - digits <= 4;
    const char *letters = end;
    character c = look(r, letters);
    while (c.class == LOWER || c.class == UPPER) {
        letters = c.next;
        c = look(r, letters);
    }
    if (simple && plain - digits == 4 && plain[-1] == '0' && in_list(end, letters, "s")) {
        push(r, begin, letters, KM_SHAPE_DATE);
    } else if (in_list(end, letters, "st nd rd th ST ND RD TH")) {
        push(r, begin, letters, KM_SHAPE_ORDINAL)->value = simple ? number_in(digits, plain) : -1;
    } else if (in_list(end, letters, "am pm AM PM")) {
        push(r, begin, letters, KM_SHAPE_TIME);
    } else if (in_list(end, letters,
                       "kg g mg km m cm mm ms s h GB MB KB kB TB GHz MHz kHz Hz V W kW MW A L l ml mph kbps Mbps "
                       "Gbps bit "
                       "ft in lb oz K M B bn k x nm dpi px")) {
        push(r, begin, letters, KM_SHAPE_NUMBER);
    } else if (letters > end) {
        push(r, begin, letters, KM_SHAPE_LETTERS);
    } else {
        const char *whole = with_unit(r, end);
        km_span_word *word = push(r, begin, whole, KM_SHAPE_NUMBER);
        word->value = simple && whole == end && begin == digits && plain > digits ? number_in(digits, plain) : -1;
    }
}

/* ---- Words -------------------------------------------------------------------------------------------------- */

/* What has been seen of a word. */
typedef struct shape {
    int uppers, lowers, others, digits;
    bool upper_first, lower_first;
    bool inner; /* a capital follows a small letter */
    uint32_t hash;
} shape;

static void add_letter(shape *s, character c, class before) {
    bool first = s->uppers + s->lowers + s->others + s->digits == 0;
    s->upper_first |= first && c.class == UPPER;
    s->lower_first |= first && c.class == LOWER;
    s->inner |= c.class == UPPER && before == LOWER;
    s->uppers += c.class == UPPER;
    s->lowers += c.class == LOWER;
    s->others += c.class == LETTER;
    s->digits += c.class == DIGIT;
    uint32_t code = c.code < 0x80 ? (c.class == UPPER ? c.code + 32 : c.code)
                                  : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c.code);
    s->hash = (s->hash ^ code) * 0x01000193U;
    s->hash ^= s->hash >> 15;
}

static km_word_shape shape_of(const shape *s) {
    if (s->others > 0 || (!s->upper_first && !s->lower_first)) {
        return KM_SHAPE_LETTERS;
    }
    if (s->lower_first) {
        return s->uppers > 0 && s->digits == 0 ? KM_SHAPE_MIXED : KM_SHAPE_LOWER;
    }
    if (s->lowers == 0) {
        return s->uppers + s->digits > 1 ? KM_SHAPE_UPPER : KM_SHAPE_SINGLE;
    }
    return s->inner || s->uppers > 1 ? KM_SHAPE_MIXED : KM_SHAPE_CAPITAL;
}

static bool is_apostrophe(uint32_t code) {
    return code == '\'' || code == 0x2019;
}

/* Whether the word goes on across the character `c`: an apostrophe before a letter (unless it is a possessive 's), a hyphen
 * before a capital, an & between capitals, or punctuation inside an address or file name, in which case *address becomes
 * true. */
static bool connects(const reader *r, const shape *s, character c, bool *address) {
    character next = look(r, c.next);
    if (is_apostrophe(c.code)) {
        bool possessive = (next.code == 's' || next.code == 'S') && ends_here(r, next.next);
        return (next.class == UPPER || next.class == LOWER) && !possessive;
    }
    if (c.code == '-') {
        return next.class == UPPER || (next.class == DIGIT && s->upper_first && s->lowers == 0);
    }
    if (c.code == '&') {
        return s->lowers == 0 && s->uppers > 0 && next.class == UPPER;
    }
    bool scheme = c.code == ':' && next.code == '/' && look(r, next.next).code == '/';
    if (scheme || (c.code == '@' && is_word(next.class)) ||
        (c.code == '.' && (next.class == LOWER || next.class == DIGIT || (is_word(next.class) && s->lowers > 0)))) {
        *address = true;
    }
    return *address;
}

/* Returns the end of single capitals with full stops between them, such as "U.S." or "J.R.R.", and their number in *count;
 * NULL where there are none. */
static const char *dotted(const reader *r, const char *at, int *count) {
    *count = 0;
    for (;;) {
        character letter = look(r, at), stop = look(r, letter.next);
        if (letter.class != UPPER || stop.code != '.') {
            bool last = letter.class == UPPER && ends_here(r, letter.next) && *count > 0;
            *count += last;
            return *count > 0 ? (last ? letter.next : at) : NULL;
        }
        (*count)++;
        at = stop.next;
    }
}

/* Returns where an address or file name ends: at white space, or before punctuation that ends the sentence. */
static const char *skip_address(const reader *r, const char *at) {
    for (character c = look(r, at); c.class != SPACE && c.class != NEWLINE; c = look(r, at)) {
        bool closing = strchr(".,;:!?)\"'>]}", c.code < 0x80 ? (int)c.code : 'a') != NULL;
        if (closing && !is_word(look(r, c.next).class) && look(r, c.next).code != '/') {
            break;
        }
        at = c.next;
    }
    return at;
}

static void read_word(reader *r) {
    const char *begin = r->at, *at = begin;
    int letters = 0;
    shape s = {.hash = 0x811C9DC5U};
    const char *end = dotted(r, begin, &letters);
    if (end != NULL) {
        push(r, begin, end, letters > 1 ? KM_SHAPE_UPPER : KM_SHAPE_INITIAL);
        return;
    }
    class before = OTHER;
    bool address = false;
    for (character c = look(r, at); !address; c = look(r, at)) {
        if (is_word(c.class)) {
            add_letter(&s, c, before);
        } else if (!connects(r, &s, c, &address)) {
            break;
        }
        before = c.class;
        at = c.next;
    }
    at = address ? skip_address(r, at) : at;
    push(r, begin, at, address ? KM_SHAPE_LETTERS : shape_of(&s))->hash = s.hash;
}

/* ---- Marks, and the whole text -------------------------------------------------------------------------------- */

static bool opens(uint32_t code) {
    return code == '"' || code == '(' || code == '[' || code == 0x201C || code == 0x2018 || code == 0xAB ||
           code == 0x201E;
}

static bool closes(uint32_t code) {
    return code == '"' || code == ')' || code == ']' || code == '\'' || code == 0x201D || code == 0x2019 ||
           code == 0xBB;
}

static bool ends_sentence(uint32_t code) {
    return code == '.' || code == '!' || code == '?' || code == ':' || code == ';' || code == '*' ||
           code == 0x2022 || code == 0xBF || code == 0xA1 || code == 0x2013 || code == 0x2014 || code == 0x2026;
}

static void read_mark(reader *r, character c) {
    const bool may_begin = r->may_begin_sentence, first = r->first_in_line, spaced = r->after_space;
    bool possessive = is_apostrophe(c.code) && !spaced && (look(r, c.next).code | 32) == 's';
    const char *end = possessive ? look(r, c.next).next : c.next;
    push(r, r->at, end, KM_SHAPE_MARK)->mark = c.code < 0x80 ? (uint8_t)c.code : 0;
    /* A sentence may begin behind a full stop and the like, behind a dash or bullet that begins a line or follows a space, and
     * behind an opening quote or bracket. Any other mark leaves it as it was before the mark; a comma ends it. */
    r->may_begin_sentence = ends_sentence(c.code) || (c.code == '-' && (first || spaced)) ||
                            (may_begin && !possessive) || (opens(c.code) && spaced);
    r->may_begin_sentence =
        r->may_begin_sentence && !(c.code == ',' || (closes(c.code) && !may_begin && !opens(c.code)));
}

void km_span_words_read(km_span_words *out, const char *text, size_t count) {
    reader r = {.text = text,
                .end = text + count,
                .at = text,
                .out = out,
                .first_in_line = true,
                .after_space = true,
                .may_begin_sentence = true};
    out->count = 0;
    while (r.at < r.end) {
        character c = look(&r, r.at);
        character next = look(&r, c.next);
        bool sign = r.after_space && (c.code == '-' || c.code == '+' || c.code == 0x2212 || c.code == 0xB1);
        if (c.class == SPACE || c.class == NEWLINE) {
            r.first_in_line = r.first_in_line || c.class == NEWLINE;
            r.may_begin_sentence = r.may_begin_sentence || c.class == NEWLINE;
            r.after_space = true;
            r.at = c.next;
        } else if (c.class == DIGIT) {
            read_number(&r, r.at, r.at);
        } else if ((sign || c.class == CURRENCY) && next.class == DIGIT) {
            read_number(&r, r.at, c.next);
        } else if (is_word(c.class)) {
            read_word(&r);
        } else {
            read_mark(&r, c);
        }
    }
}
