#include "kmask/store.h"
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *checkpoint_folder(const char *dir) {
    return km_format("%s/checkpoints", dir);
}

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
    int64_t x = ((const km_generation *)a)->step, y = ((const km_generation *)b)->step;
    return x < y ? 1 : x > y ? -1 : 0;
}

km_status km_generations_list(km_generations *out, const char *dir) {
    *out = (km_generations){0};
    char *folder = checkpoint_folder(dir);
    DIR *list = opendir(folder);
    if (list == NULL) {
        km_status status = errno == ENOENT || errno == ENOTDIR
                               ? KM_OK
                               : km_fail(KM_FAILED, "%s: cannot list: %s", folder, strerror(errno));
        free(folder);
        return status;
    }
    for (struct dirent *entry = readdir(list); entry != NULL; entry = readdir(list)) {
        int64_t step = step_of(entry->d_name);
        if (step >= 0) {
            out->items = km_grow(out->items, (size_t)out->count + 1, sizeof *out->items);
            out->items[out->count++] =
                (km_generation){.step = step, .path = km_format("%s/%s", folder, entry->d_name)};
        }
    }
    closedir(list);
    if (out->count > 0) {
        qsort(out->items, (size_t)out->count, sizeof *out->items, newest_first);
    }
    free(folder);
    return KM_OK;
}

void km_generations_free(km_generations *generations) {
    for (int i = 0; i < generations->count; i++) {
        free(generations->items[i].path);
    }
    free(generations->items);
    *generations = (km_generations){0};
}

km_status km_newest_valid(char **path, int64_t *step, const char *dir) {
    *path = NULL;
    *step = -1;
    km_generations list;
    KM_TRY(km_generations_list(&list, dir));
    for (int i = 0; i < list.count && *path == NULL; i++) {
        if (km_store_verify(list.items[i].path) == KM_OK) {
            *path = km_strdup(list.items[i].path);
            *step = list.items[i].step;
        } else {
            km_warn("%s; it is skipped", km_message());
        }
    }
    km_status status = KM_OK;
    if (list.count > 0 && *path == NULL) {
        status =
            km_fail(KM_NO_CHECKPOINT,
                    "%s/checkpoints: %d checkpoint(s) found, none is valid; nothing was changed. Restore one, or "
                    "move the folder away to start from step 0.",
                    dir, list.count);
    }
    km_generations_free(&list);
    return status;
}

void km_generations_prune(const char *dir, int64_t keep) {
    km_generations list;
    if (km_fault("save.verify") != KM_OK || km_fault("save.prune") != KM_OK) {
        km_warn("%s", km_message());
        return;
    }
    if (km_generations_list(&list, dir) != KM_OK) {
        km_warn("%s", km_message());
        return;
    }
    int64_t valid = 0;
    for (int i = 0; i < list.count; i++) {
        if (valid < keep) { /* only what is to be kept need be read */
            valid += km_store_verify(list.items[i].path) == KM_OK;
        } else if (unlink(list.items[i].path) != 0) {
            km_warn("%s: cannot remove: %s", list.items[i].path, strerror(errno));
        }
    }
    km_generations_free(&list);
}

void km_set_damaged_aside(const char *path) {
    if (km_file_exists(path) && km_store_verify(path) != KM_OK) {
        char *aside = km_format("%s.damaged", path);
        if (rename(path, aside) == 0) {
            km_warn("%s is damaged and was set aside as %s", path, aside);
        }
        free(aside);
    }
}
