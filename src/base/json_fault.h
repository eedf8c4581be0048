/* json_fault: where a text stops being JSON, and what a person would have to change there. */
#ifndef KMASK_BASE_JSON_FAULT_H
#define KMASK_BASE_JSON_FAULT_H

#include "kmask/base.h"

/* Returns the offset in bytes of the first fault in `count` bytes of text without NUL, and sets *what to a sentence about it.
 * Returns `count`, with *what NULL, where nothing is found. The text is nested at most 100 levels deep. */
size_t km_json_fault(const char **what, const char *text, size_t count);

#endif
