/* shape: the section `model` of the config that a file holds; its other sections belong to the run that made it. */
#ifndef KMASK_MODELFILE_SHAPE_H
#define KMASK_MODELFILE_SHAPE_H

#include "kmask/model.h"

/* From a config's JSON text, resolved and checked, also against rows of `length` tokens (0: none). KM_USAGE; `origin` heads
 * messages. */
km_status km_shape_parse(km_model_config *out, const char *json, int64_t length, const char *origin) KM_NODISCARD;
/* A config that has only this model and data.length. The caller frees. */
char *km_shape_print(const km_model_config *shape, int64_t length);

#endif
