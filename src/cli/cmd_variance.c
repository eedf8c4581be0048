/* cmd_variance: measures the variance of gradients under different mask policies. */
#include "cli.h"
#include "kmask/run.h"
#include "kmask/study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "kmask variance CONFIG.json [--out FOLDER] [--json] [--set section.key=value ...]\n"
    "\n"
    "Measures the variance of K-mask gradients over random masks, for each policy, unit and K (Theorem 1\n"
    "of Zheng et al. 2020), over masks and rows (Eq. 5), and the covariance of gradients of mask pairs\n"
    "against their Hamming distance (Figures 2 and 3), each with a 95 % interval. Under mpirun the ranks\n"
    "share the work; the numbers are the same on any number of them, and a killed measurement goes on\n"
    "where it was.\n"
    "\n"
    "  mpirun -n 2 kmask variance config.json --set variance.splits=2,4,6 --set variance.model=model.h5\n"
    "\n"
    "The config is pretrain's with a section `variance`, of which nothing is required; with all keys:\n"
    "\n"
    "  {\"run\": {\"dir\": \"runs/first\", \"seed\": 1},\n"
    "   \"data\": {\"train\": \"corpus.h5\", \"length\": 512, \"packing\": \"stream\"},\n"
    "   \"mask\": {\"ratio\": 0.15},\n"
    "   \"train\": {\"sequences\": 16},\n"
    "   \"variance\": {\"model\": [\"fresh\", \"model.h5\"], \"rows\": [0, 1, \"8..21\"],\n"
    "                \"params\": [\"*.attention.*\", \"projections:4096\"],\n"
    "                \"policies\": [\"fully_explored\", \"random\"], \"units\": [\"subword\", \"word\", "
    "\"span\"],\n"
    "                \"splits\": [2, 4, 6], \"draws\": 64, \"distances\": [0, 64, 128],\n"
    "                \"exhaustive\": false, \"dropout\": false}}\n"
    "\n"
    "Gradients are Eq. 4's: of the loss summed over masked tokens, divided by rows and masks; without\n"
    "dropout unless asked. FOLDER is run.dir/variance: variance.json, variance.h5 and the parts that are\n"
    "finished. Without run.dir nothing is written. Exit status 75: stopped early, run it again to go on.\n";

static double number(const km_json *object, const char *key) {
    return km_json_number_or(object, key, NAN);
}

static void print_estimates(const km_json *list) {
    const char *model = NULL;
    for (const km_json *e = km_json_first(list); e != NULL; e = km_json_next(e)) {
        if (model == NULL || strcmp(model, km_json_text(e, "model")) != 0) {
            model = km_json_text(e, "model");
            printf("\n%s\n%-15s %-8s %3s %6s %11s %-25s %11s %11s %11s\n", model, "policy", "unit", "K", "tau",
                   "var", " 95 % interval", "var_single", "cov", "var_rows");
        }
        printf("%-15s %-8s %3.0f %6.4g %11.5g %11.5g .. %-10.5g %11.5g %11.4g %11.5g\n", km_json_text(e, "policy"),
               km_json_text(e, "unit"), number(e, "splits"), number(e, "tau"), number(e, "var"),
               number(e, "var_low"), number(e, "var_high"), number(e, "var_single"), number(e, "cov"),
               number(e, "var_rows"));
    }
}

/* The ratios of one policy; those of fully_explored have no name. */
static void print_ratios(const km_json *list, const char *policy) {
    const bool explored = strcmp(policy, "fully_explored") == 0;
    bool first = true;
    for (const km_json *r = km_json_first(list); r != NULL; r = km_json_next(r)) {
        const char *name = km_json_string(km_json_get(r, "policy"));
        if (name == NULL ? !explored : strcmp(name, policy) != 0) {
            continue;
        }
        if (first) {
            printf("\nVar(%s) / Var(random)\n", policy);
            first = false;
        }
        printf("%-8s K = %-3.0f %8.4f  %8.4f .. %-8.4f  %s\n", km_json_text(r, "unit"), number(r, "splits"),
               number(r, "ratio"), number(r, "ratio_low"), number(r, "ratio_high"), km_json_text(r, "model"));
    }
}

static void print_curve(const km_json *list, const km_json *weighted) {
    puts("\nCovariance of the gradients of two masks by Hamming distance");
    for (const km_json *p = km_json_first(list); p != NULL; p = km_json_next(p)) {
        printf("h %-8.4g %12.5g  %12.5g .. %-12.5g %8.0f pairs  %s\n", number(p, "h"), number(p, "cov"),
               number(p, "cov_low"), number(p, "cov_high"), number(p, "pairs"), km_json_text(p, "model"));
    }
    for (const km_json *w = km_json_first(weighted); w != NULL; w = km_json_next(w)) {
        printf("weighted by the law of independent masks (0 is expected): %.4g, %.4g .. %.4g  %s\n",
               number(w, "cov"), number(w, "cov_low"), number(w, "cov_high"), km_json_text(w, "model"));
    }
}

static void print(km_json *found, bool json) {
    if (json) {
        cli_print_json(found);
        return;
    }
    printf("%.0f of %zu rows a mini-batch, %.4g maskable %ss a row, tau %.4g\n", number(found, "sequences"),
           km_json_size(km_json_get(found, "rows")), number(found, "maskable"),
           km_json_text(found, "distance_unit"), number(found, "tau"));
    print_estimates(km_json_get(found, "estimates"));
    print_ratios(km_json_get(found, "ratios"), "fully_explored");
    print_ratios(km_json_get(found, "ratios"), "proposal");
    print_curve(km_json_get(found, "distance"), km_json_get(found, "distance_weighted"));
    km_json_destroy(found);
}

/* Reads the config on rank 0 and broadcasts it, so that all ranks have the same. */
static km_status load(km_comm *comm, km_variance_input *input, const char *path, const cli_list *set) {
    bool root = km_comm_rank(comm) == 0;
    const km_config_source source = cli_config_source(path, set);
    KM_TRY(km_comm_agree(comm, root ? km_variance_load(input, &source) : KM_OK));
    km_comm_broadcast(comm, input, sizeof *input);
    return KM_OK;
}

static km_status measure(km_comm *comm, const char *path, const cli_list *set, const char *out, bool json) {
    km_variance_input *input = km_new(1, sizeof *input);
    const km_run_config *run = &input->config.run;
    km_json *found = NULL;
    km_status status = load(comm, input, path, set);
    if (status == KM_OK) {
        char *folder = out != NULL           ? km_strdup(out)
                       : run->dir[0] != '\0' ? km_format("%s/variance", run->dir)
                                             : NULL;
        status = km_variance(comm, input, folder, &found);
        if (status == KM_OK && found != NULL) {
            print(found, json);
            cli_log_saved(folder);
        }
        free(folder);
    }
    free(input);
    return status;
}

static km_status command(int argc, char **argv) {
    cli_list set = {0};
    const char *out = NULL;
    bool json = false;
    const cli_option options[] = {{.name = "set", .kind = CLI_LIST, .out = &set},
                                  {.name = "out", .kind = CLI_TEXT, .out = &out},
                                  {.name = "json", .kind = CLI_FLAG, .out = &json}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    KM_TRY(cli_check_config_argument("variance", argc, argv));
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    km_status status = measure(comm, argv[1], &set, out, json);
    free(set.items);
    return cli_close(comm, status);
}

const cli_verb cmd_variance = {.name = "variance",
                               .arguments = "CONFIG.json [--set section.key=value ...]",
                               .summary = "gradient variance by policy and K; covariance against Hamming distance",
                               .help = help,
                               .run = command,
                               .computes = true,
                               .schema = &km_variance_schema};
