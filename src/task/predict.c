/* predict: what a fine-tuned model says of every text of a file, or answers to every question. */
#include "questions.h"
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

static km_status check_length(const km_bundle *bundle, int64_t length) {
    return km_model_config_check(&bundle->shape, length) == KM_OK ? KM_OK : km_context(KM_USAGE, "--length");
}

static km_status open_classifier(km_tuner *tuner, km_task *task, const char *model, const char *in,
                                 const km_columns *columns, int length) {
    KM_TRY(read_labels(task, tuner->bundle->classifier, model, &length));
    KM_TRY(check_length(tuner->bundle, length));
    km_columns own = *columns;
    own.text[0] = own.text[0] != NULL ? own.text[0] : "text";
    KM_TRY(km_records_read(&task->records[KM_TEST], in, &own));
    km_examples_make(&tuner->examples[KM_TEST], tuner->bundle, &task->records[KM_TEST], length);
    return KM_OK;
}

/* ---- Questions ---- */

static km_status read_questions(km_records *out, const char *in, const km_columns *columns) {
    km_columns own = *columns;
    if (own.pair != NULL) {
        return km_fail(KM_USAGE,
                       "--text-pair: found %s, expected nothing: the model answers questions, which have "
                       "their context in the file",
                       own.pair);
    }
    if (own.text[0] == NULL) { /* a table as task.kind seq2seq reads it */
        own.header = false;
        own.text[0] = "1";
        own.label = "2";
    }
    own.label_may_lack = true;
    return km_questions_read(out, in, &own);
}

/* The fine-tuning's options of sources and answers, as far as the model's file says what they were. */
static km_status recall_options(km_finetune_input *input, const km_bundle *bundle, const char *model, int length) {
    km_generate_options options;
    KM_TRY(km_generate_take_settings(&options, bundle, model));
    input->finetune = (km_finetune_config){.dropout = -1,
                                           .beam = options.beams,
                                           .min_length = options.min_length,
                                           .max_length = options.max_length,
                                           .length_penalty = options.length_penalty,
                                           .no_repeat_ngram = options.no_repeat_ngram};
    km_task_recall(&input->task, bundle);
    input->task.length = length > 0 ? length : input->task.length;
    return check_length(bundle, input->task.length);
}

static km_status open_answerer(km_tuner *tuner, km_task *task, km_finetune_input *input, const char *model,
                               const char *in, const km_columns *columns, int length) {
    if (km_model_decoder_start(&tuner->bundle->shape) < 0) {
        return km_fail(KM_FAILED,
                       "%s: a model that predicts tokens, expected a classifier or an encoder-decoder. `kmask "
                       "finetune` makes one.",
                       model);
    }
    task->kind = &km_kind_seq2seq;
    task->label_count = 1;
    KM_TRY(recall_options(input, tuner->bundle, model, length));
    KM_TRY(read_questions(&task->records[KM_TEST], in, columns));
    task->kind->make_examples(tuner, KM_TEST);
    return KM_OK;
}

static km_status open_all(km_tuner *tuner, km_task *task, km_finetune_input *input, const char *model,
                          const char *in, const km_columns *columns, int length) {
    KM_TRY(km_bundle_open_any(&tuner->bundle, model));
    return tuner->bundle->classifier != NULL ? open_classifier(tuner, task, model, in, columns, length)
                                             : open_answerer(tuner, task, input, model, in, columns, length);
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

static void print_line(km_buffer *out, const km_task *task, size_t index, const km_outputs *outputs) {
    const float *own = outputs->values + index * (size_t)task->label_count;
    if (outputs->texts != NULL) {
        task->kind->print(out, task, KM_TEST, index, outputs);
        return;
    }
    if (task->numbers) {
        km_buffer_print(out, "%zu\t%.9g", index, (double)own[0]);
    } else {
        km_buffer_print(out, "%zu\t%s", index, task->labels[km_best_class(own, task->label_count)]);
        print_probabilities(out, own, task->label_count);
    }
    km_buffer_print(out, "\n");
}

static void print_heading(km_buffer *out, const km_task *task) {
    km_buffer_print(out, "index\tprediction");
    for (int i = 0; i < task->label_count && !task->numbers; i++) {
        km_buffer_print(out, "\tp(%s)", task->labels[i]);
    }
    km_buffer_print(out, "\n");
}

static km_status write_lines(const km_task *task, const km_outputs *outputs, const char *path) {
    km_buffer text = {0};
    if (outputs->texts == NULL) {
        print_heading(&text, task);
    }
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
    km_finetune_input *input = km_new(1, sizeof *input);
    km_tuner tuner = {.comm = comm, .task = &task, .input = input};
    km_outputs outputs = {0};
    km_status status = km_comm_agree(comm, km_comm_rank(comm) == 0 ? km_out_check(out) : KM_OK);
    status =
        status == KM_OK ? km_comm_agree(comm, open_all(&tuner, &task, input, model, in, columns, length)) : status;
    if (status == KM_OK) {
        status = km_tuner_predict(&tuner, tuner.bundle->weights, KM_TEST, &outputs);
    }
    if (status == KM_OK) {
        status = km_comm_agree(comm, km_comm_rank(comm) == 0 ? write_lines(&task, &outputs, out) : KM_OK);
    }
    km_outputs_free(&outputs);
    km_tuner_close(&tuner);
    km_task_free(&task);
    free(input);
    return status;
}
