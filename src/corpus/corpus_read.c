/* Reading text into documents: plain text by its blank lines, lines or files, and JSONL by its records. */
#include "corpus_read.h"

#include <stdlib.h>
#include <string.h>

enum { PROGRESS_STEP = 1 << 18 };

static const char *without_byte_order_mark(const km_text_line *line, size_t *count) {
    bool mark = line->offset == 0 && line->count >= 3 && memcmp(line->text, "\xEF\xBB\xBF", 3) == 0;
    *count = line->count - (mark ? 3 : 0);
    return line->text + (mark ? 3 : 0);
}

static bool is_blank(const km_text_line *line) {
    return line->first && line->last && km_line_trim(line->text, line->count) == 0;
}

static void show_progress(km_reading *reading, const km_lines *lines, uint64_t begin) {
    const uint64_t position = reading->texts != NULL ? km_contents_position(reading->texts)
                              : lines != NULL        ? begin + km_lines_taken(lines)
                                                     : begin;
    const uint64_t done = reading->read + (position > begin ? position - begin : 0);
    if (reading->progress != NULL && done - reading->shown >= PROGRESS_STEP) {
        char tokens[32];
        reading->shown = done;
        if (reading->spill != NULL) {
            km_progress_update(
                reading->progress, done, "%s tokens",
                km_quantity(tokens, (double)km_spill_count(reading->spill, SPILL_TRAIN, SPILL_TOKENS)));
        } else {
            km_progress_update(reading->progress, done, "%s", reading->name);
        }
    }
}

static km_status count_line(km_reading *reading, const km_input_piece *piece, const km_text_line *line,
                            bool *skip) {
    return km_reading_count_bytes(reading, piece, line->text, line->count, line->number, skip);
}

/* ---- A place in a plain file ---- */

/* Goes to the first line that begins in a piece. `inside`: a document of the piece before goes on there. */
static km_status enter_piece(const km_reading *reading, const km_input_piece *piece, km_lines *lines, size_t limit,
                             bool *inside) {
    const km_input *input = &reading->inputs->files[piece->file];
    *inside = false;
    if (piece->begin == 0) {
        return KM_OK;
    }
    km_text_line line = {0};
    uint64_t next = 0;
    do {
        KM_TRY(km_lines_next(lines, &line));
        next = line.offset + line.count + (line.last ? 1 : 0);
    } while (line.text != NULL && !line.last && next < piece->end);
    if (line.text != NULL && next < piece->end && input->form == KM_FORM_TEXT &&
        reading->document == KM_DOCUMENT_BLANK) {
        bool blank = false;
        KM_TRY(km_input_blank_before(&blank, input, next, limit));
        *inside = !blank;
    }
    return KM_OK;
}

/* ---- Lines and documents ---- */

/* The spans in bytes begin..begin+count-1 of a text, as spans of that line. *next is the first span that may lie behind the line. */
static const km_spans *spans_of_line(km_spans *out, const km_spans *spans, size_t *next, size_t begin,
                                     size_t count) {
    out->count = 0;
    for (size_t i = *next; i < spans->count && spans->spans[i].begin < begin + count; i++) {
        const km_span *span = &spans->spans[i];
        size_t from = KM_MAX(span->begin, begin), to = KM_MIN(span->end, begin + count);
        if (to > from) {
            km_spans_add(out, from - begin, to - begin, span->kind);
        }
        *next = span->end <= begin + count ? i + 1 : i;
    }
    return out;
}

/* Ends a paragraph where one of the block ends at byte `at` or before. */
static km_status spill_breaks(km_reading *reading, size_t *next, size_t at) {
    size_t place = 0;
    bool any = false;
    for (; *next < reading->block_breaks.size; *next += sizeof place) {
        memcpy(&place, reading->block_breaks.data + *next, sizeof place);
        if (place > at) {
            break;
        }
        any = true;
    }
    return any ? km_spill_line(reading->spill, "", 0, NULL, NULL) : KM_OK;
}

/* Finds the spans of the block's lines, and spills the lines. */
static km_status spill_block(km_reading *reading) {
    const char *text = reading->block.data;
    const size_t size = reading->block.size;
    size_t next = 0, next_tag = 0, next_break = 0;
    reading->found.count = 0;
    if (size > 0) {
        km_find_spans(text, size, &reading->found);
    }
    for (size_t at = 0; at < size;) {
        const char *newline = memchr(text + at, '\n', size - at);
        size_t count = (size_t)(newline - text) - at;
        const km_spans *spans = spans_of_line(&reading->line_spans, &reading->found, &next, at, count);
        const km_spans *tags = spans_of_line(&reading->found_tags, &reading->block_tags, &next_tag, at, count);
        KM_TRY(spill_breaks(reading, &next_break, at));
        KM_TRY(km_spill_line(reading->spill, text + at, count, spans, tags));
        at += count + 1;
    }
    KM_TRY(spill_breaks(reading, &next_break, size));
    reading->block.size = reading->block_breaks.size = 0;
    reading->block_tags.count = 0;
    return KM_OK;
}

/* Takes a line without given spans. Where spans are to be found, the line joins the block until its document ends or a mebibyte of
 * text is there: what is a name depends on the lines around it, and must not depend on how files are cut into pieces. */
static km_status take_line(km_reading *reading, const char *text, size_t count, const km_spans *tags) {
    if (reading->spill == NULL) {
        return reading->take(reading->context, text, count);
    }
    if (reading->spans != KM_SPANS_FIND) {
        return km_spill_line(reading->spill, text, count, NULL, tags);
    }
    if (reading->block.size + count >= KM_FIND_LIMIT) {
        KM_TRY(spill_block(reading));
    }
    for (size_t i = 0; tags != NULL && i < tags->count; i++) {
        const km_span *tag = &tags->spans[i];
        const size_t before = reading->block.size;
        km_spans_add(&reading->block_tags, before + tag->begin, before + tag->end, tag->kind);
    }
    km_buffer_add(&reading->block, text, count);
    km_buffer_add(&reading->block, "\n", 1);
    return KM_OK;
}

/* A blank line inside a document. It is no line of the text, but ends a paragraph. In a block, where blank lines could change which spans
 * are found, it is only noted. */
static km_status end_paragraph(km_reading *reading) {
    if (reading->spill == NULL || km_spill_joins(reading->spill) || reading->spans != KM_SPANS_FIND) {
        return take_line(reading, "", 0, NULL);
    }
    km_buffer_add(&reading->block_breaks, &reading->block.size, sizeof reading->block.size);
    return KM_OK;
}

static km_status end_document(km_reading *reading) {
    if (reading->spill == NULL) {
        return reading->take(reading->context, NULL, 0);
    }
    KM_TRY(spill_block(reading));
    return km_spill_end_document(reading->spill);
}

/* ---- Plain text ---- */

static km_status read_plain(km_reading *reading, const km_input_piece *piece, km_lines *lines, bool inside) {
    bool open = reading->document == KM_DOCUMENT_FILE;
    for (;;) {
        km_text_line line;
        KM_TRY(km_lines_next(lines, &line));
        if (line.text == NULL || (!open && line.offset >= piece->end)) {
            break;
        }
        show_progress(reading, lines, piece->begin);
        bool blank = is_blank(&line);
        if (inside) {
            inside = !blank;
            continue;
        }
        bool ends = open && blank && reading->document == KM_DOCUMENT_BLANK;
        bool skip = false;
        KM_TRY(count_line(reading, piece, &line, &skip));
        if (!blank) {
            size_t count = 0;
            const char *text = without_byte_order_mark(&line, &count);
            reading->cut_lines += line.first && !line.last;
            KM_TRY(skip ? KM_OK : take_line(reading, text, count, NULL));
            ends = line.last && reading->document == KM_DOCUMENT_LINE;
            open = true;
        } else if (open && !ends) {
            KM_TRY(end_paragraph(reading));
        }
        if (ends) {
            KM_TRY(end_document(reading));
            open = false;
        }
    }
    return open ? end_document(reading) : KM_OK;
}

/* ---- WikiExtractor's documents ---- */

static bool begins_with(const km_text_line *line, const char *start) {
    size_t count = 0;
    const char *text = without_byte_order_mark(line, &count);
    const size_t length = strlen(start);
    return line->first && count >= length && memcmp(text, start, length) == 0;
}

/* A document reaches from its <doc ...> to the next one, so what stands between two documents is not lost. */
static km_status read_wiki(km_reading *reading, const km_input_piece *piece, km_lines *lines) {
    bool mine = false, open = false;
    for (;;) {
        km_text_line line;
        KM_TRY(km_lines_next(lines, &line));
        const bool begins = line.text != NULL && begins_with(&line, "<doc ");
        if (line.text == NULL || (line.offset >= piece->end && (begins || !mine))) {
            break;
        }
        show_progress(reading, lines, piece->begin);
        mine = mine || begins;
        if (!mine) {
            continue;
        }
        bool skip = false;
        KM_TRY(count_line(reading, piece, &line, &skip));
        if (begins || begins_with(&line, "</doc>")) {
            KM_TRY(open ? end_document(reading) : KM_OK);
            open = begins;
        } else if (is_blank(&line)) {
            KM_TRY(open ? end_paragraph(reading) : KM_OK);
        } else if (!skip) {
            reading->cut_lines += line.first && !line.last;
            KM_TRY(take_line(reading, line.text, line.count, NULL));
            open = true;
        }
    }
    return open ? end_document(reading) : KM_OK;
}

/* ---- Records ---- */

static void note_bad(km_reading *reading, const km_input_piece *piece, uint64_t line, const char *what) {
    reading->bad_records++;
    if (reading->bad == NULL) {
        reading->bad = km_strdup(what);
        reading->bad_name = km_strdup(reading->name);
        reading->bad_file = piece->file;
        reading->bad_begin = piece->begin > 0 ? piece->begin - 1 : 0;
        reading->bad_line = line;
    }
}

static const char *kind_of(const km_json *json) {
    double number = 0;
    return km_json_is_object(json)         ? "an object"
           : km_json_is_array(json)        ? "an array"
           : km_json_string(json) != NULL  ? "a string"
           : km_json_number(&number, json) ? "a number"
           : km_json_is_null(json)         ? "null"
                                           : "a boolean";
}

/* The value at "name" or "outer.inner"; NULL where there is none. */
static const km_json *find_field(const km_json *record, const char *path, size_t count) {
    char *name = km_format("%.*s", (int)count, path);
    const km_json *found = km_json_get(record, name);
    const char *dot = memchr(path, '.', count);
    if (found == NULL && dot != NULL) {
        name[dot - path] = '\0';
        const km_json *outer = km_json_get(record, name);
        found = outer == NULL ? NULL : find_field(outer, dot + 1, count - (size_t)(dot + 1 - path));
    }
    free(name);
    return found;
}

static char *describe_missing(const km_json *record, const char *field, size_t count, const km_json *found) {
    if (!km_json_is_object(record)) {
        return km_format("found %s, expected an object with field \"%.*s\"", kind_of(record), (int)count, field);
    }
    if (found != NULL) {
        return km_format("field \"%.*s\" is %s, expected a string or a list of strings", (int)count, field,
                         kind_of(found));
    }
    km_buffer names = {0};
    for (const km_json *m = km_json_first(record); m != NULL && names.size < 300; m = km_json_next(m)) {
        km_buffer_print(&names, "%s%.80s", names.size > 0 ? ", " : "", km_json_key(m));
    }
    char *text = km_format("no field \"%.*s\"; the record's fields are: %s (choose with --field)", (int)count,
                           field, names.size > 0 ? names.data : "none");
    km_buffer_free(&names);
    return text;
}

/* The list of entities or tags (`key`) that belongs to a field: of {"field": [...], ...} its own; a plain list is the first
 * field's. What is no list is added to *bad. */
static const km_json *find_list(const km_reading *reading, const km_json *record, const char *key,
                                const char *field, size_t count, uint64_t *bad) {
    const km_json *list = km_json_get(record, key);
    if (km_json_is_object(list)) {
        char *name = km_format("%.*s", (int)count, field);
        list = km_json_get(list, name);
        free(name);
    } else if (field != reading->field) {
        return NULL;
    }
    bool usable = list == NULL || km_json_is_array(list) || km_json_is_null(list);
    *bad += !usable;
    return km_json_is_array(list) ? list : NULL;
}

/* A field's value with its given spans and tags: its lines, cut like those of a file. A span over a line end becomes two. */
static km_status spill_value(km_reading *reading, const char *value, bool has_spans) {
    size_t next = 0, next_tag = 0;
    for (const char *at = value; *at != '\0';) {
        size_t count = strcspn(at, "\n");
        const char *after = at + count + (at[count] == '\n');
        reading->cut_lines += count > KM_LINE_LIMIT;
        KM_TRY(count == 0 ? end_paragraph(reading) : KM_OK);
        while (count > 0) {
            size_t part = count > KM_LINE_LIMIT ? km_line_cut(at, KM_LINE_LIMIT) : count;
            const size_t begin = (size_t)(at - value);
            const km_spans *tags = spans_of_line(&reading->line_tags, &reading->tags, &next_tag, begin, part);
            if (has_spans) {
                const km_spans *spans = spans_of_line(&reading->line_spans, &reading->given, &next, begin, part);
                KM_TRY(km_spill_line(reading->spill, at, part, spans, tags));
            } else {
                KM_TRY(take_line(reading, at, part, tags));
            }
            at += part;
            count -= part;
        }
        at = after;
    }
    return KM_OK;
}

/* Each field, and each string of a list, is a paragraph. */
static km_status take_value(km_reading *reading, const km_json *record, const char *field, size_t count,
                            const char *value) {
    KM_TRY(end_paragraph(reading));
    const km_json *entities = NULL;
    const km_json *tags = find_list(reading, record, "tags", field, count, &reading->bad_tags);
    if (reading->spans != KM_SPANS_NONE) {
        entities = find_list(reading, record, "entities", field, count, &reading->bad_spans);
    }
    reading->given.count = reading->tags.count = 0;
    if (tags != NULL) {
        KM_TRY(km_tags_read(tags, value, &reading->tag_names, &reading->tags, &reading->bad_tags));
    }
    if (entities != NULL) {
        KM_TRY(spill_block(reading));
        km_entities_read(entities, value, &reading->given, &reading->bad_spans);
    }
    return spill_value(reading, value, entities != NULL);
}

/* Whether a value is a string, or a list of strings, which are paragraphs. */
static bool is_text(const km_json *value) {
    bool all = km_json_string(value) != NULL || (km_json_is_array(value) && km_json_first(value) != NULL);
    for (const km_json *part = km_json_first(value); part != NULL; part = km_json_next(part)) {
        all = all && km_json_string(part) != NULL;
    }
    return all;
}

static km_status take_text(km_reading *reading, const km_json *record, const char *field, size_t count,
                           const km_json *value) {
    if (km_json_string(value) != NULL) {
        return take_value(reading, record, field, count, km_json_string(value));
    }
    reading->tags.count = 0;
    for (const km_json *part = km_json_first(value); part != NULL; part = km_json_next(part)) {
        KM_TRY(end_paragraph(reading));
        KM_TRY(spill_value(reading, km_json_string(part), false));
    }
    return KM_OK;
}

/* Walks the fields twice: first to see that all are texts (what is wrong goes to `problem`), then to take
 * them. */
static km_status take_fields(km_reading *reading, const km_json *record, bool spill, char **problem) {
    for (const char *field = reading->field; *field != '\0' && *problem == NULL;) {
        size_t count = strcspn(field, ",");
        const km_json *found = find_field(record, field, count);
        if (!is_text(found)) {
            *problem = describe_missing(record, field, count, found);
        } else if (spill) {
            KM_TRY(take_text(reading, record, field, count, found));
        }
        field += count + (field[count] == ',');
    }
    return KM_OK;
}

static km_status read_record(km_reading *reading, const km_input_piece *piece, const km_text_line *line) {
    size_t count = 0;
    const char *text = without_byte_order_mark(line, &count);
    char *problem = NULL;
    km_json *record = NULL;
    km_status status = KM_OK;
    if (km_json_parse_record(&record, text, count, "the record") != KM_OK) {
        problem = km_strdup(km_message());
    } else {
        status = take_fields(reading, record, false, &problem);
    }
    if (problem != NULL) {
        note_bad(reading, piece, line->number, problem);
    } else {
        status = take_fields(reading, record, true, &problem);
        status = status == KM_OK ? end_document(reading) : status;
    }
    km_json_destroy(record);
    free(problem);
    return status;
}

static km_status read_records(km_reading *reading, const km_input_piece *piece, km_lines *lines) {
    for (;;) {
        km_text_line line;
        KM_TRY(km_lines_next(lines, &line));
        if (line.text == NULL || line.offset >= piece->end) {
            return KM_OK;
        }
        show_progress(reading, lines, piece->begin);
        bool skip = false;
        KM_TRY(count_line(reading, piece, &line, &skip));
        if (line.first && !line.last) {
            note_bad(reading, piece, line.number, "the record is longer than 32 MiB; cut it in several");
        } else if (line.first && !is_blank(&line) && !skip) {
            KM_TRY(read_record(reading, piece, &line));
        }
    }
}

static km_status take_row(km_reading *reading, const km_input_piece *piece, const km_table *table,
                          const char *const *values) {
    const uint64_t line = km_table_line(table);
    bool skip = false, any = false;
    for (int i = 0; i < km_table_columns(table); i++) {
        if (values[i] == NULL) {
            note_bad(reading, piece, line, "the row has fewer fields than the header");
            return KM_OK;
        }
        KM_TRY(km_reading_count_bytes(reading, piece, values[i], strlen(values[i]), line, &skip));
        any = any || skip;
    }
    reading->tags.count = 0;
    for (int i = 0; i < km_table_columns(table) && !any; i++) {
        KM_TRY(end_paragraph(reading));
        KM_TRY(spill_value(reading, values[i], false));
    }
    return any ? KM_OK : end_document(reading);
}

static km_status read_table(km_reading *reading, const km_input_piece *piece, const km_text_source *source) {
    km_table *table = NULL;
    const char *const *values = NULL;
    KM_TRY(km_table_open(&table, source->bytes, source->form, reading->field, KM_RECORD_LIMIT));
    km_status status = KM_OK;
    do {
        show_progress(reading, NULL, piece->begin);
        status = km_table_next(table, &values);
        if (status == KM_OK && values != NULL) {
            status = take_row(reading, piece, table, values);
        }
    } while (status == KM_OK && values != NULL);
    reading->bytes += km_table_taken(table);
    km_table_close(table);
    return status;
}

/* ---- Pieces ---- */

static size_t line_limit(km_form form) {
    return form == KM_FORM_JSONL ? KM_RECORD_LIMIT : KM_LINE_LIMIT;
}

static km_status read_lines(km_reading *reading, const km_input_piece *piece, km_form form, km_lines *lines,
                            bool inside) {
    return form == KM_FORM_JSONL  ? read_records(reading, piece, lines)
           : form == KM_FORM_WIKI ? read_wiki(reading, piece, lines)
                                  : read_plain(reading, piece, lines, inside);
}

static km_status read_plain_piece(km_reading *reading, const km_input_piece *piece) {
    const km_input *input = &reading->inputs->files[piece->file];
    const uint64_t begin = piece->begin > 0 ? piece->begin - 1 : 0;
    const size_t limit = line_limit(input->form);
    km_bytes *bytes = NULL;
    bool inside = false;
    KM_TRY(km_bytes_open(&bytes, input->path, begin));
    km_bytes_expect(bytes, input->size);
    km_bytes_watch(bytes, &reading->now);
    km_lines *lines = km_lines_create(bytes, begin, limit);
    reading->name = km_bytes_name(bytes);
    km_status status = enter_piece(reading, piece, lines, limit, &inside);
    if (status == KM_OK) {
        status = read_lines(reading, piece, input->form, lines, inside);
    }
    reading->bytes += piece->end - piece->begin;
    km_lines_destroy(lines);
    km_bytes_close(bytes);
    return status;
}

static km_status read_source(km_reading *reading, const km_input_piece *piece, const km_text_source *source) {
    const uint64_t replaced = km_bytes_replaced(source->bytes);
    reading->name = km_bytes_name(source->bytes);
    if (source->form == KM_FORM_CSV || source->form == KM_FORM_TSV) {
        KM_TRY(read_table(reading, piece, source));
    } else {
        km_lines *lines = km_lines_create(source->bytes, 0, line_limit(source->form));
        km_status status = read_lines(reading, piece, source->form, lines, false);
        reading->bytes += km_lines_taken(lines);
        km_lines_destroy(lines);
        KM_TRY(status);
    }
    return km_reading_count_replaced(reading, piece, km_bytes_replaced(source->bytes) - replaced);
}

/* The texts of a file that is read from its beginning to its end. */
static km_status read_texts(km_reading *reading, size_t file) {
    km_input *input = &reading->inputs->files[file];
    const km_input_piece whole = {.file = file, .end = UINT64_MAX};
    km_text_source source = {0};
    km_status status = KM_OK;
    reading->texts = input->open;
    input->open = NULL;
    if (reading->texts == NULL) {
        status = km_contents_open(&reading->texts, input, &reading->input);
        if (status == KM_OK) {
            km_contents_watch(reading->texts, &reading->now);
        }
    }
    while (status == KM_OK) {
        status = km_contents_next(reading->texts, &source);
        if (status != KM_OK || source.bytes == NULL) {
            break;
        }
        status = read_source(reading, &whole, &source);
    }
    km_contents_close(reading->texts);
    reading->texts = NULL;
    return status;
}

km_status km_reading_piece(km_reading *reading, const km_input_piece *piece) {
    reading->now = (km_seen){0};
    if (reading->counts == NULL) {
        reading->counts = km_new(reading->inputs->count + 1, sizeof *reading->counts);
    }
    km_status status = reading->inputs->files[piece->file].plain ? read_plain_piece(reading, piece)
                                                                 : read_texts(reading, piece->file);
    reading->name = NULL;
    reading->read += piece->end - piece->begin;
    km_reading_note_seen(reading, piece->file);
    return status;
}

void km_reading_end(km_reading *reading) {
    free(reading->bad);
    free(reading->bad_name);
    reading->bad = reading->bad_name = NULL;
    for (size_t i = 0; i < reading->invalid_count; i++) {
        free(reading->invalid[i].name);
    }
    free(reading->invalid);
    free(reading->counts);
    km_reading_free_seen(reading);
    reading->invalid = NULL;
    reading->counts = NULL;
    reading->invalid_count = 0;
    km_spans_free(&reading->given);
    km_spans_free(&reading->line_spans);
    km_spans_free(&reading->tags);
    km_spans_free(&reading->line_tags);
    km_spans_free(&reading->block_tags);
    km_spans_free(&reading->found_tags);
    km_tag_names_free(&reading->tag_names);
    km_spans_free(&reading->found);
    km_buffer_free(&reading->block);
    km_buffer_free(&reading->block_breaks);
}

km_status km_reading_complain(const km_reading *reading) {
    const km_input *input = &reading->inputs->files[reading->bad_file];
    uint64_t before = 0;
    KM_TRY(km_input_newlines(&before, input, reading->bad_begin));
    return km_fail(KM_FAILED, "%s:%llu: %s", reading->bad_name, (unsigned long long)(before + reading->bad_line),
                   reading->bad);
}
