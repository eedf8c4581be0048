/* modelfile: models as files. Opening model files, checkpoints and safetensors folders; import and export; filling blanks;
 * probing. Everything is local. Functions marked [HDF5] may be called by only one thread of a process (kmask/store.h). */
#ifndef KMASK_MODELFILE_H
#define KMASK_MODELFILE_H

#include "kmask/base.h"
#include "kmask/model.h"
#include "kmask/net.h"
#include "kmask/store.h"
#include "kmask/tokenizer.h"

/* ---- Model files --------------------------------------------------------------------------------------------- */

/* What a model file or checkpoint holds, ready for use. */
typedef struct km_bundle {
    km_model_config shape; /* resolved: with all defaults filled in */
    /* JSON: the config of the run that made the model. For a model of another program it holds what follows from config.json. */
    char *config;
    km_tokenizer *tokenizer;
    km_model *model;
    float *weights;
    int64_t step; /* of training, that the weights were saved after */
    km_hash weights_hash;
    /* JSON: what the model has beside the parameters of the table: what it was imported with ("config", "generation", "extras"), and
     * what km_bundle_note added. NULL: nothing. */
    char *source;
    /* Of a model with a classification head, JSON: {"num_labels": 2, "labels": ["no", "yes"], "problem_type":
     * "single_label_classification"}; with one label that type is "regression". Else NULL. */
    char *classifier;
} km_bundle;
/* The model that a path means: of a run folder the newest checkpoint, or where it has none the newest snapshot, which a line in the
 * log says; any other path as it is. The caller frees. */
char *km_bundle_file_of(const char *path);
/* Verifies the file and reads all but the optimizer's state; also takes a safetensors folder. A classifier's file is refused: the
 * model is one that predicts tokens. The caller closes. */
km_status km_bundle_open(km_bundle **out, const char *path) KM_NODISCARD;
/* Opens a model with the head that the file has. A classifier's file, and a folder whose config.json names a classifier class of
 * HuggingFace transformers, become a classifier. */
km_status km_bundle_open_any(km_bundle **out, const char *path) KM_NODISCARD;
/* Opens a model of either kind for training a classifier of num_labels labels (1: a number). What the file has by the names and
 * shapes of the classifier is taken from there, BERT's pooler too; the rest of the head gets initial weights from `seed`.
 * bundle->classifier is NULL: the caller says what the labels are. */
km_status km_bundle_open_classifier(km_bundle **out, const char *path, int64_t num_labels,
                                    uint64_t seed) KM_NODISCARD;
/* Writes a model file; tensors that an import brought along beside the model are left out. [HDF5] */
km_status km_bundle_save(const km_bundle *bundle, const char *path) KM_NODISCARD;
void km_bundle_close(km_bundle *bundle);
/* Sets what is not the caller's choice: the ids that begin and end an answer, by the model's config and its tokenizer. */
void km_generate_take_tokens(km_generate_options *options, const km_bundle *bundle);
/* Sets all options: 4 beams, a length of 1 to 20 and a penalty of 1, unless the model's generation settings name others: those of its
 * generation_config.json, or of its config.json where it came without one, as transformers reads them. Settings that kmask does not
 * follow, such as sampling, are warned of. KM_FAILED for a value out of range; `path` is the model's, for messages. */
km_status km_generate_take_settings(km_generate_options *options, const km_bundle *bundle,
                                    const char *path) KM_NODISCARD;
/* Makes the options the model's generation settings, which an export writes to generation_config.json. */
void km_generate_note_settings(km_bundle *bundle, const km_generate_options *options);
/* Notes a value under a key of bundle->source, which takes ownership; and a copy of what is noted, the caller's, or NULL. */
void km_bundle_note(km_bundle *bundle, const char *key, km_json *value);
km_json *km_bundle_noted(const km_bundle *bundle, const char *key);
/* KM_FAILED where nothing is at `path`, which may well be the name of a model on a hub. */
km_status km_model_path_check(const char *path) KM_NODISCARD;
/* Whether a path is a safetensors folder. */
bool km_import_is_folder(const char *path);
/* Opens the model of a safetensors folder. Tensors that are missing get initial weights from `seed`, and a warning names them.
 * The caller closes. */
km_status km_import_open(km_bundle **out, const char *folder, uint64_t seed) KM_NODISCARD;

/* ---- The networks in a file --------------------------------------------------------------------------- */

/* What a model file or checkpoint holds of one network: for each parameter of the network's table a tensor of float32 in each of
 * its groups. A file holds its model, and may hold networks that were trained beside it:
 *
 *                      weights            AdamW's first moments         second moments
 *     the model        /model/<tensor>    /optimizer/m/<tensor>         /optimizer/v/<tensor>
 *     another, NAME    /NAME/<tensor>     /optimizer/NAME/m/<tensor>    /optimizer/NAME/v/<tensor> */
typedef enum km_group {
    KM_WEIGHTS,
    KM_FIRST_MOMENTS,
    KM_SECOND_MOMENTS,
    KM_GROUPS /* how many there are */
} km_group;
typedef struct km_network {
    const char *name; /* KM_MODEL_NETWORK, or another network's: a word that is not "optimizer", "m" or "v" */
    const km_table *table;
    int groups; /* 1: weights alone; KM_GROUPS: with moments */
} km_network;
#define KM_MODEL_NETWORK "model"

/* Names the network's arrays in a file that is being written (km_store_add). [HDF5] */
km_status km_network_add(km_store *store, const km_network *network) KM_NODISCARD;
/* Checks that the file has all of the network's arrays in the shapes of the table; the message names the first that it has not. No
 * elements are read. */
km_status km_network_check(const km_store *store, const km_network *network) KM_NODISCARD;
/* Whether an array of a file has the type (float32) and the shape of a parameter. */
bool km_array_fits(const km_array *array, const km_param *param);
/* Read and write elements first..first+count-1 of a group, which in memory is a flat array of table->size elements. Gaps between
 * parameters are left as they are. A failure names the array that is missing or has another shape. Any thread. */
km_status km_network_read(const km_store *store, const km_network *network, km_group group, size_t first,
                          size_t count, float *out) KM_NODISCARD;
km_status km_network_write(km_store *store, const km_network *network, km_group group, size_t first, size_t count,
                           const float *data) KM_NODISCARD;
/* The attribute that holds the hash of the network's weights (km_table_hash): "weights_hash", "NAME_weights_hash"; the caller
 * frees. */
char *km_network_hash_name(const km_network *network);
/* Which tensor, of which network and group, an array of a file is. It follows from the array's name. */
typedef struct km_network_tensor {
    char network[KM_WORD];
    km_group group;
    const char *tensor; /* the end of the array's name */
} km_network_tensor;
/* Parses the name of an array; false where it is not of the form above. */
bool km_network_parse(km_network_tensor *out, const char *array);

/* The network that was trained beside a model to propose masks (mask.policy "proposal"); NULL and NULL where the file has none. The caller
 * destroys the network and frees the weights. [HDF5] */
#define KM_PROPOSAL_NETWORK "proposal"
km_status km_proposal_open(km_policy_net **net, float **weights, const char *path) KM_NODISCARD;

/* Reads all weights of the model. */
km_status km_weights_read(const km_store *store, const km_table *table, float *weights) KM_NODISCARD;

/* ---- Other programs' files -------------------------------------------------------------------------------------- */

enum { KM_FRESH_SEED = 1 };
typedef struct km_import_options {
    const char *tokenizer; /* the tokenizer's folder; NULL: it is in the model's folder */
    const char *out;       /* the model file to write; NULL: only *account is made */
    uint64_t seed; /* for initial weights of tensors that the folder does not hold; KM_FRESH_SEED by default */
} km_import_options;
/* Makes a model file from a folder with model.safetensors (or shards), config.json and a tokenizer. *account says what became of
 * each tensor: {"model_type", "weights_hash", "used": [{"name", "from", "dtype", "shape"}], "ignored": [{"name", "why", ...}],
 * "fresh": [names], "config"}; the caller destroys. Ignored tensors are kept in the file, so that km_export can write them
 * again. */
km_status km_import(const char *folder, const km_import_options *options, km_json **account) KM_NODISCARD;

typedef struct km_export_options {
    const char *dtype; /* "f32", "f16" or "bf16" */
    bool extras; /* write the tensors that an import ignored too, and name the model class that they belong to */
    bool force;  /* `folder` may hold files: those of the same names are replaced */
} km_export_options;
/* Writes a model file, checkpoint or safetensors folder as model.safetensors, config.json and the tokenizer's files. If the
 * export is interrupted, a new folder is complete or absent. *account: {"weights_hash", "tensors", "left_out": [names]}; the
 * caller destroys. */
km_status km_export(const char *model, const char *folder, const km_export_options *options,
                    km_json **account) KM_NODISCARD;

/* ---- Filling blanks ------------------------------------------------------------------------------------------------ */

typedef struct km_candidate {
    int32_t id; /* of the token */
    float p;    /* its probability */
} km_candidate;
/* Finds the `top` most probable tokens for each blank of the text, which is written [MASK] or <mask>: candidates[blank * top +
 * i], the most probable first; the caller frees. A text without a blank, or one that is too long for the model, is KM_USAGE. */
km_status km_fill_blanks(const km_bundle *bundle, const char *text, int top, km_candidate **candidates,
                         int *blanks) KM_NODISCARD;

/* What an encoder-decoder makes of a text with blanks. */
typedef struct km_filled {
    char *text;   /* the text with its blanks filled; NULL: see below */
    char *answer; /* what the decoder says */
    int32_t *ids; /* (count) the same, as km_answers has them */
    int count;
    float score;
} km_filled;
/* Lets the decoder answer a text with blanks, by beam search. A model that was pre-trained with mask.target "masked" answers with what
 * was hidden alone: where the text has several blanks, there is no telling which part of the answer belongs to which, and
 * out->text is NULL. Other models answer with the whole text. Errors as km_fill_blanks. The caller frees, also after errors. */
km_status km_fill_text(km_filled *out, const km_bundle *bundle, const char *text) KM_NODISCARD;
void km_filled_free(km_filled *filled);

/* ---- Probing ------------------------------------------------------------------------------------------------------- */

typedef struct km_probe_result {
    int64_t rows, length;  /* B, T: the longest row of input_ids */
    int64_t labelled;      /* 0: no loss and no gradient */
    double loss, accuracy; /* means over labelled positions; accuracy is NaN where the model predicts a number */
} km_probe_result;
/* Runs the model, without dropout, on the rows of the JSON file `input`, and writes the results to the HDF5 file `output`:
 *
 *   {"input_ids": [[...]], "attention_mask": [[...]], "token_type_ids": [[...]], "labels": [[...]]}
 *
 *   /logits                  (B,T,V)
 *   /hidden_states/<layer>   (B,T,C)  0: the output of the embeddings, l: the output of layer l
 *   /loss                    scalar   mean over labelled positions; label -100: none
 *   /grad/<tensor name>      the tensor's shape: gradient of /loss
 *
 * An encoder-decoder has no token_type_ids; its labels are those of the target, of U positions:
 *
 *   {"input_ids": [[...]], "attention_mask": [[...]], "labels": [[...]], "decoder_input_ids": [[...]]}
 *
 *   /logits                                                  (B,U,V)
 *   /encoder_hidden_states/<layer>                           (B,T,C)
 *   /decoder_hidden_states/<layer>                           (B,U,C)
 *   /loss, /grad/<tensor name>                               likewise
 *
 * A classifier's labels are one class a row (-100: none), or with one label, which is a number, one number a row:
 *
 *   {"input_ids": [[...]], ..., "labels": [...]}
 *
 *   /logits                  (B, num_labels)
 *   /hidden_states/<layer>   (B,T,C)
 *   /loss, /grad/<name>      likewise: the mean over labelled rows
 *
 * Without decoder_input_ids the decoder reads the labels shifted right, with pad tokens for -100, behind the model's
 * decoder_start_token_id; without either of both it reads the input_ids shifted right.
 *
 * Only input_ids is required; the others default to 1, 0 and -100. Positions whose attention_mask is 0 may be anywhere in a row.
 * As in HuggingFace transformers they count as positions, no token attends to them, and their own outputs are written and, where
 * they have a label, count in the loss. Rows shorter than T are padded at their end with the pad token and attention_mask 0.
 * Without labels there are no /loss and /grad. The memory needed is 8 bytes for each parameter beside the model, and the logits
 * of some rows. bf16: products are computed as in a run with train.precision "bf16". The message of KM_FAILED names what in the
 * file is wrong. */
km_status km_probe(const km_bundle *bundle, const char *input, const char *output, bool bf16,
                   km_probe_result *out) KM_NODISCARD;

#endif
