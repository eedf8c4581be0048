/* cmd_bench: how fast this machine trains. */
#include "cli.h"
#include "kmask/advise.h"
#include "kmask/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "kmask bench [--preset NAME] [--length N] [--views N]\n"
    "            [--micro-batch N] [--precision fp32|bf16] [--threads N] [--ranks N] [--repeat N]\n"
    "            [--steps-only] [--json] [--set section.key=value ...]\n"
    "\n"
    "Runs training steps on random tokens (no file is needed, nothing is kept) and says how fast they\n"
    "are, as a share of the rate at which the same library multiplies matrices of the same shapes in\n"
    "turns with the steps. Under mpirun all ranks work; --ranks N starts mpirun by itself.\n"
    "\n"
    "  kmask bench --preset bert-base --length 512 --views 4\n"
    "  mpirun -n 2 kmask bench --preset small --length 128 --views 64 --json\n"
    "\n"
    "  --preset NAME    the sizes of model.preset: bert-base unless given\n"
    "  --views N        of a step, on all ranks and threads together; 4 micro-batches a thread unless given\n"
    "  --micro-batch N  views that a thread computes at once; about 1,024 tokens unless given\n"
    "  --precision P    train.precision; the products that steps are compared with are in bf16 then, too\n"
    "  --repeat N       measured steps (--steps is the same); 7 unless given: medians are printed\n"
    "  --steps-only     no products: half the time, and no share\n"
    "  --set KEY=VALUE  any key of pretrain's config: model.num_hidden_layers, model.vocab_size,\n"
    "                   mask.unit, train.recompute, optimizer.clip ... The vocabulary has 8,192 pieces for\n"
    "                   tiny and small, else what the published models have.\n"
    "\n"
    "Work is counted twice. `whole`: all products of forward and backward, as if the last layer ran at\n"
    "all tokens; the share can pass 100 %, since what need not be done is not done. `done`: the products\n"
    "that a step really computes. The vocabulary's counts at masked tokens only in both.\n";

typedef struct arguments {
    const char *preset, *precision;
    int64_t length, views, micro_batch, repeat, threads, ranks;
    bool json, steps_only;
    cli_list set;
} arguments;

/* ---- The config ---------------------------------------------------------------------------------------------- */

/* Assignments "section.key=value" in order, where later ones win: first those of the options, then those of --set. */
typedef struct assignments {
    char *items[64];
    int count;
} assignments;

static void assign(assignments *a, char *text) {
    a->items[a->count++] = text;
}

static km_status load_keys(km_config *config, const arguments *given) {
    assignments a = {.count = 0};
    const int room = (int)KM_COUNT(a.items) - 8;
    if (given->set.count > room) {
        return km_fail(KM_USAGE, "--set: found %d assignments, expected at most %d", given->set.count, room);
    }
    assign(&a, km_format("model.preset=%s", given->preset));
    assign(&a, km_format("data.length=%lld", (long long)given->length));
    assign(&a, km_format("parallel.threads=%lld", (long long)given->threads));
    assign(&a, km_format("train.precision=%s", given->precision));
    assign(&a, km_format("optimizer.lr=1e-4"));
    if (given->micro_batch > 0) {
        assign(&a, km_format("train.micro_batch=%lld", (long long)given->micro_batch));
    }
    const int own = a.count;
    for (int i = 0; i < given->set.count; i++) {
        assign(&a, given->set.items[i]);
    }
    const cli_list all = {.items = a.items, .count = a.count};
    const km_config_source source = cli_config_source(NULL, &all);
    km_status status = km_config_load(config, &source, true);
    for (int i = 0; i < own; i++) {
        free(a.items[i]);
    }
    return status;
}

/* The largest number of masks, at most `splits`, by which the number of views can be divided. */
static int64_t fit_splits(int64_t views, int64_t splits) {
    while (views % splits != 0) {
        splits--;
    }
    return splits;
}

static km_status set_views(km_config *config, const arguments *given, int ranks) {
    enum { BATCHES = 4 }; /* micro-batches of a thread in a step */
    const int64_t lanes = (int64_t)ranks * config->parallel.threads;
    const bool over_epochs = strcmp(config->mask.over, "epochs") == 0;
    const bool rows_given = km_given(&km_train_section, &config->train, "sequences");
    int64_t views = given->views > 0 ? given->views : BATCHES * lanes * config->train.micro_batch;
    if (!rows_given && !over_epochs && !km_given(&km_mask_section, &config->mask, "splits")) {
        config->mask.splits = fit_splits(views, config->mask.splits);
    }
    const int64_t each = over_epochs ? 1 : config->mask.splits;
    if (!rows_given) {
        config->train.sequences = given->views > 0 ? views / each : (views + each - 1) / each;
    }
    if (given->views > 0 && config->train.sequences * each != given->views) {
        return km_fail(KM_USAGE,
                       "--views: found %lld, expected a multiple of mask.splits (%lld), or without train.sequences",
                       (long long)given->views, (long long)each);
    }
    return KM_OK;
}

static km_status load(km_config *config, const arguments *given, int ranks) {
    KM_TRY(load_keys(config, given));
    if (config->model.init[0] != '\0') {
        return km_fail(KM_USAGE,
                       "model.init: given, but bench makes its own weights. Give shapes with --preset and "
                       "--set.");
    }
    if (config->model.vocab_size == 0) {
        config->model.vocab_size = km_model_usual_vocabulary(&config->model);
    }
    return set_views(config, given, ranks);
}

/* ---- Printing ------------------------------------------------------------------------------------------------ */

static double number(const km_json *object, const char *key) {
    return km_json_number_or(object, key, NAN);
}

static double at(const km_json *object, const char *list, size_t index) {
    double value = NAN;
    return km_json_number(&value, km_json_at(km_json_get(object, list), index)) ? value : NAN;
}

/* "6", or "6 + 6" where there is a decoder. */
static const char *both(char out[32], const km_json *r, const char *key, const char *decoder_key) {
    if (km_json_get(r, decoder_key) != NULL) {
        snprintf(out, 32, "%.0f + %.0f", number(r, key), number(r, decoder_key));
    } else {
        snprintf(out, 32, "%.0f", number(r, key));
    }
    return out;
}

static void print_head(const km_json *r) {
    char parameters[32], layers[32], length[32];
    printf("%s in %s, kernel %s, own loops for %s\n", km_json_text(r, "blas"), km_json_text(r, "precision"),
           km_json_text(r, "blas_kernel"), km_json_text(r, "cpu_class"));
    printf("%s, %s layers, %.0f wide, vocabulary %.0f: %s parameters\n", km_json_text(r, "type"),
           both(layers, r, "layers", "decoder_layers"), number(r, "hidden_size"), number(r, "vocab_size"),
           km_quantity(parameters, number(r, "parameters")));
    printf("%.0f views of %s tokens a step, %.0f masked, in micro-batches of %.0f, on %.0f rank(s) x %.0f "
           "thread(s); medians of %.0f\n\n",
           number(r, "views"), both(length, r, "length", "decoder_length"), number(r, "masked"),
           number(r, "micro_batch"), number(r, "ranks"), number(r, "threads"), number(r, "steps"));
}

static void print_rates(const km_json *r) {
    printf("%-34s %10.0f tokens/s, %.3f s a step (%.3f to %.3f)\n", "speed", number(r, "tokens_per_s"),
           number(r, "step_seconds"), at(r, "step_seconds_spread", 0), at(r, "step_seconds_spread", 2));
    if (km_json_get(r, "gemm_gflops") == NULL) {
        printf("%-34s %10.1f GFLOP/s, %.1f as if the last layer ran whole\n", "work really done",
               number(r, "gflops"), number(r, "gflops_whole"));
    } else {
        printf("%-34s %10.1f GFLOP/s of %.1f: %.1f %% (%.1f to %.1f)\n", "as if the last layer ran whole",
               number(r, "gflops_whole"), number(r, "gemm_gflops"), 100 * number(r, "gemm_share"),
               100 * at(r, "gemm_share_spread", 0), 100 * at(r, "gemm_share_spread", 2));
        printf("%-34s %10.1f GFLOP/s of %.1f: %.1f %%\n", "work really done", number(r, "gflops"),
               number(r, "gemm_gflops_done"), 100 * number(r, "gemm_share_done"));
        printf("%-34s %10.1f GFLOP/s in layers and head, %.1f in attention\n", "bare products, same shapes",
               number(r, "gemm_gflops_dense"), number(r, "gemm_gflops_attention"));
    }
    printf("%-34s %10.2f %% of a step\n", "exposed communication", 100 * number(r, "exposed_share"));
}

static void print_operations(const km_json *table) {
    printf("\n%-34s %10s %9s\n", "operation", "ms a step", "of step");
    for (const km_json *row = km_json_first(table); row != NULL; row = km_json_next(row)) {
        if (number(row, "seconds") > 0) {
            printf("%-34s %10.2f %7.2f %%\n", km_json_key(row), 1e3 * number(row, "seconds"),
                   100 * number(row, "share"));
        }
    }
}

static void print_warnings(const km_json *r) {
    const double cores = number(r, "cores_of_rank"), threads = number(r, "threads");
    if (cores > 0 && cores < threads) {
        km_warn("this rank may use %.0f core(s) and has %.0f threads: start it with `mpirun --bind-to none`, or "
                "--map-by slot:PE=%.0f",
                cores, threads, threads);
    }
}

static void print(km_json *result, bool json) {
    print_warnings(result);
    if (json) {
        cli_print_json(result);
        return;
    }
    print_head(result);
    print_rates(result);
    print_operations(km_json_get(result, "by_operation"));
    printf("\npeak memory of a rank: %.0f MB; %s\n", number(result, "peak_memory_bytes") / 1e6,
           km_json_text(result, "memory"));
    printf("weights_hash after these steps: %s\n", km_json_text(result, "weights_hash"));
    km_json_destroy(result);
}

/* ---- Ranks --------------------------------------------------------------------------------------------------- */

static bool launched(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        if (getenv(names[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* Replaces this process by `mpirun -n N` with the same command; returns only where mpirun cannot be started. */
static km_status start_ranks(int64_t ranks, int argc, char **argv) {
    static char self[KM_PATH];
    char *count = km_format("%lld", (long long)ranks);
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    const char *head[] = {"mpirun", "--bind-to", "none", "-n", count, length > 0 ? self : "kmask"};
    const char **all = km_new(KM_COUNT(head) + (size_t)argc + 1, sizeof *all);
    memcpy(all, head, sizeof head);
    for (int i = 0; i < argc; i++) {
        all[KM_COUNT(head) + (size_t)i] = argv[i];
    }
    (void)execvp(all[0], (char **)(uintptr_t)all);
    free(all);
    free(count);
    return km_fail(KM_FAILED,
                   "--ranks: there is no mpirun to start. Start the ranks yourself, with srun or mpirun, and "
                   "leave --ranks out.");
}

static km_status check_ranks(const km_comm *comm, int64_t wanted) {
    if (wanted > 0 && wanted != km_comm_size(comm)) {
        return km_fail(KM_USAGE, "--ranks: found %lld, but %d were started. Leave it out under mpirun and srun.",
                       (long long)wanted, km_comm_size(comm));
    }
    return KM_OK;
}

static km_status bench(km_comm *comm, const arguments *given) {
    km_config *config = km_new(1, sizeof *config);
    km_json *result = NULL;
    const bool root = km_comm_rank(comm) == 0;
    km_status status = check_ranks(comm, given->ranks);
    if (status == KM_OK) {
        status = km_comm_agree(comm, root ? load(config, given, km_comm_size(comm)) : KM_OK);
    }
    if (status == KM_OK) {
        km_comm_broadcast(comm, config, sizeof *config);
        status = km_bench(comm, config, (int)given->repeat, !given->steps_only, &result);
    }
    if (result != NULL) {
        print(result, given->json);
    }
    free(config);
    return status;
}

static km_status command(int argc, char **argv) {
    arguments given = {.preset = "bert-base", .precision = "fp32", .length = 128, .repeat = 7, .threads = 1};
    const cli_option options[] = {
        {.name = "preset", .kind = CLI_TEXT, .out = &given.preset, .choices = km_architecture_presets()},
        {.name = "precision",
         .kind = CLI_TEXT,
         .out = &given.precision,
         .choices = cli_choices(&km_train_section, "precision")},
        {.name = "length", .kind = CLI_INTEGER, .out = &given.length, .low = 3, .high = 65535},
        {.name = "views", .kind = CLI_INTEGER, .out = &given.views, .low = 1, .high = 1 << 24},
        {.name = "micro-batch", .kind = CLI_INTEGER, .out = &given.micro_batch, .low = 1, .high = 1 << 20},
        {.name = "repeat", .kind = CLI_INTEGER, .out = &given.repeat, .low = 1, .high = 100000},
        {.name = "steps", .kind = CLI_INTEGER, .out = &given.repeat, .low = 1, .high = 100000},
        {.name = "threads", .kind = CLI_INTEGER, .out = &given.threads, .low = 1, .high = 1024},
        {.name = "ranks", .kind = CLI_INTEGER, .out = &given.ranks, .low = 1, .high = 1 << 20},
        {.name = "steps-only", .kind = CLI_FLAG, .out = &given.steps_only},
        {.name = "json", .kind = CLI_FLAG, .out = &given.json},
        {.name = "set", .kind = CLI_LIST, .out = &given.set},
    };
    char **all = km_new((size_t)argc + 1, sizeof *all); /* a copy of argv, from which cli_parse removes options */
    const int count = argc;
    memcpy(all, argv, (size_t)argc * sizeof *all);
    km_status status = cli_parse(&argc, argv, options, KM_COUNT(options));
    if (status == KM_OK && argc != 1) {
        status = km_fail(KM_USAGE, "bench takes no file, found %s. See `kmask bench --help`.", argv[1]);
    }
    if (status == KM_OK && given.ranks > 1 && !launched()) {
        status = start_ranks(given.ranks, count, all);
    }
    free(all);
    KM_TRY(status);
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    status = bench(comm, &given);
    free(given.set.items);
    return cli_close(comm, status);
}

const cli_verb cmd_bench = {.name = "bench",
                            .arguments = "[--preset bert-base --length 512 ...]",
                            .also = "benchmark|speed|profile",
                            .summary = "tokens a second, share of the GEMM rate, time by operation",
                            .help = help,
                            .run = command,
                            .computes = true,
                            .schema = &km_config_schema};
