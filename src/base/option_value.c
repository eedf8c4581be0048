/* One option's value: its range, reading it from JSON or from --set, printing it back. */
#include "option.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Ranges ---- */

typedef struct range {
    double low, high;
    bool without_low, without_high;
} range;

/* Parses a range of km_option: "1..64", ">0..1", "0..<1", "0..". */
static range range_of(const km_option *option) {
    range r = {.low = -INFINITY, .high = INFINITY};
    const char *text = option->range;
    if (text == NULL) {
        return r;
    }
    r.without_low = *text == '>';
    const char *dots = strstr(text, "..") + 2;
    char low[32] = "";
    memcpy(low, text + r.without_low, (size_t)(dots - 2 - text) - r.without_low);
    r.low = strtod(low, NULL);
    r.without_high = *dots == '<';
    r.high = dots[r.without_high] == '\0' ? r.high : strtod(dots + r.without_high, NULL);
    return r;
}

static bool in_range(const km_option *option, double value) {
    range r = range_of(option);
    return isfinite(value) && (r.without_low ? value > r.low : value >= r.low) &&
           (r.without_high ? value < r.high : value <= r.high);
}

static bool is_whole(double value) {
    return isfinite(value) && value == floor(value) && fabs(value) <= 0x1p53;
}

/* True when `word` is one of "a|b|c". */
static bool is_choice(const char *choices, const char *word) {
    for (const char *at = choices; *at != '\0'; at += *at == '|') {
        size_t length = strcspn(at, "|");
        if (strlen(word) == length && strncmp(at, word, length) == 0) {
            return true;
        }
        at += length;
    }
    return false;
}

const char *km_option_choices(const km_option *option) {
    bool words = option->kind == KM_CHOICE || option->kind == KM_TEXT_LIST;
    return !words ? NULL : option->choices != NULL ? option->choices() : option->range;
}

const char *km_names_join(char out[KM_NAMES], const char *const *words, size_t count) {
    size_t used = 0;
    for (size_t i = 0; i < count && used < KM_NAMES; i++) {
        used += (size_t)snprintf(out + used, KM_NAMES - used, "%s%s", i > 0 ? "|" : "", words[i]);
    }
    return out;
}

/* ---- Numbers as text ---- */

/* Prints a number with 15, 16 or 17 digits: the fewest with which it reads back to the same bits. */
static void print_number(km_buffer *out, double value) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    km_buffer_print(out, "%s", text);
}

static void print_string(km_buffer *out, const char *text) {
    km_json *list = km_json_array();
    km_json_push_string(list, text);
    char *json = km_json_print(list, false); /* ["..."] */
    km_buffer_add(out, json + 1, strlen(json) - 2);
    free(json);
    km_json_destroy(list);
}

/* ---- Messages ---- */

void km_option_expected(const km_option *option, km_buffer *out) {
    static const char *const words[] = {[KM_INT] = "a whole number",
                                        [KM_DOUBLE] = "a number",
                                        [KM_FLAG] = "true or false",
                                        [KM_FILE] = "a path",
                                        [KM_CHOICE] = "one of",
                                        [KM_RATIO] = "\"partition\" or a number",
                                        [KM_EVERY] = "an interval in steps or an ascending list of steps",
                                        [KM_NUMBER_LIST] = "a whole number or a list of them",
                                        [KM_DOUBLE_LIST] = "a number or a list of numbers",
                                        [KM_TEXT_LIST] = "a text or a list of texts"};
    const char *choices = km_option_choices(option);
    km_buffer_print(out, "%s", words[option->kind]);
    if (option->kind == KM_FILE) {
        km_buffer_print(out, " of at most %d bytes, with $NAMES that the environment has", KM_PATH - 1);
    } else if (option->kind == KM_EVERY) {
        km_buffer_print(out, " (at most %d, each %s)", KM_STEPS, option->range);
    } else if (option->kind == KM_NUMBER_LIST) {
        km_buffer_print(out, ", [1, 2] or 1,4..7 (at most %d, each %s)", KM_NUMBERS, option->range);
    } else if (option->kind == KM_DOUBLE_LIST) {
        km_buffer_print(out, ", [1e-5, 2e-5] or 1e-5,2e-5 (at most %d, each %s)", KM_DOUBLES, option->range);
    } else if (option->kind == KM_TEXT_LIST && choices == NULL) {
        km_buffer_print(out, " (together at most %d bytes)", KM_TEXTS);
    } else if (option->kind == KM_TEXT_LIST) {
        km_buffer_print(out, ", each one of %s", choices);
    } else if (choices != NULL || option->range != NULL) {
        km_buffer_print(out, " %s", choices != NULL ? choices : option->range);
    }
}

/* Prints a value that was found, for a message: as JSON, cut where it is long. */
static void describe(km_buffer *out, const km_json *json) {
    enum { MOST = 60 };
    double value = 0;
    if (km_json_number(&value, json)) {
        if (isfinite(value)) {
            print_number(out, value);
        } else {
            km_buffer_print(out, "a number beyond all limits");
        }
        return;
    }
    char *text = km_json_print(json, false);
    size_t length = strlen(text);
    if (length > MOST) {
        size_t end = MOST;
        while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80) { /* do not cut inside a UTF-8 character */
            end--;
        }
        km_buffer_print(out, "%.*s... (%zu bytes)", (int)end, text, length);
    } else {
        km_buffer_add(out, text, length);
    }
    free(text);
}

/* Whether a later version will have this name. The message then says so, instead of calling the name unknown. */
static bool is_planned(const km_option *option, const char *word) {
    return word != NULL && option->planned != NULL && is_choice(option->planned, word);
}

static km_status refuse(const km_section *section, const km_option *option, const km_json *json) {
    km_buffer found = {0}, expected = {0};
    describe(&found, json);
    km_option_expected(option, &expected);
    bool planned = is_planned(option, km_json_string(json));
    km_fail(KM_USAGE, "%s.%s: found %s%s, expected %s", section->name, option->name, found.data,
            planned ? ", which this version cannot do yet" : "", expected.data);
    km_buffer_free(&found);
    km_buffer_free(&expected);
    return KM_USAGE;
}

/* ---- Reading ---- */

static size_t size_of(const km_option *option) {
    static const size_t sizes[] = {[KM_INT] = sizeof(int64_t),
                                   [KM_DOUBLE] = sizeof(double),
                                   [KM_FLAG] = sizeof(bool),
                                   [KM_FILE] = KM_PATH,
                                   [KM_CHOICE] = KM_WORD,
                                   [KM_RATIO] = sizeof(double),
                                   [KM_EVERY] = sizeof(km_steps),
                                   [KM_NUMBER_LIST] = sizeof(km_numbers),
                                   [KM_DOUBLE_LIST] = sizeof(km_doubles),
                                   [KM_TEXT_LIST] = sizeof(km_texts)};
    return sizes[option->kind];
}

static void clear(const km_option *option, void *values) {
    memset((char *)values + option->place, 0, size_of(option));
}

static bool read_step(int64_t *out, const km_option *option, const km_json *json) {
    double value = 0;
    if (!km_json_number(&value, json) || !is_whole(value) || !in_range(option, value)) {
        return false;
    }
    *out = (int64_t)value;
    return true;
}

static bool read_steps(km_steps *out, const km_option *option, const km_json *json) {
    if (!km_json_is_array(json)) {
        return read_step(&out->every, option, json);
    }
    int64_t before = 0;
    for (const km_json *item = km_json_first(json); item != NULL; item = km_json_next(item)) {
        if (out->count == KM_STEPS || !read_step(&out->list[out->count], option, item) ||
            out->list[out->count] <= before) {
            return false;
        }
        before = out->list[out->count++];
    }
    return true;
}

/* A path with ~ at its beginning, and $NAME and ${NAME} anywhere, replaced by what the environment has; NULL where a variable is not
 * set. The caller frees. */
static char *expand_path(const char *text) {
    km_buffer path = {0};
    const char *home = getenv("HOME");
    const bool from_home = text[0] == '~' && (text[1] == '/' || text[1] == '\0') && home != NULL;
    km_buffer_print(&path, "%s", from_home ? home : "");
    for (const char *at = text + from_home; *at != '\0';) {
        const bool braces = at[0] == '$' && at[1] == '{';
        const char *name = at + 1 + braces;
        size_t length = 0;
        while (at[0] == '$' && (isalnum((unsigned char)name[length]) || name[length] == '_')) {
            length++;
        }
        if (length == 0 || (braces && name[length] != '}')) {
            km_buffer_add(&path, at++, 1);
            continue;
        }
        char *variable = km_format("%.*s", (int)length, name);
        const char *value = getenv(variable);
        free(variable);
        if (value == NULL) {
            km_buffer_free(&path);
            return NULL;
        }
        km_buffer_add(&path, value, strlen(value));
        at = name + length + braces;
    }
    return path.data;
}

static bool read_path(char *out, const km_option *option, const char *text) {
    char *path = text != NULL && text[0] != '\0' ? expand_path(text) : NULL;
    const bool fits = path != NULL && path[0] != '\0' && strlen(path) < size_of(option);
    if (fits) {
        memcpy(out, path, strlen(path));
    }
    free(path);
    return fits;
}

static bool read_text(char *out, const km_option *option, const char *text) {
    if (option->kind == KM_FILE) {
        return read_path(out, option, text);
    }
    if (text == NULL || text[0] == '\0' || strlen(text) >= size_of(option) ||
        (option->kind == KM_CHOICE && !is_choice(km_option_choices(option), text))) {
        return false;
    }
    memcpy(out, text, strlen(text));
    return true;
}

static bool read_number(double *out, const km_option *option, const km_json *json) {
    const char *text = km_json_string(json);
    if (option->kind == KM_RATIO && text != NULL && strcmp(text, "partition") == 0) {
        *out = 0;
        return true;
    }
    double value = 0;
    if (!km_json_number(&value, json) || !in_range(option, value)) {
        return false;
    }
    *out = value + 0.0; /* turns negative zero into zero */
    return true;
}

static bool add_number(km_numbers *out, const km_option *option, double value) {
    if (out->count == KM_NUMBERS || !is_whole(value) || !in_range(option, value)) {
        return false;
    }
    out->list[out->count++] = (int64_t)value;
    return true;
}

/* Reads decimal digits and moves *text to what follows them. */
static bool read_digits(double *out, const char **text) {
    const char *digits = *text;
    char number[KM_WORD] = ""; /* a copy of the digits alone: in "0..7" strtod would read "0." */
    *text += strspn(digits, "0123456789");
    size_t length = (size_t)(*text - digits);
    if (length == 0 || length >= sizeof number) {
        return false;
    }
    memcpy(number, digits, length);
    *out = strtod(number, NULL);
    return true;
}

/* Adds the numbers of a text such as "3", "4..7" or "1,4..7". */
static bool add_range(km_numbers *out, const km_option *option, const char *text) {
    for (bool more = true; more;) {
        double first = 0, last = 0;
        if (!read_digits(&first, &text)) {
            return false;
        }
        last = first;
        if (strncmp(text, "..", 2) == 0) {
            text += 2;
            if (!read_digits(&last, &text) || last < first) {
                return false;
            }
        }
        bool fits = last - first < KM_NUMBERS;
        for (int i = 0; fits && i <= (int)(last - first); i++) {
            fits = add_number(out, option, first + i);
        }
        if (!fits) {
            return false;
        }
        more = *text == ',';
        text += more;
    }
    return *text == '\0';
}

static bool read_numbers(km_numbers *out, const km_option *option, const km_json *json) {
    bool list = km_json_is_array(json);
    const km_json *item = list ? km_json_first(json) : json;
    for (; item != NULL; item = list ? km_json_next(item) : NULL) {
        double value = 0;
        const char *text = km_json_string(item);
        bool fine = text != NULL ? add_range(out, option, text)
                                 : km_json_number(&value, item) && add_number(out, option, value);
        if (!fine) {
            return false;
        }
    }
    return out->count > 0;
}

static bool add_double(km_doubles *out, const km_option *option, double value) {
    if (out->count == KM_DOUBLES || !in_range(option, value)) {
        return false;
    }
    out->list[out->count++] = value + 0.0; /* no negative zero */
    return true;
}

/* Numbers with commas between them. */
static bool add_double_text(km_doubles *out, const km_option *option, const char *text) {
    for (bool more = true; more;) {
        char *end = NULL;
        const double value = strtod(text, &end);
        if (end == text || !add_double(out, option, value)) {
            return false;
        }
        more = *end == ',';
        text = end + more;
    }
    return *text == '\0';
}

static bool read_doubles(km_doubles *out, const km_option *option, const km_json *json) {
    const bool list = km_json_is_array(json);
    const km_json *item = list ? km_json_first(json) : json;
    for (; item != NULL; item = list ? km_json_next(item) : NULL) {
        double value = 0;
        const char *text = km_json_string(item);
        const bool fine = text != NULL ? add_double_text(out, option, text)
                                       : km_json_number(&value, item) && add_double(out, option, value);
        if (!fine) {
            return false;
        }
    }
    return out->count > 0;
}

static bool add_text(km_texts *out, size_t *used, const km_option *option, const char *text, size_t length) {
    char word[KM_WORD] = "";
    if (length == 0 || length >= sizeof out->text - *used) {
        return false;
    }
    const char *choices = km_option_choices(option);
    if (choices != NULL) {
        memcpy(word, text, KM_MIN(length, sizeof word - 1));
        if (length >= sizeof word || !is_choice(choices, word)) {
            return false;
        }
    }
    memcpy(out->text + *used, text, length);
    *used += length + 1;
    out->count++;
    return true;
}

/* Reads a text or a list of texts. One text may hold several choices, separated by commas; a path or a pattern is not split. */
static bool read_texts(km_texts *out, const km_option *option, const km_json *json) {
    bool list = km_json_is_array(json);
    size_t used = 0;
    for (const km_json *item = list ? km_json_first(json) : json; item != NULL;
         item = list ? km_json_next(item) : NULL) {
        const char *text = km_json_string(item);
        bool more = text != NULL;
        if (!more) {
            return false;
        }
        while (more) {
            size_t length = km_option_choices(option) != NULL ? strcspn(text, ",") : strlen(text);
            if (!add_text(out, &used, option, text, length)) {
                return false;
            }
            more = text[length] == ',';
            text += length + more;
        }
    }
    return out->count > 0;
}

const char *km_texts_at(const km_texts *texts, int index) {
    const char *text = texts->text;
    for (int i = 0; i < index; i++) {
        text += strlen(text) + 1;
    }
    return text;
}

static bool read_value(void *out, const km_option *option, const km_json *json) {
    switch (option->kind) {
    case KM_INT:
        return read_step(out, option, json);
    case KM_DOUBLE:
    case KM_RATIO:
        return read_number(out, option, json);
    case KM_FLAG:
        return km_json_boolean(out, json);
    case KM_FILE:
    case KM_CHOICE:
        return read_text(out, option, km_json_string(json));
    case KM_EVERY:
        return read_steps(out, option, json);
    case KM_NUMBER_LIST:
        return read_numbers(out, option, json);
    case KM_DOUBLE_LIST:
        return read_doubles(out, option, json);
    case KM_TEXT_LIST:
        return read_texts(out, option, json);
    }
    return false;
}

static void mark(const km_section *section, const km_option *option, void *values, bool given) {
    uint64_t bit = UINT64_C(1) << (option - section->options), *bits = values;
    *bits = given ? *bits | bit : *bits & ~bit;
}

km_status km_option_set(const km_section *section, const km_option *option, void *values, const km_json *json) {
    clear(option, values);
    mark(section, option, values, !km_json_is_null(json));
    if (km_json_is_null(json) || read_value((char *)values + option->place, option, json)) {
        return KM_OK;
    }
    clear(option, values);
    return refuse(section, option, json);
}

/* For paths, choices and lists of texts the right side is plain text, unless it is a JSON string, null or, for a list, a JSON
 * array. For other options it is JSON, or plain text where it is not valid JSON. */
km_status km_option_set_text(const km_section *section, const km_option *option, void *values, const char *text) {
    km_json *json = NULL;
    bool parsed = km_json_parse(&json, text, strlen(text), option->name) == KM_OK;
    bool texts = option->kind == KM_TEXT_LIST && km_json_is_array(json);
    bool wordy = option->kind == KM_FILE || option->kind == KM_CHOICE || option->kind == KM_TEXT_LIST;
    if (!parsed || (wordy && !texts && km_json_string(json) == NULL && !km_json_is_null(json))) {
        km_json_destroy(json);
        km_json *list = km_json_array();
        km_json_push_string(list, text);
        km_status status = km_option_set(section, option, values, km_json_first(list));
        km_json_destroy(list);
        return status;
    }
    km_status status = km_option_set(section, option, values, json);
    km_json_destroy(json);
    return status;
}

/* ---- Printing ---- */

bool km_option_is_set(const km_option *option, const void *values) {
    const void *value = (const char *)values + option->place;
    switch (option->kind) {
    case KM_INT:
        return in_range(option, (double)*(const int64_t *)value);
    case KM_DOUBLE:
        return in_range(option, *(const double *)value);
    case KM_FILE:
    case KM_CHOICE:
        return *(const char *)value != '\0';
    case KM_EVERY:
        return ((const km_steps *)value)->every > 0 || ((const km_steps *)value)->count > 0;
    case KM_NUMBER_LIST:
        return ((const km_numbers *)value)->count > 0;
    case KM_DOUBLE_LIST:
        return ((const km_doubles *)value)->count > 0;
    case KM_TEXT_LIST:
        return ((const km_texts *)value)->count > 0;
    case KM_FLAG:
    case KM_RATIO:
        break;
    }
    return true;
}

static void print_steps(km_buffer *out, const km_steps *steps) {
    if (steps->every > 0) {
        km_buffer_print(out, "%lld", (long long)steps->every);
        return;
    }
    for (int i = 0; i < steps->count; i++) {
        km_buffer_print(out, "%s%lld", i == 0 ? "[" : ", ", (long long)steps->list[i]);
    }
    km_buffer_print(out, "]");
}

static void print_numbers(km_buffer *out, const km_numbers *numbers) {
    for (int i = 0; i < numbers->count; i++) {
        km_buffer_print(out, "%s%lld", i == 0 ? "[" : ", ", (long long)numbers->list[i]);
    }
    km_buffer_print(out, "]");
}

static void print_doubles(km_buffer *out, const km_doubles *numbers) {
    for (int i = 0; i < numbers->count; i++) {
        km_buffer_print(out, i == 0 ? "[" : ", ");
        print_number(out, numbers->list[i]);
    }
    km_buffer_print(out, "]");
}

static void print_texts(km_buffer *out, const km_texts *texts) {
    for (int i = 0; i < texts->count; i++) {
        km_buffer_print(out, i == 0 ? "[" : ", ");
        print_string(out, km_texts_at(texts, i));
    }
    km_buffer_print(out, "]");
}

void km_option_print(const km_option *option, const void *values, km_buffer *out) {
    const void *value = (const char *)values + option->place;
    if (!km_option_is_set(option, values)) {
        km_buffer_print(out, "null");
        return;
    }
    switch (option->kind) {
    case KM_INT:
        km_buffer_print(out, "%lld", (long long)*(const int64_t *)value);
        break;
    case KM_RATIO:
        if (*(const double *)value == 0) {
            km_buffer_print(out, "\"partition\"");
            break;
        }
        /* fall through */
    case KM_DOUBLE:
        print_number(out, *(const double *)value);
        break;
    case KM_FLAG:
        km_buffer_print(out, *(const bool *)value ? "true" : "false");
        break;
    case KM_FILE:
    case KM_CHOICE:
        print_string(out, value);
        break;
    case KM_EVERY:
        print_steps(out, value);
        break;
    case KM_NUMBER_LIST:
        print_numbers(out, value);
        break;
    case KM_DOUBLE_LIST:
        print_doubles(out, value);
        break;
    case KM_TEXT_LIST:
        print_texts(out, value);
        break;
    }
}

bool km_steps_has(const km_steps *steps, int64_t step) {
    if (steps->every > 0) {
        return step > 0 && step % steps->every == 0;
    }
    for (int i = 0; i < steps->count; i++) {
        if (steps->list[i] == step) {
            return true;
        }
    }
    return false;
}
