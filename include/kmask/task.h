/* task: what a pre-trained model is worth. Labelled data, fine-tuning with search and seeds, and predictions. Everything is local unless it says "Collective".
 *
 * A *task* is labelled data and what counts on it. A *run* of fine-tuning trains one model on it with one seed, learning rate and
 * batch. A *search* is all runs that a config asks for. */
#ifndef KMASK_TASK_H
#define KMASK_TASK_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/data.h"
#include "kmask/metric.h"
#include "kmask/modelfile.h"
#include "kmask/run.h"

/* ---- Options ---------------------------------------------------------------------------------------------------- */

typedef struct km_task_config {
    uint64_t given;
    char kind[KM_WORD], preset[KM_WORD];
    char train[KM_PATH], dev[KM_PATH], test[KM_PATH];
    km_texts text; /* columns; several are joined by a blank */
    char text_pair[KM_PATH], label[KM_PATH];
    bool header;
    km_texts metrics, labels;
    int64_t length;
    double train_share, dev_share, test_share, matched_share;
    int64_t train_seed;
    char name[KM_PATH]; /* what tables call the task */
    /* Of text-to-text tasks: */
    bool context_in_source, lower_case;
    int64_t target_length; /* 0: as length */
} km_task_config;

typedef struct km_finetune_config {
    uint64_t given;
    km_texts init;
    double epochs;
    int64_t steps; /* 0: from epochs */
    km_numbers batch;
    km_doubles lr;
    char search[KM_WORD], schedule[KM_WORD], precision[KM_WORD];
    double warmup; /* below 1 a share of the steps, else steps */
    double weight_decay, beta1, beta2, eps, clip;
    double dropout; /* negative: the model's own shares */
    km_numbers seeds;
    int64_t patience, evaluate_every, micro_batch, ranks_per_run;
    double evaluate_epochs; /* in place of evaluate_every, in epochs; 0: not given */
    /* Of text-to-text tasks: */
    double label_smoothing;
    char smoothing_form[KM_WORD];
    int64_t beam, min_length, max_length, no_repeat_ngram;
    double length_penalty;
} km_finetune_config;
extern const km_section km_task_section, km_finetune_section;

/* The config of `kmask finetune`. Plain bytes: ranks broadcast it as it is. */
typedef struct km_finetune_input {
    km_run_config run;
    km_task_config task;
    km_finetune_config finetune;
    km_parallel_config parallel;
} km_finetune_input;
extern const km_schema km_finetune_schema;
/* Reads and checks a config and fills in presets and defaults. Every failure is KM_USAGE. */
km_status km_finetune_load(km_finetune_input *out, const km_config_source *source) KM_NODISCARD;

/* ---- Labelled data ---------------------------------------------------------------------------------------------- */

/* One record of a file; texts are owned by the set. */
typedef struct km_record {
    const char *text, *pair, *label; /* pair NULL: a single text; label NULL: it has none */
    const char *id;                  /* the record's own, in files that have such; else NULL */
    /* Of a text-to-text record, whose pair is its context: the answers that are accepted, of which `label` is the first; and the
     * options of a multiple choice. */
    const char *const *accepted, *const *options;
    int accepted_count, option_count;
    const char *path;
    uint64_t line; /* where it begins, from 1 */
} km_record;
typedef struct km_records {
    km_record *items;
    size_t count, capacity;
    char **texts; /* of the files, cut into fields */
    size_t text_count;
} km_records;

typedef enum km_table_form { KM_TABLE_TSV, KM_TABLE_CSV, KM_TABLE_JSONL, KM_TABLE_XML } km_table_form;
/* By the name of the file, ".gz" aside: .csv, .jsonl (.ndjson, .json), .xml, else tab-separated. */
km_table_form km_table_form_of(const char *path);

/* Which columns of a file are what: by name, where it has a header (JSONL: keys), or by number from 1. */
typedef struct km_columns {
    bool header;
    const char *text[8]; /* joined by a blank; NULL at the end */
    const char *pair;    /* NULL or "": none */
    const char *label;   /* NULL: no labels are read */
    bool label_may_lack; /* a file without the label's column is read without labels */
    bool skip_short;     /* lines with too few columns are left out and counted, as the published QQP has some */
} km_columns;

enum { KM_LONGEST_TEXT = 1 << 20 }; /* bytes of a text */
/* Reads a file, compressed with gzip or not. TSV is GLUE's: a tab separates, a quote is a character like any other. CSV is RFC 4180's:
 * fields in double quotes may hold commas, line ends, and double quotes doubled. A byte order mark and carriage returns before line
 * ends are passed over. KM_FAILED names file, line, what was found and what was expected: an empty file, a missing column, another number of
 * columns than before, a text longer than KM_LONGEST_TEXT. Free with km_records_free, also after a failure. */
km_status km_records_read(km_records *out, const char *path, const km_columns *columns) KM_NODISCARD;
void km_records_free(km_records *records);

/* Texts as a model reads them. Tokens as transformers' BertTokenizer and RobertaTokenizer make them: [CLS] a [SEP] b [SEP] or
 * <s> a </s></s> b </s>; what is longer than `length` tokens is cut, of a pair the longer text first, as the tokenizers package does it. */
typedef struct km_examples {
    km_example *items; /* (count), or NULL: */
    km_pair *pairs;    /* (count) of a text-to-text task */
    size_t count;
    int32_t *ids;         /* of all */
    uint64_t tokens, cut; /* cut: examples that were longer */
} km_examples;
void km_examples_make(km_examples *out, const km_bundle *bundle, const km_records *records, int length);
void km_examples_free(km_examples *examples);

/* ---- Tasks ------------------------------------------------------------------------------------------------------ */

/* The parts of a task's data. matched: a part of train that is scored beside dev and test, which may have other questions (task.matched_share;
 * Ye et al. 2021, section 5.2). */
enum { KM_TRAIN, KM_DEV, KM_TEST, KM_MATCHED, KM_SPLITS };
extern const char *const km_split_names[KM_SPLITS]; /* "train" ... */

/* What differs between the kinds of tasks (src/task/kind.h). */
typedef struct km_task_kind km_task_kind;

typedef struct km_task {
    const km_task_kind *kind;
    bool numbers;     /* regression: the labels are numbers, else classes */
    char **labels;    /* (label_count) the names of the classes, in order */
    int label_count;  /* 1 for numbers, as models count them, and for answers */
    int32_t positive; /* the class that f1 is of: "1", else the second */
    km_metric metrics[KM_METRICS];
    int metric_count;              /* the first decides */
    km_records records[KM_SPLITS]; /* of a split that is not there: count 0 */
    bool labelled[KM_SPLITS];      /* whether it is known what is right */
    int32_t *classes[KM_SPLITS];   /* (count) of each record; NULL: the split has no classes */
    double *values[KM_SPLITS];
} km_task;
/* Reads a task's data and checks it: labels of dev and test that train does not have, classes without an example, numbers that are
 * none, a metric that does not fit. Free with km_task_free, also after a failure. */
km_status km_task_open(km_task *out, const km_task_config *config) KM_NODISCARD;
void km_task_free(km_task *task);
/* The largest of `count` logits; the first of equal ones. */
int32_t km_best_class(const float *logits, int count);

/* ---- Fine-tuning -------------------------------------------------------------------------------------------------- */

/* Makes all runs that the config asks for, those apart that the run folder has finished already, and writes there
 *
 *   results.json                    runs, summary and what was chosen (section 8 of src/README.md)
 *   model.h5                        the chosen run's model at its best step
 *   predictions/<split>.tsv         its predictions, in GLUE's form
 *   runs/<identity>.json            one finished run
 *
 * Ranks are divided into groups which work on runs side by side; the files are the same for any division, and after any interruption. On
 * rank 0 *out is results.json, the caller's; NULL elsewhere. KM_STOPPED after a signal or run.max_hours. Collective. */
km_status km_finetune(km_comm *comm, const km_finetune_input *input, km_json **out) KM_NODISCARD;

/* Predicts the label, or the number, of every text in a file with a fine-tuned model and writes a line for each: index and prediction, for classes
 * also the probability of every one. `columns` says where the texts are; without a text they are where such files usually have them. An
 * encoder-decoder answers questions, whose file has a form of task.kind seq2seq; a line is then an object as in the predictions of a
 * fine-tuning. length 0: as in the model's fine-tuning. Collective. */
km_status km_predict(km_comm *comm, const char *model, const char *in, const char *out, const km_columns *columns,
                     int length) KM_NODISCARD;

/* Compares results.json files (count) on their chosen runs, by seed: *out is {"metric", "split", "results": [{"path", "mean", "sd", "n"}], "pairs": [{"a",
 * "b", "n", "difference", "t", "p"}]}, the caller's. */
km_status km_compare(km_json **out, const char *const *paths, int count) KM_NODISCARD;
/* Averages the first metric on dev over tasks, for each model: that of MODEL/TASK/results.json is MODEL. Of MNLI the mismatched part
 * counts as well, so that GLUE without WNLI has nine scores (Zheng et al. 2020, Table 3). *out is {"models": [{"path", "scores": [{"path",
 * "task", "metric", "split", "mean"}], "n", "mean", "sd"}], "pairs": as km_compare has them}, the caller's; n and sd are those of
 * the seeds that all tasks have. Models with other tasks than the first are KM_FAILED. */
km_status km_compare_average(km_json **out, const char *const *paths, int count) KM_NODISCARD;
/* Models by tasks, as Tables 1 to 3 of Ye et al. 2021: *out is {"tasks": [{"task", "metric", "split"}], "rows": [{"init", "cells": [{"n",
 * "mean", "sd", "best", "p", "not_worse"}]}]}, the caller's. A row is a model (init) of any of the files, a cell what was chosen for
 * it. p is that of a paired t-test over the seeds against the task's best mean, not_worse whether it is above 0.1. `split`: NULL or
 * "" is test where there is one, else dev. A model's results for a task may come from several files, each with seeds of its own. Files
 * without scores of the split, and two results with one seed, are KM_FAILED. */
km_status km_compare_table(km_json **out, const char *const *paths, int count, const char *split) KM_NODISCARD;

#endif
