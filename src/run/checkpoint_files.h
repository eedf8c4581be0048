/* checkpoint_files: the files of a run folder that hold checkpoints, <dir>/checkpoints/step-<number>.h5. Local. */
#ifndef KMASK_RUN_CHECKPOINT_FILES_H
#define KMASK_RUN_CHECKPOINT_FILES_H

#include "kmask/store.h"

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
void km_checkpoint_files_free(km_checkpoint_files *files);
char *km_checkpoint_path(const char *dir, int64_t step); /* the caller frees */
char *km_snapshot_path(const char *dir, int64_t step);   /* <dir>/snapshots/step-<number>.h5; the caller frees */

/* The path and step of the newest file that is valid; *step is -1, and *path NULL, where there are no files at all. Damaged ones
 * are named in warnings. KM_NO_CHECKPOINT where there are files but none is valid. */
km_status km_checkpoint_find_newest(char **path, int64_t *step, const char *dir) KM_NODISCARD;
/* Finds the newest valid file and opens it for reading; opening verifies a file, so that each is read once. *newest: the largest
 * step that has a file, valid or not; -1 where there is none. A file of a later version of kmask is an error. The caller closes.
 * [HDF5] */
km_status km_checkpoint_open_newest(km_store **store, int64_t *step, int64_t *newest, const char *dir) KM_NODISCARD;

/* Removes the files of steps up to `until` that are older than the `keep` newest valid ones among them; returns how many. Files
 * of later steps are not looked at: the run has not gone on from them. The file of step `verified` (-1: none) is known to be
 * valid. Any thread. */
int km_checkpoint_files_prune(const char *dir, int64_t keep, int64_t until, int64_t verified);
/* Renames a damaged file to <name>.damaged, so that the step can be saved again. */
void km_checkpoint_set_damaged_aside(const char *path);
/* Removes the temporary files of a run that was killed while it wrote them. */
void km_run_remove_unfinished(const char *dir);

#endif
