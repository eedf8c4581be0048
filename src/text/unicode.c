/* Character classes from the tables of classes.h; decomposition, combining classes and lower case from utf8proc, with
 * corrections where its versions differ from the tokenizers package. */
#include "unicode.h"

#include <pthread.h>
#include <string.h>

#include <utf8proc.h>

#include "classes.h"

static bool in_ranges(const km_range *ranges, size_t count, uint32_t code) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > ranges[middle].last) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && code >= ranges[low].first;
}

bool km_is_dropped(uint32_t code) {
    return in_ranges(km_dropped, KM_COUNT(km_dropped), code);
}

bool km_is_space(uint32_t code) {
    return in_ranges(km_spaces, KM_COUNT(km_spaces), code);
}

bool km_is_punctuation(uint32_t code) {
    return in_ranges(km_punctuation, KM_COUNT(km_punctuation), code);
}

bool km_is_chinese(uint32_t code) {
    return in_ranges(km_chinese, KM_COUNT(km_chinese), code);
}

bool km_is_mark(uint32_t code) {
    return in_ranges(km_marks, KM_COUNT(km_marks), code);
}

bool km_is_word_char(uint32_t code) {
    return in_ranges(km_word_marks, KM_COUNT(km_word_marks), code);
}

bool km_is_combining(uint32_t code) {
    return in_ranges(km_combining, KM_COUNT(km_combining), code);
}

bool km_is_numeric(uint32_t code) {
    return in_ranges(km_numeric, KM_COUNT(km_numeric), code);
}

const km_newer_range *km_newer_ranges(size_t *count) {
    *count = KM_COUNT(km_newer);
    return km_newer;
}

km_char_class km_char_class_of(uint32_t code) {
    if (in_ranges(km_letters, KM_COUNT(km_letters), code)) {
        return KM_CHAR_LETTER;
    }
    if (in_ranges(km_digits, KM_COUNT(km_digits), code)) {
        return KM_CHAR_NUMBER;
    }
    return in_ranges(km_whites, KM_COUNT(km_whites), code) ? KM_CHAR_SPACE : KM_CHAR_OTHER;
}

static uint8_t char_classes[KM_CODE_POINTS];

static void set_class(const km_range *ranges, size_t count, km_char_class class) {
    for (size_t i = 0; i < count; i++) {
        memset(char_classes + ranges[i].first, (int)class, ranges[i].last - ranges[i].first + 1);
    }
}

static void fill_char_classes(void) {
    set_class(km_letters, KM_COUNT(km_letters), KM_CHAR_LETTER);
    set_class(km_digits, KM_COUNT(km_digits), KM_CHAR_NUMBER);
    set_class(km_whites, KM_COUNT(km_whites), KM_CHAR_SPACE);
}

const uint8_t *km_char_classes(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_char_classes);
    return char_classes;
}

/* The decomposition of one character by utf8proc. Characters that decompose since Unicode 9.0 only are left whole, as the
 * tokenizers package has that version. */
static int decompose(uint32_t out[KM_DECOMPOSED], uint32_t code, utf8proc_option_t how) {
    utf8proc_int32_t buffer[KM_DECOMPOSED];
    out[0] = code;
    if (code < 0x80 || in_ranges(km_kept_whole, KM_COUNT(km_kept_whole), code)) {
        return 1;
    }
    utf8proc_ssize_t count =
        utf8proc_decompose_char((utf8proc_int32_t)code, buffer, KM_DECOMPOSED, how | UTF8PROC_STABLE, NULL);
    if (count < 1 || count > KM_DECOMPOSED) {
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        out[i] = (uint32_t)buffer[i];
    }
    return (int)count;
}

int km_decompose(uint32_t out[KM_DECOMPOSED], uint32_t code) {
    return decompose(out, code, UTF8PROC_DECOMPOSE);
}

int km_decompose_fully(uint32_t out[KM_DECOMPOSED], uint32_t code) {
    return decompose(out, code, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
}

uint32_t km_compose(uint32_t first, uint32_t second) {
    utf8proc_int32_t pair[4] = {(utf8proc_int32_t)first, (utf8proc_int32_t)second};
    const utf8proc_ssize_t count = utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    const bool newer = count == 1 && in_ranges(km_kept_whole, KM_COUNT(km_kept_whole), (uint32_t)pair[0]);
    return count == 1 && !newer ? (uint32_t)pair[0] : 0;
}

/* Marks that came after Unicode 9.0. To the tokenizers package they have combining class 0. */
static const km_range starters[] = {
    {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1AEB},   {0x1DF6, 0x1DFA},
    {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10EFA, 0x10EFF},
    {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x113CE, 0x113D0},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
    {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x1612F, 0x1612F}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF},
    {0x1E6E3, 0x1E6F5},
};

int km_combining_class(uint32_t code) {
    if (code < 0x300) {
        return 0;
    }
    int class = utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
    return class != 0 && in_ranges(starters, KM_COUNT(starters), code) ? 0 : class;
}

/* Lower case that came with Unicode 14 to 17 and that older versions of utf8proc do not know. With a `step` of 2 every other
 * character of the range is an upper case one. */
static const struct {
    uint32_t first, last, step;
    int32_t shift;
} newer[] = {
    {0x1C89, 0x1C89, 1, 1},    {0x2C2F, 0x2C2F, 1, 48},   {0xA7C0, 0xA7C0, 1, 1},      {0xA7CB, 0xA7CB, 1, -42343},
    {0xA7CC, 0xA7D8, 2, 1},    {0xA7DA, 0xA7DA, 1, 1},    {0xA7DC, 0xA7DC, 1, -42561}, {0x10570, 0x1057A, 1, 39},
    {0x1057C, 0x1058A, 1, 39}, {0x1058C, 0x10592, 1, 39}, {0x10594, 0x10595, 1, 39},   {0x10D50, 0x10D65, 1, 32},
    {0x16EA0, 0x16EB8, 1, 27},
};

uint32_t km_lower(uint32_t code) {
    if (code < 0x80) {
        return code >= 'A' && code <= 'Z' ? code + 32 : code;
    }
    if (code == 0x130) {
        return 'i';
    }
    for (size_t i = 0; i < KM_COUNT(newer); i++) {
        if (code >= newer[i].first && code <= newer[i].last && (code - newer[i].first) % newer[i].step == 0) {
            return (uint32_t)((int32_t)code + newer[i].shift);
        }
    }
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
}
