/* import: safetensors folders as models. */
#ifndef KMASK_TRAIN_IMPORT_H
#define KMASK_TRAIN_IMPORT_H

#include "kmask/train.h"

/* The model file's group of tensors that are no part of the table. Their bits lie there as whole numbers where HDF5 has no
 * such type; the attribute `source`, {"config": config.json, "extras": [{"name", "from", "dtype", "shape", "array",
 * "buffer"}]}, says what they are. */
#define KM_EXTRA_GROUP "/extra/"

bool km_import_is_folder(const char *path);
/* The model of a folder; a warning says what is not in it and is therefore fresh. The caller closes. */
km_status km_import_open(km_bundle **out, const char *folder, uint64_t seed) KM_NODISCARD;

#endif
