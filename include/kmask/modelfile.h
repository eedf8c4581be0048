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
    /* Of a model with a classification head, JSON: {"num_labels": 2, "labels": ["no", "yes"], "problem_type":
     * "single_label_classification"}; with one label that type is "regression". Else NULL. */
    char *classifier;
} km_bundle;
/* Verifies the file and reads all but the optimizer's state; also takes a safetensors folder. A classifier's file is refused: the
 * model is one that predicts tokens. The caller closes. */
km_status km_bundle_open(km_bundle **out, const char *path) KM_NODISCARD;
/* The same with the head that the file has: a classifier's file, or a folder whose config.json names transformers' class of one,
 * becomes a classifier. */
km_status km_bundle_open_any(km_bundle **out, const char *path) KM_NODISCARD;
/* Opens a model of either kind for training a classifier of num_labels labels (1: a number). What the file has by the names and
 * shapes of the classifier is taken from there, BERT's pooler too; the rest of the head gets initial weights from `seed`.
 * bundle->classifier is NULL: the caller says what the labels are. */
km_status km_bundle_open_classifier(km_bundle **out, const char *path, int64_t num_labels,
                                    uint64_t seed) KM_NODISCARD;
/* Writes a model file; tensors that an import brought along beside the model are left out. [HDF5] */
km_status km_bundle_save(const km_bundle *bundle, const char *path) KM_NODISCARD;
void km_bundle_close(km_bundle *bundle);
/* Whether a path is a safetensors folder. */
bool km_import_is_folder(const char *path);
/* The model of a safetensors folder; tensors that are missing get initial weights from `seed`,
 * and a warning names them. The caller closes. */
km_status km_import_open(km_bundle **out, const char *folder, uint64_t seed) KM_NODISCARD;

/* ---- The networks in a file --------------------------------------------------------------------------- */

/* What a model file or checkpoint holds of one network: for each parameter of the network's table a tensor of float32 in each of its
 * groups. A file holds its model, and may hold networks that were trained beside it:
 *
 *                      weights            AdamW's first moments         second moments
 *     the model        /model/<tensor>    /optimizer/m/<tensor>         /optimizer/v/<tensor>
 *     another, NAME    /NAME/<tensor>     /optimizer/NAME/m/<tensor>    /optimizer/NAME/v/<tensor> */
typedef enum km_group { KM_WEIGHTS, KM_FIRST_MOMENTS, KM_SECOND_MOMENTS, KM_GROUPS } km_group;
typedef struct km_network {
    const char *name; /* KM_MODEL_NETWORK, or another network's: a word that is not "optimizer", "m" or "v" */
    const km_table *table;
    int groups; /* 1: weights alone; KM_GROUPS: with moments */
} km_network;
#define KM_MODEL_NETWORK "model"

/* Names the network's arrays in a file that is being written (km_store_add). [HDF5] */
km_status km_network_add(km_store *store, const km_network *network) KM_NODISCARD;
/* Whether all of the network's arrays are there in the table's shapes; the first that is not is named. Nothing is read. */
km_status km_network_check(const km_store *store, const km_network *network) KM_NODISCARD;
/* Elements first..first+count-1 of the flat array that `group` is in memory. Gaps between parameters are left alone. An array that is
 * missing or of another shape is named. Any thread. */
km_status km_network_read(const km_store *store, const km_network *network, km_group group, size_t first,
                          size_t count, float *out) KM_NODISCARD;
km_status km_network_write(km_store *store, const km_network *network, km_group group, size_t first, size_t count,
                           const float *data) KM_NODISCARD;
/* The attribute that holds the hash of the network's weights (km_table_hash): "weights_hash", "NAME_weights_hash"; the caller frees. */
char *km_network_hash_name(const km_network *network);
/* Whose tensor an array of a file is, by its name. */
typedef struct km_network_tensor {
    char network[KM_WORD];
    km_group group;
    const char *tensor; /* the end of the array's name */
} km_network_tensor;
/* False where the name has another form. */
bool km_network_parse(km_network_tensor *out, const char *array);

/* All weights of the model. */
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
