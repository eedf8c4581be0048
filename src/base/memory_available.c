/* memory_available: how many bytes of memory this process may still take. */
#include "kmask/base.h"

#include <stdlib.h>
#include <string.h>

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

static uint64_t available_on_machine(void) {
    const uint64_t kib = 1024;
    uint64_t available = 0, swap = 0;
    if (!number_in("/proc/meminfo", "MemAvailable:", &available)) {
        return UINT64_MAX;
    }
    return (number_in("/proc/meminfo", "SwapFree:", &swap) ? available + swap : available) * kib;
}

/* The files in which one version of control groups (cgroups) keeps a group's memory limit and use. */
typedef struct group_files {
    const char *line; /* in a line of /proc/self/cgroup, before the group's path */
    const char *root;
    const char *limit, *used, *cached;
} group_files;

static const group_files versions[] = {
    {"0::", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "},
    {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
};

static bool number_of(const group_files *files, const char *group, const char *name, const char *key,
                      uint64_t *out) {
    char *path = km_format("%s%s/%s", files->root, group, name);
    bool found = number_in(path, key, out);
    free(path);
    return found;
}

/* The group's limit minus its use. Cached files count as use there, but are not subtracted, since the system drops them on
 * demand. */
static uint64_t available_in_group(const group_files *files, const char *group) {
    uint64_t limit = 0, used = 0, cached = 0;
    if (!number_of(files, group, files->limit, "", &limit) || !number_of(files, group, files->used, "", &used)) {
        return UINT64_MAX;
    }
    if (number_of(files, group, "memory.stat", files->cached, &cached)) {
        used -= KM_MIN(used, cached);
    }
    return limit - KM_MIN(limit, used);
}

/* The smallest available of this process's group and the groups above it. */
static uint64_t available_in_groups(const group_files *files) {
    char line[1024], *group = NULL;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file != NULL && group == NULL && fgets(line, sizeof line, file) != NULL) {
        char *at = strstr(line, files->line);
        group = at == NULL ? NULL : at + strlen(files->line);
    }
    if (file != NULL) {
        fclose(file);
    }
    uint64_t available = UINT64_MAX;
    if (group != NULL) {
        group[strcspn(group, "\n")] = '\0';
        for (char *end = strrchr(group, '/'); end != NULL; end = strrchr(group, '/')) {
            uint64_t here = available_in_group(files, group);
            available = KM_MIN(available, here);
            *end = '\0';
        }
    }
    return available;
}

uint64_t km_memory_available(void) {
    uint64_t available = available_on_machine();
    for (size_t i = 0; i < KM_COUNT(versions); i++) {
        uint64_t granted = available_in_groups(&versions[i]);
        available = KM_MIN(available, granted);
    }
    return available;
}
