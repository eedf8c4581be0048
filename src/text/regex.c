/* Compiles regular expressions and finds their matches, by PCRE2 with its compiler to machine code. */
#include "regex.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    STEPS = 10 * 1000 * 1000, /* most steps of a search; some patterns take exponentially many */
    HEAP = 1 << 16            /* most KiB that a search keeps */
};

struct km_regex {
    char *pattern;
    size_t literal; /* bytes of the text that is looked for; 0: `code` is looked for */
    pcre2_code *code;
    pcre2_match_context *limits;
};

void km_parts_add(km_parts *parts, size_t begin, size_t end, bool matches) {
    if (parts->count == parts->capacity) {
        parts->capacity = 2 * parts->capacity + 16;
        parts->parts = km_grow(parts->parts, parts->capacity, sizeof *parts->parts);
    }
    parts->parts[parts->count++] = (km_text_part){begin, end, matches};
}

void km_parts_free(km_parts *parts) {
    free(parts->parts);
    *parts = (km_parts){0};
}

void km_regex_destroy(km_regex *regex) {
    if (regex != NULL) {
        pcre2_code_free(regex->code);
        pcre2_match_context_free(regex->limits);
        free(regex->pattern);
        free(regex);
    }
}

/* Searches from byte `at` on; returns whether there is a match, or an error of PCRE2. */
static int search(const km_regex *r, const char *text, size_t count, size_t at, pcre2_match_data *data) {
    int found = pcre2_match(r->code, (PCRE2_SPTR)text, count, at, PCRE2_NO_UTF_CHECK, data, r->limits);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) { /* the interpreter keeps what it has to on the heap */
        found =
            pcre2_match(r->code, (PCRE2_SPTR)text, count, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, r->limits);
    }
    return found > 0 ? 1 : found == PCRE2_ERROR_NOMATCH ? 0 : found;
}

/* Finds all matches; returns an error of PCRE2, or 0. An empty match does not count where the match before it ended. */
static int find_all(const km_regex *r, const char *text, size_t begin, size_t end, km_parts *out) {
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(data);
    const char *subject = text + begin;
    const size_t count = end - begin;
    size_t at = 0, covered = 0, matched = SIZE_MAX;
    int found = 0;
    while (at <= count && (found = search(r, subject, count, at, data)) > 0) {
        if (range[0] == range[1] && range[1] == matched) {
            const char *next = subject + at;
            if (at++ < count) {
                (void)km_utf8_next(&next, subject + count);
                at = (size_t)(next - subject);
            }
            continue;
        }
        if (covered < range[0]) {
            km_parts_add(out, begin + covered, begin + range[0], false);
        }
        km_parts_add(out, begin + range[0], begin + range[1], true);
        at = covered = matched = range[1];
    }
    if (covered < count || count == 0) {
        km_parts_add(out, begin + covered, end, false);
    }
    pcre2_match_data_free(data);
    return found;
}

static void find_literal(const km_regex *r, const char *text, size_t begin, size_t end, km_parts *out) {
    const char *at = text + begin, *stop = text + end, *found;
    while ((found = memmem(at, (size_t)(stop - at), r->pattern, r->literal)) != NULL) {
        if (at < found) {
            km_parts_add(out, (size_t)(at - text), (size_t)(found - text), false);
        }
        at = found + r->literal;
        km_parts_add(out, (size_t)(found - text), (size_t)(at - text), true);
    }
    if (at < stop) {
        km_parts_add(out, (size_t)(at - text), end, false);
    }
}

void km_regex_find(const km_regex *regex, const char *text, size_t begin, size_t end, km_parts *out) {
    if (begin == end) { /* as the tokenizers package has it: nothing is looked for in an empty text */
        km_parts_add(out, begin, end, false);
        return;
    }
    if (regex->literal > 0) {
        find_literal(regex, text, begin, end, out);
        return;
    }
    const int error = find_all(regex, text, begin, end, out);
    static int warned;
    if (error < 0 && __atomic_exchange_n(&warned, 1, __ATOMIC_RELAXED) == 0) {
        const int shown = (int)KM_MIN(end - begin, (size_t)60);
        km_warn("the tokenizer's regular expression \"%.100s\" takes more than %d steps in a text of %zu bytes "
                "that begins "
                "with \"%.*s\"; the rest of such texts is not split, so its ids are not those of the tokenizers "
                "package",
                regex->pattern, STEPS, end - begin, shown, text + begin);
    }
}

/* ---- Compiling ------------------------------------------------------------------------------------------ */

static km_status compile(km_regex *r, const km_buffer *words, const char *origin) {
    int error = 0;
    PCRE2_SIZE place = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_bsr(context, PCRE2_BSR_UNICODE);
    r->code = pcre2_compile((PCRE2_SPTR)(words->size > 0 ? words->data : ""), words->size,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &place, context);
    pcre2_compile_context_free(context);
    if (r->code == NULL) {
        PCRE2_UCHAR reason[160] = "";
        pcre2_get_error_message(error, reason, sizeof reason);
        return km_fail(KM_FAILED, "%s: \"%.200s\" is no regular expression that is understood: %s", origin,
                       r->pattern, (const char *)reason);
    }
    (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where there is none, the interpreter is used */
    r->limits = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(r->limits, STEPS);
    pcre2_set_heap_limit(r->limits, HEAP);
    return KM_OK;
}

/* Tries texts that make patterns such as (a+)+b take exponentially long: long runs of one character of the pattern. */
static km_status try_runs(const km_regex *r, const char *origin) {
    enum { RUN = 2000 };
    char run[RUN + 1];
    bool tried[128] = {false};
    km_buffer signs = {0};
    km_buffer_print(&signs, "%sa 1-\n", r->pattern);
    int error = 0;
    for (const char *sign = signs.data; error >= 0 && *sign != '\0'; sign++) {
        const uint8_t byte = (uint8_t)*sign;
        if (byte < 128 && !tried[byte]) {
            km_parts parts = {0};
            tried[byte] = true;
            memset(run, byte, RUN);
            run[RUN] = '\x01';
            error = find_all(r, run, 0, sizeof run, &parts);
            km_parts_free(&parts);
        }
    }
    km_buffer_free(&signs);
    if (error < 0) {
        return km_fail(KM_FAILED,
                       "%s: the regular expression \"%.200s\" takes more than %d steps in a text of %d equal "
                       "characters. Write it without repetitions of what repeats.",
                       origin, r->pattern, STEPS, RUN);
    }
    return KM_OK;
}

km_status km_regex_create(km_regex **out, const char *pattern, bool literal, const char *origin) {
    km_regex *r = *out = km_new(1, sizeof *r);
    r->pattern = km_strdup(pattern);
    r->literal = literal ? strlen(pattern) : 0;
    if (r->literal > 0) {
        return KM_OK;
    }
    km_buffer words = {0};
    km_status status = km_pattern_translate(&words, pattern, origin);
    status = status == KM_OK ? compile(r, &words, origin) : status;
    status = status == KM_OK ? try_runs(r, origin) : status;
    km_buffer_free(&words);
    if (status != KM_OK) {
        km_regex_destroy(r);
        *out = NULL;
    }
    return status;
}
