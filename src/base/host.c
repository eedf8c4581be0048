/* host: the processors of this host, their limits, and its network devices, as the system describes them. */
#include "kmask/base.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* ---- Sets of hardware threads ---- */

static void add(km_cpus *cpus, long cpu) {
    if (cpu >= 0 && cpu < KM_CPUS) {
        cpus->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
    }
}

bool km_cpus_has(const km_cpus *cpus, int cpu) {
    return cpu >= 0 && cpu < KM_CPUS && (cpus->bits[cpu / 64] >> (cpu % 64) & 1) != 0;
}

int km_cpus_count(const km_cpus *cpus) {
    int count = 0;
    for (int cpu = 0; cpu < KM_CPUS; cpu++) {
        count += km_cpus_has(cpus, cpu);
    }
    return count;
}

char *km_cpus_print(const km_cpus *cpus) {
    km_buffer text = {0};
    km_buffer_add(&text, "", 0);
    for (int cpu = 0; cpu < KM_CPUS; cpu++) {
        if (!km_cpus_has(cpus, cpu)) {
            continue;
        }
        int last = cpu;
        while (km_cpus_has(cpus, last + 1)) {
            last++;
        }
        km_buffer_print(&text, last > cpu ? "%s%d-%d" : "%s%d", text.size > 0 ? "," : "", cpu, last);
        cpu = last;
    }
    return text.data;
}

static bool read_number(long *out, const char **text) {
    char *end = NULL;
    *out = isdigit((unsigned char)**text) ? strtol(*text, &end, 10) : -1;
    *text = end != NULL ? end : *text;
    return *out >= 0;
}

bool km_cpus_parse(km_cpus *out, const char *text) {
    *out = (km_cpus){0};
    while (*text != '\0') {
        long first = 0, last = 0;
        if (!read_number(&first, &text)) {
            return false;
        }
        last = first;
        if (*text == '-') {
            text++;
            if (!read_number(&last, &text)) {
                return false;
            }
        }
        for (long cpu = first; cpu <= last && cpu < KM_CPUS; cpu++) {
            add(out, cpu);
        }
        if (*text != '\0' && (*text != ',' || *++text == '\0')) {
            return false;
        }
    }
    return true;
}

void km_cpus_allowed(km_cpus *out) {
    *out = (km_cpus){0};
    cpu_set_t *set = CPU_ALLOC(KM_CPUS);
    size_t size = CPU_ALLOC_SIZE(KM_CPUS);
    if (set == NULL || sched_getaffinity(0, size, set) != 0) {
        CPU_FREE(set);
        return;
    }
    for (int cpu = 0; cpu < KM_CPUS; cpu++) {
        if (CPU_ISSET_S((size_t)cpu, size, set)) {
            add(out, cpu);
        }
    }
    CPU_FREE(set);
}

/* Reads the first line of a small file of the system; false where there is none. */
static bool read_line(char *out, size_t room, const char *path) {
    FILE *file = fopen(path, "re");
    bool got = file != NULL && fgets(out, (int)room, file) != NULL;
    if (file != NULL) {
        fclose(file);
    }
    return got;
}

void km_cpus_cores(km_cpus *out, const km_cpus *cpus) {
    km_cpus cores = {0};
    for (int cpu = 0; cpu < KM_CPUS; cpu++) {
        char path[96], text[64];
        if (!km_cpus_has(cpus, cpu)) {
            continue;
        }
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        add(&cores, read_line(text, sizeof text, path) ? strtol(text, NULL, 10) : cpu);
    }
    *out = cores;
}

/* ---- What it is ---- */

char *km_cpu_name(void) {
    char line[512], *name = NULL;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file != NULL && name == NULL && fgets(line, sizeof line, file) != NULL) {
        char *value = strchr(line, ':');
        if (strncmp(line, "model name", strlen("model name")) == 0 && value != NULL) {
            value += 1 + strspn(value + 1, " \t");
            name = km_format("%.*s", (int)strcspn(value, "\n"), value);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return name != NULL ? name : km_strdup("a CPU without a name");
}

/* A group's path in /proc/self/cgroup after `key`; the caller frees. */
static char *group_of(const char *key) {
    char line[1024], *group = NULL;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file != NULL && group == NULL && fgets(line, sizeof line, file) != NULL) {
        char *at = strstr(line, key), *path = at != NULL ? strchr(at + strlen(key) - 1, ':') : NULL;
        group = path != NULL ? km_format("%.*s", (int)strcspn(path + 1, "\n"), path + 1) : NULL;
    }
    if (file != NULL) {
        fclose(file);
    }
    return group;
}

static double quota_at(const char *root, const char *group) {
    char *path = km_format("%s%s/cpu.max", root, group), text[64];
    double quota = 0, period = 0, out = 0;
    if (read_line(text, sizeof text, path) && sscanf(text, "%lf %lf", &quota, &period) == 2 && period > 0) {
        out = quota / period;
    }
    free(path);
    path = km_format("%s/cpu%s/cpu.cfs_quota_us", root, group);
    if (out == 0 && read_line(text, sizeof text, path) && (quota = strtod(text, NULL)) > 0) {
        free(path);
        path = km_format("%s/cpu%s/cpu.cfs_period_us", root, group);
        out = read_line(text, sizeof text, path) && (period = strtod(text, NULL)) > 0 ? quota / period : 0;
    }
    free(path);
    return out;
}

double km_cpu_quota(void) {
    static const char *const keys[] = {"0::", "cpu,"};
    double least = 0;
    for (size_t i = 0; i < KM_COUNT(keys); i++) {
        char *group = group_of(keys[i]);
        for (char *end = group != NULL ? group + strlen(group) : NULL; end != NULL; end = strrchr(group, '/')) {
            *end = '\0';
            double here = quota_at("/sys/fs/cgroup", group);
            least = here > 0 && (least == 0 || here < least) ? here : least;
        }
        free(group);
    }
    return least;
}

char *km_fabric_name(void) {
    char *name = NULL;
    DIR *list = opendir("/sys/class/infiniband");
    for (struct dirent *entry = list != NULL ? readdir(list) : NULL; entry != NULL; entry = readdir(list)) {
        if (name == NULL && entry->d_name[0] != '.') {
            name = km_strdup(entry->d_name);
        }
    }
    if (list != NULL) {
        closedir(list);
    }
    return name;
}
