/* records_xml: the articles of SemEval 2019 task 4 (HyperPartisan) as published. */
#include "records.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "kmask/input.h"

/* ---- Markup ---- */

/* Appends `count` bytes: tags become blanks, entities what they stand for, and runs of blanks one blank. */
static void add_plain(km_buffer *out, const char *text, size_t count) {
    static const char *const entities[][2] = {{"&amp;", "&"},  {"&lt;", "<"},   {"&gt;", ">"},  {"&quot;", "\""},
                                              {"&apos;", "'"}, {"&#160;", " "}, {"&nbsp;", " "}};
    const char *end = text + count;
    km_buffer_add(out, "", 0);
    while (text < end) {
        const char *piece = text;
        size_t taken = 1, length = 1;
        if (*text == '<') {
            const char *close = memchr(text, '>', (size_t)(end - text));
            taken = close != NULL ? (size_t)(close + 1 - text) : (size_t)(end - text);
            piece = " ";
        }
        for (size_t i = 0; *text == '&' && i < KM_COUNT(entities); i++) {
            const size_t entity = strlen(entities[i][0]);
            if ((size_t)(end - text) >= entity && strncmp(text, entities[i][0], entity) == 0) {
                piece = entities[i][1];
                taken = entity;
            }
        }
        if (isspace((unsigned char)*piece)) {
            piece = " ";
            length = out->size > 0 && out->data[out->size - 1] != ' ';
        }
        km_buffer_add(out, piece, length);
        text += taken;
    }
}

/* The value of an attribute of the tag that ends before `end`, as plain text; NULL: it has none. The caller frees. */
static char *attribute(const char *tag, const char *end, const char *name) {
    char *key = km_format(" %s=\"", name);
    const char *at = strstr(tag, key);
    km_buffer value = {0};
    if (at != NULL && at < end) {
        at += strlen(key);
        const char *quote = memchr(at, '"', (size_t)(end - at));
        add_plain(&value, at, (size_t)((quote != NULL ? quote : end) - at));
    }
    free(key);
    return value.data;
}

static uint64_t count_lines(const char *from, const char *to) {
    uint64_t lines = 0;
    for (; from < to; from++) {
        lines += *from == '\n';
    }
    return lines;
}

/* ---- The truth, in a file of its own ---- */

static char *truth_path(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    const char *word = strstr(name, "articles");
    if (word == NULL) {
        return NULL;
    }
    char *beside = km_format("%.*sground-truth%s", (int)(word - path), path, word + strlen("articles"));
    if (!km_file_exists(beside)) {
        const size_t length = strlen(beside);
        const bool packed = length > 3 && strcmp(beside + length - 3, ".gz") == 0;
        char *other = packed ? km_format("%.*s", (int)length - 3, beside) : km_format("%s.gz", beside);
        free(beside);
        beside = other;
    }
    return beside;
}

/* The label of the article with this id, kept by the records; NULL: none. `cursor` moves on, since both files have one order. */
static const char *find_truth(km_records *records, const char *truth, const char **cursor, const char *id,
                              const char *label) {
    char *key = km_format(" id=\"%s\"", id);
    const char *at = *cursor != NULL ? strstr(*cursor, key) : NULL;
    at = at != NULL ? at : strstr(truth, key);
    free(key);
    if (at == NULL) {
        return NULL;
    }
    const char *begin = at, *end = strchr(at, '>');
    *cursor = at;
    while (begin > truth && *begin != '<') {
        begin--;
    }
    char *value = end != NULL ? attribute(begin, end, label) : NULL;
    return value != NULL ? km_records_keep(records, value) : NULL;
}

/* ---- Articles ---- */

static char *make_text(const char *tag, const char *open, const char *close, const km_columns *columns) {
    km_buffer text = {0};
    for (int i = 0; columns->text[i] != NULL; i++) {
        char *value = attribute(tag, open, columns->text[i]);
        if (text.size > 0) {
            km_buffer_add(&text, " ", 1);
        }
        if (strcmp(columns->text[i], "text") == 0) {
            add_plain(&text, open + 1, (size_t)(close - open - 1));
        } else if (value != NULL) {
            km_buffer_add(&text, value, strlen(value));
        }
        free(value);
    }
    km_buffer_add(&text, "", 0);
    return text.data;
}

static km_status read_articles(km_records *out, const char *path, const char *text, const char *truth,
                               const km_columns *columns) {
    uint64_t line = 1;
    const char *seen = text, *cursor = truth;
    for (const char *tag = strstr(text, "<article "); tag != NULL; tag = strstr(seen, "<article ")) {
        line += count_lines(seen, tag);
        const char *open = strchr(tag, '>'), *close = open != NULL ? strstr(open, "</article>") : NULL;
        if (close == NULL) {
            return km_fail(KM_FAILED, "%s: line %llu: an <article> does not end, expected </article>.", path,
                           (unsigned long long)line);
        }
        char *id = attribute(tag, open, "id");
        km_record record = {.path = path, .line = line};
        if (id != NULL && truth != NULL) {
            record.label = find_truth(out, truth, &cursor, id, columns->label);
        }
        record.id = id != NULL ? km_records_keep(out, id) : NULL;
        record.text = km_records_keep(out, make_text(tag, open, close, columns));
        if (record.label == NULL && columns->label != NULL && !columns->label_may_lack) {
            return km_fail(KM_FAILED, "%s: line %llu: the article has no `%s` in the ground truth beside the file.",
                           path, (unsigned long long)line, columns->label);
        }
        KM_TRY(km_records_add(out, &record));
        line += count_lines(tag, close);
        seen = close;
    }
    return KM_OK;
}

km_status km_records_read_xml(km_records *out, const char *path, char *text, const km_columns *columns) {
    char *beside = truth_path(path), *truth = NULL;
    size_t size = 0;
    km_status status = KM_OK;
    if (columns->label != NULL && beside != NULL) {
        status = km_text_read(&truth, &size, beside, (size_t)1 << 32);
        status = status != KM_OK && columns->label_may_lack ? KM_OK : status;
    }
    status = status == KM_OK ? read_articles(out, path, text, truth, columns) : status;
    free(truth);
    free(beside);
    return status;
}
