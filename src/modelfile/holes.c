/* holes: tensors that hold values which are not finite. */
#include "holes.h"

#include <math.h>

void km_warn_of_holes(const char *path, const char *tensor, const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            km_warn("%s: tensor %s holds values that are not finite", path, tensor);
            return;
        }
    }
}

void km_warn_of_holes_in(const char *path, const km_table *table, const float *weights) {
    for (int i = 0; i < table->count; i++) {
        km_warn_of_holes(path, table->params[i].name, weights + table->params[i].offset, table->params[i].count);
    }
}
