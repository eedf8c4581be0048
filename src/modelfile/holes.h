/* holes: tensors that hold values which are not finite. */
#ifndef KMASK_MODELFILE_HOLES_H
#define KMASK_MODELFILE_HOLES_H

#include "kmask/model.h"

/* Warns with the tensor's name if one of its values is NaN or infinite. */
void km_warn_of_holes(const char *path, const char *tensor, const float *values, size_t count);
/* The same for each tensor of a table. */
void km_warn_of_holes_in(const char *path, const km_table *table, const float *weights);

#endif
