/* cmd_doctor: checks hosts, connections and run folder before a job. */
#include "cli.h"
#include "kmask/advise.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "kmask doctor [CONFIG.json] [--threads N] [--folder DIR] [--json] [--set section.key=value ...]\n"
    "\n"
    "Looks whether a job can run well here: CPU and BLAS kernel, threads and cores of each rank, the\n"
    "network between all hosts, the run folder, clocks, memory, and the time that the job has left. Start\n"
    "it as the job will be started:\n"
    "\n"
    "  mpirun -n 64 kmask doctor config.json\n"
    "  srun --mpi=pmix kmask doctor config.json\n"
    "  kmask doctor\n"
    "\n"
    "One line of verdict, a line for each problem with its cure, then tables. With a config its threads,\n"
    "run folder and memory are looked at; without, --threads (1) and --folder (the current one). Nothing\n"
    "hangs: a host that another one does not reach is named. Exit status: 0 all well, 1 there are\n"
    "problems, 2 wrong usage.\n";

static double number(const km_json *object, const char *key) {
    return km_json_number_or(object, key, 0);
}

static bool truth(const km_json *object, const char *key) {
    bool value = false;
    return km_json_boolean(&value, km_json_get(object, key)) && value;
}

static void print_hosts(const km_json *list) {
    printf("\n%-16s %5s  %-16s %-14s %-8s %-30s %10s %10s  %s\n", "host", "cores", "BLAS", "kernel", "loops",
           "bf16", "free mem.", "clock", "CPU");
    for (const km_json *h = km_json_first(list); h != NULL; h = km_json_next(h)) {
        char room[32];
        printf("%-16s %5.0f  %-16s %-14s %-8s %-30s %9sB %+8.1fms  %s\n", km_json_text(h, "host"),
               number(h, "cores"), km_json_text(h, "blas"), km_json_text(h, "kernel"), km_json_text(h, "loops"),
               km_json_text(h, "bf16"), km_quantity(room, number(h, "memory_room")),
               1e3 * number(h, "clock_offset"), km_json_text(h, "cpu"));
    }
}

static void print_ranks(const km_json *list) {
    printf("\n%-6s %-16s %9s %7s %6s %14s  %s\n", "rank", "host", "pid", "threads", "cores", "GEMM GFLOP/s",
           "CPUs");
    for (const km_json *r = km_json_first(list); r != NULL; r = km_json_next(r)) {
        printf("%-6.0f %-16s %9.0f %7.0f %6.0f %14.1f  %s\n", number(r, "rank"), km_json_text(r, "host"),
               number(r, "pid"), number(r, "threads"), number(r, "cores"), number(r, "gemm_gflops"),
               km_json_text(r, "cpus"));
    }
}

static void print_links(const km_json *list) {
    if (km_json_size(list) == 0) {
        return;
    }
    printf("\n%-16s %-16s %-24s %12s %12s %10s\n", "from", "to", "address", "TCP call", "MPI latency", "MPI GB/s");
    for (const km_json *l = km_json_first(list); l != NULL; l = km_json_next(l)) {
        printf("%-16s %-16s %-24s", km_json_text(l, "from"), km_json_text(l, "to"),
               truth(l, "reached") ? km_json_text(l, "address") : "NOT REACHED");
        bool called = km_json_get(l, "round_trip_us") != NULL && truth(l, "reached");
        bool met = km_json_get(l, "gbyte_per_s") != NULL;
        printf(called ? " %10.0fus" : "            -", number(l, "round_trip_us"));
        printf(met ? " %10.1fus %10.2f\n" : "            -          -\n", number(l, "latency_us"),
               number(l, "gbyte_per_s"));
    }
}

static void print_rest(const km_json *report) {
    const km_json *folder = km_json_get(report, "folder"), *memory = km_json_get(report, "memory");
    char a[32], b[32];
    printf("\nMPI       %s\n", km_json_text(report, "transport"));
    if (km_json_get(folder, "mbyte_per_s") != NULL) {
        printf("folder    %s: %.0f MB/s with fsync (%.2f s of it), %sB free, flock %s, fcntl locks %s\n",
               km_json_text(folder, "path"), number(folder, "mbyte_per_s"), number(folder, "sync_seconds"),
               km_quantity(a, number(folder, "room")), truth(folder, "flock") ? "yes" : "no",
               truth(folder, "fcntl") ? "yes" : "no");
    }
    if (memory != NULL) {
        printf("memory    %sB a rank\n", km_quantity(b, number(memory, "rank_bytes")));
    }
    if (km_json_get(report, "job_ends_in") != NULL) {
        printf("time      the job ends in %s\n", km_duration(a, number(report, "job_ends_in")));
    }
}

/* Prints the report: the verdict, then problems, notes and tables. */
static void show(void *payload, const km_json *report) {
    const km_json *problems = km_json_get(report, "problems");
    if (*(const bool *)payload) {
        char *text = km_json_print(report, true);
        puts(text);
        free(text);
        return;
    }
    size_t ranks = km_json_size(km_json_get(report, "ranks")), hosts = km_json_size(km_json_get(report, "hosts"));
    size_t count = km_json_size(problems);
    if (count == 0) {
        printf("all well: %zu rank(s) on %zu host(s)\n", ranks, hosts);
    } else {
        printf("%zu problem(s): %zu rank(s) on %zu host(s)\n", count, ranks, hosts);
    }
    for (const km_json *p = km_json_first(problems); p != NULL; p = km_json_next(p)) {
        printf("problem: %s. Cure: %s.\n", km_json_text(p, "what"), km_json_text(p, "cure"));
    }
    for (const km_json *n = km_json_first(km_json_get(report, "notes")); n != NULL; n = km_json_next(n)) {
        printf("note: %s\n", km_json_string(n));
    }
    print_hosts(km_json_get(report, "hosts"));
    print_ranks(km_json_get(report, "ranks"));
    print_links(km_json_get(report, "links"));
    print_rest(report);
}

/* Reads the config on every rank, since it cannot be broadcast before ranks are known to reach each other. A config that is
 * wrong is reported as one of the problems. */
static void look_at_config(km_doctor_options *options, km_config *config, const char *path, const cli_list *set,
                           char **wrong) {
    const km_config_source source = cli_config_source(path, set);
    if (km_config_load(config, &source, false) != KM_OK) {
        *wrong = km_strdup(km_message());
        options->wrong = *wrong;
        return;
    }
    options->config = config;
    options->folder = options->folder == NULL ? config->run.dir : options->folder;
    options->threads = options->threads == 0 ? (int)config->parallel.threads : options->threads;
}

static km_status command(int argc, char **argv) {
    cli_list set = {0};
    const char *folder = NULL;
    int64_t threads = 0;
    bool json = false;
    const cli_option options[] = {{.name = "set", .kind = CLI_LIST, .out = &set},
                                  {.name = "threads", .kind = CLI_INTEGER, .out = &threads, .low = 1, .high = 4096},
                                  {.name = "folder", .kind = CLI_TEXT, .out = &folder},
                                  {.name = "json", .kind = CLI_FLAG, .out = &json}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc > 2 || (argc < 2 && set.count > 0)) {
        return km_fail(KM_USAGE, "doctor takes one config file%s, found %d. See `kmask doctor --help`.",
                       set.count > 0 ? " for --set" : ", or none", argc - 1);
    }
    km_doctor_options wanted = {.folder = folder, .threads = (int)threads};
    km_config *config = km_new(1, sizeof *config);
    char *wrong = NULL;
    if (argc == 2) {
        look_at_config(&wanted, config, argv[1], &set, &wrong);
    }
    wanted.folder = wanted.folder == NULL ? "." : wanted.folder;
    wanted.threads = KM_MAX(wanted.threads, 1);
    km_status status = km_doctor(&argc, &argv, &wanted, show, &json);
    free(wrong);
    free(config);
    free(set.items);
    return status;
}

const cli_verb cmd_doctor = {.name = "doctor",
                             .arguments = "[CONFIG.json]",
                             .summary =
                                 "looks whether a job can run well on these hosts; also under mpirun and srun",
                             .help = help,
                             .run = command,
                             .computes = true,
                             .schema = &km_config_schema};
