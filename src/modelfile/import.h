/* import: safetensors folders are opened as models. Private to src/modelfile. */
#ifndef KMASK_MODELFILE_IMPORT_H
#define KMASK_MODELFILE_IMPORT_H

#include "kmask/modelfile.h"

/* The group of a model file that holds extra tensors: those that are not parameters of the table. Where HDF5 has no type for
 * them, such as bf16, their bits are stored as integers. The attribute `source`, {"config": config.json, "extras": [{"name",
 * "from", "dtype", "shape", "array", "buffer"}]}, says what they are. */
#define KM_EXTRA_GROUP "/extra/"

/* Opens the model of a folder. With num_labels > 0 it becomes a classifier (km_bundle_open_classifier), with any = true it keeps
 * its own head (km_bundle_open_any), else it predicts tokens. */
km_status km_import_open_head(km_bundle **out, const char *folder, bool any, int64_t num_labels,
                              uint64_t seed) KM_NODISCARD;
/* Writes a model file, as km_bundle_save does, with the extra tensors that `extras` (form of `source`, above) lists, from a folder's store.
 * extras NULL: none. */
km_status km_bundle_save_with(const km_bundle *bundle, const km_json *extras, const km_store *from,
                              const char *path) KM_NODISCARD;

#endif
