/* What log and progress share: one way to standard error, which knows of the live line. */
#ifndef KMASK_BASE_PROGRESS_H
#define KMASK_BASE_PROGRESS_H

#include "kmask/base.h"

/* Writes `text` (whole lines) to standard error in one piece, after wiping a live line; the next update draws it
 * again. Any thread. */
void km_say(const char *text);

/* Plain lines are at least this many seconds apart, the first and the last excepted (2 at first). */
void km_progress_set_pace(struct km_progress *progress, double seconds);

#endif
