/* What is available of memory is the least of what the machine, control groups and the process's own limits leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory_available.h"

enum { MIB = 1 << 20 };

static char root[] = "/tmp/kmask_memory.XXXXXX";

/* Writes a file of the system below `root`, with its folders. */
static void put(const char *path, const char *text) {
    char *whole = km_format("%s%s", root, path), *folder = km_strdup(whole);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(km_make_folder(folder), KM_OK);
    assert_int_equal(km_file_replace(whole, text, strlen(text)), KM_OK);
    free(folder);
    free(whole);
}

static uint64_t granted(void) {
    return km_memory_granted(root) / MIB;
}

static int make_machine(void **state) {
    (void)state;
    assert_non_null(mkdtemp(root));
    put("/proc/meminfo", "MemTotal: 9999999 kB\nMemAvailable: 8192000 kB\nSwapFree: 1024000 kB\n");
    return 0;
}

static int remove_machine(void **state) {
    (void)state;
    char *command = km_format("rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
    free(command);
    return 0;
}

static void the_machine_limits(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/\n");
    assert_int_equal(granted(), 9000);
}

static void the_own_group_and_those_above_limit(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/job/step\n");
    put("/sys/fs/cgroup/job/step/memory.max", "max\n");
    put("/sys/fs/cgroup/job/step/memory.current", "104857600\n");
    put("/sys/fs/cgroup/job/memory.max", "1048576000\n");
    put("/sys/fs/cgroup/job/memory.current", "524288000\n");
    put("/sys/fs/cgroup/job/memory.stat", "anon 1\nactive_file 7\ninactive_file 104857600\n");
    assert_int_equal(granted(), 600); /* 1000 - 500, and 100 of these are cached files */
    put("/sys/fs/cgroup/job/step/memory.max", "314572800\n");
    assert_int_equal(granted(), 200);
}

static void a_container_sees_its_group_as_the_root(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/on/the/host\n"); /* which leads nowhere in the container */
    put("/sys/fs/cgroup/memory.max", "209715200\n");
    put("/sys/fs/cgroup/memory.current", "104857600\n");
    assert_int_equal(granted(), 100);
    put("/sys/fs/cgroup/memory.max", "max\n");
}

static void groups_of_version_1_limit(void **state) {
    (void)state;
    put("/proc/self/cgroup", "5:name=systemd:/s\n4:cpu,memory,pids:/slurm/job_7\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
    put("/sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes", "524288000\n");
    put("/sys/fs/cgroup/memory/slurm/job_7/memory.usage_in_bytes", "209715200\n");
    put("/sys/fs/cgroup/memory/slurm/job_7/memory.stat", "inactive_file 1\ntotal_inactive_file 104857600\n");
    assert_int_equal(granted(), 400);
    put("/sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "314572800\n"); /* the job's folder above */
    put("/sys/fs/cgroup/memory/slurm/memory.usage_in_bytes", "209715200\n");
    assert_int_equal(granted(), 100);
    put("/proc/self/cgroup", "5:name=memory:/slurm/job_7\n");
    assert_int_equal(granted(), 9000); /* no controller of that name */
}

/* `left` bytes more than the process has now, by a limit of the process alone. */
static void a_limit_of_the_process_limits(bool of_data, const char *key) {
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char *text = NULL, *at = NULL;
        bool good =
            km_file_read(&text, NULL, "/proc/self/status", 1 << 16) == KM_OK && (at = strstr(text, key)) != NULL;
        const uint64_t used = good ? strtoull(at + strlen(key), NULL, 10) * 1024 : 0;
        const struct rlimit limit = {used + 256 * (uint64_t)MIB, RLIM_INFINITY};
        good = good && (of_data ? setrlimit(RLIMIT_DATA, &limit) : setrlimit(RLIMIT_AS, &limit)) == 0 &&
               km_memory_available() <= 256 * (uint64_t)MIB && km_memory_available() > 100 * (uint64_t)MIB;
        void *block = NULL;
        good = good && km_allocate(&block, 300 * (size_t)MIB, "a test") == KM_FAILED;
        _exit(good ? 0 : 1);
    }
    int status = 0;
    assert_true(waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void limits_of_the_process_limit(void **state) {
    (void)state;
    a_limit_of_the_process_limits(false, "VmSize:");
    a_limit_of_the_process_limits(true, "VmData:");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_machine_limits),
        cmocka_unit_test(the_own_group_and_those_above_limit),
        cmocka_unit_test(a_container_sees_its_group_as_the_root),
        cmocka_unit_test(groups_of_version_1_limit),
        cmocka_unit_test(limits_of_the_process_limit),
    };
    return cmocka_run_group_tests(tests, make_machine, remove_machine);
}
