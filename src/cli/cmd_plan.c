/* cmd_plan: checks a config, and predicts the time, memory and disk that a run will take. */
#include "cli.h"
#include "kmask/advise.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "kmask plan CONFIG.json [--cores-per-node 32] [--nodes N] [--ranks N] [--tokens N]\n"
    "           [--gflops N] [--network GB/s] [--latency us] [--memory-bandwidth GB/s] [--json]\n"
    "           [--set section.key=value ...]\n"
    "\n"
    "On a login node, without mpirun: makes every check that pretrain makes before its first step, with\n"
    "the same sentences, and touches nothing; then says what the run takes: rows, epochs, memory, disk,\n"
    "and hours on several numbers of nodes, with the #SBATCH lines to paste.\n"
    "\n"
    "  kmask plan config.json\n"
    "  kmask plan config.json --tokens 3e9\n"
    "  kmask plan config.json --cores-per-node 48 --network 12 --set parallel.threads=4 --nodes 8\n"
    "\n"
    "  --cores-per-node N     cores that the job uses on a node (32); ranks of a node: this / "
    "parallel.threads\n"
    "  --nodes N, --ranks N   plan for so many, and check that there is work for them\n"
    "  --tokens N             plan without data.train, for a corpus of so many tokens (3e9; a byte of\n"
    "                         English text is about 0.25)\n"
    "  --gflops N             of a core in training, as metrics.jsonl has it; without: measured here, in\n"
    "                         seconds, on as many cores at once as the job uses and this host has\n"
    "  --network GB/s         of a node each way (10: most of 100 Gbit/s); kmask doctor measures it\n"
    "  --latency us           of a message between nodes (3)\n"
    "  --memory-bandwidth GB/s  of a node (150)\n"
    "\n"
    "Exit status: 0 nothing is wrong; 1, 2, 3 as pretrain's would be.\n";

static double number(const km_json *object, const char *key) {
    return km_json_number_or(object, key, 0);
}

static void print_run(const km_json *plan) {
    char a[32], b[32], c[32], d[32];
    printf("model     %s, %s parameters\n", km_json_text(plan, "model"),
           km_quantity(a, number(plan, "parameters")));
    if (number(plan, "tokens_assumed") > 0) {
        printf("corpus    %s tokens, not there yet: random ones stand for it, and evaluations are not counted\n",
               km_quantity(a, number(plan, "tokens_assumed")));
    }
    printf("rows      %.0f (%.0f too short, left out)\n", number(plan, "rows"), number(plan, "rows_left_out"));
    printf("a step    %.0f views in %.0f micro-batches, %s tokens\n", number(plan, "views"),
           number(plan, "micro_batches"), km_quantity(a, number(plan, "tokens_a_step")));
    printf("the run   %.0f steps", number(plan, "steps"));
    if (number(plan, "resume_step") >= 0) {
        printf(", of which %.0f are done", number(plan, "resume_step"));
    }
    printf(": %.4g epochs\n", number(plan, "epochs"));
    if (km_json_get(plan, "checkpoint_bytes") != NULL) {
        printf("disk      %sB a checkpoint, %sB in all (a snapshot %sB); %sB are free\n",
               km_quantity(a, number(plan, "checkpoint_bytes")), km_quantity(b, number(plan, "disk_bytes")),
               km_quantity(c, number(plan, "snapshot_bytes")), km_quantity(d, number(plan, "disk_room")));
    }
}

static void print_rates(const km_json *core, const km_json *network) {
    bool measured = false, direct = false;
    (void)km_json_boolean(&measured, km_json_get(core, "measured"));
    (void)km_json_boolean(&direct, km_json_get(core, "direct"));
    char *source = km_format("measured here on %.0f at once; --gflops gives another", number(core, "cores"));
    printf("core      %.4g GFLOP/s (%s): %.4g s a micro-batch\n", number(core, "gflops"),
           measured ? source : "given", number(core, "micro_batch_seconds"));
    free(source);
    printf("node      %s: %.4g GB/s added up by a core\n",
           direct ? "ranks read each other's memory, as processes may here"
                  : "ranks send each other copies, as this system has it",
           number(core, "add_gbyte_per_s"));
    printf("network   %.4g GB/s a node each way, %.4g us; memory %.4g GB/s a node (assumed; --network, --latency,\n"
           "          --memory-bandwidth give others)\n",
           number(network, "gbyte_per_s"), number(network, "latency_us"), number(network, "memory_gbyte_per_s"));
}

static void print_marks(const km_json *marks) {
    if (marks != NULL) {
        char work[32];
        printf("marks     %sFLOP, once before the first step: %.4g s of a core, %.2g %% of the run's arithmetic\n",
               km_quantity(work, 1e9 * number(marks, "gflop")), number(marks, "core_seconds"),
               100 * number(marks, "share"));
    }
}

static void print_nodes(const km_json *list) {
    printf("\n%6s %6s %8s %10s %9s %11s %11s %11s  %s\n", "nodes", "ranks", "threads", "s a step", "hours",
           "efficiency", "mem. a rank", "a node", "bottleneck");
    for (const km_json *n = km_json_first(list); n != NULL; n = km_json_next(n)) {
        char rank[32], node[32];
        printf("%6.0f %6.0f %8.0f %10.4g %9.4g %10.1f%% %10sB %10sB  %s\n", number(n, "nodes"), number(n, "ranks"),
               number(n, "threads"), number(n, "step_seconds"), number(n, "hours"), 100 * number(n, "efficiency"),
               km_quantity(rank, number(n, "rank_bytes")), km_quantity(node, number(n, "node_bytes")),
               km_json_text(n, "bottleneck"));
    }
}

static void print_job(const km_json *job) {
    puts("");
    printf(
        "#SBATCH --nodes=%.0f\n#SBATCH --ntasks-per-node=%.0f\n#SBATCH --cpus-per-task=%.0f\n#SBATCH --mem=%.0fM\n"
        "#SBATCH --time=%s\n",
        number(job, "nodes"), number(job, "ntasks_per_node"), number(job, "cpus_per_task"), number(job, "mem_mib"),
        km_json_text(job, "time"));
    if (number(job, "jobs") > 1) {
        printf("# about %.0f such jobs, one after the other: status 75 asks for the next (jobs/ has templates)\n",
               number(job, "jobs"));
    }
}

/* Where the suggested job takes more than a month, says so, with what would shorten it. */
static void print_month(const km_json *plan) {
    const km_json *shorter = km_json_get(plan, "shorter");
    if (shorter != NULL) {
        printf("but it takes %.0f days on %.0f node(s), more than a month. What shortens it:\n",
               number(plan, "days"), number(km_json_get(plan, "sbatch"), "nodes"));
    }
    for (const km_json *one = km_json_first(shorter); one != NULL; one = km_json_next(one)) {
        printf("          %s\n", km_json_string(one));
    }
}

static void print(const km_json *plan) {
    bool finished = false;
    (void)km_json_boolean(&finished, km_json_get(plan, "finished"));
    puts(finished ? "the run is finished: raise train.steps to go on" : "nothing is wrong: the run can start");
    if (!finished) {
        print_month(plan);
    }
    print_run(plan);
    if (!finished) {
        print_rates(km_json_get(plan, "core"), km_json_get(plan, "network"));
        print_marks(km_json_get(plan, "marks"));
        print_nodes(km_json_get(plan, "nodes"));
        print_job(km_json_get(plan, "sbatch"));
    }
}

static km_status plan(const char *path, const cli_list *set, const km_plan_options *options, bool json) {
    km_config *config = km_new(1, sizeof *config);
    km_json *found = NULL;
    const km_config_source source = cli_config_source(path, set);
    km_status status = km_config_load(config, &source, false);
    if (status == KM_OK) {
        status = km_plan(config, options, &found);
    }
    free(config);
    KM_TRY(status);
    if (json) {
        cli_print_json(found);
        return KM_OK;
    }
    print(found);
    km_json_destroy(found);
    return KM_OK;
}

static km_status command(int argc, char **argv) {
    cli_list set = {0};
    bool json = false;
    km_plan_options wanted = {.cores = 32};
    double network = 10, latency = 3, memory = 150, tokens = 0; /* GB/s, us, GB/s */
    const cli_option options[] = {
        {.name = "set", .kind = CLI_LIST, .out = &set},
        {.name = "cores-per-node", .kind = CLI_INTEGER, .out = &wanted.cores, .low = 1, .high = 4096},
        {.name = "nodes", .kind = CLI_INTEGER, .out = &wanted.nodes, .low = 1, .high = 65536},
        {.name = "ranks", .kind = CLI_INTEGER, .out = &wanted.ranks, .low = 1, .high = 1048576},
        {.name = "tokens", .kind = CLI_NUMBER, .out = &tokens, .low = 1, .high = 1e15},
        {.name = "gflops", .kind = CLI_NUMBER, .out = &wanted.gflops, .low = 0.001, .high = 1e6},
        {.name = "network", .kind = CLI_NUMBER, .out = &network, .low = 0.001, .high = 1e4},
        {.name = "latency", .kind = CLI_NUMBER, .out = &latency, .low = 0, .high = 1e6},
        {.name = "memory-bandwidth", .kind = CLI_NUMBER, .out = &memory, .low = 0.1, .high = 1e5},
        {.name = "json", .kind = CLI_FLAG, .out = &json}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    KM_TRY(cli_check_config_argument("plan", argc, argv));
    if (km_log_muted()) { /* started under mpirun, which a plan does not need: only the first rank makes it */
        free(set.items);
        return KM_OK;
    }
    wanted.tokens = (int64_t)tokens;
    wanted.network = network * 1e9;
    wanted.latency = latency * 1e-6;
    wanted.memory = memory * 1e9;
    km_status status = plan(argv[1], &set, &wanted, json);
    free(set.items);
    return status;
}

const cli_verb cmd_plan = {.name = "plan",
                           .arguments = "CONFIG.json [--set section.key=value ...]",
                           .also = "estimate|dry-run",
                           .summary = "all checks before a job; memory, disk, hours by number of nodes",
                           .help = help,
                           .run = command,
                           .computes = true,
                           .schema = &km_config_schema};
