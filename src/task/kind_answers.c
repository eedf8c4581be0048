/* kind_answers: text-to-text tasks. An encoder-decoder is trained to write the first accepted answer to each question, and is scored on
 * what it writes by beam search. */
#include "pairs.h"
#include "preset.h"
#include "questions.h"
#include "tuner.h"

#include <stdlib.h>
#include <string.h>

/* ---- Data ---- */

/* A table has no header unless the config says so, and the question and the answer are its first two columns. */
static km_status read(km_records *out, const km_task_config *config, int split) {
    const char *const paths[KM_SPLITS] = {config->train, config->dev, config->test};
    km_columns columns = km_task_columns(config, split);
    columns.header = config->header && km_given(&km_task_section, config, "header");
    columns.text[0] = config->text.count > 0 ? columns.text[0] : "1";
    columns.label = config->label[0] != '\0' ? config->label : "2";
    return km_questions_read(out, paths[split], &columns);
}

static km_status label(km_task *task, const km_task_config *config) {
    (void)config;
    task->label_count = 1;
    for (int split = 0; split < KM_SPLITS; split++) {
        const km_records *records = &task->records[split];
        size_t answered = 0;
        for (size_t i = 0; i < records->count; i++) {
            answered += records->items[i].accepted_count > 0;
        }
        if (answered > 0 && answered < records->count) {
            return km_fail(KM_FAILED, "%s: %zu of %zu questions have no answer, expected one for all or for none.",
                           records->items[0].path, records->count - answered, records->count);
        }
        task->labelled[split] = answered > 0;
    }
    return KM_OK;
}

static double score(const km_task *task, int split, km_metric metric, const km_outputs *outputs) {
    double sum = 0;
    for (size_t i = 0; i < outputs->count; i++) {
        const km_record *record = &task->records[split].items[i];
        const km_answer answer = {.predicted = outputs->texts[i],
                                  .accepted = record->accepted,
                                  .accepted_count = record->accepted_count,
                                  .options = record->options,
                                  .option_count = record->option_count};
        sum += km_metric_of_answer(metric, &answer);
    }
    return sum / (double)outputs->count;
}

static void identify(km_buffer *out, const km_finetune_input *input) {
    const km_finetune_config *f = &input->finetune;
    km_buffer_print(out, " %.17g %s %lld %lld %lld %.17g %lld", f->label_smoothing, f->smoothing_form,
                    (long long)f->beam, (long long)f->min_length, (long long)f->max_length, f->length_penalty,
                    (long long)f->no_repeat_ngram);
}

/* ---- The model ---- */

static km_generate_options generate_options(const km_tuner *t) {
    const km_finetune_config *f = &t->input->finetune;
    km_generate_options options = {.beams = (int)f->beam,
                                   .min_length = (int)f->min_length,
                                   .max_length = (int)f->max_length,
                                   .length_penalty = f->length_penalty,
                                   .no_repeat_ngram = (int)f->no_repeat_ngram};
    km_generate_take_tokens(&options, t->bundle);
    return options;
}

static int target_length(const km_tuner *t) {
    const km_task_config *task = &t->input->task;
    return (int)(task->target_length > 0 ? task->target_length : task->length);
}

/* ---- What a model's file says of its fine-tuning, for predictions ---- */

static const char TASK[] = "task";

static void note_task(km_bundle *bundle, const km_task_config *task, int target) {
    km_json *json = km_json_object();
    km_json_set_string(json, "kind", km_kind_seq2seq.name);
    km_json_set_number(json, "length", (double)task->length);
    km_json_set_number(json, "target_length", target);
    km_json_set_boolean(json, "context_in_source", task->context_in_source);
    km_json_set_boolean(json, "lower_case", task->lower_case);
    km_bundle_note(bundle, TASK, json);
}

void km_task_recall(km_task_config *task, const km_bundle *bundle) {
    km_json *json = km_bundle_noted(bundle, TASK);
    const double longest = (double)km_model_longest(&bundle->shape);
    task->length = (int64_t)km_json_number_or(json, "length", longest);
    task->target_length = (int64_t)km_json_number_or(json, "target_length", longest);
    (void)km_json_boolean(&task->context_in_source, km_json_get(json, "context_in_source"));
    (void)km_json_boolean(&task->lower_case, km_json_get(json, "lower_case"));
    km_json_destroy(json);
}

static km_status open_model(km_tuner *t, const char *init, uint64_t seed) {
    (void)seed; /* nothing is fresh */
    KM_TRY(km_bundle_open(&t->bundle, init));
    const km_model_config *shape = &t->bundle->shape;
    if (km_model_decoder_start(shape) < 0) {
        return km_fail(KM_USAGE,
                       "%s: a model without a decoder, expected an encoder-decoder for task.kind seq2seq.", init);
    }
    const int64_t longest = KM_MAX(t->input->task.length, (int64_t)target_length(t));
    KM_TRY(km_model_config_check(shape, longest) == KM_OK ? KM_OK : km_context(KM_USAGE, "%s", init));
    if (t->input->finetune.dropout >= 0) {
        KM_TRY(km_tuner_set_dropout(t, KM_HEAD_TOKENS, t->input->finetune.dropout));
    }
    const km_generate_options options = generate_options(t);
    note_task(t->bundle, &t->input->task, target_length(t));
    km_generate_note_settings(t->bundle, &options);
    return km_generate_options_check(t->bundle->model, &options);
}

static void make_examples(km_tuner *t, int split) {
    const km_task_config *task = &t->input->task;
    const km_pairs_options options = {.length = (int)task->length,
                                      .target_length = target_length(t),
                                      .context = task->context_in_source,
                                      .lower = task->lower_case};
    km_pairs_make(&t->examples[split], t->bundle, &t->task->records[split], &options);
}

static km_status make_source(km_source **out, const km_tuner *t, uint64_t seed) {
    const km_examples *train = &t->examples[KM_TRAIN];
    const km_source_pairs_options options = {.seed = seed,
                                             .decoder_start = (int32_t)km_model_decoder_start(&t->bundle->shape)};
    return km_source_pairs_create(out, train->pairs, train->count, &options);
}

/* ---- Answers ---- */

static void list_sources(km_sources *out, const km_examples *examples) {
    *out = (km_sources){.count = examples->count, .starts = km_new(examples->count + 1, sizeof *out->starts)};
    out->ids = km_new(examples->tokens + 1, sizeof *out->ids);
    for (size_t i = 0; i < examples->count; i++) {
        const km_pair *pair = &examples->pairs[i];
        memcpy(out->ids + out->starts[i], pair->ids, (size_t)pair->length * sizeof *out->ids);
        out->starts[i + 1] = out->starts[i] + (uint64_t)pair->length;
    }
}

/* What rank 0 collects: each answer's score and text, with a NUL. */
typedef struct collection {
    const km_bundle *bundle;
    km_buffer answers;
} collection;

static km_status collect(void *payload, const int32_t *ids, int count, float of_answer) {
    collection *c = payload;
    char *text = km_decode(c->bundle->tokenizer, ids, (size_t)count, true);
    km_buffer_add(&c->answers, &of_answer, sizeof of_answer);
    km_buffer_add(&c->answers, text, strlen(text) + 1);
    free(text);
    return KM_OK;
}

/* All ranks get rank 0's answers. */
static void share_answers(const km_tuner *t, collection *c, km_outputs *out) {
    uint64_t size = c->answers.size;
    km_comm_broadcast(t->comm, &size, sizeof size);
    char *bytes = km_new(size + 1, 1), *at = bytes;
    if (km_comm_rank(t->comm) == 0) {
        memcpy(bytes, c->answers.data, size);
    }
    km_comm_broadcast(t->comm, bytes, size);
    out->texts = km_new(out->count, sizeof *out->texts);
    for (size_t i = 0; i < out->count; i++) {
        memcpy(&out->values[i], at, sizeof out->values[i]);
        at += sizeof out->values[i];
        out->texts[i] = km_strdup(at);
        at += strlen(at) + 1;
    }
    free(bytes);
}

static km_status predict(const km_tuner *t, const float *weights, int split, km_outputs *out) {
    km_bundle *bundle = t->bundle;
    km_sources sources;
    collection c = {.bundle = bundle};
    const km_generate_options options = generate_options(t);
    if (weights != bundle->weights) { /* generation reads the bundle's */
        memcpy(bundle->weights, weights, km_model_table(bundle->model)->size * sizeof *weights);
    }
    list_sources(&sources, &t->examples[split]);
    const km_phase before = km_heartbeat_phase(t->comm, KM_EVALUATING);
    km_status status = km_generate(t->comm, bundle, &sources, &options, false, collect, &c);
    if (status == KM_OK) {
        share_answers(t, &c, out);
    }
    (void)km_heartbeat_phase(t->comm, before);
    km_buffer_free(&c.answers);
    km_sources_free(&sources);
    return status;
}

/* ---- Predictions, as objects a line ---- */

static void print_answer(km_buffer *out, const km_task *task, int split, size_t index, const km_outputs *outputs) {
    const km_record *record = &task->records[split].items[index];
    km_json *object = km_json_object(), *accepted = km_json_array();
    if (record->id != NULL) {
        km_json_set_string(object, "id", record->id);
    }
    km_json_set_string(object, "source", record->text);
    km_json_set_string(object, "prediction", outputs->texts[index]);
    km_json_set_number(object, "score", (double)outputs->values[index]);
    for (int i = 0; i < record->accepted_count; i++) {
        km_json_push_string(accepted, record->accepted[i]);
    }
    km_json_set(object, "target", accepted);
    char *line = km_json_print(object, false);
    km_buffer_print(out, "%s\n", line);
    free(line);
    km_json_destroy(object);
}

const km_task_kind km_kind_seq2seq = {.name = "seq2seq",
                                      .measures = KM_METRIC_OF_ANSWERS,
                                      .measured = "answers",
                                      .fitting = "em, em_regex, has_answer, f1_token, rouge_l or choice",
                                      .metrics = "em,f1_token",
                                      .read = read,
                                      .label = label,
                                      .score = score,
                                      .identify = identify,
                                      .open = open_model,
                                      .make_examples = make_examples,
                                      .make_source = make_source,
                                      .predict = predict,
                                      .ending = ".jsonl",
                                      .heading = "",
                                      .print = print_answer};
