/* option: one option's value, read from JSON or from --set, and printed. `values` is always the struct of its section. */
#ifndef KMASK_BASE_OPTION_H
#define KMASK_BASE_OPTION_H

#include "kmask/base.h"

#include <string.h>

static inline bool km_option_required(const km_option *option) {
    return option->standard != NULL && strcmp(option->standard, KM_REQUIRED) == 0;
}
/* Sets the value from JSON and notes in `given` that it was given; null makes it "not given" again. The message of KM_USAGE
 * names the key, what was found and what was expected. */
km_status km_option_set(const km_section *section, const km_option *option, void *values,
                        const km_json *json) KM_NODISCARD;
/* Sets the value from the right side of --set key=value: as JSON where the text is JSON of a type that the option takes, else as
 * text. */
km_status km_option_set_text(const km_section *section, const km_option *option, void *values,
                             const char *text) KM_NODISCARD;
/* Whether the option has a value. False for 0 and "" where these stand for "not given". */
bool km_option_is_set(const km_option *option, const void *values);
/* Adds the value to `out` as JSON text, which reads back to the same bits. */
void km_option_print(const km_option *option, const void *values, km_buffer *out);
/* Adds to `out` what the option takes, in words: "a whole number 1..64". */
void km_option_expected(const km_option *option, km_buffer *out);

#endif
