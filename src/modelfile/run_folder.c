/* run_folder: a run folder in place of a model means its newest checkpoint. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "kmask/modelfile.h"

/* The file step-<number>.h5 with the largest number in path/folder; NULL where there is none. The caller frees. */
static char *newest_in(const char *path, const char *folder) {
    char *where = km_format("%s/%s", path, folder), *best = NULL;
    DIR *list = opendir(where);
    long long most = -1;
    for (struct dirent *entry = list != NULL ? readdir(list) : NULL; entry != NULL; entry = readdir(list)) {
        long long step = -1;
        int end = 0;
        if (sscanf(entry->d_name, "step-%lld.h5%n", &step, &end) == 1 && end > 0 && entry->d_name[end] == '\0' &&
            step > most) {
            free(best);
            most = step;
            best = km_format("%s/%s", where, entry->d_name);
        }
    }
    if (list != NULL) {
        closedir(list);
    }
    free(where);
    return best;
}

char *km_bundle_file_of(const char *path) {
    char *found = newest_in(path, "checkpoints");
    found = found != NULL ? found : newest_in(path, "snapshots");
    if (found == NULL) {
        return km_strdup(path);
    }
    km_log("%s is a run folder: its newest file %s is taken", path, found);
    return found;
}
