/* checkpoint_files: the files of a run folder that hold checkpoints, <dir>/checkpoints/step-<number>.h5. Local. */
#ifndef KMASK_RUN_CHECKPOINT_FILES_H
#define KMASK_RUN_CHECKPOINT_FILES_H

#include "kmask/run.h"

typedef struct km_checkpoint_file {
    int64_t step;
    char *path;
} km_checkpoint_file;
typedef struct km_checkpoint_files {
    km_checkpoint_file *items; /* newest first */
    int count;
} km_checkpoint_files;

/* Lists the checkpoints of a run folder, by the names of the files; nothing is read. A missing folder is an empty list. */
km_status km_checkpoint_files_list(km_checkpoint_files *out, const char *dir) KM_NODISCARD;
km_status km_snapshot_files_list(km_checkpoint_files *out, const char *dir) KM_NODISCARD; /* of <dir>/snapshots */
void km_checkpoint_files_free(km_checkpoint_files *files);
char *km_snapshot_path(const char *dir, int64_t step); /* <dir>/snapshots/step-<number>.h5; the caller frees */

/* The path and step of the newest file that is valid; *step is -1, and *path NULL, where there are no files at all. Damaged ones
 * are named in warnings. KM_NO_CHECKPOINT where there are files but none is valid. */
km_status km_checkpoint_find_newest(char **path, int64_t *step, const char *dir) KM_NODISCARD;

#endif
