/* tuner: a model and a task's examples, and what the model predicts for them. */
#include "tuner.h"

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

/* The table does not depend on shares of dropout, so the weights stay. */
km_status km_tuner_set_dropout(km_tuner *tuner, km_head_kind head, double share) {
    km_bundle *bundle = tuner->bundle;
    km_model_config *shape = &bundle->shape;
    shape->hidden_dropout_prob = shape->attention_probs_dropout_prob = share;
    shape->dropout = shape->attention_dropout = shape->activation_dropout = share;
    shape->has_classifier_dropout = false;
    km_model *model = NULL;
    KM_TRY(km_model_create(&model, shape, head));
    km_model_destroy(bundle->model);
    bundle->model = model;
    return KM_OK;
}

km_status km_tuner_open(km_tuner *out, km_comm *comm, const km_task *task, const km_finetune_input *input,
                        const char *init, uint64_t seed) {
    *out = (km_tuner){.comm = comm, .task = task, .input = input};
    KM_TRY(task->kind->open(out, init, seed));
    for (int split = 0; split < KM_SPLITS; split++) {
        task->kind->make_examples(out, split);
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

km_status km_tuner_predict_values(const km_tuner *tuner, const float *weights, int split, km_outputs *out) {
    const km_examples *examples = &tuner->examples[split];
    const size_t count = out->count * (size_t)out->width;
    prediction p = {.tuner = tuner, .weights = weights, .bits = km_new(count, sizeof(int64_t))};
    const km_phase before = km_heartbeat_phase(tuner->comm, KM_EVALUATING);
    km_status status = km_comm_agree(tuner->comm, predict_share(&p, examples));
    if (status == KM_OK) {
        sum_all(tuner->comm, p.bits, count);
        unpack(out->values, p.bits, count);
    }
    (void)km_heartbeat_phase(tuner->comm, before);
    km_work_destroy(p.work);
    km_reader_destroy(p.reader);
    free(p.bits);
    return status;
}

km_status km_tuner_predict(const km_tuner *tuner, const float *weights, int split, km_outputs *out) {
    *out = (km_outputs){.count = tuner->examples[split].count, .width = tuner->task->label_count};
    out->values = km_new(KM_MAX(out->count, 1) * (size_t)out->width, sizeof *out->values);
    return out->count > 0 ? tuner->task->kind->predict(tuner, weights, split, out) : KM_OK;
}

void km_outputs_free(km_outputs *outputs) {
    for (size_t i = 0; outputs->texts != NULL && i < outputs->count; i++) {
        free(outputs->texts[i]);
    }
    free(outputs->texts);
    free(outputs->values);
    *outputs = (km_outputs){0};
}

km_json *km_tuner_scores(const km_tuner *tuner, int split, const km_outputs *outputs) {
    km_json *scores = km_json_object();
    for (int i = 0; i < tuner->task->metric_count; i++) {
        const km_metric metric = tuner->task->metrics[i];
        km_json_set_number(scores, km_metric_name(metric),
                           tuner->task->kind->score(tuner->task, split, metric, outputs));
    }
    return scores;
}
