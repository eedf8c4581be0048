/* tuner: a model and a task's examples, and what the model predicts for them. */
#include "search.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOKENS = 1024,
    MOST = 64,
    ROUND = 16
}; /* of a micro-batch; its examples; micro-batches that are made at a time */

/* ---- Opening ---- */

/* The model once more, with other shares of dropout: its table is the same. */
static km_status set_dropout(km_bundle *bundle, double share) {
    bundle->shape.hidden_dropout_prob = bundle->shape.attention_probs_dropout_prob = share;
    bundle->shape.has_classifier_dropout = false;
    km_model *model = NULL;
    KM_TRY(km_model_create(&model, &bundle->shape, KM_HEAD_CLASSES));
    km_model_destroy(bundle->model);
    bundle->model = model;
    return KM_OK;
}

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

static void label_examples(km_tuner *t, int split) {
    km_examples *examples = &t->examples[split];
    for (size_t i = 0; i < examples->count; i++) {
        if (t->task->classes[split] != NULL) {
            examples->items[i].label = t->task->classes[split][i];
            examples->items[i].number = (float)t->task->values[split][i];
        }
    }
}

km_status km_tuner_open(km_tuner *out, km_comm *comm, const km_task *task, const km_finetune_input *input,
                        const char *init, uint64_t seed) {
    *out = (km_tuner){.comm = comm, .task = task};
    KM_TRY(km_bundle_open_classifier(&out->bundle, init, task->label_count, seed));
    KM_TRY(km_model_config_check(&out->bundle->shape, input->task.length) == KM_OK
               ? KM_OK
               : km_context(KM_USAGE, "%s", init));
    if (input->finetune.dropout >= 0) {
        KM_TRY(set_dropout(out->bundle, input->finetune.dropout));
    }
    out->bundle->classifier = describe_labels(task, &out->bundle->shape, input->task.length);
    for (int split = 0; split < KM_SPLITS; split++) {
        km_examples_make(&out->examples[split], out->bundle, &task->records[split], (int)input->task.length);
        label_examples(out, split);
    }
    return KM_OK;
}

void km_tuner_close(km_tuner *tuner) {
    for (int split = 0; split < KM_SPLITS; split++) {
        km_examples_free(&tuner->examples[split]);
    }
    km_bundle_close(tuner->bundle);
    *tuner = (km_tuner){0};
}

/* ---- Predicting ---- */

/* This rank's share of a split's micro-batches. */
typedef struct prediction {
    const km_tuner *tuner;
    const float *weights;
    km_reader *reader;
    km_work *work;
    int64_t *bits; /* (count * labels) of all examples; 0 where another rank predicts */
} prediction;

/* A function of the examples alone, so that the bits do not depend on the ranks. */
static int64_t micro_batch_of(const km_examples *examples) {
    const uint64_t mean = KM_MAX(examples->tokens / KM_MAX(examples->count, 1), 1);
    return (int64_t)KM_MAX(KM_MIN(TOKENS / mean, (uint64_t)MOST), 1);
}

static void keep(prediction *p, const km_batch *batch, const float *logits) {
    const int labels = p->tuner->task->label_count;
    for (int view = 0; view < batch->views; view++) {
        for (int i = 0; i < labels; i++) {
            uint32_t word = 0;
            memcpy(&word, &logits[view * labels + i], sizeof word);
            p->bits[batch->rows[view] * (uint64_t)labels + (uint64_t)i] = (int64_t)word;
        }
    }
}

static km_status predict_round(prediction *p, int first, int count) {
    const km_batch *batches = NULL;
    km_reader_request(p->reader, 0, first, count);
    KM_TRY(km_reader_take(p->reader, &batches, &count));
    for (int i = 0; i < count; i++) {
        km_heartbeat_progress(p->tuner->comm);
        keep(p, &batches[i], km_model_logits(p->tuner->bundle->model, p->weights, &batches[i], p->work));
    }
    return KM_OK;
}

static km_status predict_share(prediction *p, const km_examples *examples) {
    const km_source_examples_options options = {.ordered = true, .numbers = p->tuner->task->numbers};
    km_source *source = NULL;
    KM_TRY(km_source_examples_create(&source, examples->items, examples->count, &options));
    KM_TRY(km_reader_create(&p->reader, source, (int64_t)examples->count, micro_batch_of(examples)));
    const km_work_options work = {.limits = km_reader_limits(p->reader)};
    KM_TRY(km_work_create(&p->work, p->tuner->bundle->model, &work));
    uint64_t first = 0, number = 0;
    km_share(&first, &number, (uint64_t)km_reader_micro_batches(p->reader), km_comm_rank(p->tuner->comm),
             km_comm_size(p->tuner->comm));
    for (uint64_t done = 0; done < number; done += ROUND) {
        KM_TRY(predict_round(p, (int)(first + done), (int)KM_MIN(number - done, (uint64_t)ROUND)));
    }
    return KM_OK;
}

static void unpack(float *outputs, const int64_t *bits, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t word = (uint32_t)bits[i];
        memcpy(&outputs[i], &word, sizeof word);
    }
}

static void sum_all(km_comm *comm, int64_t *values, size_t count) {
    enum { PIECE = 1 << 24 };
    for (size_t done = 0; done < count; done += PIECE) {
        km_comm_sum(comm, values + done, (int)KM_MIN(count - done, (size_t)PIECE));
    }
}

km_status km_tuner_predict(const km_tuner *tuner, const float *weights, int split, float *outputs) {
    const km_examples *examples = &tuner->examples[split];
    const size_t count = examples->count * (size_t)tuner->task->label_count;
    prediction p = {.tuner = tuner, .weights = weights, .bits = km_new(count, sizeof(int64_t))};
    const km_phase before = km_heartbeat_phase(tuner->comm, KM_EVALUATING);
    km_status status = km_comm_agree(tuner->comm, predict_share(&p, examples));
    if (status == KM_OK) {
        sum_all(tuner->comm, p.bits, count);
        unpack(outputs, p.bits, count);
    }
    (void)km_heartbeat_phase(tuner->comm, before);
    km_work_destroy(p.work);
    km_reader_destroy(p.reader);
    free(p.bits);
    return status;
}

km_json *km_tuner_scores(const km_tuner *tuner, int split, const float *outputs) {
    km_json *scores = km_json_object();
    for (int i = 0; i < tuner->task->metric_count; i++) {
        const km_metric metric = tuner->task->metrics[i];
        km_json_set_number(scores, km_metric_name(metric), km_task_score(tuner->task, split, metric, outputs));
    }
    return scores;
}
