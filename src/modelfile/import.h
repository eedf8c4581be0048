/* import: safetensors folders as models. */
#ifndef KMASK_MODELFILE_IMPORT_H
#define KMASK_MODELFILE_IMPORT_H

#include "kmask/modelfile.h"

/* The model file's group of tensors that are no part of the table. Their bits lie there as whole numbers where HDF5 has no
 * such type; the attribute `source`, {"config": config.json, "extras": [{"name", "from", "dtype", "shape", "array",
 * "buffer"}]}, says what they are. */
#define KM_EXTRA_GROUP "/extra/"

/* The model of a folder: as km_bundle_open_classifier for num_labels > 0, as km_bundle_open_any with `any`, else one that predicts
 * tokens. */
km_status km_import_open_head(km_bundle **out, const char *folder, bool any, int64_t num_labels,
                              uint64_t seed) KM_NODISCARD;

#endif
