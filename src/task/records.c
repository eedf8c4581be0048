/* records: labelled texts from TSV, CSV and JSONL files. TSV and CSV are cut into fields in the text that was read. */
#include "records.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kmask/input.h"

enum { MOST_COLUMNS = 4096, ROLES = KM_COUNT(((km_columns *)NULL)->text) + 2 };
static const size_t LONGEST_FILE = (size_t)1 << 40;

/* ---- Records ---- */

char *km_records_keep(km_records *records, char *text) {
    records->texts = km_grow(records->texts, records->text_count + 1, sizeof *records->texts);
    records->texts[records->text_count++] = text;
    return text;
}

km_status km_records_add(km_records *records, const km_record *record) {
    const char *texts[] = {record->text, record->pair};
    for (size_t i = 0; i < KM_COUNT(texts); i++) {
        const size_t length = texts[i] != NULL ? strlen(texts[i]) : 0;
        if (length > KM_LONGEST_TEXT) {
            return km_fail(KM_FAILED, "%s: line %llu: a text of %zu bytes, expected at most %d.", record->path,
                           (unsigned long long)record->line, length, KM_LONGEST_TEXT);
        }
    }
    if (records->count == records->capacity) {
        records->capacity = KM_MAX(64, 2 * records->capacity);
        records->items = km_grow(records->items, records->capacity, sizeof *records->items);
    }
    records->items[records->count++] = *record;
    return KM_OK;
}

void km_records_free(km_records *records) {
    for (size_t i = 0; i < records->text_count; i++) {
        free(records->texts[i]);
    }
    free(records->texts);
    free(records->items);
    *records = (km_records){0};
}

km_table_form km_table_form_of(const char *path) {
    static const struct {
        const char *ending;
        km_table_form form;
    } endings[] = {{".csv", KM_TABLE_CSV},
                   {".jsonl", KM_TABLE_JSONL},
                   {".ndjson", KM_TABLE_JSONL},
                   {".json", KM_TABLE_JSONL},
                   {".xml", KM_TABLE_XML}};
    size_t length = strlen(path);
    length -= length > 3 && strcmp(path + length - 3, ".gz") == 0 ? 3 : 0;
    for (size_t i = 0; i < KM_COUNT(endings); i++) {
        const size_t tail = strlen(endings[i].ending);
        if (length > tail && strncmp(path + length - tail, endings[i].ending, tail) == 0) {
            return endings[i].form;
        }
    }
    return KM_TABLE_TSV;
}

/* ---- Rows of TSV and CSV ---- */

typedef struct table {
    const char *path;
    char *at, *end;
    bool csv;
    uint64_t line;      /* of the row that was read last */
    uint64_t next_line; /* of `at` */
    char **fields;      /* (count) of that row, each with a NUL */
    int count, expected;
} table;

static km_status add_field(table *t, char *field) {
    if (t->count == MOST_COLUMNS) {
        return km_fail(KM_FAILED, "%s: line %llu: more than %d columns.", t->path, (unsigned long long)t->line,
                       MOST_COLUMNS);
    }
    t->fields[t->count++] = field;
    return KM_OK;
}

/* A tab separates, and a quote is a character like any other, as GLUE has it. */
static km_status read_tsv_row(table *t) {
    char *end = memchr(t->at, '\n', (size_t)(t->end - t->at));
    char *next = end != NULL ? end + 1 : t->end;
    end = end != NULL ? end : t->end;
    end -= end > t->at && end[-1] == '\r';
    *end = '\0';
    t->next_line++;
    for (char *field = t->at; field != NULL;) {
        char *tab = memchr(field, '\t', (size_t)(end - field));
        if (tab != NULL) {
            *tab = '\0';
        }
        KM_TRY(add_field(t, field));
        field = tab != NULL ? tab + 1 : NULL;
    }
    t->at = next;
    return KM_OK;
}

/* A field in double quotes, written over itself without them; t->at is then behind the closing quote. */
static km_status read_quoted(table *t, char **field) {
    char *to = t->at, *from = t->at + 1;
    *field = to;
    for (; from < t->end; from++) {
        if (*from == '"' && from + 1 < t->end && from[1] == '"') {
            from++;
        } else if (*from == '"') {
            t->at = from + 1;
            *to = '\0';
            return KM_OK;
        }
        t->next_line += *from == '\n';
        *to++ = *from;
    }
    return km_fail(KM_FAILED, "%s: line %llu: a quoted field does not end, expected a closing \".", t->path,
                   (unsigned long long)t->line);
}

static km_status read_csv_field(table *t, char **field, bool *last) {
    char *close = NULL;
    if (t->at < t->end && *t->at == '"') {
        KM_TRY(read_quoted(t, field));
    } else {
        *field = t->at;
        t->at += strcspn(t->at, ",\n");
    }
    close = t->at;
    t->at += t->at < t->end && *t->at == '\r' && t->at + 1 < t->end && t->at[1] == '\n';
    if (t->at < t->end && *t->at != ',' && *t->at != '\n') {
        return km_fail(KM_FAILED,
                       "%s: line %llu: found %.10s behind a closing \", expected a comma or the line's end.",
                       t->path, (unsigned long long)t->line, t->at);
    }
    *last = t->at >= t->end || *t->at == '\n';
    t->next_line += *last;
    close -= *last && close > *field && close[-1] == '\r' && *close != '\0';
    t->at += t->at < t->end;
    *close = '\0';
    return KM_OK;
}

static km_status read_csv_row(table *t) {
    for (bool last = false; !last;) {
        char *field = NULL;
        KM_TRY(read_csv_field(t, &field, &last));
        KM_TRY(add_field(t, field));
    }
    return KM_OK;
}

/* count 0 at the end. Empty lines at the end of the file are no rows. */
static km_status read_row(table *t) {
    t->count = 0;
    while (t->at < t->end && (*t->at == '\n' || (*t->at == '\r' && t->at[1] == '\n')) &&
           strspn(t->at, "\r\n") == (size_t)(t->end - t->at)) {
        t->at = t->end;
    }
    t->line = t->next_line;
    return t->at >= t->end ? KM_OK : t->csv ? read_csv_row(t) : read_tsv_row(t);
}

/* ---- Which column is what ---- */

/* The roles of columns: the texts to be joined, the pair, the label; -1: none. */
typedef struct roles {
    int text[KM_COUNT(((km_columns *)NULL)->text)], pair, label;
    int texts;
} roles;

static km_status no_column(const table *t, const char *name, bool header) {
    km_buffer names = {0};
    for (int i = 0; header && i < t->count && names.size < 300; i++) {
        km_buffer_print(&names, "%s%.60s", i > 0 ? ", " : "", t->fields[i]);
    }
    km_status status =
        header
            ? km_fail(KM_FAILED, "%s: line %llu: no column `%s`, expected one of: %s.", t->path,
                      (unsigned long long)t->line, name, names.data != NULL ? names.data : "")
            : km_fail(KM_FAILED, "%s: line %llu: no column `%s`: without a header, expected a number from 1 to %d.",
                      t->path, (unsigned long long)t->line, name, t->count);
    km_buffer_free(&names);
    return status;
}

/* A name of the header wins over a number. -1: none. */
static int find_column(const table *t, const char *name, bool header) {
    for (int i = 0; header && i < t->count; i++) {
        if (strcmp(t->fields[i], name) == 0) {
            return i;
        }
    }
    char *end = NULL;
    const long number = isdigit((unsigned char)name[0]) ? strtol(name, &end, 10) : 0;
    return number >= 1 && *end == '\0' && number <= t->count ? (int)number - 1 : -1;
}

static km_status find_roles(roles *out, const table *t, const km_columns *columns) {
    *out = (roles){.pair = -1, .label = -1};
    for (; columns->text[out->texts] != NULL; out->texts++) {
        out->text[out->texts] = find_column(t, columns->text[out->texts], columns->header);
        if (out->text[out->texts] < 0) {
            return no_column(t, columns->text[out->texts], columns->header);
        }
    }
    if (columns->pair != NULL && columns->pair[0] != '\0') {
        out->pair = find_column(t, columns->pair, columns->header);
        if (out->pair < 0) {
            return no_column(t, columns->pair, columns->header);
        }
    }
    if (columns->label != NULL) {
        out->label = find_column(t, columns->label, columns->header);
        if (out->label < 0 && !columns->label_may_lack) {
            return no_column(t, columns->label, columns->header);
        }
    }
    return KM_OK;
}

static const char *join(km_records *records, const table *t, const roles *r) {
    if (r->texts == 1) {
        return t->fields[r->text[0]];
    }
    km_buffer text = {0};
    for (int i = 0; i < r->texts; i++) {
        km_buffer_print(&text, "%s%s", i > 0 ? " " : "", t->fields[r->text[i]]);
    }
    return km_records_keep(records, text.data);
}

static km_status add_row(km_records *records, const table *t, const roles *r) {
    const km_record record = {.text = join(records, t, r),
                              .pair = r->pair >= 0 ? t->fields[r->pair] : NULL,
                              .label = r->label >= 0 ? t->fields[r->label] : NULL,
                              .path = t->path,
                              .line = t->line};
    return km_records_add(records, &record);
}

static km_status read_rows(km_records *records, table *t, const km_columns *columns) {
    roles r;
    uint64_t skipped = 0;
    KM_TRY(read_row(t));
    KM_TRY(find_roles(&r, t, columns));
    t->expected = t->count;
    KM_TRY(columns->header ? read_row(t) : KM_OK);
    while (t->count > 0) {
        if (t->count < t->expected && columns->skip_short) {
            skipped++;
        } else if (t->count != t->expected) {
            return km_fail(KM_FAILED, "%s: line %llu: %d columns, expected %d as in line 1.", t->path,
                           (unsigned long long)t->line, t->count, t->expected);
        } else {
            KM_TRY(add_row(records, t, &r));
        }
        KM_TRY(read_row(t));
    }
    if (skipped > 0) {
        km_warn("%s: %llu lines with too few columns are left out", t->path, (unsigned long long)skipped);
    }
    return KM_OK;
}

static km_status read_table(km_records *records, const char *path, char *text, size_t size,
                            const km_columns *columns) {
    table t = {.path = path, .at = text, .end = text + size, .csv = km_table_form_of(path) == KM_TABLE_CSV};
    t.next_line = 1;
    t.fields = km_new(MOST_COLUMNS, sizeof *t.fields);
    km_status status = read_rows(records, &t, columns);
    free(t.fields);
    return status;
}

/* ---- JSONL ---- */

/* A key's value as text; NULL where there is none or it is a list or an object. */
static const char *value_text(km_records *records, const km_json *object, const char *key) {
    const km_json *value = km_json_get(object, key);
    double number = 0;
    bool flag = false;
    if (km_json_string(value) != NULL) {
        return km_records_keep(records, km_strdup(km_json_string(value)));
    }
    if (km_json_boolean(&flag, value)) {
        return flag ? "true" : "false";
    }
    return km_json_number(&number, value) ? km_records_keep(records, km_json_print(value, false)) : NULL;
}

static km_status find_value(const char **out, km_records *records, const km_json *object, const char *key,
                            const km_record *place) {
    *out = value_text(records, object, key);
    return *out != NULL ? KM_OK
                        : km_fail(KM_FAILED, "%s: line %llu: no text or number under the key \"%s\".", place->path,
                                  (unsigned long long)place->line, key);
}

static km_status add_object(km_records *records, const km_json *object, const km_columns *columns,
                            km_record *record) {
    km_buffer text = {0};
    km_status status = KM_OK;
    for (int i = 0; columns->text[i] != NULL && status == KM_OK; i++) {
        const char *part = NULL;
        status = find_value(&part, records, object, columns->text[i], record);
        if (status == KM_OK) {
            km_buffer_print(&text, "%s%s", i > 0 ? " " : "", part);
        }
    }
    record->text = km_records_keep(records, text.data);
    if (status == KM_OK && columns->pair != NULL && columns->pair[0] != '\0') {
        status = find_value(&record->pair, records, object, columns->pair, record);
    }
    const bool lacks =
        columns->label != NULL && columns->label_may_lack && km_json_get(object, columns->label) == NULL;
    if (status == KM_OK && columns->label != NULL && !lacks) {
        status = find_value(&record->label, records, object, columns->label, record);
    }
    return status == KM_OK ? km_records_add(records, record) : status;
}

static km_status add_line(km_records *records, const char *path, uint64_t line, const char *text, size_t count,
                          const km_columns *columns) {
    km_json *json = NULL;
    char *origin = km_format("%s: line %llu", path, (unsigned long long)line);
    km_record record = {.path = path, .line = line};
    km_status status = km_json_parse_record(&json, text, count, origin);
    if (status == KM_OK && !km_json_is_object(json)) {
        status = km_fail(KM_FAILED, "%s: not a JSON object, expected {\"%s\": ...}.", origin, columns->text[0]);
    }
    status = status == KM_OK ? add_object(records, json, columns, &record) : status;
    km_json_destroy(json);
    free(origin);
    return status;
}

static km_status read_jsonl(km_records *records, const char *path, const char *text, size_t size,
                            const km_columns *columns) {
    uint64_t line = 1;
    const char *at = text, *end = text + size;
    for (; at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        const size_t count = (size_t)(stop - at);
        if (strspn(at, " \t\r") < count) {
            KM_TRY(add_line(records, path, line, at, count, columns));
        }
        at = newline != NULL ? newline + 1 : end;
    }
    return KM_OK;
}

/* ---- Files ---- */

static km_status check_bytes(const char *path, const char *text, size_t size) {
    const char *nul = memchr(text, '\0', size);
    if (nul == NULL) {
        return KM_OK;
    }
    uint64_t line = 1;
    for (const char *at = text; at < nul; at++) {
        line += *at == '\n';
    }
    return km_fail(KM_FAILED, "%s: line %llu: a NUL byte, expected text in UTF-8.", path, (unsigned long long)line);
}

km_status km_records_read(km_records *out, const char *path, const km_columns *columns) {
    static const char mark[] = "\xEF\xBB\xBF";
    char *text = NULL;
    size_t size = 0;
    KM_TRY(km_text_read(&text, &size, path, LONGEST_FILE));
    km_records_keep(out, text);
    KM_TRY(check_bytes(path, text, size));
    const char *own = km_records_keep(out, km_strdup(path));
    const size_t skip = strncmp(text, mark, sizeof mark - 1) == 0 ? sizeof mark - 1 : 0;
    const km_table_form form = km_table_form_of(path);
    const size_t before = out->count;
    km_status status = strspn(text + skip, " \t\r\n") == size - skip ? KM_OK
                       : form == KM_TABLE_JSONL ? read_jsonl(out, own, text + skip, size - skip, columns)
                       : form == KM_TABLE_XML   ? km_records_read_xml(out, own, text + skip, columns)
                                                : read_table(out, own, text + skip, size - skip, columns);
    if (status == KM_OK && out->count == before) {
        status = km_fail(KM_FAILED, "%s: holds no examples, expected one a line%s.", path,
                         form < KM_TABLE_JSONL && columns->header ? " below the header" : "");
    }
    return status;
}
