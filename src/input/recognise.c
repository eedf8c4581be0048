/* Encoding and form of a text, from a sample of its first bytes. */
#include "recognise.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "formats.h"
#include "kmask/text.h"

enum { SAMPLE = 1 << 16, FEW = 64 };

km_status km_input_check_encoding(const char *name) {
    km_converter *converter = NULL;
    KM_TRY(km_converter_create(&converter, name));
    km_converter_destroy(converter);
    return KM_OK;
}

/* ---- Encoding ---- */

static const char *marked_encoding(const char *text, size_t count) {
    static const struct {
        const char *bytes;
        size_t count;
        const char *encoding;
    } marks[] = {{"\xEF\xBB\xBF", 3, "UTF-8"},
                 {"\xFF\xFE\0\0", 4, "UTF-32LE"},
                 {"\0\0\xFE\xFF", 4, "UTF-32BE"},
                 {"\xFF\xFE", 2, "UTF-16LE"},
                 {"\xFE\xFF", 2, "UTF-16BE"}};
    for (size_t i = 0; i < KM_COUNT(marks); i++) {
        if (count >= marks[i].count && memcmp(text, marks[i].bytes, marks[i].count) == 0) {
            return marks[i].encoding;
        }
    }
    return NULL;
}

static bool is_control(uint32_t code) {
    return code < 0x20 && code != '\t' && code != '\n' && code != '\r' && code != '\f' && code != '\v' &&
           code != '\b' && code != 0x1B;
}

/* Whether the bytes are UTF-16 without control characters, unpaired surrogates and non-characters. */
static bool is_utf16(const char *text, size_t count, bool big) {
    bool high = false;
    for (size_t i = 0; i + 1 < count; i += 2) {
        const uint32_t first = (unsigned char)text[i], second = (unsigned char)text[i + 1];
        const uint32_t unit = big ? first << 8 | second : second << 8 | first;
        const bool low = unit >= 0xDC00 && unit < 0xE000;
        if (low != high || is_control(unit) || unit >= 0xFFFE) {
            return false;
        }
        high = unit >= 0xD800 && unit < 0xDC00;
    }
    return true;
}

/* UTF-32 has a 0 in each fourth byte. */
static bool is_utf32(const char *text, size_t count, bool big) {
    for (size_t i = 0; i + 3 < count; i += 4) {
        const uint32_t high = (unsigned char)text[i + (big ? 0 : 3)],
                       plane = (unsigned char)text[i + (big ? 1 : 2)];
        if (high != 0 || plane > 0x10) {
            return false;
        }
    }
    return count >= 8;
}

/* UTF-16 and UTF-32 without a byte order mark: NUL bytes stand in every second place, or in most. Text that could be UTF-8 must have
 * many of them. NULL: neither. */
static const char *encoding_by_zeros(const char *text, size_t count, bool valid) {
    size_t zeros[2] = {0};
    for (size_t i = 0; i + 1 < count; i++) {
        zeros[i % 2] += text[i] == '\0';
    }
    if (zeros[0] + zeros[1] == 0) {
        return NULL;
    }
    if (is_utf32(text, count, false) || is_utf32(text, count, true)) {
        return is_utf32(text, count, false) ? "UTF-32LE" : "UTF-32BE";
    }
    const bool big = zeros[0] > zeros[1];
    const size_t many = zeros[big ? 0 : 1], few = zeros[big ? 1 : 0], pairs = count / 2;
    if (many < 2 || few * 20 > many || many * (valid ? 4 : 50) < pairs || !is_utf16(text, count, big)) {
        return NULL;
    }
    return big ? "UTF-16BE" : "UTF-16LE";
}

static bool is_utf8_name(const char *name) {
    return strcasecmp(name, "utf-8") == 0 || strcasecmp(name, "utf8") == 0;
}

/* The line of the first invalid byte, from 1. */
static uint64_t first_invalid_line(const char *text, size_t count) {
    uint64_t line = 1;
    for (const char *at = text; at < text + count;) {
        if (km_utf8_next(&at, text + count) < 0) {
            return line;
        }
        line += at[-1] == '\n';
    }
    return line;
}

static km_status refuse_encoding(const char *name, const char *text, size_t count, double share) {
    char *guess = km_encoding_guess(text, count);
    const bool useful = guess != NULL && strncasecmp(guess, "utf-8", 5) != 0;
    km_status status = km_fail_kind(KM_ERROR_DAMAGED,
                                    "%s: %.2g %% of its bytes are not UTF-8, the first in line %llu%s%s%s. Name "
                                    "its encoding with --encoding, or read it "
                                    "with --invalid replace or skip.",
                                    name, 100 * share, (unsigned long long)first_invalid_line(text, count),
                                    useful ? "; it may be " : "; expected text in UTF-8", useful ? guess : "",
                                    useful ? " (a guess)" : "");
    free(guess);
    return status;
}

/* The sample without a character that it cuts. */
static size_t whole_characters(const char *text, size_t count, size_t most) {
    for (size_t cut = 1; count == most && cut < 4 && cut < count; cut++) {
        const unsigned char byte = (unsigned char)text[count - cut];
        if (byte >= 0xC0) {
            return count - cut;
        }
        if (byte < 0x80) {
            break;
        }
    }
    return count;
}

/* What is neither in a known encoding nor UTF-8 by more than a little is refused. */
static km_status check_bytes(const char *name, const char *text, size_t count, const km_input_options *options) {
    uint64_t controls = 0, invalid = 0, beyond = 0;
    for (size_t i = 0; i < count; i++) {
        controls += is_control((unsigned char)text[i]);
    }
    if (controls * 50 > count && count >= FEW) {
        return km_fail_kind(
            KM_ERROR_DAMAGED,
            "%s: binary data (%.0f %% of its first bytes are NUL or other control characters), expected text. "
            "Leave it out, or read it all the same with --invalid replace.",
            name, 100 * (double)controls / (double)count);
    }
    km_utf8_count(text, count, &invalid, &beyond);
    if (options->invalid == KM_INVALID_JUDGE && km_invalid_is_large(invalid, beyond, count)) {
        return refuse_encoding(name, text, count, (double)invalid / (double)count);
    }
    return KM_OK;
}

static km_status find_encoding(const char **encoding, const char *name, const char *text, size_t count,
                               const km_input_options *options) {
    uint64_t invalid = 0, beyond = 0;
    *encoding = marked_encoding(text, count);
    if (*encoding == NULL && options->encoding != NULL) {
        *encoding = options->encoding;
    }
    if (*encoding == NULL) {
        km_utf8_count(text, whole_characters(text, count, SAMPLE), &invalid, &beyond);
        *encoding = encoding_by_zeros(text, count, invalid == 0);
    }
    if (*encoding == NULL || is_utf8_name(*encoding)) {
        *encoding = NULL;
        return options->invalid == KM_INVALID_REPLACE
                   ? KM_OK
                   : check_bytes(name, text, whole_characters(text, count, SAMPLE), options);
    }
    return KM_OK;
}

/* ---- Form ---- */

static bool ends_with(const char *text, size_t count, const char *end) {
    const size_t length = strlen(end);
    return count >= length && strncasecmp(text + count - length, end, length) == 0;
}

/* The first line that is not blank; *whole: its end is there too. */
static const char *first_line(const char *text, size_t count, size_t *length, bool *whole) {
    const char *at = text, *end = text + count;
    at += count >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) {
        at++;
    }
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    *whole = newline != NULL || count < SAMPLE;
    *length = (size_t)((newline != NULL ? newline : end) - at);
    return at;
}

static bool is_record(const char *line, size_t length, bool whole) {
    if (length == 0 || line[0] != '{') {
        return false;
    }
    if (!whole) { /* longer than the sample: {"key": is enough */
        const size_t skip = 1 + strspn(line + 1, " \t");
        const char *close = line[skip] == '"' ? memchr(line + skip + 1, '"', length - skip - 1) : NULL;
        return close != NULL && close + 2 < line + length && close[1 + (close[1] == ' ')] == ':';
    }
    km_json *json = NULL;
    const bool object = km_json_parse_record(&json, line, length, "") == KM_OK && km_json_is_object(json);
    km_json_destroy(json);
    return object;
}

/* <doc id="12" url="..." title="..."> */
static bool is_wiki(const char *line, size_t length) {
    return length > 8 && strncmp(line, "<doc ", 5) == 0 && memmem(line, length, "id=\"", 4) != NULL &&
           line[km_line_trim(line, length) - 1] == '>';
}

static bool has_separator(const char *line, size_t length) {
    return memchr(line, ',', length) != NULL || memchr(line, ';', length) != NULL ||
           memchr(line, '\t', length) != NULL || memchr(line, '|', length) != NULL;
}

static km_form find_form(const char *name, const char *text, size_t count) {
    static const char *const json_endings[] = {".jsonl", ".ndjson", ".json", ".jl", ".jsonlines"};
    const size_t end = km_name_without_container(name);
    for (size_t i = 0; i < KM_COUNT(json_endings); i++) {
        if (ends_with(name, end, json_endings[i])) {
            return KM_FORM_JSONL;
        }
    }
    size_t length = 0;
    bool whole = false;
    const char *line = first_line(text, count, &length, &whole);
    if (is_record(line, length, whole)) {
        return KM_FORM_JSONL;
    }
    if (is_wiki(line, length)) {
        return KM_FORM_WIKI;
    }
    const bool csv = ends_with(name, end, ".csv"), tsv = ends_with(name, end, ".tsv");
    return (csv || tsv) && has_separator(line, length) ? (csv ? KM_FORM_CSV : KM_FORM_TSV) : KM_FORM_TEXT;
}

km_status km_recognise_text(km_bytes **stream, km_form *form, const km_input_options *options) {
    const char *text = NULL, *encoding = NULL;
    size_t count = 0;
    KM_TRY(km_bytes_peek(*stream, SAMPLE, &text, &count));
    KM_TRY(find_encoding(&encoding, (*stream)->name, text, count, options));
    if (encoding != NULL) {
        km_bytes *converted = NULL;
        km_status status = km_bytes_recode(&converted, *stream, encoding);
        *stream = converted;
        KM_TRY(status);
        KM_TRY(km_bytes_peek(*stream, SAMPLE, &text, &count));
    }
    *form = options->form != KM_FORM_AUTO ? options->form : find_form((*stream)->name, text, count);
    return KM_OK;
}
