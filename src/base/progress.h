/* What log and progress share: one way to standard error, which knows of the live line. */
#ifndef KMASK_BASE_PROGRESS_H
#define KMASK_BASE_PROGRESS_H

/* Writes `text` (whole lines) to standard error in one piece, after wiping a live line; the next update draws it
 * again. Any thread. */
void km_say(const char *text);

#endif
