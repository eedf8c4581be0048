/* json: JSON by cJSON, with positions in messages, a limit on nesting, and checks that cJSON does not make. */
#include "json_fault.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH = 100,
    MOST_VALUES = 1 << 23,       /* of a whole file: each takes about a hundred bytes of memory */
    MOST_RECORD_VALUES = 3 << 20 /* of one record: about 300 MB */
};

/* What a text asks of a parser: the offset in bytes of the first place that is nested deeper than DEPTH (the text's length where
 * there is none), and an upper bound of the number of its values: each one follows a comma or an opening bracket. */
typedef struct extent {
    size_t deep, values;
} extent;

static extent measure(const char *text, size_t count) {
    extent e = {count, 1};
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < count; i++) {
        const char c = text[i];
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
        } else if (c == '[' || c == '{') {
            e.values++;
            if (++depth > DEPTH && e.deep == count) {
                e.deep = i;
            }
        } else {
            quoted = c == '"';
            e.values += c == ',';
            depth -= c == ']' || c == '}';
        }
    }
    return e;
}

size_t km_json_values(const char *text, size_t count) {
    return measure(text, count).values;
}

static km_status fail_at(const char *text, size_t at, const char *origin, const char *what) {
    int line = 1, column = 1;
    for (size_t i = 0; i < at && text[i] != '\0'; i++) {
        column =
            text[i] == '\n' ? 1 : column + ((unsigned char)(text[i] & 0xC0) != 0x80); /* characters, not bytes */
        line += text[i] == '\n';
    }
    return km_fail(KM_FAILED, "%s: line %d, column %d: %s", origin, line, column, what);
}

static km_status parse(km_json **out, const char *text, size_t count, const char *origin, size_t most_values) {
    *out = NULL;
    if (count == 0) {
        return km_fail(KM_FAILED, "%s: empty, expected JSON", origin);
    }
    const char *nul = memchr(text, '\0', count);
    if (nul != NULL) {
        return fail_at(text, (size_t)(nul - text), origin, "a NUL byte, expected JSON text");
    }
    const extent e = measure(text, count);
    if (e.deep < count) {
        return fail_at(text, e.deep, origin, "nested deeper than 100 levels");
    }
    if (e.values > most_values) {
        return km_fail(
            KM_FAILED,
            "%s: %zu values (numbers, texts, lists), expected at most %zu, since each takes a hundred bytes "
            "of memory; cut it in several",
            origin, e.values, most_values);
    }
    /* cJSON detects text after the value only in a text that ends in NUL. */
    char *copy = km_new(count + 1, 1);
    memcpy(copy, text, count);
    const char *end = copy;
    *out = cJSON_ParseWithLengthOpts(copy, count + 1, &end, 1);
    size_t at = end == NULL ? 0 : (size_t)(end - copy);
    free(copy);
    if (*out != NULL) {
        return KM_OK;
    }
    const char *what = NULL;
    size_t fault = km_json_fault(&what, text, count);
    if (what == NULL) {
        return fail_at(text, KM_MIN(at, count), origin, "not valid JSON from here on");
    }
    char *sentence = km_format("not valid JSON: %s", what);
    km_status status = fail_at(text, fault, origin, sentence);
    free(sentence);
    return status;
}

km_status km_json_parse(km_json **out, const char *text, size_t count, const char *origin) {
    return parse(out, text, count, origin, MOST_VALUES);
}

/* ---- Records, as Python reads them ---- */

/* The code unit of an escape \uXXXX at `text`, of which `count` bytes are there; -1 for anything else. */
static int unit_of(const char *text, size_t count) {
    int unit = 0;
    if (count < 6 || text[0] != '\\' || text[1] != 'u') {
        return -1;
    }
    for (int i = 2; i < 6; i++) {
        const char c = text[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

static bool is_high(int unit) {
    return unit >= 0xD800 && unit < 0xDC00;
}

static bool is_low(int unit) {
    return unit >= 0xDC00 && unit < 0xE000;
}

/* Copies an escape of a string, mended, from text[0] to the buffer; returns its length. */
static size_t mend_escape(char *to, size_t *put, const char *text, size_t count) {
    const int unit = unit_of(text, count);
    size_t length = unit < 0 ? KM_MIN(count, (size_t)2) : 6;
    if (is_high(unit) && is_low(unit_of(text + length, count - length))) {
        length += 6;
    }
    memcpy(to, text, length);
    if (length == 6 && (unit == 0 || is_high(unit) || is_low(unit))) {
        memcpy(to + 2, unit == 0 ? "0020" : "FFFD", 4);
    }
    *put = length;
    return length;
}

/* The length of a number that JSON does not have, at text[0]; 0 for anything else. */
static size_t odd_number(const char *text, size_t count) {
    static const char *const words[] = {"NaN", "-Infinity", "Infinity"};
    for (size_t i = 0; i < KM_COUNT(words); i++) {
        const size_t length = strlen(words[i]);
        if (count >= length && memcmp(text, words[i], length) == 0) {
            return length;
        }
    }
    return 0;
}

/* A mended copy, of at most 4/3 of the text's length. */
static char *mend_record(const char *text, size_t count, size_t *size) {
    char *copy = km_new(count + count / 3 + 8, 1);
    bool quoted = false;
    *size = 0;
    for (size_t i = 0; i < count;) {
        size_t put = 0;
        const size_t odd = quoted ? 0 : odd_number(text + i, count - i);
        if (quoted && text[i] == '\\') {
            i += mend_escape(copy + *size, &put, text + i, count - i);
        } else if (odd > 0) {
            memcpy(copy + *size, "null", 4);
            put = 4;
            i += odd;
        } else {
            quoted = quoted != (text[i] == '"');
            copy[*size] = text[i++];
            put = 1;
        }
        *size += put;
    }
    return copy;
}

km_status km_json_parse_record(km_json **out, const char *text, size_t count, const char *origin) {
    if (memchr(text, '\\', count) == NULL && memchr(text, 'N', count) == NULL && memchr(text, 'I', count) == NULL) {
        return parse(out, text, count, origin, MOST_RECORD_VALUES);
    }
    size_t size = 0;
    char *copy = mend_record(text, count, &size);
    km_status status = parse(out, copy, size, origin, MOST_RECORD_VALUES);
    free(copy);
    return status;
}

/* ---- Numbers with a point ---- */

/* Returns the next number in the text that is not part of a string, and moves *at behind it; NULL at the end. */
static const char *next_number(const char **at, size_t *length) {
    const char *c = *at;
    while (*c != '\0' && *c != '-' && (*c < '0' || *c > '9')) {
        if (*c == '"') { /* to the closing quote */
            for (c++; *c != '"' && *c != '\0'; c++) {
                c += *c == '\\' && c[1] != '\0';
            }
        }
        c += *c != '\0';
    }
    *length = strspn(c, "+-.0123456789eE");
    *at = c + *length;
    return *length > 0 ? c : NULL;
}

/* A whole number that was written with a point or an exponent keeps a text of its own; cJSON has no other use for it in numbers. */
static void keep_decimals(km_json *item, const char **at) {
    size_t length = 0;
    if (cJSON_IsNumber(item)) {
        const char *text = next_number(at, &length);
        const double most = 1e15;
        if (text != NULL && strcspn(text, ".eE") < length && item->valuedouble == floor(item->valuedouble) &&
            fabs(item->valuedouble) < most) {
            item->valuestring = km_format("%.1f", item->valuedouble);
        }
    }
    for (km_json *child = item->child; child != NULL; child = child->next) {
        keep_decimals(child, at);
    }
}

km_status km_json_parse_decimals(km_json **out, const char *text, size_t count, const char *origin) {
    KM_TRY(km_json_parse(out, text, count, origin));
    char *copy = km_new(count + 1, 1);
    memcpy(copy, text, count);
    const char *at = copy;
    keep_decimals(*out, &at);
    free(copy);
    return KM_OK;
}

km_status km_json_load(km_json **out, const char *path, size_t limit) {
    char *text = NULL;
    size_t count = 0;
    *out = NULL;
    KM_TRY(km_file_read(&text, &count, path, limit));
    km_status status = km_json_parse(out, text, count, path);
    free(text);
    return status;
}

void km_json_destroy(km_json *json) {
    cJSON_Delete(json);
}

const km_json *km_json_get(const km_json *object, const char *key) {
    const km_json *found = NULL;
    for (const km_json *item = cJSON_IsObject(object) ? object->child : NULL; item != NULL; item = item->next) {
        found = item->string != NULL && strcmp(item->string, key) == 0 ? item : found;
    }
    return found;
}

const km_json *km_json_at(const km_json *array, size_t index) {
    const km_json *item = km_json_first(array);
    while (item != NULL && index-- > 0) {
        item = item->next;
    }
    return item;
}

const km_json *km_json_first(const km_json *container) {
    return cJSON_IsArray(container) || cJSON_IsObject(container) ? container->child : NULL;
}

const km_json *km_json_next(const km_json *element) {
    return element == NULL ? NULL : element->next;
}

const char *km_json_key(const km_json *member) {
    return member == NULL ? NULL : member->string;
}

size_t km_json_size(const km_json *container) {
    size_t size = 0;
    for (const km_json *item = km_json_first(container); item != NULL; item = item->next) {
        size++;
    }
    return size;
}

bool km_json_is_object(const km_json *json) {
    return cJSON_IsObject(json);
}

bool km_json_is_array(const km_json *json) {
    return cJSON_IsArray(json);
}

bool km_json_is_null(const km_json *json) {
    return cJSON_IsNull(json);
}

const char *km_json_string(const km_json *json) {
    return cJSON_IsString(json) ? json->valuestring : NULL;
}

bool km_json_number(double *out, const km_json *json) {
    if (!cJSON_IsNumber(json)) {
        return false;
    }
    *out = json->valuedouble;
    return true;
}

bool km_json_boolean(bool *out, const km_json *json) {
    if (!cJSON_IsBool(json)) {
        return false;
    }
    *out = cJSON_IsTrue(json);
    return true;
}

double km_json_number_or(const km_json *object, const char *key, double absent) {
    double value = absent;
    return km_json_number(&value, km_json_get(object, key)) ? value : absent;
}

const char *km_json_text(const km_json *object, const char *key) {
    const char *text = km_json_string(km_json_get(object, key));
    return text != NULL ? text : "";
}

/* Ends the process where cJSON could not make an item: it returns NULL only when there is no memory. */
static cJSON *or_exit(cJSON *item) {
    if (item == NULL) {
        fputs("kmask: out of memory for JSON.\n", stderr);
        _Exit(KM_FAILED);
    }
    return item;
}

static cJSON *number(double value) {
    return or_exit(isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

km_json *km_json_object(void) {
    return or_exit(cJSON_CreateObject());
}

km_json *km_json_array(void) {
    return or_exit(cJSON_CreateArray());
}

void km_json_set(km_json *object, const char *key, km_json *value) {
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    cJSON_AddItemToObject(object, key, value);
}

void km_json_set_number(km_json *object, const char *key, double value) {
    km_json_set(object, key, number(value));
}

void km_json_set_decimal(km_json *object, const char *key, double value) {
    km_json *json = number(value);
    if (cJSON_IsNumber(json) && value == floor(value)) {
        json->valuestring = km_format("%.1f", value);
    }
    km_json_set(object, key, json);
}

void km_json_set_string(km_json *object, const char *key, const char *value) {
    km_json_set(object, key, or_exit(cJSON_CreateString(value)));
}

void km_json_set_boolean(km_json *object, const char *key, bool value) {
    km_json_set(object, key, or_exit(cJSON_CreateBool(value)));
}

void km_json_push(km_json *array, km_json *value) {
    cJSON_AddItemToArray(array, value);
}

void km_json_push_number(km_json *array, double value) {
    km_json_push(array, number(value));
}

void km_json_push_string(km_json *array, const char *value) {
    km_json_push(array, or_exit(cJSON_CreateString(value)));
}

/* Numbers with a text of their own are printed as that text, which cJSON does with what is of another type. */
static void show_decimals(km_json *item, int from, int to) {
    if ((item->type & 0xFF) == from && item->valuestring != NULL) {
        item->type = (item->type & ~0xFF) | to;
    }
    for (km_json *child = item->child; child != NULL; child = child->next) {
        show_decimals(child, from, to);
    }
}

char *km_json_print(const km_json *json, bool indented) {
    km_json *own = (km_json *)(uintptr_t)json; /* as it was when this returns */
    show_decimals(own, cJSON_Number, cJSON_Raw);
    char *text = indented ? cJSON_Print(json) : cJSON_PrintUnformatted(json);
    show_decimals(own, cJSON_Raw, cJSON_Number);
    if (text == NULL) {
        fputs("kmask: out of memory for JSON.\n", stderr);
        _Exit(KM_FAILED);
    }
    return text;
}
