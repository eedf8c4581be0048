/* folder: what a run folder holds besides checkpoints and the log: whether it is one, and the notes of its starts. */
#ifndef KMASK_RUN_FOLDER_H
#define KMASK_RUN_FOLDER_H

#include "kmask/run.h"

/* KM_USAGE where the folder holds files, and nothing that a run writes, so that a run there would mix with what is someone else's.
 * A folder that is missing, or empty but for hidden files and launchers' logs, is fine. */
km_status km_run_folder_check(const char *dir) KM_NODISCARD;

/* Adds a line to starts.jsonl, on rank 0: when and from which step the run starts, on which host, CPU, ranks and threads, on which
 * corpus. The report page shows it; nothing else reads it, so a line that cannot be written is only a warning. */
void km_run_note_start(const km_run *run);
/* Adds a line about the end of the start that is noted last: when, at which step, with which status. */
void km_run_note_end(const char *dir, km_status status, int64_t step);

#endif
