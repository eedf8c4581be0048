/* safe_output: standard output through a filter that escapes control characters. */
#ifndef KMASK_SAFE_OUTPUT_H
#define KMASK_SAFE_OUTPUT_H

#include <stdbool.h>

/* From now on control characters in standard output are escaped (km_printable_add). `data`: the output is for programs (JSON, text
 * itself), so that this is done only where standard output is a terminal. */
void cli_filter_output(bool data);

#endif
