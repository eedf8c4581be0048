/* cmd_masks: what policies hide. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "kmask/run.h"
#include "kmask/study.h"

static const char help[] =
    "kmask masks CONFIG.json... [--out FOLDER] [--json] [--set section.key=value ...]\n"
    "\n"
    "What mask policies hide (Ye et al. 2021, Figures 3 and 4): the shares of tags, such as parts of speech,\n"
    "among masked tokens, and how often each token is masked (its share of all masked tokens) against how\n"
    "often it occurs. Under random masks both shares are those of the corpus. Shares have 95 % intervals over\n"
    "rows. They are exact expectations over masks where a policy has such in closed form (random and\n"
    "fully_explored at subwords and words, salient), else means over masks.draws visits of each row.\n"
    "A policy that was learned needs mask.model, and marks the rows that are looked at.\n"
    "Under mpirun the ranks share the work; the numbers are the same on any number of them.\n"
    "\n"
    "The configs are pretrain's, of which only data.train is required, with a section `masks`:\n"
    "\n"
    "  {\"data\": {\"train\": \"corpus.h5\"}, \"mask\": {\"splits\": 4},\n"
    "   \"masks\": {\"policies\": [\"random\", \"fully_explored\", \"salient\"], \"share\": 0.01}}\n"
    "\n"
    "Tags are in the corpus where it was built from JSONL with \"tags\" (kmask corpus --help); a corpus without\n"
    "any gives frequencies alone. FOLDER is the first config's run.dir/masks: masks.json, masks.h5, and what\n"
    "`kmask report` draws. Without run.dir nothing is written.\n"
    "\n"
    "  mpirun -n 2 kmask masks config.json --set masks.share=0.1\n"
    "  kmask report runs/first/masks --out masks.html\n";

/* ---- As text ---- */

static double number(const km_json *object, const char *key) {
    return km_json_number_or(object, key, 0);
}

static void print_policies(const km_json *list) {
    printf("%-28s %-8s %3s %9s %9s %12s  %s\n", "policy", "unit", "K", "rows", "of", "masked", "expectations");
    for (const km_json *p = km_json_first(list); p != NULL; p = km_json_next(p)) {
        printf("%-28s %-8s %3.0f %9.0f %9.0f %12.1f  ", km_json_text(p, "name"), km_json_text(p, "unit"),
               number(p, "splits"), number(p, "rows"), number(p, "rows_total"), number(p, "masked"));
        if (number(p, "draws") > 0) {
            printf("over %.0f visits\n", number(p, "draws"));
        } else {
            printf("exact\n");
        }
    }
}

static void print_share(const km_json *policy, const char *tag) {
    const km_json *interval = km_json_get(km_json_get(policy, "tag_intervals"), tag),
                  *first = km_json_first(interval);
    double low = 0, high = 0;
    printf(" %8.2f", 100 * number(km_json_get(policy, "tags"), tag));
    if (km_json_number(&low, first) && km_json_number(&high, km_json_next(first))) {
        printf("  %5.2f..%-5.2f ", 100 * low, 100 * high);
    } else {
        printf("%16s", "");
    }
}

/* A line a tag: its share of the corpus, and of what each policy masks. */
static void print_tags(const km_json *found, const km_json *corpus, int index) {
    const km_json *policies = km_json_get(found, "policies"), *tags = km_json_get(corpus, "tags");
    if (km_json_size(tags) == 0) {
        printf("\n%s: without tags\n", km_json_text(corpus, "path"));
        return;
    }
    printf("\n%s: %% of tokens by tag, in the corpus and among masked tokens\n%-12s %8s",
           km_json_text(corpus, "path"), "", "corpus");
    for (const km_json *p = km_json_first(policies); p != NULL; p = km_json_next(p)) {
        if ((int)number(p, "corpus") == index) {
            printf(" %-24.24s", km_json_text(p, "name"));
        }
    }
    printf("\n");
    for (const km_json *t = km_json_first(tags); t != NULL; t = km_json_next(t)) {
        const char *tag = km_json_key(t);
        printf("%-12s %8.2f", tag, 100 * number(tags, tag));
        for (const km_json *p = km_json_first(policies); p != NULL; p = km_json_next(p)) {
            if ((int)number(p, "corpus") == index) {
                print_share(p, tag);
            }
        }
        printf("\n");
    }
}

/* Sums of shares of ranks up to 10, 100 and so on. */
static void print_bands(const km_json *policies) {
    printf("\n%% of tokens by frequency rank, in the corpus and among masked tokens\n");
    for (const km_json *p = km_json_first(policies); p != NULL; p = km_json_next(p)) {
        double end = 10, from = 1, tokens = 0, masks = 0;
        printf("%-28s", km_json_text(p, "name"));
        for (const km_json *r = km_json_first(km_json_get(p, "ranks")); r != NULL; r = km_json_next(r)) {
            const km_json *rank = km_json_first(r), *token = km_json_next(rank), *mask = km_json_next(token);
            double at = 0, share = 0, hidden = 0;
            (void)km_json_number(&at, rank);
            (void)km_json_number(&share, token);
            (void)km_json_number(&hidden, mask);
            tokens += share;
            masks += hidden;
            if (at >= end || km_json_next(r) == NULL) {
                printf("  %.0f-%.0f: %.1f, %.1f", from, at, 100 * tokens, 100 * masks);
                from = at + 1;
                end *= 10;
                tokens = masks = 0;
            }
        }
        printf("\n");
    }
}

static void print(km_json *found, bool json) {
    if (json) {
        cli_print_json(found);
        return;
    }
    int index = 0;
    const km_json *corpora = km_json_get(found, "corpora"), *policies = km_json_get(found, "policies");
    print_policies(policies);
    for (const km_json *c = km_json_first(corpora); c != NULL; c = km_json_next(c)) {
        print_tags(found, c, index++);
    }
    print_bands(policies);
    km_json_destroy(found);
}

/* ---- The command ---- */

/* Reads the configs on rank 0 and broadcasts them, so that all ranks have the same. */
static km_status load(km_comm *comm, km_census_input *inputs, char *const *paths, int count, const cli_list *set) {
    km_status status = KM_OK;
    for (int i = 0; i < count && status == KM_OK && km_comm_rank(comm) == 0; i++) {
        const km_config_source source = cli_config_source(paths[i], set);
        status = km_census_load(&inputs[i], &source);
        snprintf(inputs[i].path, sizeof inputs[i].path, "%s", paths[i]);
    }
    KM_TRY(km_comm_agree(comm, status));
    km_comm_broadcast(comm, inputs, (size_t)count * sizeof *inputs);
    return KM_OK;
}

static km_status count_masks(km_comm *comm, km_census_input *inputs, int count, const char *out, bool json) {
    const char *run = inputs[0].config.run.dir;
    km_json *found = NULL;
    char *folder = out != NULL ? km_strdup(out) : run[0] != '\0' ? km_format("%s/masks", run) : NULL;
    km_status status = km_census(comm, inputs, count, folder, &found);
    if (status == KM_OK && found != NULL) {
        print(found, json);
        cli_log_saved(folder);
    }
    free(folder);
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
    if (argc < 2) {
        return km_fail(KM_USAGE, "masks needs at least one config file. See `kmask masks --help`.");
    }
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    km_census_input *inputs = km_new((size_t)argc - 1, sizeof *inputs);
    km_status status = load(comm, inputs, argv + 1, argc - 1, &set);
    if (status == KM_OK) {
        status = count_masks(comm, inputs, argc - 1, out, json);
    }
    free(inputs);
    free(set.items);
    return cli_close(comm, status);
}

const cli_verb cmd_masks = {.name = "masks",
                            .arguments = "CONFIG.json... [--set section.key=value ...]",
                            .summary = "what policies mask: shares of tags, frequency ranks",
                            .help = help,
                            .run = command,
                            .schema = &km_census_schema};
