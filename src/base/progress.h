/* progress: what log and progress share. Both write to standard error by one function, which keeps the live line intact. */
#ifndef KMASK_BASE_PROGRESS_H
#define KMASK_BASE_PROGRESS_H

#include "kmask/base.h"

/* Writes `text` (whole lines) to standard error in one piece, after wiping a live line; the next update draws it
 * again. Any thread. */
void km_log_write(const char *text);

/* Sets the least time between plain lines, in seconds (2 by default). It does not apply to the first and the last line. */
void km_progress_set_interval(struct km_progress *progress, double seconds);

#endif
