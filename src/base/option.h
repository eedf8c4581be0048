/* option: one option's value, read from JSON or from --set and printed back. `values` is always the struct of its section. */
#ifndef KMASK_BASE_OPTION_H
#define KMASK_BASE_OPTION_H

#include "kmask/base.h"

#include <string.h>

static inline bool km_option_required(const km_option *option) {
    return option->standard != NULL && strcmp(option->standard, KM_REQUIRED) == 0;
}
/* Sets the value from JSON and notes that it was given; null sets it back to "not given". KM_USAGE says key, found
 * and expected. */
km_status km_option_set(const km_section *section, const km_option *option, void *values,
                        const km_json *json) KM_NODISCARD;
/* From the right side of --set key=value: JSON where that is what the option takes, else text. */
km_status km_option_set_text(const km_section *section, const km_option *option, void *values,
                             const char *text) KM_NODISCARD;
/* False for 0 and "" where these stand for "not given". */
bool km_option_is_set(const km_option *option, const void *values);
/* The value as JSON text that reads back to the same bits. */
void km_option_print(const km_option *option, const void *values, km_buffer *out);
/* "a whole number 1..64" */
void km_option_expected(const km_option *option, km_buffer *out);

#endif
