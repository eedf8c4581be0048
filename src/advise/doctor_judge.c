/* doctor_judge: rank 0 judges the facts: what is wrong with hosts, run folder and job, and what the user can do about it. */
#include "doctor.h"
#include "kmask/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double number(const km_json *object, const char *key) {
    return km_json_number_or(object, key, 0);
}

/* ---- Hosts and ranks ---- */

static void judge_kernel(km_host_check *check, int host, const km_json *facts) {
    const char *better = km_json_text(facts, "better"), *forced = km_json_text(facts, "forced");
    bool concurrent = true;
    (void)km_json_boolean(&concurrent, km_json_get(facts, "concurrent"));
    if (better[0] != '\0') {
        char *cure = forced[0] != '\0' ? km_format("unset OPENBLAS_CORETYPE, or set it to %s", better)
                                       : km_format("export OPENBLAS_CORETYPE=%s", better);
        km_host_check_problem(
            check, cure, "%s: OpenBLAS runs its kernel %s%s%s%s, this CPU could run %s, which is faster",
            km_host_check_name(check, host), km_json_text(facts, "kernel"),
            forced[0] != '\0' ? " (OPENBLAS_CORETYPE=" : "", forced, forced[0] != '\0' ? ")" : "", better);
        free(cure);
    }
    if (!concurrent && check->options->threads > 1) {
        km_host_check_problem(
            check, "use its pthread or OpenMP build (Debian: libopenblas-pthread-dev), or one thread a rank",
            "%s: OpenBLAS is its serial build, which is not safe for %d threads", km_host_check_name(check, host),
            check->options->threads);
    }
}

/* Reports a host that cannot multiply in bf16, or only slowly, where the config asks for bf16. */
static void judge_bf16(km_host_check *check, int host, const km_json *facts) {
    const char *bf16 = km_json_text(facts, "bf16");
    if (check->options->config == NULL || !km_is_bf16(&check->options->config->train)) {
        return;
    }
    if (strcmp(bf16, KM_BF16_FACT_NOT_BUILT) == 0) {
        km_host_check_problem(
            check, "install oneDNN (Debian: libdnnl-dev) and build kmask with -DKMASK_ONEDNN=ON, or train in fp32",
            "%s: train.precision is bf16, and kmask was built without a oneDNN that it can use",
            km_host_check_name(check, host));
    } else if (strcmp(bf16, KM_BF16_FACT_NO_CPU) == 0) {
        km_host_check_problem(check, "use hosts with AVX512_BF16 or AMX (sbatch --constraint), or train in fp32",
                              "%s: train.precision is bf16, in which oneDNN cannot multiply on this CPU",
                              km_host_check_name(check, host));
    } else if (strstr(bf16, KM_BF16_FACT_SLOW) != NULL) {
        km_host_check_problem(
            check, "use hosts with AVX512_BF16 or AMX (sbatch --constraint), or train in fp32",
            "%s: train.precision is bf16, for which this CPU has no instructions: it will be slow",
            km_host_check_name(check, host));
    }
}

static void judge_clock(km_host_check *check, int host, const km_json *facts) {
    const double most = 1; /* seconds */
    double offset = number(facts, "clock");
    if (fabs(offset) > most) {
        km_host_check_problem(check, "synchronize the clocks (chronyc tracking, timedatectl)",
                              "%s: its clock is %.3g s %s that of %s", km_host_check_name(check, host),
                              fabs(offset), offset > 0 ? "ahead of" : "behind", km_host_check_name(check, 0));
    }
}

static void judge_alike(km_host_check *check, int host, const km_json *facts) {
    const km_json *first = check->checked[check->lowest_ranks[0]].facts;
    static const char *const keys[] = {"blas", "kernel", "loops", "bf16"};
    for (size_t i = 0; i < KM_COUNT(keys); i++) {
        if (strcmp(km_json_text(first, keys[i]), km_json_text(facts, keys[i])) != 0) {
            km_host_check_problem(
                check,
                "use hosts of one kind (sbatch --constraint), or OPENBLAS_CORETYPE=Haswell on all: bits would "
                "depend on who computes what",
                "%s runs %s, %s runs %s", km_host_check_name(check, 0), km_json_text(first, keys[i]),
                km_host_check_name(check, host), km_json_text(facts, keys[i]));
            return;
        }
    }
    if (strcmp(km_json_text(first, "cpu"), km_json_text(facts, "cpu")) != 0) {
        km_host_check_note(check, "%s has another CPU (%s) than %s (%s): the slowest sets the pace",
                           km_host_check_name(check, host), km_json_text(facts, "cpu"),
                           km_host_check_name(check, 0), km_json_text(first, "cpu"));
    }
}

static void judge_fabric(km_host_check *check, const km_json *facts) {
    const char *fabric = km_json_text(facts, "fabric"), *transport = km_json_text(check->report, "transport");
    if (check->hosts > 1 && fabric[0] != '\0' && strstr(transport, "tcp") != NULL &&
        strstr(transport, "ob1") != NULL && strstr(transport, "openib") == NULL) {
        km_host_check_problem(
            check, "use an Open MPI with UCX or OFI (ompi_info | grep -E 'ucx|ofi'; mpirun --mca pml ucx)",
            "MPI goes over TCP although %s has a faster network (%s)", km_host_check_name(check, 0), fabric);
    }
}

static km_json *host_entry(const km_host_check *check, int host, const km_json *facts) {
    km_json *entry = km_json_object();
    km_cpus all = {0};
    for (int rank = 0; rank < check->ranks; rank++) {
        const km_checked_rank *p = &check->checked[rank];
        for (size_t w = 0; p->host == host && w < KM_COUNT(all.bits); w++) {
            all.bits[w] |= p->cores.bits[w];
        }
    }
    km_json_set_string(entry, "host", km_host_check_name(check, host));
    km_json_set_string(entry, "cpu", km_json_text(facts, "cpu"));
    km_json_set_number(entry, "cores", km_cpus_count(&all));
    km_json_set_string(entry, "blas", km_json_text(facts, "blas"));
    km_json_set_string(entry, "kernel", km_json_text(facts, "kernel"));
    km_json_set_string(entry, "loops", km_json_text(facts, "loops"));
    km_json_set_string(entry, "bf16", km_json_text(facts, "bf16"));
    km_json_set_number(entry, "memory_room", number(facts, "room"));
    km_json_set_number(entry, "clock_offset", number(facts, "clock"));
    return entry;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Reports a rank that is far slower than the others, for which all others would wait in each step. */
static void judge_rates(km_host_check *check) {
    const double slow = 0.6;
    double *rates = km_new((size_t)check->ranks, sizeof *rates);
    int count = 0;
    for (int rank = 0; rank < check->ranks; rank++) {
        if (check->checked[rank].gflops > 0) {
            rates[count++] = check->checked[rank].gflops;
        }
    }
    qsort(rates, (size_t)count, sizeof *rates, ascending);
    double median = count > 0 ? rates[count / 2] : 0;
    for (int rank = 0; rank < check->ranks; rank++) {
        const km_checked_rank *p = &check->checked[rank];
        if (p->gflops > 0 && p->gflops < slow * median) {
            km_host_check_note(
                check,
                "rank %d on %s multiplies at %.1f GFLOP/s, the median is %.1f: its core is shared, or "
                "throttled",
                rank, km_host_check_name(check, p->host), p->gflops, median);
        }
    }
    free(rates);
}

static km_json *rank_table(const km_host_check *check) {
    km_json *table = km_json_array();
    for (int rank = 0; rank < check->ranks; rank++) {
        const km_checked_rank *p = &check->checked[rank];
        if (p->absent) {
            continue;
        }
        km_json *entry = km_json_object();
        km_json_set_number(entry, "rank", rank);
        km_json_set_string(entry, "host", km_host_check_name(check, p->host));
        km_json_set_number(entry, "pid", number(p->facts, "pid"));
        km_json_set_string(entry, "cpus", km_json_text(p->facts, "cpus"));
        km_json_set_number(entry, "cores", km_cpus_count(&p->cores));
        km_json_set_number(entry, "threads", check->options->threads);
        km_json_set_number(entry, "gemm_gflops", p->gflops);
        km_json_push(table, entry);
    }
    return table;
}

void km_judge_hosts(km_host_check *check) {
    km_json *hosts = km_json_array();
    for (int host = 0; host < check->hosts; host++) {
        const km_json *facts = check->checked[check->lowest_ranks[host]].facts;
        judge_kernel(check, host, facts);
        judge_bf16(check, host, facts);
        judge_clock(check, host, facts);
        judge_alike(check, host, facts);
        km_json_push(hosts, host_entry(check, host, facts));
    }
    judge_fabric(check, check->checked[0].facts);
    judge_rates(check);
    km_json_set(check->report, "hosts", hosts);
    km_json_set(check->report, "ranks", rank_table(check));
}

/* ---- The run folder ---- */

bool km_judge_folder(km_host_check *check) {
    const double seconds = 4, slow = 20e6;
    const char *folder = check->options->folder, *locking = getenv("HDF5_USE_FILE_LOCKING");
    km_folder_report found;
    km_json *entry = km_json_object();
    km_status status = km_folder_measure(&found, folder, seconds);
    if (status == KM_OK) {
        status = km_folder_check(folder);
    }
    km_json_set_string(entry, "path", found.path);
    if (status != KM_OK) {
        km_host_check_problem(check, "set run.dir to a folder that can be written", "%s", km_message());
    } else {
        km_json_set_number(entry, "mbyte_per_s", found.bytes_per_s * 1e-6);
        km_json_set_number(entry, "sync_seconds", found.sync_seconds);
        km_json_set_number(entry, "room", (double)found.free_bytes);
        km_json_set_boolean(entry, "flock", found.flock);
        km_json_set_boolean(entry, "fcntl", found.fcntl);
        if (!found.flock && (locking == NULL || strcmp(locking, "FALSE") != 0)) {
            km_host_check_problem(check, "export HDF5_USE_FILE_LOCKING=FALSE",
                                  "%s: its file system has no flock, which HDF5 uses", found.path);
        }
        if (!found.fcntl) {
            km_host_check_note(
                check, "%s: its file system has no fcntl locks; a run keeps others out by refreshing its lock file",
                found.path);
        }
        if (found.bytes_per_s < slow) {
            km_host_check_note(check, "%s takes %.1f MB/s with fsync: saves are slow", found.path,
                               found.bytes_per_s * 1e-6);
        }
    }
    km_json_set(check->report, "folder", entry);
    return status == KM_OK;
}

/* ---- The job ---- */

static int ranks_on(const km_host_check *check, int host) {
    int count = 0;
    for (int rank = 0; rank < check->ranks; rank++) {
        count += check->checked[rank].host == host;
    }
    return count;
}

static void judge_memory(km_host_check *check, double each) {
    km_json *entry = km_json_object();
    km_json_set_number(entry, "rank_bytes", each);
    for (int host = 0; host < check->hosts; host++) {
        double room = number(check->checked[check->lowest_ranks[host]].facts, "room");
        int ranks = ranks_on(check, host);
        if (room > 0 && each * ranks > room) {
            char need[32], has[32];
            km_host_check_problem(
                check, "fewer ranks with more threads each (parallel.threads), train.recompute, or more nodes",
                "%s: %d rank(s) need %sB of memory, %sB can be had", km_host_check_name(check, host), ranks,
                km_quantity(need, each * ranks), km_quantity(has, room));
        }
    }
    km_json_set(check->report, "memory", entry);
}

/* Makes all checks that pre-training makes before its first step, and compares the memory that a rank needs with what there is. */
static void judge_config(km_host_check *check) {
    const km_plan_options wanted = {
        .ranks = check->ranks, .cores = check->ranks, .gflops = 1, .network = 1e9, .latency = 1e-6, .memory = 1e11};
    km_config *config = km_new(1, sizeof *config);
    *config = *check->options->config;
    config->parallel.threads = check->options->threads;
    km_json *plan = NULL;
    if (km_plan(config, &wanted, &plan) != KM_OK) {
        km_host_check_problem(check, "mend it before the job starts; `kmask plan` makes the same checks", "%s",
                              km_message());
    }
    const km_json *node = km_json_first(km_json_get(plan, "nodes"));
    while (node != NULL && (int)number(node, "ranks") != check->ranks) {
        node = km_json_next(node);
    }
    if (node != NULL) {
        judge_memory(check, number(node, "rank_bytes"));
    }
    km_json_destroy(plan);
    free(config);
}

static void judge_time(km_host_check *check) {
    const double little = 300;
    const char *job = getenv("SLURM_JOB_ID");
    double left = job != NULL ? km_slurm_seconds_left() : INFINITY;
    if (isfinite(left)) {
        char text[32];
        km_json_set_number(check->report, "job_ends_in", left);
        if (left < little) {
            km_host_check_problem(check, "ask for more time (#SBATCH --time)",
                                  "the end of SLURM job %.40s is in %s", job, km_duration(text, KM_MAX(left, 0)));
        }
    }
}

void km_judge_job(km_host_check *check, bool writable) {
    const km_doctor_options *options = check->options;
    const char *threads = getenv("OMP_NUM_THREADS");
    if (options->wrong != NULL) {
        km_host_check_problem(check, "mend the config; `kmask plan` makes all checks", "%s", options->wrong);
    }
    if (threads != NULL && strtol(threads, NULL, 10) > 1) {
        km_host_check_note(check,
                           "OMP_NUM_THREADS=%s changes nothing: threads of a rank are parallel.threads, here %d",
                           threads, options->threads);
    }
    if (options->config != NULL && writable) {
        judge_config(check);
    }
    judge_time(check);
}
