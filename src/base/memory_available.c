/* memory_available: how many bytes of memory this process may still take. */
#include "memory_available.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { KIB = 1024 };

/* Reads the number after `key` in a small file of the system, or its first number where `key` is "". False where there is no
 * number, for example where the file says "max". */
static bool number_in(const char *path, const char *key, uint64_t *out) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    char line[256];
    bool found = false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        unsigned long long number = 0;
        found = strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%llu", &number) == 1;
        *out = number;
    }
    fclose(file);
    return found;
}

static uint64_t available_on_machine(const char *root) {
    uint64_t available = 0, swap = 0;
    char *path = km_format("%s/proc/meminfo", root);
    const bool known = number_in(path, "MemAvailable:", &available);
    (void)number_in(path, "SwapFree:", &swap);
    free(path);
    return known ? (available + swap) * KIB : UINT64_MAX;
}

/* ---- Limits of the process (ulimit) ---- */

/* What is left of a limit of this process, of which /proc/self/status has the use under `key`. */
static uint64_t left_of_limit(const struct rlimit *limit, const char *key) {
    uint64_t used = 0;
    if (limit->rlim_cur == RLIM_INFINITY || !number_in("/proc/self/status", key, &used)) {
        return UINT64_MAX;
    }
    return limit->rlim_cur - KM_MIN((uint64_t)limit->rlim_cur, used * KIB);
}

/* ---- Control groups ---- */

/* The files in which one version of control groups (cgroups) keeps a group's memory limit and use. */
typedef struct group_files {
    const char *controllers; /* in the second field of a line of /proc/self/cgroup; the third is the group's path */
    const char *folder;
    const char *limit, *used, *cached;
} group_files;

static const group_files versions[] = {
    {"", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "},
    {"", "/sys/fs/cgroup/unified", "memory.max", "memory.current", "inactive_file "},
    {"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
};

static bool number_of(const char *folder, const char *name, const char *key, uint64_t *out) {
    char *path = km_format("%s/%s", folder, name);
    bool found = number_in(path, key, out);
    free(path);
    return found;
}

/* The group's limit minus its use. Cached files count as use there, but are not subtracted, since the system drops them on
 * demand. */
static uint64_t available_in_group(const group_files *files, const char *folder) {
    uint64_t limit = 0, used = 0, cached = 0;
    if (!number_of(folder, files->limit, "", &limit) || !number_of(folder, files->used, "", &used)) {
        return UINT64_MAX;
    }
    if (number_of(folder, "memory.stat", files->cached, &cached)) {
        used -= KM_MIN(used, cached);
    }
    return limit - KM_MIN(limit, used);
}

/* Whether `word` is one of the words of "cpu,memory"; the empty list has the empty word. */
static bool is_listed(const char *list, size_t length, const char *word) {
    for (size_t at = 0; at <= length;) {
        const size_t count = strcspn(list + at, ",:");
        if (count == strlen(word) && strncmp(list + at, word, count) == 0) {
            return true;
        }
        at += count + 1;
    }
    return false;
}

/* The path of this process's group, "/a/b", of a line "4:cpu,memory:/a/b"; NULL where the line is of other controllers. */
static char *group_of_line(char *line, const char *controllers) {
    char *list = strchr(line, ':'), *path = list != NULL ? strchr(list + 1, ':') : NULL;
    if (path == NULL || !is_listed(list + 1, (size_t)(path - list - 1), controllers)) {
        return NULL;
    }
    path[1 + strcspn(path + 1, "\n")] = '\0';
    return path + 1;
}

/* The smallest available of this process's group and the groups above it. The last one is the mounted folder itself: in a container
 * that may be the container's group, whose path on the host leads nowhere there. */
static uint64_t available_in_groups(const group_files *files, const char *root, char *group) {
    uint64_t available = UINT64_MAX;
    for (char *end = group + strlen(group); end != NULL; end = strrchr(group, '/')) {
        *end = '\0';
        char *folder = km_format("%s%s%s", root, files->folder, group);
        uint64_t here = available_in_group(files, folder);
        available = KM_MIN(available, here);
        free(folder);
    }
    return available;
}

static uint64_t available_in_all_groups(const char *root) {
    uint64_t available = UINT64_MAX;
    char line[8192], *path = km_format("%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        for (size_t i = 0; i < KM_COUNT(versions); i++) {
            char *own = km_strdup(line), *group = group_of_line(own, versions[i].controllers);
            const uint64_t here = group != NULL ? available_in_groups(&versions[i], root, group) : UINT64_MAX;
            available = KM_MIN(available, here);
            free(own);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    free(path);
    return available;
}

uint64_t km_memory_granted(const char *root) {
    const uint64_t machine = available_on_machine(root), groups = available_in_all_groups(root);
    return KM_MIN(machine, groups);
}

uint64_t km_memory_available(void) {
    struct rlimit space = {.rlim_cur = RLIM_INFINITY}, data = space;
    (void)getrlimit(RLIMIT_AS, &space);
    (void)getrlimit(RLIMIT_DATA, &data);
    const uint64_t left_of_space = left_of_limit(&space, "VmSize:"), left_of_data = left_of_limit(&data, "VmData:"),
                   granted = km_memory_granted("");
    return KM_MIN(granted, KM_MIN(left_of_space, left_of_data));
}
