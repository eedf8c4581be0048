/* kind: private to task. What differs between classes, numbers and answers. Each kind of task is a struct of functions, which one file
 * fills in and kind.c lists; nothing else compares kinds. */
#ifndef KMASK_TASK_KIND_H
#define KMASK_TASK_KIND_H

#include "kmask/task.h"

/* A model at work on a task, on the ranks of one group. */
typedef struct km_tuner {
    km_comm *comm;
    const km_task *task;
    const km_finetune_input *input;
    km_bundle *bundle;
    km_examples examples[KM_SPLITS];
} km_tuner;

/* What a model says of a split: for each example as many numbers as the task has labels (logits of classes, a number, or the score of an
 * answer), and of text-to-text tasks the answer. */
typedef struct km_outputs {
    size_t count;
    int width;
    float *values; /* (count, width) */
    char **texts;  /* (count), or NULL */
} km_outputs;

struct km_task_kind {
    const char *name; /* as task.kind has it */
    /* Which metrics fit: their kind, what messages call what they measure, their names for a message, and the default of
     * task.metrics. */
    km_metric_of measures;
    const char *measured, *fitting, *metrics;

    /* ---- Data ---- */
    /* Reads a split's file. */
    km_status (*read)(km_records *out, const km_task_config *config, int split);
    /* Checks the records of all splits and makes their labels: task->labels, label_count, labelled. */
    km_status (*label)(km_task *task, const km_task_config *config);
    /* The metric of a labelled split's outputs. */
    double (*score)(const km_task *task, int split, km_metric metric, const km_outputs *outputs);
    /* What the results depend on beside weights, examples and the options of all kinds. NULL: nothing. */
    void (*identify)(km_buffer *out, const km_finetune_input *input);

    /* ---- The model ---- */
    /* Opens `init` as tuner->bundle, ready for training. */
    km_status (*open)(km_tuner *tuner, const char *init, uint64_t seed);
    /* Makes the split's examples as the model reads them. */
    void (*make_examples)(km_tuner *tuner, int split);
    /* The source of the training examples. */
    km_status (*make_source)(km_source **out, const km_tuner *tuner, uint64_t seed);
    /* Fills in what the model with these weights says of a split. Collective over tuner->comm. */
    km_status (*predict)(const km_tuner *tuner, const float *weights, int split, km_outputs *out);

    /* ---- Files of predictions ---- */
    const char *ending;  /* ".tsv" */
    const char *heading; /* the first line, or "" */
    void (*print)(km_buffer *out, const km_task *task, int split, size_t index, const km_outputs *outputs);
};

/* How the sources and answers of a text-to-text model were made in its fine-tuning; of another model all that it can read. */
void km_task_recall(km_task_config *task, const km_bundle *bundle);

extern const km_task_kind km_kind_classification, km_kind_regression, km_kind_seq2seq;
const km_task_kind *km_task_kind_named(const char *name); /* NULL when unknown */
const char *km_task_kind_names(void);                     /* "classification|regression|seq2seq" */

#endif
