/* cmd_compare: results of fine-tunings side by side. */
#include "cli.h"
#include "kmask/task.h"

#include <math.h>
#include <string.h>

static const char help[] =
    "kmask compare RESULTS RESULTS... [--average|--table [--split test|dev|matched]] [--json]\n"
    "\n"
    "Compares results.json files of `kmask finetune` on the first metric of test, or of dev where there is\n"
    "no test: mean and deviation over the seeds of what each has chosen, and for every two of them a\n"
    "two-sided paired t-test over the seeds that both have.\n"
    "\n"
    "--average takes results of several tasks, MODEL/TASK/results.json, and compares models by the mean of\n"
    "their scores on dev. MNLI counts twice, matched and mismatched, as in the papers' averages of GLUE.\n"
    "\n"
    "--table is a table (Markdown) of models by tasks: what each search has chosen for each of its models, the\n"
    "best of a task in bold, and marked with ~ what is not significantly worse: p > 0.1 in a paired t-test.\n"
    "--split says which scores count. Results of one task and model may come from files with different seeds.\n"
    "\n"
    "  kmask compare runs/mlm/results.json runs/fully-explored/results.json\n"
    "  kmask compare --table runs/webquestions/results.json runs/ropes/results.json\n"
    "  kmask compare --average runs/mlm/*/results.json runs/fully-explored/*/results.json\n";

/* Each pair's difference and test. */
static void print_pairs(const km_json *pairs) {
    for (const km_json *p = km_json_first(pairs); p != NULL; p = km_json_next(p)) {
        const double value = km_json_number_or(p, "p", NAN);
        printf("%s - %s: %+.4f over %.0f seeds", km_json_text(p, "a"), km_json_text(p, "b"),
               km_json_number_or(p, "difference", NAN), km_json_number_or(p, "n", NAN));
        if (isnan(value)) {
            puts(", no test: fewer than two seeds in common, or no difference");
        } else {
            printf(", t %.3f, p %.4f\n", km_json_number_or(p, "t", NAN), value);
        }
    }
}

static void print(const km_json *found) {
    const km_json *results = km_json_get(found, "results"), *pairs = km_json_get(found, "pairs");
    printf("%s of %s\n\n%-40s %4s %8s %8s\n", km_json_text(found, "metric"), km_json_text(found, "split"),
           "results", "n", "mean", "sd");
    for (const km_json *r = km_json_first(results); r != NULL; r = km_json_next(r)) {
        printf("%-40s %4.0f %8.4f %8.4f\n", km_json_text(r, "path"), km_json_number_or(r, "n", NAN),
               km_json_number_or(r, "mean", NAN), km_json_number_or(r, "sd", NAN));
    }
    puts("");
    print_pairs(pairs);
}

static void print_average(const km_json *found) {
    const km_json *models = km_json_get(found, "models");
    for (const km_json *m = km_json_first(models); m != NULL; m = km_json_next(m)) {
        printf("%s\n", km_json_text(m, "path"));
        const km_json *scores = km_json_get(m, "scores");
        for (const km_json *s = km_json_first(scores); s != NULL; s = km_json_next(s)) {
            const bool mismatched = strcmp(km_json_text(s, "split"), "test") == 0;
            printf("  %-24s %-12s %8.4f\n", km_json_text(s, "task"),
                   mismatched ? "mismatched" : km_json_text(s, "metric"), km_json_number_or(s, "mean", NAN));
        }
        printf("  %-37s %8.4f  sd %.4f over %.0f seeds\n", "average", km_json_number_or(m, "mean", NAN),
               km_json_number_or(m, "sd", NAN), km_json_number_or(m, "n", NAN));
    }
    puts("");
    print_pairs(km_json_get(found, "pairs"));
}

static void print_cell(const km_json *c) {
    const double mean = km_json_number_or(c, "mean", NAN), sd = km_json_number_or(c, "sd", NAN);
    bool best = false, not_worse = false;
    (void)km_json_boolean(&best, km_json_get(c, "best"));
    (void)km_json_boolean(&not_worse, km_json_get(c, "not_worse"));
    if (isnan(mean)) {
        printf(" |");
        return;
    }
    printf(" %s%.4f", best ? "**" : "", mean);
    if (!isnan(sd)) {
        printf(" +- %.4f", sd);
    }
    printf("%s%s |", best ? "**" : "", not_worse && !best ? " ~" : "");
}

static void print_table(const km_json *found) {
    const km_json *tasks = km_json_get(found, "tasks"), *rows = km_json_get(found, "rows");
    printf("| model |");
    for (const km_json *t = km_json_first(tasks); t != NULL; t = km_json_next(t)) {
        printf(" %s, %s of %s |", km_json_text(t, "task"), km_json_text(t, "metric"), km_json_text(t, "split"));
    }
    printf("\n| --- |");
    for (const km_json *t = km_json_first(tasks); t != NULL; t = km_json_next(t)) {
        printf(" --- |");
    }
    for (const km_json *r = km_json_first(rows); r != NULL; r = km_json_next(r)) {
        printf("\n| %s |", km_json_text(r, "init"));
        const km_json *cells = km_json_get(r, "cells");
        for (const km_json *c = km_json_first(cells); c != NULL; c = km_json_next(c)) {
            print_cell(c);
        }
    }
    puts("\n\n~ not significantly worse than the best of its column (paired t-test by seed, p > 0.1)");
}

static km_status command(int argc, char **argv) {
    bool json = false, average = false, table = false;
    const char *split = NULL;
    const cli_option options[] = {{.name = "json", .kind = CLI_FLAG, .out = &json},
                                  {.name = "average", .kind = CLI_FLAG, .out = &average},
                                  {.name = "table", .kind = CLI_FLAG, .out = &table},
                                  {.name = "split", .kind = CLI_TEXT, .out = &split}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc < (average || table ? 2 : 3)) {
        return km_fail(KM_USAGE, "compare takes two or more results.json files. See `kmask compare --help`.");
    }
    km_json *found = NULL;
    const char *const *paths = (const char *const *)(argv + 1);
    if ((average && table) || (split != NULL && !table)) {
        return km_fail(KM_USAGE, "compare takes --average or --table, and --split with --table.");
    }
    KM_TRY(table     ? km_compare_table(&found, paths, argc - 1, split)
           : average ? km_compare_average(&found, paths, argc - 1)
                     : km_compare(&found, paths, argc - 1));
    if (json) {
        cli_print_json(found);
    } else {
        (table ? print_table : average ? print_average : print)(found);
        km_json_destroy(found);
    }
    return KM_OK;
}

const cli_verb cmd_compare = {.name = "compare",
                              .arguments = "RESULTS RESULTS... [--average|--table]",
                              .summary = "results of fine-tunings side by side, with a paired t-test",
                              .help = help,
                              .run = command};
