/* The two files of a measurement in its folder. */
#include "outputs.h"

#include <stdlib.h>

km_status km_outputs_check(const char *folder, const char *name) {
    static const char *const ends[] = {"json", "h5"};
    km_status status = KM_OK;
    for (size_t i = 0; i < KM_COUNT(ends) && status == KM_OK; i++) {
        char *path = km_format("%s/%s.%s", folder, name, ends[i]);
        status = km_out_check(path);
        free(path);
    }
    return status;
}
