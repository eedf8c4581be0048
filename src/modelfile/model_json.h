/* model_json: a model's config.json, as the rest of the field has it, in and out. */
#ifndef KMASK_MODELFILE_MODEL_JSON_H
#define KMASK_MODELFILE_MODEL_JSON_H

#include "kmask/model.h"
#include "kmask/tokenizer.h"

/* The shape and the shares of dropout, and how long a row of the default length is (at most 128); what is not there has the field's default. What would make another computation
 * than kmask's, an unknown type or activation, untied weights, a decoder, is an error that names the key. Keys that
 * change nothing are passed over. `path` heads messages. */
km_status km_model_json_read(km_model_config *out, int64_t *length, const km_json *json,
                             const char *path) KM_NODISCARD;
/* The config.json of a model: `json`, which has what an imported model brought along or is empty, is completed. */
void km_model_json_write(km_json *json, const km_model_config *model, km_specials specials, const char *dtype,
                         const char *classifier);

/* Where config.json names transformers' class of a classifier: *head, the labels in *shape, and *classifier (km_bundle), the caller's.
 * Else nothing is changed. */
km_status km_model_json_classifier(char **classifier, km_head_kind *head, km_model_config *shape,
                                   const km_json *json, const char *path) KM_NODISCARD;

#endif
