/* modelfile: models as files. Opening model files, checkpoints and safetensors folders; import and export; filling blanks;
 * probing. Everything is local. */
#ifndef KMASK_MODELFILE_H
#define KMASK_MODELFILE_H

#include "kmask/base.h"
#include "kmask/model.h"
#include "kmask/store.h"
#include "kmask/tokenizer.h"

/* ---- Model files --------------------------------------------------------------------------------------------- */

/* What a model file or checkpoint holds, ready for use. */
typedef struct km_bundle {
    km_model_config shape; /* resolved */
    char *
        config; /* JSON: the config of the run that made it; of another program's model what follows from its config.json */
    km_tokenizer *tokenizer;
    km_model *model;
    float *weights;
    int64_t step;
    km_hash weights_hash;
    char *source; /* JSON: what an imported model brought along that the table has no place for; else NULL */
} km_bundle;
/* Verifies the file and reads all but the optimizer's state; also takes a safetensors folder. The caller closes. */
km_status km_bundle_open(km_bundle **out, const char *path) KM_NODISCARD;
void km_bundle_close(km_bundle *bundle);
/* Whether a path is a safetensors folder. */
bool km_import_is_folder(const char *path);
/* The model of a safetensors folder; tensors that are missing get initial weights from `seed`,
 * and a warning names them. The caller closes. */
km_status km_import_open(km_bundle **out, const char *folder, uint64_t seed) KM_NODISCARD;

/* The parts of a run's state that hold one value for each parameter, each in a group of the file. */
enum { KM_WEIGHTS, KM_FIRST_MOMENTS, KM_SECOND_MOMENTS, KM_GROUPS };
const char *km_group_prefix(int group); /* "/model/" */
/* The array of a parameter; NULL when it is not there. */
const km_array *km_group_find(const km_store *store, int group, const km_param *param);
/* Whether the array (NULL: it is missing) has the parameter's shape; KM_FAILED names both. */
km_status km_group_check_shape(const km_array *array, const km_param *param, int group) KM_NODISCARD;
/* Whether all arrays are there in the table's shapes: weights, and with `moments` the optimizer's. Nothing is read. */
km_status km_weights_check(const km_store *store, const km_table *table, bool moments) KM_NODISCARD;
/* Weights of the table from an open store; a tensor that is missing or of another shape is named. */
km_status km_weights_read(const km_store *store, const km_table *table, float *weights) KM_NODISCARD;

/* ---- Other programs' files -------------------------------------------------------------------------------------- */

enum { KM_FRESH_SEED = 1 };
typedef struct km_import_options {
    const char *tokenizer; /* its folder; NULL: the model's */
    const char *out;       /* the model file to write; NULL: only the account is given */
    uint64_t seed;         /* of what the folder does not hold: KM_FRESH_SEED unless wanted otherwise */
} km_import_options;
/* A folder of model.safetensors (or shards), config.json and tokenizer becomes a model file. *account: {"model_type",
 * "weights_hash", "used": [{"name", "from", "dtype", "shape"}], "ignored": [{"name", "why", ...}], "fresh": [names],
 * "config"}; the caller destroys. Tensors that are ignored travel in the file, for km_export. */
km_status km_import(const char *folder, const km_import_options *options, km_json **account) KM_NODISCARD;

typedef struct km_export_options {
    const char *dtype; /* "f32", "f16" or "bf16" */
    bool extras;       /* also what an import ignored, under the architecture that it came with */
    bool force;        /* `folder` may hold files: those of the same names are replaced */
} km_export_options;
/* A model file, checkpoint or folder becomes model.safetensors, config.json and the tokenizer's files. A new folder is
 * complete or absent. *account: {"weights_hash", "tensors", "left_out": [names]}; the caller destroys. */
km_status km_export(const char *model, const char *folder, const km_export_options *options,
                    km_json **account) KM_NODISCARD;

/* ---- Filling blanks ------------------------------------------------------------------------------------------------ */

typedef struct km_candidate {
    int32_t id;
    float p;
} km_candidate;
/* The `top` likeliest fillers for each [MASK] (or <mask>) of the text: candidates[blank * top + i], best first; the
 * caller frees. A text without a blank, or too long for the model, is KM_USAGE. */
km_status km_fill_blanks(const km_bundle *bundle, const char *text, int top, km_candidate **candidates,
                         int *blanks) KM_NODISCARD;

/* ---- Probing ------------------------------------------------------------------------------------------------------- */

typedef struct km_probe_result {
    int64_t rows, length;  /* B, T: the longest row */
    int64_t labelled;      /* 0: no loss and no gradient */
    double loss, accuracy; /* means over labelled positions */
} km_probe_result;
/* Computes what the JSON file `input` asks for, dropout off, and writes it to the HDF5 file `output`:
 *
 *   {"input_ids": [[...]], "attention_mask": [[...]], "token_type_ids": [[...]], "labels": [[...]]}
 *
 *   /logits                  (B,T,V)
 *   /hidden_states/<layer>   (B,T,C)  0: the embeddings', l: layer l's
 *   /loss                    scalar   mean over labelled positions; label -100: none
 *   /grad/<tensor name>      the tensor's shape: gradient of /loss
 *
 * Only input_ids must be there; the others default to 1, 0 and -100. Positions with mask 0 may be anywhere: they count
 * as positions, no token attends to them, and what the model makes of them is written (and learned from where they have a
 * label), all as in HuggingFace transformers. Rows shorter than T are padded at their end with the pad token and mask 0.
 * Without labels there are no /loss and /grad. Memory: 8 bytes a parameter beside the model, and the logits of some
 * rows. `bf16`: with products as in a run of that train.precision. KM_FAILED names what in the file does not fit. */
km_status km_probe(const km_bundle *bundle, const char *input, const char *output, bool bf16,
                   km_probe_result *out) KM_NODISCARD;

#endif
