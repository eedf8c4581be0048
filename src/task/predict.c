/* predict: what a fine-tuned model says of every text of a file. */
#include "tuner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the model's file says of its labels, as a task without data. */
static km_status read_labels(km_task *task, const char *classifier, const char *path, int *length) {
    km_json *json = NULL;
    KM_TRY(km_json_parse(&json, classifier, strlen(classifier), path));
    const km_json *labels = km_json_get(json, "labels");
    task->numbers = km_json_size(labels) == 1;
    task->kind = task->numbers ? &km_kind_regression : &km_kind_classification;
    task->labels = km_new(km_json_size(labels) + 1, sizeof *task->labels);
    for (const km_json *item = km_json_first(labels); item != NULL; item = km_json_next(item)) {
        const char *name = km_json_string(item);
        task->labels[task->label_count++] = km_strdup(name != NULL ? name : "");
    }
    *length = *length > 0 ? *length : (int)km_json_number_or(json, "length", 128);
    km_json_destroy(json);
    return KM_OK;
}

static km_status open_all(km_tuner *tuner, km_task *task, const char *model, const char *in,
                          const km_columns *columns, int length) {
    KM_TRY(km_bundle_open_any(&tuner->bundle, model));
    if (tuner->bundle->classifier == NULL) {
        return km_fail(KM_FAILED,
                       "%s: a model that predicts tokens, expected a classifier. `kmask finetune` makes one.",
                       model);
    }
    KM_TRY(read_labels(task, tuner->bundle->classifier, model, &length));
    KM_TRY(km_model_config_check(&tuner->bundle->shape, length) == KM_OK ? KM_OK
                                                                         : km_context(KM_USAGE, "--length"));
    KM_TRY(km_records_read(&task->records[KM_TEST], in, columns));
    km_examples_make(&tuner->examples[KM_TEST], tuner->bundle, &task->records[KM_TEST], length);
    return KM_OK;
}

/* ---- Writing ---- */

static void print_probabilities(km_buffer *out, const float *logits, int count) {
    double sum = 0;
    const double largest = (double)logits[km_best_class(logits, count)];
    for (int i = 0; i < count; i++) {
        sum += exp((double)logits[i] - largest);
    }
    for (int i = 0; i < count; i++) {
        km_buffer_print(out, "\t%.6f", exp((double)logits[i] - largest) / sum);
    }
}

static void print_line(km_buffer *out, const km_task *task, size_t index, const float *outputs) {
    const float *own = outputs + index * (size_t)task->label_count;
    if (task->numbers) {
        km_buffer_print(out, "%zu\t%.9g", index, (double)own[0]);
    } else {
        km_buffer_print(out, "%zu\t%s", index, task->labels[km_best_class(own, task->label_count)]);
        print_probabilities(out, own, task->label_count);
    }
    km_buffer_print(out, "\n");
}

static km_status write_lines(const km_task *task, const float *outputs, const char *path) {
    km_buffer text = {0};
    km_buffer_print(&text, "index\tprediction");
    for (int i = 0; i < task->label_count && !task->numbers; i++) {
        km_buffer_print(&text, "\tp(%s)", task->labels[i]);
    }
    km_buffer_print(&text, "\n");
    for (size_t i = 0; i < task->records[KM_TEST].count; i++) {
        print_line(&text, task, i, outputs);
    }
    km_status status = km_out_replace(path, text.data, text.size);
    km_buffer_free(&text);
    return status;
}

km_status km_predict(km_comm *comm, const char *model, const char *in, const char *out, const km_columns *columns,
                     int length) {
    km_task task = {0};
    km_tuner tuner = {.comm = comm, .task = &task};
    km_outputs outputs = {0};
    km_status status = km_comm_agree(comm, km_comm_rank(comm) == 0 ? km_out_check(out) : KM_OK);
    status = status == KM_OK ? km_comm_agree(comm, open_all(&tuner, &task, model, in, columns, length)) : status;
    if (status == KM_OK) {
        status = km_tuner_predict(&tuner, tuner.bundle->weights, KM_TEST, &outputs);
    }
    if (status == KM_OK) {
        status = km_comm_agree(comm, km_comm_rank(comm) == 0 ? write_lines(&task, outputs.values, out) : KM_OK);
    }
    km_outputs_free(&outputs);
    km_tuner_close(&tuner);
    km_task_free(&task);
    return status;
}
