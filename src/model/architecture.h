/* Private to model/: an architecture, as a struct of functions that one file fills in. It turns a config into a backbone, and knows
 * what other programs call it and its tensors. architecture.c lists all of them. */
#ifndef KMASK_MODEL_ARCHITECTURE_H
#define KMASK_MODEL_ARCHITECTURE_H

#include "head.h"
#include "parts.h"

/* Sizes that go by a name (model.preset). */
typedef struct km_preset {
    const char *name;
    void (*fill)(km_model_config *config); /* sets the fields that are still 0 */
    int64_t vocabulary;                    /* rows of embeddings that bench takes; 0: the architecture's */
} km_preset;

struct km_architecture {
    km_interchange files; /* what other programs' files say; files.type is model.type */
    const km_preset *presets;
    int preset_count;
    int64_t vocabulary;          /* of the published base model */
    const char *const *required; /* sizes that a config must give without a preset; NULL ends it */
    const char *const
        *dropouts; /* its shares of dropout, which may differ from those of a model that it starts from */
    km_head_use heads[KM_HEAD_KINDS]; /* by what they predict; kind NULL: there is none */

    /* Sets the fields of a config that are still 0 or "" and follow from the type. */
    void (*fill)(km_model_config *config);
    /* KM_USAGE names the field that does not fit. */
    km_status (*check)(const km_model_config *config);
    int64_t (*longest)(const km_model_config *config);
    int64_t (*usual_longest)(const km_model_config *config, const char **why); /* km_model_usual_longest */
    int64_t (*decoder_start)(const km_model_config *config);                   /* NULL: there is no decoder */
    /* The stacks' sizes, of a config that has been checked. */
    void (*take_config)(km_model *model);
    /* Adds the backbone's parts to the table, in the order in which backward finishes them, last first. Runs twice: the first time
     * without room for the table's entries, to count them. */
    void (*place)(km_model *model, km_table *table);
    /* Rows of initial weights that stay zero. */
    void (*clear_rows)(const km_model *model, float *weights);
    /* ids of all streams -> the last stack's outputs; and back, from work->d_at to the sink. */
    void (*forward)(const km_pass *pass);
    void (*backward)(const km_pass *pass);
};

/* What architecture.c lists. */
extern const km_architecture km_bart, km_bert, km_roberta;

/* ---- For configs (architecture.c) ---- */

/* Sets a size that is still 0. */
void km_fill_size(int64_t *field, int64_t value);

/* KM_USAGE unless 1 <= value <= most. */
km_status km_check_size(const char *key, int64_t value, int64_t most);
/* KM_USAGE unless 0 <= p < 1. */
km_status km_check_share(const char *key, double p);

#endif
