/* questions: the files in which questions and their accepted answers are published. Each form is a function that makes records of one
 * JSON object, and a key by which it is recognized. */
#include "questions.h"
#include "kmask/text.h"
#include "records.h"

#include <stdlib.h>
#include <string.h>

static const size_t LONGEST_FILE = (size_t)1 << 33;

typedef struct reading {
    km_records *out;
    const char *path;
    uint64_t place;   /* the line, or the number of the object, from 1 */
    const char *unit; /* "line" or "object" */
    bool may_lack;    /* questions without answers are records too */
    uint64_t left_out;
} reading;

/* ---- Lists of texts that the records keep ---- */

typedef struct list {
    const char **texts;
    int count;
} list;

static const char *keep(reading *r, const char *text) {
    return km_records_keep(r->out, km_strdup(text));
}

static void add(list *l, const char *text) {
    l->texts = km_grow(l->texts, (size_t)l->count + 1, sizeof *l->texts);
    l->texts[l->count++] = text;
}

static void add_new(reading *r, list *l, const char *text) {
    for (int i = 0; i < l->count; i++) {
        if (strcmp(l->texts[i], text) == 0) {
            return;
        }
    }
    add(l, keep(r, text));
}

static km_status bad(const reading *r, const char *key, const char *expected) {
    return km_fail(KM_FAILED, "%s: %s %llu: \"%s\" is missing or something else, expected %s.", r->path, r->unit,
                   (unsigned long long)r->place, key, expected);
}

/* A text, or a list of texts; numbers count as texts. `key` is what a message says. */
static km_status add_texts(reading *r, list *l, const km_json *value, const char *key) {
    double number = 0;
    if (km_json_string(value) != NULL) {
        add_new(r, l, km_json_string(value));
    } else if (km_json_number(&number, value)) {
        char *text = km_json_print(value, false);
        add_new(r, l, text);
        free(text);
    } else if (km_json_is_array(value)) {
        for (const km_json *item = km_json_first(value); item != NULL; item = km_json_next(item)) {
            if (km_json_is_array(item)) {
                return bad(r, key, "a text or a list of texts");
            }
            KM_TRY(add_texts(r, l, item, key));
        }
    } else {
        return bad(r, key, "a text or a list of texts");
    }
    return KM_OK;
}

/* ---- Options in a text of UnifiedQA's form ---- */

/* The part behind a backslash, an n and a blank that begins with "(A)" or "(a)"; NULL where there is none. */
static const char *options_of(const char *text) {
    static const char mark[] = "\\n ";
    for (const char *at = strstr(text, mark); at != NULL; at = strstr(at, mark)) {
        at += sizeof mark - 1;
        if (strncmp(at, "(A) ", 4) == 0 || strncmp(at, "(a) ", 4) == 0) {
            return at;
        }
    }
    return NULL;
}

/* The next "(B) " and so on within a part; its end where there is none. */
static const char *next_option(const char *at, const char *end, char letter) {
    for (; at + 4 <= end; at++) {
        if (at[0] == '(' && (at[1] | 0x20) == letter && at[2] == ')' && at[3] == ' ') {
            return at;
        }
    }
    return end;
}

static void parse_options(reading *r, list *l, const char *text) {
    const char *at = options_of(text);
    const char *end = at != NULL ? strstr(at, "\\n") : NULL;
    end = at != NULL && end == NULL ? at + strlen(at) : end;
    for (char letter = 'b'; at != NULL && at < end && letter <= 'z' + 1; letter++) {
        const char *from = at + 4, *next = next_option(from, end, letter);
        int length = (int)(next - from);
        while (length > 0 && from[length - 1] == ' ') {
            length--;
        }
        char *option = km_format("%.*s", length, from);
        add(l, km_records_keep(r->out, option));
        at = next;
    }
}

/* ---- Records ---- */

typedef struct question {
    const char *id, *text, *context; /* kept by the records; context NULL: none */
    list accepted, options;
} question;

/* The lists are the records' from now on. */
static km_status add_question(reading *r, question *q) {
    if (q->options.count == 0) {
        parse_options(r, &q->options, q->text);
    }
    km_records_keep(r->out, (char *)(void *)q->accepted.texts);
    km_records_keep(r->out, (char *)(void *)q->options.texts);
    if (q->accepted.count == 0 && !r->may_lack) {
        r->left_out++;
        return KM_OK;
    }
    const km_record record = {.text = q->text,
                              .pair = q->context,
                              .id = q->id,
                              .label = q->accepted.count > 0 ? q->accepted.texts[0] : NULL,
                              .accepted = q->accepted.texts,
                              .accepted_count = q->accepted.count,
                              .options = q->options.texts,
                              .option_count = q->options.count,
                              .path = r->path,
                              .line = r->place};
    return km_records_add(r->out, &record);
}

static const char *keep_id(reading *r, const km_json *value) {
    double number = 0;
    if (km_json_string(value) != NULL) {
        return keep(r, km_json_string(value));
    }
    return km_json_number(&number, value) ? km_records_keep(r->out, km_json_print(value, false)) : NULL;
}

static const char *keep_text(reading *r, const km_json *value) {
    return km_json_string(value) != NULL ? keep(r, km_json_string(value)) : NULL;
}

/* The value of the first key that the object has; NULL where it has none of both. */
static const km_json *either(const km_json *object, const char *first, const char *second) {
    const km_json *value = km_json_get(object, first);
    return value != NULL ? value : km_json_get(object, second);
}

/* What the keys of an object are called in a form. */
typedef struct keys {
    const char *text, *answer, *answers, *choices;
} keys;

static km_status read_flat(reading *r, const km_json *object, const keys *k) {
    question q = {.id = keep_id(r, km_json_get(object, "id")),
                  .text = keep_text(r, km_json_get(object, k->text)),
                  .context = keep_text(r, km_json_get(object, "context"))};
    const km_json *answer = either(object, k->answer, k->answers);
    const km_json *choices = either(object, "choices", k->choices);
    if (q.text == NULL) {
        return bad(r, k->text, "a text");
    }
    km_status status = answer != NULL || !r->may_lack ? add_texts(r, &q.accepted, answer, k->answer) : KM_OK;
    if (status == KM_OK && choices != NULL) {
        status = add_texts(r, &q.options, choices, "choices");
    }
    if (status != KM_OK) {
        free(q.accepted.texts);
        free(q.options.texts);
        return status;
    }
    return add_question(r, &q);
}

/* ---- The forms ---- */

static km_status read_own(reading *r, const km_json *object) {
    static const keys own = {"source", "target", "targets", "options"};
    return read_flat(r, object, &own);
}

static km_status read_open(reading *r, const km_json *object) {
    static const keys open = {"question", "answer", "answers", "options"};
    return read_flat(r, object, &open);
}

/* Outputs without an answer have only a provenance. */
static km_status read_kilt(reading *r, const km_json *object) {
    question q = {.id = keep_id(r, km_json_get(object, "id")), .text = keep_text(r, km_json_get(object, "input"))};
    if (q.text == NULL) {
        return bad(r, "input", "a text");
    }
    const km_json *outputs = km_json_get(object, "output");
    for (const km_json *output = km_json_first(outputs); output != NULL; output = km_json_next(output)) {
        const char *answer = km_json_string(km_json_get(output, "answer"));
        if (answer != NULL) {
            add_new(r, &q.accepted, answer);
        }
    }
    return add_question(r, &q);
}

/* Bytes before the character with this number; -1 where the text has fewer. */
static ptrdiff_t place_of(const char *text, double number) {
    const char *at = text, *end = text + strlen(text);
    double passed = 0;
    for (; at < end && passed < number; passed++) {
        (void)km_utf8_next(&at, end);
    }
    return passed < number ? -1 : at - text;
}

static km_status read_mention(reading *r, const km_json *object, const char *text, const km_json *mention) {
    double begin = -1, end = -1;
    const char *title = km_json_string(km_json_at(mention, 2));
    const bool numbers =
        km_json_number(&begin, km_json_at(mention, 0)) && km_json_number(&end, km_json_at(mention, 1));
    const ptrdiff_t from = numbers && begin >= 0 ? place_of(text, begin) : -1, to = place_of(text, end);
    if (from < 0 || to < from) {
        return bad(r, "mentions", "[begin, end, title] with places in characters of the text");
    }
    question q = {.id = keep_id(r, km_json_get(object, "id"))};
    q.text = km_records_keep(r->out, km_format("%.*s" KM_MENTION_BEGINS " %.*s " KM_MENTION_ENDS "%s", (int)from,
                                               text, (int)(to - from), text + from, text + to));
    if (title != NULL) {
        add_new(r, &q.accepted, title);
    }
    return add_question(r, &q);
}

static km_status read_mentions(reading *r, const km_json *object) {
    const char *text = km_json_string(km_json_get(object, "text"));
    const km_json *mentions = km_json_get(object, "mentions");
    if (text == NULL) {
        return bad(r, "text", "a text");
    }
    for (const km_json *mention = km_json_first(mentions); mention != NULL; mention = km_json_next(mention)) {
        KM_TRY(read_mention(r, object, text, mention));
    }
    return KM_OK;
}

/* ROPES has a background and a situation in place of a context. */
static const char *keep_context(reading *r, const km_json *paragraph) {
    const char *background = km_json_string(km_json_get(paragraph, "background"));
    const char *situation = km_json_string(km_json_get(paragraph, "situation"));
    if (background != NULL && situation != NULL) {
        return km_records_keep(r->out, km_format("%s %s", background, situation));
    }
    return keep_text(r, km_json_get(paragraph, "context"));
}

static km_status read_asked(reading *r, const km_json *asked, const char *context) {
    question q = {.id = keep_id(r, km_json_get(asked, "id")),
                  .text = keep_text(r, km_json_get(asked, "question")),
                  .context = context};
    if (q.text == NULL) {
        return bad(r, "question", "a text");
    }
    const km_json *answers = km_json_get(asked, "answers");
    for (const km_json *answer = km_json_first(answers); answer != NULL; answer = km_json_next(answer)) {
        const char *text = km_json_string(km_json_get(answer, "text"));
        if (text != NULL) {
            add_new(r, &q.accepted, text);
        }
    }
    return add_question(r, &q);
}

static km_status read_squad(reading *r, const km_json *object) {
    const km_json *articles = km_json_get(object, "data");
    for (const km_json *article = km_json_first(articles); article != NULL; article = km_json_next(article)) {
        const km_json *paragraphs = km_json_get(article, "paragraphs");
        if (!km_json_is_array(paragraphs)) {
            return bad(r, "paragraphs", "a list in each article");
        }
        for (const km_json *p = km_json_first(paragraphs); p != NULL; p = km_json_next(p)) {
            const char *context = keep_context(r, p);
            const km_json *all = km_json_get(p, "qas");
            for (const km_json *asked = km_json_first(all); asked != NULL; asked = km_json_next(asked)) {
                KM_TRY(read_asked(r, asked, context));
            }
        }
    }
    return KM_OK;
}

/* The value that its makers call the answer comes first, then its aliases. */
static km_status read_trivia(reading *r, const km_json *object) {
    const km_json *all = km_json_get(object, "Data");
    for (const km_json *asked = km_json_first(all); asked != NULL; asked = km_json_next(asked)) {
        question q = {.id = keep_id(r, km_json_get(asked, "QuestionId")),
                      .text = keep_text(r, km_json_get(asked, "Question"))};
        const km_json *answer = km_json_get(asked, "Answer");
        const km_json *aliases = km_json_get(answer, "Aliases");
        if (q.text == NULL) {
            return bad(r, "Question", "a text");
        }
        if (km_json_string(km_json_get(answer, "Value")) != NULL) {
            add_new(r, &q.accepted, km_json_string(km_json_get(answer, "Value")));
        }
        for (const km_json *alias = km_json_first(aliases); alias != NULL; alias = km_json_next(alias)) {
            if (km_json_string(alias) != NULL) {
                add_new(r, &q.accepted, km_json_string(alias));
            }
        }
        KM_TRY(add_question(r, &q));
    }
    return KM_OK;
}

static const struct {
    const char *key; /* an object of this form has it */
    km_status (*read)(reading *r, const km_json *object);
} forms[] = {{"source", read_own},        {"input", read_kilt}, {"question", read_open},
             {"mentions", read_mentions}, {"data", read_squad}, {"Data", read_trivia}};

static km_status read_object(reading *r, const km_json *object) {
    for (size_t i = 0; i < KM_COUNT(forms); i++) {
        if (km_json_get(object, forms[i].key) != NULL) {
            return forms[i].read(r, object);
        }
    }
    return km_fail(KM_FAILED,
                   "%s: %s %llu: no question in a form that is known, expected an object with \"source\" and "
                   "\"target\", \"question\" and \"answer\", \"input\" and \"output\" (KILT), \"text\" and "
                   "\"mentions\", or \"data\" (SQuAD).",
                   r->path, r->unit, (unsigned long long)r->place);
}

/* ---- JSON: one object, a list, or an object a line ---- */

static km_status read_document(reading *r, const char *text, size_t size) {
    km_json *json = NULL;
    r->unit = "object";
    r->place = 1;
    KM_TRY(km_json_parse(&json, text, size, r->path));
    km_status status = KM_OK;
    if (km_json_is_array(json)) {
        for (const km_json *item = km_json_first(json); item != NULL && status == KM_OK;
             item = km_json_next(item)) {
            status = read_object(r, item);
            r->place++;
        }
    } else {
        status = read_object(r, json);
    }
    km_json_destroy(json);
    return status;
}

static km_status read_line(reading *r, const char *line, size_t count) {
    km_json *json = NULL;
    char *origin = km_format("%s: line %llu", r->path, (unsigned long long)r->place);
    km_status status = km_json_parse_record(&json, line, count, origin);
    free(origin);
    status = status == KM_OK ? read_object(r, json) : status;
    km_json_destroy(json);
    return status;
}

static km_status read_lines(reading *r, const char *text, size_t size) {
    r->unit = "line";
    r->place = 1;
    for (const char *at = text, *end = text + size; at < end; r->place++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        const size_t count = (size_t)(stop - at);
        if (strspn(at, " \t\r") < count) {
            KM_TRY(read_line(r, at, count));
        }
        at = newline != NULL ? newline + 1 : end;
    }
    return KM_OK;
}

/* Whether the first line is an object by itself, and not a file's only one. */
static bool has_lines(const char *text, size_t size) {
    const char *first = text + strspn(text, " \t\r\n"), *newline = strchr(first, '\n');
    const char *stop = newline != NULL ? newline : text + size;
    while (stop > first && strchr(" \t\r", stop[-1]) != NULL) {
        stop--;
    }
    return *first == '{' && stop > first + 1 && stop[-1] == '}' &&
           !(newline == NULL && (strstr(first, "\"data\"") != NULL || strstr(first, "\"Data\"") != NULL));
}

/* ---- Tables ---- */

/* A list as JSON or as Python prints it, ['it''s', "b"]: texts in either quotes, with commas between them. False: it is none. */
static bool parse_list(reading *r, list *l, const char *cell) {
    const char *at = cell + strspn(cell, " ");
    if (*at != '[') {
        return false;
    }
    km_buffer text = {0};
    for (at++; *at != '\0' && *at != ']';) {
        const char quote = *at++;
        if (quote == ',' || quote == ' ') {
            continue;
        }
        const char *end = quote == '"' || quote == '\'' ? at : NULL;
        text.size = 0;
        km_buffer_add(&text, "", 0);
        for (; end != NULL && *end != '\0' && *end != quote; end++) {
            end += *end == '\\' && end[1] != '\0';
            km_buffer_add(&text, end, 1);
        }
        if (end == NULL || *end == '\0') {
            break;
        }
        add_new(r, l, text.data);
        at = end + 1;
    }
    km_buffer_free(&text);
    return *at == ']' && at[1 + strspn(at + 1, " ")] == '\0';
}

static void parse_answers(reading *r, list *l, const char *cell) {
    km_json *json = NULL;
    const bool is_json = cell[0] == '[' && km_json_parse(&json, cell, strlen(cell), "") == KM_OK;
    if (!(is_json && add_texts(r, l, json, "answer") == KM_OK) && !parse_list(r, l, cell)) {
        l->count = 0;
        add_new(r, l, cell);
    }
    km_json_destroy(json);
}

static km_status read_table(reading *r, const km_columns *columns) {
    km_records table = {0};
    km_status status = km_records_read(&table, r->path, columns);
    for (size_t i = 0; i < table.count && status == KM_OK; i++) {
        const km_record *row = &table.items[i];
        question q = {.text = keep(r, row->text), .context = row->pair != NULL ? keep(r, row->pair) : NULL};
        if (row->label != NULL) {
            parse_answers(r, &q.accepted, row->label);
        }
        r->place = row->line;
        status = add_question(r, &q);
    }
    km_records_free(&table);
    return status;
}

/* ---- Files ---- */

static km_status read_json(reading *r) {
    static const char mark[] = "\xEF\xBB\xBF";
    char *text = NULL;
    size_t size = 0;
    KM_TRY(km_text_read(&text, &size, r->path, LONGEST_FILE));
    const size_t skip = strncmp(text, mark, sizeof mark - 1) == 0 ? sizeof mark - 1 : 0;
    km_status status = has_lines(text + skip, size - skip) ? read_lines(r, text + skip, size - skip)
                                                           : read_document(r, text + skip, size - skip);
    free(text);
    return status;
}

static bool is_table(const char *path) {
    const size_t length = strlen(path), tail = length > 3 && strcmp(path + length - 3, ".gz") == 0 ? 3 : 0;
    const char *ending = path + length - tail - 4;
    return length >= tail + 4 && (strncmp(ending, ".tsv", 4) == 0 || strncmp(ending, ".csv", 4) == 0);
}

km_status km_questions_read(km_records *out, const char *path, const km_columns *columns) {
    reading r = {.out = out, .unit = "line", .may_lack = columns->label_may_lack};
    const size_t before = out->count;
    r.path = km_records_keep(out, km_strdup(path));
    KM_TRY(is_table(path) ? read_table(&r, columns) : read_json(&r));
    if (r.left_out > 0) {
        km_warn("%s: %llu questions without an answer are left out", path, (unsigned long long)r.left_out);
    }
    return out->count > before ? KM_OK : km_fail(KM_FAILED, "%s: holds no examples.", path);
}

/* ---- What a model reads ---- */

char *km_question_source(const km_record *record, bool context, bool lower) {
    km_buffer text = {0};
    km_buffer_print(&text, "%s", record->text);
    if (record->option_count > 0 && options_of(record->text) == NULL) {
        km_buffer_print(&text, " \\n");
        for (int i = 0; i < record->option_count; i++) {
            km_buffer_print(&text, " (%c) %s", 'A' + i % 26, record->options[i]);
        }
    }
    if (context && record->pair != NULL) {
        km_buffer_print(&text, " \\n %s", record->pair);
    }
    if (!lower) {
        return text.data;
    }
    char *small = km_text_lower(text.data);
    km_buffer_free(&text);
    return small;
}
