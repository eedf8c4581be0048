/* Rows of CSV and TSV, read line by line. */
#include <stdlib.h>
#include <string.h>

#include "kmask/input.h"

struct km_table {
    km_lines *lines;
    const char *name;
    char separator;
    bool quotes;
    size_t limit;

    char **wanted; /* (columns) their names, and */
    int *places;   /* where they stand in a row; -1: not yet found */
    int columns;

    km_buffer row;  /* the fields of a row, each with a NUL */
    size_t *fields; /* (count) where they begin in it */
    int count, capacity;
    const char **values;   /* (columns) */
    uint64_t line, number; /* of the row; of the last line that was read */
};

/* ---- A row ---- */

static void begin_field(km_table *t) {
    if (t->count == t->capacity) {
        t->capacity = 2 * t->capacity + 16;
        t->fields = km_grow(t->fields, (size_t)t->capacity, sizeof *t->fields);
    }
    t->fields[t->count++] = t->row.size;
}

/* Takes one line; *quoted: whether a quoted field goes on behind its end. A quote counts where a field begins, as in Python's csv
 * module; behind the closing quote, text up to the separator belongs to the field. */
static void take_line(km_table *t, const char *text, size_t count, bool *quoted) {
    bool begins = !*quoted; /* a field begins here */
    if (begins) {
        begin_field(t);
    }
    for (size_t i = 0; i < count; i++) {
        const char c = text[i];
        const bool doubled = *quoted && c == '"' && i + 1 < count && text[i + 1] == '"';
        i += doubled ? 1 : 0; /* a doubled quote stands for one */
        if (!*quoted && c == t->separator) {
            km_buffer_add(&t->row, "\0", 1);
            begin_field(t);
            begins = true;
            continue;
        }
        if (c == '"' && !doubled && (*quoted || (t->quotes && begins))) {
            *quoted = !*quoted;
        } else if (*quoted || c != '\r' || i + 1 != count) {
            km_buffer_add(&t->row, &c, 1);
        }
        begins = false;
    }
    km_buffer_add(&t->row, *quoted ? "\n" : "\0", 1);
}

/* Reads a row that is not blank; count 0 at the end. */
static km_status read_row(km_table *t) {
    bool quoted = false;
    t->row.size = 0;
    t->count = 0;
    for (;;) {
        km_text_line line;
        KM_TRY(km_lines_next(t->lines, &line));
        if (line.text == NULL && !quoted) {
            return KM_OK;
        }
        if (line.text == NULL) {
            return km_fail(KM_FAILED, "%s:%llu: a quoted field does not end, expected a closing \".", t->name,
                           (unsigned long long)t->line);
        }
        if (!line.last || t->row.size + line.count > t->limit) {
            return km_fail(KM_FAILED, "%s:%llu: a row of more than %zu bytes%s", t->name,
                           (unsigned long long)(t->count > 0 ? t->line : line.number), t->limit,
                           quoted ? "; does a quoted field not end?" : "");
        }
        const bool mark = line.offset == 0 && line.count >= 3 && memcmp(line.text, "\xEF\xBB\xBF", 3) == 0;
        const char *text = line.text + (mark ? 3 : 0);
        const size_t count = line.count - (mark ? 3 : 0);
        if (!quoted && km_line_trim(text, count) == 0) {
            continue;
        }
        t->line = quoted ? t->line : line.number;
        take_line(t, text, count, &quoted);
        if (!quoted) {
            return KM_OK;
        }
    }
}

/* ---- The header ---- */

static bool find_columns(km_table *t) {
    bool all = true;
    for (int i = 0; i < t->columns; i++) {
        t->places[i] = -1;
        for (int field = 0; field < t->count; field++) {
            if (strcmp(t->row.data + t->fields[field], t->wanted[i]) == 0) {
                t->places[i] = field;
            }
        }
        all = all && t->places[i] >= 0;
    }
    return all;
}

static km_status no_column(const km_table *t) {
    km_buffer names = {0};
    int missing = 0;
    while (missing + 1 < t->columns && t->places[missing] >= 0) {
        missing++;
    }
    for (int i = 0; i < t->count && names.size < 300; i++) {
        km_buffer_print(&names, "%s%.60s", i > 0 ? ", " : "", t->row.data + t->fields[i]);
    }
    km_status status = km_fail(
        KM_FAILED,
        "%s:%llu: no column \"%s\"; the header has: %s. Choose with --field, or read the lines as "
        "they are with --format text.",
        t->name, (unsigned long long)t->line, t->wanted[missing], names.data != NULL ? names.data : "nothing");
    km_buffer_free(&names);
    return status;
}

/* The header is one line; it is cut by each separator in turn until all columns are there. */
static km_status read_header(km_table *t, const char *separators) {
    km_text_line line;
    do {
        KM_TRY(km_lines_next(t->lines, &line));
        if (line.text == NULL) {
            return km_fail(KM_FAILED, "%s: empty, expected a row with the names of columns", t->name);
        }
    } while (km_line_trim(line.text, line.count) == 0);
    t->line = line.number;
    const bool mark = line.offset == 0 && line.count >= 3 && memcmp(line.text, "\xEF\xBB\xBF", 3) == 0;
    for (const char *separator = separators;; separator++) {
        bool quoted = false;
        t->separator = separator[*separator == '\0' ? -(ptrdiff_t)strlen(separators) : 0];
        t->row.size = 0;
        t->count = 0;
        take_line(t, line.text + (mark ? 3 : 0), line.count - (mark ? 3 : 0), &quoted);
        if (find_columns(t)) {
            return KM_OK;
        }
        if (*separator == '\0') { /* named as the first separator has them */
            return no_column(t);
        }
    }
}

static void set_wanted(km_table *t, const char *columns) {
    for (const char *at = columns; *at != '\0';) {
        const size_t length = strcspn(at, ",");
        t->wanted = km_grow(t->wanted, (size_t)t->columns + 1, sizeof *t->wanted);
        t->wanted[t->columns++] = km_format("%.*s", (int)length, at);
        at += length + (at[length] == ',');
    }
    t->places = km_new((size_t)t->columns + 1, sizeof *t->places);
    t->values = km_new((size_t)t->columns + 1, sizeof *t->values);
}

km_status km_table_open(km_table **out, km_bytes *bytes, km_form form, const char *columns, size_t limit) {
    km_table *t = km_new(1, sizeof *t);
    t->lines = km_lines_create(bytes, 0, limit);
    t->name = km_bytes_name(bytes);
    t->limit = limit;
    t->quotes = form == KM_FORM_CSV;
    set_wanted(t, columns);
    km_status status = read_header(t, t->quotes ? ",;\t|" : "\t");
    if (status != KM_OK) {
        km_table_close(t);
        t = NULL;
    }
    *out = t;
    return status;
}

void km_table_close(km_table *table) {
    if (table == NULL) {
        return;
    }
    for (int i = 0; i < table->columns; i++) {
        free(table->wanted[i]);
    }
    free(table->wanted);
    free(table->places);
    free(table->values);
    free(table->fields);
    km_buffer_free(&table->row);
    km_lines_destroy(table->lines);
    free(table);
}

km_status km_table_next(km_table *table, const char *const **values) {
    *values = NULL;
    KM_TRY(read_row(table));
    if (table->count == 0) {
        return KM_OK;
    }
    for (int i = 0; i < table->columns; i++) {
        const int place = table->places[i];
        table->values[i] = place < table->count ? table->row.data + table->fields[place] : NULL;
    }
    *values = table->values;
    return KM_OK;
}

int km_table_columns(const km_table *table) {
    return table->columns;
}

uint64_t km_table_line(const km_table *table) {
    return table->line;
}

uint64_t km_table_taken(const km_table *table) {
    return km_lines_taken(table->lines);
}
