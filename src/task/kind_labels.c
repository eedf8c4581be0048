/* kind_labels: classification and regression, the tasks whose answers are a class or a number for each text. */
#include "preset.h"
#include "records.h"
#include "tuner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static km_status read(km_records *out, const km_task_config *config, int split) {
    const char *const paths[KM_SPLITS] = {config->train, config->dev, config->test};
    const km_columns columns = km_task_columns(config, split);
    return km_records_read(out, paths[split], &columns);
}

/* ---- Labels of records ---- */

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
                               record->path, (unsigned long long)record->line, record->label, km_split_names[split],
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
    task->labelled[split] = true;
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

static km_status label_splits(km_task *task) {
    for (int split = 0; split < KM_SPLITS; split++) {
        KM_TRY(label_split(task, split));
    }
    return KM_OK;
}

static km_status label_classes(km_task *task, const km_task_config *config) {
    KM_TRY(collect_labels(task, config));
    KM_TRY(label_splits(task));
    return check_classes(task, config);
}

static km_status label_numbers(km_task *task, const km_task_config *config) {
    (void)config;
    task->numbers = true;
    task->label_count = 1;
    return label_splits(task);
}

/* ---- Scores ---- */

static double score_numbers(const km_task *task, int split, km_metric metric, const km_outputs *outputs) {
    double *numbers = km_new(outputs->count, sizeof *numbers);
    for (size_t i = 0; i < outputs->count; i++) {
        numbers[i] = (double)outputs->values[i];
    }
    const double value = km_metric_of_numbers(metric, task->values[split], numbers, outputs->count);
    free(numbers);
    return value;
}

static double score_classes(const km_task *task, int split, km_metric metric, const km_outputs *outputs) {
    int32_t *predicted = km_new(outputs->count, sizeof *predicted);
    for (size_t i = 0; i < outputs->count; i++) {
        predicted[i] = km_best_class(outputs->values + i * (size_t)task->label_count, task->label_count);
    }
    const double value = km_metric_of_classes(metric, task->classes[split], predicted, outputs->count,
                                              task->label_count, task->positive);
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

/* ---- The model ---- */

static char *describe_labels(const km_task *task, const km_model_config *shape, int64_t length) {
    km_json *json = km_json_object(), *labels = km_json_array();
    for (int i = 0; i < task->label_count; i++) {
        km_json_push_string(labels, task->numbers ? "LABEL_0" : task->labels[i]);
    }
    km_json_set_number(json, "num_labels", task->label_count);
    km_json_set(json, "labels", labels);
    km_json_set_string(json, "problem_type", task->numbers ? "regression" : "single_label_classification");
    km_json_set_number(json, "length", (double)length);
    if (shape->has_classifier_dropout) {
        km_json_set_number(json, "classifier_dropout", shape->classifier_dropout);
    }
    char *text = km_json_print(json, false);
    km_json_destroy(json);
    return text;
}

/* `seed`: of what is fresh in the head. */
static km_status open_model(km_tuner *t, const char *init, uint64_t seed) {
    const km_finetune_input *input = t->input;
    KM_TRY(km_bundle_open_classifier(&t->bundle, init, t->task->label_count, seed));
    const int64_t longest = km_model_longest(&t->bundle->shape);
    if (input->task.length > longest) {
        return km_fail(KM_USAGE,
                       "task.length: found %lld, expected at most %lld, the longest text that %s can read",
                       (long long)input->task.length, (long long)longest, init);
    }
    if (input->finetune.dropout >= 0) {
        KM_TRY(km_tuner_set_dropout(t, KM_HEAD_CLASSES, input->finetune.dropout));
    }
    t->bundle->classifier = describe_labels(t->task, &t->bundle->shape, input->task.length);
    return KM_OK;
}

static void make_examples(km_tuner *t, int split) {
    km_examples *examples = &t->examples[split];
    km_examples_make(examples, t->bundle, &t->task->records[split], (int)t->input->task.length);
    for (size_t i = 0; i < examples->count; i++) {
        if (t->task->classes[split] != NULL) {
            examples->items[i].label = t->task->classes[split][i];
            examples->items[i].number = (float)t->task->values[split][i];
        }
    }
}

static km_status make_source(km_source **out, const km_tuner *t, uint64_t seed) {
    const km_examples *train = &t->examples[KM_TRAIN];
    const km_source_examples_options options = {.seed = seed, .numbers = t->task->numbers};
    return km_source_examples_create(out, train->items, train->count, &options);
}

/* ---- Predictions, in GLUE's form ---- */

static void print_number(km_buffer *out, const km_task *task, int split, size_t index, const km_outputs *outputs) {
    (void)task, (void)split;
    km_buffer_print(out, "%zu\t%.9g\n", index, (double)outputs->values[index]);
}

static void print_class(km_buffer *out, const km_task *task, int split, size_t index, const km_outputs *outputs) {
    (void)split;
    const float *logits = outputs->values + index * (size_t)task->label_count;
    km_buffer_print(out, "%zu\t%s\n", index, task->labels[km_best_class(logits, task->label_count)]);
}

const km_task_kind km_kind_classification = {.name = "classification",
                                             .measures = KM_METRIC_OF_CLASSES,
                                             .measured = "classes",
                                             .fitting = "accuracy, f1, f1_macro, f1_micro or matthews",
                                             .metrics = "accuracy",
                                             .read = read,
                                             .label = label_classes,
                                             .score = score_classes,
                                             .open = open_model,
                                             .make_examples = make_examples,
                                             .make_source = make_source,
                                             .predict = km_tuner_predict_values,
                                             .ending = ".tsv",
                                             .heading = "index\tprediction\n",
                                             .print = print_class};

const km_task_kind km_kind_regression = {.name = "regression",
                                         .measures = KM_METRIC_OF_NUMBERS,
                                         .measured = "numbers",
                                         .fitting = "pearson or spearman",
                                         .metrics = "pearson,spearman",
                                         .read = read,
                                         .label = label_numbers,
                                         .score = score_numbers,
                                         .open = open_model,
                                         .make_examples = make_examples,
                                         .make_source = make_source,
                                         .predict = km_tuner_predict_values,
                                         .ending = ".tsv",
                                         .heading = "index\tprediction\n",
                                         .print = print_number};
