/* task: a task's data, read and checked, and the scores of what is predicted for it. */
#include "preset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const split_names[KM_SPLITS] = {"train", "dev", "test"};

/* ---- Splits ---- */

static km_status read_splits(km_task *task, const km_task_config *config) {
    const char *const paths[KM_SPLITS] = {config->train, config->dev, config->test};
    for (int split = 0; split < KM_SPLITS; split++) {
        if (paths[split][0] != '\0') {
            const km_columns columns = km_task_columns(config, split);
            KM_TRY(km_records_read(&task->records[split], paths[split], &columns));
        }
    }
    return KM_OK;
}

/* Copies records number `from` to `to`-1 of a random order. */
static void pick(km_records *out, const km_record *items, size_t count, size_t from, size_t to, uint64_t seed) {
    out->items = km_new(KM_MAX(to - from, 1), sizeof *out->items);
    for (size_t i = from; i < to; i++) {
        out->items[out->count++] = items[km_order(i, count, seed, 0)];
    }
    out->capacity = out->count;
}

/* What dev and test take of train where they have no files, and how much of the rest is trained on. */
static km_status share_train(km_task *task, const km_task_config *config) {
    km_records *train = &task->records[KM_TRAIN];
    const size_t count = train->count;
    const double shares[KM_SPLITS] = {[KM_DEV] = config->dev[0] == '\0' ? config->dev_share : 0,
                                      [KM_TEST] = config->test[0] == '\0' ? config->test_share : 0};
    size_t from = 0;
    for (int split = KM_DEV; split < KM_SPLITS; split++) {
        if (shares[split] > 0) {
            const size_t number = (size_t)llrint(shares[split] * (double)count);
            pick(&task->records[split], train->items, count, from, from + number, (uint64_t)config->train_seed);
            from += number;
        }
    }
    const size_t rest = (size_t)llrint(config->train_share * (double)(count - from));
    if (rest == 0 || (shares[KM_DEV] > 0 && task->records[KM_DEV].count == 0)) {
        return km_fail(KM_FAILED, "%s: %zu examples are too few for task.train_share %g and dev_share %g.",
                       config->train, count, config->train_share, config->dev_share);
    }
    if (from > 0 || rest < count) {
        km_record *items = train->items;
        train->count = 0;
        pick(train, items, count, from, from + rest, (uint64_t)config->train_seed);
        free(items);
    }
    return KM_OK;
}

/* ---- Labels ---- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_label(km_task *task, const char *label) {
    task->labels = km_grow(task->labels, (size_t)task->label_count + 1, sizeof *task->labels);
    task->labels[task->label_count++] = km_strdup(label);
}

static int find_label(const km_task *task, const char *label) {
    for (int i = 0; i < task->label_count; i++) {
        if (strcmp(task->labels[i], label) == 0) {
            return i;
        }
    }
    return -1;
}

static char *list_labels(const km_task *task) {
    km_buffer list = {0};
    for (int i = 0; i < task->label_count && list.size < 300; i++) {
        km_buffer_print(&list, "%s%.60s", i > 0 ? ", " : "", task->labels[i]);
    }
    return list.data != NULL ? list.data : km_strdup("");
}

static bool is_number(const char *text) {
    char *end = NULL;
    (void)strtod(text, &end);
    return text[0] != '\0' && *end == '\0';
}

enum { MOST_LABELS = 1000 };

/* The classes are those that the config names, else those of train, in ascending order of their bytes. */
static km_status collect_labels(km_task *task, const km_task_config *config) {
    for (int i = 0; i < config->labels.count; i++) {
        add_label(task, km_texts_at(&config->labels, i));
    }
    const km_records *train = &task->records[KM_TRAIN];
    for (size_t i = 0; i < train->count && config->labels.count == 0; i++) {
        if (train->items[i].label != NULL && find_label(task, train->items[i].label) < 0) {
            add_label(task, train->items[i].label);
        }
        if (task->label_count > MOST_LABELS) {
            return km_fail(KM_FAILED,
                           "%s: more than %d different labels, expected classes. Numbers are predicted with "
                           "task.kind regression.",
                           config->train, MOST_LABELS);
        }
    }
    if (config->labels.count == 0) {
        qsort(task->labels, (size_t)task->label_count, sizeof *task->labels, by_text);
    }
    if (task->label_count < 2) {
        return km_fail(KM_FAILED, "%s: %d label, expected at least two classes.", config->train, task->label_count);
    }
    const int one = find_label(task, "1");
    task->positive = one >= 0 ? one : 1;
    return KM_OK;
}

static km_status unknown_label(const km_task *task, int split, const km_record *record) {
    char *known = list_labels(task);
    const bool mixed = is_number(record->label) != is_number(task->labels[0]);
    km_status status = km_fail(KM_FAILED, "%s: line %llu: label `%.60s` of %s is none of %s: expected one of %s%s.",
                               record->path, (unsigned long long)record->line, record->label, split_names[split],
                               split == KM_TRAIN ? "task.labels" : "train's", known,
                               mixed ? "; labels are numbers in one file and names in another" : "");
    free(known);
    return status;
}

static km_status class_of(const km_task *task, int split, const km_record *record, int32_t *out) {
    const int found = find_label(task, record->label);
    if (found < 0) {
        return unknown_label(task, split, record);
    }
    *out = found;
    return KM_OK;
}

static km_status number_of(const km_record *record, double *out) {
    char *end = NULL;
    *out = strtod(record->label, &end);
    return record->label[0] != '\0' && *end == '\0' && isfinite(*out)
               ? KM_OK
               : km_fail(KM_FAILED, "%s: line %llu: found `%.60s`, expected a finite number as the label.",
                         record->path, (unsigned long long)record->line, record->label);
}

/* A split either has labels for all records, or for none; only test may have none. */
static km_status label_split(km_task *task, int split) {
    const km_records *records = &task->records[split];
    if (records->count == 0 || records->items[0].label == NULL) {
        return KM_OK;
    }
    task->classes[split] = km_new(records->count, sizeof **task->classes);
    task->values[split] = km_new(records->count, sizeof **task->values);
    for (size_t i = 0; i < records->count; i++) {
        const km_record *record = &records->items[i];
        if (record->label == NULL) {
            return km_fail(KM_FAILED, "%s: line %llu: no label, expected one as in the lines before.", record->path,
                           (unsigned long long)record->line);
        }
        KM_TRY(task->numbers ? number_of(record, &task->values[split][i])
                             : class_of(task, split, record, &task->classes[split][i]));
    }
    return KM_OK;
}

static km_status check_classes(const km_task *task, const km_task_config *config) {
    int64_t *counts = km_new((size_t)task->label_count, sizeof *counts);
    for (size_t i = 0; i < task->records[KM_TRAIN].count; i++) {
        counts[task->classes[KM_TRAIN][i]]++;
    }
    int missing = -1;
    for (int i = task->label_count - 1; i >= 0; i--) {
        missing = counts[i] == 0 ? i : missing;
    }
    free(counts);
    return missing < 0
               ? KM_OK
               : km_fail(KM_FAILED, "%s: no example has the label `%s`, expected at least one of each class.",
                         config->train, task->labels[missing]);
}

/* ---- Metrics ---- */

static km_status read_metrics(km_task *task, const km_task_config *config) {
    const km_metric_of kind = task->numbers ? KM_METRIC_OF_NUMBERS : KM_METRIC_OF_CLASSES;
    for (int i = 0; i < config->metrics.count; i++) {
        const char *name = km_texts_at(&config->metrics, i);
        km_metric metric;
        if (!km_metric_named(&metric, name) || km_metric_kind(metric) != kind || task->metric_count == KM_METRICS) {
            return km_fail(KM_USAGE, "task.metrics: found %s, expected metrics of %s: %s", name,
                           task->numbers ? "numbers" : "classes",
                           task->numbers ? "pearson or spearman" : "accuracy, f1, f1_macro, f1_micro or matthews");
        }
        task->metrics[task->metric_count++] = metric;
    }
    return KM_OK;
}

double km_task_score(const km_task *task, int split, km_metric metric, const float *outputs) {
    const size_t count = task->records[split].count;
    double value = 0;
    if (task->numbers) {
        double *numbers = km_new(count, sizeof *numbers);
        for (size_t i = 0; i < count; i++) {
            numbers[i] = (double)outputs[i];
        }
        value = km_metric_of_numbers(metric, task->values[split], numbers, count);
        free(numbers);
        return value;
    }
    int32_t *predicted = km_new(count, sizeof *predicted);
    for (size_t i = 0; i < count; i++) {
        predicted[i] = km_best_class(outputs + i * (size_t)task->label_count, task->label_count);
    }
    value = km_metric_of_classes(metric, task->classes[split], predicted, count, task->label_count, task->positive);
    free(predicted);
    return value;
}

int32_t km_best_class(const float *logits, int count) {
    int best = 0;
    for (int i = 1; i < count; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

/* ---- All of it ---- */

km_status km_task_open(km_task *task, const km_task_config *config) {
    *task = (km_task){.numbers = strcmp(config->kind, "regression") == 0};
    KM_TRY(read_metrics(task, config));
    KM_TRY(read_splits(task, config));
    KM_TRY(share_train(task, config));
    if (task->numbers) {
        task->label_count = 1;
    } else {
        KM_TRY(collect_labels(task, config));
    }
    for (int split = 0; split < KM_SPLITS; split++) {
        KM_TRY(label_split(task, split));
    }
    return task->numbers ? KM_OK : check_classes(task, config);
}

void km_task_free(km_task *task) {
    for (int i = 0; task->labels != NULL && i < task->label_count; i++) {
        free(task->labels[i]);
    }
    free(task->labels);
    for (int split = 0; split < KM_SPLITS; split++) {
        km_records_free(&task->records[split]);
        free(task->classes[split]);
        free(task->values[split]);
    }
    *task = (km_task){0};
}
