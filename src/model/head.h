/* Private to model/: a head, as a struct of functions that one file fills in. A head reads the last hidden states of some
 * tokens and makes logits, a loss and its gradient of them. */
#ifndef KMASK_MODEL_HEAD_H
#define KMASK_MODEL_HEAD_H

#include "parts.h"

typedef struct km_head {
    size_t parts_size, work_size; /* of what it keeps in model->head_parts and work->head */
    /* KM_USAGE names what it lacks in a config, or in a batch's targets; NULL: nothing. */
    km_status (*check_config)(const km_model_config *config);
    km_status (*check_batch)(const km_model *model, const km_batch *batch);
    /* Adds its parts to the table, behind the backbone's; runs twice, as an architecture's place(). */
    void (*place)(km_model *model, km_table *table);
    /* Places its activations, and work->logits. */
    void (*place_work)(km_work *work, km_arena *arena);
    size_t (*largest_slice)(
        const km_model *model); /* floats of the largest slice of the gradient that it reports */
    /* The tokens of the last stack's stream whose hidden states it reads, ascending: (*count); and how many they can be. */
    const int32_t *(*outputs)(const km_batch *batch, int *count);
    int (*most_outputs)(const km_batch_limits *limits);
    /* hidden (M,C) -> work->logits. In a pass with a sink they may lack what loss() adds. */
    void (*forward)(const km_pass *pass, km_tensor hidden);
    /* The summed loss; in a pass with a sink logits become its gradient. */
    km_loss_sum (*loss)(const km_pass *pass);
    /* Logits become what they predict: probabilities. */
    void (*predict)(const km_pass *pass);
    /* dx (M,C) is overwritten with the gradient of hidden. Slices are reported, without done(). */
    void (*backward)(const km_pass *pass, km_tensor hidden, float *dx);
    double (*products)(const km_model *model, const km_batch *batch); /* of forward, in multiply-adds */
} km_head;

/* A head as an architecture has it. */
typedef struct km_head_use {
    const km_head *kind;    /* NULL: the architecture has no such head */
    const char *class_name; /* transformers' for a model with it: "BertForMaskedLM" */
    const void *options; /* names of its parts and what else differs between architectures; the head's own type */
} km_head_use;

/* dense -> gelu -> norm -> logits over the vocabulary at the labelled tokens (head_masked_lm.c). */
extern const km_head km_head_masked_lm;
typedef struct km_masked_lm_options {
    const char *dense, *norm, *bias; /* names of its parts */
    bool exact_gelu;                 /* its gelu is the exact one, whatever the config's is */
} km_masked_lm_options;

/* Logits over the vocabulary straight from the last hidden states (head_language_model.c). */
extern const km_head km_head_language_model;
typedef struct km_language_model_options {
    const char *bias; /* name of the buffer that is added to the logits */
} km_language_model_options;

/* dense -> tanh -> dropout -> classes, or one number, of each view's first token (head_classes.c). */
extern const km_head km_head_classes;
typedef struct km_classes_options {
    const char *dense, *out; /* names of its parts */
    bool dropout_first;      /* of the hidden states, before `dense` */
} km_classes_options;

#endif
