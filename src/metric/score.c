/* score: metrics of anyone's predictions, from two text files. */
#include "kmask/metric.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Lines of a file ------------------------------------------------------------------------------------------ */

typedef struct lines {
    const char *path;
    char *text;
    char **lines; /* (count), without their line ends */
    size_t count;
} lines;

static void free_lines(lines *file) {
    free(file->text);
    free(file->lines);
}

static km_status read_lines(lines *out, const char *path) {
    const size_t limit = (size_t)1 << 31;
    size_t size = 0, room = 0;
    *out = (lines){.path = path};
    KM_TRY(km_file_read(&out->text, &size, path, limit));
    for (char *at = out->text, *end = at + size; at < end;) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        char *next = stop == NULL ? end : stop + 1;
        stop = stop == NULL ? end : stop;
        *stop = '\0';
        if (stop > at && stop[-1] == '\r') {
            stop[-1] = '\0';
        }
        if (out->count == room) {
            room = 2 * room + 64;
            out->lines = km_grow(out->lines, room, sizeof *out->lines);
        }
        out->lines[out->count++] = at;
        at = next;
    }
    return KM_OK;
}

/* ---- One kind of metric each ---------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The distinct labels of both files, ascending; returns how many. The caller frees. */
static size_t labels_of(char ***out, const lines *gold, const lines *predicted) {
    size_t count = gold->count + predicted->count, distinct = 0;
    char **labels = km_new(count + 1, sizeof *labels);
    memcpy(labels, gold->lines, gold->count * sizeof *labels);
    memcpy(labels + gold->count, predicted->lines, predicted->count * sizeof *labels);
    qsort(labels, count, sizeof *labels, by_text);
    for (size_t i = 0; i < count; i++) {
        if (distinct == 0 || strcmp(labels[distinct - 1], labels[i]) != 0) {
            labels[distinct++] = labels[i];
        }
    }
    *out = labels;
    return distinct;
}

static int32_t *classes_of(const lines *file, char **labels, size_t count) {
    int32_t *classes = km_new(file->count, sizeof *classes);
    for (size_t i = 0; i < file->count; i++) {
        char **found = bsearch(&file->lines[i], labels, count, sizeof *labels, by_text);
        classes[i] = (int32_t)(found - labels);
    }
    return classes;
}

static double score_classes(km_metric metric, const lines *gold, const lines *predicted) {
    char **labels = NULL, one[] = "1", *positive = one;
    size_t count = labels_of(&labels, gold, predicted);
    char **found = bsearch(&positive, labels, count, sizeof *labels, by_text);
    int32_t *a = classes_of(gold, labels, count), *b = classes_of(predicted, labels, count);
    double value = km_metric_of_classes(metric, a, b, gold->count, (int32_t)count,
                                        found == NULL ? 1 : (int32_t)(found - labels));
    free(a);
    free(b);
    free(labels);
    return value;
}

static km_status numbers_of(double **out, const lines *file) {
    double *numbers = km_new(file->count, sizeof *numbers);
    *out = numbers;
    for (size_t i = 0; i < file->count; i++) {
        char *end = NULL;
        numbers[i] = strtod(file->lines[i], &end);
        if (end == file->lines[i] || *(end + strspn(end, " \t")) != '\0') {
            return km_fail(KM_FAILED, "%s: line %zu is \"%.60s\", expected a number.", file->path, i + 1,
                           file->lines[i]);
        }
    }
    return KM_OK;
}

static km_status score_numbers(double *out, km_metric metric, const lines *gold, const lines *predicted) {
    double *a = NULL, *b = NULL;
    km_status status = numbers_of(&a, gold);
    if (status == KM_OK) {
        status = numbers_of(&b, predicted);
    }
    if (status == KM_OK) {
        *out = km_metric_of_numbers(metric, a, b, gold->count);
    }
    free(a);
    free(b);
    return status;
}

/* `line`, whose tabs become NULs, as a list of texts; the caller frees the list. */
static const char **split_at_tabs(int *count, char *line) {
    const char **texts = NULL;
    *count = 0;
    for (char *at = line; at != NULL;) {
        char *tab = strchr(at, '\t');
        texts = km_grow(texts, (size_t)*count + 1, sizeof *texts);
        texts[(*count)++] = at;
        if (tab != NULL) {
            *tab++ = '\0';
        }
        at = tab;
    }
    return texts;
}

static double score_answers(km_metric metric, const lines *gold, const lines *predicted) {
    double sum = 0;
    for (size_t i = 0; i < gold->count; i++) {
        char *line = km_strdup(gold->lines[i]);
        int count = 0;
        const char **texts = split_at_tabs(&count, line);
        bool choice = metric == KM_METRIC_CHOICE;
        const km_answer answer = {.predicted = predicted->lines[i],
                                  .accepted = texts,
                                  .accepted_count = choice ? 1 : count,
                                  .options = texts,
                                  .option_count = choice && count > 1 ? count : 0};
        sum += km_metric_of_answer(metric, &answer);
        free(texts);
        free(line);
    }
    return sum / (double)gold->count;
}

/* ---- All ------------------------------------------------------------------------------------------------------ */

static km_status score(km_json *out, const char *name, const lines *gold, const lines *predicted) {
    km_metric metric;
    double value = 0;
    if (!km_metric_named(&metric, name)) {
        return km_fail(KM_USAGE, "--metrics: found %.60s, expected some of %s with commas between them.", name,
                       km_metric_names());
    }
    switch (km_metric_kind(metric)) {
    case KM_METRIC_OF_CLASSES:
        value = score_classes(metric, gold, predicted);
        break;
    case KM_METRIC_OF_NUMBERS:
        KM_TRY(score_numbers(&value, metric, gold, predicted));
        break;
    default:
        value = score_answers(metric, gold, predicted);
    }
    km_json_set_number(out, name, value);
    return KM_OK;
}

static km_status score_all(km_json *out, const char *metrics, const lines *gold, const lines *predicted) {
    if (gold->count != predicted->count) {
        return km_fail(KM_FAILED, "%s has %zu lines and %s has %zu; expected a line for each example in both.",
                       gold->path, gold->count, predicted->path, predicted->count);
    }
    if (gold->count == 0) {
        return km_fail(KM_FAILED, "%s: the file is empty, expected a line for each example.", gold->path);
    }
    char *names = km_strdup(metrics), *rest = NULL;
    km_status status = KM_OK;
    for (char *name = strtok_r(names, ",", &rest); name != NULL && status == KM_OK;
         name = strtok_r(NULL, ",", &rest)) {
        status = score(out, name, gold, predicted);
    }
    free(names);
    return status;
}

km_status km_score_files(km_json **out, const char *metrics, const char *gold, const char *predicted) {
    lines a = {0}, b = {0};
    km_json *scores = km_json_object();
    km_status status = read_lines(&a, gold);
    if (status == KM_OK) {
        status = read_lines(&b, predicted);
    }
    if (status == KM_OK) {
        status = score_all(scores, metrics, &a, &b);
    }
    free_lines(&a);
    free_lines(&b);
    if (status != KM_OK) {
        km_json_destroy(scores);
        scores = NULL;
    }
    *out = scores;
    return status;
}
