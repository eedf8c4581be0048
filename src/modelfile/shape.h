/* shape: the section `model` of the config that a file holds. Other sections are ignored: they describe the run that made the
 * file. */
#ifndef KMASK_MODELFILE_SHAPE_H
#define KMASK_MODELFILE_SHAPE_H

#include "kmask/model.h"

/* Reads the shape from a config's JSON text, fills in defaults and checks it, with length > 0 also for rows of so many tokens.
 * Failures are KM_USAGE, and messages begin with `origin`. */
km_status km_shape_parse(km_model_config *out, const char *json, int64_t length, const char *origin) KM_NODISCARD;
/* Prints a config that has only the section `model` and data.length. The caller frees. */
char *km_shape_print(const km_model_config *shape, int64_t length);

#endif
