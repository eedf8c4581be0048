/* model_json: reading and writing config.json, the file in which HuggingFace transformers and others describe a model, and
 * generation_config.json, the file in which they say how it generates text. */
#ifndef KMASK_MODELFILE_MODEL_JSON_H
#define KMASK_MODELFILE_MODEL_JSON_H

#include "kmask/model.h"
#include "kmask/store.h"
#include "kmask/tokenizer.h"

/* The two files of a folder. */
typedef struct km_model_files {
    const km_json *config;
    const char *config_path; /* for messages, which begin with it */
    const km_json *
        generation; /* NULL: the folder has none, and config.json says how the model generates, as in older folders */
    const char *generation_path;
} km_model_files;

/* Reads the shape and the dropout probabilities of a model, and sets *length to the default length of a row (at most 128). A
 * missing key has the default of HuggingFace transformers. A key by which the model would compute something else than kmask does
 * (an unknown type or activation, untied weights, a decoder) is an error. Keys that change nothing are ignored. Of
 * generation_config.json the ids that are forced and those that end a text are read; lengths, beams and penalties by
 * km_generate_take_settings. */
km_status km_model_json_read(km_model_config *out, int64_t *length, const km_model_files *files) KM_NODISCARD;
/* Whether config.json says which architecture the model has: by "model_type" or, in files of 2018 and 2019, by "architectures". */
bool km_model_json_names_type(const km_json *config);
/* Sets "model_type" where the names of the folder's tensors are those of one architecture, and logs it. */
void km_model_json_infer_type(km_json *config, const km_store *store, const char *folder);
/* Completes `json` to the config.json of a model. It is empty, or holds the config.json that the model was imported with. */
void km_model_json_write(km_json *json, const km_model_config *model, km_specials specials, const char *dtype,
                         const char *classifier);
/* Completes `json` to the generation_config.json of an encoder-decoder: empty, or the one that the model was imported with. */
void km_generation_json_write(km_json *json, const km_model_config *model, km_specials specials);

/* Where config.json names a classifier class of HuggingFace transformers, sets *head, the labels in *shape, and *classifier
 * (km_bundle.classifier; the caller frees). Otherwise it changes nothing. */
km_status km_model_json_classifier(char **classifier, km_head_kind *head, km_model_config *shape,
                                   const km_json *json, const char *path) KM_NODISCARD;

#endif
