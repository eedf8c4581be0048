/* checkpoint_files: the checkpoints of a run folder are found, verified and removed. */
#include "checkpoint_files.h"

#include "kmask/run.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *km_checkpoint_path(const char *dir, int64_t step) {
    return km_format("%s/checkpoints/step-%08lld.h5", dir, (long long)step);
}

char *km_snapshot_path(const char *dir, int64_t step) {
    return km_format("%s/snapshots/step-%08lld.h5", dir, (long long)step);
}

/* The step of "step-00000012.h5", or -1. */
static int64_t step_of(const char *name) {
    long long step = -1;
    int end = 0;
    if (sscanf(name, "step-%lld.h5%n", &step, &end) != 1 || end == 0 || name[end] != '\0' || step < 0) {
        return -1;
    }
    return step;
}

static int newest_first(const void *a, const void *b) {
    int64_t x = ((const km_checkpoint_file *)a)->step, y = ((const km_checkpoint_file *)b)->step;
    return x < y ? 1 : x > y ? -1 : 0;
}

static km_status list_files(km_checkpoint_files *out, const char *dir, const char *name) {
    *out = (km_checkpoint_files){0};
    char *folder = km_format("%s/%s", dir, name);
    DIR *list = opendir(folder);
    if (list == NULL) {
        km_status status =
            errno == ENOENT || errno == ENOTDIR ? KM_OK : km_fail_errno(errno, "%s: cannot list", folder);
        free(folder);
        return status;
    }
    for (struct dirent *entry = readdir(list); entry != NULL; entry = readdir(list)) {
        int64_t step = step_of(entry->d_name);
        if (step >= 0) {
            out->items = km_grow(out->items, (size_t)out->count + 1, sizeof *out->items);
            out->items[out->count++] =
                (km_checkpoint_file){.step = step, .path = km_format("%s/%s", folder, entry->d_name)};
        }
    }
    closedir(list);
    if (out->count > 0) {
        qsort(out->items, (size_t)out->count, sizeof *out->items, newest_first);
    }
    free(folder);
    return KM_OK;
}

km_status km_checkpoint_files_list(km_checkpoint_files *out, const char *dir) {
    return list_files(out, dir, "checkpoints");
}

km_status km_snapshot_files_list(km_checkpoint_files *out, const char *dir) {
    return list_files(out, dir, "snapshots");
}

void km_checkpoint_files_free(km_checkpoint_files *files) {
    for (int i = 0; i < files->count; i++) {
        free(files->items[i].path);
    }
    free(files->items);
    *files = (km_checkpoint_files){0};
}

static km_status none_valid(const char *dir, int count) {
    return km_fail(KM_NO_CHECKPOINT,
                   "%s/checkpoints: %d checkpoint(s) found, none is valid; nothing was changed. Restore one, or "
                   "move the folder away to start from step 0.",
                   dir, count);
}

/* The step in the name and the step in the file must agree: the log is cut at the one, and training goes on from the other. */
static km_status open_file(km_store **store, const km_checkpoint_file *file) {
    int64_t step = -1;
    KM_TRY(km_store_open(store, file->path));
    if (km_store_number(*store, "step", &step) && step != file->step) {
        km_store_close(*store);
        *store = NULL;
        return km_fail(KM_FAILED, "%s: holds step %lld, not the %lld of its name; it was renamed", file->path,
                       (long long)step, (long long)file->step);
    }
    return KM_OK;
}

/* Logs why a file cannot be used, which is the message of the last failure. */
static void warn_of_skipping(void) {
    const char *message = km_message();
    size_t length = strlen(message);
    length -= length > 0 && message[length - 1] == '.';
    km_warn("%.*s; it is skipped", (int)length, message);
}

/* *vanished: a file of the list is gone, because the run that is at work in this folder has removed it meanwhile. */
static km_status try_open_newest(km_store **store, int64_t *step, int64_t *newest, const char *dir,
                                 bool *vanished) {
    km_checkpoint_files list;
    KM_TRY(km_checkpoint_files_list(&list, dir));
    *newest = list.count > 0 ? list.items[0].step : -1;
    KM_TRY(km_fault("resume.listed"));
    km_status status = KM_OK;
    for (int i = 0; i < list.count && *store == NULL && status == KM_OK; i++) {
        if (open_file(store, &list.items[i]) == KM_OK) {
            *step = list.items[i].step;
        } else if (km_message_kind() == KM_ERROR_LATER) {
            status =
                KM_FAILED; /* a later kmask has gone on with this run: older files are no place to start from */
        } else if (km_file_exists(list.items[i].path)) {
            warn_of_skipping();
        } else {
            *vanished = true;
        }
    }
    if (status == KM_OK && list.count > 0 && *store == NULL) {
        status = none_valid(dir, list.count);
    }
    km_checkpoint_files_free(&list);
    return status;
}

km_status km_checkpoint_open_newest(km_store **store, int64_t *step, int64_t *newest, const char *dir) {
    enum { TRIES = 100 }; /* one more is needed whenever a save is completed while this process looks */
    km_status status = KM_OK;
    *store = NULL;
    *step = *newest = -1;
    for (int i = 0; i < TRIES; i++) {
        bool vanished = false;
        status = try_open_newest(store, step, newest, dir, &vanished);
        if (status != KM_NO_CHECKPOINT || !vanished) {
            break;
        }
    }
    return status;
}

km_status km_checkpoint_find_newest(char **path, int64_t *step, const char *dir) {
    *path = NULL;
    *step = -1;
    km_checkpoint_files list;
    KM_TRY(km_checkpoint_files_list(&list, dir));
    for (int i = 0; i < list.count && *path == NULL; i++) {
        if (km_store_verify(list.items[i].path) == KM_OK) {
            *path = km_strdup(list.items[i].path);
            *step = list.items[i].step;
        } else {
            warn_of_skipping();
        }
    }
    km_status status = list.count > 0 && *path == NULL ? none_valid(dir, list.count) : KM_OK;
    km_checkpoint_files_free(&list);
    return status;
}

static bool remove_file(const char *path) {
    if (unlink(path) != 0 && errno != ENOENT) {
        km_warn("%s: cannot remove: %s", path, strerror(errno));
        return false;
    }
    return true;
}

int km_checkpoint_files_prune(const char *dir, int64_t keep, int64_t until, int64_t verified) {
    km_checkpoint_files list;
    if (km_fault("save.prune") != KM_OK || km_checkpoint_files_list(&list, dir) != KM_OK) {
        km_warn("%s", km_message());
        return 0;
    }
    int64_t valid = 0;
    int removed = 0;
    for (int i = 0; i < list.count; i++) {
        if (list.items[i].step > until) {
            continue;
        }
        if (valid < keep) { /* only the files that are kept need be verified */
            valid += list.items[i].step == verified || km_store_verify(list.items[i].path) == KM_OK;
        } else {
            removed += remove_file(list.items[i].path);
        }
    }
    km_checkpoint_files_free(&list);
    return removed;
}

static void remove_unfinished_in(const char *folder) {
    static const char end[] = ".tmp";
    DIR *list = opendir(folder);
    for (struct dirent *entry = list ? readdir(list) : NULL; entry != NULL; entry = readdir(list)) {
        size_t length = strlen(entry->d_name);
        if (length >= sizeof end && strcmp(entry->d_name + length + 1 - sizeof end, end) == 0) {
            char *path = km_format("%s/%s", folder, entry->d_name);
            (void)remove_file(path);
            free(path);
        }
    }
    if (list != NULL) {
        closedir(list);
    }
}

void km_run_remove_unfinished(const char *dir) {
    static const char *const folders[] = {"checkpoints", "snapshots"};
    for (size_t i = 0; i < KM_COUNT(folders); i++) {
        char *folder = km_format("%s/%s", dir, folders[i]);
        remove_unfinished_in(folder);
        free(folder);
    }
    char *log = km_format("%s/metrics.jsonl.tmp", dir);
    (void)remove_file(log);
    free(log);
}

void km_checkpoint_set_damaged_aside(const char *path) {
    if (km_file_exists(path) && km_store_verify(path) != KM_OK) {
        char *aside = km_format("%s.damaged", path);
        if (rename(path, aside) == 0) {
            km_warn("%s is damaged and was set aside as %s", path, aside);
        }
        free(aside);
    }
}
